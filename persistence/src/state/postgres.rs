//! [`PostgresStore`] as a [`StateStore`].

use super::{DeleteState, PutState, RawState, StateStore, StateWrite, StoredState};
use crate::{
    AppendError, BoxFuture, Fence, FenceScope, Journal, JournalError, PersistenceId, PostgresStore,
    postgres::{Work, Written, load_state},
};
use futures_util::FutureExt;
use std::{ops::Range, sync::Arc};

impl StateStore<RawState> for PostgresStore {
    fn claim(&self, scope: FenceScope) -> BoxFuture<'static, Result<Fence, JournalError>> {
        Journal::claim(self, scope)
    }

    fn claim_all(
        &self,
        entity_type: Arc<str>,
        shards: Range<u16>,
    ) -> BoxFuture<'static, Result<Vec<Fence>, JournalError>> {
        Journal::claim_all(self, entity_type, shards)
    }

    fn load(&self, id: PersistenceId) -> BoxFuture<'static, Result<Option<StoredState<RawState>>, JournalError>> {
        self.read_of(&[("id", id.clone().as_str())], move |session| {
            let id = id.clone();
            async move { load_state(session, &id).await }.boxed()
        })
    }

    fn upsert(&self, put: PutState<RawState>) -> BoxFuture<'static, Result<u64, AppendError>> {
        write(self, put.into_write())
    }

    fn delete(&self, delete: DeleteState) -> BoxFuture<'static, Result<u64, AppendError>> {
        write(self, delete.into_write())
    }
}

fn write(store: &PostgresStore, write: StateWrite<RawState>) -> BoxFuture<'static, Result<u64, AppendError>> {
    let written = store.write(Work::WriteState(write));
    async move {
        match written.await? {
            Written::Revision(revision) => Ok(revision),
            other => unreachable!("a state's write answers a revision, not {other:?}"),
        }
    }
    .boxed()
}
