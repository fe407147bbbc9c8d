//! Durable appends: events a second, each acknowledged before its writer's next.

use actors::Clock;
use persistence::{PostgresOptions, PostgresStore, SqliteOptions, SqliteStore, testkit::PostgresServer};

use crate::{args::Args, floor::Floor, folder, median, postgres_floor::PostgresFloor, writers::Writers};

pub async fn sqlite(args: &Args) -> anyhow::Result<()> {
    for &writers in &args.writers {
        let (here, there) = (folder()?, folder()?);
        let floor = Floor::open(there.path())?;
        let store = SqliteStore::open(here.path(), SqliteOptions::default())?;
        let mut ours = Writers::new(store.clone(), writers, args.payload).await?;
        let (mut floors, mut rates) = (Vec::new(), Vec::new());
        for round in 0..args.rounds {
            let from = round as i64 * 10_000_000;
            floors.push(floor.write_for(writers, args.payload, from + 1, args.time).await?);
            rates.push(ours.write_for(args.time).await?);
        }
        let per_batch = store.events() as f64 / store.batches() as f64;
        print("sqlite", writers, floors, rates, &format!("{per_batch:.1} events a commit"));
        store.close().await;
    }
    Ok(())
}

pub async fn postgres(args: &Args, server: &PostgresServer) -> anyhow::Result<()> {
    for &writers in &args.writers {
        let floor = PostgresFloor::open(&server.url(&server.create_database()?)).await?;
        let options = PostgresOptions::new(&server.url(&server.create_database()?));
        let store = PostgresStore::open(options, Clock::tokio()).await?;
        let mut ours = Writers::new(store.clone(), writers, args.payload).await?;
        let (mut floors, mut rates) = (Vec::new(), Vec::new());
        for round in 0..args.rounds {
            let from = round as i64 * 10_000_000;
            floors.push(floor.write_for(writers, args.payload, from + 1, args.time).await?);
            rates.push(ours.write_for(args.time).await?);
        }
        let per_batch = store.events() as f64 / store.batches() as f64;
        print("postgres", writers, floors, rates, &format!("{per_batch:.1} events a commit"));
        store.close().await;
    }
    Ok(())
}

fn print(store: &str, writers: usize, floors: Vec<f64>, rates: Vec<f64>, beside: &str) {
    let ratios = rates.iter().zip(&floors).map(|(ours, floor)| ours / floor).collect();
    let (ours, floor, ratio) = (median(rates), median(floors), median(ratios));
    println!(
        "append   {store:<8} {writers:>4} writing {ours:>9.0} events/s   floor {floor:>9.0}   ours/floor {ratio:.2}   {beside}"
    );
}
