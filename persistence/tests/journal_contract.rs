//! Every store keeps the same contract.

use crate::postgres_server::Postgres;
use persistence::{
    BoxFuture, InMemoryJournal, InMemorySnapshotStore, Journal, PersistenceId, PostgresOptions, RawEvent, RawSnapshot,
    SnapshotStore, SqliteOptions, SqliteStore,
    testkit::{FaultyJournal, FaultySnapshots, FaultyVfs, Subject, contract},
};
use std::{any::Any, num::NonZeroU32, sync::Arc, time::Duration};
use tempfile::TempDir;

struct InMemory(InMemoryJournal<RawEvent>, InMemorySnapshotStore<RawSnapshot>);

impl Subject for InMemory {
    fn journal(&self) -> Arc<dyn Journal<RawEvent>> {
        Arc::new(self.0.clone())
    }

    fn snapshots(&self) -> Arc<dyn SnapshotStore<RawSnapshot>> {
        Arc::new(self.1.clone())
    }

    fn restart(&mut self) -> BoxFuture<'_, bool> {
        Box::pin(async { false })
    }
}

struct Sqlite {
    folder: TempDir,
    options: SqliteOptions,
    store: SqliteStore,
    disk: FaultyVfs,
}

impl Sqlite {
    fn new(name: &str, options: SqliteOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let disk = FaultyVfs::register(name);
        let options = SqliteOptions { vfs: Some(disk.name().into()), ..options };
        let store = SqliteStore::open(folder.path(), options.clone()).unwrap();
        Self { folder, options, store, disk }
    }
}

impl Subject for Sqlite {
    fn journal(&self) -> Arc<dyn Journal<RawEvent>> {
        Arc::new(self.store.clone())
    }

    fn snapshots(&self) -> Arc<dyn SnapshotStore<RawSnapshot>> {
        Arc::new(self.store.clone())
    }

    fn restart(&mut self) -> BoxFuture<'_, bool> {
        Box::pin(async {
            self.store.close().await;
            self.store = SqliteStore::open(self.folder.path(), self.options.clone()).unwrap();
            true
        })
    }

    fn set_full(&mut self, full: bool) -> BoxFuture<'_, bool> {
        self.disk.set_full(full);
        Box::pin(async { true })
    }

    fn damage(&mut self, id: PersistenceId, seq_nr: u64, at: usize) -> BoxFuture<'_, bool> {
        Box::pin(async move {
            let db = rusqlite::Connection::open(self.store.path()).unwrap();
            db.busy_timeout(Duration::from_secs(30)).unwrap();
            let found = "FROM journal j JOIN entity e USING (pid) WHERE e.persistence_id = ?1 AND j.seq_nr = ?2";
            let (ordering, mut payload): (i64, Vec<u8>) = db
                .query_row(&format!("SELECT j.ordering, j.payload {found}"), (id.as_str(), seq_nr as i64), |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })
                .unwrap();
            payload[at] ^= 0x10;
            let changed = db.execute("UPDATE journal SET payload = ?1 WHERE ordering = ?2", (payload, ordering));
            changed.unwrap() == 1
        })
    }
}

impl Subject for Postgres {
    fn journal(&self) -> Arc<dyn Journal<RawEvent>> {
        Arc::new(self.store.clone())
    }

    fn snapshots(&self) -> Arc<dyn SnapshotStore<RawSnapshot>> {
        Arc::new(self.store.clone())
    }

    fn restart(&mut self) -> BoxFuture<'_, bool> {
        self.reopen()
    }

    fn block(&mut self, id: PersistenceId) -> BoxFuture<'_, Option<Box<dyn Any + Send>>> {
        Box::pin(async move { self.hold(&id).await })
    }

    fn set_full(&mut self, full: bool) -> BoxFuture<'_, bool> {
        Box::pin(async move {
            self.fill_disk(full).await;
            true
        })
    }

    fn damage(&mut self, id: PersistenceId, seq_nr: u64, at: usize) -> BoxFuture<'_, bool> {
        Box::pin(async move {
            let client = self.client().await;
            let flip = "UPDATE cloudstate.journal SET payload = set_byte(payload, $3, get_byte(payload, $3) # 16)
                        WHERE persistence_id = $1 AND seq_nr = $2";
            client.execute(flip, &[&id.as_str(), &(seq_nr as i64), &(at as i32)]).await.unwrap() == 1
        })
    }
}

#[tokio::test]
async fn in_memory() {
    let journal = InMemoryJournal::raw();
    let snapshots = journal.snapshots();
    contract(&mut InMemory(journal, snapshots)).await;
}

#[tokio::test]
async fn sqlite() {
    contract(&mut Sqlite::new("contract", SqliteOptions::default())).await;
}

/// The smallest batches, one reader, and a checkpoint after nearly every commit: no promise hangs on the settings.
#[tokio::test]
async fn sqlite_with_the_smallest_settings() {
    contract(&mut Sqlite::new(
        "contract-smallest",
        SqliteOptions {
            batch_requests: 1,
            readers: 1,
            checkpoint_pages: 1,
            cache_kib: 64,
            pages_max: NonZeroU32::new(1 << 20),
            ..SqliteOptions::default()
        },
    ))
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres() {
    contract(&mut Postgres::apart(|options| options).await).await;
}

/// One request a transaction, one connection for each side, and every statement sent anew: no promise hangs on that.
#[tokio::test]
async fn postgres_with_the_smallest_settings_and_statements_without_names() {
    let smallest = |options| PostgresOptions { batch_requests: 1, writers: 1, readers: 1, pooler: true, ..options };
    contract(&mut Postgres::new(smallest).await).await;
}

/// A wrapper that was told nothing is transparent.
#[tokio::test]
async fn faulty_stores_without_a_fault() {
    struct Faulty(FaultyJournal<RawEvent>, FaultySnapshots<RawSnapshot>);
    impl Subject for Faulty {
        fn journal(&self) -> Arc<dyn Journal<RawEvent>> {
            Arc::new(self.0.clone())
        }
        fn snapshots(&self) -> Arc<dyn SnapshotStore<RawSnapshot>> {
            Arc::new(self.1.clone())
        }
        fn restart(&mut self) -> BoxFuture<'_, bool> {
            Box::pin(async { false })
        }
    }
    let journal = InMemoryJournal::raw();
    let snapshots = FaultySnapshots::new(journal.snapshots());
    contract(&mut Faulty(FaultyJournal::new(journal), snapshots)).await;
}
