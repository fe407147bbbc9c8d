//! Stores that fail on command.

use crate::{
    Append, AppendError, BoxFuture, Fence, FenceScope, Journal, JournalError, PersistenceId, ReplayLimit,
    SnapshotStore, Stored, StoredSnapshot,
};
use futures_util::FutureExt;
use parking_lot::Mutex;
use std::{collections::VecDeque, future::ready, ops::Range, sync::Arc};
use tokio::sync::oneshot;

/// A journal whose next answers can be chosen. Clones share the commands.
///
/// Commands apply to appends in the order they were given, one each; reads and claims have commands of their own.
pub struct FaultyJournal<E> {
    journal: Arc<dyn Journal<E>>,
    script: Arc<Script>,
}

/// A snapshot store whose next answers can be chosen. Clones share the commands.
pub struct FaultySnapshots<S> {
    store: Arc<dyn SnapshotStore<S>>,
    script: Arc<Script>,
}

/// Makes a request that was held.
type Request = Box<dyn FnOnce() + Send>;

#[derive(Default)]
pub(super) struct Script {
    writes: Mutex<VecDeque<WriteFault>>,
    reads: Mutex<VecDeque<JournalError>>,
    /// Requests in the order they were made, while they are held.
    held: Mutex<Option<VecDeque<Request>>>,
    requested: Mutex<u64>,
}

enum WriteFault {
    NotStored(AppendError),
    StoredButUnknown,
}

impl<E: Send + 'static> FaultyJournal<E> {
    /// Passes everything to `journal` until told otherwise.
    pub fn new(journal: impl Journal<E>) -> Self {
        Self { journal: Arc::new(journal), script: Arc::default() }
    }

    /// The next append or deletion answers `error` and stores nothing.
    pub fn fail_next(&self, error: AppendError) {
        self.script.fail_next(error);
    }

    /// The next append or deletion is rejected.
    pub fn reject_next(&self, reason: &str) {
        self.fail_next(AppendError::Rejected { reason: reason.to_owned() });
    }

    /// The next append or deletion answers that its outcome is unknown; `stored` is what really happened.
    pub fn unknown_next(&self, stored: bool) {
        self.script.unknown_next(stored);
    }

    /// The next claim, replay or question for the highest number answers `error`.
    pub fn fail_next_read(&self, error: JournalError) {
        self.script.fail_next_read(error);
    }

    /// From now on no append or deletion reaches the journal until [`release`](Self::release).
    pub fn hold(&self) {
        self.script.hold();
    }

    /// Lets what is held, and everything later, pass.
    pub fn release(&self) {
        self.script.release();
    }

    /// How many appends were asked for, failed and held ones included.
    #[must_use]
    pub fn appends(&self) -> u64 {
        self.script.requested()
    }
}

impl<S: Send + 'static> FaultySnapshots<S> {
    /// Passes everything to `store` until told otherwise.
    pub fn new(store: impl SnapshotStore<S>) -> Self {
        Self { store: Arc::new(store), script: Arc::default() }
    }

    /// The next save or deletion answers `error` and changes nothing.
    pub fn fail_next(&self, error: AppendError) {
        self.script.fail_next(error);
    }

    /// The next load answers `error`.
    pub fn fail_next_load(&self, error: JournalError) {
        self.script.fail_next_read(error);
    }

    /// From now on no save or deletion reaches the store until [`release`](Self::release).
    pub fn hold(&self) {
        self.script.hold();
    }

    /// Lets what is held, and everything later, pass.
    pub fn release(&self) {
        self.script.release();
    }
}

impl Script {
    pub(super) fn fail_next(&self, error: AppendError) {
        self.writes.lock().push_back(WriteFault::NotStored(error));
    }

    pub(super) fn unknown_next(&self, stored: bool) {
        let unknown = AppendError::Unknown { reason: "as told".to_owned() };
        let fault = if stored { WriteFault::StoredButUnknown } else { WriteFault::NotStored(unknown) };
        self.writes.lock().push_back(fault);
    }

    pub(super) fn fail_next_read(&self, error: JournalError) {
        self.reads.lock().push_back(error);
    }

    pub(super) fn hold(&self) {
        self.held.lock().get_or_insert_default();
    }

    pub(super) fn release(&self) {
        let mut held = self.held.lock();
        held.take().into_iter().flatten().for_each(|request| request());
    }

