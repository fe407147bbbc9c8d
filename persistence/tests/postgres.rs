//! What only a store shared by several nodes, on a server of its own, can get wrong.

use crate::{
    postgres_server::{Database, Postgres, open, soon, until},
    store::{Entity, recover},
};
use actors::Clock;
use bytes::Bytes;
use futures_util::future::join_all;
use persistence::{
    Append, AppendError, EntityIds, EventFeed, FeedQuery, FenceScope, Guarded, Journal, JournalError, Offset,
    PersistenceId, PostgresOptions, PostgresStore, PutState, RawEvent, RawState, ReplayLimit, StateFeed, StateStore,
    testkit::{PostgresServer, PostgresServerOptions},
};
use std::{sync::Arc, time::Duration};

/// A connection beside the store: another program, or a transaction that takes its time.
async fn beside(database: &Database) -> tokio_postgres::Client {
    let (client, connection) =
        tokio_postgres::connect(&Database::server().url(&database.name), tokio_postgres::NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Waits until somebody waits for a lock in the database.
async fn until_somebody_waits(client: &tokio_postgres::Client) {
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    until("somebody waits for a lock", async || client.query_one(waiting, &[]).await.unwrap().get::<_, i64>(0) > 0)
        .await;
}

/// The moment at which fencing is hard: the write was sent while the claim was under way and waits for its lock. A
/// statement that had looked at the epochs before it waited would let it through. So for a node that knows what it wrote
/// last, and for one that has to look.
#[tokio::test]
async fn a_writer_that_waits_for_a_claim_writes_nothing() {
    let node = Postgres::new(|options| options).await;
    let (claimer, watcher) = (beside(&node.database).await, beside(&node.database).await);
    let other = open(node.options.clone()).await;
    for (name, late, texts) in [
        ("known", &node.store, &["late"][..]),
        ("known, two", &node.store, &["late", "later"]),
        ("looked up", &other, &["late"]),
    ] {
        let mut old = Entity::claim(&node.store, name).await;
        old.append(&node.store, &["a"]).await.unwrap();
        let slice = i32::from(old.id.slice());
        claimer.batch_execute("BEGIN").await.unwrap();
        let lock = "SELECT 1 FROM cloudstate.owner WHERE entity_type = 'test' AND shard = $1 FOR NO KEY UPDATE";
        claimer.query(lock, &[&slice]).await.unwrap();
        let claim = "UPDATE cloudstate.entity SET epoch = epoch + 1 WHERE persistence_id = $1";
        claimer.execute(claim, &[&old.id.as_str()]).await.unwrap();
        let raise = "UPDATE cloudstate.owner SET entity_epoch_max = entity_epoch_max + 1
            WHERE entity_type = 'test' AND shard = $1";
        claimer.execute(raise, &[&slice]).await.unwrap();
        let late = tokio::spawn(late.append(old.batch(texts)));
        until_somebody_waits(&watcher).await;
        claimer.batch_execute("COMMIT").await.unwrap();
        assert_eq!(late.await.unwrap(), Err(AppendError::Stale { held: 1, current: 2 }), "{name}");
        assert_eq!(recover(&node.store, &old.id).await.unwrap().events, [(1, "a".to_owned())], "{name}");
    }
}

/// A claim of another entity of the shard costs a look, and neither an event nor an error; one of the shard shuts out.
#[tokio::test]
async fn claims_of_neighbours_are_in_nobodys_way() {
    let node = Postgres::new(|options| options).await;
    let mut busy = Entity::claim(&node.store, "busy").await;
    let in_shard = |n: &u32| PersistenceId::of("test", &format!("n{n}")).slice() == busy.id.slice();
    let neighbours: Vec<u32> = (0..).filter(in_shard).take(4).collect();
    for n in neighbours {
        busy.append(&node.store, &["one"]).await.unwrap();
        let neighbour = Entity::claim(&node.store, &format!("n{n}")).await;
        busy.append(&node.store, &["two", "three"]).await.unwrap();
        let by_shard = Journal::claim(&node.store, FenceScope::shard_of(&neighbour.id)).await.unwrap();
        assert!(by_shard.epoch > neighbour.fence.epoch.max(busy.fence.epoch));
        let stale = node.store.append(busy.batch(&["late"])).await;
        assert_eq!(stale, Err(AppendError::Stale { held: busy.fence.epoch, current: by_shard.epoch }));
        busy.fence = Journal::claim(&node.store, FenceScope::Entity(busy.id.clone())).await.unwrap();
    }
    assert_eq!(recover(&node.store, &busy.id).await.unwrap().events.len(), 12);
}

/// One transaction holds writes for many shards of several types, by a node that knows what it wrote last, and some of them
/// are somebody else's by now: those are refused, each of the others is stored as what it is.
#[tokio::test]
async fn a_claim_stops_its_own_writer_and_nobody_else_in_the_transaction() {
    let node = Postgres::new(|options| PostgresOptions { writers: 1, ..options }).await;
    let other = open(node.options.clone()).await;
    let mut entities = Vec::new();
    for n in 0..24 {
        let mut entity = Entity::claim_in(&node.store, ["test", "another", "te"][n % 3], &format!("e{n}")).await;
        if n % 2 == 0 {
            entity.fence = Journal::claim(&node.store, FenceScope::shard_of(&entity.id)).await.unwrap();
        }
        entity.append(&node.store, &["first"]).await.unwrap();
        entities.push(entity);
    }
    for lost in [3, 10, 17] {
        Journal::claim(&other, entities[lost].fence.scope.clone()).await.unwrap();
    }
    let tagged = |entity: &Entity| Append {
        tags: vec![Vec::new(), vec![entity.id.as_str().into()]],
        ..entity.batch(&["second", "third"])
    };
    let written = join_all(entities.iter().map(|entity| node.store.append(tagged(entity)))).await;
    let batches = node.store.batches();
    for (n, (entity, written)) in entities.iter().zip(written).enumerate() {
        let events = recover(&node.store, &entity.id).await.unwrap().events.len();
        if [3, 10, 17].contains(&n) {
            assert!(matches!(written, Err(AppendError::Stale { .. })) && events == 1, "{n}: {written:?}");
        } else {
            assert_eq!((written, events), (Ok(3), 3), "{n}");
        }
    }
    let client = beside(&node.database).await;
    let astray = "SELECT count(*) FROM cloudstate.journal j JOIN cloudstate.entity e USING (persistence_id)
        WHERE j.entity_type <> e.entity_type OR j.slice <> e.slice
          OR j.tags <> CASE WHEN j.seq_nr = 3 THEN ARRAY[j.persistence_id] ELSE '{}' END";
    assert_eq!(client.query_one(astray, &[]).await.unwrap().get::<_, i64>(0), 0);
    assert!(batches < 24 + 24 + 24 + 12, "{batches}: they shared a transaction");
}

/// Two nodes on one schema: who claims last writes, and each sees what the other has written.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_take_entities_and_shards_from_each_other() {
    let first = Postgres::new(|options| options).await;
    let second = open(first.options.clone()).await;
    let mut here = Entity::claim(&first.store, "moving").await;
    here.append(&first.store, &["one"]).await.unwrap();
    let mut there = Entity::claim(&second, "moving").await;
    there.append(&second, &["two"]).await.unwrap();
    let stale = first.store.append(here.batch(&["x"])).await;
    assert_eq!(stale, Err(AppendError::Stale { held: here.fence.epoch, current: there.fence.epoch }));
    let shard = Journal::claim(&first.store, FenceScope::shard_of(&here.id)).await.unwrap();
    let stale = second.append(there.batch(&["x"])).await;
    assert_eq!(stale, Err(AppendError::Stale { held: there.fence.epoch, current: shard.epoch }));
    let mut by_shard = Entity { id: here.id.clone(), fence: shard, highest: 2 };
    by_shard.append(&first.store, &["three"]).await.unwrap();
    let texts: Vec<_> = recover(&second, &here.id).await.unwrap().events.into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["one", "two", "three"]);
}

