//! [`Quorum`]: of whom a node must hear to go on hosting, which is more than its table says.
//!
//! A table is changed by one node alone, and those that go on without this one do not tell it: it may hold somebody for
//! gone, with good reason, who had given it up before. So whoever became Down since the members last agreed is still counted
//! as one of the others, until those that are left agree again and enough of them have answered.
//!
//! A node that stood still for longer than an answer is good for does not know what was decided without it, nor whom those
//! let in that decided. It goes on only with enough of those that it knew before: that all of them are gone, and others run
//! in their places, says nothing about who took over from them. If none is left, it stops.

use super::{Node, Phase, hosting::length};
use crate::{
    downing::{Decision, View, decide},
    member::{Address, Member, MemberStatus, UniqueAddress},
};
use actors::Tick;
use std::{collections::BTreeMap, time::Duration};

/// A member has a turn each second. One that had none for so long stood still.
const OVERSLEPT: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub(super) struct Quorum {
    /// The full members when all agreed last, as they were then, and those that became full since.
    full: BTreeMap<u64, Member>,
    /// For how many rounds all agreed since, and too few of them were left.
    rounds: u64,
    /// It stood still for so long that others may have gone on without it, and none of them has answered since.
    overslept: bool,
}

impl Quorum {
    /// Somebody who knows for certain has told this node that whoever was there is gone.
    pub(super) fn forget(&mut self, address: &Address) {
        if self.overslept {
            return;
        }
        self.full.retain(|_, member| member.node.address != *address);
    }
}

impl Node {
    /// Those that are Down, and have not been agreed on. Where another life has come in at the same address it is asked
    /// instead.
    pub(super) fn given_up(&self) -> impl Iterator<Item = &Member> {
        let replaced = move |gone: &UniqueAddress| {
            let mut lives = self.table.members().filter(|member| member.status < MemberStatus::Down);
            lives.any(|life| life.node.address == gone.address)
        };
        let is_over = move |uid: u64| self.status_of(uid).is_none_or(|status| status == MemberStatus::Down);
        let gone = self.hosting.quorum.full.values().filter(move |member| is_over(member.node.uid));
        gone.filter(move |member| !replaced(&member.node))
    }

    /// Those that exit have said so, and all agreed.
    pub(super) fn let_go(&mut self) {
        let table = &self.table;
        let exits = |uid: u64| table.get(uid).is_some_and(|member| member.status == MemberStatus::Exiting);
        self.hosting.quorum.full.retain(|uid, _| !exits(*uid));
    }

    /// Before anything is heard at `now`.
    pub(super) fn notice_sleep(&mut self, now: Tick) {
        let slept = now - std::mem::replace(&mut self.last_turn, now);
        if slept >= OVERSLEPT {
            self.resolver.woke(now);
            self.leading.woke(now);
            if let Phase::Joining(joining) = &mut self.phase {
                joining.woke(now);
            }
        }
        let is_member = matches!(self.phase, Phase::Member) && self.my_status().is_some_and(MemberStatus::is_full);
        // The first is true nearly always, and costs nothing.
        if slept < length(0) || !is_member || slept < length(self.full_members()) || self.goes_on_alone() {
            return;
        }
        self.hosting.quorum.overslept = true;
        if self.hosting.quorum.full.is_empty() {
            self.hosting.quorum.full = self.full_now();
        }
    }

    /// Whether it overslept, and nobody is left of those that may have gone on without it.
    pub(super) fn slept_through_all(&self) -> bool {
        let quorum = &self.hosting.quorum;
        let mut others = quorum.full.keys().filter(|uid| **uid != self.myself.node.uid);
        quorum.overslept && others.all(|uid| self.status_of(*uid).is_none_or(|status| status >= MemberStatus::Down))
    }

    /// Whether the others would not go on without this node.
    pub(super) fn goes_on_alone(&self) -> bool {
        let view = View::of(&self.myself.node, &self.table).reaching(&[self.myself.node.uid].into());
        matches!(decide(&self.settings.downing, &view), Decision::Nothing | Decision::GoOn { .. })
    }

    fn full_now(&self) -> BTreeMap<u64, Member> {
        let full = self.table.members().filter(|member| member.status.is_full());
        full.map(|member| (member.node.uid, member.clone())).collect()
    }

