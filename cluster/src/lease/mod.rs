//! [`Lease`]: the right to be the only one, kept outside of the cluster, with a number that grows with each grant.
//!
//! # What is promised
//! At most one owner holds a lease at a time, as long as clocks run at rates that differ by less than one in twenty; how
//! they are set does not matter. What an owner did while it held a lease may still take effect later: whoever must exclude
//! that hands the [`FencingToken`] along, and the resource refuses any that is lower than the highest it has seen.
//!
//! # Parts
//! [`LeaseStore`] is what a backend implements: one record per name, and a swap that fails if the record changed.
//! [`state`] decides when to read, claim and renew; [`StoredLease`] carries it out. [`HostingDeadline`] is the right to
//! serve that a node has from the members it can reach.

mod deadline;
mod driver;
mod memory;
mod resolver;
mod settings;
mod state;
mod store;

#[cfg(test)]
mod cluster_tests;
#[cfg(test)]
mod model_tests;

pub use deadline::{Fenced, HostingDeadline};
pub use driver::StoredLease;
pub use memory::InMemoryLeaseStore;
pub(crate) use resolver::ResolverLease;
pub use settings::{InvalidLeaseSettings, LeaseSettings};
pub use store::{LeaseRecord, LeaseStore, LeaseStoreError, Stored, Swapped, Version, force_release};

use crate::member::UniqueAddress;
use serde::{Deserialize, Serialize};
use std::{fmt, pin::Pin, sync::Arc};

/// What asynchronous calls of leases return.
pub type LeaseFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Called once when a lease that was granted is held no more, unless it was released. It must not block.
pub type OnLost = Box<dyn FnOnce(LeaseLost) + Send>;

/// A number that grows with each grant of one lease, or each term of one singleton. It travels with each effect; a resource
/// that remembers the highest refuses those that come late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FencingToken(pub u64);

impl fmt::Display for FencingToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Who holds a lease: a process, not a place. One that starts again at the same address is another.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseOwner(Arc<str>);

impl LeaseOwner {
    /// That life of that node.
    pub fn of(node: &UniqueAddress) -> Self {
        Self(node.to_string().into())
    }

    /// One that was written down by [`as_str`](Self::as_str).
    pub fn from_stored(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// For backends to write down.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LeaseOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The right to be the only one, for one owner.
pub trait Lease: Send + Sync + 'static {
    /// Which one.
    fn name(&self) -> &str;

    /// Asks for it once. Who holds it already is granted it again, with the same token. `on_lost` is called when it is held
    /// no more: whatever runs under it must end at once.
    ///
    /// # Cancel safety
    /// Dropped before it is ready, it may be granted all the same: then it is kept until it is released.
    ///
    /// # Errors
    /// Somebody else has it, or nobody can tell.
    fn acquire(&self, on_lost: OnLost) -> LeaseFuture<'_, Result<FencingToken, AcquireError>>;

    /// Gives it back, so that others need not wait until it expires. From the call on, [`check`](Self::check) says no.
    ///
    /// # Errors
    /// The backend could not be told: it expires.
    fn release(&self) -> LeaseFuture<'_, Result<(), LeaseStoreError>>;

    /// Whether it is held at this moment, and its token. Never waits: two atomic loads and a clock.
    fn check(&self) -> Option<FencingToken>;
}

/// Why a lease was not granted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AcquireError {
    /// It is somebody else's. Ask again later: it may be given back or expire.
    #[error("the lease is held by {holder}")]
    Denied {
        /// Who has it.
        holder: LeaseOwner,
    },
    /// The backend did not say. It may have been granted: then it expires.
    #[error("it is not known whether the lease was granted")]
    Unknown(#[source] LeaseStoreError),
}

/// Why a lease is held no more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseLost {
    /// It could not be renewed in time.
    #[error("the lease could not be renewed in time")]
    Expired,
    /// Somebody else has it, or it was taken away by force.
    #[error("the lease was taken away")]
    Taken {
        /// Who has it now, if anybody.
        by: Option<LeaseOwner>,
    },
    /// The node ends.
    #[error("the node ends")]
    Ended,
}
