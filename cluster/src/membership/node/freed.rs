//! When the work of a life that was removed is free for others: when it has certainly stopped.
//!
//! A life serves for the [length](super::hosting::length) of an answer after it asked, and only by answers of so many that
//! they would go on with it. So it has stopped that long after the last of those who go on without it answered it.
//!
//! # Since when nobody answers
//! A member answers nobody of whom two rows say that it cannot be reached, if the word of both observers counts and nobody
//! says of them that they cannot be reached ([witnesses](Node::witnesses)). Whoever has the table of this node has these
//! rows. If those that have it would go on without all the rest, then the rest does not go on by itself, and from now on no
//! question is answered that would help. That is so for as long as the rows stand: each that is withdrawn meanwhile, and
//! each that casts doubt on a witness, has a higher version afterwards, and all have agreed on one table, this node among
//! them, before anybody is removed. Then it is counted from anew. Whether this node itself is sure of anything plays no part.
//!
//! One that would go on all by itself knows best when it answered last.
//!
//! If nothing of this can be said it counts from the removal. All that stay have agreed by then that it is Down, and have
//! answered nothing since; of one that was exiting they still have to hear.
//!
//! # Leases
//! Where a lease decides, the side that has it may be the lesser one, and those that are given up answer each other until
//! they notice the cut themselves, within [`NEWS_WITHIN`] of the other side. They serve for the length of an answer after
//! that.

use super::{
    Node,
    hosting::{NEWS_WITHIN, length},
};
use crate::{
    downing::{Decision, Downing, View, decide},
    member::{Member, MemberStatus},
};
use actors::Tick;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// What clocks may differ by in the time that an answer is good for, at least: far more than their rates do.
const MARGIN: Duration = Duration::from_secs(1);
/// For how long somebody may count members that others have removed, at most: it serves no longer by the answers of then.
const COUNTED_FOR: Duration = Duration::from_secs(120);

/// Who is answered no more, as far as this node knows.
#[derive(Debug, Default)]
pub(super) struct Freed {
    refused: BTreeMap<u64, Refused>,
    /// When this node answered each last.
    answered: BTreeMap<u64, Tick>,
    /// The most members of late that were full at some time, and when there were as many last.
    most: Option<(usize, Tick)>,
}

#[derive(Debug)]
struct Refused {
    since: Tick,
    /// None are needed by one that goes on alone.
    witnesses: Option<BTreeMap<u64, Testimony>>,
}

/// What must not change in what a witness says: the version of its row, and those of all rows about it, added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Testimony {
    row: u64,
    about: u64,
}

impl Freed {
    pub(super) fn answers(&mut self, uid: u64, now: Tick) {
        self.answered.insert(uid, now);
    }

    /// Only once it was published who is gone.
    pub(super) fn forget_gone(&mut self, is_there: impl Fn(u64) -> bool) {
        super::retain(&mut self.refused, &is_there);
        super::retain(&mut self.answered, &is_there);
    }

    fn count(&mut self, members: usize, now: Tick) {
        if self.most.is_none_or(|(most, at)| members >= most || now - at >= COUNTED_FOR) {
            self.most = Some((members, now));
        }
    }
}