/// One fence used from two nodes at once, which nobody should do: still one history, and each is told the truth.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_with_one_fence_write_one_history() {
    let node = Postgres::new(|options| options).await;
    let others = [node.store.clone(), open(node.options.clone()).await];
    let owned = Entity::claim(&node.store, "shared").await;
    let mut won = Vec::new();
    for seq_nr in 1..=30_u64 {
        let at = Entity { id: owned.id.clone(), fence: owned.fence.clone(), highest: seq_nr - 1 };
        let texts = [format!("{seq_nr} here"), format!("{seq_nr} there")];
        let outcomes = join_all((0..2).map(|n| others[n].append(at.batch(&texts[n..=n])))).await;
        let winners: Vec<_> = (0..2).filter(|&n| outcomes[n] == Ok(seq_nr)).collect();
        let conflict = Err(AppendError::Conflict { expected: seq_nr, highest: seq_nr });
        assert!(winners.len() == 1 && outcomes[1 - winners[0]] == conflict, "{outcomes:?}");
        won.push((seq_nr, texts[winners[0]].clone()));
    }
    assert_eq!(recover(&node.store, &owned.id).await.unwrap().events, won);
}

/// Whatever is changed in a row behind the store's back, a reader is told so instead of being given it.
#[tokio::test]
async fn damaged_rows_are_refused() {
    let node = Postgres::new(|options| options).await;
    let store = &node.store;
    let mut entity = Entity::claim(store, "damaged").await;
    entity.append(store, &["one", "two", "three"]).await.unwrap();
    entity.save(store, 2, "snapshot").await.unwrap();
    let state = RawState { manifest: "s/1".into(), payload: Bytes::from_static(b"state"), meta: None };
    let put = PutState {
        id: entity.id.clone(),
        expected_revision: 0,
        fence: entity.fence.clone(),
        batch_id: 7,
        time_ms: 5,
        state,
        tag: None,
    };
    store.upsert(put).await.unwrap();
    let whole = ReplayLimit { events: 1, bytes: usize::MAX };
    for change in ["payload = 'x'", "meta = ''", "manifest = 'other/1'", "epoch = 9", "time_ms = 0", "crc = 0"] {
        for (table, seq_nr) in [("journal", 2), ("snapshot", 2), ("state", 1)] {
            let only = if table == "state" { "" } else { "WHERE seq_nr = 2" };
            node.database.sql(&format!("CREATE TABLE kept AS SELECT * FROM cloudstate.{table}"));
            node.database.sql(&format!("UPDATE cloudstate.{table} SET {change} {only}"));
            let error = match table {
                "journal" => store.replay(entity.id.clone(), 2, 9, whole).await.map(drop).unwrap_err(),
                "snapshot" => {
                    persistence::SnapshotStore::load(store, entity.id.clone(), 9).await.map(drop).unwrap_err()
                }
                _ => StateStore::load(store, entity.id.clone()).await.map(drop).unwrap_err(),
            };
            assert!(
                matches!(&error, JournalError::Damaged { seq_nr: n, place, .. } if *n == seq_nr && place.contains(table)),
                "{table} with {change}: {error}"
            );
            let column = change.split(' ').next().unwrap();
            let key = if table == "state" { "revision" } else { "seq_nr" };
            node.database.sql(&format!(
                "UPDATE cloudstate.{table} t SET {column} = k.{column} FROM kept k WHERE k.{key} = t.{key}; DROP TABLE kept"
            ));
        }
    }
    assert_eq!(recover(store, &entity.id).await.unwrap().highest, 3, "put back, it is what was written");
}

