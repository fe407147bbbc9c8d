//! A large store: how long it takes to open, closed well or not, what an event weighs on disk, and reading all of it.

use std::fs;
use std::time::Instant;

use persistence::{Durability, EventFeed, FeedQuery, Offset, ReplayLimit, SqliteOptions, SqliteStore};

use crate::{
    args::Args,
    floor, folder,
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
    let db = floor::connect(store.path())?;
    for _ in 0..args.rounds.min(3) {
        let started = Instant::now();
        let found = floor::feed(&db, PAGE as i64)?;
        let floor = found as f64 / started.elapsed().as_secs_f64();
        anyhow::ensure!(found == events, "the floor found {found} of {events} events");
        let started = Instant::now();
        let found = feed(&store).await?;
        let ours = found as f64 / started.elapsed().as_secs_f64();
        anyhow::ensure!(found == events, "the feed had {found} of {events} events");
        println!(
            "feed     sqlite   {ours:>9.0} events/s   bare query {floor:>9.0}   ours/floor {:.2}   pages of {PAGE}",
            ours / floor
        );
    }
    store.close().await;
    Ok(())
}

async fn feed(store: &SqliteStore) -> anyhow::Result<u64> {
    let limit = ReplayLimit { events: PAGE, bytes: usize::MAX };
    let (mut count, mut after) = (0, Offset::START);
    loop {
        let page = EventFeed::page(store, FeedQuery::of(TYPE), after, limit).await?;
        count += page.events.len() as u64;
        after = page.read_to;
        if page.read_to >= page.end {
            return Ok(count);
        }
    }
}
