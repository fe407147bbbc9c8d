//! [`PostgresStore`] as a [`SnapshotStore`].

use super::{RawSnapshot, SnapshotStore, StoredSnapshot};
use crate::{
    AppendError, BoxFuture, Fence, JournalError, PersistenceId, PostgresStore,
    postgres::{Work, load_snapshot},
};
use futures_util::FutureExt;

impl SnapshotStore<RawSnapshot> for PostgresStore {
    fn save(
        &self,
        id: PersistenceId,
        seq_nr: u64,
        fence: Fence,
        time_ms: u64,
        snapshot: RawSnapshot,
    ) -> BoxFuture<'static, Result<(), AppendError>> {
        let work = Work::SaveSnapshot { id, seq_nr, fence, time_ms, snapshot };
        self.write(work).map(|done| done.map(drop)).boxed()
    }

    fn load(
        &self,
        id: PersistenceId,
        max_seq: u64,
    ) -> BoxFuture<'static, Result<Option<StoredSnapshot<RawSnapshot>>, JournalError>> {
        self.read_of(&[("id", id.clone().as_str())], move |session| {
            let id = id.clone();
            async move { load_snapshot(session, &id, max_seq).await }.boxed()
        })
    }

    fn delete(&self, id: PersistenceId, up_to_seq: u64, fence: Fence) -> BoxFuture<'static, Result<(), AppendError>> {
        self.write(Work::DeleteSnapshots { id, up_to_seq, fence }).map(|done| done.map(drop)).boxed()
    }
}
