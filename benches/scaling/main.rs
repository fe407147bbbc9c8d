//! What happens to actors when there are many of them, many threads, or somebody who floods.
//!
//! `cargo bench -p benches --bench scaling -- --help` lists the flags. Three parts: *idle* (1 k, 100 k and 5 M actors: memory
//! of one, cost of telling a random one something), *contention* (the workloads of the contest with 16 workers beside 2)
//! and *fairness* (how long others wait while actors flood themselves). What is asserted are sums, never a time.

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    dead_code,
    missing_docs,
    unreachable_pub,
    unsafe_code,
    reason = "a program whose tables are for the terminal, and sources shared with another that uses all of them"
)]

mod args;
#[path = "../peers/src/body.rs"]
mod body;
mod contention;
#[path = "../peers/src/contestant.rs"]
mod contestant;
mod fairness;
#[path = "../peers/src/framework.rs"]
mod framework;
mod idle;
#[path = "../peers/src/measure.rs"]
mod measure;
#[path = "../peers/src/frameworks/ours.rs"]
mod ours;
#[path = "../peers/src/frameworks/raw.rs"]
mod raw;
#[path = "../peers/src/workloads/mod.rs"]
mod workloads;

use crate::args::{Args, Part};

fn main() -> anyhow::Result<()> {
    let args = Args::parse()?;
    if let Some(run) = args.idle_run {
        return idle::run_here(run);
    }
    for part in &args.parts {
        match part {
            Part::Idle => idle::compare(&args)?,
            Part::Contention => contention::compare(&args),
            Part::Fairness => fairness::compare(&args)?,
        }
        println!();
    }
    Ok(())
}
