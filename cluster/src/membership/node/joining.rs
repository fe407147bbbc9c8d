//! How a node gets into a cluster, and how others are let in.
//!
//! Whoever wants in asks all seeds, and joins through the first that is ready. Only the first seed of the list may begin a
//! cluster, once nobody has answered for a while, or, if so many must, enough have said that they have none; and not once it
//! has heard of one, though it be refused there, until all seeds say for a while that they have none.

use super::{DropReason, Effect, Message, Node, Phase, SharedSettings, StopReason, gossip::is_bounded};
use crate::{
    member::{Address, Member, MemberStatus, UniqueAddress},
    membership::table::Gossip,
};
use actors::Tick;
use std::{collections::BTreeMap, time::Duration};

/// When the first seed begins a cluster because nobody has one.
pub(super) const ALONE_AFTER: Duration = Duration::from_secs(5);
/// When seeds are asked again.
pub(super) const ASK_AGAIN: Duration = Duration::from_secs(10);
/// The first seed is in more of a hurry: a lost question must not make two clusters.
const FIRST_SEED_ASKS_AGAIN: Duration = Duration::from_secs(1);
/// When the first seed begins a cluster because all others say that they have none, and there was one.
const NONE_FOR: Duration = Duration::from_secs(20);
/// More than anybody has.
const SEEDS_MAX: usize = 64;

/// Not in yet.
#[derive(Debug)]
pub(super) struct Joining {
    seeds: Vec<Address>,
    next_ask: Tick,
    /// It may begin a cluster if nobody has one.
    is_first: bool,
    /// When it does.
    alone_at: Option<Tick>,
    /// The lives that were heard to be members of one.
    members: BTreeMap<Address, u64>,
    /// The seeds that have none, and when they said so last.
    without: BTreeMap<Address, Tick>,
    /// Whom it has sent `Join` since it asked last.
    asked: Option<Address>,
}

impl Joining {
    pub(super) fn next(&self) -> Tick {
        self.alone_at.map_or(self.next_ask, |at| at.min(self.next_ask))
    }

    /// A seed has a cluster, or none.
    fn heard(&mut self, from: &UniqueAddress, answer: &Message, now: Tick) {
        if !matches!(answer, Message::NotReady) {
            self.members.insert(from.address.clone(), from.uid);
            self.without.clear();
            if self.alone_at.take().is_some() {
                self.next_ask = now + ASK_AGAIN;
            }
        } else if self.members.get(&from.address) != Some(&from.uid) {
            // One that leaves a cluster says the same, and so is not believed.
            self.without.insert(from.address.clone(), now);
            if self.is_first && self.alone_at.is_none() && self.nobody_has_one(now) {
                (self.alone_at, self.next_ask) = (Some(now + NONE_FOR), now);
            }
        }
    }

    /// This node stood still until now: the time in which others could have answered is not over, it begins.
    pub(super) fn woke(&mut self, now: Tick) {
        if let Some(alone_at) = &mut self.alone_at {
            let long = if self.members.is_empty() { ALONE_AFTER } else { NONE_FOR };
            (*alone_at, self.next_ask) = (now + long, now);
        }
    }

    /// Whether all seeds, and all that had one, have said of late that they have none. That nobody answers says nothing once
    /// there was one, nor does it that who had it is no seed any more.
    fn nobody_has_one(&self, now: Tick) -> bool {
        self.seeds.iter().chain(self.members.keys()).all(|seed| self.has_none(seed, now))
    }

    /// How many are there to begin a cluster, this node among them.
    fn ready(&self, now: Tick) -> usize {
        1 + self.seeds.iter().filter(|seed| self.has_none(seed, now)).count()
    }

    fn has_none(&self, seed: &Address, now: Tick) -> bool {
        self.without.get(seed).is_some_and(|at| now - *at < ASK_AGAIN * 3 / 2)
    }
}

impl Node {
    pub(super) fn join(&mut self, mut seeds: Vec<Address>, now: Tick) {
        if !matches!(self.phase, Phase::Idle | Phase::Joining(_)) {
            return self.drop(DropReason::WrongPhase);
        }
        let me = &self.myself.node.address;
        match seeds.as_slice() {
            [] => return self.drop(DropReason::NoSeeds),
            all if all.len() > SEEDS_MAX => return self.drop(DropReason::TooLarge),
            _ => {}
        }
        let first = seeds.first() == Some(me);
        seeds.retain(|seed| seed != me);
        // Others were found meanwhile: what was heard before counts still, and whoever was not the first may never be.
        let (is_first, members) = match &mut self.phase {
            Phase::Joining(joining) => (joining.is_first && first, std::mem::take(&mut joining.members)),
            _ => (first, BTreeMap::new()),
        };
        let may_begin = is_first && members.is_empty();
        let alone_at = may_begin.then(|| if seeds.is_empty() { now } else { now + ALONE_AFTER });
        self.phase = Phase::Joining(Joining {
            seeds,
            next_ask: now,
            is_first,
            alone_at,
            members,
            without: BTreeMap::new(),
            asked: None,
        });
    }

