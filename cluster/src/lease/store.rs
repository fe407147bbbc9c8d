//! [`LeaseStore`]: where leases are kept. One record per name, and a swap that fails if it changed.

use super::{LeaseFuture, LeaseOwner};
use actors::BoxError;
use std::{sync::Arc, time::Duration};

/// What is stored of one lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseRecord {
    /// Who has it, if anybody.
    pub owner: Option<LeaseOwner>,
    /// Of the last grant. Kept when it is given back.
    pub token: u64,
}

/// Which writing of a record it is: of two different ones of one lease the versions differ. What is in it is the store's
/// affair: a counter, or the resource version of Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Version(pub Arc<str>);

impl From<u64> for Version {
    fn from(number: u64) -> Self {
        Self(number.to_string().into())
    }
}

/// A record as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// What is stored.
    pub record: LeaseRecord,
    /// Changes with each write, also of an equal record.
    pub version: Version,
    /// How long ago it was written, by the store's own clock: never by that of whoever wrote it. A store without a clock
    /// says `None`; then whoever wants the lease of an owner that is gone waits until it has watched it expire.
    pub age: Option<Duration>,
}

/// What came of a swap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Swapped {
    /// It was written, and has this version.
    Done(Version),
    /// It was not written: this is stored, with another version than the one that was expected. `None`: nothing is.
    Changed(Option<Stored>),
}

/// A backend did not do what it was asked to, or nobody knows whether it did.
#[derive(Debug, thiserror::Error)]
#[error("the store of leases did not answer as it should: {0}")]
pub struct LeaseStoreError(#[source] pub BoxError);

/// Where leases are kept. Each operation must be atomic, and a swap that was answered must not be lost.
///
/// In SQL the swap is `UPDATE leases SET owner = ?, token = ?, version = version + 1, written_at = now() WHERE name = ? AND
/// version = ?`, or an `INSERT` that does nothing on conflict. An operation is dropped when it takes too long; it may take
/// effect all the same.
pub trait LeaseStore: Send + Sync + 'static {
    /// What is stored for `name`.
    ///
    /// # Errors
    /// Nobody knows.
    fn read<'a>(&'a self, name: &'a str) -> LeaseFuture<'a, Result<Option<Stored>, LeaseStoreError>>;

    /// Stores `record` for `name` if what is stored still has version `expected`; `None`: if nothing is stored.
    ///
    /// # Errors
    /// It is stored or not.
    fn swap<'a>(
        &'a self,
        name: &'a str,
        expected: Option<&'a Version>,
        record: LeaseRecord,
    ) -> LeaseFuture<'a, Result<Swapped, LeaseStoreError>>;
}

/// Takes the lease called `name` away from whoever has it, for operators. **Dangerous**: the owner learns of it with its
/// next renewal, and until then two may think that they have it. The token of the next grant is higher than that of any
/// grant before, so that fenced resources refuse the first.
///
/// Returns who had it.
///
/// # Errors
/// The store did not do it, or nobody knows.
pub async fn force_release(store: &dyn LeaseStore, name: &str) -> Result<Option<LeaseOwner>, LeaseStoreError> {
    let mut stored = store.read(name).await?;
    while let Some(Stored { record: LeaseRecord { owner: Some(owner), token }, version, .. }) = stored {
        let record = LeaseRecord { owner: None, token: token + 1 };
        match store.swap(name, Some(&version), record).await? {
            Swapped::Done(_) => return Ok(Some(owner)),
            Swapped::Changed(now) => stored = now,
        }
    }
    Ok(None)
}