impl Node {
    /// Notes who is answered no more. Before anybody is removed, for with a life its rows are gone.
    pub(super) fn note_refused(&mut self, now: Tick) {
        self.freed.count(self.table.members().filter(|member| member.up_number.is_some()).count(), now);
        let accused = self.table.unreachable();
        if accused.is_empty() && self.freed.refused.is_empty() {
            return;
        }
        let witnesses = self.witnesses(&accused);
        let mut refused = std::mem::take(&mut self.freed.refused);
        let is_open = |uid: u64| self.status_of(uid).is_some_and(|status| status < MemberStatus::Down);
        let alone = self.goes_on_alone();
        refused.retain(|uid, known| match &mut known.witnesses {
            _ if self.table.get(*uid).is_none() => true,
            None => alone || !is_open(*uid),
            Some(before) => {
                let still = witnesses.get(uid);
                before.retain(|observer, testimony| still.and_then(|still| still.get(observer)) == Some(testimony));
                before.len() > 1
            }
        });
        for uid in accused.into_iter().filter(|uid| is_open(*uid)) {
            if refused.contains_key(&uid) {
                continue;
            }
            let witnesses = witnesses.get(&uid).filter(|witnesses| witnesses.len() > 1);
            if alone {
                refused.insert(uid, Refused { since: now, witnesses: None });
            } else if let Some(witnesses) = witnesses
                && self.those_who_know_go_on_without(uid)
            {
                debug_assert!(self.confirmed_unreachable(now).contains(&uid), "{uid:016x} may still be answered");
                refused.insert(uid, Refused { since: now, witnesses: Some(witnesses.clone()) });
            }
        }
        self.freed.refused = refused;
    }

    /// Of each that is `accused`, those that say so and whose word counts for everybody who has this table.
    fn witnesses(&self, accused: &BTreeSet<u64>) -> BTreeMap<u64, BTreeMap<u64, Testimony>> {
        let mut about: BTreeMap<u64, u64> = BTreeMap::new();
        self.table.rows().for_each(|((_, subject), row)| *about.entry(subject).or_default() += row.version);
        let counts = |observer: u64| {
            !accused.contains(&observer)
                && self.status_of(observer).is_some_and(|status| status < MemberStatus::Leaving)
        };
        let mut witnesses: BTreeMap<u64, BTreeMap<u64, Testimony>> = BTreeMap::new();
        for ((observer, subject), row) in self.table.rows().filter(|(_, row)| row.unreachable) {
            if counts(observer) {
                let about = about.get(&observer).copied().unwrap_or(0);
                witnesses.entry(subject).or_default().insert(observer, Testimony { row: row.version, about });
            }
        }
        witnesses
    }

    /// Whether those that have this table would go on if nobody else did.
    fn those_who_know_go_on_without(&self, uid: u64) -> bool {
        let know = self.table.seen().iter().copied().filter(|other| *other != uid).collect();
        let view = View::of(&self.myself.node, &self.table).reaching(&know);
        matches!(decide(&self.settings.downing, &view), Decision::GoOn { .. })
    }

    /// When a life has certainly stopped that is removed `now`, of so many members; `member` is what was known of it before,
    /// and `since` when it became unreachable.
    pub(super) fn free_at(&self, member: &Member, members: usize, since: Option<Tick>, now: Tick) -> Tick {
        let uid = member.node.uid;
        if self.leading.has_handed_over(uid) {
            return now;
        }
        let good_for = length(self.freed.most.map_or(members, |(most, _)| most));
        let good_for = good_for + MARGIN.max(good_for / 20);
        if matches!(self.settings.downing, Downing::LeaseMajority { .. } | Downing::StoreMajority { .. }) {
            let stable = Downing::stable_after(members);
            let decided = since.is_some_and(|since| now - since >= stable);
            let passed = if decided { stable } else { Duration::ZERO };
            return now + (good_for + NEWS_WITHIN).saturating_sub(passed);
        }
        if member.status != MemberStatus::Down {
            return now + good_for + NEWS_WITHIN;
        }
        let is_full = self.my_status().is_some_and(MemberStatus::is_full);
        let refused = self.freed.refused.get(&uid).filter(|_| is_full).map(|refused| {
            let answered = self.freed.answered.get(&uid).copied();
            refused.since.max(answered.unwrap_or(Tick::START))
        });
        now.max(refused.unwrap_or(now) + good_for)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        Message, Node,
        alone_tests::{at, cluster, first_of, member, said},
    };
    use super::{MARGIN, length};
    use crate::{
        downing::Downing,
        member::MemberStatus::{Down, Exiting, Leaving, Up},
        membership::table::MemberTable,
    };
    use std::time::Duration;