    pub(super) fn go_on_joining(&mut self, now: Tick) {
        let Phase::Joining(joining) = &mut self.phase else { return };
        if joining.alone_at.is_some_and(|at| at <= now) && !joining.members.is_empty() && !joining.nobody_has_one(now) {
            joining.alone_at = None;
        }
        if joining.alone_at.is_some_and(|at| at <= now) && joining.ready(now) < self.settings.contacts_min {
            joining.alone_at = Some(now + FIRST_SEED_ASKS_AGAIN);
        }
        if joining.alone_at.is_some_and(|at| at <= now) {
            self.table.add(self.myself.node.uid, self.myself.clone());
            return self.begin(now);
        }
        if joining.next_ask <= now {
            joining.asked = None;
            joining.next_ask = now + if joining.alone_at.is_some() { FIRST_SEED_ASKS_AGAIN } else { ASK_AGAIN };
            for seed in joining.seeds.clone() {
                let settings = self.settings.shared.clone();
                self.out.push(Effect::SendTo { to: seed, message: Message::Ask { settings } });
            }
        }
    }

    /// From here on it is a member.
    fn begin(&mut self, now: Tick) {
        self.phase = Phase::Member;
        self.peers.begin(now);
        self.leading.begin(now);
        self.resolver.begin(now);
    }

    pub(super) fn seed_answered(&mut self, from: &UniqueAddress, message: Message, now: Tick) {
        let Phase::Joining(joining) = &mut self.phase else { return self.drop(DropReason::WrongPhase) };
        if !joining.seeds.contains(&from.address) {
            return self.drop(DropReason::Stranger);
        }
        joining.heard(from, &message, now);
        match message {
            Message::Ready if joining.asked.is_none() => {
                joining.asked = Some(from.address.clone());
                let (member, settings) = (self.myself.clone(), self.settings.shared.clone());
                self.send(from, Message::Join { member, settings });
            }
            Message::Refused { differing } => self.out.push(Effect::JoinRefused { by: from.clone(), differing }),
            Message::Welcome { table } => self.welcomed(&table, now),
            _ => {}
        }
    }

    /// A member of the same cluster does not know this one. It may have been cut off from whoever let this one in, which
    /// ended before it could tell.
    pub(super) fn join_through(&mut self, member: &UniqueAddress) {
        if self.my_status().is_some_and(|mine| mine < MemberStatus::Up) {
            let (me, settings) = (self.myself.clone(), self.settings.shared.clone());
            self.send(member, Message::Join { member: me, settings });
        }
    }

    fn welcomed(&mut self, table: &Gossip, now: Tick) {
        let me = &self.myself.node;
        if !is_bounded(table) {
            return self.drop(DropReason::TooLarge);
        }
        if !table.members.iter().any(|member| member.node == *me) {
            return self.drop(DropReason::Malformed);
        }
        self.table.merge(me.uid, table);
        self.begin(now);
        // The others wait for this node to have seen the table.
        self.peers.has_news();
    }

    pub(super) fn asked(&mut self, from: &UniqueAddress, settings: &SharedSettings) {
        let answer = self.answer_to(from, settings).unwrap_or(Message::Ready);
        self.send(from, answer);
    }

    pub(super) fn let_in(&mut self, from: &UniqueAddress, member: Member, settings: &SharedSettings) {
        if member.node != *from || member.status != MemberStatus::Joining || member.up_number.is_some() {
            return self.drop(DropReason::Malformed);
        }
        if let Some(refusal) = self.answer_to(from, settings) {
            if self.is_full_for(from) {
                self.drop(DropReason::Full);
            }
            return self.send(from, refusal);
        }
        if self.table.add(self.myself.node.uid, member) {
            self.peers.has_news();
        }
        let table = self.table.gossip();
        self.send(from, Message::Welcome { table });
    }

    /// Why `from` is not let in; nothing if it is.
    fn answer_to(&self, from: &UniqueAddress, settings: &SharedSettings) -> Option<Message> {
        let may_let_in = self.my_status().is_some_and(|mine| mine < MemberStatus::Leaving);
        if !matches!(self.phase, Phase::Member) || !may_let_in || !settings.is_bounded() {
            return Some(Message::NotReady);
        }
        let given_up = self.status_of(from.uid) == Some(MemberStatus::Down);
        if given_up || self.table.was_removed(from.uid) {
            return Some(Message::YouAreRemoved);
        }
        let differing = self.settings.shared.differences(settings);
        if !differing.is_empty() {
            return Some(Message::Refused { differing });
        }
        let earlier = |member: &Member| member.node.address == from.address && member.node.uid != from.uid;
        // Not that there is none: whoever may begin a cluster would begin another.
        (self.table.members().any(earlier) || self.is_full_for(from)).then_some(Message::Wait)
    }

    /// Whether there is no room for `from`, which has none yet.
    fn is_full_for(&self, from: &UniqueAddress) -> bool {
        self.table.get(from.uid).is_none() && self.table.members().count() >= super::gossip::MEMBERS_MAX
    }

    /// A member, or whom this node asks to let it in, says that this life is over. So may one that has come in elsewhere, if
    /// SWIM knows it: those that gave this node up may all be gone, and those that they let in know of it.
    pub(super) fn told_removed(&mut self, from: &UniqueAddress, now: Tick) {
        let known = match &self.phase {
            Phase::Joining(joining) => joining.seeds.contains(&from.address),
            Phase::Member => self.table.get(from.uid).is_some() || !self.reach.is_dead(from.uid),
            Phase::Idle | Phase::Stopped => false,
        };
        match self.my_status() {
            _ if !known => self.drop(DropReason::Stranger),
            Some(MemberStatus::Exiting) => self.stop(StopReason::Left, now),
            _ => self.stop(StopReason::Removed, now),
        }
    }
}