#[tokio::test]
async fn text_that_the_server_cannot_store_is_rejected_before_it_is_sent() {
    let node = Postgres::new(|options| options).await;
    let mut entity = Entity::claim(&node.store, "zero").await;
    let mut batch = entity.batch(&["a"]);
    batch.events[0].manifest = "m\0".into();
    let error = node.store.append(batch).await.unwrap_err();
    assert!(matches!(&error, AppendError::Rejected { reason } if reason.contains("zero character")), "{error}");
    // None of these makes the store look as if it failed.
    let guarded = Guarded::journal(node.store.clone(), Clock::tokio());
    let (id, store) = (PersistenceId::of("t", "\0"), &node.store);
    let all = ReplayLimit { events: 9, bytes: 9 };
    for _ in 0..20 {
        let found = [
            Journal::claim(&guarded, FenceScope::Entity(id.clone())).await.map(drop),
            guarded.replay(id.clone(), 1, 9, all).await.map(drop),
            guarded.highest_seq(id.clone()).await.map(drop),
        ];
        for refused in found {
            let named = |reason: &str| reason.contains("id") && reason.contains("zero character");
            assert!(matches!(&refused, Err(JournalError::Rejected { reason }) if named(reason)), "{refused:?}");
        }
    }
    assert!(guarded.is_closed());
    let tagged = |entity_type: &str, tag: &str| FeedQuery::of(entity_type).tag(tag);
    let found = [
        ("id", persistence::SnapshotStore::load(store, id.clone(), 9).await.map(drop)),
        ("id", StateStore::load(store, id.clone()).await.map(drop)),
        ("id", EventFeed::offset_of(store, id.clone(), 1).await.map(drop)),
        ("id", store.ids(None, Some(id.clone()), 9).await.map(drop)),
        ("entity type", store.ids(Some("\0".into()), None, 9).await.map(drop)),
        ("entity type", EventFeed::page(store, tagged("\0", "t"), Offset::START, all).await.map(drop)),
        ("tag", StateFeed::page(store, tagged("t", "\0"), Offset::START, all).await.map(drop)),
    ];
    for (field, refused) in found {
        assert!(
            matches!(&refused, Err(JournalError::Rejected { reason }) if reason.contains(field)),
            "{field}: {refused:?}"
        );
    }
    assert_eq!(node.database.sql("SELECT count(*) FROM cloudstate.entity"), "1", "nothing is stored of them");
    // Far too long for an index: the server says so, and its neighbours in the batch are not held back.
    let long = Entity { id: PersistenceId::of("test", &random_text()), fence: entity.fence.clone(), highest: 0 };
    let claim = Journal::claim(&node.store, FenceScope::Entity(long.id.clone()));
    let (refused, stored) = futures_util::join!(claim, entity.append(&node.store, &["b"]));
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(stored, Ok(()));
}

