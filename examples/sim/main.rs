//! Runs clusters of simulated nodes through trouble drawn from seeds, and tells which promise broke.
//!
//! `cargo sim --seed 1 --count 1000`; `cargo sim --random --seconds 60` for other seeds each time; `cargo sim --story FILE` for
//! trouble that was written down; `cargo sim --help` for the rest. `cargo sim figures` tells how long clusters take to notice a crash and to go on.

#![expect(clippy::print_stdout, reason = "a program for people to watch")]

mod arguments;
mod figures;

use actors::Clock;
use anyhow::Context;
use arguments::Arguments;
use cluster::testkit::chaos::{Failure, Plan, RunOptions, minimize, run};
use std::{
    fmt::Display,
    io::{ErrorKind, Write},
    path::Path,
    process::ExitCode,
};

/// Of so many seeds one runs twice.
const TWICE_EVERY: u64 = 100;

fn main() -> anyhow::Result<ExitCode> {
    let mut words = std::env::args().skip(1).peekable();
    if words.next_if_eq("figures").is_some() {
        let well = figures::print(words)?;
        return Ok(if well { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    let Some(arguments) = Arguments::read(words)? else {
        println!("{}", arguments::HELP);
        return Ok(ExitCode::SUCCESS);
    };
    let options = RunOptions { traced: arguments.trace, until: arguments.until };
    if !arguments.is_one() {
        println!("from seed {} on", arguments.seed);
    }
    let clock = Clock::tokio();
    let ends = arguments.seconds.map(|seconds| clock.now() + seconds);
    let (mut seeds, mut failed, mut known, mut simulated) = (0_u64, 0_u64, 0_u64, 0.0);
    let mut story = arguments.story.as_deref().map(read).transpose()?;
    for seed in arguments.seed..arguments.seed.saturating_add(arguments.count.unwrap_or(u64::MAX)) {
        if ends.is_some_and(|ends| clock.now() >= ends) {
            break;
        }
        seeds += 1;
        let plan = story.take().unwrap_or_else(|| Plan::of(seed));
        let seed = plan.seed;
        if arguments.is_one() {
            show(&plan)?;
        }
        if let Some(file) = &arguments.write {
            write(file, &plan)?;
        }
        let outcome = run(&plan, &options);
        simulated += outcome.simulated.as_secs_f64();
        if arguments.trace && !arguments.minimize {
            show(&outcome.trace)?;
        }
        if let Some(failure) = outcome.failure {
            let is_known = arguments.known.as_deref() == Some(failure.promise);
            *(if is_known { &mut known } else { &mut failed }) += 1;
            tell(&plan, &failure, arguments.story.as_deref());
            if arguments.minimize {
                let least = shrink(&plan, &options).with_context(|| format!("seed {seed} fails, and then not"))?;
                arguments.write.as_deref().map_or(Ok(()), |file| write(file, &least))?;
            }
        } else if arguments.is_one() {
            let agreed = outcome.agreed_after.map_or(String::new(), |after| format!(", agreed after {after:?}"));
            println!("seed {seed}: nothing broke in {:?}{agreed}; trace {:016x}", outcome.simulated, outcome.hash);
        }
        if seed % TWICE_EVERY == 0 && run(&plan, &options).hash != outcome.hash {
            failed += 1;
            println!("seed {seed} is another story each time it is told: two traces differ");
        }
    }
    let known = arguments.known.map_or(String::new(), |promise| format!(", {known} broke {promise}, as is known"));
    println!("{seeds} seeds, {:.1} h of simulated time, {failed} failed{known}", simulated / 3600.0);
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints it. Whoever reads only the first lines has seen enough.
fn show(what: impl Display) -> anyhow::Result<()> {
    match write!(std::io::stdout(), "{what}") {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        done => Ok(done?),
    }
}

fn read(file: &Path) -> anyhow::Result<Plan> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    text.parse().with_context(|| file.display().to_string())
}

fn write(file: &Path, plan: &Plan) -> anyhow::Result<()> {
    std::fs::write(file, plan.to_string()).with_context(|| format!("cannot write {}", file.display()))
}

fn tell(plan: &Plan, failure: &Failure, story: Option<&Path>) {
    let from = story.map_or_else(|| format!("--seed {}", plan.seed), |file| format!("--story {}", file.display()));
    println!("seed {} broke {failure}\n{plan}again: cargo sim {from} --minimize", plan.seed);
}

/// Shows the least plan with which the same promise breaks, and if wanted all that happens in it.
fn shrink(plan: &Plan, options: &RunOptions) -> anyhow::Result<Plan> {
    let tell_progress = |smaller: &Plan, _: &Failure| {
        println!(
            "  still with {} kinds, {} faults, {} nodes",
            smaller.kinds.len(),
            smaller.faults.len(),
            smaller.nodes
        );
    };
    let (least, failure) = minimize(plan, tell_progress);
    let failure = failure.context("the run is not the same each time")?;
    println!("the least that breaks it: {failure}\n{least}");
    if options.traced {
        show(&run(&least, options).trace)?;
    }
    Ok(least)
}
