//! Replays of one entity, beside the same pages read by hand: on SQLite by a thread that may block, as ours are.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use actors::Clock;
use persistence::{
    Journal, PersistenceId, PostgresOptions, PostgresStore, RawEvent, ReplayLimit, SqliteOptions, SqliteStore,
    testkit::PostgresServer,
};
use rusqlite::Connection;

use crate::{
    args::Args,
    floor, folder, median, postgres_floor,
    writers::{TYPE, Writers},
};

/// Events of the entities replayed, and how many entities there are of each.
const SIZES: [(u64, usize); 2] = [(100, 200), (10_000, 10)];

pub async fn sqlite(args: &Args) -> anyhow::Result<()> {
    for (events, entities) in SIZES {
        let folder = folder()?;
        let store = SqliteStore::open(folder.path(), SqliteOptions::default())?;
        Writers::new(store.clone(), entities, args.payload).await?.fill(events).await?;
        let db = Arc::new(Mutex::new(floor::connect(store.path())?));
        let (mut ours, mut floors) = (Vec::new(), Vec::new());
        for _ in 0..args.rounds {
            for entity in 0..entities {
                floors.push(replay_by_hand(&db, entity, events).await?);
                ours.push(replay(&store, entity, events).await?);
            }
        }
        print("sqlite", events, ours, floors);
        store.close().await;
    }
    Ok(())
}

pub async fn postgres(args: &Args, server: &PostgresServer) -> anyhow::Result<()> {
    for (events, entities) in SIZES {
        let url = server.url(&server.create_database()?);
        let store = PostgresStore::open(PostgresOptions::new(&url), Clock::tokio()).await?;
        Writers::new(store.clone(), entities, args.payload).await?.fill(events).await?;
        let client = postgres_floor::connect(&url).await?;
        let query = client
            .prepare(
                "SELECT seq_nr, epoch, time_ms, manifest, payload FROM cloudstate.journal
                 WHERE persistence_id = $1 AND seq_nr > $2 ORDER BY seq_nr LIMIT $3",
            )
            .await?;
        let page = ReplayLimit::default().events as i64;
        let (mut ours, mut floors) = (Vec::new(), Vec::new());
        for _ in 0..args.rounds {
            for entity in 0..entities {
                let started = Instant::now();
                let (id, mut read) = (format!("{TYPE}|{entity}"), 0);
                while read < events as i64 {
                    let rows = client.query(&query, &[&id, &read, &page]).await?;
                    let found: Vec<(i64, i64, i64, String, Vec<u8>)> =
                        rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3), row.get(4))).collect();
                    read = found.last().map_or(i64::MAX, |last| last.0);
                }
                assert_eq!(read as u64, events);
                floors.push(started.elapsed().as_secs_f64() * 1e6);
                ours.push(replay(&store, entity, events).await?);
            }
        }
        print("postgres", events, ours, floors);
        store.close().await;
    }
    Ok(())
}

/// Microseconds, page by page, as an entity recovers.
async fn replay(store: &impl Journal<RawEvent>, entity: usize, events: u64) -> anyhow::Result<f64> {
    let id = PersistenceId::of(TYPE, &entity.to_string());
    let started = Instant::now();
    let mut next = 1;
    while next <= events {
        let page = store.replay(id.clone(), next, u64::MAX, ReplayLimit::default()).await?;
        next = page.last().map_or(u64::MAX, |last| last.seq_nr) + 1;
    }
    assert_eq!(next, events + 1);
    Ok(started.elapsed().as_secs_f64() * 1e6)
}

/// As an async program does it that may not block.
async fn replay_by_hand(db: &Arc<Mutex<Connection>>, entity: usize, events: u64) -> anyhow::Result<f64> {
    let started = Instant::now();
    let mut read = 0;
    while read < events {
        let db = Arc::clone(db);
        let page = ReplayLimit::default().events;
        let events = tokio::task::spawn_blocking(move || {
            let db = db.lock().expect("nobody panics");
            floor::replay(&db, entity, read, page)
        });
        read = events.await??.last().map_or(u64::MAX, |last| last.0 as u64);
    }
    assert_eq!(read, events);
    Ok(started.elapsed().as_secs_f64() * 1e6)
}

pub fn micros(work: impl FnOnce() -> rusqlite::Result<()>) -> rusqlite::Result<f64> {
    let started = Instant::now();
    work()?;
    Ok(started.elapsed().as_secs_f64() * 1e6)
}

/// How long `SqliteStore::open` takes, and then to close it.
pub async fn opening(folder: &Path) -> anyhow::Result<Duration> {
    let started = Instant::now();
    let store = SqliteStore::open(folder, SqliteOptions::default())?;
    let took = started.elapsed();
    store.close().await;
    Ok(took)
}

fn print(store: &str, events: u64, ours: Vec<f64>, floors: Vec<f64>) {
    let (ours, floor) = (median(ours), median(floors));
    let rate = floor / ours;
    println!("replay   {store:<8} {events:>6} events {ours:>9.0} us   by hand {floor:>9.0} us   as fast {rate:.2}");
}
