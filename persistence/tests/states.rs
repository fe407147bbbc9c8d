//! Every state store keeps the same contract; damage, epochs and failing disks as for events.

use crate::{
    postgres_server::Postgres,
    store::{Entity, until_it_syncs, when_reopened},
};
use bytes::Bytes;
use persistence::{
    AppendError, BoxFuture, Coded, DeleteState, Fence, FenceScope, InMemoryJournal, InMemoryStateStore, Journal,
    JournalError, MessagePack, PersistenceId, PostgresOptions, PutState, RawEvent, RawState, SqliteOptions,
    SqliteStore, StateStore,
    testkit::{FaultyStates, FaultyVfs, StateDamage, StateSubject, state_contract},
};
use std::{any::Any, fs, path::Path, sync::Arc, time::Duration};
use tempfile::TempDir;

struct InMemory<S>(S);

impl<S: StateStore<RawState> + Clone> StateSubject for InMemory<S> {
    fn states(&self) -> Arc<dyn StateStore<RawState>> {
        Arc::new(self.0.clone())
    }

    fn restart(&mut self) -> BoxFuture<'_, bool> {
        Box::pin(async { false })
    }
}

struct Sqlite {
    folder: TempDir,
    options: SqliteOptions,
    store: SqliteStore,
    disk: Option<FaultyVfs>,
}

impl Sqlite {
    fn on_a_disk(name: &str, options: SqliteOptions) -> Self {
        let disk = FaultyVfs::register(name);
        Self { disk: Some(disk), ..Self::new(SqliteOptions { vfs: Some(disk.name().into()), ..options }) }
    }

    fn new(options: SqliteOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(folder.path(), options.clone()).unwrap();
        Self { folder, options, store, disk: None }
    }
}

impl StateSubject for Sqlite {
    fn states(&self) -> Arc<dyn StateStore<RawState>> {
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
        Box::pin(async move {
            self.disk.is_some_and(|disk| {
                disk.set_full(full);
                true
            })
        })
    }

    fn damage(&mut self, id: PersistenceId, damage: StateDamage) -> BoxFuture<'_, bool> {
        Box::pin(async move {
            let db = rusqlite::Connection::open(self.store.path()).unwrap();
            db.busy_timeout(Duration::from_secs(30)).unwrap();
            let row = "WHERE pid = (SELECT pid FROM entity WHERE persistence_id = ?1)";
            let flip = |column: &str| {
                // SQLite knows no exclusive or.
                let sql = format!("UPDATE state SET {column} = ({column} | 64) - ({column} & 64) {row}");
                db.execute(&sql, [id.as_str()]).unwrap() == 1
            };
            let flip_byte = |column: &str, at: usize| {
                let sql = format!("SELECT {column} FROM state {row}");
                let mut bytes: Vec<u8> = db.query_row(&sql, [id.as_str()], |row| row.get(0)).unwrap();
                bytes[at] ^= 0x10;
                let sql = format!("UPDATE state SET {column} = ?2 {row}");
                db.execute(&sql, (id.as_str(), bytes)).unwrap() == 1
            };
            match damage {
                StateDamage::Payload(at) => flip_byte("payload", at),
                StateDamage::Meta(at) => flip_byte("meta", at),
                StateDamage::BatchId => flip_byte("batch_id", 0),
                StateDamage::Manifest => flip("manifest"),
                StateDamage::Revision => flip("revision"),
                StateDamage::Epoch => flip("epoch"),
                StateDamage::Time => flip("time_ms"),
                StateDamage::Checksum => flip("crc"),
            }
        })
    }
}

impl StateSubject for Postgres {
    fn states(&self) -> Arc<dyn StateStore<RawState>> {
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

    fn damage(&mut self, id: PersistenceId, damage: StateDamage) -> BoxFuture<'_, bool> {
        Box::pin(async move {
            let flip_byte =
                |column: &str, at: usize| format!("{column} = set_byte({column}, {at}, get_byte({column}, {at}) # 16)");
            let flip = |column: &str| format!("{column} = {column} # 64");
            let change = match damage {
                StateDamage::Payload(at) => flip_byte("payload", at),
                StateDamage::Meta(at) => flip_byte("meta", at),
                StateDamage::BatchId => "batch_id = encode(set_byte(uuid_send(batch_id), 0,
                    get_byte(uuid_send(batch_id), 0) # 16), 'hex')::uuid"
                    .to_owned(),
                StateDamage::Manifest => "manifest = reverse(manifest)".to_owned(),
                StateDamage::Revision => flip("revision"),
                StateDamage::Epoch => flip("epoch"),
                StateDamage::Time => flip("time_ms"),
                StateDamage::Checksum => flip("crc"),
            };
            let sql = format!("UPDATE cloudstate.state SET {change} WHERE persistence_id = $1");
            self.client().await.execute(&sql, &[&id.as_str()]).await.unwrap() == 1
        })
    }
}

