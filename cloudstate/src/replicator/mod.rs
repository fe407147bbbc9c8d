//! The replicator: one CRDT per key, on every node, merged with what other nodes know.
//!
//! [`Replicator`] is a handle, not an actor. Reads are many and must not queue behind anything: they take a lock for as long
//! as it takes to clone an `Arc`. Changes of one key exclude each other, changes of different keys do not. Waiting for other
//! nodes happens without any lock.
//!
//! - A change is local first and stands whatever comes after. A write consistency that was not reached in time is
//!   reported as such, not rolled back: the change may still spread.
//! - A key is deleted for the life of the node. What arrives for it later, from here or elsewhere, is refused.
//! - Subscribers get the latest value, not every value: who is slow skips some, and nothing is queued for him.
//!
//! Other nodes are behind [`Peers`]; [`Alone`] is a node without any. What they send comes in through
//! [`Replicator::apply_remote`] and [`Replicator::delete_remote`].

mod peers;
mod store;
mod subscription;

use std::sync::Arc;

use actors::{Clock, Tick};
use tokio::sync::watch;

use self::peers::reach;
use self::store::{Store, Unfit};
use crate::crdt::{Crdt, KindMismatch, ReplicaId};

pub use self::peers::{Alone, Change, Members, Peers, Read};
pub use self::subscription::{Notice, Subscription};

/// On how many members a write must have arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteConsistency {
    /// On this one.
    Local,
    /// On more than half of them.
    Majority,
    /// On all.
    All,
}

/// Of how many members the knowledge must be in the value that is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadConsistency {
    /// Of this one.
    Local,
    /// Of more than half of them.
    Majority,
    /// Of all.
    All,
}

/// Why there is no value to be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GetError {
    /// The key was deleted.
    #[error("the replicated value was deleted")]
    Deleted,
    /// Too few members answered in time. This is what the node knows itself.
    #[error("too few nodes answered in time")]
    NotReached(Option<Arc<Crdt>>),
}

/// Why an update is not known to be where it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UpdateError<E> {
    /// The key was deleted; nothing was changed.
    #[error("the replicated value was deleted")]
    Deleted,
    /// The function that was to compute the change failed; nothing was changed.
    #[error("the update could not be computed: {0}")]
    Modify(E),
    /// The value is of another type; nothing was changed.
    #[error(transparent)]
    Kind(KindMismatch),
    /// No more keys; nothing was changed.
    #[error(transparent)]
    TooManyKeys(TooManyKeys),
    /// Too few members confirmed in time. The change stands: this is the local value with it.
    #[error("too few nodes confirmed the update in time; it is in place on this node and may still spread")]
    NotReached(Arc<Crdt>),
}

/// Why a deletion is not known to be where it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeleteError {
    /// No room for the mark that the key is deleted; nothing was changed.
    #[error(transparent)]
    TooManyKeys(TooManyKeys),
    /// Too few members confirmed in time. The deletion stands.
    #[error("too few nodes confirmed the deletion in time; it is in place on this node and may still spread")]
    NotReached,
}

/// Why something that another replica sent was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// The key was deleted here.
    #[error("the replicated value was deleted")]
    Deleted,
    /// The value here is of another type.
    #[error(transparent)]
    Kind(KindMismatch),
    /// No more keys.
    #[error(transparent)]
    TooManyKeys(TooManyKeys),
}

/// The node holds as many keys as it may, deleted ones included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this node already holds {limit} replicated keys, deleted ones included; use fewer ids or allow more keys")]
pub struct TooManyKeys {
    /// How many are allowed.
    pub limit: usize,
}

/// Figures for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Keys with a value.
    pub keys: usize,
    /// Keys that were deleted.
    pub deleted: usize,
}

/// Replicated values by key. Cheap to clone; clones are one replicator.
#[derive(Clone)]
pub struct Replicator(Arc<Inner>);

struct Inner {
    own: ReplicaId,
    clock: Clock,
    store: Arc<Store>,
    peers: Arc<dyn Peers>,
}

impl Replicator {
    /// A replicator of a node with this uid, which must be new on every start. It holds at most `max_keys` keys.
    pub fn new(own: ReplicaId, clock: Clock, peers: Arc<dyn Peers>, max_keys: usize) -> Self {
        Self(Arc::new(Inner { own, clock, store: Arc::new(Store::new(max_keys)), peers }))
    }

    /// A replicator of a node without others.
    pub fn alone(own: ReplicaId, clock: Clock, max_keys: usize) -> Self {
        Self::new(own, clock, Arc::new(Alone::new(own)), max_keys)
    }

    /// The id under which changes are to be made on this node.
    pub fn replica(&self) -> ReplicaId {
        self.0.own
    }

