//! On PostgreSQL: projections into tables beside the store, and feeds under load with transactions that hold them back.

use crate::feeds_under_load::{MANY, under_load};
use actors::{ActorSystem, BoxError, Clock};
use persistence::{
    Append, Coded, FeedEvent, FeedQuery, FenceScope, Journal, MessagePack, OnFailure, PersistenceId, PostgresOptions,
    PostgresStore, Projection, ProjectionMessage, ProjectionSettings, ProjectionStore, Projections, Selection,
    slice_ranges,
    testkit::{PostgresServer, PostgresServerOptions},
    tokio_postgres::{Client, NoTls, Transaction},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::sync::Barrier;

const SOON: Duration = Duration::from_secs(60);

struct Node {
    store: PostgresStore,
    options: PostgresOptions,
    _server: PostgresServer, // ends with this
}

impl Node {
    async fn new() -> Self {
        let started = tokio::task::spawn_blocking(|| PostgresServer::start(&PostgresServerOptions::default()).unwrap());
        let server = started.await.unwrap();
        let options = PostgresOptions::new(&server.url(&server.create_database().unwrap()));
        let store = PostgresStore::open(options.clone(), Clock::tokio()).await.unwrap();
        Self { store, options, _server: server }
    }

    async fn client(&self) -> Client {
        let (client, connection) = persistence::tokio_postgres::connect(&self.options.url, NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }
}

async fn append(journal: &impl Journal<u64>, entity: &str, events: &[u64]) -> (PersistenceId, u64) {
    let id = PersistenceId::of("account", entity);
    let fence = journal.claim(FenceScope::Entity(id.clone())).await.unwrap();
    let expected_seq = journal.highest_seq(id.clone()).await.unwrap() + 1;
    let (events, batch_id) = (events.to_vec(), rand::random());
    let append = Append { id: id.clone(), expected_seq, fence, batch_id, events, tags: Vec::new(), time_ms: 0 };
    (id, journal.append(append).await.unwrap())
}

/// Adds, so that an event that is handled twice, or not, shows.
async fn add(db: &Transaction<'_>, event: &FeedEvent<u64>) -> Result<(), BoxError> {
    let sql = "INSERT INTO total VALUES ($1, $2, 1)
               ON CONFLICT (entity) DO UPDATE SET sum = total.sum + excluded.sum, events = total.events + 1";
    db.execute(sql, &[&event.id.entity_id(), &(event.stored.event as i64)]).await?;
    Ok(())
}

/// Instances end suddenly in the middle, their number changes, handlers fail after they have written: each event counts
/// once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_once_holds_over_sudden_ends_failures_and_changes_of_number() {
    const ENTITIES: u64 = 6;
    const ROUNDS: u64 = 20;
    let node = Node::new().await;
    let client = node.client().await;
    client.batch_execute("CREATE TABLE total(entity TEXT PRIMARY KEY, sum BIGINT, events BIGINT)").await.unwrap();
    let values = Coded::new(node.store.clone(), MessagePack::<u64>::new("account.Added", 1));
    let mut last = Vec::new();
    for round in 0..ROUNDS {
        for entity in 0..ENTITIES {
            let place = append(&values, &entity.to_string(), &[round, 1]).await;
            if round == ROUNDS - 1 {
                last.push(place);
            }
        }
    }
    let calls = Arc::new(AtomicU64::new(0));
    for parts in [1, 3, 2] {
        let system = ActorSystem::new("projections");
        let (calls, from) = (Arc::clone(&calls), calls.load(Ordering::SeqCst));
        let counted = Arc::clone(&calls);
        let settings = ProjectionSettings {
            transaction_max: 7,
            restart_min: Duration::from_millis(5),
            restart_max: Duration::from_millis(20),
            ..ProjectionSettings::default()
        };
        let projection = Projection::events("total", values.clone(), FeedQuery::of("account"))
            .exactly_once_postgres(&node.store, move |db, event: &FeedEvent<u64>| {
                let call = calls.fetch_add(1, Ordering::SeqCst);
                Box::pin(async move {
                    add(db, event).await?;
                    if call % 17 == 16 { Err("a failure now and then".into()) } else { Ok(()) }
                })
            })
            .on_failure(OnFailure::retry_then_fail().delay(Duration::ZERO))
            .settings(settings)
            .unwrap();
        let running = Projections::spawn(&system, projection, parts);
        if parts == 2 {
            for (id, number) in &last {
                running.wait_until(id, *number, SOON).await.expect("handled in time");
            }
        } else {
            let some = async {
                while counted.load(Ordering::SeqCst) < from + 50 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            tokio::time::timeout(SOON, some).await.expect("some are handled");
        }
        system.terminate().await; // in the middle of whatever is under way
    }
    let rows = client.query("SELECT entity, sum, events FROM total", &[]).await.unwrap();
    assert_eq!(rows.len() as u64, ENTITIES);
    for row in rows {
        let found = (row.get::<_, i64>(1) as u64, row.get::<_, i64>(2) as u64);
        assert_eq!(
            found,
            ((0..ROUNDS).sum::<u64>() + ROUNDS, 2 * ROUNDS),
            "the events of {}, each once",
            row.get::<_, &str>(0)
        );
    }
    node.store.close().await;
}

/// Groups are handled whole: one that fails leaves nothing, and is handled again in its whole length or by and by in smaller
/// ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_is_handled_exactly_once_or_not_at_all() {
    const EVENTS: u64 = 40;
    let node = Node::new().await;
    let client = node.client().await;
    client.batch_execute("CREATE TABLE total(entity TEXT PRIMARY KEY, sum BIGINT, events BIGINT)").await.unwrap();
    let values = Coded::new(node.store.clone(), MessagePack::<u64>::new("account.Added", 1));
    let (id, last) = append(&values, "a", &(1..=EVENTS).collect::<Vec<_>>()).await;
    let calls = Arc::new(AtomicU64::new(0));
    let largest = Arc::new(AtomicU64::new(0));
    let (called, seen) = (Arc::clone(&calls), Arc::clone(&largest));
    let settings =
        ProjectionSettings { group_max: 10, group_within: Duration::from_millis(1), ..ProjectionSettings::default() };
    let projection = Projection::events("total", values, FeedQuery::of("account"))
        .exactly_once_grouped_postgres(&node.store, move |db, group: &[Arc<FeedEvent<u64>>]| {
            let call = called.fetch_add(1, Ordering::SeqCst);
            seen.fetch_max(group.len() as u64, Ordering::SeqCst);
            Box::pin(async move {
                for event in group {
                    add(db, event).await?;
                }
                if call.is_multiple_of(2) { Err("every other time".into()) } else { Ok(()) }
            })
        })
        .on_failure(OnFailure::retry_then_fail().delay(Duration::ZERO))
        .settings(settings)
        .unwrap();
    let system = ActorSystem::new("projections");
    let running = Projections::spawn(&system, projection, 1);
    running.wait_until(&id, last, SOON).await.expect("handled in time");
    system.terminate().await;
    let row = client.query_one("SELECT sum, events FROM total", &[]).await.unwrap();
    let found = (row.get::<_, i64>(0) as u64, row.get::<_, i64>(1) as u64);
    assert_eq!(found, ((1..=EVENTS).sum::<u64>(), EVENTS), "each event once");
    assert!((2..=10).contains(&largest.load(Ordering::SeqCst)), "{largest:?} in the largest group");
    assert!(calls.load(Ordering::SeqCst) >= 2 * (EVENTS / 10), "half of the calls failed");
    node.store.close().await;
}

/// Instances do not wait for each other: each handles its first item only while the other one does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn instances_of_one_projection_work_at_the_same_time() {
    let node = Node::new().await;
    let values = Coded::new(node.store.clone(), MessagePack::<u64>::new("account.Added", 1));
    let mut last = Vec::new();
    for share in slice_ranges(2) {
        let in_share = |entity: &String| share.contains(&PersistenceId::of("account", entity).slice());
        let entity = (0..).map(|number: u32| number.to_string()).find(in_share).unwrap();
        last.push(append(&values, &entity, &[1]).await);
    }
    let both = Arc::new(Barrier::new(2));
    let projection = Projection::events("both", values, FeedQuery::of("account")).exactly_once_postgres(
        &node.store,
        move |_, _: &FeedEvent<u64>| {
            let both = Arc::clone(&both);
            Box::pin(async move {
                both.wait().await;
                Ok(())
            })
        },
    );
    let system = ActorSystem::new("projections");
    let running = Projections::spawn(&system, projection, 2);
    for (id, number) in &last {
        running.wait_until(id, *number, SOON).await.expect("one waits for the other's connection");
    }
    system.terminate().await;
    node.store.close().await;
}

