//! Actors that do nothing: what one costs in memory, and what it costs to tell a random one of them something.
//!
//! Every run is a process of its own, so that the resident set is its own. Memory is the growth of the resident set from
//! before the first to after the last actor has started; the references lie in a vector that does not count. The teller
//! is a task that stays at most a thousand messages ahead.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use actors::{Actor, ActorContext, ActorRef, ActorSystem, Behavior, Handled};
use anyhow::{Context, ensure};
use serde::{Deserialize, Serialize};

use crate::args::Args;
use crate::measure::{Watch, rss_bytes};

/// Messages the teller is ahead of the actors at most.
const AHEAD: u64 = 1_024;
const SHARDS: usize = 64;

#[derive(Clone, Copy)]
pub struct Run {
    pub actors: usize,
    pub workers: usize,
    pub tells: u64,
}

/// What a run found, of one actor or one message.
#[derive(Serialize, Deserialize)]
struct Found {
    bytes: f64,
    spawn_cpu_ns: f64,
    tell_ns: f64,
    tell_cpu_ns: f64,
    terminate_s: f64,
}

/// Counts that many threads keep without sharing a cache line.
struct Sharded([Shard; SHARDS]);

#[repr(align(128))]
#[derive(Default)]
struct Shard {
    messages: AtomicU64,
    sum: AtomicU64,
}

impl Sharded {
    fn new() -> Arc<Self> {
        Arc::new(Self(std::array::from_fn(|_| Shard::default())))
    }

    fn add(&self, number: u64) {
        let shard = &self.0[number as usize % SHARDS];
        shard.sum.fetch_add(number, Relaxed);
        shard.messages.fetch_add(1, Relaxed);
    }

    fn messages(&self) -> u64 {
        self.0.iter().map(|shard| shard.messages.load(Relaxed)).sum()
    }

    fn sum(&self) -> u64 {
        self.0.iter().map(|shard| shard.sum.load(Relaxed)).sum()
    }
}

struct Idler {
    all: Arc<Sharded>,
}

impl Actor for Idler {
    type Message = u64;

    async fn receive(&mut self, _ctx: &mut ActorContext<u64>, number: u64) -> Handled {
        self.all.add(number);
        Ok(Behavior::Same)
    }
}

/// One row a number of actors and of workers, each from a process of its own.
pub fn compare(args: &Args) -> anyhow::Result<()> {
    println!("| idle actors | workers | bytes each | spawn, CPU ns | tell a random one, ns | CPU ns | stop all, s |");
    println!("|---:|---:|---:|---:|---:|---:|---:|");
    let mut each = 1_000.0_f64;
    for &actors in &args.actors {
        for &workers in &args.workers {
            // As much again for what stopping them takes.
            let needed = actors as f64 * (each + 16.0) * 2.0;
            if needed > memory_available() {
                println!("| {actors} | {workers} | needs about {:.1} GB of free memory | | | | |", needed / 1e9);
                continue;
            }
            let found = run_apart(Run { actors, workers, tells: args.tells })?;
            each = found.bytes;
            println!(
                "| {actors} | {workers} | {:.0} | {:.0} | {:.0} | {:.0} | {:.2} |",
                found.bytes, found.spawn_cpu_ns, found.tell_ns, found.tell_cpu_ns, found.terminate_s
            );
        }
    }
    Ok(())
}

fn run_apart(run: Run) -> anyhow::Result<Found> {
    let done = Command::new(std::env::current_exe()?)
        .arg("--idle-run")
        .args([run.actors.to_string(), run.workers.to_string(), run.tells.to_string()])
        .output()?;
    ensure!(
        done.status.success(),
        "{} idle actors on {} workers: {}",
        run.actors,
        run.workers,
        String::from_utf8_lossy(&done.stderr)
    );
    serde_json::from_slice(&done.stdout).context("what the run printed")
}

/// Measures in this process and prints the finding as JSON.
pub fn run_here(run: Run) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(run.workers).enable_all().build()?;
    let found = runtime.block_on(async { tokio::spawn(measure(run)).await })?;
    println!("{}", serde_json::to_string(&found)?);
    Ok(())
}

async fn measure(run: Run) -> Found {
    let system = ActorSystem::new("scaling");
    let all = Sharded::new();
    let mut idlers: Vec<ActorRef<u64>> = Vec::with_capacity(run.actors);
    // Makes the vector resident.
    idlers.extend(std::iter::repeat_n(system.spawn_anonymous(Idler { all: all.clone() }), run.actors));
    let before = rss_bytes();
    let spawning = Watch::start();
    for idler in &mut idlers {
        *idler = system.spawn_anonymous(Idler { all: all.clone() });
    }
    let spawned = spawning.stop(run.actors as u64);
    let after = settled().await;

    let telling = Watch::start();
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut sum = 0;
    for told in 1..=run.tells {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let at = ((random >> 32) * idlers.len() as u64) >> 32;
        idlers[at as usize].tell(random >> 40);
        sum += random >> 40;
        if told % (AHEAD / 4) == 0 {
            while all.messages() + AHEAD < told {
                tokio::task::yield_now().await;
            }
        }
    }
    while all.messages() < run.tells {
        tokio::task::yield_now().await;
    }
    let told = telling.stop(run.tells);
    assert_eq!(all.sum(), sum, "messages lost");

    let stopping = Instant::now();
    system.terminate().await;
    // The shutdown does not wait longer than its phases allow; this does.
    let mut running = idlers.as_slice();
    while let Some(at) = running.iter().position(|idler| !idler.is_stopped()) {
        running = &running[at..];
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let stopped = stopping.elapsed();
    Found {
        bytes: (after as f64 - before as f64) / run.actors as f64,
        spawn_cpu_ns: spawned.cpu_ns as f64 / run.actors as f64,
        tell_ns: told.wall_ns as f64 / run.tells as f64,
        tell_cpu_ns: told.cpu_ns as f64 / run.tells as f64,
        terminate_s: stopped.as_secs_f64(),
    }
}

/// The resident set once it no longer grows.
async fn settled() -> u64 {
    let mut last = rss_bytes();
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let now = rss_bytes();
        if now.abs_diff(last) < 1 << 18 {
            return now;
        }
        last = now;
    }
}

/// In bytes; infinite where the system does not say.
fn memory_available() -> f64 {
    let info = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = info.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<f64>().ok())
        .map_or(f64::INFINITY, |kilobytes| kilobytes * 1_024.0)
}
