//! Clusters of real processes, each in a network namespace of its own, that are cut, killed and suspended, and looked at.
//! `scripts/partitions` runs all of it.
//!
//! `nodes partitions` draws faults and demands that all is well again after each; `nodes rolling`
//! has all nodes leave and come back, one after the other, under a client's load; `nodes story` does what a story says,
//! which the simulator tells as well (`cargo sim --story`). All need root.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a program, with real processes and real time"
)]

mod client;
mod judge;
mod line;
mod net;
mod node;
mod orders;
mod partitions;
mod rig;
mod rolling;
mod story;
mod switch;
mod tun;

use anyhow::{Context, bail};
use std::{path::PathBuf, process::ExitCode};

const USAGE: &str = "usage: nodes partitions NAME FOLDER ROUNDS SETS SEED
       nodes rolling NAME FOLDER ROUNDS
       nodes story NAME FOLDER FILE

NAME is what namespaces are called, FOLDER where logs are written, FILE a story. SETS clusters at a time share the ROUNDS.";

fn main() -> ExitCode {
    match begin() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("nodes: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn begin() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["node", number] => in_runtime(node::run(number.parse()?, "node")),
        ["client", number] => in_runtime(node::run(number.parse()?, "client")),
        ["partitions", name, folder, rounds, sets, seed] => partitions(
            name,
            &PathBuf::from(folder),
            number("ROUNDS", rounds)?,
            number("SETS", sets)?,
            number("SEED", seed)?,
        ),
        ["rolling", name, folder, rounds] => {
            rolling::run(name.to_owned(), number("ROUNDS", rounds)?, &PathBuf::from(folder))
        }
        ["story", name, folder, file] => story::run(name.to_owned(), &PathBuf::from(file), &PathBuf::from(folder)),
        _ => bail!("{USAGE}"),
    }
}

fn number<T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>>(
    what: &str,
    text: &str,
) -> anyhow::Result<T> {
    text.parse().with_context(|| format!("{what} is {text}, which is no number"))
}

fn in_runtime(node: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::new("info,cluster=debug");
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(node)
}

/// Each set draws from a seed of its own. The first failure ends all: rounds take a while.
fn partitions(name: &str, folder: &std::path::Path, rounds: u32, sets: u32, seed: u64) -> anyhow::Result<()> {
    let (says, said) = std::sync::mpsc::channel();
    for set in 0..sets.clamp(1, rounds.max(1)) {
        let rounds = rounds / sets + u32::from(set < rounds % sets);
        let (name, folder, says) = (format!("{name}-{set}"), folder.join(set.to_string()), says.clone());
        std::thread::spawn(move || {
            let done = partitions::run(name, rounds, seed + u64::from(set), &folder);
            let _ = says.send(done);
        });
    }
    drop(says);
    let mut counts = judge::Counts::default();
    for done in said {
        counts += done?;
    }
    println!("{rounds} rounds: {counts}");
    Ok(())
}
