//! [`Rival`]: a life that may be behind an address in place of the one that this node takes to be there.
//!
//! It is a member, or somebody holds a reference to it, and another life was met by a handshake, is expected, or is in the
//! table. Any of them may be the latest: the one that was met may be over, the table may lag behind, a reference may be of
//! long ago. Whoever answers at the address decides. Until then nothing is lost that must arrive, whoever it is for.

use super::{
    message::Message,
    system_messages::{GaveUp, SystemSender},
};
use actors::Tick;

/// Rivals behind one address. With one more, the first is taken to be over; of those that are no members, if there are any.
pub(super) const RIVALS_MAX: usize = 16;

/// It stands aside until somebody answers at its address.
#[derive(Debug)]
pub(super) struct Rival {
    uid: u64,
    is_member: bool,
    /// Whether the last connection, or attempt to connect, was begun after it was known, so that its answer decides.
    is_asked_for: bool,
    /// What must arrive there, if it is the one. None of it was sent.
    system: SystemSender,
}

impl Rival {
    pub(super) fn new(uid: u64, is_member: bool, system: SystemSender) -> Self {
        Self { uid, is_member, is_asked_for: false, system }
    }

    pub(super) fn uid(&self) -> u64 {
        self.uid
    }

    pub(super) fn is_member(&self) -> bool {
        self.is_member
    }

    pub(super) fn set_member(&mut self) {
        self.is_member = true;
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

    /// What waited for the decision.
    pub(super) fn into_system(self) -> SystemSender {
        self.system
    }
}

/// All that stand aside at one address.
#[derive(Debug, Default)]
pub(super) struct Rivals(Vec<Rival>);

impl Rivals {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn get_mut(&mut self, uid: u64) -> Option<&mut Rival> {
        self.0.iter_mut().find(|rival| rival.uid == uid)
    }

    /// One that was not among them, and the one that makes room for it.
    pub(super) fn add(&mut self, rival: Rival) -> Option<Rival> {
        let stranger = self.0.iter().position(|rival| !rival.is_member).unwrap_or(0);
        let crowded_out = (self.0.len() >= RIVALS_MAX).then(|| self.0.remove(stranger));
        self.0.push(rival);
        crowded_out
    }

    pub(super) fn remove(&mut self, uid: u64) -> Option<Rival> {
        let at = self.0.iter().position(|rival| rival.uid == uid)?;
        Some(self.0.remove(at))
    }

    /// The one that is to be asked for next when the one that was there is over: the last that became known, of members if
    /// there are any.
    pub(super) fn take_heir(&mut self) -> Option<Rival> {
        let member = self.0.iter().rposition(Rival::is_member);
        let at = member.or_else(|| self.0.len().checked_sub(1))?;
        Some(self.0.remove(at))
    }

    /// An attempt to connect begins, whose answer decides about all of them.
    pub(super) fn ask(&mut self) {
        self.0.iter_mut().for_each(|rival| rival.is_asked_for = true);
    }

    /// Whether there is one that no attempt to connect was made for.
    pub(super) fn is_unasked(&self) -> bool {
        self.0.iter().any(|rival| !rival.is_asked_for)
    }

    /// Somebody answered.
    pub(super) fn take_asked(&mut self) -> Rivals {
        Rivals(self.0.extract_if(.., |rival| rival.is_asked_for).collect())
    }

    /// How many messages wait for the decision.
    pub(super) fn waiting(&self) -> usize {
        self.0.iter().map(Rival::waiting).sum()
    }

    /// The first whose messages have waited for too long, and why it is to be given up.
    pub(super) fn given_up(&mut self, now: Tick) -> Option<(u64, GaveUp)> {
        self.0.iter_mut().find_map(|rival| rival.system.tick(now).err().map(|why| (rival.uid, why)))
    }

