//! [`Node`]: one member of a cluster, as a state machine. Whatever happens goes in with the time at which it does, and what
//! is to be done comes out: nothing here waits, sends or reads a clock.
//!
//! # Parts
//! [`joining`] gets it into a cluster, [`gossip`] keeps its table equal to those of the others, [`reach`] says whom it cannot
//! reach, [`leader`] acts for all when it is the one to, [`resolver`] decides what becomes of those that cannot be reached,
//! [`hosting`] for how long it may serve without hearing from the others and [`quorum`] from whom it must hear, [`freed`]
//! when one that was removed has certainly stopped, and [`events`] is what subscribers see of it.
//!
//! # Order
//! Effects are to be carried out in the order in which they come. Each step ends with the events of that step, so a
//! subscriber sees each change that this node made, in order, after the snapshot that it was given.

mod council;
mod events;
mod freed;
mod gossip;
mod hosting;
mod input;
mod joining;
mod leader;
mod message;
mod outlook;
mod quorum;
mod reach;
mod resolver;

#[cfg(test)]
mod alone_tests;
#[cfg(test)]
mod chaos;
#[cfg(test)]
pub(crate) mod network;
#[cfg(test)]
mod network_reach;
#[cfg(test)]
mod resolver_tests;
#[cfg(test)]
mod tests;

pub(crate) use crate::event::ClusterEvent;
pub(crate) use events::Snapshot;
pub(crate) use gossip::{MEMBERS_MAX, REMOVED_MAX, ROWS_MAX};
pub(crate) use input::{Command, DropReason, Effect, Input, LeaseAnswer, NodeSettings, StopReason};
pub(crate) use message::{Difference, Message, SettingValue, SharedSettings, Summary};

use super::table::{Digest, MemberTable};
use crate::{
    downing::Downing,
    epoch::Council,
    member::{Address, Member, MemberStatus, UniqueAddress},
};
use actors::Tick;
use rand::rngs::ChaCha8Rng;
use std::collections::BTreeMap;

#[derive(Debug)]
enum Phase {
    Idle,
    Joining(joining::Joining),
    Member,
    Stopped,
}

/// One member.
pub(crate) struct Node {
    /// As it joins.
    myself: Member,
    settings: NodeSettings,
    rng: ChaCha8Rng,
    phase: Phase,
    table: MemberTable,
    reach: reach::Reach,
    peers: gossip::Peers,
    leading: leader::Leading,
    resolver: resolver::Resolver,
    hosting: hosting::Hosting,
    published: events::Published,
    freed: freed::Freed,
    council: Option<Council>,
    last_turn: Tick,
    /// The table in which it has looked for other lives of its own.
    outlived: Option<Digest>,
    /// All is well: until the next round nothing follows from what members only ask and answer each other.
    is_calm: bool,
    out: Vec<Effect>,
}

impl Node {
    /// A node that has not joined. `myself` says what it is; `rng` decides whom it talks to.
    pub(crate) fn new(myself: Member, settings: NodeSettings, rng: ChaCha8Rng) -> Self {
        let myself = Member { status: MemberStatus::Joining, up_number: None, ..myself };
        Self {
            myself,
            settings,
            rng,
            phase: Phase::Idle,
            table: MemberTable::default(),
            reach: reach::Reach::default(),
            peers: gossip::Peers::default(),
            leading: leader::Leading::default(),
            resolver: resolver::Resolver::default(),
            hosting: hosting::Hosting::default(),
            published: events::Published::default(),
            freed: freed::Freed::default(),
            council: None,
            last_turn: Tick::START,
            outlived: None,
            is_calm: false,
            out: Vec::new(),
        }
    }

    /// What it knows.
    pub(crate) fn table(&self) -> &MemberTable {
        &self.table
    }

    /// Until when it may serve what it hosts, if at all.
    #[cfg(test)]
    pub(crate) fn hosting_valid_until(&self) -> Option<Tick> {
        self.hosting.until()
    }

    /// Takes `input`, at `now`, which never goes back.
    #[cfg(test)]
    pub(crate) fn step(&mut self, input: Input, now: Tick) -> Vec<Effect> {
        self.turn([input], now)
    }

    /// Takes all that has arrived by `now`, and only then lets time pass: what is late by then may have been contradicted.
    pub(crate) fn turn(&mut self, inputs: impl IntoIterator<Item = Input>, now: Tick) -> Vec<Effect> {
        self.notice_sleep(now);
        let mut is_calm = self.is_calm && now < self.peers.next_round();
        for input in inputs {
            is_calm &= input.is_talk();
            if matches!(self.phase, Phase::Stopped) {
                self.drop(DropReason::Stopped);
            } else {
                self.take(input, now);
            }
        }
        if is_calm {
            self.wake(now);
        } else {
            self.settle(now);
        }
        std::mem::take(&mut self.out)
    }

