//! Following a feed, or one entity: [`Changes`], [`LiveFeed`] and [`LiveEvents`].

use super::{EventFeed, FeedPage, FeedQuery};
use crate::{Journal, JournalError, Offset, PersistenceId, ReplayLimit, Stored};
use futures_util::future::select;
use std::{pin::pin, sync::Arc};
use tokio::sync::watch;

/// Tells that something was stored, of whatever type.
///
/// Look first, then wait: what is stored after [`mark`](Self::mark) ends the wait, however the two fall together.
#[derive(Clone, Debug)]
pub struct Changes {
    first: watch::Receiver<u64>,
    second: Option<watch::Receiver<u64>>,
}

impl Changes {
    /// For implementations: ends waits with every value that is sent, once what it stands for can be read.
    #[must_use]
    pub fn of(sender: &watch::Sender<u64>) -> Self {
        Self { first: sender.subscribe(), second: None }
    }

    /// For implementations: ends waits with every value that either of the two sends.
    #[must_use]
    pub fn of_both(first: &watch::Sender<u64>, second: &watch::Sender<u64>) -> Self {
        Self { second: Some(second.subscribe()), ..Self::of(first) }
    }

    /// What was stored before this call ends no wait any more: call it before reading a page.
    pub fn mark(&mut self) {
        self.first.mark_unchanged();
        if let Some(second) = &mut self.second {
            second.mark_unchanged();
        }
    }

    /// Waits until something was stored since the last [`mark`](Self::mark). Once the store is gone, waits for ever.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn changed(&mut self) {
        match &mut self.second {
            None => changed(&mut self.first).await,
            Some(second) => {
                select(pin!(changed(&mut self.first)), pin!(changed(second))).await;
            }
        }
    }
}

async fn changed(receiver: &mut watch::Receiver<u64>) {
    if receiver.changed().await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// A feed read to its end and beyond: current events first, then each as it is stored.
pub struct LiveFeed<E> {
    feed: Arc<dyn EventFeed<E>>,
    changes: Changes,
    query: FeedQuery,
    after: Offset,
    limit: ReplayLimit,
}

impl<E: Send + 'static> LiveFeed<E> {
    /// Follows what `query` asks for after `after`, in pages within `limit`.
    pub fn new(feed: Arc<dyn EventFeed<E>>, query: FeedQuery, after: Offset, limit: ReplayLimit) -> Self {
        let changes = feed.changes();
        Self { feed, changes, query, after, limit }
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
            let page = self.feed.page(self.query.clone(), self.after, self.limit).await?;
            if page.read_to > self.after {
                self.after = page.read_to;
                return Ok(page);
            }
            self.changes.changed().await;
        }
    }
}

/// The events of one entity read to their end and beyond: those there are first, then each as it is stored.
///
/// For those there are, and no more, [`Journal::replay`] is enough.
pub struct LiveEvents<E> {
    journal: Arc<dyn Journal<E>>,
    changes: Changes,
    id: PersistenceId,
    next: u64,
    limit: ReplayLimit,
}

impl<E: Send + 'static> LiveEvents<E> {
    /// Follows the events of `id` with the number `from` and above, in pages within `limit`. `feed` is the journal's own: it
    /// tells that something was stored. Events that are deleted before they were read are left out.
    pub fn new(
        journal: Arc<dyn Journal<E>>,
        feed: &dyn EventFeed<E>,
        id: PersistenceId,
        from: u64,
        limit: ReplayLimit,
    ) -> Self {
        Self { journal, changes: feed.changes(), id, next: from.max(1), limit }
    }

    /// The next page, in the order of the numbers and never empty; waits for one at the end.
    ///
    /// # Cancel safety
    /// Cancel safe: a page that was not returned is read again.
    ///
    /// # Errors
    /// As the journal's; the next call tries the same page again.
    pub async fn next(&mut self) -> Result<Vec<Stored<E>>, JournalError> {
        loop {
            // Before the read: what is stored from here on ends the wait below.
            self.changes.mark();
            let page = self.journal.replay(self.id.clone(), self.next, u64::MAX, self.limit).await?;
            if let Some(last) = page.last() {
                self.next = last.seq_nr + 1;
                return Ok(page);
            }
            self.changes.changed().await;
        }
    }
}
