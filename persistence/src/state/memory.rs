//! [`InMemoryStateStore`]: states that live as long as the process.

use super::{DeleteState, PutState, StateStore, StateWrite, StoredState};
use crate::{
    AppendError, BoxFuture, Changes, FeedQuery, Fence, FenceScope, JournalError, Offset, PersistenceId, ReplayLimit,
    StateChange, StatePage, journal::Ledger,
};
use futures_util::FutureExt;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, HashMap},
    future::ready,
    ops::{Bound, Range},
    sync::Arc,
};
use tokio::sync::watch;

/// Keeps states in memory, as values: nothing is encoded, so `S` needs no serde. Clones share their contents.
///
/// Made by [`InMemoryJournal::states`](crate::InMemoryJournal::states) it shares the journal's epochs. Made by
/// `default()` it has its own.
pub struct InMemoryStateStore<S> {
    ledger: Arc<Mutex<Ledger>>,
    rows: Arc<Mutex<Rows<S>>>,
    stored: watch::Sender<u64>,
}

/// The states, and the order in which they were last written.
struct Rows<S> {
    by_id: HashMap<PersistenceId, Row<S>>,
    order: BTreeMap<u64, PersistenceId>,
    end: u64,
}

struct Row<S> {
    stored: StoredState<S>,
    batch_id: u128,
    tag: Option<Arc<str>>,
    change: u64,
}

impl<S> InMemoryStateStore<S> {
    pub(crate) fn beside(ledger: Arc<Mutex<Ledger>>) -> Self {
        Self { ledger, rows: Arc::default(), stored: watch::Sender::default() }
    }

    pub(crate) fn feed_changes(&self) -> Changes {
        Changes::of(&self.stored)
    }

    pub(crate) fn feed_ids(&self) -> Vec<PersistenceId> {
        self.rows.lock().by_id.keys().cloned().collect()
    }

    pub(crate) fn feed_offset(&self, id: &PersistenceId) -> Option<Offset> {
        self.rows.lock().by_id.get(id).map(|row| Offset::of_ordering(row.change))
    }

    fn write(&self, write: StateWrite<S>) -> Result<u64, AppendError> {
        let ledger = self.ledger.lock();
        let mut rows = self.rows.lock();
        let known = rows.by_id.get(&write.id);
        let current = known.map_or(0, |row| row.stored.revision);
        // A write that is here already was acknowledged or is being retried: say so before looking at anything else.
        if known.is_some_and(|row| write.is_stored(current, row.batch_id, row.stored.state.is_none())) {
            return Ok(current);
        }
        ledger.check(&write.id, &write.fence)?;
        let revision = write.check_revision(current)?;
        let StateWrite { id, fence, batch_id, time_ms, state, marker, tag, .. } = write;
        let stored = StoredState { revision, epoch: fence.epoch, time_ms, state, marker };
        let Rows { by_id, order, end } = &mut *rows;
        *end += 1;
        order.insert(*end, id.clone());
        let tag = if stored.state.is_none() { by_id.get(&id).and_then(|row| row.tag.clone()) } else { tag };
        if let Some(before) = by_id.insert(id, Row { stored, batch_id, tag, change: *end }) {
            order.remove(&before.change);
        }
        drop((rows, ledger));
        self.stored.send_modify(|writes| *writes += 1);
        Ok(revision)
    }
}

impl<S: Clone> InMemoryStateStore<S> {
    pub(crate) fn feed_page(&self, query: &FeedQuery, after: u64, limit: ReplayLimit) -> StatePage<S> {
        let rows = self.rows.lock();
        let mut states = Vec::new();
        let end = rows.end.max(after);
        let mut read_to = end;
        for (change, id) in rows.order.range((Bound::Excluded(after), Bound::Unbounded)) {
            let Some(row) = rows.by_id.get(id).filter(|row| query.takes(id, &row.tag)) else { continue };
            states.push(StateChange {
                offset: Offset::of_ordering(*change),
                id: id.clone(),
                stored: row.stored.clone(),
            });
            if states.len() >= limit.events.max(1) {
                read_to = *change;
                break;
            }
        }
        StatePage { states, read_to: Offset::of_ordering(read_to), end: Offset::of_ordering(end) }
    }
}

impl<S: Clone + Send + 'static> StateStore<S> for InMemoryStateStore<S> {
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

    fn load(&self, id: PersistenceId) -> BoxFuture<'static, Result<Option<StoredState<S>>, JournalError>> {
        ready(Ok(self.rows.lock().by_id.get(&id).map(|row| row.stored.clone()))).boxed()
    }

    fn upsert(&self, put: PutState<S>) -> BoxFuture<'static, Result<u64, AppendError>> {
        ready(self.write(put.into_write())).boxed()
    }

    fn delete(&self, delete: DeleteState) -> BoxFuture<'static, Result<u64, AppendError>> {
        ready(self.write(delete.into_write())).boxed()
    }
}

impl<S> Default for Rows<S> {
    fn default() -> Self {
        Self { by_id: HashMap::new(), order: BTreeMap::new(), end: 0 }
    }
}

impl<S> Clone for InMemoryStateStore<S> {
    fn clone(&self) -> Self {
        Self { ledger: Arc::clone(&self.ledger), rows: Arc::clone(&self.rows), stored: self.stored.clone() }
    }
}

impl<S> Default for InMemoryStateStore<S> {
    fn default() -> Self {
        Self::beside(Arc::default())
    }
}
