//! What a node does when it is the one that acts for all: it lets in, lets go and removes, once all agree.

use super::{Message, Node};
use crate::{
    member::{MemberStatus, UniqueAddress},
    membership::table::{MemberTable, Promotion},
};
use actors::Tick;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// How long an exiting member is waited for, and waits itself.
pub(super) const EXIT_WITHIN: Duration = Duration::from_secs(10);
/// How long those who join are waited for, where one is over that may have let them in. Who cannot be reached is noticed
/// sooner, even if only its connection hangs.
const HEARD_WITHIN: Duration = Duration::from_secs(30);
/// How long it is remembered who was removed, at least.
const ERA: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Debug)]
pub(super) struct Leading {
    /// When all agreed last.
    agreed: Tick,
    /// The latest era that this node has seen, and since when.
    era: (u64, Tick),
    /// Since when this node knows that they are exiting.
    exiting: BTreeMap<u64, Tick>,
    handed_over: BTreeSet<u64>,
    /// Since when nobody is left who would let others in.
    orphaned: Option<Tick>,
    /// Those that are Down, and may have let somebody in last of all.
    over: BTreeSet<u64>,
    /// Since when those who join have yet to say whether one that is over had let them in. That outlasts its removal.
    unsure: Option<Tick>,
}

impl Default for Leading {
    fn default() -> Self {
        Self {
            agreed: Tick::START,
            era: (0, Tick::START),
            exiting: BTreeMap::new(),
            handed_over: BTreeSet::new(),
            orphaned: None,
            over: BTreeSet::new(),
            unsure: None,
        }
    }
}

impl Leading {
    pub(super) fn begin(&mut self, now: Tick) {
        self.agreed = now;
        self.era.1 = now;
    }

    pub(super) fn saw_era(&mut self, era: u64, now: Tick) {
        if era > self.era.0 {
            self.era = (era, now);
        }
    }

    pub(super) fn handed_over(&mut self, uid: u64) {
        self.handed_over.insert(uid);
    }

    pub(super) fn has_handed_over(&self, uid: u64) -> bool {
        self.handed_over.contains(&uid)
    }

    /// Only once it was published who is gone, and whether its work was done.
    pub(super) fn forget_gone(&mut self, table: &MemberTable) {
        self.handed_over.retain(|uid| table.get(*uid).is_some());
    }

    fn look(&mut self, table: &MemberTable, now: Tick) {
        let exiting = |uid: u64| table.get(uid).is_some_and(|member| member.status == MemberStatus::Exiting);
        super::retain(&mut self.exiting, exiting);
        let members = table.members().filter(|member| member.status == MemberStatus::Exiting);
        for member in members {
            self.exiting.entry(member.node.uid).or_insert(now);
        }
        if table.is_converged() {
            self.agreed = now;
        }
        self.orphaned = table.is_orphaned().then(|| self.orphaned.unwrap_or(now));
        let over = table.may_have_led();
        if !over.is_subset(&self.over) {
            self.unsure = Some(now);
        }
        self.over = over;
        self.unsure = self.unsure.filter(|_| !table.all_that_come_or_go_have_seen());
    }

    /// Whether nobody was left for so long who would let others in.
    pub(super) fn is_orphaned_for(&self, time: Duration, now: Tick) -> bool {
        self.orphaned.is_some_and(|since| now - since >= time)
    }

    /// Whether some may have been let in by one that is over, and have not said so yet.
    fn is_unsure(&self, now: Tick) -> bool {
        self.unsure.is_some_and(|since| now - since < HEARD_WITHIN)
    }

    /// This node stood still until now, and has heard nobody meanwhile.
    pub(super) fn woke(&mut self, now: Tick) {
        self.unsure = self.unsure.map(|_| now);
    }

    /// Whether `me`, which exits, need not wait for being removed any longer: it has waited for long, or nobody is left who
    /// would.
    pub(super) fn is_exit_over(&self, table: &MemberTable, me: u64, now: Tick) -> bool {
        let stays = |status: MemberStatus| status < MemberStatus::Exiting;
        !table.members().any(|member| member.node.uid != me && stays(member.status))
            || self.exiting.get(&me).is_some_and(|since| now - *since >= EXIT_WITHIN)
    }
}

impl Node {
    pub(super) fn lead(&mut self, now: Tick) {
        let me = self.myself.node.uid;
        loop {
            self.leading.look(&self.table, now);
            if self.table.leader(me, None).is_none_or(|leader| leader.node.uid != me) {
                return;
            }
            let agreed = self.table.is_converged();
            let promotions = if agreed { self.due_promotions(now) } else { self.weak_promotions(now) };
            if promotions.is_empty() {
                return self.lead_eras(agreed, now);
            }
            promotions.iter().for_each(|promotion| self.promote(promotion));
        }
    }

    /// Who exits is removed when it is known that others have its work, or that it cannot do it any more. Nobody is let in
    /// while one may be Up already, with a number, and this node has not heard it.
    fn due_promotions(&self, now: Tick) -> Vec<Promotion> {
        let mut promotions = self.table.promotions(&self.settings.min_members);
        let unsure = self.leading.is_unsure(now);
        promotions.retain(|promotion| promotion.to != MemberStatus::Up || !unsure);
        let unreachable = self.table.unreachable();
        promotions.retain(|promotion| {
            let since = self.leading.exiting.get(&promotion.uid);
            since.is_none_or(|since| {
                self.leading.has_handed_over(promotion.uid)
                    || unreachable.contains(&promotion.uid)
                    || now - *since >= EXIT_WITHIN
            })
        });
        promotions
    }

    fn weak_promotions(&self, now: Tick) -> Vec<Promotion> {
        let after = self.settings.weakly_up_after;
        if after.is_zero() || now - self.leading.agreed < after {
            return Vec::new();
        }
        self.table.weak_promotions(&self.settings.min_members)
    }

    fn promote(&mut self, promotion: &Promotion) {
        let Some(node) = self.table.get(promotion.uid).map(|member| member.node.clone()) else { return };
        if self.table.promote(self.myself.node.uid, promotion).is_err() {
            return self.drop(super::DropReason::NoSuchStep);
        }
        if promotion.to == MemberStatus::Removed {
            self.farewell(&node);
        }
        self.peers.changed_here(node, promotion.to);
    }

    /// It may still be there, and is told before it is cut off.
    fn farewell(&mut self, node: &UniqueAddress) {
        if *node != self.myself.node {
            self.send(node, Message::YouAreRemoved);
        }
    }

    fn lead_eras(&mut self, agreed: bool, now: Tick) {
        if agreed && now - self.leading.era.1 >= ERA {
            self.table.begin_era(self.myself.node.uid);
            self.leading.era = (self.leading.era.0 + 1, now);
            self.peers.has_news();
        }
    }
}
