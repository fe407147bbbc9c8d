//! [`Rival`]: a member that the table has at an address where another life was met by a handshake.
//!
//! Either may be the later one: the one that was met may be over, and the table may lag behind. Whoever answers at the
//! address decides. Until then nothing is lost that must arrive, whoever it is for.

use super::{
    message::Message,
    system_messages::{GaveUp, SystemSender},
};
use actors::Tick;

/// It stands aside until the one that was met answers, or somebody else does.
#[derive(Debug)]
pub(super) struct Rival {
    uid: u64,
    /// What must arrive there, if it is the later one.
    system: SystemSender,
}

impl Rival {
    pub(super) fn new(uid: u64) -> Self {
        Self { uid, system: SystemSender::default() }
    }

    pub(super) fn uid(&self) -> u64 {
        self.uid
    }

    /// How many messages wait for the decision.
    pub(super) fn waiting(&self) -> usize {
        self.system.len()
    }

    /// # Errors
    /// There are too many: it is to be given up.
    pub(super) fn send_system(&mut self, message: Message, now: Tick) -> Result<(), GaveUp> {
        self.system.push(message, now)
    }

    /// What waited for the decision, none of which was sent.
    pub(super) fn into_system(self) -> SystemSender {
        self.system
    }
}

#[cfg(test)]
mod tests {
    use crate::remote::{
        association::{Association, Effect, Ended, Life},
        association_tests::{address, at, connected, dial, dropped, ended, life, node, send_system, taken},
        associations::{Associations, Input},
        dropped::DropReason,
        handshake::{Difference, HandshakeError, Kind},
        lives::{Standing, Standings as _},
        transport::Lane::{Control, Ordinary},
    };

    fn member(uid: u64, is: bool) -> Input {
        Input::Member { node: life("peer", uid), is }
    }

    fn hang() -> Effect {
        Effect::Hang { to: address("peer"), lane: Control }
    }

    /// Another life answered at the address than the one that was meant.
    fn somebody_else(meant: u64) -> Input {
        let difference = Difference { kind: Kind::Life, text: String::new() };
        let error = Some(HandshakeError::Refused { peer: life("peer", 0), differences: vec![difference] });
        Input::NotConnected { to: address("peer"), life: Some(meant), lane: Control, error }
    }

    fn there(node: &Associations) -> Option<Life> {
        node.get(&address("peer")).map(Association::life)
    }

    /// The life 2 dialled, and was no member when the table had the life 3 at its address.
    fn in_doubt() -> Associations {
        let mut node = node();
        node.step(connected(2, Control), at(0));
        node.step(send_system(2, "for 2"), at(0));
        assert_eq!(taken(&mut node, Control, at(0)), ["1 to 2: for 2"]);
        assert_eq!(node.step(member(3, true), at(1)), [hang(), dial(Some(2), Control)], "the address is asked");
        assert_eq!(node.step(member(3, true), at(1)), [], "once");
        assert_eq!(node.step(send_system(3, "for 3"), at(1)), [], "what must arrive waits");
        assert_eq!(there(&node), Some(Life::Met(2)));
        assert!(!node.is_quiet());
        node
    }

    /// Somebody died before it was a member, and its successor is one. It need not dial first.
    #[test]
    fn a_successor_of_one_that_never_was_a_member_is_reached() {
        let mut node = in_doubt();
        let effects = node.step(somebody_else(2), at(2));
        assert!(effects.contains(&ended(2, Ended::NotThere)), "{effects:?}");
        assert!(effects.contains(&Effect::Began(life("peer", 3))), "{effects:?}");
        assert!(effects.ends_with(&[dial(Some(3), Control)]), "{effects:?}");
        node.step(connected(3, Control), at(2));
        assert_eq!(taken(&mut node, Control, at(2)), ["1 to 3: for 3"]);
        assert_eq!(node.step(send_system(3, "more"), at(2)).len(), 1);
        assert_eq!(taken(&mut node, Control, at(2)), ["2 to 3: more"]);
        assert_eq!(node.lives().standing(&life("peer", 2)), Standing::Old);
        assert_eq!(
            node.step(member(4, true), at(3)),
            [hang(), dial(Some(3), Control)],
            "it answered, so it is asked too"
        );
    }

