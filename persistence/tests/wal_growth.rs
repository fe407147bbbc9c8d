//! The write-ahead log stays within bounds although somebody always reads.

use crate::store::Entity;
use persistence::{Durability, Journal, ReplayLimit, SqliteOptions, SqliteStore};
use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
};

const CHECKPOINT_PAGES: u32 = 50;

fn open(folder: &Path) -> SqliteStore {
    let options =
        SqliteOptions { checkpoint_pages: CHECKPOINT_PAGES, durability: Durability::Os, ..SqliteOptions::default() };
    SqliteStore::open(folder, options).unwrap()
}

fn log_pages(folder: &Path) -> u64 {
    fs::metadata(folder.join("store.db-wal")).map_or(0, |file| file.len() / 4_096)
}

/// Both readers busy all the time leave no moment at which the log could start again by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_that_overlap_do_not_let_the_log_grow() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut read = Entity::claim(&store, "read").await;
    read.append(&store, &vec!["x".repeat(2_000); 300]).await.unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let reader = || {
        let (store, id, done) = (store.clone(), read.id.clone(), Arc::clone(&done));
        tokio::spawn(async move {
            while !done.load(SeqCst) {
                let limit = ReplayLimit { events: 300, bytes: usize::MAX };
                assert_eq!(store.replay(id.clone(), 1, u64::MAX, limit).await.unwrap().len(), 300);
            }
        })
    };
    let readers: Vec<_> = (0..4).map(|_| reader()).collect();
    let mut written = Entity::claim(&store, "written").await;
    let mut longest = 0;
    for _ in 0..1_500 {
        written.append(&store, &["y".repeat(3_000)]).await.unwrap();
        longest = longest.max(log_pages(folder.path()));
    }
    done.store(true, SeqCst);
    for reader in readers {
        reader.await.unwrap();
    }
    store.close().await;
    assert!(longest < u64::from(CHECKPOINT_PAGES) * 16, "the log grew to {longest} pages");
}

/// A reader from outside that never ends keeps the log, but not the writer; once it is gone the log starts again.
#[tokio::test]
async fn a_reader_that_never_ends_does_not_stop_the_writer() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut entity = Entity::claim(&store, "outside").await;
    let outside = rusqlite::Connection::open(folder.path().join("store.db")).unwrap();
    outside.execute_batch("BEGIN; SELECT count(*) FROM journal").unwrap();
    let text = ["y".repeat(3_000)];
    while log_pages(folder.path()) < u64::from(CHECKPOINT_PAGES) * 6 {
        entity.append(&store, &text).await.unwrap();
        assert!(entity.highest < u64::from(CHECKPOINT_PAGES) * 100, "the log does not grow behind the reader");
    }
    outside.execute_batch("COMMIT").unwrap();
    let kept = log_pages(folder.path());
    for _ in 0..600 {
        entity.append(&store, &text).await.unwrap();
    }
    let after = log_pages(folder.path());
    assert!(after < kept + u64::from(CHECKPOINT_PAGES) * 4, "the log went on from {kept} to {after} pages");
    store.close().await;
}
