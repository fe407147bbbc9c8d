//! How tables become equal: each second with one other node, and at once with a few after a change of one's own.
//!
//! Two nodes compare summaries. If they differ, one tells its table, the other merges it and tells its own if that says
//! more. Who has seen a table is part of the summary, so agreement spreads in the same way.

use super::{DropReason, Effect, Message, Node, Phase, Summary, retain};
use crate::{
    member::{Member, MemberStatus, UniqueAddress},
    membership::table::{Digest, Gossip},
};
use actors::Tick;
use rand::{RngExt, seq::IndexedRandom};
use std::{
    collections::{BTreeMap, BTreeSet},
    hash::Hasher,
    time::Duration,
};
use xxhash_rust::xxh3::Xxh3;

/// How often a node compares its table with another's.
pub(super) const ROUND: Duration = Duration::from_secs(1);
/// How many hear of a change at once.
const PUSHED_TO: usize = 3;
/// How often one that knows something else is preferred, in a hundred.
const PREFER_DIFFERENT: usize = 80;
/// From here on it is preferred less: whoever changed last would be asked by all.
const PREFER_LESS_FROM: usize = 400;
/// More members than a cluster can have.
pub(crate) const MEMBERS_MAX: usize = 10_000;
/// More lives than end in two days.
pub(crate) const REMOVED_MAX: usize = 200_000;
/// More rows than a cluster can have that is not wholly broken.
pub(crate) const ROWS_MAX: usize = 1_000_000;

/// What this node knows of what the others know, and what it has to tell them.
#[derive(Debug, Default)]
pub(super) struct Peers {
    /// What each said last.
    summaries: BTreeMap<u64, Summary>,
    /// None before it is a member.
    next_round: Option<Tick>,
    news: bool,
    /// To be told directly, whoever else is.
    tell: BTreeSet<UniqueAddress>,
    /// Those that began to exit through this node.
    exited: Vec<u64>,
}

impl Peers {
    pub(super) fn begin(&mut self, now: Tick) {
        self.next_round = Some(now);
    }

    pub(super) fn next_round(&self) -> Tick {
        self.next_round.unwrap_or(Tick::START)
    }

    /// There is something to tell.
    pub(super) fn has_news(&mut self) {
        self.news = true;
    }

    /// This node had `member` take a step.
    pub(super) fn changed_here(&mut self, member: UniqueAddress, to: MemberStatus) {
        self.news = true;
        match to {
            MemberStatus::Exiting => self.exited.push(member.uid),
            // It must hear of it, and is not among those that are talked to any more.
            MemberStatus::Down => drop(self.tell.insert(member)),
            _ => {}
        }
    }
}

impl Node {
    /// What it knows, in short.
    fn summary(&self) -> Summary {
        let mut seen = Xxh3::new();
        self.table.seen().iter().for_each(|uid| seen.write_u64(*uid));
        Summary { digest: self.table.digest(), seen: seen.digest() }
    }

    /// Once a second.
    pub(super) fn gossip_round(&mut self, now: Tick) {
        if now < self.peers.next_round() {
            return;
        }
        self.peers.next_round = Some(now + ROUND);
        retain(&mut self.peers.summaries, |uid| self.table.get(uid).is_some());
        if let Some(peer) = self.choose_peer() {
            let summary = self.summary();
            self.send(&peer, Message::Summary(summary));
        }
        if self.my_status() == Some(MemberStatus::Exiting) && self.hosting.has_ended() {
            self.tell_handed_over();
        }
        self.probe(now);
        self.extend_hosting(now);
    }

    fn choose_peer(&mut self) -> Option<UniqueAddress> {
        let peers: Vec<UniqueAddress> = self.reached().map(|member| member.node.clone()).collect();
        let mine = self.summary();
        let is_different = |peer: &&UniqueAddress| self.peers.summaries.get(&peer.uid) != Some(&mine);
        let different: Vec<&UniqueAddress> = peers.iter().filter(is_different).collect();
        let preferred = PREFER_DIFFERENT * PREFER_LESS_FROM / peers.len().max(PREFER_LESS_FROM);
        if self.rng.random_range(0..100) < preferred
            && let Some(peer) = different.choose(&mut self.rng)
        {
            return Some((*peer).clone());
        }
        peers.choose(&mut self.rng).cloned()
    }

    /// The others that this node itself can reach.
    fn reached(&self) -> impl Iterator<Item = &Member> {
        self.others().filter(|member| !self.reach.is_lost(member.node.uid))
    }

    /// A change made here goes to a few at once, and to those it is about or who wait for it.
    pub(super) fn tell_change(&mut self) {
        if !std::mem::take(&mut self.peers.news) {
            return;
        }
        let mut to = std::mem::take(&mut self.peers.tell);
        to.remove(&self.myself.node);
        for uid in std::mem::take(&mut self.peers.exited) {
            to.extend(self.successors_of(uid));
        }
        let reached: Vec<UniqueAddress> = self.reached().map(|member| member.node.clone()).collect();
        to.extend(reached.sample(&mut self.rng, PUSHED_TO).cloned());
        self.out.push(Effect::Hint(self.table.digest()));
        to.iter().for_each(|peer| self.send_table(peer, true));
    }

