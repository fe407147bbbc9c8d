//! Feeds of a store that many write to: in commit order, which is the order of no number the server gives out.

use crate::{
    postgres_server::{open, page, soon, until},
    store::Entity,
};
use actors::Clock;
use futures_util::future::join_all;
use persistence::{
    BoxFuture, EntityIds, EventFeed, FeedPage, FeedQuery, Journal, JournalError, LiveFeed, Offset, PostgresOptions,
    PostgresStore, ProjectionStore, RawEvent, RawState, ReplayLimit, StateFeed, StateStore,
    testkit::{FeedSubject, PostgresServer, PostgresServerOptions, feed_contract},
};
use std::{sync::Arc, time::SystemTime};
use tokio_postgres::Client;

/// A store on a server of its own: a transaction that runs anywhere on a server holds its feeds back.
struct Alone {
    server: PostgresServer,
    options: PostgresOptions,
    store: PostgresStore,
}

impl Alone {
    async fn new(change: impl FnOnce(PostgresOptions) -> PostgresOptions) -> Self {
        let started = tokio::task::spawn_blocking(|| PostgresServer::start(&PostgresServerOptions::default()).unwrap());
        let server = started.await.unwrap();
        let options = change(PostgresOptions::new(&server.url(&server.create_database().unwrap())));
        Self { store: open(options.clone()).await, server, options }
    }