    pub(super) fn count(&self) {
        *self.requested.lock() += 1;
    }

    pub(super) fn requested(&self) -> u64 {
        *self.requested.lock()
    }

    /// Performs `write` as the next command says, once nothing is held; what is held keeps its order.
    pub(super) fn write<T: Send + 'static>(
        self: &Arc<Self>,
        write: impl FnOnce() -> BoxFuture<'static, Result<T, AppendError>> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, AppendError>> {
        let fault = self.writes.lock().pop_front();
        let perform = move || match fault {
            None => write(),
            Some(WriteFault::NotStored(error)) => ready(Err(error)).boxed(),
            Some(WriteFault::StoredButUnknown) => {
                let unknown = AppendError::Unknown { reason: "as told".to_owned() };
                write().map(|stored| stored.and(Err(unknown))).boxed()
            }
        };
        let mut held = self.held.lock();
        let Some(requests) = &mut *held else {
            drop(held);
            return perform();
        };
        let (give, given) = oneshot::channel();
        requests.push_back(Box::new(move || drop(give.send(perform()))));
        async move {
            match given.await {
                Ok(written) => written.await,
                Err(_) => Err(AppendError::Unknown { reason: "the store was dropped".to_owned() }),
            }
        }
        .boxed()
    }

    pub(super) fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> BoxFuture<'static, Result<T, JournalError>>,
    ) -> BoxFuture<'static, Result<T, JournalError>> {
        match self.reads.lock().pop_front() {
            Some(error) => ready(Err(error)).boxed(),
            None => read(),
        }
    }
}

impl<E: Send + 'static> Journal<E> for FaultyJournal<E> {
    fn claim(&self, scope: FenceScope) -> BoxFuture<'static, Result<Fence, JournalError>> {
        self.script.read(|| self.journal.claim(scope))
    }

    fn claim_all(
        &self,
        entity_type: Arc<str>,
        shards: Range<u16>,
    ) -> BoxFuture<'static, Result<Vec<Fence>, JournalError>> {
        self.script.read(|| self.journal.claim_all(entity_type, shards))
    }

    fn append(&self, append: Append<E>) -> BoxFuture<'static, Result<u64, AppendError>> {
        self.script.count();
        let journal = Arc::clone(&self.journal);
        self.script.write(move || journal.append(append))
    }

    fn replay(
        &self,
        id: PersistenceId,
        from: u64,
        to: u64,
        limit: ReplayLimit,
    ) -> BoxFuture<'static, Result<Vec<Stored<E>>, JournalError>> {
        self.script.read(|| self.journal.replay(id, from, to, limit))
    }

    fn highest_seq(&self, id: PersistenceId) -> BoxFuture<'static, Result<u64, JournalError>> {
        self.script.read(|| self.journal.highest_seq(id))
    }

    fn delete_to(&self, id: PersistenceId, seq: u64, fence: Fence) -> BoxFuture<'static, Result<(), AppendError>> {
        let journal = Arc::clone(&self.journal);
        self.script.write(move || journal.delete_to(id, seq, fence))
    }
}

impl<S: Send + 'static> SnapshotStore<S> for FaultySnapshots<S> {
    fn save(
        &self,
        id: PersistenceId,
        seq_nr: u64,
        fence: Fence,
        time_ms: u64,
        snapshot: S,
    ) -> BoxFuture<'static, Result<(), AppendError>> {
        let store = Arc::clone(&self.store);
        self.script.write(move || store.save(id, seq_nr, fence, time_ms, snapshot))
    }

    fn load(
        &self,
        id: PersistenceId,
        max_seq: u64,
    ) -> BoxFuture<'static, Result<Option<StoredSnapshot<S>>, JournalError>> {
        self.script.read(|| self.store.load(id, max_seq))
    }

    fn delete(&self, id: PersistenceId, up_to_seq: u64, fence: Fence) -> BoxFuture<'static, Result<(), AppendError>> {
        let store = Arc::clone(&self.store);
        self.script.write(move || store.delete(id, up_to_seq, fence))
    }
}

impl<E> Clone for FaultyJournal<E> {
    fn clone(&self) -> Self {
        Self { journal: Arc::clone(&self.journal), script: Arc::clone(&self.script) }
    }
}

impl<S> Clone for FaultySnapshots<S> {
    fn clone(&self) -> Self {
        Self { store: Arc::clone(&self.store), script: Arc::clone(&self.script) }
    }
}
