//! A server that is still the same and has lost commits: restored to an earlier moment, or promoted while it lagged behind.

use crate::{
    postgres_server::{open, page, until},
    store::{Entity, recover},
};
use actors::Clock;
use persistence::{
    EventFeed, FeedEvent, FeedQuery, JournalError, Offset, PostgresOptions, PostgresStore, RawEvent, ReplayLimit,
    testkit::{PostgresServer, PostgresServerOptions},
};
use std::{path::Path, process::Command};

async fn shown(store: &PostgresStore, after: Offset, count: usize) -> Vec<FeedEvent<RawEvent>> {
    page(store, &FeedQuery::of("test"), after, count).await.events
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(copied.success());
}

/// Ends recovery as a fail-over does: with a timeline of its own.
async fn promote(server: &PostgresServer, database: &str) {
    server.add_file("standby.signal", "").unwrap();
    server.restart().unwrap();
    server.sql(database, "SELECT pg_promote()").unwrap();
    until("it is promoted", async || server.sql(database, "SELECT pg_is_in_recovery()").unwrap() == "f").await;
}

async fn started() -> PostgresServer {
    let start = || PostgresServer::start(&PostgresServerOptions::default()).unwrap();
    tokio::task::spawn_blocking(start).await.unwrap()
}

/// What was acknowledged is gone, and its transaction ids are given out again. A reader that remembers more than the server
/// is told so, and once the store was adopted, what comes is after all that it has read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_ahead_of_a_server_that_was_set_back_miss_nothing_once_it_is_adopted() {
    let server = started().await;
    let database = server.create_database().unwrap();
    let options = PostgresOptions::new(&server.url(&database));
    let store = open(options.clone()).await;
    let mut entity = Entity::claim(&store, "1").await;
    entity.append(&store, &["kept"]).await.unwrap();
    store.close().await;
    server.kill();
    let (data, kept) = (server.data(), server.data().with_extension("kept"));
    copy(&data, &kept);
    server.restart().unwrap();
    let store = open(options.clone()).await;
    entity = Entity::claim(&store, "1").await;
    for _ in 0..20 {
        entity.append(&store, &["lost"]).await.unwrap();
    }
    let read = shown(&store, Offset::START, 21).await[20].offset;
    store.close().await;

    server.kill();
    std::fs::remove_dir_all(&data).unwrap();
    copy(&kept, &data);
    promote(&server, &database).await;
    let store = open(options.clone()).await;
    assert_eq!(recover(&store, &entity.id).await.unwrap().highest, 1);
    let ahead = store.page(FeedQuery::of("test"), read, ReplayLimit::default()).await.unwrap_err();
    assert_eq!(ahead, JournalError::ForeignOffset { offset: read }, "no silence: nothing was stored there yet");
    assert!(ahead.is_permanent());
    store.close().await;

    assert_eq!(PostgresStore::adopt(options.clone(), Clock::tokio()).await.unwrap(), 2);
    let store = open(options.clone()).await;
    entity = Entity::claim(&store, "1").await;
    entity.append(&store, &["new"]).await.unwrap();
    let found = shown(&store, read, 1).await;
    assert_eq!(found.iter().map(|event| event.stored.event.payload.clone()).collect::<Vec<_>>(), ["new"]);
    assert!(found[0].offset.tx() <= read.tx(), "ids are given out again: {} and {read}", found[0].offset);
    store.close().await;
    assert_eq!(PostgresStore::adopt(options, Clock::tokio()).await.unwrap(), 2, "once is enough");
}

/// A fail-over that loses nothing asks nothing of anybody: readers go on where they were.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_promotion_without_loss_is_no_move() {
    let server = started().await;
    let database = server.create_database().unwrap();
    let options = PostgresOptions::new(&server.url(&database));
    let store = open(options.clone()).await;
    let mut entity = Entity::claim(&store, "1").await;
    entity.append(&store, &["a"]).await.unwrap();
    let read = shown(&store, Offset::START, 1).await[0].offset;
    store.close().await;
    promote(&server, &database).await;
    let store = open(options).await;
    entity.append(&store, &["b"]).await.unwrap();
    let found = shown(&store, read, 1).await;
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].offset.generation(), found[0].stored.seq_nr), (1, 2));
    store.close().await;
    assert_eq!(server.sql(&database, "SELECT value FROM cloudstate.meta WHERE key = 'timeline'").unwrap(), "1");
}