    /// The replicas whose nodes are up, this one included.
    pub fn members(&self) -> watch::Receiver<Members> {
        self.0.peers.members()
    }

    /// The value of a key, `None` if it has none yet.
    pub async fn get(
        &self,
        key: &str,
        consistency: ReadConsistency,
        deadline: Tick,
    ) -> Result<Option<Arc<Crdt>>, GetError> {
        let local = self.local(key)?;
        let needed = match consistency {
            ReadConsistency::Local => return Ok(local),
            ReadConsistency::Majority => WriteConsistency::Majority,
            ReadConsistency::All => WriteConsistency::All,
        };
        let ask = |peer| {
            let answer = self.0.peers.read(peer, key);
            async move {
                match answer.await? {
                    // One of another type says nothing about this one, as does one for which there is no room.
                    Read::Value(value) => self.apply_remote(key, &value).is_ok().then_some(()),
                    Read::Absent => Some(()),
                    Read::Deleted => self.delete_remote(key).ok(),
                }
            }
        };
        let members = self.members().borrow().clone();
        let reached = reach(needed, self.0.own, &members, &self.0.clock, deadline, ask).await;
        let value = self.local(key)?;
        if reached { Ok(value) } else { Err(GetError::NotReached(value)) }
    }

    fn local(&self, key: &str) -> Result<Option<Arc<Crdt>>, GetError> {
        self.0.store.get(key).map_err(|store::Gone| GetError::Deleted)
    }

    /// Changes the value of a key and gives the local value after that, or nothing happens at all.
    ///
    /// `modify` gets the current value and returns what to merge into it: a delta, or a full value. It runs while nobody
    /// else can change or read this key, so it must be short, and must not call the replicator. The change is made when the
    /// future is first polled; dropping the future later only ends the waiting for others.
    pub async fn update<E>(
        &self,
        key: &str,
        consistency: WriteConsistency,
        deadline: Tick,
        modify: impl FnOnce(Option<&Crdt>) -> Result<Crdt, E>,
    ) -> Result<Arc<Crdt>, UpdateError<E>> {
        let (value, delta) = self.0.store.merge(key, modify).map_err(|unfit| match unfit {
            Unfit::Deleted => UpdateError::Deleted,
            Unfit::Modify(error) => UpdateError::Modify(error),
            Unfit::Kind(mismatch) => UpdateError::Kind(mismatch),
            Unfit::TooManyKeys(full) => UpdateError::TooManyKeys(full),
        })?;
        if self.confirmed(key, Change::Merge(delta), consistency, deadline).await {
            Ok(value)
        } else {
            Err(UpdateError::NotReached(self.local(key).map_err(|_| UpdateError::Deleted)?.unwrap_or(value)))
        }
    }

    /// Deletes a key for good. Deleting it again is no error.
    pub async fn delete(&self, key: &str, consistency: WriteConsistency, deadline: Tick) -> Result<(), DeleteError> {
        self.0.store.delete(key).map_err(DeleteError::TooManyKeys)?;
        if self.confirmed(key, Change::Delete, consistency, deadline).await {
            Ok(())
        } else {
            Err(DeleteError::NotReached)
        }
    }

    /// Tells the others, and waits until as many as asked for have confirmed.
    async fn confirmed(&self, key: &str, change: Change, consistency: WriteConsistency, deadline: Tick) -> bool {
        let members = self.members().borrow().clone();
        self.0.peers.spread(key, &change);
        let tell = |peer| self.0.peers.write(peer, key, &change);
        reach(consistency, self.0.own, &members, &self.0.clock, deadline, tell).await
    }

    /// Follows a key. What is there already comes as the first notice.
    pub fn subscribe(&self, key: &str) -> Subscription {
        Subscription::new(Arc::clone(&self.0.store), key)
    }

    /// Takes in a delta or a full value from another replica.
    pub fn apply_remote(&self, key: &str, value: &Crdt) -> Result<(), ApplyError> {
        let merged = self.0.store.merge(key, |_| Ok::<_, std::convert::Infallible>(value.clone()));
        merged.map(drop).map_err(|unfit| match unfit {
            Unfit::Deleted => ApplyError::Deleted,
            Unfit::Kind(mismatch) => ApplyError::Kind(mismatch),
            Unfit::TooManyKeys(full) => ApplyError::TooManyKeys(full),
            Unfit::Modify(never) => match never {},
        })
    }

    /// Takes in that another replica has deleted a key.
    pub fn delete_remote(&self, key: &str) -> Result<(), TooManyKeys> {
        self.0.store.delete(key)
    }

    /// How many keys there are.
    pub fn counts(&self) -> Counts {
        self.0.store.counts()
    }
}

impl std::fmt::Debug for Replicator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replicator").field("own", &self.0.own).field("counts", &self.counts()).finish_non_exhaustive()
    }
}
