//! The flags.

use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::idle::Run;

/// Measures actors in great number, on many threads, and beside actors that flood.
#[derive(Parser)]
#[command(name = "scaling")]
struct Flags {
    /// Parts to run; default: all
    #[arg(long, value_enum, value_delimiter = ',')]
    part: Vec<Part>,
    /// How many idle actors
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 100_000, 5_000_000])]
    actors: Vec<usize>,
    /// Worker threads, of the idle and the fairness part
    #[arg(long, value_delimiter = ',', default_values_t = [1, 2])]
    workers: Vec<usize>,
    /// Workers in the contention part, beside 2
    #[arg(long, default_value_t = 16)]
    many: usize,
    /// Rounds of the contention part
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Operations of the contention part, as a share of a whole contest
    #[arg(long, default_value_t = 0.1)]
    scale: f64,
    /// Seconds each row of the fairness part takes
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// As short as it can be: only whether it works
    #[arg(long)]
    test: bool,
    /// The one idle run this process is for
    #[arg(long, hide = true, num_args = 3)]
    idle_run: Vec<u64>,
    /// Passed by cargo
    #[arg(long, hide = true)]
    bench: bool,
    /// Runs only when "scaling" contains it, as the other benches take a filter
    filter: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    Idle,
    Contention,
    Fairness,
}

pub struct Args {
    pub parts: Vec<Part>,
    pub actors: Vec<usize>,
    pub workers: Vec<usize>,
    pub many: usize,
    pub rounds: usize,
    pub scale: f64,
    /// How long one row of the fairness part takes.
    pub flooded: Duration,
    /// Messages told in one run of the idle part.
    pub tells: u64,
    pub idle_run: Option<Run>,
}

impl Args {
    pub fn parse() -> anyhow::Result<Self> {
        let flags = Flags::parse();
        anyhow::ensure!(flags.seconds > 0.0 && flags.seconds < 3_600.0, "--seconds: more than 0, less than 3600");
        anyhow::ensure!(flags.scale > 0.0, "--scale: more than 0");
        anyhow::ensure!(
            flags.many > 0 && flags.workers.iter().all(|workers| *workers > 0),
            "--workers, --many: at least 1"
        );
        anyhow::ensure!(flags.rounds > 0, "--rounds: at least 1");
        anyhow::ensure!(flags.actors.iter().all(|actors| *actors > 0), "--actors: at least 1");
        let parts = match () {
            () if flags.filter.is_some_and(|filter| !"scaling".contains(&filter)) => Vec::new(),
            () if flags.part.is_empty() => Part::value_variants().to_vec(),
            () => flags.part,
        };
        let idle_run = match flags.idle_run[..] {
            [actors, workers, tells] => Some(Run { actors: actors as usize, workers: workers as usize, tells }),
            _ => None,
        };
        Ok(Self {
            parts,
            actors: if flags.test { vec![1_000] } else { flags.actors },
            workers: flags.workers,
            many: flags.many,
            rounds: if flags.test { 1 } else { flags.rounds },
            scale: if flags.test { 0.001 } else { flags.scale },
            flooded: Duration::from_secs_f64(if flags.test { 0.05 } else { flags.seconds }),
            tells: if flags.test { 10_000 } else { 2_000_000 },
            idle_run,
        })
    }
}
