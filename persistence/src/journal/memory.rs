//! [`InMemoryJournal`]: a journal that lives as long as the process.

use super::{Append, Journal, Ledger, RawEvent, ReplayLimit, Stored};
use crate::{AppendError, BoxFuture, Fence, FenceScope, InMemorySnapshotStore, JournalError, PersistenceId};
use futures_util::FutureExt;
use parking_lot::Mutex;
use std::{
    collections::{HashMap, VecDeque},
    future::ready,
    ops::Range,
    sync::Arc,
};

/// Keeps events in memory, as values: nothing is encoded, so `E` needs no serde. Clones share their contents.
///
/// For tests, and where losing everything with the process is accepted. Every answer is ready at once.
pub struct InMemoryJournal<E> {
    ledger: Arc<Mutex<Ledger>>,
    logs: Arc<Mutex<HashMap<PersistenceId, VecDeque<Logged<E>>>>>,
    weight: fn(&E) -> usize,
}

#[derive(Clone)]
struct Logged<E> {
    stored: Stored<E>,
    batch: Option<(u128, u64)>, // on the first event of a batch: its id and length
}

impl<E> InMemoryJournal<E> {
    /// A journal that counts `weight(event)` bytes against [`ReplayLimit::bytes`]; `default()` ignores that limit.
    #[must_use]
    pub fn weighing(weight: fn(&E) -> usize) -> Self {
        Self { ledger: Arc::default(), logs: Arc::default(), weight }
    }

    /// A snapshot store that shares this journal's epochs and sequence numbers.
    #[must_use]
    pub fn snapshots<S>(&self) -> InMemorySnapshotStore<S> {
        InMemorySnapshotStore::beside(Arc::clone(&self.ledger))
    }

    fn append_now(&self, append: Append<E>) -> Result<u64, AppendError> {
        let mut ledger = self.ledger.lock();
        let mut logs = self.logs.lock();
        let log = logs.entry(append.id.clone()).or_default();
        let count = append.events.len() as u64;
        // A batch that is here already was acknowledged or is being retried: say so before looking at anything else.
        if at(log, append.expected_seq).is_some_and(|first| first.batch == Some((append.batch_id, count))) {
            return Ok(append.expected_seq + count - 1);
        }
        ledger.check(&append.id, &append.fence)?;
        let highest = ledger.check_sequence(&append)?;
        for (seq_nr, event) in (append.expected_seq..).zip(append.events) {
            let stored = Stored { seq_nr, epoch: append.fence.epoch, time_ms: append.time_ms, event };
            let batch = (seq_nr == append.expected_seq).then_some((append.batch_id, count));
            log.push_back(Logged { stored, batch });
        }
        ledger.set_highest(&append.id, highest);
        Ok(highest)
    }

    fn delete_now(&self, id: &PersistenceId, seq: u64, fence: &Fence) -> Result<(), AppendError> {
        let ledger = self.ledger.lock();
        ledger.check(id, fence)?;
        if let Some(log) = self.logs.lock().get_mut(id) {
            while log.front().is_some_and(|logged| logged.stored.seq_nr <= seq) {
                log.pop_front();
            }
        }
        Ok(())
    }
}

impl InMemoryJournal<RawEvent> {
    /// A journal of bytes, which keeps [`ReplayLimit::bytes`].
    #[must_use]
    pub fn raw() -> Self {
        Self::weighing(RawEvent::weight)
    }
}

impl<E: Clone> InMemoryJournal<E> {
    fn page(&self, id: &PersistenceId, from: u64, to: u64, limit: ReplayLimit) -> Vec<Stored<E>> {
        let logs = self.logs.lock();
        let Some(log) = logs.get(id) else {
            return Vec::new();
        };
        let skipped = log.partition_point(|logged| logged.stored.seq_nr < from);
        let in_range = log.range(skipped..).map(|logged| &logged.stored).take_while(|stored| stored.seq_nr <= to);
        let (mut page, mut bytes) = (Vec::new(), 0_usize);
        for stored in in_range.take(limit.events.max(1)) {
            page.push(stored.clone());
            bytes = bytes.saturating_add((self.weight)(&stored.event));
            if bytes > 0 && bytes >= limit.bytes {
                break;
            }
        }
        page
    }
}

impl<E: Clone + Send + 'static> Journal<E> for InMemoryJournal<E> {
    fn claim(&self, scope: FenceScope) -> BoxFuture<'static, Result<Fence, JournalError>> {
        ready(Ok(self.ledger.lock().claim(scope))).boxed()
    }

    fn claim_all(
        &self,
        entity_type: Arc<str>,
        shards: Range<u16>,
    ) -> BoxFuture<'static, Result<Vec<Fence>, JournalError>> {
        let mut ledger = self.ledger.lock();
        let scopes = shards.map(|shard| FenceScope::Shard { entity_type: Arc::clone(&entity_type), shard });
        ready(Ok(scopes.map(|scope| ledger.claim(scope)).collect())).boxed()
    }

    fn append(&self, append: Append<E>) -> BoxFuture<'static, Result<u64, AppendError>> {
        ready(self.append_now(append)).boxed()
    }

    fn replay(
        &self,
        id: PersistenceId,
        from: u64,
        to: u64,
        limit: ReplayLimit,
    ) -> BoxFuture<'static, Result<Vec<Stored<E>>, JournalError>> {
        ready(Ok(self.page(&id, from, to, limit))).boxed()
    }

    fn highest_seq(&self, id: PersistenceId) -> BoxFuture<'static, Result<u64, JournalError>> {
        ready(Ok(self.ledger.lock().highest(&id))).boxed()
    }

    fn delete_to(&self, id: PersistenceId, seq: u64, fence: Fence) -> BoxFuture<'static, Result<(), AppendError>> {
        ready(self.delete_now(&id, seq, &fence)).boxed()
    }
}

impl<E> Clone for InMemoryJournal<E> {
    fn clone(&self) -> Self {
        Self { ledger: Arc::clone(&self.ledger), logs: Arc::clone(&self.logs), weight: self.weight }
    }
}

impl<E> Default for InMemoryJournal<E> {
    fn default() -> Self {
        Self::weighing(|_| 0)
    }
}

/// The event with this number. Logs have no holes, so its place follows from the first one's number.
fn at<E>(log: &VecDeque<Logged<E>>, seq_nr: u64) -> Option<&Logged<E>> {
    let first = log.front()?.stored.seq_nr;
    log.get(usize::try_from(seq_nr.checked_sub(first)?).ok()?)
}
