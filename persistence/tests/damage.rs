//! Damaged files: a bad row is refused with its place, a torn log tail is cut off, nothing is repaired by guessing.

use crate::store::{Entity, RecoverError, recover};
use persistence::{
    Journal, JournalError, OpenError, PersistenceId, ReplayLimit, SnapshotStore, SqliteOptions, SqliteStore,
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::{fs, path::Path};
use tempfile::TempDir;

const SECRET: &str = "the third event, whose bytes are easy to find in the file";

/// A closed store whose log is in the database file: five events, and a snapshot at the fourth.
async fn store_with_five_events() -> (TempDir, PersistenceId) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path(), SqliteOptions::default()).unwrap();
    let mut entity = Entity::claim(&store, "damaged").await;
    entity.append(&store, &["first", "second", SECRET, "fourth", "fifth"]).await.unwrap();
    store.close().await;
    (folder, entity.id)
}

/// Each byte of the row in turn, its header, numbers and checksum included: refused, or without consequence.
#[tokio::test]
async fn every_byte_of_an_event_is_covered() {
    let (folder, id) = store_with_five_events().await;
    let file = folder.path().join("store.db");
    let good = fs::read(&file).unwrap();
    let start = find(&good, SECRET.as_bytes());
    let payload = start..start + SECRET.len();
    let mut refused = 0;
    for at in start - 40..payload.end + 6 {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        fs::write(&file, bad).unwrap();
        let outcome = recovered_texts(folder.path(), &id).await;
        if payload.contains(&at) {
            let error = outcome.expect_err("a flipped payload byte");
            let RecoverError::Journal(JournalError::Damaged { seq_nr, place, .. }) = &error else {
                panic!("byte {at}: {error:?}");
            };
            assert_eq!((*seq_nr, place.as_str()), (3, "journal.ordering 3"), "byte {at}");
            refused += 1;
        } else if let Ok(texts) = outcome {
            assert_eq!(texts, ["first", "second", SECRET, "fourth", "fifth"], "byte {at} changed what was read");
        }
    }
    assert_eq!(refused, SECRET.len());
}

#[tokio::test]
async fn events_before_a_damaged_one_can_be_read() {
    let (folder, id) = store_with_five_events().await;
    flip(&folder.path().join("store.db"), SECRET);
    let store = SqliteStore::open(folder.path(), SqliteOptions::default()).unwrap();
    let before = store.replay(id.clone(), 1, 2, ReplayLimit::default()).await.unwrap();
    assert_eq!(before.len(), 2);
    let error = store.replay(id.clone(), 3, 3, ReplayLimit::default()).await.unwrap_err();
    assert!(error.is_permanent());
    let text = error.to_string();
    assert!(text.contains("test|damaged at sequence number 3 (journal.ordering 3)"), "{text}");
    assert_eq!(store.replay(id, 4, 5, ReplayLimit::default()).await.unwrap().len(), 2, "and those after it");
    store.close().await;
}

#[tokio::test]
async fn a_damaged_snapshot_is_refused_and_the_older_one_still_there() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path(), SqliteOptions::default()).unwrap();
    let mut entity = Entity::claim(&store, "snapshots").await;
    entity.append(&store, &["a", "b", "c"]).await.unwrap();
    entity.save(&store, 2, "older state").await.unwrap();
    entity.save(&store, 3, "newest state").await.unwrap();
    store.close().await;
    flip(&folder.path().join("store.db"), "newest state");

    let store = SqliteStore::open(folder.path(), SqliteOptions::default()).unwrap();
    let error = store.load(entity.id.clone(), u64::MAX).await.unwrap_err();
    let JournalError::Damaged { seq_nr: 3, place, .. } = &error else { panic!("{error:?}") };
    assert!(place.starts_with("snapshot.rowid "), "{place}");
    let older = store.load(entity.id.clone(), 2).await.unwrap().unwrap();
    assert_eq!(&*older.snapshot.payload, b"older state");
    store.close().await;
}