    /// Whether it is in a cluster now.
    pub(crate) fn is_member(&self) -> bool {
        matches!(self.phase, Phase::Member)
    }

    fn take(&mut self, input: Input, now: Tick) {
        match input {
            Input::News(news) => self.hear(news, now),
            Input::Message { from, message } => self.receive(&from, message, now),
            Input::Hint { from, digest } => self.follow_hint(&from, digest),
            Input::Link { peer, works } => self.reach.link(&peer, works, now),
            Input::Quarantined { by } => self.quarantined(&by, now),
            Input::Command(command) => self.obey(command, now),
            Input::LeaseAnswer(answer) => self.lease_answered(answer, now),
            #[cfg(test)]
            Input::Time => {}
        }
    }

    /// Whatever follows from what is known now.
    fn settle(&mut self, now: Tick) {
        self.go_on_joining(now);
        if matches!(self.phase, Phase::Member) {
            self.look_around(now);
            self.let_go();
            self.check_own_end(now);
        }
        if matches!(self.phase, Phase::Member) {
            self.outlive();
            self.note_refused(now);
            self.lead(now);
            self.resolve(now);
        }
        if matches!(self.phase, Phase::Member) {
            self.check_own_end(now);
        }
        if matches!(self.phase, Phase::Member) {
            self.gossip_round(now);
            self.tell_change();
            self.publish(now);
        }
        self.tell_council();
        self.is_calm = matches!(self.phase, Phase::Member)
            && self.table.is_converged()
            && self.table.members().all(|member| member.status == MemberStatus::Up)
            && self.reach.is_calm();
        if !matches!(self.phase, Phase::Stopped) {
            self.wake(now);
        }
    }

    fn receive(&mut self, from: &UniqueAddress, message: Message, now: Tick) {
        if *from == self.myself.node {
            return self.drop(DropReason::Malformed);
        }
        match message {
            Message::Ask { settings } => self.asked(from, &settings),
            Message::Join { member, settings } => self.let_in(from, member, &settings),
            Message::Ready | Message::NotReady | Message::Refused { .. } | Message::Wait | Message::Welcome { .. } => {
                self.seed_answered(from, message, now);
            }
            Message::YouAreRemoved => self.told_removed(from, now),
            _ if !matches!(self.phase, Phase::Member) => self.drop(DropReason::WrongPhase),
            _ if self.table.was_removed(from.uid) => {
                self.send(from, Message::YouAreRemoved);
                self.drop(DropReason::Gone);
            }
            Message::Table { table, answer } => self.receive_table(from, &table, answer, now),
            Message::Summary(_) if self.table.get(from.uid).is_none() => {
                self.send(from, Message::WhoAreYou);
                self.drop(DropReason::Stranger);
            }
            _ if self.table.get(from.uid).is_none() => self.drop(DropReason::Stranger),
            _ if self.status_of(from.uid) == Some(MemberStatus::Down) => {
                // It may not know yet; and where nobody is left to act for all, what it knows counts.
                self.send_table(from, self.table.is_orphaned());
                self.drop(DropReason::Gone);
            }
            Message::Summary(summary) => self.receive_summary(from, summary),
            Message::Probe { at } => self.probed(from, at, now),
            Message::Echo { at } => self.echoed(from, at, now),
            Message::HandedOver => self.leading.handed_over(from.uid),
            Message::WhoAreYou => self.join_through(from),
            Message::NotAMember => self.step_member(from.uid, MemberStatus::Down),
        }
    }

    fn obey(&mut self, command: Command, now: Tick) {
        match (command, &self.phase) {
            (Command::Subscribe { subscriber }, _) => self.subscribe(subscriber),
            (Command::Join { seeds }, _) => self.join(seeds, now),
            (Command::Leave(address), Phase::Idle | Phase::Joining(_)) if address == self.myself.node.address => {
                self.stop(StopReason::Left, now);
            }
            (Command::Leave(address), Phase::Member) => self.step_all_at(&address, MemberStatus::Leaving),
            (Command::Down(address), Phase::Member) => {
                self.step_all_at(&address, MemberStatus::Down);
                // Otherwise the others may have gone on without this node, and with whom it gives up.
                if !self.hosting.is_over(now) {
                    self.hosting.quorum.forget(&address);
                }
            }
            (Command::PrepareForShutdown, Phase::Member) => {
                let up = self.table.members().filter(|member| member.status == MemberStatus::Up);
                let up: Vec<u64> = up.map(|member| member.node.uid).collect();
                up.into_iter().for_each(|uid| self.step_member(uid, MemberStatus::PreparingForShutdown));
            }
            (Command::HandedOver, Phase::Member) if self.my_status() == Some(MemberStatus::Exiting) => {
                self.hosting.end();
                self.out.push(Effect::StopHosting(StopReason::Left));
                self.tell_handed_over();
            }
            _ => self.drop(DropReason::WrongPhase),
        }
    }

