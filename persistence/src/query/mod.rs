//! Events across entities: [`EventFeed`], by entity type in the order in which they were committed.

mod memory;
mod sqlite;

pub(crate) use sqlite::page;

use crate::{BoxFuture, JournalError, PersistenceId, ReplayLimit, Stored};
use std::sync::Arc;
use tokio::sync::watch;

/// The events of all entities of a type, for whoever follows them.
///
/// # Promises of every implementation
/// - **Commit order.** Offsets grow in the order in which batches became durable, so nothing ever appears behind a place
///   that was read: a reader that goes on after [`FeedPage::read_to`] misses nothing and sees nothing twice.
/// - Events of one entity come in the order of their sequence numbers. Deleted events are skipped.
/// - An offset belongs to the store, not to the type: offsets of different types can be compared.
pub trait EventFeed<E>: Send + Sync + 'static {
    /// The events of `entity_type` (the part of their ids before the `|`) after offset `after`, 0 for all.
    ///
    /// A page without events is no sign of the end: only [`FeedPage::read_to`] at [`FeedPage::end`] is.
    fn page(
        &self,
        entity_type: Arc<str>,
        after: u64,
        limit: ReplayLimit,
    ) -> BoxFuture<'static, Result<FeedPage<E>, JournalError>>;

    /// Wakes whoever waits for further events.
    fn changes(&self) -> Changes;
}

/// One page of a feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedPage<E> {
    /// The events, in commit order.
    pub events: Vec<FeedEvent<E>>,
    /// Every event of the type up to this offset is in this page or an earlier one. Ask for the next page after it.
    pub read_to: u64,
    /// The highest offset in the store when the page was read; the end of the feed was reached when `read_to` is that.
    pub end: u64,
}

/// One event of a feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedEvent<E> {
    /// Its place in commit order.
    pub offset: u64,
    /// Whose event it is.
    pub id: PersistenceId,
    /// The event.
    pub stored: Stored<E>,
}

/// Tells that events were stored, of whatever type.
///
/// Look first, then wait: what is stored after [`mark`](Self::mark) ends the wait, however the two fall together.
#[derive(Clone, Debug)]
pub struct Changes(watch::Receiver<u64>);

impl Changes {
    pub(crate) fn of(sender: &watch::Sender<u64>) -> Self {
        Self(sender.subscribe())
    }

    /// What was stored before this call ends no wait any more: call it before reading a page.
    pub fn mark(&mut self) {
        self.0.mark_unchanged();
    }

    /// Waits until something was stored since the last [`mark`](Self::mark). Once the store is gone, waits for ever.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// A feed read to its end and beyond: current events first, then each as it is stored.
pub struct LiveFeed<E> {
    feed: Arc<dyn EventFeed<E>>,
    changes: Changes,
    entity_type: Arc<str>,
    after: u64,
    limit: ReplayLimit,
}

impl<E: Send + 'static> LiveFeed<E> {
    /// Follows the events of `entity_type` after offset `after`, in pages within `limit`.
    pub fn new(feed: Arc<dyn EventFeed<E>>, entity_type: Arc<str>, after: u64, limit: ReplayLimit) -> Self {
        let changes = feed.changes();
        Self { feed, changes, entity_type, after, limit }
    }

    /// The next page that takes the reader further, with events or without; waits for one at the end of the feed.
    ///
    /// # Cancel safety
    /// Cancel safe: a page that was not returned is read again.
    ///
    /// # Errors
    /// As the feed's; the next call tries the same page again.
    pub async fn next(&mut self) -> Result<FeedPage<E>, JournalError> {
        loop {
            // Before the read: what is stored from here on ends the wait below.
            self.changes.mark();
            let page = self.feed.page(Arc::clone(&self.entity_type), self.after, self.limit).await?;
            if page.read_to > self.after {
                self.after = page.read_to;
                return Ok(page);
            }
            self.changes.changed().await;
        }
    }
}
