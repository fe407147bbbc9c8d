//! [`Courier`]: takes numbered frames of all other lives, from the first moment of its own; [`Outbox`] sends them.
//!
//! They go by remoting alone, so nothing above it hides what it does: what is for one life must not come to another, even one
//! that has only begun, and what is to come once and in order must do so.

use super::{balance::Sent, ledger::Ledger};
use crate::{
    cluster::Cluster,
    event::ClusterState,
    member::{MemberStatus, UniqueAddress},
    remote::{
        door::{Channel, Receiver, Remote as _},
        transport::Lane,
    },
};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};

/// Of so many lives that are gone it is tried whether what is for them comes to their successors.
const GONE_MAX: usize = 4;

/// Of so many times that its owner talks it sends once.
const SENDS_EVERY: u64 = 2;

/// Of a frame: from which life to which, the how manieth, and how much was lost between the two by then, if it may be.
struct Numbers {
    from: u64,
    to: u64,
    number: u64,
    lost: u64,
}

impl Numbers {
    fn encode(&self) -> Bytes {
        [self.from, self.to, self.number, self.lost].map(u64::to_be_bytes).concat().into()
    }

    fn decode(frame: &[u8]) -> Option<Self> {
        let number = |at: usize| Some(u64::from_be_bytes(frame.get(at..at + 8)?.try_into().ok()?));
        Some(Self { from: number(0)?, to: number(8)?, number: number(16)?, lost: number(24)? })
    }
}

/// On one node.
pub(super) struct Courier {
    ledger: Ledger,
    me: UniqueAddress,
    heard: Mutex<BTreeMap<u64, Heard>>,
}

/// Of one life.
#[derive(Default)]
struct Heard {
    /// The last number of those that come at most once, and how much was lost when it was sent.
    last: (u64, u64),
    /// The last number of those that come once.
    once: u64,
}

impl Courier {
    pub(super) fn new(ledger: &Ledger, me: &UniqueAddress) -> Self {
        ledger.balance(|balance| balance.begins(me));
        Self { ledger: ledger.clone(), me: me.clone(), heard: Mutex::default() }
    }
}

impl Receiver for Courier {
    fn deliver(&self, from: &UniqueAddress, _: Lane, system: bool, body: Bytes) {
        let me = &self.me;
        let Some(Numbers { from: sender, to, number, lost }) = Numbers::decode(&body) else {
            return self.ledger.fail("A2", format!("{me} got a frame of {from} that nobody sent"));
        };
        if to != me.uid || sender != from.uid {
            let what = format!("{me} got from {from} what the life {sender:016x} sent to the life {to:016x}");
            return self.ledger.fail("A2", what);
        }
        let mut heard = self.heard.lock();
        let heard = heard.entry(sender).or_default();
        let before = heard.last;
        let last = match system {
            true => std::mem::replace(&mut heard.once, number),
            false => std::mem::replace(&mut heard.last, (number, lost)).0,
        };
        if number <= last || (system && number != last + 1) {
            let what = format!("{me} got number {number} of {from} after number {last}, and they are to come once");
            return self.ledger.fail("A2", what);
        }
        if !system {
            self.ledger.balance(|balance| balance.came(sender, to, Sent::ByRemoting, number, before));
        }
        self.ledger.arrived(sender, to, system, number);
    }
}

/// What one node sends to the couriers of others.
pub(super) struct Outbox {
    ledger: Ledger,
    cluster: Cluster,
    /// Whom the last number of those that come at most once, and of those that come once, went to.
    lives: BTreeMap<u64, (UniqueAddress, [u64; 2])>,
    /// Those that are gone for this node, though they may run on; the numbers go on too.
    gone: VecDeque<(UniqueAddress, [u64; 2])>,
    asked: u64,
}

impl Outbox {
    pub(super) fn new(ledger: &Ledger, cluster: &Cluster) -> Self {
        Self {
            ledger: ledger.clone(),
            cluster: cluster.clone(),
            lives: BTreeMap::new(),
            gone: VecDeque::new(),
            asked: 0,
        }
    }

    /// To each other member a frame, and one that must arrive; and to some that are gone, whom it must not reach.
    pub(super) fn send(&mut self, state: &ClusterState) {
        self.asked += 1;
        if !self.asked.is_multiple_of(SENDS_EVERY) {
            return;
        }
        let me = self.cluster.me().uid;
        let remote = self.cluster.remoting();
        let is_there = |life: &UniqueAddress| state.member(life).is_some_and(|known| known.status < MemberStatus::Down);
        let gone = self.lives.extract_if(.., |_, (life, _)| !is_there(life));
        self.gone.extend(gone.map(|(_, life)| life));
        self.gone.drain(..self.gone.len().saturating_sub(GONE_MAX));
        for (life, [number, _]) in &mut self.gone {
            *number += 1;
            let lost = self.ledger.balance(|balance| balance.lost(me, life.uid, Sent::ByRemoting));
            let frame = Numbers { from: me, to: life.uid, number: *number, lost }.encode();
            remote.send(&life.address, Some(life.uid), Channel::Probe, Lane::Ordinary, frame);
        }
        for member in state.members.iter().filter(|member| member.status < MemberStatus::Down) {
            let life = &member.node;
            if life.uid == me {
                continue;
            }
            let (_, [number, once]) = self.lives.entry(life.uid).or_insert_with(|| (life.clone(), [0; 2]));
            let lost = self.ledger.balance(|balance| balance.lost(me, life.uid, Sent::ByRemoting));
            *number += 1;
            self.ledger.owes(me, life.uid, false, *number);
            let frame = Numbers { from: me, to: life.uid, number: *number, lost }.encode();
            remote.send(&life.address, Some(life.uid), Channel::Probe, Lane::Ordinary, frame);
            *once += 1;
            self.ledger.owes(me, life.uid, true, *once);
            remote.send_system(life, Channel::Probe, Numbers { from: me, to: life.uid, number: *once, lost }.encode());
        }
    }
}