    #[test]
    fn a_successor_that_dials_is_the_one_that_is_there() {
        let mut node = in_doubt();
        let effects = node.step(Input::Accepted { node: life("peer", 3) }, at(2));
        assert!(effects.contains(&ended(2, Ended::Replaced(life("peer", 3)))), "{effects:?}");
        assert!(effects.ends_with(&[dial(Some(3), Control)]), "{effects:?}");
        node.step(connected(3, Control), at(2));
        assert_eq!(taken(&mut node, Control, at(2)), ["1 to 3: for 3"]);
    }

    /// Whoever was let in with a table that is a little old must not take the word of that for the end of a life it has met.
    #[test]
    fn a_member_of_before_does_not_displace_who_was_met() {
        let mut node = in_doubt();
        node.step(Input::Accepted { node: life("peer", 2) }, at(2));
        assert_eq!(node.step(send_system(3, "again"), at(2)), [], "what it dialled before proves nothing");
        let effects = node.step(connected(2, Control), at(2));
        assert!(effects.contains(&dropped(DropReason::OldLife, 2)), "{effects:?}");
        assert!(effects.contains(&ended(3, Ended::Replaced(life("peer", 2)))), "{effects:?}");
        assert_eq!(there(&node), Some(Life::Met(2)));
        assert_eq!(taken(&mut node, Control, at(2)), ["1 to 2: for 2"], "with the numbers of before");
        assert_eq!(node.step(member(3, false), at(3)), []);
        assert_eq!(node.step(connected(2, Ordinary), at(3)), [], "it may connect again");
        node.step(member(2, true), at(3));
        assert_eq!(node.step(member(4, true), at(4)), [hang(), dial(Some(2), Control)], "a member is asked too");
        let effects = node.step(Input::Accepted { node: life("peer", 4) }, at(4));
        assert!(effects.contains(&ended(2, Ended::Replaced(life("peer", 4)))), "{effects:?}");
    }

    #[test]
    fn the_table_may_decide_too() {
        let mut node = in_doubt();
        let effects = node.step(member(2, true), at(2));
        assert!(effects.contains(&ended(3, Ended::Replaced(life("peer", 2)))), "{effects:?}");
        assert_eq!(there(&node), Some(Life::Met(2)));

        let mut node = in_doubt();
        let effects = node.step(member(3, false), at(2));
        assert_eq!(effects, [dropped(DropReason::OldLife, 1), ended(3, Ended::NotThere)]);

        let mut node = in_doubt();
        let effects = node.step(Input::Quarantine(life("peer", 3)), at(2));
        assert!(effects.contains(&dropped(DropReason::Quarantined, 1)), "{effects:?}");
        assert_eq!(there(&node), Some(Life::Met(2)));

        let mut node = in_doubt();
        let effects = node.step(Input::Quarantine(life("peer", 2)), at(2));
        assert!(effects.ends_with(&[dial(Some(3), Control)]), "{effects:?}");
        assert_eq!(there(&node), Some(Life::Met(3)));
    }

    #[test]
    fn as_long_as_nobody_answers_it_is_asked_again() {
        let mut node = in_doubt();
        for second in 1..100 {
            let error = Input::NotConnected { to: address("peer"), life: Some(2), lane: Control, error: None };
            assert_eq!(node.step(error, at(second)), [], "second {second}");
            assert_eq!(node.step(Input::Time, at(second + 1)), [dial(Some(2), Control)]);
        }
        assert_eq!(there(&node), Some(Life::Met(2)));
    }
}