/// Text that does not get shorter by compression.
fn random_text() -> String {
    (0..2_000).map(|_| char::from_u32(rand::random_range(0x4e00..0x9000)).unwrap()).collect()
}

/// A commit that the server made and could not tell of any more: unknown, and the same batch sent again settles it. The
/// server is made to wait for a replica that does not exist, which it does after the commit is on its own disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_was_not_heard_of_is_unknown_and_a_retry_settles_it() {
    let options = PostgresServerOptions { fsync: true, ..PostgresServerOptions::default() };
    let server = start(options).await;
    let database = server.create_database().unwrap();
    let store = open(PostgresOptions::new(&server.url(&database))).await;
    let mut entity = Entity::claim(&store, "unheard").await;
    entity.append(&store, &["a"]).await.unwrap();
    let batch = entity.batch(&["b", "c"]);
    server.sql(&database, "ALTER SYSTEM SET synchronous_standby_names = 'nobody'").unwrap();
    server.sql(&database, "SELECT pg_reload_conf()").unwrap();
    // The setting is in force some time after that: when somebody else's commit waits.
    let probe = {
        let (server, database) = (Arc::clone(&server), database.clone());
        let commits = move || while server.sql(&database, "CREATE TABLE probe(); DROP TABLE probe").is_ok() {};
        tokio::task::spawn_blocking(commits)
    };
    let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    until("a commit waits for the replica", async || server.sql(&database, waiting).unwrap() == "1").await;
    let sent = tokio::spawn(store.append(batch.clone()));
    until("the store's commit waits too", async || server.sql(&database, waiting).unwrap() == "2").await;
    server.kill();
    soon("the other one notices", probe).await.unwrap();
    let outcome = soon("the writer notices", sent).await.unwrap();
    assert!(matches!(&outcome, Err(AppendError::Unknown { .. })), "{outcome:?}");
    let away = store.append(batch.clone()).await;
    assert!(matches!(&away, Err(AppendError::Unavailable { .. })), "never sent, so certainly not stored: {away:?}");
    std::fs::write(server.data().join("postgresql.auto.conf"), "").unwrap();
    server.restart().unwrap();
    assert_eq!(retried(&store, &batch).await, Ok(3), "it was stored, and is not stored again");
    let other = retried(&store, &entity.batch(&["x"])).await;
    assert_eq!(
        other,
        Err(AppendError::Conflict { expected: 2, highest: 3 }),
        "another batch in its place is not taken for it"
    );
    let texts: Vec<_> = recover(&store, &entity.id).await.unwrap().events.into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["a", "b", "c"]);
}

