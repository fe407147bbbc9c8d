//! [`InMemoryStateStore`]: states that live as long as the process.

use super::{DeleteState, PutState, StateStore, StateWrite, StoredState};
use crate::{AppendError, BoxFuture, Fence, FenceScope, JournalError, PersistenceId, journal::Ledger};
use futures_util::FutureExt;
use parking_lot::Mutex;
use std::{collections::HashMap, future::ready, ops::Range, sync::Arc};

/// Keeps states in memory, as values: nothing is encoded, so `S` needs no serde. Clones share their contents.
///
/// Made by [`InMemoryJournal::states`](crate::InMemoryJournal::states) it shares the journal's epochs. Made by
/// `default()` it has its own.
pub struct InMemoryStateStore<S> {
    ledger: Arc<Mutex<Ledger>>,
    rows: Arc<Mutex<HashMap<PersistenceId, Row<S>>>>,
}

struct Row<S> {
    stored: StoredState<S>,
    batch_id: u128,
}

impl<S> InMemoryStateStore<S> {
    pub(crate) fn beside(ledger: Arc<Mutex<Ledger>>) -> Self {
        Self { ledger, rows: Arc::default() }
    }

    fn write(&self, write: StateWrite<S>) -> Result<u64, AppendError> {
        let ledger = self.ledger.lock();
        let mut rows = self.rows.lock();
        let known = rows.get(&write.id);
        let current = known.map_or(0, |row| row.stored.revision);
        // A write that is here already was acknowledged or is being retried: say so before looking at anything else.
        if known.is_some_and(|row| write.is_stored(current, row.batch_id, row.stored.state.is_none())) {
            return Ok(current);
        }
        ledger.check(&write.id, &write.fence)?;
        let revision = write.check_revision(current)?;
        let StateWrite { id, fence, batch_id, time_ms, state, marker, .. } = write;
        let stored = StoredState { revision, epoch: fence.epoch, time_ms, state, marker };
        rows.insert(id, Row { stored, batch_id });
        Ok(revision)
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
        ready(Ok(self.rows.lock().get(&id).map(|row| row.stored.clone()))).boxed()
    }

    fn upsert(&self, put: PutState<S>) -> BoxFuture<'static, Result<u64, AppendError>> {
        ready(self.write(put.into_write())).boxed()
    }

    fn delete(&self, delete: DeleteState) -> BoxFuture<'static, Result<u64, AppendError>> {
        ready(self.write(delete.into_write())).boxed()
    }
}

impl<S> Clone for InMemoryStateStore<S> {
    fn clone(&self) -> Self {
        Self { ledger: Arc::clone(&self.ledger), rows: Arc::clone(&self.rows) }
    }
}

impl<S> Default for InMemoryStateStore<S> {
    fn default() -> Self {
        Self::beside(Arc::default())
    }
}
