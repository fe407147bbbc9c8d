//! A store on PostgreSQL, seen from outside: the same as one on SQLite, of which each is made here.

use super::{collected, exported, with_everything};
use crate::postgres_server::{Database, open, page, until};
use crate::store::Entity;
use actors::Clock;
use persistence::{
    EventFeed, FeedQuery, Offset, ParkedEvent, PersistenceId, PostgresStore, ProjectionId, ProjectionStore,
    ReplayLimit, StateFeed,
    admin::{
        AdminError, Cell, EntityQuery, Finding, PostgresAdmin, PostgresImport, Progress, Record, Row, SqliteAdmin,
        SqliteImport, StoreAdmin, StoreImport, Subject, Totals,
    },
};
use std::collections::BTreeSet;
use tokio::sync::mpsc;

async fn admin(database: &Database) -> PostgresAdmin {
    PostgresAdmin::open(database.options(), Clock::tokio()).await.unwrap()
}

async fn everything_in_sqlite() -> Vec<Record> {
    let folder = tempfile::tempdir().unwrap();
    with_everything(folder.path()).await.close().await;
    exported(&SqliteAdmin::open(folder.path()).unwrap()).await.unwrap()
}

async fn import(mut import: Box<dyn StoreImport>, records: &[Record]) -> Result<Totals, AdminError> {
    for some in records.chunks(3) {
        import.take(some.to_vec()).await?;
    }
    let (sender, findings) = mpsc::channel(1);
    let (totals, _) = tokio::join!(import.finish(Progress::default(), sender), collected(findings));
    totals
}

async fn import_into(database: &Database, records: &[Record]) -> Result<Totals, AdminError> {
    import(Box::new(PostgresImport::begin(database.options(), Clock::tokio()).await?), records).await
}

async fn with_everything_on_postgres() -> Database {
    let database = Database::new();
    import_into(&database, &everything_in_sqlite().await).await.unwrap();
    database
}

async fn check(database: &Database) -> (Vec<Finding>, Totals) {
    let (sender, findings) = mpsc::channel(1);
    let admin = admin(database).await;
    let (totals, found) = tokio::join!(admin.check(Progress::default(), sender), collected(findings));
    (found, totals.unwrap())
}

/// What is the same in stores of all kinds: the records with each offset as the number of events or states up to it.
fn ranked(records: &[Record]) -> Vec<Record> {
    let (mut events, mut states) = (BTreeSet::new(), BTreeSet::new());
    for record in records {
        match record {
            Record::Event(event) => drop(events.insert(event.offset)),
            Record::State(state) => drop(states.insert(state.offset)),
            _ => {}
        }
    }
    let rank = |of: &BTreeSet<Offset>, at: Offset| Offset::of_ordering(of.range(..=at).count() as u64);
    let mut records = records.to_vec();
    for record in &mut records {
        match record {
            Record::Places(places) => places.events = Offset::START,
            Record::Projection(projection) => projection.offset = rank(&events, projection.offset),
            Record::Parked(parked) => parked.offset = rank(&events, parked.offset),
            Record::Event(event) => event.offset = rank(&events, event.offset),
            Record::State(state) => state.offset = rank(&states, state.offset),
            Record::Owner(_) | Record::Entity(_) | Record::Snapshot(_) => {}
        }
    }
    // These come as each store has them.
    records.sort_by_key(|record| match record {
        Record::Entity(entity) => (1, entity.id.clone(), 0),
        Record::Snapshot(snapshot) => (3, snapshot.id.clone(), snapshot.seq_nr),
        Record::Event(_) => (2, String::new(), 0),
        Record::State(_) => (4, String::new(), 0),
        _ => (0, String::new(), 0),
    });
    records
}

#[tokio::test]
async fn everything_goes_from_sqlite_to_postgres_and_back() {
    let records = everything_in_sqlite().await;
    let database = Database::new();
    let totals = import_into(&database, &records).await.unwrap();
    assert_eq!((totals.entities, totals.events, totals.snapshots, totals.states), (4, 7, 2, 2));
    assert_eq!((totals.owners, totals.projections, totals.parked), (6, 1, 2));
    assert_eq!(check(&database).await, (vec![], totals));

    let on_postgres = exported(&admin(&database).await).await.unwrap();
    assert_eq!(ranked(&on_postgres), ranked(&records));
    let folder = tempfile::tempdir().unwrap();
    import(Box::new(SqliteImport::begin(folder.path()).unwrap()), &on_postgres).await.unwrap();
    let back = exported(&SqliteAdmin::open(folder.path()).unwrap()).await.unwrap();
    assert_eq!(ranked(&back), ranked(&records));
}

