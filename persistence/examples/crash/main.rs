//! Crashes real stores in real processes, over and over, and looks at what is left. `scripts/crash` runs all of it.
//!
//! `crash sqlite kill` ends a writer by `kill -9`. `crash sqlite power` has the store on an ext4 file system of its own,
//! on a loop device, and shuts that down while the writer runs, so that what was not synced is gone; it needs root.
//! `--teeth` weakens what makes writes durable and succeeds only if that is found out.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a program, with real processes and real time")]

mod loop_disk;
mod sqlite;

use clap::{Args, Parser, Subcommand, ValueEnum};
use persistence::{
    Durability,
    testkit::{CrashPlan, CrashSubject, Tally, crash_rounds},
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
    /// Not for hands: the process that gets crashed.
    #[command(hide = true)]
    Writer {
        #[command(subcommand)]
        store: WriterStore,
    },
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
        Command::Writer { store: WriterStore::Sqlite { folder, os } } => sqlite::write(&folder, durability(os)).await,
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
