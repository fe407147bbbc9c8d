//! `cargo sim figures`: how long clusters take, as a table. Simulated time, by default settings: the same on every machine.

use anyhow::{Context, bail};
use cluster::testkit::measure::{FailOver, Spread, Stalls, StallsOutcome, Trouble, fail_over, stall, until_all_know};
use std::{io::Write as _, time::Duration};

pub(crate) const HELP: &str = "\
cargo sim figures crash [--nodes N] [--loss N] [--seed N] [--count N]
cargo sim figures stalls [--nodes N] [--loss N] [--seed N] [--node-hours N]
cargo sim figures fail-over [--nodes N] [--loss N] [--seed N] [--count N]

  crash            how long until all others hold a node that crashed for unreachable; without --nodes and --loss at
                   3, 5, 10 and 20 nodes, with 0, 2 and 5 % of datagrams lost
  stalls           how many are given up that are alive, while a quarter of the nodes stalls for one to ten seconds at a
                   time and runs for five to twenty in between, and 5 % of datagrams are lost; without --nodes at 5, 10
                   and 20
  fail-over        how long until the next instance of a singleton runs, after its host crashed, was cut off, or left;
                   without --nodes at 5, without --loss with 0 and 5 % of datagrams lost

  --nodes N        how many nodes there are
  --loss N         of a thousand datagrams so many are lost
  --seed N         the first seed; default 0
  --count N        how many seeds for each line; default 200
  --node-hours N   how long nodes live in each line, all together; default 1000

It fails if something was given up that was alive, two instances were served at once, a crash was not noticed by all within
two minutes, or no next instance ran within three.";

#[derive(Debug, PartialEq)]
struct Arguments {
    what: What,
    nodes: Option<usize>,
    loss: Option<u32>,
    seed: u64,
    count: u64,
    node_hours: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum What {
    Crash,
    Stalls,
    FailOver,
}

impl Arguments {
    /// None: help is asked for.
    fn read(mut words: impl Iterator<Item = String>) -> anyhow::Result<Option<Self>> {
        let what = match words.next().as_deref() {
            Some("crash") => What::Crash,
            Some("stalls") => What::Stalls,
            Some("fail-over") => What::FailOver,
            None | Some("--help" | "-h") => return Ok(None),
            Some(other) => bail!("{other}: unknown; `cargo sim figures --help` tells what there is"),
        };
        let mut read = Self { what, nodes: None, loss: None, seed: 0, count: 200, node_hours: 1000 };
        while let Some(word) = words.next() {
            let mut number = |from: u64, to: u64| {
                let next = words.next().with_context(|| format!("{word} needs a number"))?;
                let number = next.parse::<u64>().with_context(|| format!("{word} needs a number, not {next:?}"))?;
                if (from..=to).contains(&number) {
                    Ok(number)
                } else {
                    bail!("{word} must be from {from} to {to}, not {number}")
                }
            };
            match word.as_str() {
                "--nodes" => read.nodes = Some(number(2, 100)? as usize),
                "--loss" => read.loss = Some(number(0, 1000)? as u32),
                "--seed" => read.seed = number(0, u64::MAX)?,
                "--count" => read.count = number(1, 1_000_000)?,
                "--node-hours" => read.node_hours = number(1, 1_000_000)?,
                "--help" | "-h" => return Ok(None),
                _ => bail!("{word}: unknown; `cargo sim figures --help` tells what there is"),
            }
        }
        Ok(Some(read))
    }

