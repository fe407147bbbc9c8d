//! The [`Journal`] trait: an append-only log per entity, with one writer at a time.

mod ledger;
mod memory;
#[cfg(feature = "postgres")]
mod postgres;
mod sqlite;

pub(crate) use ledger::{Ledger, check_batch, not_covered, snapshot_ahead};
pub use memory::InMemoryJournal;

use crate::{AppendError, BoxFuture, Fence, FenceScope, JournalError, PersistenceId};
use bytes::Bytes;
use std::{ops::Range, sync::Arc};

/// Stores events of type `E`; byte journals store [`RawEvent`].
///
/// # Promises of every implementation
/// - Per id, sequence numbers start at 1 and have no holes; epochs never decrease along a log.
/// - A write is checked against epoch and sequence in the same transaction that stores it.
/// - A batch is stored entirely or not at all; a refused one leaves nothing.
/// - What was acknowledged is durable at the level the implementation declares, and seen by every later read.
/// - The highest sequence number survives deletion of events.
///
/// # Ordering
/// A request counts from the call, not from the first poll: calls for one id take effect in the order they were made.
///
/// # Cancel safety
/// Dropping a returned future does not withdraw the request: it may still be stored, as after an
/// [`AppendError::Unknown`].
pub trait Journal<E>: Send + Sync + 'static {
    /// Takes over `scope`: its epoch becomes the stored one plus one, durably, before this answers.
    /// After that no older fence can write there. Claim first, then read.
    fn claim(&self, scope: FenceScope) -> BoxFuture<'static, Result<Fence, JournalError>>;

    /// Claims the given shards of `entity_type` in one transaction, in order: all or none.
    fn claim_all(
        &self,
        entity_type: Arc<str>,
        shards: Range<u16>,
    ) -> BoxFuture<'static, Result<Vec<Fence>, JournalError>>;

    /// Stores the batch, all or nothing, and answers the new highest sequence number once it is durable.
    ///
    /// A batch that is stored already, with the same [`batch_id`](Append::batch_id) at the same place, counts as
    /// success: after [`AppendError::Unknown`] the same `Append` may be sent again.
    fn append(&self, append: Append<E>) -> BoxFuture<'static, Result<u64, AppendError>>;

    /// One page of events with `from <= seq_nr <= to`, in order and without holes; deleted events are skipped.
    /// Empty only when there are none in the range: a page holds at least one event whatever `limit` says, and a page
    /// may be shorter than the limit allows although more follow, so ask again from the last one's number plus one.
    fn replay(
        &self,
        id: PersistenceId,
        from: u64,
        to: u64,
        limit: ReplayLimit,
    ) -> BoxFuture<'static, Result<Vec<Stored<E>>, JournalError>>;

    /// The highest sequence number ever stored for `id`, deleted ones included; 0 for none.
    fn highest_seq(&self, id: PersistenceId) -> BoxFuture<'static, Result<u64, JournalError>>;

    /// Deletes all events with `seq_nr <= seq`. Idempotent; more than there are is not an error, and numbers yet to be
    /// used are not affected.
    fn delete_to(&self, id: PersistenceId, seq: u64, fence: Fence) -> BoxFuture<'static, Result<(), AppendError>>;
}

/// A batch of events to store.
#[derive(Clone, Debug)]
pub struct Append<E> {
    /// Whose events.
    pub id: PersistenceId,
    /// Sequence number of the first event: the highest stored one plus one.
    pub expected_seq: u64,
    /// The writer's right to write; must cover `id`.
    pub fence: Fence,
    /// Chosen at random per batch. A retry must carry the same one, and nothing else ever may.
    pub batch_id: u128,
    /// At least one.
    pub events: Vec<E>,
    /// The tags of each event, in the order of `events`; empty when none has any.
    pub tags: Vec<Vec<Arc<str>>>,
    /// Wall clock of the writer, ms since 1970. Informative: nothing is ordered by it.
    pub time_ms: u64,
}

impl<E> Append<E> {
    /// Sequence number of the last event.
    pub(crate) fn last_seq(&self) -> u64 {
        self.expected_seq.saturating_add(self.events.len() as u64).saturating_sub(1)
    }
}

/// An event as bytes. What they mean is the business of whoever wrote them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawEvent {
    /// Says how to read `payload`: a type with its version, or a type URL.
    pub manifest: Arc<str>,
    /// Stored and returned byte for byte.
    pub payload: Bytes,
    /// Anything that should travel beside the event.
    pub meta: Option<Bytes>,
}

/// An event with what the store knows about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored<E> {
    /// From 1, without holes.
    pub seq_nr: u64,
    /// Epoch of the writer.
    pub epoch: u64,
    /// Wall clock of the writer, ms since 1970.
    pub time_ms: u64,
    /// The event.
    pub event: E,
}

/// Bounds of one page of a replay. At least one event is returned even if it alone exceeds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayLimit {
    /// At most this many events.
    pub events: usize,
    /// Stop after the event with which payloads and metas reach this many bytes. Journals of typed events, which do not
    /// know sizes, may ignore it.
    pub bytes: usize,
}

impl Default for ReplayLimit {
    /// 2,048 events or 1 MiB.
    fn default() -> Self {
        Self { events: 2_048, bytes: 1 << 20 }
    }
}

impl<E> Stored<E> {
    /// The same row with what `change` makes of the event.
    pub(crate) fn map<T>(self, change: impl FnOnce(E) -> T) -> Stored<T> {
        let Self { seq_nr, epoch, time_ms, event } = self;
        Stored { seq_nr, epoch, time_ms, event: change(event) }
    }
}

impl RawEvent {
    /// Bytes this event weighs against limits.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.payload.len() + self.meta.as_ref().map_or(0, Bytes::len)
    }
}

impl<E: 'static, J: Journal<E> + ?Sized> Journal<E> for Arc<J> {
    fn claim(&self, scope: FenceScope) -> BoxFuture<'static, Result<Fence, JournalError>> {
        (**self).claim(scope)
    }

    fn claim_all(
        &self,
        entity_type: Arc<str>,
        shards: Range<u16>,
    ) -> BoxFuture<'static, Result<Vec<Fence>, JournalError>> {
        (**self).claim_all(entity_type, shards)
    }

    fn append(&self, append: Append<E>) -> BoxFuture<'static, Result<u64, AppendError>> {
        (**self).append(append)
    }

    fn replay(
        &self,
        id: PersistenceId,
        from: u64,
        to: u64,
        limit: ReplayLimit,
    ) -> BoxFuture<'static, Result<Vec<Stored<E>>, JournalError>> {
        (**self).replay(id, from, to, limit)
    }

    fn highest_seq(&self, id: PersistenceId) -> BoxFuture<'static, Result<u64, JournalError>> {
        (**self).highest_seq(id)
    }

    fn delete_to(&self, id: PersistenceId, seq: u64, fence: Fence) -> BoxFuture<'static, Result<(), AppendError>> {
        (**self).delete_to(id, seq, fence)
    }
}