async fn start(options: PostgresServerOptions) -> Arc<PostgresServer> {
    Arc::new(tokio::task::spawn_blocking(move || PostgresServer::start(&options).unwrap()).await.unwrap())
}

/// Sends the batch until the server is back.
async fn retried(store: &PostgresStore, batch: &Append<RawEvent>) -> Result<u64, AppendError> {
    let mut answer = None;
    until("the server is back", async || {
        answer = match store.append(batch.clone()).await {
            Err(AppendError::Unknown { .. } | AppendError::Unavailable { .. }) => None,
            settled => Some(settled),
        };
        answer.is_some()
    })
    .await;
    answer.expect("waited for")
}

/// A server that is killed under load: what was acknowledged is there, and nothing is there twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_loses_nothing_that_was_acknowledged() {
    let options = PostgresServerOptions { fsync: true, ..PostgresServerOptions::default() };
    let server = start(options).await;
    let database = server.create_database().unwrap();
    let store = open(PostgresOptions::new(&server.url(&database))).await;
    let write = async |name: String| {
        let mut entity = Entity::claim(&store, &name).await;
        for n in 0..60 {
            let batch = entity.batch(&[format!("{n}.a"), format!("{n}.b")]);
            entity.highest = retried(&store, &batch).await.unwrap();
        }
        entity
    };
    let crash = async {
        for _ in 0..2 {
            let before = store.events();
            until("some are stored", async || store.events() >= before + 40).await;
            let server = Arc::clone(&server);
            tokio::task::spawn_blocking(move || {
                server.kill();
                server.restart().unwrap();
            })
            .await
            .unwrap();
        }
    };
    let (written, ()) = futures_util::join!(join_all((0..8).map(|n| write(format!("crash-{n}")))), crash);
    for entity in &written {
        let found: Vec<_> =
            recover(&store, &entity.id).await.unwrap().events.into_iter().map(|(_, text)| text).collect();
        let expected: Vec<_> = (0..60).flat_map(|n| [format!("{n}.a"), format!("{n}.b")]).collect();
        assert_eq!(found, expected);
    }
}

/// The server itself gives up a statement that takes too long.
#[tokio::test]
async fn a_transaction_that_waits_too_long_for_a_lock_is_given_up() {
    let node =
        Postgres::new(|options| PostgresOptions { statement_timeout: Duration::from_millis(200), ..options }).await;
    let mut entity = Entity::claim(&node.store, "waiting").await;
    let holder = beside(&node.database).await;
    holder.batch_execute("BEGIN; LOCK TABLE cloudstate.journal").await.unwrap();
    let error = node.store.append(entity.batch(&["a"])).await.unwrap_err();
    assert!(matches!(&error, AppendError::Unavailable { reason } if reason.contains("statement_timeout")), "{error:?}");
    holder.batch_execute("COMMIT").await.unwrap();
    entity.append(&node.store, &["a"]).await.unwrap();
}

/// Nobody waits for ever on a server that has stopped answering, though its connections are there. Time is virtual from
/// then on: it goes on when there is nothing else to do than to wait.
#[tokio::test]
async fn a_server_that_has_stopped_answering_is_given_up() {
    let server = start(PostgresServerOptions::default()).await;
    let store = open(PostgresOptions::new(&server.url(&server.create_database().unwrap()))).await;
    let mut entity = Entity::claim(&store, "silent").await;
    let batch = entity.batch(&["a"]);
    server.stop_answering();
    tokio::time::pause();
    let outcome = store.append(batch.clone()).await;
    assert!(
        matches!(&outcome, Err(AppendError::Unknown { reason }) if reason.contains("did not answer")),
        "{outcome:?}"
    );
    let read = store.highest_seq(entity.id.clone()).await.unwrap_err();
    assert!(matches!(&read, JournalError::Unavailable { reason } if reason.contains("answer")), "{read:?}");
    tokio::time::resume();
    server.resume();
    assert_eq!(retried(&store, &batch).await, Ok(1), "stored once, whether at first or now");
    entity.highest = 1;
    entity.append(&store, &["b"]).await.unwrap();
}