/// Places stay as they are, so that consumers elsewhere go on too, and what is written then comes after all of them.
#[tokio::test]
async fn a_restored_store_begins_a_new_generation_behind_all_it_holds() {
    let original = with_everything_on_postgres().await;
    // As on a server that has counted further than the one it is restored on.
    original.sql("UPDATE cloudstate.journal SET tx = (tx::text::bigint + 1000000000)::text::xid8");
    original.sql(
        "UPDATE cloudstate.projection SET tx = tx + 1000000000; UPDATE cloudstate.parked SET tx = tx + 1000000000",
    );
    let mut records = exported(&admin(&original).await).await.unwrap();
    let database = Database::new();
    import_into(&database, &records).await.unwrap();
    let again = exported(&admin(&database).await).await.unwrap();
    let Record::Places(places) = &mut records[0] else { panic!("{:?}", records[0]) };
    assert_eq!(std::mem::replace(&mut places.events, Offset::new(2, 0, 0)), Offset::new(1, 0, 0));
    assert_eq!(again, records, "the generation apart all is the same");

    let store = open(database.options()).await;
    let reader = store.take_over(ProjectionId { group: "reader".into(), source: "test".into() }).await.unwrap();
    let left = texts(&store, reader.offset, 4).await;
    assert_eq!(left, ["5", "6", "fourth", "fifth"], "it goes on behind the third");
    let mut plain = Entity::claim(&store, "plain").await;
    assert_eq!(plain.fence.epoch, 2, "epochs go on");
    plain.append(&store, &["sixth"]).await.unwrap();
    assert_eq!(texts(&store, reader.offset, 5).await, ["5", "6", "fourth", "fifth", "sixth"]);
    store.close().await;
    assert_eq!(check(&database).await.0, []);
    let info = admin(&database).await.info().await.unwrap();
    assert_eq!((info.generation, info.highest_offset.generation()), (2, 2));
}

async fn texts(store: &PostgresStore, after: Offset, count: usize) -> Vec<String> {
    let page = page(store, &FeedQuery::of("test"), after, count).await;
    page.events.iter().map(|it| String::from_utf8(it.stored.event.payload.to_vec()).unwrap()).collect()
}

