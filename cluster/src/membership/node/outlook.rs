//! [`Outlook`]: who is on this node's side, if those that it cannot reach stay so; and what it decides by that.

use super::Node;
use crate::{
    downing::{Decision, View, decide, side},
    member::{Member, MemberStatus, UniqueAddress},
};
use actors::Tick;
use std::collections::{BTreeMap, BTreeSet};

/// What one node can decide by.
pub(super) struct Outlook {
    /// By all rows that count.
    all: View,
    /// By those alone of whom it was confirmed that they cannot be reached.
    sure: View,
    /// Those of whom somebody says so, and it was not confirmed.
    pub(super) doubtful: BTreeSet<u64>,
    /// Those that go on with each other, if anybody does, by what is sure.
    pub(super) side: BTreeSet<u64>,
}

impl Node {
    /// What this node sees, of whom it was `confirmed` that they cannot be reached.
    pub(super) fn outlook(&self, confirmed: &BTreeSet<u64>) -> Outlook {
        let all = self.view();
        let is_sure =
            |uid: &u64| confirmed.contains(uid) || self.status_of(*uid).is_none_or(|it| it >= MemberStatus::Down);
        let mut sure = all.clone();
        sure.unreachable.retain(is_sure);
        sure.indirect.retain(is_sure);
        let doubtful = all.unreachable.union(&all.indirect).copied().filter(|uid| !is_sure(uid)).collect();
        let side = side(&self.settings.downing, &sure);
        Outlook { all, sure, doubtful, side }
    }

    /// The members as this node sees them, by the rows that count. Whoever was given up since all agreed last is on the other
    /// side: those that go on now may never have heard that it was, and go on with it.
    fn view(&self) -> View {
        let mut view = View::of(&self.myself.node, &self.table);
        view.rows = self.counted_rows();
        let observers: BTreeSet<u64> = view.rows.iter().map(|(observer, _)| *observer).collect();
        let subjects = view.rows.iter().map(|(_, subject)| *subject).filter(|uid| view.members.contains_key(uid));
        let is_partly_cut =
            |uid: &u64| *uid == view.me.uid || observers.contains(uid) || self.table.seen().contains(uid);
        let (indirect, mut unreachable): (BTreeSet<u64>, BTreeSet<u64>) = subjects.partition(is_partly_cut);
        // With the lease in hand it is decided who goes on.
        for member in self.given_up().filter(|_| !self.resolver.has_lease()) {
            view.members.insert(member.node.uid, member.clone());
            unreachable.insert(member.node.uid);
        }
        View { indirect, unreachable, ..view }
    }

    /// Who cannot reach whom. What somebody says counts for nothing who cannot be reached and has not seen this table: that
    /// is from before it was cut off, and its side decides by it.
    pub(super) fn counted_rows(&self) -> BTreeSet<(u64, u64)> {
        let unreachable = self.table.unreachable();
        let is_lost = |uid: &u64| unreachable.contains(uid) && !self.table.seen().contains(uid);
        self.table.accusations().into_iter().filter(|(observer, _)| !is_lost(observer)).collect()
    }

    /// Of those that somebody cannot reach, those of whom more than one row says so.
    pub(super) fn confirmed_unreachable(&self, now: Tick) -> BTreeSet<u64> {
        let me = self.myself.node.uid;
        let rows = self.counted_rows();
        let mut observers: BTreeMap<u64, usize> = BTreeMap::new();
        rows.iter().for_each(|(_, subject)| *observers.entry(*subject).or_default() += 1);
        let full = self.full_members();
        let own = |uid: u64| {
            self.reach.is_dead(uid) && (self.reach.is_failing(uid) || self.hosting.is_silent(uid, full, now))
        };
        let is_sure = |&(observer, subject): &(u64, u64)| {
            observers[&subject] > 1 || rows.contains(&(subject, observer)) || (observer == me && own(subject))
        };
        rows.iter().filter(|row| is_sure(row)).map(|(_, subject)| *subject).collect()
    }

    /// The full members of this side. What was said of it by those that it has lost stands in the table until they are given
    /// up, by this side.
    fn full_side<'a>(&'a self, outlook: &'a Outlook) -> impl Iterator<Item = &'a Member> {
        self.table.members().filter(|member| member.status.is_full() && outlook.side.contains(&member.node.uid))
    }

    /// Those of them that nobody has doubts about; all, if there are doubts about each.
    fn firm_side<'a>(&'a self, outlook: &'a Outlook) -> impl Iterator<Item = &'a Member> {
        let is_firm = |member: &&Member| !outlook.doubtful.contains(&member.node.uid);
        let all_are_doubtful = !self.full_side(outlook).any(|member| is_firm(&member));
        self.full_side(outlook).filter(move |member| all_are_doubtful || is_firm(member))
    }

    fn has_seen(&self, member: &Member) -> bool {
        self.table.seen().contains(&member.node.uid)
    }

    /// Whether all of this side have this very table, but for those that may be gone.
    pub(super) fn agrees(&self, outlook: &Outlook) -> bool {
        self.firm_side(outlook).all(|member| self.has_seen(member))
    }

    /// The lowest of this side.
    pub(super) fn leads(&self, outlook: &Outlook) -> bool {
        let lowest: Option<&UniqueAddress> = self.firm_side(outlook).map(|member| &member.node).min();
        lowest == Some(&self.myself.node)
    }

    /// What is decided whether those that were not confirmed are there or not. If that differs, and it was so for `long`, they
    /// are there if they have this table.
    pub(super) fn decision(&self, outlook: &Outlook, long: bool) -> Decision {
        let of_sure = decide(&self.settings.downing, &outlook.sure);
        let kind = std::mem::discriminant::<Decision>;
        let either_way = || kind(&of_sure) == kind(&decide(&self.settings.downing, &outlook.all));
        let are_there = || long && self.full_side(outlook).all(|member| self.has_seen(member));
        if outlook.doubtful.is_empty() || either_way() || are_there() { of_sure } else { Decision::Nothing }
    }
}
