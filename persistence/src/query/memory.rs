//! [`InMemoryJournal`] as an [`EventFeed`].

use super::{Changes, EventFeed, FeedPage};
use crate::{BoxFuture, InMemoryJournal, JournalError, ReplayLimit};
use futures_util::FutureExt;
use std::{future::ready, sync::Arc};

impl<E: Clone + Send + 'static> EventFeed<E> for InMemoryJournal<E> {
    fn page(
        &self,
        entity_type: Arc<str>,
        after: u64,
        limit: ReplayLimit,
    ) -> BoxFuture<'static, Result<FeedPage<E>, JournalError>> {
        ready(Ok(self.feed_page(&entity_type, after, limit))).boxed()
    }

    fn changes(&self) -> Changes {
        self.feed_changes()
    }
}
