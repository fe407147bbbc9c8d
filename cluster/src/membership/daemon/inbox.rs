//! [`Inbox`]: what waits for the daemon. Connections put in what comes from other nodes, users what they want; nobody waits.

use super::counts::Counts;
use crate::{
    event::ClusterEvent,
    member::UniqueAddress,
    membership::{
        node::{Command, LeaseAnswer},
        swim::KeyRing,
    },
    remote::{association::Ended, door::Receiver, dropped::DropReason, transport::Lane},
};
use actors::ActorRef;
use bytes::Bytes;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};
use tokio::sync::Notify;

/// Messages that wait, and their bytes.
const MESSAGES_MAX: usize = 20_000;
const BYTES_MAX: usize = 64 * 1024 * 1024;
/// Wishes that wait.
const WISHES_MAX: usize = 1024;
/// Lives about whose connections there is something to say.
const LINKS_MAX: usize = 16_384;

/// What somebody on this node wants.
#[derive(Debug)]
pub(crate) enum Wish {
    Command(Command),
    Subscribe(ActorRef<ClusterEvent>),
    /// Other keys for datagrams.
    Rotate(KeyRing),
    /// It does not join after all: if it is a member already it says that it is gone.
    Quit,
}

/// Too much waits already. Nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cluster's daemon has too much to do: try again later")]
pub(crate) struct Busy;

/// All that arrived since it was asked for last.
#[derive(Debug, Default)]
pub(crate) struct Arrived {
    pub(crate) messages: VecDeque<(UniqueAddress, Bytes)>,
    /// Whether connections work, as was said last.
    pub(crate) links: BTreeMap<UniqueAddress, bool>,
    pub(crate) quarantined_by: BTreeSet<UniqueAddress>,
    pub(crate) ended: BTreeSet<UniqueAddress>,
    pub(crate) wishes: VecDeque<Wish>,
    /// One is asked for at a time.
    pub(crate) lease: VecDeque<LeaseAnswer>,
    bytes: usize,
}

/// Waits for the daemon.
#[derive(Debug)]
pub(crate) struct Inbox {
    arrived: Mutex<Arrived>,
    there_is_something: Notify,
    counts: Arc<Counts>,
}

impl Inbox {
    pub(crate) fn new(counts: Arc<Counts>) -> Self {
        Self { arrived: Mutex::default(), there_is_something: Notify::new(), counts }
    }

    /// # Errors
    /// There is no room.
    pub(crate) fn wish(&self, wish: Wish) -> Result<(), Busy> {
        let mut arrived = self.arrived.lock();
        if arrived.wishes.len() >= WISHES_MAX {
            return Err(Busy);
        }
        arrived.wishes.push_back(wish);
        drop(arrived);
        self.there_is_something.notify_one();
        Ok(())
    }

    pub(crate) fn answer_lease(&self, answer: LeaseAnswer) {
        self.change(|arrived| arrived.lease.push_back(answer));
    }

    /// Waits until there is something. Cancel safe.
    pub(super) async fn filled(&self) {
        self.there_is_something.notified().await;
    }

    /// All of it.
    pub(super) fn take(&self) -> Arrived {
        std::mem::take(&mut *self.arrived.lock())
    }

    fn change(&self, change: impl FnOnce(&mut Arrived)) {
        change(&mut self.arrived.lock());
        self.there_is_something.notify_one();
    }
}

impl Receiver for Inbox {
    fn deliver(&self, from: &UniqueAddress, _lane: Lane, _system: bool, body: Bytes) {
        let mut arrived = self.arrived.lock();
        if arrived.messages.len() >= MESSAGES_MAX || arrived.bytes + body.len() > BYTES_MAX {
            drop(arrived);
            return self.counts.dropped("messages: no room in the inbox");
        }
        arrived.bytes += body.len();
        arrived.messages.push_back((from.clone(), body));
        drop(arrived);
        self.there_is_something.notify_one();
    }

    fn link(&self, peer: &UniqueAddress, works: bool) {
        self.change(|arrived| {
            if arrived.links.len() < LINKS_MAX || arrived.links.contains_key(peer) {
                arrived.links.insert(peer.clone(), works);
            } else {
                self.counts.dropped("links: no room in the inbox");
            }
        });
    }

    fn quarantined(&self, by: &UniqueAddress) {
        self.change(|arrived| {
            if arrived.quarantined_by.len() < LINKS_MAX {
                arrived.quarantined_by.insert(by.clone());
            }
        });
    }

    fn ended(&self, node: &UniqueAddress, _why: &Ended) {
        self.change(|arrived| {
            if arrived.ended.len() < LINKS_MAX {
                arrived.ended.insert(node.clone());
            }
        });
    }

    fn dropped(&self, _peer: &crate::member::Address, reason: DropReason, count: usize) {
        self.counts.dropped_by_remoting(reason, count);
    }
}
