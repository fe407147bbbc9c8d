//! [`PostgresStore`] as a [`Journal`].

use super::{Append, Journal, RawEvent, ReplayLimit, Stored};
use crate::{
    AppendError, BoxFuture, Fence, FenceScope, JournalError, PersistenceId, PostgresStore,
    postgres::{Work, Written, highest_seq, replay},
};
use futures_util::FutureExt;
use std::{ops::Range, sync::Arc};

impl Journal<RawEvent> for PostgresStore {
    fn claim(&self, scope: FenceScope) -> BoxFuture<'static, Result<Fence, JournalError>> {
        let claimed = claims(self, vec![scope]);
        async move { Ok(claimed.await?.remove(0)) }.boxed()
    }

    fn claim_all(
        &self,
        entity_type: Arc<str>,
        shards: Range<u16>,
    ) -> BoxFuture<'static, Result<Vec<Fence>, JournalError>> {
        claims(self, shards.map(|shard| FenceScope::Shard { entity_type: Arc::clone(&entity_type), shard }).collect())
    }

    fn append(&self, append: Append<RawEvent>) -> BoxFuture<'static, Result<u64, AppendError>> {
        let written = self.write(Work::Append(append));
        async move {
            match written.await? {
                Written::Highest(highest) => Ok(highest),
                other => unreachable!("an append answers a sequence number, not {other:?}"),
            }
        }
        .boxed()
    }

    fn replay(
        &self,
        id: PersistenceId,
        from: u64,
        to: u64,
        limit: ReplayLimit,
    ) -> BoxFuture<'static, Result<Vec<Stored<RawEvent>>, JournalError>> {
        let id = Arc::new(id);
        self.read_of(&[("id", Arc::clone(&id).as_str())], move |session| {
            let id = Arc::clone(&id);
            async move { replay(session, &id, from, to, limit).await }.boxed()
        })
    }

    fn highest_seq(&self, id: PersistenceId) -> BoxFuture<'static, Result<u64, JournalError>> {
        self.read_of(&[("id", id.clone().as_str())], move |session| {
            let id = id.clone();
            async move { highest_seq(session, &id).await }.boxed()
        })
    }

    fn delete_to(&self, id: PersistenceId, seq: u64, fence: Fence) -> BoxFuture<'static, Result<(), AppendError>> {
        self.write(Work::DeleteEvents { id, up_to_seq: seq, fence }).map(|done| done.map(drop)).boxed()
    }
}

fn claims(store: &PostgresStore, scopes: Vec<FenceScope>) -> BoxFuture<'static, Result<Vec<Fence>, JournalError>> {
    let written = store.write(Work::Claim(scopes));
    async move {
        match written.await {
            Ok(Written::Fences(fences)) => Ok(fences),
            Ok(other) => unreachable!("a claim answers fences, not {other:?}"),
            Err(AppendError::Rejected { reason }) => Err(JournalError::Rejected { reason }),
            Err(AppendError::Overloaded { reason }) => Err(JournalError::Overloaded { reason }),
            Err(error) => Err(JournalError::Unavailable { reason: error.to_string() }),
        }
    }
    .boxed()
}
