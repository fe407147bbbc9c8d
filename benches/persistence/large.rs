//! A large store: how long it takes to open, closed well or not, what an event weighs on disk, and reading all of it.

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use actors::Clock;
use persistence::{
    Durability, EventFeed, FeedQuery, Offset, PostgresOptions, PostgresStore, RawEvent, ReplayLimit, SqliteOptions,
    SqliteStore, testkit::PostgresServer,
};
use rusqlite::Connection;

use crate::{
    args::Args,
    floor, folder, postgres_floor,
    reads::opening,
    writers::{TYPE, Writers},
};

const ENTITIES: u64 = 10_000;
/// Events a page of the feed.
const PAGE: usize = 1_000;

pub async fn sqlite(args: &Args) -> anyhow::Result<()> {
    let folder = folder()?;
    // Filled without waiting for the disk; opened with it.
    let quick = SqliteOptions { durability: Durability::Os, ..SqliteOptions::default() };
    let store = SqliteStore::open(folder.path(), quick)?;
    let each = args.events / ENTITIES;
    Writers::new(store.clone(), ENTITIES as usize, args.payload).await?.fill(each).await?;
    let events = store.events();

    // As a process leaves it that is killed: with its log.
    let killed = crate::folder()?;
    for name in ["store.db", "store.db-wal"] {
        fs::copy(folder.path().join(name), killed.path().join(name))?;
    }
    let log = fs::metadata(killed.path().join("store.db-wal"))?.len();
    store.close().await;
    let bytes = fs::metadata(folder.path().join("store.db"))?.len();
    println!(
        "bytes    sqlite   {:>6.1} bytes an event on disk, of which {} are payload ({events} events)",
        bytes as f64 / events as f64,
        args.payload
    );
    let after_kill = opening(killed.path()).await?.as_secs_f64() * 1e3;
    let after_close = opening(folder.path()).await?.as_secs_f64() * 1e3;
    println!(
        "open     sqlite   {after_close:>6.1} ms after a close, {after_kill:.1} ms after a kill with {:.1} MiB of log ({events} events)",
        log as f64 / f64::from(1 << 20)
    );

    let store = SqliteStore::open(folder.path(), SqliteOptions::default())?;
    let db = Arc::new(Mutex::new(floor::connect(store.path())?));
    feeds("sqlite", args, &store, events, async || feed_by_hand(&db).await).await?;
    store.close().await;
    Ok(())
}

async fn feed_by_hand(db: &Arc<Mutex<Connection>>) -> anyhow::Result<u64> {
    let (mut count, mut after) = (0, 0);
    loop {
        let db = Arc::clone(db);
        let page = move || floor::feed(&db.lock().expect("nobody panics"), after, PAGE as i64);
        let page = tokio::task::spawn_blocking(page).await??;
        count += page.len() as u64;
        match page.last() {
            Some(last) => after = last.0,
            None => return Ok(count),
        }
    }
}

/// As [`sqlite`]; how long opening takes is the server's affair.
pub async fn postgres(args: &Args, server: &PostgresServer) -> anyhow::Result<()> {
    let url = server.url(&server.create_database()?);
    let store = PostgresStore::open(PostgresOptions::new(&url), Clock::tokio()).await?;
    let each = args.events / ENTITIES;
    Writers::new(store.clone(), ENTITIES as usize, args.payload).await?.fill(each).await?;
    let events = each * ENTITIES;
    let client = postgres_floor::connect(&url).await?;
    client.batch_execute("VACUUM ANALYZE cloudstate.journal").await?;
    let size = client.query_one("SELECT pg_total_relation_size('cloudstate.journal')", &[]).await?;
    println!(
        "bytes    postgres {:>6.1} bytes an event on disk, of which {} are payload ({events} events)",
        size.get::<_, i64>(0) as f64 / events as f64,
        args.payload
    );
    let query = postgres_floor::prepare_feed(&client).await?;
    let by_hand = async || {
        let (mut found, mut after) = (0, (0_i64, 0_i64));
        loop {
            let page = postgres_floor::feed(&client, &query, after, PAGE as i64).await?;
            found += page.len() as u64;
            match page.last() {
                Some(last) => after = last.0,
                None => return Ok(found),
            }
        }
    };
    feeds("postgres", args, &store, events, by_hand).await?;
    store.close().await;
    Ok(())
}

/// All events by hand and through the store's feed, in turns.
async fn feeds(
    name: &str,
    args: &Args,
    store: &impl EventFeed<RawEvent>,
    events: u64,
    by_hand: impl AsyncFn() -> anyhow::Result<u64>,
) -> anyhow::Result<()> {
    for _ in 0..args.rounds.min(3) {
        let started = Instant::now();
        let found = by_hand().await?;
        let floor = found as f64 / started.elapsed().as_secs_f64();
        anyhow::ensure!(found == events, "the floor found {found} of {events} events");
        let started = Instant::now();
        let found = feed(store).await?;
        let ours = found as f64 / started.elapsed().as_secs_f64();
        anyhow::ensure!(found == events, "the feed had {found} of {events} events");
        println!(
            "feed     {name:<8} {ours:>9.0} events/s   by hand {floor:>9.0}   ours/floor {:.2}   pages of {PAGE}",
            ours / floor
        );
    }
    Ok(())
}

async fn feed(store: &impl EventFeed<RawEvent>) -> anyhow::Result<u64> {
    let limit = ReplayLimit { events: PAGE, bytes: usize::MAX };
    let (mut count, mut after) = (0, Offset::START);
    loop {
        let page = store.page(FeedQuery::of(TYPE), after, limit).await?;
        count += page.events.len() as u64;
        after = page.read_to;
        if page.read_to >= page.end {
            return Ok(count);
        }
    }
}
