//! [`InMemorySnapshotStore`]: snapshots that live as long as the process.

use super::{SnapshotStore, StoredSnapshot};
use crate::{AppendError, BoxFuture, Fence, JournalError, PersistenceId, journal::Ledger};
use futures_util::FutureExt;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, HashMap},
    future::ready,
    sync::Arc,
};

/// Keeps snapshots in memory, as values: nothing is encoded. Clones share their contents.
///
/// Made by [`InMemoryJournal::snapshots`](crate::InMemoryJournal::snapshots) it knows the journal's epochs and refuses
/// stale writers. Made by `default()` it stands alone: it takes every fence, so only sequence order protects it.
pub struct InMemorySnapshotStore<S> {
    ledger: Option<Arc<Mutex<Ledger>>>,
    snapshots: Arc<Mutex<Snapshots<S>>>,
}

type Snapshots<S> = HashMap<PersistenceId, BTreeMap<u64, StoredSnapshot<S>>>;

impl<S> InMemorySnapshotStore<S> {
    pub(crate) fn beside(ledger: Arc<Mutex<Ledger>>) -> Self {
        Self { ledger: Some(ledger), snapshots: Arc::default() }
    }

    /// Runs `write` while no claim can happen, if the fence still holds.
    fn fenced(
        &self,
        id: &PersistenceId,
        fence: &Fence,
        seq_nr: u64,
        write: impl FnOnce(&mut Snapshots<S>),
    ) -> Result<(), AppendError> {
        let ledger = self.ledger.as_ref().map(|ledger| ledger.lock());
        if let Some(ledger) = &ledger {
            ledger.check(id, fence)?;
            ledger.check_snapshot(id, seq_nr)?;
        }
        write(&mut self.snapshots.lock());
        Ok(())
    }
}

impl<S: Clone + Send + 'static> SnapshotStore<S> for InMemorySnapshotStore<S> {
    fn save(
        &self,
        id: PersistenceId,
        seq_nr: u64,
        fence: Fence,
        time_ms: u64,
        snapshot: S,
    ) -> BoxFuture<'static, Result<(), AppendError>> {
        let stored = StoredSnapshot { seq_nr, epoch: fence.epoch, time_ms, snapshot };
        let result = self.fenced(&id, &fence, seq_nr, |snapshots| {
            snapshots.entry(id.clone()).or_default().insert(seq_nr, stored);
        });
        ready(result).boxed()
    }

    fn load(
        &self,
        id: PersistenceId,
        max_seq: u64,
    ) -> BoxFuture<'static, Result<Option<StoredSnapshot<S>>, JournalError>> {
        let snapshots = self.snapshots.lock();
        let newest = snapshots.get(&id).and_then(|of_id| of_id.range(..=max_seq).next_back());
        ready(Ok(newest.map(|(_, snapshot)| snapshot.clone()))).boxed()
    }

    fn delete(&self, id: PersistenceId, up_to_seq: u64, fence: Fence) -> BoxFuture<'static, Result<(), AppendError>> {
        let result = self.fenced(&id, &fence, 0, |snapshots| {
            if let Some(of_id) = snapshots.get_mut(&id) {
                of_id.retain(|&seq_nr, _| seq_nr > up_to_seq);
            }
        });
        ready(result).boxed()
    }
}

impl<S> Clone for InMemorySnapshotStore<S> {
    fn clone(&self) -> Self {
        Self { ledger: self.ledger.clone(), snapshots: Arc::clone(&self.snapshots) }
    }
}

impl<S> Default for InMemorySnapshotStore<S> {
    fn default() -> Self {
        Self { ledger: None, snapshots: Arc::default() }
    }
}