    async fn beside(&self) -> Client {
        let (client, connection) = tokio_postgres::connect(&self.options.url, tokio_postgres::NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    async fn page(&self, after: Offset) -> FeedPage<RawEvent> {
        EventFeed::page(&self.store, FeedQuery::of("test"), after, ReplayLimit::default()).await.unwrap()
    }
}

impl FeedSubject for Alone {
    fn journal(&self) -> Arc<dyn Journal<RawEvent>> {
        Arc::new(self.store.clone())
    }

    fn feed(&self) -> Arc<dyn EventFeed<RawEvent>> {
        Arc::new(self.store.clone())
    }

    fn states(&self) -> Arc<dyn StateStore<RawState>> {
        Arc::new(self.store.clone())
    }

    fn state_feed(&self) -> Arc<dyn StateFeed<RawState>> {
        Arc::new(self.store.clone())
    }

    fn ids(&self) -> Arc<dyn EntityIds> {
        Arc::new(self.store.clone())
    }

    fn state_ids(&self) -> Arc<dyn EntityIds> {
        Arc::new(self.store.clone())
    }

    fn projections(&self) -> Arc<dyn ProjectionStore> {
        Arc::new(self.store.clone())
    }

    fn restart(&mut self) -> BoxFuture<'_, bool> {
        Box::pin(async {
            self.store.close().await;
            self.store = open(self.options.clone()).await;
            true
        })
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres() {
    feed_contract(&mut Alone::new(|options| options).await).await;
}

#[tokio::test]
async fn postgres_with_the_smallest_settings_and_statements_without_names() {
    let smallest = |options| PostgresOptions { batch_requests: 1, writers: 1, readers: 1, pooler: true, ..options };
    feed_contract(&mut Alone::new(smallest).await).await;
}

/// Takes an event's row out and puts it in again, in a transaction that is not committed: as a slow writer would.
async fn write_slowly(client: &Client, id: &str) {
    client.batch_execute("BEGIN").await.unwrap();
    let again = "WITH gone AS (DELETE FROM cloudstate.journal WHERE persistence_id = $1 RETURNING *)
        INSERT INTO cloudstate.journal(persistence_id, seq_nr, slice, entity_type, epoch, batch_id, generation, time_ms,
          manifest, payload, meta, crc, tags)
        SELECT persistence_id, seq_nr, slice, entity_type, epoch, batch_id, generation, time_ms, manifest, payload, meta,
          crc, tags FROM gone";
    client.execute(again, &[&id]).await.unwrap();
}

fn texts(page: &FeedPage<RawEvent>) -> Vec<String> {
    page.events.iter().map(|event| String::from_utf8_lossy(&event.stored.event.payload).into_owned()).collect()
}

/// What was begun before and is committed after is not missed, although its numbers are lower than those read already:
/// they are not read before it.
#[tokio::test]
async fn a_slow_commit_holds_the_feed_back_and_is_not_missed() {
    let node = Alone::new(|options| options).await;
    let (mut slow, mut fast) = (Entity::claim(&node.store, "slow").await, Entity::claim(&node.store, "fast").await);
    slow.append(&node.store, &["slow"]).await.unwrap();
    let writer = node.beside().await;
    write_slowly(&writer, slow.id.as_str()).await;
    fast.append(&node.store, &["fast"]).await.unwrap();
    let before = node.page(Offset::START).await;
    assert!(!texts(&before).contains(&"fast".to_owned()), "read past one that is still to come: {before:?}");
    writer.batch_execute("COMMIT").await.unwrap();
    let after = page(&node.store, &FeedQuery::of("test"), before.read_to, 2).await;
    assert_eq!(texts(&after), ["slow", "fast"]);
    assert_eq!(after.read_to, after.end);
}

/// Who waits is told when a held-back event can be read at last, though nothing more is stored then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_follows_is_woken_by_other_nodes_and_after_slow_commits() {
    let node = Alone::new(|options| options).await;
    let other = open(node.options.clone()).await;
    let mut far = Entity::claim(&other, "far").await;
    let mut live =
        LiveFeed::new(Arc::new(node.store.clone()), FeedQuery::of("test"), Offset::START, ReplayLimit::default());
    let mut follow = async || loop {
        let page = soon("it is woken", live.next()).await.unwrap();
        if !page.events.is_empty() {
            return texts(&page);
        }
    };
    let watcher = node.beside().await;
    // Once somebody waits, it is looked again and again for what others have stored.
    let looks =
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%journal_ordering_seq%' AND pid <> pg_backend_pid()
        AND state = 'idle' AND query_start > $1";
    let looked = async |since: SystemTime| {
        until("somebody waits", async || watcher.query_one(looks, &[&since]).await.unwrap().get::<_, i64>(0) > 0).await;
    };
    let (seen, stored) = futures_util::join!(follow(), async {
        looked(SystemTime::UNIX_EPOCH).await;
        far.append(&other, &["from another node"]).await
    });
    assert_eq!((seen, stored), (vec!["from another node".to_owned()], Ok(())));
    let writer = node.beside().await;
    writer.batch_execute("BEGIN; SELECT pg_current_xact_id()").await.unwrap();
    far.append(&other, &["held back"]).await.unwrap();
    let stored = watcher.query_one("SELECT clock_timestamp()", &[]).await.unwrap().get(0);
    let (seen, ()) = futures_util::join!(follow(), async {
        looked(stored).await; // and found it, and not what it is
        writer.batch_execute("COMMIT").await.unwrap();
    });
    assert_eq!(seen, ["held back"]);
}

/// Many nodes, some commits slow: whoever reads all the while sees each event once and those of an entity in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_beside_many_slow_writers_miss_nothing() {
    const ENTITIES: usize = 12;
    const EVENTS: usize = 25;
    let node = Alone::new(|options| options).await;
    let nodes = [node.store.clone(), open(node.options.clone()).await, open(node.options.clone()).await];
    let write = async |n: usize| {
        let store = &nodes[n % nodes.len()];
        let mut entity = Entity::claim(store, &n.to_string()).await;
        for event in 0..EVENTS {
            entity.append(store, &[format!("{n}.{event}")]).await.unwrap();
        }
    };
    let hold = async {
        let client = node.beside().await;
        for _ in 0..30 {
            client.batch_execute("BEGIN; SELECT pg_current_xact_id(); SELECT pg_sleep(0.02); COMMIT").await.unwrap();
        }
    };
    let read = async {
        let (mut after, mut seen) = (Offset::START, Vec::new());
        while seen.len() < ENTITIES * EVENTS {
            let page = node.page(after).await;
            seen.extend(texts(&page));
            after = page.read_to;
        }
        seen
    };
    let read = soon("all is read", read);
    let (_, (), seen) = futures_util::join!(join_all((0..ENTITIES).map(write)), hold, read);
    for n in 0..ENTITIES {
        let prefix = format!("{n}.");
        let of_entity: Vec<_> = seen.iter().filter(|text| text.starts_with(&prefix)).cloned().collect();
        assert_eq!(of_entity, (0..EVENTS).map(|event| format!("{n}.{event}")).collect::<Vec<_>>());
    }
}

/// After a move to another server, where transaction ids are lower: readers go on where they were and miss nothing.
#[tokio::test]
async fn feeds_go_on_after_a_move_to_another_server() {
    let node = Alone::new(|options| options).await;
    let mut entity = Entity::claim(&node.store, "moved").await;
    entity.append(&node.store, &["before"]).await.unwrap();
    node.store.close().await;
    let database = node.options.url.rsplit('/').next().unwrap();
    // As if the transactions had been those of a server that had done much more.
    node.server
        .sql(
            database,
            "UPDATE cloudstate.journal SET tx = '999999999';
             UPDATE cloudstate.meta SET value = '42' WHERE key = 'system_identifier'",
        )
        .unwrap();
    let refused = PostgresStore::open(node.options.clone(), Clock::tokio()).await.map(drop).unwrap_err();
    assert!(refused.to_string().contains("cloudstate store adopt"), "{refused}");
    assert_eq!(PostgresStore::adopt(node.options.clone(), Clock::tokio()).await.unwrap(), 2);
    assert_eq!(PostgresStore::adopt(node.options.clone(), Clock::tokio()).await.unwrap(), 2, "again changes nothing");
    let node = Alone { store: open(node.options.clone()).await, ..node };
    let first = node.page(Offset::START).await;
    assert_eq!(texts(&first), ["before"]);
    entity.append(&node.store, &["after"]).await.unwrap();
    let second = page(&node.store, &FeedQuery::of("test"), first.read_to, 1).await;
    assert_eq!(texts(&second), ["after"]);
    assert_eq!((second.read_to.generation(), first.read_to.generation()), (2, 1));
    for foreign in [Offset::of_ordering(17), Offset::new(3, 1, 1)] {
        let refused = EventFeed::page(&node.store, FeedQuery::of("test"), foreign, ReplayLimit::default()).await;
        assert_eq!(refused, Err(JournalError::ForeignOffset { offset: foreign }));
    }
}