    fn seeds(&self) -> std::ops::Range<u64> {
        self.seed..self.seed.saturating_add(self.count)
    }
}

/// Whether all was well.
pub(crate) fn print(words: impl Iterator<Item = String>) -> anyhow::Result<bool> {
    let Some(arguments) = Arguments::read(words)? else {
        println!("{HELP}");
        return Ok(true);
    };
    Ok(match arguments.what {
        What::Crash => crashes(&arguments),
        What::Stalls => all_stalls(&arguments),
        What::FailOver => fail_overs(&arguments),
    })
}

/// Says on standard error how far it is, where somebody may be waiting.
fn progress(what: &str, done: u64, of: u64) {
    eprint!("\r{what}: {done} of {of}   ");
    if done >= of {
        eprint!("\r{:60}\r", "");
    }
    // A terminal that is gone is no reason to stop.
    let _ = std::io::stderr().flush();
}

fn crashes(arguments: &Arguments) -> bool {
    let nodes = arguments.nodes.map_or(vec![3, 5, 10, 20], |nodes| vec![nodes]);
    let losses = arguments.loss.map_or(vec![0, 20, 50], |loss| vec![loss]);
    let mut all_found = true;
    println!("until all others hold a node that crashed for unreachable, in seconds of simulated time");
    println!("nodes  loss  seeds     p50     p99     max");
    for nodes in nodes {
        for loss in &losses {
            let mut times = Vec::new();
            for seed in arguments.seeds() {
                let time = until_all_know(nodes, *loss, seed);
                if time.is_none() {
                    println!("seed {seed}: never");
                    all_found = false;
                }
                times.extend(time);
                progress("crashes", seed + 1 - arguments.seed, arguments.count);
            }
            let spread: Spread = times.into_iter().collect();
            println!("{nodes:5} {:4.1}% {:6} {spread}", f64::from(*loss) / 10.0, spread.count());
        }
    }
    all_found
}

fn all_stalls(arguments: &Arguments) -> bool {
    let nodes = arguments.nodes.map_or(vec![5, 10, 20], |nodes| vec![nodes]);
    let mut deaths = 0;
    println!("given up although alive, with a quarter of the nodes stalling for 1 to 10 s at a time");
    println!("nodes  loss  node-hours  stalls  held unreachable, refuted  false deaths");
    for nodes in nodes {
        let loss = arguments.loss.unwrap_or(50);
        let wanted = arguments.node_hours as f64;
        let mut all = StallsOutcome::default();
        let hours = |outcome: &StallsOutcome| outcome.node_time.as_secs_f64() / 3600.0;
        let mut seed = arguments.seed;
        while hours(&all) < wanted {
            let time = (wanted - hours(&all)) * 3600.0 / nodes as f64;
            let time = Duration::from_secs_f64(time.clamp(60.0, 3600.0));
            let one = stall(&Stalls { loss, ..Stalls::of_a_quarter(nodes, time) }, seed);
            if !one.first_deaths.is_empty() {
                println!("seed {seed}: {:?}", one.first_deaths);
            }
            all.node_time += one.node_time;
            all.stalls += one.stalls;
            all.refuted += one.refuted;
            all.deaths += one.deaths;
            seed += 1;
            progress("node-hours", hours(&all) as u64, arguments.node_hours);
        }
        let (stalls, refuted) = (all.stalls, all.refuted);
        let loss = f64::from(loss) / 10.0;
        println!("{nodes:5} {loss:4.1}% {:11.1} {stalls:7} {refuted:26} {:13}", hours(&all), all.deaths);
        deaths += all.deaths;
    }
    deaths == 0
}

fn fail_overs(arguments: &Arguments) -> bool {
    let nodes = arguments.nodes.unwrap_or(5);
    let losses = arguments.loss.map_or(vec![0, 50], |loss| vec![loss]);
    let mut well = true;
    println!("until the next instance of a singleton runs, in seconds of simulated time: p50, p99, max of each step");
    for trouble in [Trouble::Crash, Trouble::CutOff, Trouble::Leave] {
        for loss in &losses {
            let mut all = Vec::new();
            for seed in arguments.seeds() {
                let one = fail_over(nodes, trouble, *loss, seed);
                if one.next.is_none() || one.two {
                    println!("seed {seed}: {one:?}");
                    well = false;
                }
                all.push(one);
                progress("fail-overs", seed + 1 - arguments.seed, arguments.count);
            }
            println!("{trouble:?} at {nodes} nodes, {:.1} % lost, {} seeds", f64::from(*loss) / 10.0, all.len());
            steps(&all);
        }
    }
    well
}

fn steps(all: &[FailOver]) {
    let step = |name: &str, of: fn(&FailOver) -> Option<Duration>| {
        let spread: Spread = all.iter().filter_map(of).collect();
        if spread.count() > 0 {
            println!("  {name:36} {spread}   ({})", spread.count());
        }
    };
    step("unreachable for somebody", |one| one.unreachable);
    step("unreachable for all", |one| one.unreachable_for_all);
    step("down", |one| one.down);
    step("removed", |one| one.removed);
    step("removed for the next host", |one| one.removed_for_next);
    step("the former host serves nothing", |one| one.fenced);
    step("the next instance runs", |one| one.next);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> anyhow::Result<Option<Arguments>> {
        Arguments::read(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn what_is_written_is_read_and_what_is_wrong_is_named() {
        let all = read("stalls --nodes 7 --loss 20 --seed 3 --count 9 --node-hours 2").unwrap().unwrap();
        let wanted = Arguments { what: What::Stalls, nodes: Some(7), loss: Some(20), seed: 3, count: 9, node_hours: 2 };
        assert_eq!(all, wanted);
        assert_eq!(read("--help").unwrap(), None);
        assert_eq!(read("crash --help").unwrap(), None);
        let wrong = [("crush", "crush: unknown"), ("crash --nodes 1", "from 2"), ("crash --seed", "--seed needs")];
        for (line, told) in wrong {
            assert!(read(line).unwrap_err().to_string().contains(told), "{line}");
        }
    }
}
