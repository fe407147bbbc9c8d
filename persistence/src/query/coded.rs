//! [`Coded`] stores as feeds of values.

use super::{Changes, EntityIds, EventFeed, FeedEvent, FeedPage, FeedQuery, StateChange, StateFeed, StatePage};
use crate::{
    BoxFuture, Codec, CodecError, Coded, JournalError, Offset, PersistenceId, RawEvent, RawState, ReplayLimit, Stored,
    StoredState,
};
use futures_util::FutureExt;
use std::sync::Arc;

impl<E: Send + 'static, J: EventFeed<RawEvent>, C: Codec<E>> EventFeed<E> for Coded<J, C> {
    fn page(
        &self,
        query: FeedQuery,
        after: Offset,
        limit: ReplayLimit,
    ) -> BoxFuture<'static, Result<FeedPage<E>, JournalError>> {
        let (page, codec) = (self.store.page(query, after, limit), Arc::clone(&self.codec));
        async move {
            let FeedPage { events, mut read_to, end } = page.await?;
            let mut decoded = Vec::with_capacity(events.len());
            for FeedEvent { offset, id, stored } in events {
                let Stored { seq_nr, epoch, time_ms, event: RawEvent { manifest, payload, .. } } = stored;
                match codec.decode(&manifest, &payload) {
                    Ok(event) => {
                        let stored = Stored { seq_nr, epoch, time_ms, event };
                        decoded.push(FeedEvent { offset, id, stored });
                    }
                    Err(CodecError(reason)) => {
                        let manifest = manifest.to_string();
                        let error = JournalError::Undecodable { id, seq_nr, manifest, reason };
                        // What comes before it can still be read.
                        read_to = decoded.last().map(|last: &FeedEvent<E>| last.offset).ok_or(error)?;
                        break;
                    }
                }
            }
            Ok(FeedPage { events: decoded, read_to, end })
        }
        .boxed()
    }

    fn offset_of(&self, id: PersistenceId, seq_nr: u64) -> BoxFuture<'static, Result<Option<Offset>, JournalError>> {
        self.store.offset_of(id, seq_nr)
    }

    fn changes(&self) -> Changes {
        self.store.changes()
    }
}

impl<S: Send + 'static, J: StateFeed<RawState>, C: Codec<S>> StateFeed<S> for Coded<J, C> {
    fn page(
        &self,
        query: FeedQuery,
        after: Offset,
        limit: ReplayLimit,
    ) -> BoxFuture<'static, Result<StatePage<S>, JournalError>> {
        let (page, codec) = (self.store.page(query, after, limit), Arc::clone(&self.codec));
        async move {
            let StatePage { states, mut read_to, end } = page.await?;
            let mut decoded = Vec::with_capacity(states.len());
            for StateChange { offset, id, stored } in states {
                let StoredState { revision, epoch, time_ms, state, marker } = stored;
                let state = state.map(|raw| codec.decode(&raw.manifest, &raw.payload).map_err(|error| (raw, error)));
                match state.transpose() {
                    Ok(state) => {
                        let stored = StoredState { revision, epoch, time_ms, state, marker };
                        decoded.push(StateChange { offset, id, stored });
                    }
                    Err((raw, CodecError(reason))) => {
                        let manifest = raw.manifest.to_string();
                        let error = JournalError::Undecodable { id, seq_nr: revision, manifest, reason };
                        // What comes before it can still be read.
                        read_to = decoded.last().map(|last: &StateChange<S>| last.offset).ok_or(error)?;
                        break;
                    }
                }
            }
            Ok(StatePage { states: decoded, read_to, end })
        }
        .boxed()
    }

    fn last_offset(&self, id: PersistenceId) -> BoxFuture<'static, Result<Option<Offset>, JournalError>> {
        self.store.last_offset(id)
    }

    fn changes(&self) -> Changes {
        self.store.changes()
    }
}

impl<J: EntityIds, C: Send + Sync + 'static> EntityIds for Coded<J, C> {
    fn ids(
        &self,
        entity_type: Option<Arc<str>>,
        after: Option<PersistenceId>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<PersistenceId>, JournalError>> {
        self.store.ids(entity_type, after, limit)
    }

    fn id_changes(&self) -> Changes {
        self.store.id_changes()
    }
}