/// Queues have bounds; beyond them a store says that it works and that there is too much to do.
#[tokio::test]
async fn full_queues_are_told_from_a_store_that_fails() {
    let node = Postgres::new(|options| PostgresOptions { queue_requests: 2, readers: 1, writers: 1, ..options }).await;
    let entity = Entity::claim(&node.store, "queue").await;
    let (holder, watcher) = (beside(&node.database).await, beside(&node.database).await);
    holder.batch_execute("BEGIN; LOCK TABLE cloudstate.journal").await.unwrap();
    let first = tokio::spawn(node.store.append(entity.batch(&["a"])));
    until_somebody_waits(&watcher).await;
    let waiting: Vec<_> = (0..2).map(|_| node.store.append(entity.batch(&["x"]))).collect();
    let full = node.store.append(entity.batch(&["x"])).await;
    assert!(matches!(&full, Err(AppendError::Overloaded { reason }) if reason.contains("queue_requests")), "{full:?}");
    let claim = Journal::claim(&node.store, FenceScope::Entity(entity.id.clone())).await;
    assert!(matches!(&claim, Err(JournalError::Overloaded { .. })), "{claim:?}");
    let reads: Vec<_> = (0..8).map(|_| node.store.highest_seq(entity.id.clone())).collect();
    let guarded = Guarded::journal(node.store.clone(), Clock::tokio());
    for _ in 0..50 {
        let full = guarded.highest_seq(entity.id.clone()).await;
        assert!(matches!(&full, Err(JournalError::Overloaded { .. })), "{full:?}");
    }
    assert!(guarded.is_closed(), "a store that works is not left in peace");
    holder.batch_execute("COMMIT").await.unwrap();
    assert_eq!(first.await.unwrap(), Ok(1));
    join_all(waiting).await;
    join_all(reads).await;
    assert_eq!(node.store.events(), 1, "what was refused is not counted as stored");
}

/// Deleted events are gone for readers at once; their rows follow.
#[tokio::test]
async fn rows_of_deleted_events_are_removed() {
    let node = Postgres::new(|options| options).await;
    let mut entity = Entity::claim(&node.store, "sweep").await;
    let texts: Vec<String> = (0..1_200).map(|n| n.to_string()).collect();
    entity.append(&node.store, &texts).await.unwrap();
    entity.delete_to(&node.store, 1_100).await.unwrap();
    let rows = || node.database.sql("SELECT count(*), (SELECT count(*) FROM cloudstate.sweep) FROM cloudstate.journal");
    until("the rows are gone", async || rows() == "100|0").await;
    assert_eq!(recover_count(&node, &entity.id).await, 100);
}

async fn recover_count(node: &Postgres, id: &PersistenceId) -> usize {
    let all = ReplayLimit { events: usize::MAX, bytes: usize::MAX };
    node.store.replay(id.clone(), 1, u64::MAX, all).await.unwrap().len()
}

#[tokio::test]
async fn a_closed_store_refuses_everything_and_can_be_opened_again() {
    let node = Postgres::new(|options| options).await;
    let entity = Entity::claim(&node.store, "closed").await;
    let last = node.store.append(entity.batch(&["a"]));
    node.store.close().await;
    assert_eq!(last.await, Ok(1), "what came before is done");
    let refused = node.store.append(entity.batch(&["x"])).await;
    assert_eq!(refused, Err(AppendError::Unavailable { reason: "store is closed".into() }));
    let refused = node.store.highest_seq(entity.id.clone()).await;
    assert_eq!(refused, Err(JournalError::Unavailable { reason: "store is closed".into() }));
    node.store.close().await;
    let again = PostgresStore::open(node.options.clone(), Clock::tokio()).await.unwrap();
    assert_eq!(again.highest_seq(entity.id).await, Ok(1));
}