/// Each line breaks one thing, and says what has to be found, and how often.
#[tokio::test]
async fn whatever_is_broken_is_named() {
    let plain = "persistence_id = 'test|plain'";
    let cases = [
        (format!("DELETE FROM journal WHERE {plain} AND seq_nr = 5"), "entity test|plain: event 5 is missing", 1),
        (format!("DELETE FROM journal WHERE {plain} AND seq_nr = 1"), "event test|plain #2: event 1 is missing", 1),
        (
            format!("DELETE FROM journal WHERE {plain} AND seq_nr IN (2, 3)"),
            "event test|plain #4: events 2 to 3 are missing",
            1,
        ),
        (format!("DELETE FROM journal WHERE {plain}"), "entity test|plain: events 1 to 5 are missing", 1),
        ("UPDATE journal SET payload = '\\x00' WHERE ordering = 2".into(), "test|plain #2: checksum does not match", 1),
        ("UPDATE journal SET tags = '{}' WHERE ordering = 2".into(), "", 0),
        (
            "UPDATE journal SET epoch = 0 WHERE ordering = 2".into(),
            "epoch falls from 1 to 0: two writers were let in",
            2,
        ),
        (
            format!("UPDATE journal SET epoch = 5 WHERE {plain} AND seq_nr = 5"),
            "entity test|plain: its last event has epoch 5, but only 1 was ever claimed",
            2,
        ),
        (format!("DELETE FROM entity WHERE {plain}"), "its entity is missing", 5),
        (
            "DELETE FROM entity WHERE persistence_id = 'test|kept'".into(),
            "snapshot test|kept #5: its entity is missing",
            4,
        ),
        (
            "DELETE FROM entity WHERE persistence_id = 'value|set'".into(),
            "state value|set #1: its entity is missing",
            1,
        ),
        (
            format!("UPDATE journal SET ordering = DEFAULT, tx = '1' WHERE {plain} AND seq_nr = 4"),
            "event test|plain #4: comes before its predecessor in commit order",
            1,
        ),
        (
            format!("UPDATE journal SET slice = 1 WHERE {plain} AND seq_nr = 4"),
            "event test|plain #4: type or slice are not those of its entity",
            1,
        ),
        ("UPDATE snapshot SET seq_nr = 9 WHERE seq_nr = 5".into(), "snapshot test|kept #9: checksum does not match", 1),
        (
            "DELETE FROM snapshot".into(),
            "warning: entity test|kept: events up to 4 are deleted and no snapshot holds what they did",
            1,
        ),
        ("UPDATE state SET revision = 7 WHERE payload IS NOT NULL".into(), "state value|set #7: checksum", 1),
        (
            format!("UPDATE entity SET slice = 3 WHERE {plain}"),
            "entity test|plain: its slice is stored as 3, but is",
            7,
        ),
        (format!("UPDATE entity SET entity_type = 'other' WHERE {plain}"), "its type is stored as \"other\"", 7),
        (format!("UPDATE entity SET epoch = 9 WHERE {plain}"), "was claimed with epoch 9, but its shard knows of 1", 1),
        ("INSERT INTO sweep VALUES ('test|none', 3)".into(), "entity test|none (sweep): is to have events removed", 1),
        ("INSERT INTO owner VALUES ('test', 1024, 1, 1, '')".into(), "owner test: there is no shard 1024", 1),
        (
            "UPDATE projection SET generation = 3".into(),
            "warning: projection reader of test: is at an offset of generation 3, but the current one is 1",
            1,
        ),
        ("DELETE FROM projection".into(), "parked event reader of test (test|plain #1): its consumer is missing", 2),
        (
            "UPDATE parked SET ordering = 77 WHERE seq_nr = 1".into(),
            "parked event reader of test (test|plain #1): the event is at another offset",
            1,
        ),
    ];
    let database = with_everything_on_postgres().await;
    let tables = ["meta", "entity", "owner", "journal", "sweep", "snapshot", "state", "projection", "parked"];
    let keep = tables.map(|table| format!("CREATE TABLE sound.{table} AS TABLE cloudstate.{table};")).concat();
    database.sql(&format!("CREATE SCHEMA sound; {keep}"));
    let mend = tables.map(|table| {
        format!("DELETE FROM {table}; INSERT INTO {table} OVERRIDING SYSTEM VALUE SELECT * FROM sound.{table};")
    });
    let mend = mend.concat();
    for (sql, expected, count) in cases {
        database.sql(&format!("SET search_path = cloudstate; {mend} {sql}"));
        let (findings, _) = check(&database).await;
        let found: Vec<String> = findings.iter().map(ToString::to_string).collect();
        assert!(count == 0 || found.iter().any(|it| it.contains(expected)), "{sql}: {expected} is not in {found:#?}");
        assert_eq!(found.len(), count, "{sql}: {found:#?}");
        let subjects: BTreeSet<_> = findings.iter().map(|it| it.subject.to_string()).collect();
        assert!(!subjects.contains(&Subject::Database.to_string()));
    }
}

/// What is not sound is no backup: it ends before the first record, and says why.
#[tokio::test]
async fn damage_ends_a_backup_and_an_export() {
    let database = with_everything_on_postgres().await;
    database.sql("UPDATE cloudstate.journal SET payload = '\\x00' WHERE ordering = 2");
    let refused = exported(&admin(&database).await).await.unwrap_err();
    assert!(matches!(&refused, AdminError::Damaged(finding) if finding.seq_nr == Some(2)), "{refused}");
    let ((sender, findings), (records, batches)) = (mpsc::channel(1), mpsc::channel(1));
    let backup = admin(&database).await.backup(Progress::default(), Some(sender), records);
    let (refused, found, sent) = tokio::join!(backup, collected(findings), collected(batches));
    assert!(matches!(refused, Err(AdminError::Unsound { findings: 1 })), "{refused:?}");
    assert_eq!((found.len(), sent.len()), (1, 0));
}

