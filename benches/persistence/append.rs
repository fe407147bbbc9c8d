//! Durable appends: events a second, each acknowledged before its writer's next.

use actors::Clock;
use persistence::{
    Journal, PostgresOptions, PostgresStore, RawEvent, SqliteOptions, SqliteStore, testkit::PostgresServer,
};

use crate::{args::Args, floor::Floor, folder, median, postgres_floor::PostgresFloor, writers::Writers};

pub async fn sqlite(args: &Args) -> anyhow::Result<()> {
    for &writers in &args.writers {
        let (here, there) = (folder()?, folder()?);
        let floor = Floor::open(there.path())?;
        let store = SqliteStore::open(here.path(), SqliteOptions::default())?;
        let by_hand = async |from| floor.write_for(writers, args.payload, from, args.time).await;
        let (floors, rates) = measure(args, writers, store.clone(), by_hand).await?;
        print("sqlite", writers, floors, rates, &format!("{:.1}", store.events() as f64 / store.batches() as f64));
        store.close().await;
    }
    Ok(())
}

pub async fn postgres(args: &Args, server: &PostgresServer) -> anyhow::Result<()> {
    for &writers in &args.writers {
        let floor = PostgresFloor::open(&server.url(&server.create_database()?)).await?;
        let options = PostgresOptions::new(&server.url(&server.create_database()?));
        let store = PostgresStore::open(options, Clock::tokio()).await?;
        let by_hand = async |from| floor.write_for(writers, args.payload, from, args.time).await;
        let (floors, rates) = measure(args, writers, store.clone(), by_hand).await?;
        let per_commit = store.events() as f64 / store.batches() as f64;
        let commits = format!("{per_commit:.1} and by hand {:.1}", floor.per_commit());
        print("postgres", writers, floors, rates, &commits);
        store.close().await;
    }
    Ok(())
}

/// Rates by hand, beginning with the number given, and rates of `store`, round by round.
async fn measure(
    args: &Args,
    writers: usize,
    store: impl Journal<RawEvent>,
    by_hand: impl AsyncFn(i64) -> anyhow::Result<f64>,
) -> anyhow::Result<(Vec<f64>, Vec<f64>)> {
    let mut ours = Writers::new(store, writers, args.payload).await?;
    let (mut floors, mut rates) = (Vec::new(), Vec::new());
    for round in 0..args.rounds {
        floors.push(by_hand(round as i64 * 10_000_000 + 1).await?);
        rates.push(ours.write_for(args.time).await?);
    }
    Ok((floors, rates))
}

fn print(store: &str, writers: usize, floors: Vec<f64>, rates: Vec<f64>, per_commit: &str) {
    let ratios = rates.iter().zip(&floors).map(|(ours, floor)| ours / floor).collect();
    let (ours, floor, ratio) = (median(rates), median(floors), median(ratios));
    println!(
        "append   {store:<8} {writers:>4} writing {ours:>9.0} events/s   floor {floor:>9.0}   ours/floor {ratio:.2}   {per_commit} events a commit"
    );
}
