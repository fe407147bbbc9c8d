//! The in-memory stores as feeds.

use super::{Changes, EntityIds, EventFeed, FeedPage, FeedQuery, StateFeed, StatePage};
use crate::{BoxFuture, InMemoryJournal, InMemoryStateStore, JournalError, Offset, PersistenceId, ReplayLimit};
use futures_util::FutureExt;
use std::{future::ready, sync::Arc};

impl<E: Clone + Send + 'static> EventFeed<E> for InMemoryJournal<E> {
    fn page(
        &self,
        query: FeedQuery,
        after: Offset,
        limit: ReplayLimit,
    ) -> BoxFuture<'static, Result<FeedPage<E>, JournalError>> {
        ready(plain(after).map(|after| self.feed_page(&query, after, limit))).boxed()
    }

    fn offset_of(&self, id: PersistenceId, seq_nr: u64) -> BoxFuture<'static, Result<Option<Offset>, JournalError>> {
        ready(Ok(self.feed_offset(&id, seq_nr))).boxed()
    }

    fn changes(&self) -> Changes {
        self.feed_changes()
    }
}

impl<E: Send + 'static> EntityIds for InMemoryJournal<E> {
    fn ids(
        &self,
        entity_type: Option<Arc<str>>,
        after: Option<PersistenceId>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<PersistenceId>, JournalError>> {
        ready(Ok(selected(self.feed_ids(), entity_type.as_deref(), after.as_ref(), limit))).boxed()
    }

    fn id_changes(&self) -> Changes {
        self.feed_changes()
    }
}

impl<S: Clone + Send + 'static> StateFeed<S> for InMemoryStateStore<S> {
    fn page(
        &self,
        query: FeedQuery,
        after: Offset,
        limit: ReplayLimit,
    ) -> BoxFuture<'static, Result<StatePage<S>, JournalError>> {
        ready(plain(after).map(|after| self.feed_page(&query, after, limit))).boxed()
    }

    fn last_offset(&self, id: PersistenceId) -> BoxFuture<'static, Result<Option<Offset>, JournalError>> {
        ready(Ok(self.feed_offset(&id))).boxed()
    }

    fn changes(&self) -> Changes {
        self.feed_changes()
    }
}

impl<S: Send + 'static> EntityIds for InMemoryStateStore<S> {
    fn ids(
        &self,
        entity_type: Option<Arc<str>>,
        after: Option<PersistenceId>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<PersistenceId>, JournalError>> {
        ready(Ok(selected(self.feed_ids(), entity_type.as_deref(), after.as_ref(), limit))).boxed()
    }

    fn id_changes(&self) -> Changes {
        self.feed_changes()
    }
}

/// The number that an offset is in a store that only counts.
pub(super) fn plain(offset: Offset) -> Result<u64, JournalError> {
    if offset.is_plain() { Ok(offset.ordering()) } else { Err(JournalError::ForeignOffset { offset }) }
}

fn selected(
    all: Vec<PersistenceId>,
    entity_type: Option<&str>,
    after: Option<&PersistenceId>,
    limit: usize,
) -> Vec<PersistenceId> {
    let of_type = |id: &PersistenceId| entity_type.is_none_or(|wanted| wanted == id.entity_type());
    let mut ids: Vec<_> = all.into_iter().filter(|id| of_type(id) && after.is_none_or(|after| id > after)).collect();
    ids.sort_unstable();
    ids.truncate(limit);
    ids
}
