//! A projection that writes each event into a table, in the transaction that moves its offset, beside the same by hand.

use std::time::{Duration, Instant};

use actors::{ActorSystem, Clock};
use persistence::{
    FeedEvent, FeedQuery, PostgresOptions, PostgresStore, Projection, ProjectionSettings, Projections, RawEvent,
    SqliteOptions, SqliteReadModel, SqliteStore, testkit::PostgresServer,
};
use rusqlite::{Connection, Transaction, params};

use crate::{
    args::Args,
    floor, folder, postgres_floor,
    writers::{TYPE, Writers},
};

const ENTITIES: usize = 100;
const TABLES: &str = "
CREATE TABLE IF NOT EXISTS total(entity TEXT PRIMARY KEY, events BIGINT NOT NULL, bytes BIGINT NOT NULL);
CREATE TABLE IF NOT EXISTS place(name TEXT PRIMARY KEY, tx BIGINT NOT NULL, ordering BIGINT NOT NULL);";
const LONG: Duration = Duration::from_secs(600);

fn each(args: &Args) -> u64 {
    (args.events / 20 / ENTITIES as u64).max(10)
}

pub async fn sqlite(args: &Args) -> anyhow::Result<()> {
    let folder = folder()?;
    let store = SqliteStore::open(folder.path(), SqliteOptions::default())?;
    let each = each(args);
    Writers::new(store.clone(), ENTITIES, args.payload).await?.fill(each).await?;
    let events = each * ENTITIES as u64;
    for round in 0..args.rounds.min(3) {
        let by_hand = folder.path().join(format!("by-hand-{round}.db"));
        let model = floor::connect(&by_hand)?;
        model.execute_batch(TABLES)?;
        let feed = floor::connect(store.path())?;
        let floor = tokio::task::spawn_blocking(move || by_hand_sqlite(&feed, model)).await??;
        let model =
            SqliteReadModel::open(folder.path().join(format!("model-{round}.db")), |db| db.execute_batch(TABLES))?;
        let system = ActorSystem::new("project");
        let started = Instant::now();
        let projection = Projection::<FeedEvent<RawEvent>>::events("total", store.clone(), FeedQuery::of(TYPE))
            .exactly_once(&model, |db, event| Ok(add(db, event.id.as_str(), event.stored.event.payload.len())?));
        let running = Projections::spawn(&system, projection, 1);
        for entity in 0..ENTITIES {
            running.wait_until(&Writers::<SqliteStore>::id(entity), each, LONG).await?;
        }
        let took = started.elapsed();
        let count = |db: &Connection| db.query_row("SELECT sum(events) FROM total", (), |row| row.get::<_, i64>(0));
        let found = model.read(count).await? as u64;
        anyhow::ensure!(found == events, "{found} of {events} events were projected");
        print("sqlite", events, took, floor);
        system.terminate().await;
    }
    store.close().await;
    Ok(())
}

fn add(db: &Transaction<'_>, entity: &str, bytes: usize) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO total(entity, events, bytes) VALUES (?1, 1, ?2)
         ON CONFLICT DO UPDATE SET events = events + 1, bytes = bytes + excluded.bytes",
    )?
    .execute(params![entity, bytes as i64])?;
    Ok(())
}

/// Pages and transactions as large as a projection's.
fn by_hand_sqlite(feed: &Connection, mut model: Connection) -> rusqlite::Result<Duration> {
    let settings = ProjectionSettings::default();
    let started = Instant::now();
    let mut after = 0;
    loop {
        let page = floor::feed(feed, after, settings.read_ahead as i64)?;
        let Some(last) = page.last() else { return Ok(started.elapsed()) };
        after = last.0;
        for events in page.chunks(settings.transaction_max) {
            let db = model.transaction()?;
            for (_, entity, event) in events {
                add(&db, entity, event.4.len())?;
            }
            let ordering = events.last().map_or(0, |last| last.0);
            db.prepare_cached(
                "INSERT INTO place VALUES ('total', 0, ?1) ON CONFLICT DO UPDATE SET ordering = excluded.ordering",
            )?
            .execute([ordering])?;
            db.commit()?;
        }
    }
}

pub async fn postgres(args: &Args, server: &PostgresServer) -> anyhow::Result<()> {
    let each = each(args);
    let events = each * ENTITIES as u64;
    let url = server.url(&server.create_database()?);
    let store = PostgresStore::open(PostgresOptions::new(&url), Clock::tokio()).await?;
    Writers::new(store.clone(), ENTITIES, args.payload).await?.fill(each).await?;
    for round in 0..args.rounds.min(3) {
        let mut client = postgres_floor::connect(&url).await?;
        client.batch_execute("DROP TABLE IF EXISTS total, place").await?;
        client.batch_execute(TABLES).await?;
        let floor = by_hand_postgres(&mut client).await?;
        client.batch_execute("DELETE FROM total").await?;
        let system = ActorSystem::new("project");
        let started = Instant::now();
        let name = format!("total-{round}");
        let projection = Projection::<FeedEvent<RawEvent>>::events(name, store.clone(), FeedQuery::of(TYPE))
            .exactly_once_postgres(&store, |db, event| {
                Box::pin(async move {
                    db.execute(ADD, &[&event.id.as_str(), &(event.stored.event.payload.len() as i64)]).await?;
                    Ok(())
                })
            });
        let running = Projections::spawn(&system, projection, 1);
        for entity in 0..ENTITIES {
            running.wait_until(&Writers::<PostgresStore>::id(entity), each, LONG).await?;
        }
        let took = started.elapsed();
        let found = client.query_one("SELECT sum(events)::bigint FROM total", &[]).await?.get::<_, i64>(0) as u64;
        anyhow::ensure!(found == events, "{found} of {events} events were projected");
        print("postgres", events, took, floor);
        system.terminate().await;
    }
    store.close().await;
    Ok(())
}

const ADD: &str = "INSERT INTO total AS t (entity, events, bytes) VALUES ($1, 1, $2)
     ON CONFLICT (entity) DO UPDATE SET events = t.events + 1, bytes = t.bytes + excluded.bytes";

/// Each statement by its text, as a handler sends it.
async fn by_hand_postgres(client: &mut tokio_postgres::Client) -> anyhow::Result<Duration> {
    let settings = ProjectionSettings::default();
    let query = postgres_floor::prepare_feed(client).await?;
    let started = Instant::now();
    let mut after = (0, 0);
    loop {
        let page = postgres_floor::feed(client, &query, after, settings.read_ahead as i64).await?;
        let Some(last) = page.last() else { return Ok(started.elapsed()) };
        after = last.0;
        for events in page.chunks(settings.transaction_max) {
            let db = client.transaction().await?;
            for (_, entity, event) in events {
                db.execute(ADD, &[entity, &(event.4.len() as i64)]).await?;
            }
            let (tx, ordering) = events.last().map_or((0, 0), |last| last.0);
            db.execute(
                "INSERT INTO place VALUES ('total', $1, $2)
                 ON CONFLICT (name) DO UPDATE SET tx = excluded.tx, ordering = excluded.ordering",
                &[&tx, &ordering],
            )
            .await?;
            db.commit().await?;
        }
    }
}

fn print(store: &str, events: u64, took: Duration, floor: Duration) {
    let rate = |took: Duration| events as f64 / took.as_secs_f64();
    println!(
        "project  {store:<8} {:>9.0} events/s   by hand {:>9.0}   ours/floor {:.2}",
        rate(took),
        rate(floor),
        floor.as_secs_f64() / took.as_secs_f64()
    );
}