    /// Those that are first in line for what an exiting member did: the two oldest of all, and of each of its roles.
    fn successors_of(&self, uid: u64) -> Vec<UniqueAddress> {
        let roles = self.table.get(uid).map(|member| member.roles.iter().cloned().map(Some).collect());
        let roles: Vec<Option<std::sync::Arc<str>>> = roles.unwrap_or_default();
        let mut successors = Vec::new();
        for role in std::iter::once(None).chain(roles) {
            let mut old: Vec<&Member> =
                self.others().filter(|member| member.status.is_full() && member.has_role(role.as_deref())).collect();
            old.sort_by(|one, two| one.by_age(two));
            successors.extend(old.into_iter().take(2).map(|member| member.node.clone()));
        }
        successors
    }

    pub(super) fn send_table(&mut self, to: &UniqueAddress, answer: bool) {
        let table = self.table.gossip();
        self.send(to, Message::Table { table, answer });
    }

    pub(super) fn receive_summary(&mut self, from: &UniqueAddress, summary: Summary) {
        self.peers.summaries.insert(from.uid, summary);
        if summary != self.summary() {
            self.send_table(from, true);
        }
    }

    /// Merges it. That of one that is held to be over counts no more, but for what it says of this node's own end: all others
    /// go by what this node has said since, as if it had heard nothing new. Where nobody is left to act for all it counts still.
    pub(super) fn receive_table(&mut self, from: &UniqueAddress, gossip: &Gossip, answer: bool, now: Tick) {
        let me = self.myself.node.uid;
        if !is_bounded(gossip) {
            return self.drop(DropReason::TooLarge);
        }
        if gossip.members.iter().any(|member| member.node.uid == me && member.node != self.myself.node) {
            return self.drop(DropReason::Malformed);
        }
        if self.table.get(from.uid).is_none() {
            if self.is_of_another_cluster(gossip) {
                self.send(from, Message::NotAMember);
            }
            return self.drop(DropReason::Stranger);
        }
        let knows_me = gossip.removed.contains_key(&me) || gossip.members.iter().any(|member| member.node.uid == me);
        if !knows_me {
            // It has not heard of this node yet.
            self.send_table(from, false);
            return self.drop(DropReason::Stranger);
        }
        let is_over = self.status_of(from.uid) == Some(MemberStatus::Down);
        let ends_me = |member: &Member| member.node.uid == me && member.status == MemberStatus::Down;
        if !is_over || self.table.is_orphaned() {
            self.table.merge(me, gossip);
        } else if gossip.removed.contains_key(&me) {
            return self.told_removed(from, now);
        } else if gossip.members.iter().any(ends_me) {
            self.step_member(me, MemberStatus::Down);
        }
        if gossip.members.iter().any(|member| member.node == *from && member.status == MemberStatus::Down) {
            self.hosting.quorum.forget(&from.address);
        }
        self.leading.saw_era(self.table.era(), now);
        let more = self.table.seen().iter().any(|uid| gossip.seen.binary_search(uid).is_err());
        let mine = self.summary();
        if answer && (more || mine.digest != gossip.digest()) {
            self.send_table(from, false);
        }
        self.peers.summaries.insert(from.uid, mine);
    }

    /// Whether these are members of another cluster, which believe that this node is one of theirs: the two have nobody in
    /// common.
    fn is_of_another_cluster(&self, gossip: &Gossip) -> bool {
        let me = self.myself.node.uid;
        let known = |uid: u64| uid != me && (self.table.get(uid).is_some() || self.table.was_removed(uid));
        gossip.members.iter().any(|member| member.node == self.myself.node)
            && !gossip.members.iter().any(|member| known(member.node.uid))
            && !gossip.removed.keys().any(|uid| known(*uid))
    }

    pub(super) fn follow_hint(&mut self, from: &UniqueAddress, digest: Digest) {
        if !matches!(self.phase, Phase::Member) || self.table.get(from.uid).is_none() {
            return self.drop(DropReason::Stranger);
        }
        if self.table.digest() != digest {
            let summary = self.summary();
            self.send(from, Message::Summary(summary));
        }
    }

    pub(super) fn tell_handed_over(&mut self) {
        let others: Vec<UniqueAddress> = self.others().map(|member| member.node.clone()).collect();
        others.iter().for_each(|other| self.send(other, Message::HandedOver));
    }
}

pub(super) fn is_bounded(gossip: &Gossip) -> bool {
    gossip.members.len() <= MEMBERS_MAX
        && gossip.removed.len() <= REMOVED_MAX
        && gossip.seen.len() <= MEMBERS_MAX
        && gossip.reachability.rows().take(ROWS_MAX + 1).count() <= ROWS_MAX
}