#[tokio::test]
async fn in_memory() {
    state_contract(&mut InMemory(InMemoryStateStore::default())).await;
}

#[tokio::test]
async fn in_memory_beside_a_journal() {
    state_contract(&mut InMemory(InMemoryJournal::<RawEvent>::default().states())).await;
}

#[tokio::test]
async fn sqlite() {
    state_contract(&mut Sqlite::on_a_disk("states", SqliteOptions::default())).await;
}

#[tokio::test]
async fn sqlite_with_the_smallest_settings() {
    let smallest =
        SqliteOptions { batch_requests: 1, readers: 1, checkpoint_pages: 1, cache_kib: 64, ..SqliteOptions::default() };
    state_contract(&mut Sqlite::on_a_disk("states-smallest", smallest)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres() {
    state_contract(&mut Postgres::apart(|options| options).await).await;
}

#[tokio::test]
async fn postgres_with_the_smallest_settings_and_statements_without_names() {
    let smallest = |options| PostgresOptions { batch_requests: 1, writers: 1, readers: 1, pooler: true, ..options };
    state_contract(&mut Postgres::new(smallest).await).await;
}

/// A wrapper that was told nothing is transparent.
#[tokio::test]
async fn faulty_states_without_a_fault() {
    state_contract(&mut InMemory(FaultyStates::new(InMemoryStateStore::default()))).await;
}

#[tokio::test]
async fn faulty_states_do_as_they_are_told() {
    let states = FaultyStates::new(InMemoryStateStore::<RawState>::default());
    let owned = Owned::claim(&states, "told").await;
    states.reject_next("too blue");
    let rejected = AppendError::Rejected { reason: "too blue".into() };
    assert_eq!(states.upsert(owned.put(0, "x")).await, Err(rejected));
    assert_eq!(states.load(owned.id.clone()).await, Ok(None));
    states.unknown_next(true);
    let put = owned.put(0, "one");
    let unknown = states.upsert(put.clone()).await.unwrap_err();
    assert!(!unknown.is_certain());
    assert_eq!(states.upsert(put).await, Ok(1), "it was stored");
    let down = JournalError::Unavailable { reason: "down".into() };
    states.fail_next_read(down.clone());
    assert_eq!(states.load(owned.id.clone()).await, Err(down));
    states.hold();
    let held = states.delete(owned.delete(1));
    assert_eq!(states.load(owned.id.clone()).await.unwrap().unwrap().revision, 1);
    states.release();
    assert_eq!(held.await, Ok(2));
    assert_eq!(states.writes(), 4);
}

/// Events and states of one entity have one owner, whoever it claimed through.
#[tokio::test]
async fn journal_and_states_share_their_epochs() {
    let journal = InMemoryJournal::<RawEvent>::default();
    let states = journal.states();
    a_claim_in_one_counts_in_the_other(journal, states).await;
    let sqlite = Sqlite::new(SqliteOptions::default());
    a_claim_in_one_counts_in_the_other(sqlite.store.clone(), sqlite.store.clone()).await;
}

async fn a_claim_in_one_counts_in_the_other(journal: impl Journal<RawEvent>, states: impl StateStore<RawState>) {
    let owned = Owned::claim(&states, "shared").await;
    assert_eq!(states.upsert(owned.put(0, "one")).await, Ok(1));
    let fence = journal.claim(FenceScope::Entity(owned.id.clone())).await.unwrap();
    assert_eq!(fence.epoch, owned.fence.epoch + 1);
    let stale = AppendError::Stale { held: owned.fence.epoch, current: fence.epoch };
    assert_eq!(states.upsert(owned.put(1, "x")).await, Err(stale.clone()));
    assert_eq!(states.delete(owned.delete(1)).await, Err(stale));
    let owned = Owned { fence, ..owned };
    assert_eq!(states.upsert(owned.put(1, "two")).await, Ok(2));
    assert_eq!(journal.highest_seq(owned.id).await, Ok(0), "states use no sequence numbers");
}

#[tokio::test]
async fn values_go_through_a_codec() {
    let raw = InMemoryStateStore::default();
    let states = Coded::new(raw.clone(), MessagePack::<Vec<u32>>::new("numbers", 1));
    let owned = Owned::claim(&raw, "coded").await;
    let put = |revision, manifest: &str| {
        let state = RawState { manifest: manifest.into(), ..owned.put(revision, "").state };
        PutState { state, ..owned.put(revision, "") }
    };
    let PutState { id, fence, batch_id, time_ms, .. } = owned.put(0, "");
    let numbers = PutState { id, expected_revision: 0, fence, batch_id, time_ms, state: vec![3, 5], tag: None };
    assert_eq!(states.upsert(numbers).await, Ok(1));
    assert_eq!(states.load(owned.id.clone()).await.unwrap().unwrap().state, Some(vec![3, 5]));
    assert_eq!(&*raw.load(owned.id.clone()).await.unwrap().unwrap().state.unwrap().manifest, "numbers/1");
    assert_eq!(states.delete(owned.delete(1)).await, Ok(2));
    assert_eq!(states.load(owned.id.clone()).await.unwrap().unwrap().state, None);
    raw.upsert(put(2, "numbers/9")).await.unwrap();
    let error = states.load(owned.id.clone()).await.unwrap_err();
    assert!(matches!(&error, JournalError::Undecodable { seq_nr: 3, manifest, .. } if manifest == "numbers/9"));
    assert!(error.is_permanent());
}

const SECRET: &str = "the state, whose bytes are easy to find in the file";

/// Each byte of the row in turn, its header, numbers and checksum included: refused, or without consequence.
#[tokio::test]
async fn every_byte_of_a_state_is_covered() {
    let sqlite = Sqlite::new(SqliteOptions::default());
    let owned = Owned::claim(&sqlite.store, "damaged").await;
    sqlite.store.upsert(owned.put(0, SECRET)).await.unwrap();
    let good = StateStore::load(&sqlite.store, owned.id.clone()).await.unwrap();
    sqlite.store.close().await;
    let file = sqlite.folder.path().join("store.db");
    let bytes = fs::read(&file).unwrap();
    let start = bytes.windows(SECRET.len()).position(|window| window == SECRET.as_bytes()).unwrap();
    let payload = start..start + SECRET.len();
    for at in start - 45..payload.end + 6 {
        let mut bad = bytes.clone();
        bad[at] ^= 0x10;
        fs::write(&file, bad).unwrap();
        let outcome = load_from(sqlite.folder.path(), &owned.id).await;
        if payload.contains(&at) {
            let error = outcome.expect_err("a flipped payload byte");
            let JournalError::Damaged { seq_nr, place, .. } = &error else { panic!("byte {at}: {error:?}") };
            assert_eq!((*seq_nr, place.as_str()), (1, "state.change 1"), "byte {at}");
            assert!(error.is_permanent());
        } else if let Ok(found) = outcome {
            assert_eq!(found, good, "byte {at} changed what was read");
        }
    }
}

async fn load_from(
    folder: &Path,
    id: &PersistenceId,
) -> Result<Option<persistence::StoredState<RawState>>, JournalError> {
    let unreadable = |error: persistence::OpenError| JournalError::Unavailable { reason: error.to_string() };
    let store = SqliteStore::open(folder, SqliteOptions::default()).map_err(unreadable)?;
    let loaded = StateStore::load(&store, id.clone()).await;
    store.close().await;
    loaded
}

/// A lost manifest, or a state made to look deleted, is damage and not an absent state.
#[tokio::test]
async fn a_row_that_lost_a_part_is_damaged() {
    for damage in [
        "DELETE FROM manifest",
        "UPDATE state SET manifest = NULL, payload = NULL, meta = NULL",
        "UPDATE state SET payload = NULL",
        "UPDATE state SET manifest = NULL",
        "UPDATE state SET meta = NULL",
        "UPDATE state SET revision = revision - 1",
        "UPDATE state SET change = change + 1",
    ] {
        let sqlite = Sqlite::new(SqliteOptions::default());
        let owned = Owned::claim(&sqlite.store, "parts").await;
        sqlite.store.upsert(owned.put(0, "one")).await.unwrap();
        sqlite.store.upsert(owned.put(1, "two")).await.unwrap();
        sqlite.store.close().await;
        let file = sqlite.folder.path().join("store.db");
        rusqlite::Connection::open(file).unwrap().execute_batch(damage).unwrap();
        let outcome = load_from(sqlite.folder.path(), &owned.id).await;
        assert!(matches!(&outcome, Err(JournalError::Damaged { .. })), "{damage}: {outcome:?}");
    }
}

/// Whoever follows the states sees every entity's last write after those that came before it.
#[tokio::test]
async fn changes_are_numbered_in_commit_order() {
    let sqlite = Sqlite::new(SqliteOptions::default());
    let (first, second) = (Owned::claim(&sqlite.store, "1").await, Owned::claim(&sqlite.store, "2").await);
    sqlite.store.upsert(first.put(0, "x")).await.unwrap();
    sqlite.store.upsert(second.put(0, "x")).await.unwrap();
    sqlite.store.upsert(first.put(1, "x")).await.unwrap();
    StateStore::delete(&sqlite.store, first.delete(2)).await.unwrap();
    sqlite.store.upsert(second.put(1, "x")).await.unwrap();
    sqlite.store.close().await;
    let db = rusqlite::Connection::open(sqlite.folder.path().join("store.db")).unwrap();
    let mut rows = db.prepare("SELECT change FROM state ORDER BY pid").unwrap();
    let changes: Vec<i64> = rows.query_map((), |row| row.get(0)).unwrap().map(Result::unwrap).collect();
    assert_eq!(changes, [4, 5]);
}

#[tokio::test]
async fn a_full_disk_refuses_states_and_serves_reads() {
    let disk = FaultyVfs::register("states-full");
    let sqlite = Sqlite::new(SqliteOptions { vfs: Some(disk.name().into()), ..SqliteOptions::default() });
    let store = &sqlite.store;
    let owned = Owned::claim(store, "full").await;
    store.upsert(owned.put(0, "one")).await.unwrap();
    disk.set_full(true);
    let error = store.upsert(owned.put(1, "x")).await.unwrap_err();
    assert!(matches!(error, AppendError::Unavailable { .. }), "{error:?}");
    assert_eq!(StateStore::load(store, owned.id.clone()).await.unwrap().unwrap().revision, 1);
    disk.set_full(false);
    assert_eq!(store.upsert(owned.put(1, "two")).await, Ok(2));
    store.close().await;
}

/// After a failed sync nobody can say what is on the disk: unknown, and the same write sent again settles it.
#[tokio::test]
async fn a_failed_sync_is_unknown_and_a_retry_settles_it() {
    let disk = FaultyVfs::register("states-sync");
    let sqlite = Sqlite::new(SqliteOptions { vfs: Some(disk.name().into()), ..SqliteOptions::default() });
    let store = &sqlite.store;
    let owned = Owned::claim(store, "sync").await;
    store.upsert(owned.put(0, "one")).await.unwrap();
    let put = owned.put(1, "two");
    disk.set_failing_syncs(true);
    let error = store.upsert(put.clone()).await.unwrap_err();
    assert!(matches!(error, AppendError::Unknown { .. }), "{error:?}");
    let read = StateStore::load(store, owned.id.clone()).await;
    assert!(matches!(read, Err(JournalError::Unavailable { .. })), "{read:?}");
    disk.set_failing_syncs(false);
    let settled = when_reopened(|| store.upsert(put.clone())).await;
    assert_eq!(settled, Ok(2));
    store.close().await;
}

/// States and events wait for the same sync, whoever they belong to; what is too large or too much is refused.
#[tokio::test]
async fn states_share_commits_and_limits_with_events() {
    let disk = FaultyVfs::register("states-shared");
    let options = SqliteOptions { vfs: Some(disk.name().into()), payload_bytes_max: 100, ..SqliteOptions::default() };
    let sqlite = Sqlite::new(options);
    let store = &sqlite.store;
    let entity = Entity::claim(store, "events").await;
    let owned = [Owned::claim(store, "1").await, Owned::claim(store, "2").await];
    let before = (disk.syncs(), store.batches());
    disk.hold_syncs();
    let first = store.upsert(owned[0].put(0, "first"));
    until_it_syncs(disk, before.0).await;
    let shared = (store.append(entity.batch(&["a"])), store.upsert(owned[1].put(0, "one")));
    let last = StateStore::delete(store, owned[0].delete(1));
    disk.release_syncs();
    let outcome = futures_util::join!(first, shared.0, shared.1, last);
    assert_eq!(outcome, (Ok(1), Ok(1), Ok(1), Ok(2)));
    assert_eq!((disk.syncs() - before.0, store.batches() - before.1), (2, 2));

    let refused = store.upsert(owned[0].put(2, &"x".repeat(101))).await.unwrap_err();
    assert!(matches!(&refused, AppendError::Rejected { reason } if reason.contains("payload_bytes_max")), "{refused}");
    store.close().await;
}

struct Owned {
    id: PersistenceId,
    fence: Fence,
}

impl Owned {
    async fn claim(states: &impl StateStore<RawState>, name: &str) -> Self {
        let id = PersistenceId::of("test", name);
        let fence = states.claim(FenceScope::Entity(id.clone())).await.unwrap();
        Self { id, fence }
    }

    fn put(&self, expected_revision: u64, text: &str) -> PutState<RawState> {
        let state = RawState {
            manifest: "text/1".into(),
            payload: Bytes::copy_from_slice(text.as_bytes()),
            meta: Some(Bytes::from_static(b"m")),
        };
        let (id, fence) = (self.id.clone(), self.fence.clone());
        PutState { id, expected_revision, fence, batch_id: rand::random(), time_ms: 5, state, tag: None }
    }

    fn delete(&self, expected_revision: u64) -> DeleteState {
        let (id, fence) = (self.id.clone(), self.fence.clone());
        DeleteState { id, expected_revision, fence, batch_id: rand::random(), time_ms: 5, marker: None }
    }
}