    fn first_of_five() -> (Node, MemberTable) {
        (first_of(5), cluster(0..5))
    }

    /// It hears of this table, which these have.
    fn hears(node: &mut Node, table: &MemberTable, seen: &[u64], now: u64) {
        let mut gossip = table.gossip();
        gossip.seen = seen.to_vec();
        node.step(said(1, Message::Table { table: gossip, answer: false }), at(now));
    }

    /// After how many seconds the last one is free, if it was Down and is removed then.
    fn free_at(node: &Node, now: u64) -> u64 {
        (node.free_at(&member(4, Down), 5, None, at(now)) - at(0)).as_secs()
    }

    fn answer_is_good_for() -> u64 {
        (length(5) + MARGIN).as_secs()
    }

    #[test]
    fn it_counts_from_when_a_majority_has_two_witnesses() {
        let (mut node, mut table) = first_of_five();
        table.observe(1, 4, true);
        hears(&mut node, &table, &[1, 2, 3], 10);
        assert_eq!(free_at(&node, 30), 30 + answer_is_good_for(), "one word is enough for nobody");
        table.observe(2, 4, true);
        hears(&mut node, &table, &[1], 11);
        assert_eq!(free_at(&node, 30), 30 + answer_is_good_for(), "three of five may not have heard");
        hears(&mut node, &table, &[1, 2], 12);
        assert_eq!(free_at(&node, 12), 12 + answer_is_good_for());
        assert_eq!(free_at(&node, 30), 30, "it has stopped long since");
        table.observe(3, 4, true);
        hears(&mut node, &table, &[1], 14);
        assert_eq!(free_at(&node, 12), 12 + answer_is_good_for(), "who says so too makes no difference");
        assert!(answer_is_good_for() <= Downing::stable_after(5).as_secs(), "it is free when it is removed");
    }

    #[test]
    fn it_counts_anew_when_a_word_was_taken_back_meanwhile() {
        let unwitnessed: [fn(&mut MemberTable); 4] = [
            |table| {
                table.observe(2, 4, false);
            },
            // All of it comes at once.
            |table| {
                table.observe(2, 4, false);
                table.observe(2, 4, true);
            },
            |table| {
                table.observe(3, 2, true);
                table.observe(3, 2, false);
            },
            |table| {
                table.step(2, 2, Leaving).unwrap();
            },
        ];
        for change in unwitnessed {
            let (mut node, mut table) = first_of_five();
            table.observe(1, 4, true);
            table.observe(2, 4, true);
            hears(&mut node, &table, &[1, 2, 3], 10);
            assert_eq!(free_at(&node, 10), 10 + answer_is_good_for());
            change(&mut table);
            hears(&mut node, &table, &[1], 13);
            assert_eq!(free_at(&node, 40), 40 + answer_is_good_for());
            table.observe(1, 4, true);
            table.observe(3, 4, true);
            hears(&mut node, &table, &[1, 2, 3], 15);
            assert_eq!(free_at(&node, 15), 15 + answer_is_good_for());
        }
    }

    #[test]
    fn nobody_else_can_vouch_for_what_it_answers_itself_or_for_one_that_only_exits() {
        let (mut node, mut table) = first_of_five();
        hears(&mut node, &table, &[1, 2, 3, 4], 5);
        table.observe(1, 4, true);
        table.observe(2, 4, true);
        node.step(said(4, Message::Probe { at: at(1) }), at(9));
        hears(&mut node, &table, &[1, 2, 3], 9);
        assert_eq!(free_at(&node, 9), 9 + answer_is_good_for());
        node.step(said(4, Message::Probe { at: at(10) }), at(11));
        assert_eq!(free_at(&node, 11), 9 + answer_is_good_for(), "that was not answered");
        let exiting = node.free_at(&member(4, Exiting), 5, None, at(30));
        assert!(exiting - at(30) > Duration::from_secs(answer_is_good_for()), "others may answer it until they hear");
        assert_eq!(node.my_status(), Some(Up));
    }
}
