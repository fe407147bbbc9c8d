//! [`FaultyStates`]: a state store that fails on command.

use super::faulty::Script;
use crate::{
    AppendError, BoxFuture, DeleteState, Fence, FenceScope, JournalError, PersistenceId, PutState, StateStore,
    StoredState,
};
use std::{ops::Range, sync::Arc};

/// A state store whose next answers can be chosen. Clones share the commands.
///
/// Commands apply to writes, that is upserts and deletions, in the order they were given, one each; loads and claims have
/// commands of their own.
pub struct FaultyStates<S> {
    store: Arc<dyn StateStore<S>>,
    script: Arc<Script>,
}

impl<S: Send + 'static> FaultyStates<S> {
    /// Passes everything to `store` until told otherwise.
    pub fn new(store: impl StateStore<S>) -> Self {
        Self { store: Arc::new(store), script: Arc::default() }
    }

    /// The next write answers `error` and stores nothing.
    pub fn fail_next(&self, error: AppendError) {
        self.script.fail_next(error);
    }

    /// The next write is rejected.
    pub fn reject_next(&self, reason: &str) {
        self.fail_next(AppendError::Rejected { reason: reason.to_owned() });
    }

    /// The next write answers that its outcome is unknown; `stored` is what really happened.
    pub fn unknown_next(&self, stored: bool) {
        self.script.unknown_next(stored);
    }

    /// The next claim or load answers `error`.
    pub fn fail_next_read(&self, error: JournalError) {
        self.script.fail_next_read(error);
    }

    /// From now on no write reaches the store until [`release`](Self::release).
    pub fn hold(&self) {
        self.script.hold();
    }

    /// Lets what is held, and everything later, pass.
    pub fn release(&self) {
        self.script.release();
    }

    /// How many writes were asked for, failed and held ones included.
    #[must_use]
    pub fn writes(&self) -> u64 {
        self.script.requested()
    }
}

impl<S: Send + 'static> StateStore<S> for FaultyStates<S> {
    fn claim(&self, scope: FenceScope) -> BoxFuture<'static, Result<Fence, JournalError>> {
        self.script.read(|| self.store.claim(scope))
    }

    fn claim_all(
        &self,
        entity_type: Arc<str>,
        shards: Range<u16>,
    ) -> BoxFuture<'static, Result<Vec<Fence>, JournalError>> {
        self.script.read(|| self.store.claim_all(entity_type, shards))
    }

    fn load(&self, id: PersistenceId) -> BoxFuture<'static, Result<Option<StoredState<S>>, JournalError>> {
        self.script.read(|| self.store.load(id))
    }

    fn upsert(&self, put: PutState<S>) -> BoxFuture<'static, Result<u64, AppendError>> {
        self.script.count();
        let store = Arc::clone(&self.store);
        self.script.write(move || store.upsert(put))
    }

    fn delete(&self, delete: DeleteState) -> BoxFuture<'static, Result<u64, AppendError>> {
        self.script.count();
        let store = Arc::clone(&self.store);
        self.script.write(move || store.delete(delete))
    }
}

impl<S> Clone for FaultyStates<S> {
    fn clone(&self) -> Self {
        Self { store: Arc::clone(&self.store), script: Arc::clone(&self.script) }
    }
}