    fn step_all_at(&mut self, address: &Address, to: MemberStatus) {
        let lives = self.table.members().filter(|member| member.node.address == *address);
        let lives: Vec<u64> = lives.filter(|member| member.status.may_become(to)).map(|life| life.node.uid).collect();
        if lives.is_empty() {
            self.drop(DropReason::NoSuchStep);
        }
        lives.into_iter().for_each(|uid| self.step_member(uid, to));
    }

    /// A step that this node has a member take, and tells.
    fn step_member(&mut self, uid: u64, to: MemberStatus) {
        let node = self.table.get(uid).map(|member| member.node.clone());
        match (self.table.step(self.myself.node.uid, uid, to), node) {
            (Ok(()), Some(node)) => self.peers.changed_here(node, to),
            _ => self.drop(DropReason::NoSuchStep),
        }
    }

    /// Another life at this node's own address is over, whichever side still has it: nobody else would miss one that was
    /// never full, and its connections lead here.
    fn outlive(&mut self) {
        let looked_at = self.outlived.replace(self.table.digest());
        if looked_at == self.outlived {
            return;
        }
        let mine = &self.myself.node;
        let there = self.others().filter(|other| other.node.address == mine.address);
        let over: Vec<u64> = there.map(|other| other.node.uid).collect();
        over.into_iter().for_each(|uid| self.step_member(uid, MemberStatus::Down));
    }

    /// Whether it is over for this node, and why.
    fn check_own_end(&mut self, now: Tick) {
        let uid = self.myself.node.uid;
        match self.my_status() {
            Some(MemberStatus::Down) => self.stop(StopReason::Down, now),
            Some(MemberStatus::Exiting) if self.leading.is_exit_over(&self.table, uid, now) => {
                self.stop(StopReason::Left, now);
            }
            Some(mine) if self.table.get(uid).is_some_and(Member::is_to_come) => {
                // Others may have begun anew meanwhile, where this life counts for nothing.
                let long = Downing::stable_after(self.table.members().count()) * 2;
                if self.leading.is_orphaned_for(long, now) {
                    let why = if mine == MemberStatus::Leaving { StopReason::Left } else { StopReason::Stranded };
                    self.stop(why, now);
                }
            }
            Some(_) if self.slept_through_all() => self.stop(StopReason::Stranded, now),
            Some(_) => {}
            None if self.published.status(uid) == Some(MemberStatus::Exiting) => self.stop(StopReason::Left, now),
            None => self.stop(StopReason::Removed, now),
        }
    }

    /// Ends this node. It says so, if anybody can hear it.
    fn stop(&mut self, reason: StopReason, now: Tick) {
        self.hosting.end();
        self.out.push(Effect::StopHosting(reason));
        if matches!(self.phase, Phase::Member) {
            if reason != StopReason::Left && self.my_status().is_some_and(|mine| mine.may_become(MemberStatus::Down)) {
                self.step_member(self.myself.node.uid, MemberStatus::Down);
            }
            self.tell_change();
            self.publish(now);
        }
        self.phase = Phase::Stopped;
        self.out.push(Effect::StopProcess(reason));
    }

    fn wake(&mut self, now: Tick) {
        let at = match &self.phase {
            Phase::Idle | Phase::Stopped => return,
            Phase::Joining(joining) => joining.next(),
            Phase::Member => {
                let decides = self.decides_at().filter(|at| *at > now);
                decides.map_or(self.peers.next_round(), |at| at.min(self.peers.next_round()))
            }
        };
        self.out.push(Effect::WakeAt(at.max(now)));
    }

    fn status_of(&self, uid: u64) -> Option<MemberStatus> {
        self.table.get(uid).map(|member| member.status)
    }

    fn my_status(&self) -> Option<MemberStatus> {
        self.status_of(self.myself.node.uid)
    }

    /// The others that are neither Down nor removed.
    fn others(&self) -> impl Iterator<Item = &Member> {
        let me = self.myself.node.uid;
        self.table.members().filter(move |member| member.node.uid != me && member.status < MemberStatus::Down)
    }

    fn send(&mut self, to: &UniqueAddress, message: Message) {
        self.out.push(Effect::Send { to: to.clone(), message });
    }

    fn drop(&mut self, reason: DropReason) {
        self.out.push(Effect::Dropped(reason));
    }
}

/// Forgets all that `keep` does not want.
fn retain<T>(map: &mut BTreeMap<u64, T>, keep: impl Fn(u64) -> bool) {
    map.retain(|uid, _| keep(*uid));
}
