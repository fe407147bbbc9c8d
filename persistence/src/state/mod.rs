//! The [`StateStore`] trait: the last state of each entity instead of its history, with one writer at a time.

mod memory;
#[cfg(feature = "postgres")]
mod postgres;
mod sqlite;

pub use memory::InMemoryStateStore;

use crate::{AppendError, BoxFuture, Fence, FenceScope, JournalError, PersistenceId};
use bytes::Bytes;
use std::{ops::Range, sync::Arc};

/// Stores states of type `S`, one per id; byte stores take [`RawState`].
///
/// # Promises of every implementation
/// - Per id, revisions start at 1 and grow by one with each write, deletions included. Nothing ever sets one back.
/// - A write is checked against epoch and revision in the same transaction that stores it; a refused one changes nothing.
/// - A deletion takes the state away and keeps the revision, so that no late writer can begin again at 1.
/// - What was acknowledged is durable at the level the implementation declares, and seen by every later read.
/// - Epochs are those of the [`Journal`](crate::Journal) beside it, if there is one: a claim there counts here.
///
/// # Ordering
/// A request counts from the call, not from the first poll: calls for one id take effect in the order they were made.
///
/// # Cancel safety
/// Dropping a returned future does not withdraw the request: it may still be stored, as after an
/// [`AppendError::Unknown`].
pub trait StateStore<S>: Send + Sync + 'static {
    /// Takes over `scope`, as [`Journal::claim`](crate::Journal::claim) does. Claim first, then read.
    fn claim(&self, scope: FenceScope) -> BoxFuture<'static, Result<Fence, JournalError>>;

    /// Claims the given shards of `entity_type` in one transaction, in order: all or none.
    fn claim_all(
        &self,
        entity_type: Arc<str>,
        shards: Range<u16>,
    ) -> BoxFuture<'static, Result<Vec<Fence>, JournalError>>;

    /// What is stored for `id`; `None` if nothing ever was. A deleted state answers its revision.
    ///
    /// # Errors
    /// [`JournalError::Damaged`] and [`JournalError::Undecodable`] name the revision as their sequence number.
    fn load(&self, id: PersistenceId) -> BoxFuture<'static, Result<Option<StoredState<S>>, JournalError>>;

    /// Stores the state in the place of the one before it and answers the new revision once it is durable.
    ///
    /// A write that is the last one stored already, with the same [`batch_id`](PutState::batch_id) at the same revision,
    /// counts as success: after [`AppendError::Unknown`] the same `PutState` may be sent again.
    ///
    /// # Errors
    /// [`AppendError::Conflict`] tells the revision this write would have got and the highest one stored.
    fn upsert(&self, put: PutState<S>) -> BoxFuture<'static, Result<u64, AppendError>>;

    /// Takes the state away and answers the new revision, under the rules of [`upsert`](Self::upsert). That there is no
    /// state is not an error: the revision grows all the same.
    fn delete(&self, delete: DeleteState) -> BoxFuture<'static, Result<u64, AppendError>>;
}

/// A state to store.
#[derive(Clone, Debug)]
pub struct PutState<S> {
    /// Whose state.
    pub id: PersistenceId,
    /// The revision stored now; 0 if none ever was.
    pub expected_revision: u64,
    /// The writer's right to write; must cover `id`.
    pub fence: Fence,
    /// Chosen at random per write. A retry must carry the same one, and nothing else ever may.
    pub batch_id: u128,
    /// Wall clock of the writer, ms since 1970. Informative: nothing is ordered by it.
    pub time_ms: u64,
    /// The state.
    pub state: S,
    /// What readers may select it by.
    pub tag: Option<Arc<str>>,
}

/// A state to take away. Its fields are those of [`PutState`].
#[derive(Clone, Debug)]
pub struct DeleteState {
    /// Whose state.
    pub id: PersistenceId,
    /// The revision stored now; 0 if none ever was.
    pub expected_revision: u64,
    /// The writer's right to write; must cover `id`.
    pub fence: Fence,
    /// Chosen at random per write. A retry must carry the same one, and nothing else ever may.
    pub batch_id: u128,
    /// Wall clock of the writer, ms since 1970.
    pub time_ms: u64,
    /// Bytes to keep in the place of the state, for whoever has to know more of the past than a revision.
    pub marker: Option<Bytes>,
}

