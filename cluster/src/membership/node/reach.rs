//! Whom this node cannot reach, and what it tells the table of it: one row about each other member, true while SWIM holds
//! it for dead, while SWIM has never heard of it although it has been a member for long, or while the connection to it fails although
//! SWIM holds it for alive.

use super::{DropReason, Effect, Message, Node, Phase, StopReason, retain};
use crate::testkit::planted::{Bug, is_planted};
use crate::{
    member::{MemberStatus, UniqueAddress},
    membership::news::News,
};
use actors::Tick;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// How long a connection must have failed.
pub(super) const LINK_FAULT_AFTER: Duration = Duration::from_secs(5);
/// How long SWIM may take to hear of a full member for the first time.
const REPORTED_AFTER: Duration = Duration::from_secs(10);
/// One that left is cut off when whatever it said last has arrived.
pub(super) const QUARANTINE_AFTER: Duration = Duration::from_secs(5);
/// More than a cluster has, and as many again that are about to join.
const KNOWN_MAX: usize = 20_000;

/// All by uid.
#[derive(Debug, Default)]
pub(super) struct Reach {
    /// Whether SWIM holds it for alive.
    alive: BTreeMap<u64, bool>,
    /// Who is alive by SWIM, and in no table that this node had yet.
    strangers: BTreeMap<u64, UniqueAddress>,
    /// Since when this node knows a full member.
    known_since: BTreeMap<u64, Tick>,
    /// Since when the connection to it fails.
    failing: BTreeMap<u64, Tick>,
    /// What the rows say.
    lost: BTreeSet<u64>,
    quarantined_by: BTreeSet<u64>,
    to_quarantine: Vec<(Tick, UniqueAddress)>,
}

impl Reach {
    pub(super) fn link(&mut self, peer: &UniqueAddress, works: bool, now: Tick) {
        if works {
            self.failing.remove(&peer.uid);
        } else if self.failing.len() < KNOWN_MAX {
            self.failing.entry(peer.uid).or_insert(now);
        }
    }

    /// Whether this node says of it that it cannot be reached.
    pub(super) fn is_lost(&self, uid: u64) -> bool {
        self.lost.contains(&uid)
    }

    pub(super) fn is_dead(&self, uid: u64) -> bool {
        self.alive.get(&uid) != Some(&true)
    }

    /// Whether nothing is about to be said of anybody, nor done.
    pub(super) fn is_calm(&self) -> bool {
        self.failing.is_empty() && self.to_quarantine.is_empty() && self.alive.values().all(|alive| *alive)
    }

    pub(super) fn is_failing(&self, uid: u64) -> bool {
        self.failing.contains_key(&uid)
    }

    fn forget(&mut self, uid: u64) {
        self.alive.remove(&uid);
        self.strangers.remove(&uid);
    }

    pub(super) fn quarantine_at(&mut self, at: Tick, node: UniqueAddress) {
        self.to_quarantine.push((at, node));
    }
}

impl Node {
    pub(super) fn hear(&mut self, news: News, now: Tick) {
        match news {
            News::Alive(node) if node == self.myself.node => {}
            // It may be about to join, or was removed.
            News::Alive(node) if self.reach.alive.len() < KNOWN_MAX || self.table.get(node.uid).is_some() => {
                self.reach.alive.insert(node.uid, true);
                if self.table.get(node.uid).is_none() {
                    self.reach.strangers.insert(node.uid, node);
                }
            }
            News::Alive(_) => self.drop(DropReason::TooLarge),
            News::Unreachable(node) if self.table.get(node.uid).is_some() => {
                self.reach.alive.insert(node.uid, false);
            }
            News::Unreachable(node) => self.reach.forget(node.uid),
            News::Replaced { old, .. } if old == self.myself.node => self.stop(StopReason::Replaced, now),
            News::Replaced { old, new } => {
                if self.table.get(new.uid).is_some() || self.reach.alive.len() < KNOWN_MAX {
                    self.reach.alive.insert(new.uid, true);
                }
                self.reach.forget(old.uid);
                if self.status_of(old.uid).is_some_and(|status| status.may_become(MemberStatus::Down)) {
                    self.reach.alive.insert(old.uid, false);
                    self.step_member(old.uid, MemberStatus::Down);
                }
            }
            News::Connected => {}
            News::Alone => self.reach.alive.values_mut().for_each(|alive| *alive = false),
        }
    }

