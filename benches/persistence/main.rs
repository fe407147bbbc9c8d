//! What durable storage costs, each figure beside its floor in the same run: the same work by hand on the same database.
//!
//! `cargo bench -p benches --bench persistence -- --help` lists the flags. Parts: *append* (durable events a second at 1,
//! 16 and 512 writers), *replay* (100 and 10,000 events of one entity), *open* (a large store: bytes on disk an event, how
//! long it takes to open, closed well or not, and its feed, all events in commit order), *project* (a table kept by a
//! projection, exactly once) and *start* (an entity from a snapshot).

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    missing_docs,
    unreachable_pub,
    reason = "a program whose tables are for the terminal"
)]

mod append;
mod args;
mod floor;
mod large;
mod postgres_floor;
mod project;
mod reads;
mod start;
mod writers;

use args::{Args, Part, Store};
use persistence::testkit::{PostgresServer, PostgresServerOptions};
use tempfile::TempDir;

fn main() -> anyhow::Result<()> {
    let args = Args::parse()?;
    let runtime = benches::runtime();
    let needs_server = args.stores.contains(&Store::Postgres);
    // Durable, and with room for what a large store writes between two checkpoints.
    let settings = vec!["max_wal_size=4GB".to_owned(), "shared_buffers=256MB".to_owned()];
    let server = needs_server.then(|| PostgresServer::start(&PostgresServerOptions { fsync: true, settings }));
    let server = server.transpose()?;
    for part in &args.parts {
        for store in &args.stores {
            runtime.block_on(run(*part, *store, &args, server.as_ref()))?;
        }
        println!();
    }
    Ok(())
}

async fn run(part: Part, store: Store, args: &Args, server: Option<&PostgresServer>) -> anyhow::Result<()> {
    match (part, store, server) {
        (Part::Append, Store::Sqlite, _) => append::sqlite(args).await,
        (Part::Append, Store::Postgres, Some(server)) => append::postgres(args, server).await,
        (Part::Replay, Store::Sqlite, _) => reads::sqlite(args).await,
        (Part::Replay, Store::Postgres, Some(server)) => reads::postgres(args, server).await,
        (Part::Open, Store::Sqlite, _) => large::sqlite(args).await,
        (Part::Open, Store::Postgres, Some(server)) => large::postgres(args, server).await,
        (Part::Project, Store::Sqlite, _) => project::sqlite(args).await,
        (Part::Project, Store::Postgres, Some(server)) => project::postgres(args, server).await,
        (Part::Start, Store::Sqlite, _) => start::sqlite(args).await,
        (Part::Start, Store::Postgres, Some(server)) => start::postgres(args, server).await,
        (_, Store::Postgres, None) => unreachable!("it is started where it is needed"),
    }
}

/// On the disk the target folder is on: a temporary folder may be memory.
fn folder() -> anyhow::Result<TempDir> {
    std::fs::create_dir_all(env!("CARGO_TARGET_TMPDIR"))?;
    Ok(TempDir::with_prefix_in("persistence-", env!("CARGO_TARGET_TMPDIR"))?)
}

/// The middle one.
fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of.get(of.len() / 2).copied().unwrap_or(f64::NAN)
}
