//! [`Adapted`]: a store of bytes as an entity needs it, with schema evolution and room for answered commands.

mod adapter;
mod record;

pub use adapter::{EventAdapter, Evolution};
pub(crate) use record::{Plain, answered_before, marker};
pub use record::{Record, WithCommands};

use crate::{
    Append, AppendError, BoxFuture, Codec, DeleteState, Fence, FenceScope, Journal, JournalError, PersistenceId,
    PutState, RawEvent, RawSnapshot, RawState, ReplayLimit, SnapshotStore, StateStore, Stored, StoredSnapshot,
    StoredState,
    codec::{decoded_page, decoded_snapshot, decoded_state},
    decode_answered, decode_window, encode_answered, encode_window,
};
use futures_util::FutureExt;
use std::{future::ready, ops::Range, sync::Arc};

/// A store of bytes seen as one of [`Record`]s and of states [`WithCommands`]: [`Journal`] where `A: EventAdapter<E>`,
/// [`SnapshotStore`] and [`StateStore`] where `A: Codec<S>`.
///
/// The answers to commands with an id are in the `meta` of what is stored, that of a write's first event, a snapshot or
/// a state.
pub struct Adapted<J, A> {
    store: J,
    adapter: Arc<A>,
}

impl<J, A> Adapted<J, A> {
    /// Stores in `store` what `adapter` makes of it.
    pub fn new(store: J, adapter: A) -> Self {
        Self { store, adapter: Arc::new(adapter) }
    }
}

impl<J: Clone, A> Clone for Adapted<J, A> {
    fn clone(&self) -> Self {
        Self { store: self.store.clone(), adapter: Arc::clone(&self.adapter) }
    }
}

impl<E: Send + 'static, J: Journal<RawEvent>, A: EventAdapter<E>> Journal<Record<E>> for Adapted<J, A> {
    fn claim(&self, scope: FenceScope) -> BoxFuture<'static, Result<Fence, JournalError>> {
        self.store.claim(scope)
    }

    fn claim_all(
        &self,
        entity_type: Arc<str>,
        shards: Range<u16>,
    ) -> BoxFuture<'static, Result<Vec<Fence>, JournalError>> {
        self.store.claim_all(entity_type, shards)
    }

    fn append(&self, append: Append<Record<E>>) -> BoxFuture<'static, Result<u64, AppendError>> {
        let Append { id, expected_seq, fence, batch_id, events: records, tags: of_records, time_ms } = append;
        let mut events = Vec::with_capacity(records.len());
        let mut tags = Vec::with_capacity(records.len());
        for (place, record) in records.iter().enumerate() {
            let mut meta = record.answered.as_ref().map(encode_answered);
            for event in record.events() {
                let (manifest, payload) = match self.adapter.to_journal(event) {
                    Ok(stored) => stored,
                    Err(error) => return ready(Err(AppendError::Rejected { reason: error.0 })).boxed(),
                };
                let mut of_event = of_records.get(place).cloned().unwrap_or_default();
                of_event.extend(self.adapter.tags(event));
                tags.push(of_event);
                events.push(RawEvent { manifest, payload, meta: meta.take() });
            }
        }
        self.store.append(Append { id, expected_seq, fence, batch_id, events, tags, time_ms })
    }

    fn replay(
        &self,
        id: PersistenceId,
        from: u64,
        to: u64,
        limit: ReplayLimit,
    ) -> BoxFuture<'static, Result<Vec<Stored<Record<E>>>, JournalError>> {
        let (page, adapter) = (self.store.replay(id.clone(), from, to, limit), Arc::clone(&self.adapter));
        decoded_page(id, page, move |raw, time_ms| {
            let answered = raw.meta.as_ref().map_or(Ok(None), |meta| decode_answered(meta, time_ms))?;
            Ok(Record::read(adapter.read_journal(&raw.manifest, &raw.payload)?, answered))
        })
    }

    fn highest_seq(&self, id: PersistenceId) -> BoxFuture<'static, Result<u64, JournalError>> {
        self.store.highest_seq(id)
    }

    fn delete_to(&self, id: PersistenceId, seq: u64, fence: Fence) -> BoxFuture<'static, Result<(), AppendError>> {
        self.store.delete_to(id, seq, fence)
    }
}

impl<S: Send + 'static, J: SnapshotStore<RawSnapshot>, C: Codec<S>> SnapshotStore<WithCommands<S>> for Adapted<J, C> {
    fn save(
        &self,
        id: PersistenceId,
        seq_nr: u64,
        fence: Fence,
        time_ms: u64,
        snapshot: WithCommands<S>,
    ) -> BoxFuture<'static, Result<(), AppendError>> {
        match self.adapter.encode(&snapshot.state) {
            Ok((manifest, payload)) => {
                let meta = encode_window(&snapshot.answered);
                self.store.save(id, seq_nr, fence, time_ms, RawSnapshot { manifest, payload, meta })
            }
            Err(error) => ready(Err(AppendError::Rejected { reason: error.0 })).boxed(),
        }
    }

    fn load(
        &self,
        id: PersistenceId,
        max_seq: u64,
    ) -> BoxFuture<'static, Result<Option<StoredSnapshot<WithCommands<S>>>, JournalError>> {
        let (loaded, codec) = (self.store.load(id.clone(), max_seq), Arc::clone(&self.adapter));
        decoded_snapshot(id, loaded, move |raw| {
            let state = codec.decode(&raw.manifest, &raw.payload)?;
            Ok(WithCommands { state, answered: decode_window(raw.meta.as_ref())? })
        })
    }

    fn delete(&self, id: PersistenceId, up_to_seq: u64, fence: Fence) -> BoxFuture<'static, Result<(), AppendError>> {
        self.store.delete(id, up_to_seq, fence)
    }
}

impl<S: Send + 'static, J: StateStore<RawState>, C: Codec<S>> StateStore<WithCommands<S>> for Adapted<J, C> {
    fn claim(&self, scope: FenceScope) -> BoxFuture<'static, Result<Fence, JournalError>> {
        self.store.claim(scope)
    }

    fn claim_all(
        &self,
        entity_type: Arc<str>,
        shards: Range<u16>,
    ) -> BoxFuture<'static, Result<Vec<Fence>, JournalError>> {
        self.store.claim_all(entity_type, shards)
    }

    fn load(
        &self,
        id: PersistenceId,
    ) -> BoxFuture<'static, Result<Option<StoredState<WithCommands<S>>>, JournalError>> {
        let (loaded, codec) = (self.store.load(id.clone()), Arc::clone(&self.adapter));
        decoded_state(id, loaded, move |raw| {
            let state = codec.decode(&raw.manifest, &raw.payload)?;
            Ok(WithCommands { state, answered: decode_window(raw.meta.as_ref())? })
        })
    }

    fn upsert(&self, put: PutState<WithCommands<S>>) -> BoxFuture<'static, Result<u64, AppendError>> {
        match self.adapter.encode(&put.state.state) {
            Ok((manifest, payload)) => {
                let meta = encode_window(&put.state.answered);
                self.store.upsert(put.map(|_| RawState { manifest, payload, meta }))
            }
            Err(error) => ready(Err(AppendError::Rejected { reason: error.0 })).boxed(),
        }
    }

    fn delete(&self, delete: DeleteState) -> BoxFuture<'static, Result<u64, AppendError>> {
        self.store.delete(delete)
    }
}