#[tokio::test]
async fn a_damaged_manifest_is_refused() {
    let (folder, id) = store_with_five_events().await;
    // The name stands in the table and in its index; readers come by the table.
    let file = folder.path().join("store.db");
    let mut bytes = fs::read(&file).unwrap();
    let places: Vec<_> = bytes.windows(6).enumerate().filter(|(_, at)| at == b"text/1").map(|(at, _)| at).collect();
    for at in places {
        bytes[at + 5] = b'2';
    }
    fs::write(&file, bytes).unwrap();
    let error = recovered_texts(folder.path(), &id).await.unwrap_err();
    assert!(matches!(error, RecoverError::Journal(JournalError::Damaged { seq_nr: 1, .. })), "{error:?}");
}

/// The log of a store that never got to close, cut or flipped anywhere: what is left is the beginning of what was
/// written, whole batches only.
#[tokio::test]
async fn a_torn_log_tail_leaves_a_whole_prefix() {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteOptions { checkpoint_pages: 1 << 20, ..SqliteOptions::default() };
    let store = SqliteStore::open(folder.path(), options.clone()).unwrap();
    let mut entity = Entity::claim(&store, "torn").await;
    for batch in 0..20 {
        let texts: Vec<_> = (0..3).map(|event| format!("{batch}-{event}")).collect();
        entity.append(&store, &texts).await.unwrap();
    }
    let (database, log) = (fs::read(store.path()).unwrap(), fs::read(wal(folder.path())).unwrap());
    store.close().await;

    let mut random = StdRng::seed_from_u64(0x70e4);
    let mut lengths = std::collections::BTreeSet::new();
    for round in 0..60 {
        let mut torn = log.clone();
        let at = if round < 30 { random.random_range(0..log.len()) } else { log.len() - 1 - 40 * (round - 30) };
        if round % 2 == 0 {
            torn.truncate(at)
        } else {
            torn[at] ^= 1 << (round % 8)
        }
        let crashed = tempfile::tempdir().unwrap();
        fs::write(crashed.path().join("store.db"), &database).unwrap();
        fs::write(wal(crashed.path()), &torn).unwrap();
        let store = match SqliteStore::open(crashed.path(), options.clone()) {
            Ok(store) => store,
            Err(error) => panic!("byte {at}: {error}"),
        };
        let recovered = recover(&store, &entity.id).await.unwrap();
        assert_eq!(recovered.highest % 3, 0, "byte {at}: half a batch");
        for (seq_nr, text) in &recovered.events {
            assert_eq!(*text, format!("{}-{}", (seq_nr - 1) / 3, (seq_nr - 1) % 3), "byte {at}");
        }
        lengths.insert(recovered.highest);
        // And the store goes on from there.
        let mut entity = Entity::claim(&store, "torn").await;
        entity.append(&store, &["on"]).await.unwrap();
        store.close().await;
    }
    assert!(lengths.len() > 10, "the tears hit different places: {lengths:?}");
}

async fn recovered_texts(folder: &Path, id: &PersistenceId) -> Result<Vec<String>, RecoverError> {
    let damaged = |error: OpenError| JournalError::Unavailable { reason: error.to_string() };
    let store =
        SqliteStore::open(folder, SqliteOptions::default()).map_err(|error| RecoverError::Journal(damaged(error)))?;
    let recovered = recover(&store, id).await;
    store.close().await;
    Ok(recovered?.events.into_iter().map(|(_, text)| text).collect())
}

fn flip(file: &Path, text: &str) {
    let mut bytes = fs::read(file).unwrap();
    let at = find(&bytes, text.as_bytes());
    bytes[at + text.len() / 2] ^= 1;
    fs::write(file, bytes).unwrap();
}

fn find(bytes: &[u8], text: &[u8]) -> usize {
    bytes.windows(text.len()).position(|window| window == text).expect("the text stands in the file")
}

fn wal(folder: &Path) -> std::path::PathBuf {
    folder.join("store.db-wal")
}