    /// Tells those that are there, and were removed before this node came in or while they were cut off.
    fn tell_removed(&mut self) {
        let (table, reach) = (&self.table, &mut self.reach);
        reach.strangers.retain(|uid, _| reach.alive.get(uid) == Some(&true) && table.get(*uid).is_none());
        let removed: Vec<_> = reach.strangers.extract_if(.., |uid, _| table.was_removed(*uid)).collect();
        for (uid, node) in removed {
            self.reach.alive.remove(&uid);
            self.send(&node, Message::YouAreRemoved);
            self.out.push(Effect::Quarantine(node));
        }
    }

    /// Brings the rows up to date with what is known, and cuts off whose time has come.
    pub(super) fn look_around(&mut self, now: Tick) {
        self.tell_removed();
        let me = self.myself.node.uid;
        let table = &self.table;
        retain(&mut self.reach.known_since, |uid| table.get(uid).is_some());
        // An unknown one that is silent can be forgotten: it will be heard of again.
        self.reach.alive.retain(|uid, alive| *alive || table.get(*uid).is_some());
        self.reach.failing.retain(|uid, _| table.get(*uid).is_some());
        self.reach.lost.retain(|uid| table.get(*uid).is_some());
        let mut rows = Vec::new();
        for member in table.members().filter(|member| member.node.uid != me) {
            let uid = member.node.uid;
            let since = *self.reach.known_since.entry(uid).or_insert(now);
            let dead = match self.reach.alive.get(&uid) {
                Some(alive) => !alive,
                None => now - since >= REPORTED_AFTER,
            };
            let cut = self.reach.failing.get(&uid).is_some_and(|since| now - *since >= LINK_FAULT_AFTER);
            rows.push((uid, dead || cut));
        }
        for (uid, lost) in rows {
            if lost {
                self.reach.lost.insert(uid);
            } else {
                self.reach.lost.remove(&uid);
            }
            if self.table.observe(me, uid, lost) {
                self.peers.has_news();
            }
        }
        let due = |(at, _): &mut (Tick, UniqueAddress)| *at <= now;
        let due: Vec<_> = self.reach.to_quarantine.extract_if(.., due).collect();
        self.out.extend(due.into_iter().map(|(_, node)| Effect::Quarantine(node)));
    }

    /// One that cut this node off is one that it cannot reach. If most did, or all that are still there, this node stops: they
    /// have given it up, and whoever would have told it is gone.
    pub(super) fn quarantined(&mut self, by: &UniqueAddress, now: Tick) {
        if !matches!(self.phase, Phase::Member) || self.table.get(by.uid).is_none() {
            return self.drop(DropReason::Stranger);
        }
        self.reach.quarantined_by.insert(by.uid);
        self.reach.failing.entry(by.uid).or_insert(now);
        let table = &self.table;
        self.reach.quarantined_by.retain(|uid| table.get(*uid).is_some_and(|member| member.status.is_full()));
        let full = || table.members().filter(|member| member.status.is_full()).map(|member| member.node.uid);
        let is_there = |uid: &u64| *uid != self.myself.node.uid && self.reach.alive.get(uid) != Some(&false);
        let are_there: Vec<u64> = full().filter(is_there).collect();
        let by_all = !are_there.is_empty() && are_there.iter().all(|uid| self.reach.quarantined_by.contains(uid));
        let by_most = self.reach.quarantined_by.len() * 2 > full().count();
        if by_all || by_most || is_planted(Bug::QuarantineByOne) {
            self.stop(StopReason::Quarantined, now);
        }
    }
}