#[tokio::test]
async fn a_place_that_is_not_empty_is_left_alone_and_what_is_wrong_leaves_it_empty() {
    let records = everything_in_sqlite().await;
    let database = with_everything_on_postgres().await;
    let before = exported(&admin(&database).await).await.unwrap();
    let refused = import_into(&database, &records).await.unwrap_err();
    assert!(matches!(&refused, AdminError::NotEmpty { found, .. } if found.contains("entity")), "{refused}");
    assert_eq!(exported(&admin(&database).await).await.unwrap(), before);

    let at = |kind: fn(&Record) -> bool| records.iter().position(kind).unwrap();
    let (entity, event) = (at(|it| matches!(it, Record::Entity(_))), at(|it| matches!(it, Record::Event(_))));
    let changed = |change: &dyn Fn(&mut Vec<Record>)| {
        let mut records = records.clone();
        change(&mut records);
        records
    };
    let zero = |it: &mut Vec<Record>| {
        if let Record::Event(event) = &mut it[event] {
            event.manifest = "a\0b".into();
        }
    };
    let cases: [(Vec<Record>, &str); 6] = [
        (changed(&|it| drop(it.remove(entity))), "not sound"),
        (changed(&|it| it.insert(event, it[event].clone())), "does not come in the order of offsets"),
        (changed(&|it| it.insert(entity, it[entity].clone())), "already exists"),
        (changed(&|it| drop(it.remove(event + 1))), "not sound: 1 findings"),
        (changed(&|it| it.retain(|record| !matches!(record, Record::Owner(_)))), "not sound"),
        (changed(&zero), "0x00"),
    ];
    let empty = Database::new();
    for (records, reason) in cases {
        let refused = import_into(&empty, &records).await.unwrap_err().to_string();
        assert!(refused.contains(reason), "{refused}, not {reason}");
        let info = admin(&empty).await.info().await.unwrap();
        assert_eq!((info.entities, info.events, info.generation), (0, 0, 1), "{reason}");
    }
    import_into(&empty, &records).await.unwrap();
}

#[tokio::test]
async fn one_moment_is_seen_whoever_writes() {
    let database = with_everything_on_postgres().await;
    let store = open(database.options()).await;
    let mut plain = Entity::claim(&store, "plain").await;
    // Each as large as a batch: the export is not over before they are taken.
    plain.append(&store, &["x".repeat(300_000), "y".repeat(300_000)]).await.unwrap();
    let (sender, mut batches) = mpsc::channel(1);
    let export = admin(&database).await.export(Progress::default(), sender);
    let mut export = std::pin::pin!(export);
    let mut exported = Vec::new();
    // The moment is that of the first look; one event is stored before and one after.
    plain.append(&store, &["before"]).await.unwrap();
    tokio::select! {
        batch = batches.recv() => exported.extend(batch.unwrap()),
        done = &mut export => panic!("{done:?}"),
    }
    plain.append(&store, &["after"]).await.unwrap();
    plain.save(&store, plain.highest, "in a table that is read later").await.unwrap();
    let (totals, rest) = tokio::join!(export, collected(batches));
    exported.extend(rest.into_iter().flatten());
    let totals = totals.unwrap();
    assert_eq!((totals.events, totals.snapshots), (10, 2));
    let seen = |text: &str| exported.iter().any(|it| matches!(it, Record::Event(it) if it.payload == text.as_bytes()));
    assert!(seen("before") && !seen("after"));
    store.close().await;
}