    /// Once a round. `heard`: enough answered of those that agreed last; `heard_here`: enough of those that the table has.
    pub(super) fn agree_on_quorum(&mut self, heard: bool, heard_here: bool, enough_rounds: u64) {
        let agreed = self.table.is_converged();
        let quorum = &mut self.hosting.quorum;
        quorum.overslept &= !heard;
        quorum.rounds = if agreed && heard_here && !quorum.overslept { quorum.rounds + 1 } else { 0 };
        // Whoever had given this node up would have told it by then.
        if quorum.full.is_empty() || agreed && (heard || quorum.rounds >= enough_rounds) {
            quorum.rounds = 0;
            self.hosting.quorum.full = self.full_now();
        } else if !quorum.overslept {
            // Whoever came in since then counts for others at once.
            for (uid, member) in self.full_now() {
                self.hosting.quorum.full.entry(uid).or_insert(member);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Command, Node};
    use super::super::{
        Input, Message,
        alone_tests::{at, cluster, member, node, said},
        network::address,
    };
    use crate::{
        member::{
            MemberStatus::{Down, Up},
            UniqueAddress,
        },
        membership::news::News,
    };

    /// The first of three, which both others have answered.
    fn first_of_three() -> Node {
        let mut node = node(0);
        node.step(Input::Command(Command::Join { seeds: vec![address(1)] }), at(0));
        node.step(said(1, Message::Ready), at(0));
        node.step(said(1, Message::Welcome { table: cluster(0..3).gossip() }), at(0));
        for other in [1, 2] {
            node.step(Input::News(News::Alive(member(other, Up).node)), at(0));
            node.step(said(other, Message::Echo { at: at(0) }), at(0));
        }
        node.step(Input::Time, at(1));
        assert_eq!(node.hosting_valid_until(), Some(at(9)));
        node
    }

    fn replaced(one: usize) -> Input {
        let new = UniqueAddress { address: address(one), uid: one as u64 + 10 };
        Input::News(News::Replaced { old: member(one, Up).node, new })
    }

    #[test]
    fn whoever_slept_hosts_nothing_before_it_has_heard_from_enough_of_those_it_knew() {
        let mut node = first_of_three();
        // It wakes up: the third has another life, which alone leaves it the lowest of two.
        node.step(replaced(2), at(30));
        node.step(Input::Time, at(31));
        assert_eq!(node.hosting_valid_until(), Some(at(9)));
        node.step(said(1, Message::Echo { at: at(31) }), at(31));
        node.step(Input::Time, at(32));
        assert_eq!(node.hosting_valid_until(), Some(at(40)));
    }

    #[test]
    fn whoever_is_left_hosts_again_when_nobody_has_contradicted_for_long() {
        let mut node = first_of_three();
        (2..10).for_each(|second| drop(node.step(Input::Time, at(second))));
        node.step(replaced(1), at(10));
        node.step(replaced(2), at(10));
        (11..19).for_each(|second| drop(node.step(Input::Time, at(second))));
        assert_eq!(node.hosting_valid_until(), Some(at(9)));
        (19..22).for_each(|second| drop(node.step(Input::Time, at(second))));
        assert!(node.hosting_valid_until() > Some(at(21)));
    }

    /// Whoever says by hand that one is gone may be on the wrong side of a cut: the others are asked once they can be reached.
    #[test]
    fn one_that_nobody_has_answered_for_long_does_not_host_because_it_gives_another_up() {
        let down = || Input::Command(Command::Down(address(2)));
        let mut node = first_of_three();
        (2..30).for_each(|second| drop(node.step(Input::Time, at(second))));
        node.step(down(), at(30));
        (30..38).for_each(|second| drop(node.step(Input::Time, at(second))));
        assert_eq!(node.hosting_valid_until(), Some(at(9)), "it is the lowest of two, and they may be two of three");
        node.step(said(1, Message::Echo { at: at(38) }), at(38));
        node.step(Input::Time, at(39));
        assert_eq!(node.hosting_valid_until(), Some(at(47)));

        let mut node = first_of_three();
        node.step(down(), at(2));
        (3..20).for_each(|second| drop(node.step(Input::Time, at(second))));
        assert_eq!(node.hosting_valid_until(), Some(at(28)), "nobody had gone on without it by then");
    }

    /// Those that have it on their side have not agreed with this node since it came in.
    #[test]
    fn whoever_came_in_and_was_given_up_at_once_counts_for_the_others() {
        let mut node = first_of_three();
        let mut table = cluster(0..4);
        node.step(said(1, Message::Table { table: table.gossip(), answer: false }), at(2));
        node.step(Input::Time, at(3));
        table.step(1, 3, Down).unwrap();
        node.step(said(1, Message::Table { table: table.gossip(), answer: false }), at(4));
        assert_eq!(node.given_up().map(|member| member.node.uid).collect::<Vec<_>>(), [3]);
    }
}
