//! Crashes real stores in real processes, over and over, and looks at what is left. `scripts/crash` runs all of it.
//!
//! `crash sqlite kill` ends a writer by `kill -9`. `crash sqlite power` has the store on an ext4 file system of its own,
//! on a loop device, and shuts that down while the writer runs, so that what was not synced is gone; it needs root.
//! `crash postgres kill` and `crash postgres server` end the writer or the whole server, `crash two-writers` stops an owner
//! across a take-over. `--teeth` weakens what makes the promise true and succeeds only if that is found out.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a program, with real processes and real time")]

mod loop_disk;
mod postgres;
mod sqlite;
mod two_writers;

use clap::{Args, Parser, Subcommand, ValueEnum};
use persistence::{
    Durability,
    testkit::{CrashPlan, CrashSubject, TakeOverPlan, TakeOvers, Tally, crash_rounds, take_overs},
};
use std::{path::PathBuf, process::ExitCode, time::Instant};

#[derive(Parser)]
#[command(about = "Crashes real stores in real processes, over and over, and looks at what is left")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// SQLite.
    Sqlite {
        /// How it ends.
        by: SqliteCrash,
        #[command(flatten)]
        rounds: Rounds,
    },
    /// PostgreSQL, on a server of its own.
    Postgres {
        /// What is killed.
        by: PostgresCrash,
        #[command(flatten)]
        rounds: Rounds,
    },
    /// Two processes that both take themselves for the owner of an entity.
    TwoWriters {
        /// Where they write.
        store: Store,
        #[command(flatten)]
        rounds: Rounds,
    },
    /// Not for hands: the process that gets crashed.
    #[command(hide = true)]
    Writer {
        #[command(subcommand)]
        store: WriterStore,
    },
    /// Not for hands: the process that is stopped and goes on too late.
    #[command(hide = true)]
    Late {
        #[command(subcommand)]
        store: WriterStore,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum PostgresCrash {
    /// The writer, by `kill -9`.
    Kill,
    /// Every process of the server, by `kill -9`.
    Server,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Store {
    Sqlite,
    Postgres,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SqliteCrash {
    /// `kill -9` of the writer.
    Kill,
    /// The file system is shut down under it.
    Power,
}

#[derive(Subcommand)]
enum WriterStore {
    Sqlite {
        folder: PathBuf,
        #[arg(long)]
        os: bool,
    },
    Postgres {
        url: String,
        #[arg(long)]
        os: bool,
    },
}

#[derive(Args, Clone)]
struct Rounds {
    /// Crashes.
    #[arg(long, default_value_t = 500)]
    rounds: u32,
    /// Of all draws.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Acknowledgements after which a writer is crashed at most.
    #[arg(long, default_value_t = 120)]
    acknowledgements: u32,
    /// Weakens durability, and succeeds if the loss is found.
    #[arg(long)]
    teeth: bool,
    /// An empty folder to work in; a temporary one without it.
    #[arg(long)]
    folder: Option<PathBuf>,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Sqlite { by, rounds } => sqlite_rounds(by, &rounds).await,
        Command::Postgres { by, rounds } => postgres_rounds(by, &rounds).await,
        Command::TwoWriters { store, rounds } => two_writers_rounds(store, &rounds).await,
        Command::Writer { store: WriterStore::Sqlite { folder, os } } => sqlite::write(&folder, durability(os)).await,
        Command::Writer { store: WriterStore::Postgres { url, os } } => postgres::write(&url, durability(os)).await,
        Command::Late { store: WriterStore::Sqlite { folder, .. } } => two_writers::late_sqlite(&folder).await,
        Command::Late { store: WriterStore::Postgres { url, .. } } => postgres::late(&url).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("crash: {reason}");
            ExitCode::FAILURE
        }
    }
}

async fn sqlite_rounds(by: SqliteCrash, rounds: &Rounds) -> Result<(), String> {
    let folder = work_folder(rounds.folder.as_ref())?;
    match by {
        SqliteCrash::Kill if rounds.teeth => {
            Err("SQLite loses nothing by kill -9, however weak its durability: try `power`".into())
        }
        SqliteCrash::Kill => {
            run("sqlite, kill -9", &mut sqlite::Killed::new(folder.path().join("store")), rounds).await
        }
        SqliteCrash::Power => {
            let mut subject = sqlite::PowerLoss::new(folder.path(), durability(rounds.teeth), rounds.seed)?;
            run("sqlite, ext4 shut down", &mut subject, rounds).await
        }
    }
}

async fn postgres_rounds(by: PostgresCrash, rounds: &Rounds) -> Result<(), String> {
    let (name, server) = match by {
        PostgresCrash::Kill if rounds.teeth => {
            return Err("the server outlives the writer, however weak its durability: try `server`".into());
        }
        PostgresCrash::Kill => ("postgres, kill -9 of the writer", false),
        PostgresCrash::Server => ("postgres, kill -9 of the server", true),
    };
    run(name, &mut postgres::Postgres::start(durability(rounds.teeth), server, rounds.seed)?, rounds).await
}

async fn two_writers_rounds(store: Store, rounds: &Rounds) -> Result<(), String> {
    let Rounds { rounds: count, seed, teeth, .. } = *rounds;
    let plan = TakeOverPlan { rounds: count, seed, without_claim: teeth };
    let started = Instant::now();
    let (name, outcome) = match store {
        Store::Sqlite => {
            let folder = work_folder(rounds.folder.as_ref())?;
            let mut subject = two_writers::Sqlite::new(folder.path().join("store"));
            ("two writers, sqlite", take_overs(&mut subject, plan).await)
        }
        Store::Postgres => {
            let mut subject = postgres::Postgres::start(Durability::Fsync, false, seed)?;
            ("two writers, postgres", take_overs(&mut subject, plan).await)
        }
    };
    let seconds = started.elapsed().as_secs_f64();
    match (outcome, teeth) {
        (Ok(TakeOvers { rounds, of_shards, refused, found_unheard, stopped_elsewhere }), false) => {
            println!(
                "{name}: {rounds} take-overs ({of_shards} of the whole shard) in {seconds:.1} s; {refused} late writes, \
                 all refused as stale; nothing changed; {found_unheard} times the late one had stored more than it had \
                 heard of; stopped elsewhere {stopped_elsewhere} times, as it held the store's lock"
            );
            Ok(())
        }
        (Err(violation), true) if violation.kind != "harness" => {
            println!("{name}, without a claim: found out after {seconds:.1} s: {violation}");
            Ok(())
        }
        (Ok(tally), true) => {
            Err(format!("{name}, without a claim: nothing was found, so this proves nothing: {tally:?}"))
        }
        (Err(violation), _) => Err(format!("{name}: {violation} (seed {seed}, after {seconds:.1} s)")),
    }
}

async fn run(name: &str, subject: &mut dyn CrashSubject, rounds: &Rounds) -> Result<(), String> {
    let Rounds { rounds, seed, acknowledgements, teeth, .. } = *rounds;
    let started = Instant::now();
    let outcome = crash_rounds(subject, CrashPlan { rounds, seed, acknowledgements_max: acknowledgements }).await;
    let seconds = started.elapsed().as_secs_f64();
    match (outcome, teeth) {
        (Ok(Tally { rounds, unlooked, events, states, snapshots, found_untold }), false) => {
            println!(
                "{name}: {rounds} crashes ({unlooked} right after another) in {seconds:.1} s; acknowledged {events} events, \
                 {states} states, {snapshots} snapshots: 0 lost, 0 invented; found {found_untold} batches that were under way"
            );
            Ok(())
        }
        (Err(violation), true) if violation.kind == "lost" => {
            println!("{name}, durability weakened: found out after {seconds:.1} s: {violation}");
            Ok(())
        }
        (Ok(tally), true) => {
            Err(format!("{name}, durability weakened: nothing was lost, so this proves nothing: {tally:?}"))
        }
        (Err(violation), _) => Err(format!("{name}: {violation} (seed {seed}, after {seconds:.1} s)")),
    }
}

fn durability(weakened: bool) -> Durability {
    if weakened { Durability::Os } else { Durability::Fsync }
}

/// A folder that goes with its handle.
fn work_folder(given: Option<&PathBuf>) -> Result<tempfile::TempDir, String> {
    let folder = match given {
        Some(parent) => tempfile::TempDir::with_prefix_in("crash-", parent),
        None => tempfile::TempDir::with_prefix("crash-"),
    };
    folder.map_err(|error| format!("no folder to work in: {error}"))
}

/// This program, to be run again as a writer.
fn this_program() -> std::process::Command {
    std::process::Command::new(std::env::current_exe().expect("a running program has a file"))
}