#[tokio::test]
async fn what_is_in_it_is_told_in_pages() {
    let database = with_everything_on_postgres().await;
    let admin = admin(&database).await;
    let info = admin.info().await.unwrap();
    assert_eq!((info.entities, info.events, info.snapshots, info.states), (4, 7, 2, 1));
    assert_eq!((info.backend, info.generation, info.projections.len()), ("postgres", 1, 1));
    assert_eq!((info.oldest_event_ms, info.newest_event_ms), (Some(1_700_000_000_000), Some(1_700_000_000_000)));
    assert!(info.sizes.database > 0 && info.highest_offset.ordering() == 11, "{info:?}");

    let mut query = EntityQuery { entity_type: None, prefix: String::new(), after: None, limit: 3 };
    let mut ids = Vec::new();
    loop {
        let page = admin.entities(query.clone()).await.unwrap();
        ids.extend(page.iter().map(|it| it.id.as_str().to_owned()));
        query.after = page.last().map(|last| last.id.clone());
        if page.len() < query.limit {
            break;
        }
    }
    assert_eq!(ids, ["test|kept", "test|plain", "value|gone", "value|set"]);
    let (kept, set) = (PersistenceId::of("test", "kept"), PersistenceId::of("value", "set"));
    let head = admin.head(kept.clone()).await.unwrap().unwrap();
    assert_eq!((head.highest_seq, head.deleted_to, head.epoch), (6, 4, 1));
    assert_eq!(head.snapshots.iter().map(|it| it.seq_nr).collect::<Vec<_>>(), [5, 4]);
    let few = ReplayLimit { events: 1, bytes: 1_000 };
    let events = admin.events(kept.clone(), 1, u64::MAX, few).await.unwrap();
    assert_eq!(events.iter().map(|it| it.seq_nr).collect::<Vec<_>>(), [5], "a page of one, deleted ones apart");
    assert_eq!(admin.snapshot(kept).await.unwrap().unwrap().payload, "state at 5");
    assert_eq!(admin.state(set.clone()).await.unwrap().unwrap().payload.unwrap(), "a state");
    assert_eq!(admin.head(set).await.unwrap().unwrap().state.unwrap().revision, 1);
    assert_eq!(admin.head(PersistenceId::of("test", "none")).await.unwrap(), None);
}

/// Readers of slices, of a tag, of states, and of other stores: each is behind by what it has yet to read.
#[tokio::test]
async fn every_reader_is_behind_by_what_it_reads() {
    let database = with_everything_on_postgres().await;
    let store = open(database.options()).await;
    let plain = PersistenceId::of("test", "plain").slice();
    let (events, states) = (FeedQuery::of("test"), FeedQuery::of("value"));
    let mut written = Vec::new();
    // Transactions of other tests on this server hold back what a feed shows.
    until("a feed shows both states", async || {
        let page = StateFeed::page(&store, states.clone(), Offset::START, ReplayLimit::default()).await.unwrap();
        written = page.states;
        written.len() == 2
    })
    .await;
    let first = &written[0];
    let third = store.offset_of(PersistenceId::of("test", "plain"), 3).await.unwrap().unwrap();
    let readers = [
        (ProjectionId::of_events("all", &events), Offset::START, Some(7)),
        (ProjectionId::of_events("a slice", &events.clone().slices(plain..=plain)), third, Some(2)),
        (ProjectionId::of_events("a tag", &events.clone().tag("red")), Offset::START, Some(2)),
        (ProjectionId::of_events("no such tag", &events.tag("black")), Offset::START, Some(0)),
        (ProjectionId::of_states("states", &states), first.offset, Some(1)),
        (ProjectionId::of_states("states of a tag", &states.tag("green")), Offset::START, Some(2)),
        (ProjectionId { group: "elsewhere".into(), source: "test|1-2|topics".into() }, Offset::START, None),
        (ProjectionId { group: "of another store".into(), source: "test".into() }, Offset::of_ordering(9), None),
    ];
    for (reader, offset, _) in &readers {
        let claimed = store.take_over(reader.clone()).await.unwrap();
        if *offset != Offset::START {
            store.save_offset(claimed.fence.clone(), *offset).await.unwrap();
        }
        if &*reader.group == "states" {
            let parked = ParkedEvent {
                projection: reader.clone(),
                offset: first.offset,
                id: first.id.clone(),
                seq_nr: first.stored.revision,
                attempts: 8,
                reason: "it fails".into(),
                time_ms: 17,
                replay: false,
            };
            store.park(claimed.fence, parked).await.unwrap();
        }
    }
    store.close().await;
    let info = admin(&database).await.info().await.unwrap();
    for (reader, _, behind) in readers {
        let found =
            info.projections.iter().find(|it| it.group == *reader.group && it.source == *reader.source).unwrap();
        assert_eq!((found.behind, found.behind_more), (behind, false), "{found:?}");
    }
    assert_eq!(check(&database).await.0, []);
    database.sql("UPDATE cloudstate.parked SET ordering = 99 WHERE consumer_group = 'states'");
    let found: Vec<String> = check(&database).await.0.iter().map(ToString::to_string).collect();
    let place = format!("({} #{}): the state is at another offset", first.id, first.stored.revision);
    assert!(found.len() == 1 && found[0].ends_with(&place), "{found:?}");
}

