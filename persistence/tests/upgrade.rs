//! Stores of earlier versions are brought up to date when they are opened, and lose nothing.

use crate::store::{Entity, recover};
use persistence::{FenceScope, OpenError, PersistenceId, PutState, RawState, SqliteOptions, SqliteStore, StateStore};
use std::path::Path;

/// The tables as version 1 of the schema made them. Stores like it are out there, so this text never changes.
const VERSION_1: &str = "
CREATE TABLE meta(key TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;
CREATE TABLE manifest(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE entity(pid INTEGER PRIMARY KEY, persistence_id TEXT NOT NULL UNIQUE, entity_type TEXT NOT NULL,
  slice INTEGER NOT NULL, epoch INTEGER NOT NULL DEFAULT 0, highest_seq INTEGER NOT NULL DEFAULT 0,
  deleted_to INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE TABLE journal(ordering INTEGER PRIMARY KEY AUTOINCREMENT, pid INTEGER NOT NULL, seq_nr INTEGER NOT NULL,
  epoch INTEGER NOT NULL, batch_id BLOB, time_ms INTEGER NOT NULL, manifest INTEGER NOT NULL, payload BLOB NOT NULL,
  meta BLOB, crc INTEGER NOT NULL) STRICT;
CREATE UNIQUE INDEX journal_pid_seq ON journal(pid, seq_nr);
CREATE TABLE tag(id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE journal_tag(tag INTEGER NOT NULL, ordering INTEGER NOT NULL, PRIMARY KEY(tag, ordering))
  STRICT, WITHOUT ROWID;
CREATE INDEX journal_tag_ordering ON journal_tag(ordering);
CREATE TABLE snapshot(pid INTEGER NOT NULL, seq_nr INTEGER NOT NULL, epoch INTEGER NOT NULL, time_ms INTEGER NOT NULL,
  manifest INTEGER NOT NULL, payload BLOB NOT NULL, meta BLOB, crc INTEGER NOT NULL, PRIMARY KEY(pid, seq_nr)) STRICT;
CREATE TABLE owner(entity_type TEXT NOT NULL, shard INTEGER NOT NULL, epoch INTEGER NOT NULL,
  entity_epoch_max INTEGER NOT NULL, owner TEXT NOT NULL, PRIMARY KEY(entity_type, shard)) STRICT, WITHOUT ROWID;
CREATE TABLE sweep(pid INTEGER PRIMARY KEY) STRICT;
INSERT INTO meta(key, value) VALUES ('schema_version', 1);
";

/// The tables of version 1 that hold data of users.
const CONTENTS: [&str; 8] = ["manifest", "entity", "journal", "tag", "journal_tag", "snapshot", "owner", "sweep"];

fn open(folder: &Path) -> Result<SqliteStore, OpenError> {
    SqliteStore::open(folder, SqliteOptions::default())
}

/// Makes of `today`'s store one that version 1 would have left behind.
fn as_version_1(today: &Path, old: &Path) {
    let db = rusqlite::Connection::open(old.join("store.db")).unwrap();
    db.execute_batch(VERSION_1).unwrap();
    db.execute("ATTACH ?1 AS today", [today.join("store.db").to_str().unwrap()]).unwrap();
    for table in CONTENTS {
        db.execute_batch(&format!("INSERT INTO main.{table} SELECT * FROM today.{table}")).unwrap();
    }
}

fn version(folder: &Path) -> i64 {
    let db = rusqlite::Connection::open(folder.join("store.db")).unwrap();
    db.query_row("SELECT value FROM meta WHERE key = 'schema_version'", (), |row| row.get(0)).unwrap()
}

fn tables(folder: &Path) -> Vec<String> {
    let db = rusqlite::Connection::open(folder.join("store.db")).unwrap();
    let mut names = db.prepare("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name").unwrap();
    names.query_map((), |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
}

#[tokio::test]
async fn a_store_of_version_1_keeps_its_contents_and_learns_states() {
    let (today, old) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(today.path()).unwrap();
    let mut entity = Entity::claim(&store, "old").await;
    entity.append(&store, &["a", "b", "c"]).await.unwrap();
    entity.save(&store, 2, "state after b").await.unwrap();
    let before = recover(&store, &entity.id).await.unwrap();
    store.close().await;
    as_version_1(today.path(), old.path());
    assert_eq!(version(old.path()), 1);

    let store = open(old.path()).expect("upgraded in place");
    assert_eq!(recover(&store, &entity.id).await.unwrap(), before, "events and snapshots are still there");
    entity.append(&store, &["d"]).await.expect("and its epochs");
    let id = PersistenceId::of("test", "state");
    let fence = StateStore::claim(&store, FenceScope::Entity(id.clone())).await.unwrap();
    let state = RawState { manifest: "text/1".into(), payload: "new".into(), meta: None };
    let put = PutState {
        id: id.clone(),
        expected_revision: 0,
        fence,
        batch_id: 1,
        time_ms: 2,
        state: state.clone(),
        tag: None,
    };
    assert_eq!(store.upsert(put).await, Ok(1));
    store.close().await;

    assert_eq!(version(old.path()), version(today.path()), "the version is noted");
    assert_eq!(tables(old.path()), tables(today.path()), "upgraded and new stores are alike");
    let store = open(old.path()).expect("opened as any other");
    let stored = StateStore::load(&store, id).await.unwrap().unwrap();
    assert_eq!(stored.state, Some(state));
    store.close().await;
}

/// An upgrade that does not get through leaves the old store as it was.
#[test]
fn an_upgrade_that_fails_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let db = rusqlite::Connection::open(folder.path().join("store.db")).unwrap();
    db.execute_batch(VERSION_1).unwrap();
    db.execute_batch("CREATE TABLE state(of_somebody_else INTEGER)").unwrap();
    drop(db);
    let before = tables(folder.path());
    let error = open(folder.path()).err().unwrap();
    assert!(error.to_string().contains("table state already exists"), "{error}");
    assert_eq!((version(folder.path()), tables(folder.path())), (1, before));
}
