//! [`View`]: the members as one node sees them, with who can be reached.

use crate::{
    member::{Member, MemberStatus, UniqueAddress},
    membership::table::MemberTable,
};
use std::collections::{BTreeMap, BTreeSet};

/// What a decision is made from.
#[derive(Clone, Debug)]
pub(crate) struct View {
    pub(crate) me: UniqueAddress,
    /// All but those whose fate is settled: neither Down nor Removed.
    pub(crate) members: BTreeMap<u64, Member>,
    /// Those that this side cannot reach.
    pub(crate) unreachable: BTreeSet<u64>,
    /// Those that some can reach and others cannot.
    pub(crate) indirect: BTreeSet<u64>,
    /// Who cannot reach whom.
    pub(crate) rows: BTreeSet<(u64, u64)>,
}

impl View {
    /// What `me` sees in its table.
    pub(crate) fn of(me: &UniqueAddress, table: &MemberTable) -> Self {
        let undecided = table.members().filter(|member| member.status < MemberStatus::Down);
        let members: BTreeMap<u64, Member> = undecided.map(|member| (member.node.uid, member.clone())).collect();
        let rows: BTreeSet<(u64, u64)> = table.accusations().into_iter().collect();
        let accused: BTreeSet<u64> = table.unreachable().into_iter().filter(|uid| members.contains_key(uid)).collect();
        let accusers: BTreeSet<u64> =
            rows.iter().filter(|(_, subject)| members.contains_key(subject)).map(|(observer, _)| *observer).collect();
        // Partly cut off: it cannot reach somebody, and somebody cannot reach it; or it has this very table, in which it is
        // unreachable.
        let indirect: BTreeSet<u64> = accused
            .iter()
            .copied()
            .filter(|uid| accusers.contains(uid) || table.seen().contains(uid))
            .chain(accused.contains(&me.uid).then_some(me.uid))
            .collect();
        let unreachable = accused.difference(&indirect).copied().collect();
        Self { me: me.clone(), members, unreachable, indirect, rows }
    }

    /// The same members, of whom just these are reached.
    pub(crate) fn reaching(&self, reached: &BTreeSet<u64>) -> Self {
        let unreachable = self.members.keys().copied().filter(|uid| !reached.contains(uid)).collect();
        let (me, members) = (self.me.clone(), self.members.clone());
        Self { me, members, unreachable, indirect: BTreeSet::new(), rows: BTreeSet::new() }
    }

    /// Whether one of the two cannot reach the other.
    pub(super) fn is_broken(&self, one: u64, two: u64) -> bool {
        self.rows.contains(&(one, two)) || self.rows.contains(&(two, one))
    }

    /// Those on this side.
    pub(super) fn mine(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|(uid, _)| !self.unreachable.contains(uid)).map(|(_, member)| member)
    }

    /// Those on the other side.
    pub(super) fn theirs(&self) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(|(uid, _)| self.unreachable.contains(uid)).map(|(_, member)| member)
    }
}