/// A state as bytes. What they mean is the business of whoever wrote them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawState {
    /// Says how to read `payload`: a type with its version, or a type URL.
    pub manifest: Arc<str>,
    /// Stored and returned byte for byte.
    pub payload: Bytes,
    /// Anything that should travel beside it.
    pub meta: Option<Bytes>,
}

/// A state with what the store knows about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredState<S> {
    /// Writes to this id so far, deletions included; at least 1.
    pub revision: u64,
    /// Epoch of the last writer.
    pub epoch: u64,
    /// Wall clock of the last writer, ms since 1970.
    pub time_ms: u64,
    /// The state; `None` once it was deleted.
    pub state: Option<S>,
    /// What the deletion was told to keep; `None` beside a state.
    pub marker: Option<Bytes>,
}

/// What both kinds of write have in common inside a store.
#[derive(Debug)]
pub(crate) struct StateWrite<S> {
    pub(crate) id: PersistenceId,
    pub(crate) expected_revision: u64,
    pub(crate) fence: Fence,
    pub(crate) batch_id: u128,
    pub(crate) time_ms: u64,
    pub(crate) state: Option<S>, // `None` takes the state away
    pub(crate) marker: Option<Bytes>,
    pub(crate) tag: Option<Arc<str>>, // of a deletion it is not looked at: the state's stays
}

impl<S> PutState<S> {
    /// The same write of what `change` makes of the state.
    pub(crate) fn map<T>(self, change: impl FnOnce(S) -> T) -> PutState<T> {
        let Self { id, expected_revision, fence, batch_id, time_ms, state, tag } = self;
        PutState { id, expected_revision, fence, batch_id, time_ms, state: change(state), tag }
    }

    pub(crate) fn into_write(self) -> StateWrite<S> {
        let Self { id, expected_revision, fence, batch_id, time_ms, state, tag } = self;
        StateWrite { id, expected_revision, fence, batch_id, time_ms, state: Some(state), marker: None, tag }
    }
}

impl DeleteState {
    pub(crate) fn into_write<S>(self) -> StateWrite<S> {
        let Self { id, expected_revision, fence, batch_id, time_ms, marker } = self;
        StateWrite { id, expected_revision, fence, batch_id, time_ms, state: None, marker, tag: None }
    }
}

impl<S> StateWrite<S> {
    /// Whether this very write is what the row holds already.
    pub(crate) fn is_stored(&self, revision: u64, batch_id: u128, deleted: bool) -> bool {
        self.expected_revision.checked_add(1) == Some(revision)
            && self.batch_id == batch_id
            && self.state.is_none() == deleted
    }

    /// The new revision, if the one stored is the one expected.
    pub(crate) fn check_revision(&self, stored: u64) -> Result<u64, AppendError> {
        if self.expected_revision == stored {
            return Ok(stored + 1);
        }
        Err(AppendError::Conflict { expected: self.expected_revision.saturating_add(1), highest: stored })
    }
}

impl RawState {
    /// Bytes this state weighs against limits.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.payload.len() + self.meta.as_ref().map_or(0, Bytes::len)
    }
}

impl StoredState<RawState> {
    /// Bytes it weighs against limits: of a deleted state, what was left in its place.
    pub(crate) fn weight(&self) -> usize {
        self.state.as_ref().map_or_else(|| self.marker.as_ref().map_or(0, Bytes::len), RawState::weight)
    }
}

impl<S: 'static, T: StateStore<S> + ?Sized> StateStore<S> for Arc<T> {
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

    fn load(&self, id: PersistenceId) -> BoxFuture<'static, Result<Option<StoredState<S>>, JournalError>> {
        (**self).load(id)
    }

    fn upsert(&self, put: PutState<S>) -> BoxFuture<'static, Result<u64, AppendError>> {
        (**self).upsert(put)
    }

    fn delete(&self, delete: DeleteState) -> BoxFuture<'static, Result<u64, AppendError>> {
        (**self).delete(delete)
    }
}