    /// When [`given_up`](Self::given_up) has one next.
    pub(super) fn due(&self) -> Option<Tick> {
        self.0.iter().filter_map(|rival| rival.system.due()).min()
    }
}

impl IntoIterator for Rivals {
    type Item = Rival;
    type IntoIter = std::vec::IntoIter<Rival>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::RIVALS_MAX;
    use crate::remote::{
        association::{Association, Effect, Ended, Life},
        association_tests::{accepted, address, at, connected, dial, dropped, ended, life, node, send_system, taken},
        associations::{Associations, Input},
        dropped::DropReason,
        handshake::{Difference, HandshakeError, Kind},
        lives::{Standing, Standings as _},
        system_messages::GaveUp,
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
        let effects = node.step(accepted(3), at(2));
        assert!(effects.contains(&ended(2, Ended::Replaced(life("peer", 3)))), "{effects:?}");
        assert!(effects.ends_with(&[dial(Some(3), Control)]), "{effects:?}");
        node.step(connected(3, Control), at(2));
        assert_eq!(taken(&mut node, Control, at(2)), ["1 to 3: for 3"]);
    }

    /// Whoever was let in with a table that is a little old must not take the word of that for the end of a life it has met.
    #[test]
    fn a_member_of_before_does_not_displace_who_was_met() {
        let mut node = in_doubt();
        node.step(accepted(2), at(2));
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
        let effects = node.step(accepted(4), at(4));
        assert!(effects.contains(&ended(2, Ended::Replaced(life("peer", 4)))), "{effects:?}");
    }

