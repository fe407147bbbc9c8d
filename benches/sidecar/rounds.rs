//! The order of things: each round starts everyone afresh, each cell goes through all of them before the next cell.
//!
//! So a ratio between two contestants comes from the same few seconds, whatever else the machine is doing.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use tokio::process;
use tokio::time::timeout;

use crate::args::{Args, CARTS_MAIN};
use crate::build::Binaries;
use crate::contestant::Running;
use crate::load::{Outcome, Plan};
use crate::record::{Cell, CellRecord, Record};
use crate::report;
use crate::role::ROLE;
use crate::rows;

/// No further cell begins after this long, so that a full run stays under eight minutes on a slow machine too.
const BEGIN_WITHIN: Duration = Duration::from_secs(450);
/// Connecting, checking and ending, on top of a cell's own time.
const CELL_EXTRA: Duration = Duration::from_secs(30);

/// Runs all rounds, prints the tables and leaves the records in a file.
///
/// # Errors
/// When something cannot be started. A cell that fails is reported, the others go on, and the exit code says so.
pub async fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let scratch = Path::new(env!("CARGO_TARGET_TMPDIR"));
    fs::create_dir_all(scratch)?;
    let binaries = Binaries::build(args)?;
    let results = scratch.join("sidecar.jsonl");
    let mut run = Run {
        args,
        scratch,
        binaries,
        results: File::create(&results)?,
        records: Vec::new(),
        failures: Vec::new(),
        begun: Instant::now(),
    };
    for round in 0..args.rounds {
        run.round(round).await?;
    }
    if args.rows {
        rows::measure(args, &run.binaries, scratch).await?;
    }
    println!("\n{}", report::tables(&run.records));
    println!("records: {}", results.display());
    for failure in &run.failures {
        println!("failed: {failure}");
    }
    Ok(if run.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

struct Run<'a> {
    args: &'a Args,
    scratch: &'a Path,
    binaries: Binaries,
    results: File,
    records: Vec<Record>,
    failures: Vec<String>,
    begun: Instant,
}

impl Run<'_> {
    async fn round(&mut self, round: usize) -> anyhow::Result<()> {
        let mut contestants = self.args.contestants.clone();
        let count = contestants.len();
        contestants.rotate_left(round % count.max(1));
        let mut running = Vec::new();
        for contestant in contestants {
            let one = Running::start(contestant, &self.binaries, self.scratch).await;
            let one = one.with_context(|| format!("start {}", contestant.name()))?;
            self.keep(Record::Start { round, contestant, started: one.started.clone() })?;
            running.push(one);
        }
        for cell in self.cells(round) {
            for one in &running {
                if self.begun.elapsed() > BEGIN_WITHIN {
                    println!("the rest is left out: {BEGIN_WITHIN:?} are over");
                    return Ok(());
                }
                if one.contestant.serves(cell) {
                    self.cell(round, cell, one).await?;
                }
            }
        }
        Ok(())
    }

    /// Many clients first: they open most of the carts, so the cells after them find the carts open.
    fn cells(&self, round: usize) -> Vec<Cell> {
        let is_due = |carts: usize| carts == CARTS_MAIN || round.is_multiple_of(2) && round < 4;
        let carts = self.args.carts.iter().copied().filter(|&carts| is_due(carts));
        let mut clients = self.args.clients.clone();
        clients.sort_unstable_by(|a, b| b.cmp(a));
        let carts = carts.flat_map(|carts| clients.iter().map(move |&clients| Cell { kind: None, carts, clients }));
        let of_kind = |kind| Cell { kind: Some(kind), carts: self.args.kinds_carts, clients: self.args.kinds_clients };
        carts.chain(self.args.kinds.iter().copied().map(of_kind)).collect()
    }

    async fn cell(&mut self, round: usize, cell: Cell, one: &Running) -> anyhow::Result<()> {
        let plan = Plan {
            target: one.target,
            door: one.door,
            prefix: format!("of-{}-", cell.carts),
            kind: cell.kind,
            carts: cell.carts,
            clients: cell.clients,
            warm_up: self.args.warm_up,
            measured: self.args.measured,
            watched: one.pids(),
        };
        let what = format!("round {round}, {}, {}", one.contestant.name(), cell.name());
        let before = one.syncs().await?;
        let outcome = match drive(&self.binaries.roles, &plan).await {
            Ok(outcome) => outcome,
            Err(error) => {
                println!("{what}: {error:#}");
                self.failures.push(format!("{what}: {error:#}"));
                return Ok(());
            }
        };
        let syncs = one.syncs().await?.zip(before).map(|(after, before)| after - before);
        let record = CellRecord {
            round,
            contestant: one.contestant,
            cell,
            syncs_per_call: syncs.map(|syncs| syncs as f64 / outcome.calls_in_all as f64),
            resident_mb: one.resident_mb(),
            outcome,
        };
        println!("{what}: {}", report::line(&record));
        self.keep(Record::Cell(record))
    }

    fn keep(&mut self, record: Record) -> anyhow::Result<()> {
        serde_json::to_writer(&self.results, &record)?;
        self.results.write_all(b"\n")?;
        self.records.push(record);
        Ok(())
    }
}

/// Runs one cell in a process of its own.
pub async fn drive(roles: &Path, plan: &Plan) -> anyhow::Result<Outcome> {
    let mut load = process::Command::new(roles);
    load.args([ROLE, "load", &serde_json::to_string(plan)?]).kill_on_drop(true);
    let limit = plan.warm_up + plan.measured + CELL_EXTRA;
    let output =
        timeout(limit, load.output()).await.with_context(|| format!("the load did not end within {limit:?}"))??;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}", said.trim());
    Ok(serde_json::from_slice(&output.stdout)?)
}