async fn query(admin: &PostgresAdmin, sql: &str) -> Result<Vec<Row>, AdminError> {
    let (sender, rows) = mpsc::channel(1);
    let (asked, rows) = tokio::join!(admin.query(sql.into(), Progress::default(), sender), collected(rows));
    asked.map(|()| rows)
}

#[tokio::test]
async fn statements_read_and_nothing_else() {
    let database = with_everything_on_postgres().await;
    let admin = admin(&database).await;
    let text = |text: &str| Cell::Text(text.to_owned());
    let rows = query(&admin, "SELECT seq_nr, payload, NULL AS no FROM journal WHERE ordering = 1").await.unwrap();
    assert_eq!(rows[0], [text("seq_nr"), text("payload"), text("no")]);
    assert_eq!(rows[1], [Cell::Integer(1), Cell::Blob(b"first".to_vec()), Cell::Null]);
    assert!(!query(&admin, "EXPLAIN SELECT * FROM journal").await.unwrap().is_empty());
    let refused = [
        "DELETE FROM journal",
        "WITH gone AS (DELETE FROM journal RETURNING *) SELECT * FROM gone",
        "SELECT * FROM entity FOR UPDATE",
        "SELECT nextval('state_ordering')",
        "SELECT setval('state_ordering', 9)",
        "EXPLAIN ANALYZE DELETE FROM journal",
        "SET TRANSACTION READ WRITE",
        "COMMIT",
        "CREATE TABLE mine(i INT)",
        "COPY journal TO PROGRAM 'true'",
        "SELECT * INTO mine FROM journal",
        "DO $$ BEGIN DELETE FROM journal; END $$",
        "TRUNCATE journal",
        "SELECT 1; DELETE FROM journal",
        "SELECT 1; COMMIT; DELETE FROM journal",
        "SELECT set_config('transaction_read_only', 'off', true)",
        "SELECT $1",
        "SELEKT",
    ];
    for sql in refused {
        let refusal = query(&admin, sql).await.unwrap_err();
        assert!(matches!(refusal, AdminError::Statement(_)), "{sql}: {refusal:?}");
    }
    assert_eq!(database.sql("SELECT count(*) FROM cloudstate.journal"), "7");
}

/// The connection of a task that nobody wants any more is given up, and the server ends what it was doing.
#[tokio::test]
async fn a_task_that_is_cancelled_ends() {
    let database = with_everything_on_postgres().await;
    let admin = admin(&database).await;
    let progress = Progress::default();
    let (sender, rows) = mpsc::channel(1);
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1::numeric UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
    let cancel = async {
        let running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'WITH RECURSIVE n%' AND state = 'active'
                       AND datname = current_database()";
        while database.sql(running) != "1" {
            tokio::task::yield_now().await;
        }
        progress.cancel();
    };
    let ((), asked, _) = tokio::join!(cancel, admin.query(endless.into(), progress.clone(), sender), collected(rows));
    assert!(matches!(asked, Err(AdminError::Cancelled)), "{asked:?}");
}

#[tokio::test]
async fn what_is_no_store_is_said_to_be_none() {
    let database = Database::new();
    let refusal = async || PostgresAdmin::open(database.options(), Clock::tokio()).await.err().unwrap();
    let none = refusal().await;
    assert!(matches!(none, AdminError::NoTables { .. }) && none.to_string().contains("schema cloudstate"), "{none}");
    assert_eq!(
        database.sql("SELECT count(*) FROM pg_namespace WHERE nspname = 'cloudstate'"),
        "0",
        "a look makes none"
    );
    database.sql("CREATE SCHEMA cloudstate; CREATE TABLE cloudstate.mine(i INT)");
    assert!(matches!(refusal().await, AdminError::OpenPostgres(_)));
    database.sql("DROP TABLE cloudstate.mine");
    open(database.options()).await.close().await;
    let version = database.sql("SELECT value FROM cloudstate.meta WHERE key = 'schema_version'");
    database.sql("UPDATE cloudstate.meta SET value = '99' WHERE key = 'schema_version'");
    assert!(refusal().await.to_string().contains("run the newer program"));
    // One that was restored on another server can be looked at before it is adopted.
    database.sql(&format!("UPDATE cloudstate.meta SET value = '{version}' WHERE key = 'schema_version'"));
    database.sql("UPDATE cloudstate.meta SET value = '1' WHERE key = 'system_identifier'");
    assert_eq!(admin(&database).await.info().await.unwrap().entities, 0);
}