/// A parked item is handled while it is parked, once; a handler that fails or panics leaves it there, and nothing of its
/// own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parked_item_is_handled_once() {
    let node = Node::new().await;
    let client = node.client().await;
    client.batch_execute("CREATE TABLE total(entity TEXT PRIMARY KEY, sum BIGINT, events BIGINT)").await.unwrap();
    let values = Coded::new(node.store.clone(), MessagePack::<u64>::new("account.Added", 1));
    let (id, _) = append(&values, "a", &[5, 6]).await;
    let broken = Arc::new(AtomicU64::new(3));
    let left = Arc::clone(&broken);
    let projection = Projection::events("parked", values, FeedQuery::of("account"))
        .exactly_once_postgres(&node.store, move |db, event: &FeedEvent<u64>| {
            let is_broken = event.stored.event == 5
                && broken.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
            let panics = broken.load(Ordering::SeqCst) == 1;
            Box::pin(async move {
                add(db, event).await?;
                assert!(!(is_broken && panics), "out of luck");
                if is_broken { Err("not now".into()) } else { Ok(()) }
            })
        })
        .on_failure(OnFailure::park());
    let system = ActorSystem::new("projections");
    let running = Projections::spawn(&system, projection, 1);
    running.wait_until(&id, 2, SOON).await.unwrap();
    assert_eq!(left.load(Ordering::SeqCst), 2);
    let sum = || async { client.query_one("SELECT sum::bigint FROM total", &[]).await.unwrap().get::<_, i64>(0) };
    assert_eq!(sum().await, 6, "what failed has written nothing");
    let parked = || node.store.parked(Selection::default(), None, 9);
    for (attempts, reason) in [(2, "the handler panicked: out of luck"), (3, "not now")] {
        replay(&running, &node.store).await;
        let tried = async {
            loop {
                let [event] = &parked().await.unwrap()[..] else { panic!("it is parked") };
                if event.attempts == attempts {
                    return event.reason.clone();
                }
                tokio::task::yield_now().await;
            }
        };
        assert_eq!(tokio::time::timeout(SOON, tried).await.expect("it is not tried again"), reason);
        assert_eq!(sum().await, 6, "what failed has written nothing");
    }
    replay(&running, &node.store).await;
    let gone = async {
        while !parked().await.unwrap().is_empty() {
            replay(&running, &node.store).await; // as impatient people do
        }
    };
    tokio::time::timeout(SOON, gone).await.expect("it is not tried again");
    running.stop(SOON).await.unwrap();
    assert_eq!(sum().await, 11, "each once");
    node.store.close().await;
}

