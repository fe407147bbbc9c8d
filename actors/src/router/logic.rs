//! [`RoutingLogic`]: who gets the next message.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use super::ring::{GOLDEN, Ring, mix};
use crate::actor_ref::ActorRef;

/// Points per routee on the ring: the share of each is then within about a tenth of the mean.
const VIRTUAL_NODES: u32 = 128;

/// Who of a router's routees gets the next message.
///
/// Each keeps the order of messages of one task to one routee. Where a message is not tied to a routee, one that has
/// stopped or has no room is passed over; only if nobody has room, the router has none.
#[must_use = "a logic does nothing until a router is given it"]
pub struct RoutingLogic<M> {
    kind: Kind<M>,
}

enum Kind<M> {
    RoundRobin,
    Random,
    SmallestMailbox,
    ConsistentHashing { hash: Box<dyn Fn(&M) -> u64 + Send + Sync>, virtual_nodes: u32 },
    Broadcast(fn(&M) -> M),
}

impl<M: Send + 'static> RoutingLogic<M> {
    /// One after the other. Costs one atomic addition.
    pub fn round_robin() -> Self {
        Self { kind: Kind::RoundRobin }
    }

    /// Any, each as likely as the others. The same seed of the system gives the same choices.
    pub fn random() -> Self {
        Self { kind: Kind::Random }
    }

    /// Of two drawn at random the one with fewer messages waiting: nearly as good as comparing all of them, at a cost
    /// that does not depend on their number. The message in hand does not count. For local routees.
    pub fn smallest_mailbox() -> Self {
        Self { kind: Kind::SmallestMailbox }
    }

    /// The same for all messages with the same `hash`, as long as the routees are the same; when one comes or goes only
    /// its share of the hashes moves. [`key_hash`](crate::key_hash) hashes part of a message.
    ///
    /// A routee is known by its path and system, so one spawned anew under the same name gets the same messages. While
    /// it has no room, neither has the router for its messages; once it has stopped, its messages go to others.
    ///
    /// `hash` runs in the sender's turn. The message must be there for it: told through a [map](ActorRef::map) of the
    /// router, a message the routee has no room for becomes a dead letter instead of coming back.
    pub fn consistent_hashing(hash: impl Fn(&M) -> u64 + Send + Sync + 'static) -> Self {
        Self { kind: Kind::ConsistentHashing { hash: Box::new(hash), virtual_nodes: VIRTUAL_NODES } }
    }

    /// How many points on the ring a routee has. More make the shares more equal and the ring larger: it holds 16 bytes
    /// for each. Default 128.
    ///
    /// # Panics
    /// When this is no consistent hashing, or `number` is zero.
    pub fn virtual_nodes(mut self, number: u32) -> Self {
        assert!(number > 0, "virtual_nodes: each routee needs at least one");
        match &mut self.kind {
            Kind::ConsistentHashing { virtual_nodes, .. } => *virtual_nodes = number,
            _ => panic!("virtual_nodes: only consistent hashing has them, this logic is {self:?}"),
        }
        self
    }

    /// All of them, a clone each.
    ///
    /// A routee without room misses a message that others take, which makes one dead letter; the router has no room
    /// only if none of them has. [`send`](ActorRef::send) waits for each in turn; dropped before it is ready, those that
    /// have the message keep it.
    pub fn broadcast() -> Self
    where
        M: Clone,
    {
        Self { kind: Kind::Broadcast(M::clone) }
    }
}

impl<M> fmt::Debug for RoutingLogic<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            Kind::RoundRobin => f.write_str("RoundRobin"),
            Kind::Random => f.write_str("Random"),
            Kind::SmallestMailbox => f.write_str("SmallestMailbox"),
            Kind::ConsistentHashing { virtual_nodes, .. } => write!(f, "ConsistentHashing({virtual_nodes})"),
            Kind::Broadcast(_) => f.write_str("Broadcast"),
        }
    }
}

/// A logic at work.
pub(super) struct Picker<M> {
    kind: Kind<M>,
    /// Messages routed so far; for draws, the state of the generator.
    cursor: AtomicU64,
}

impl<M: Send + 'static> Picker<M> {
    pub(super) fn new(logic: RoutingLogic<M>, seed: u64) -> Self {
        let start = if matches!(logic.kind, Kind::RoundRobin) { 0 } else { seed };
        Self { kind: logic.kind, cursor: AtomicU64::new(start) }
    }

    /// The ring over `routees`; empty where the logic needs none.
    pub(super) fn ring(&self, routees: &[ActorRef<M>]) -> Ring {
        match &self.kind {
            Kind::ConsistentHashing { virtual_nodes, .. } => {
                Ring::new(routees.iter().map(ActorRef::path), *virtual_nodes)
            }
            _ => Ring::default(),
        }
    }

    /// Ties a message to its routee.
    pub(super) fn key(&self, message: &M) -> Option<u64> {
        match &self.kind {
            Kind::ConsistentHashing { hash, .. } => Some(hash(message)),
            _ => None,
        }
    }

    /// How to make a copy for each, if all get one.
    pub(super) fn copy(&self) -> Option<fn(&M) -> M> {
        match self.kind {
            Kind::Broadcast(copy) => Some(copy),
            _ => None,
        }
    }

    /// Whether it needs the message to decide.
    pub(super) fn looks_at_message(&self) -> bool {
        matches!(self.kind, Kind::ConsistentHashing { .. } | Kind::Broadcast(_))
    }

    /// The place in `routees`, which are not empty, of the one to try first.
    pub(super) fn first(&self, routees: &[ActorRef<M>]) -> usize {
        let many = routees.len() as u64;
        match self.kind {
            Kind::RoundRobin => (self.cursor.fetch_add(1, Ordering::Relaxed) % many) as usize,
            Kind::SmallestMailbox if many > 1 => {
                let draw = self.draw();
                let one = share(draw >> 32, many);
                let other = share(draw & u64::from(u32::MAX), many - 1);
                let other = if other < one { other } else { other + 1 };
                if routees[other].queued() < routees[one].queued() { other } else { one }
            }
            _ => share(self.draw() >> 32, many),
        }
    }

    fn draw(&self) -> u64 {
        mix(self.cursor.fetch_add(GOLDEN, Ordering::Relaxed))
    }
}

/// `draw`, below 2^32, as a number below `many`.
fn share(draw: u64, many: u64) -> usize {
    ((draw * many) >> 32) as usize
}
