//! The [`SnapshotStore`] trait: states kept so that recovery need not replay everything.

mod guard;
mod memory;
#[cfg(feature = "postgres")]
mod postgres;
mod projection_guard;
mod retention;
mod schedule;
mod search;
mod sqlite;
pub(crate) mod taking;

pub use guard::RetentionGuard;
pub use memory::InMemorySnapshotStore;
pub use projection_guard::ProjectionGuard;
pub use retention::{Retention, RetentionStep};
pub use schedule::ReplayCost;
pub(crate) use schedule::SnapshotSchedule;
pub use search::SnapshotSearch;

use crate::{AppendError, BoxFuture, Fence, JournalError, PersistenceId};
use bytes::Bytes;
use std::sync::Arc;

/// Stores snapshots of type `S`; byte stores take [`RawSnapshot`].
///
/// A snapshot is an optimisation: losing one loses nothing as long as the events are still there.
/// The rules of [`Journal`](crate::Journal) on fences, ordering and cancel safety hold here too.
pub trait SnapshotStore<S>: Send + Sync + 'static {
    /// Stores the state after event `seq_nr`, replacing a snapshot of the same number. Save it only after the append of
    /// that event was acknowledged: a store that knows the journal rejects a number it does not hold.
    fn save(
        &self,
        id: PersistenceId,
        seq_nr: u64,
        fence: Fence,
        time_ms: u64,
        snapshot: S,
    ) -> BoxFuture<'static, Result<(), AppendError>>;

    /// The newest snapshot with `seq_nr <= max_seq`.
    ///
    /// # Errors
    /// [`JournalError::Damaged`] names the snapshot's number: an older one can be asked for below it.
    fn load(
        &self,
        id: PersistenceId,
        max_seq: u64,
    ) -> BoxFuture<'static, Result<Option<StoredSnapshot<S>>, JournalError>>;

    /// Deletes all snapshots with `seq_nr <= up_to_seq`. Idempotent.
    fn delete(&self, id: PersistenceId, up_to_seq: u64, fence: Fence) -> BoxFuture<'static, Result<(), AppendError>>;
}

/// A snapshot as bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawSnapshot {
    /// Says how to read `payload`.
    pub manifest: Arc<str>,
    /// Stored and returned byte for byte.
    pub payload: Bytes,
    /// Anything that should travel beside it.
    pub meta: Option<Bytes>,
}

/// A snapshot with what the store knows about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredSnapshot<S> {
    /// The last event it contains.
    pub seq_nr: u64,
    /// Epoch of the writer.
    pub epoch: u64,
    /// Wall clock of the writer, ms since 1970.
    pub time_ms: u64,
    /// The state.
    pub snapshot: S,
}

impl<S: 'static, T: SnapshotStore<S> + ?Sized> SnapshotStore<S> for Arc<T> {
    fn save(
        &self,
        id: PersistenceId,
        seq_nr: u64,
        fence: Fence,
        time_ms: u64,
        snapshot: S,
    ) -> BoxFuture<'static, Result<(), AppendError>> {
        (**self).save(id, seq_nr, fence, time_ms, snapshot)
    }

    fn load(
        &self,
        id: PersistenceId,
        max_seq: u64,
    ) -> BoxFuture<'static, Result<Option<StoredSnapshot<S>>, JournalError>> {
        (**self).load(id, max_seq)
    }

    fn delete(&self, id: PersistenceId, up_to_seq: u64, fence: Fence) -> BoxFuture<'static, Result<(), AppendError>> {
        (**self).delete(id, up_to_seq, fence)
    }
}