async fn replay(running: &Projections, store: &PostgresStore) {
    store.replay_parked(Selection::default()).await.unwrap();
    running.instances().for_each(|actor| actor.tell(ProjectionMessage::ParkedChanged));
}

/// Transactions of others that have written and do not end: whatever commits meanwhile must wait for its place.
async fn hold(client: Client) {
    client.batch_execute("CREATE TABLE IF NOT EXISTS held(number BIGINT)").await.unwrap();
    for number in 0_i64.. {
        client.batch_execute("BEGIN").await.unwrap();
        client.execute("INSERT INTO held VALUES ($1)", &[&number]).await.unwrap();
        tokio::time::sleep(Duration::from_millis(40 + (number as u64 * 37) % 120)).await;
        client.batch_execute(if number % 3 == 0 { "ROLLBACK" } else { "COMMIT" }).await.unwrap();
    }
}

async fn on_postgres(events: u64) {
    let node = Node::new().await;
    let holders = [tokio::spawn(hold(node.client().await)), tokio::spawn(hold(node.client().await))];
    under_load(Arc::new(node.store.clone()), Arc::new(node.store.clone()), events, "PostgreSQL").await;
    holders.iter().for_each(tokio::task::JoinHandle::abort);
    node.store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn feeds_under_load() {
    on_postgres(8_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: part of the long tests"]
async fn feeds_under_load_of_a_million() {
    on_postgres(MANY).await;
}
