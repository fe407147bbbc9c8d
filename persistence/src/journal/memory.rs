//! [`InMemoryJournal`]: a journal that lives as long as the process.

use super::{Append, Journal, Ledger, RawEvent, ReplayLimit, Stored};
use crate::{
    AppendError, BoxFuture, Changes, FeedEvent, FeedPage, FeedQuery, Fence, FenceScope, InMemorySnapshotStore,
    InMemoryStateStore, JournalError, Offset, PersistenceId,
};
use futures_util::FutureExt;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    future::ready,
    ops::{Bound, Range},
    sync::Arc,
};
use tokio::sync::watch;

/// Keeps events in memory, as values: nothing is encoded, so `E` needs no serde. Clones share their contents.
///
/// For tests, and where losing everything with the process is accepted. Every answer is ready at once.
pub struct InMemoryJournal<E> {
    ledger: Arc<Mutex<Ledger>>,
    logs: Arc<Mutex<Logs<E>>>,
    stored: watch::Sender<u64>,
    weight: fn(&E) -> usize,
}

/// The events of each entity, and the order in which all were stored.
struct Logs<E> {
    by_id: HashMap<PersistenceId, VecDeque<Logged<E>>>,
    order: BTreeMap<u64, (PersistenceId, u64)>, // offset → whose event, which number
    end: u64,
}

#[derive(Clone)]
struct Logged<E> {
    offset: u64,
    stored: Stored<E>,
    tags: Vec<Arc<str>>,
    batch: Option<(u128, u64)>, // on the first event of a batch: its id and length
}

impl<E> InMemoryJournal<E> {
    /// A journal that counts `weight(event)` bytes against [`ReplayLimit::bytes`]; `default()` ignores that limit.
    #[must_use]
    pub fn weighing(weight: fn(&E) -> usize) -> Self {
        Self { ledger: Arc::default(), logs: Arc::default(), stored: watch::Sender::default(), weight }
    }

    /// A snapshot store that shares this journal's epochs and sequence numbers.
    #[must_use]
    pub fn snapshots<S>(&self) -> InMemorySnapshotStore<S> {
        InMemorySnapshotStore::beside(Arc::clone(&self.ledger))
    }

    /// A store of last states that shares this journal's epochs.
    #[must_use]
    pub fn states<S>(&self) -> InMemoryStateStore<S> {
        InMemoryStateStore::beside(Arc::clone(&self.ledger))
    }

    fn append_now(&self, append: Append<E>) -> Result<u64, AppendError> {
        let mut ledger = self.ledger.lock();
        let mut logs = self.logs.lock();
        let Logs { by_id, order, end } = &mut *logs;
        let log = by_id.entry(append.id.clone()).or_default();
        let count = append.events.len() as u64;
        // A batch that is here already was acknowledged or is being retried: say so before looking at anything else.
        if at(log, append.expected_seq).is_some_and(|first| first.batch == Some((append.batch_id, count))) {
            return Ok(append.expected_seq + count - 1);
        }
        ledger.check(&append.id, &append.fence)?;
        let highest = ledger.check_sequence(&append)?;
        let mut tags = append.tags.into_iter();
        for (seq_nr, event) in (append.expected_seq..).zip(append.events) {
            let stored = Stored { seq_nr, epoch: append.fence.epoch, time_ms: append.time_ms, event };
            let batch = (seq_nr == append.expected_seq).then_some((append.batch_id, count));
            *end += 1;
            order.insert(*end, (append.id.clone(), seq_nr));
            let tags = tags.next().unwrap_or_default();
            log.push_back(Logged { offset: *end, stored, tags, batch });
        }
        ledger.set_highest(&append.id, highest);
        drop((logs, ledger));
        self.stored.send_modify(|commits| *commits += 1);
        Ok(highest)
    }

    pub(crate) fn feed_changes(&self) -> Changes {
        Changes::of(&self.stored)
    }

    pub(crate) fn feed_offset(&self, id: &PersistenceId, seq_nr: u64) -> Option<Offset> {
        let logs = self.logs.lock();
        let log = logs.by_id.get(id)?;
        let place = log.partition_point(|logged| logged.stored.seq_nr < seq_nr);
        log.get(place).map(|logged| Offset::of_ordering(logged.offset))
    }

    pub(crate) fn feed_ids(&self) -> Vec<PersistenceId> {
        self.ledger.lock().written()
    }

    fn delete_now(&self, id: &PersistenceId, seq: u64, fence: &Fence) -> Result<(), AppendError> {
        let ledger = self.ledger.lock();
        ledger.check(id, fence)?;
        let mut logs = self.logs.lock();
        let Logs { by_id, order, .. } = &mut *logs;
        if let Some(log) = by_id.get_mut(id) {
            while let Some(first) = log.pop_front_if(|logged| logged.stored.seq_nr <= seq) {
                order.remove(&first.offset);
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
        let Some(log) = logs.by_id.get(id) else {
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

    pub(crate) fn feed_page(&self, query: &FeedQuery, after: u64, limit: ReplayLimit) -> FeedPage<E> {
        let logs = self.logs.lock();
        let (mut events, mut bytes) = (Vec::new(), 0_usize);
        let mut read_to = logs.end.max(after);
        for (offset, (id, seq_nr)) in logs.order.range((Bound::Excluded(after), Bound::Unbounded)) {
            let Some(logged) = logs.by_id.get(id).and_then(|log| at(log, *seq_nr)) else { continue };
            if !query.takes(id, &logged.tags) {
                continue;
            }
            bytes = bytes.saturating_add((self.weight)(&logged.stored.event));
            events.push(FeedEvent {
                offset: Offset::of_ordering(*offset),
                id: id.clone(),
                stored: logged.stored.clone(),
            });
            if events.len() >= limit.events.max(1) || (bytes > 0 && bytes >= limit.bytes) {
                read_to = *offset;
                break;
            }
        }
        FeedPage { events, read_to: Offset::of_ordering(read_to), end: Offset::of_ordering(logs.end.max(after)) }
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
        ready(Ok(self.ledger.lock().claim_all(&entity_type, shards))).boxed()
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
        Self {
            ledger: Arc::clone(&self.ledger),
            logs: Arc::clone(&self.logs),
            stored: self.stored.clone(),
            weight: self.weight,
        }
    }
}

impl<E> Default for Logs<E> {
    fn default() -> Self {
        Self { by_id: HashMap::new(), order: BTreeMap::new(), end: 0 }
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