    /// That the table has the one that is there says nothing, as it may have others later.
    #[test]
    fn the_table_decides_only_who_is_not_there() {
        let mut node = in_doubt();
        assert_eq!(node.step(member(2, true), at(2)), []);
        let effects = node.step(somebody_else(2), at(2));
        assert!(effects.ends_with(&[dial(Some(3), Control)]), "{effects:?}");

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

    /// The first that must arrive there goes out before the table says that it is a member, and while nobody answers.
    #[test]
    fn what_is_for_one_that_only_a_reference_tells_of_waits_until_somebody_answers() {
        let mut node = node();
        node.step(connected(2, Control), at(0));
        assert_eq!(node.step(send_system(3, "one"), at(1)), [hang(), dial(Some(2), Control)], "the address is asked");
        assert_eq!(node.step(send_system(3, "two"), at(2)), []);
        let effects = node.step(accepted(3), at(3));
        assert!(effects.contains(&ended(2, Ended::Replaced(life("peer", 3)))), "{effects:?}");
        node.step(connected(3, Control), at(3));
        assert_eq!(taken(&mut node, Control, at(3)), ["1 to 3: one", "2 to 3: two"]);
        assert_eq!(node.due(), Some(at(4)), "it is no member: what is not acknowledged is all that is known");

        let effects = node.step(send_system(4, "long gone"), at(4));
        assert_eq!(effects, [hang(), dial(Some(3), Control)]);
        let effects = node.step(connected(3, Control), at(5));
        assert!(effects.contains(&ended(4, Ended::Replaced(life("peer", 3)))), "who watches is told: {effects:?}");
        assert_eq!(taken(&mut node, Control, at(5)), ["1 to 3: one", "2 to 3: two"]);
        let effects = node.step(send_system(4, "again"), at(6));
        assert_eq!(effects, [dropped(DropReason::OldLife, 1), ended(4, Ended::NotThere)], "it is asked once");
    }

    /// Two members are in the table at one address, and a third is referred to. Whichever answers has what is for it.
    #[test]
    fn of_many_that_may_be_there_each_keeps_what_is_for_it() {
        let three = || {
            let mut node = node();
            node.step(member(2, true), at(0));
            node.step(send_system(2, "for 2"), at(0));
            let effects = node.step(member(3, true), at(0));
            assert!(!effects.iter().any(|effect| matches!(effect, Effect::Ended { .. })), "{effects:?}");
            node.step(send_system(3, "for 3"), at(0));
            node.step(send_system(4, "for 4"), at(0));
            assert_eq!(there(&node), Some(Life::Met(3)), "of members that were never met the last one has the address");
            node
        };
        for uid in 2..5 {
            let mut node = three();
            if uid != 3 {
                // It dials, and may be over by now.
                node.step(accepted(uid), at(1));
            }
            let effects = node.step(connected(uid, Control), at(2));
            assert_eq!(taken(&mut node, Control, at(2)), [format!("1 to {uid}: for {uid}")]);
            for other in (2..5).filter(|other| *other != uid) {
                assert!(effects.contains(&ended(other, Ended::Replaced(life("peer", uid)))), "{other}: {effects:?}");
            }
            assert_eq!(node.dropped().of(DropReason::OldLife), 2);
        }
        // Each that is asked for is not there, down to the last.
        let mut node = three();
        let effects = node.step(somebody_else(3), at(1));
        assert!(effects.ends_with(&[dial(Some(2), Control)]), "members first: {effects:?}");
        let effects = node.step(somebody_else(2), at(1));
        assert!(effects.ends_with(&[dial(Some(4), Control)]), "{effects:?}");
        assert_eq!(there(&node), Some(Life::Expected(4)), "no member, and not met");
        node.step(connected(4, Control), at(2));
        assert_eq!(taken(&mut node, Control, at(2)), ["1 to 4: for 4"]);
    }

    /// Whoever names ever more lives that never were cannot keep a connection from standing.
    #[test]
    fn an_address_is_asked_once_a_second_and_about_all_that_are_known_by_then() {
        let mut node = node();
        node.step(connected(2, Control), at(0));
        assert_eq!(node.step(send_system(3, "x"), at(1)), [hang(), dial(Some(2), Control)]);
        assert_eq!(node.step(send_system(4, "x"), at(1)), [], "the attempt goes on");
        let effects = node.step(connected(2, Control), at(1));
        assert!(effects.contains(&ended(3, Ended::Replaced(life("peer", 2)))), "{effects:?}");
        assert_eq!(node.dropped().of(DropReason::OldLife), 1, "it says nothing of 4, which may have begun meanwhile");
        node.step(send_system(2, "for 2"), at(1));
        assert_eq!(taken(&mut node, Control, at(1)), ["1 to 2: for 2"], "and carries what there is");
        assert_eq!(node.due(), Some(at(2)));
        let effects = node.step(Input::Time, at(2));
        assert!(effects.ends_with(&[hang(), dial(Some(2), Control)]), "{effects:?}");
        let effects = node.step(connected(2, Control), at(2));
        assert!(effects.contains(&ended(4, Ended::Replaced(life("peer", 2)))), "{effects:?}");
    }

    /// Its last step was on its way when it ended, and its successor is in the table.
    #[test]
    fn one_that_dialled_and_is_over_does_not_end_the_member_that_is_there() {
        let mut node = node();
        node.step(member(3, true), at(0));
        node.step(send_system(3, "for 3"), at(0));
        let effects = node.step(accepted(2), at(1));
        assert!(effects.ends_with(&[dial(Some(2), Control)]), "{effects:?}");
        let effects = node.step(somebody_else(2), at(2));
        assert!(effects.ends_with(&[dial(Some(3), Control)]), "{effects:?}");
        node.step(connected(3, Control), at(3));
        assert_eq!(taken(&mut node, Control, at(3)), ["1 to 3: for 3"]);
        node.step(member(3, false), at(4));
        let forgotten = at(4 + 7 * 3600);
        assert!(node.step(Input::Time, forgotten).iter().any(|effect| matches!(effect, Effect::Ended { .. })));
    }

    #[test]
    fn one_that_nobody_counts_on_does_not_wait_for_the_decision() {
        let mut node = node();
        node.step(member(3, true), at(0));
        node.step(member(3, false), at(1));
        let effects = node.step(accepted(2), at(2));
        assert!(effects.contains(&ended(3, Ended::Replaced(life("peer", 2)))), "{effects:?}");
        assert!(node.is_quiet());
    }

    #[test]
    fn there_is_room_for_so_many_and_nobody_waits_for_ever() {
        let mut node = node();
        node.step(connected(2, Control), at(0));
        let last = 2 + RIVALS_MAX as u64;
        node.step(member(3, true), at(1));
        for uid in 4..=last {
            let effects = node.step(send_system(uid, "x"), at(1));
            assert_eq!(effects.iter().filter(|effect| matches!(effect, Effect::Ended { .. })).count(), 0, "{uid}");
        }
        let effects = node.step(send_system(last + 1, "x"), at(2));
        assert!(effects.contains(&ended(4, Ended::Replaced(life("peer", last + 1)))), "no member: {effects:?}");
        let effects = node.step(Input::Time, at(1 + 6 * 3600));
        assert!(effects.contains(&ended(5, GaveUp::Unacknowledged.into())), "{effects:?}");
        assert!(node.due() <= Some(at(1 + 6 * 3600)), "the others are due too");

        let mut node = in_doubt();
        let too_large = "x".repeat(Control.message_max() + 1);
        assert_eq!(node.step(send_system(3, &too_large), at(1)), [dropped(DropReason::TooLarge, 1)]);
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
