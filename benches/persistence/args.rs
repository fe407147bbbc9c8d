//! The flags.

use std::time::Duration;

use clap::{Parser, ValueEnum};

/// Measures stores, each beside the same work by hand.
#[derive(Parser)]
#[command(name = "persistence")]
struct Flags {
    /// Parts to run; default: all
    #[arg(long, value_enum, value_delimiter = ',')]
    part: Vec<Part>,
    /// Stores to measure; default: all
    #[arg(long, value_enum, value_delimiter = ',')]
    store: Vec<Store>,
    /// Writers in the append part
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16, 512])]
    writers: Vec<usize>,
    /// Rounds, in which floor and store take turns
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds each takes in a round of the append part
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Bytes of an event's payload
    #[arg(long, default_value_t = 256)]
    payload: usize,
    /// Events of the store in the open part, which reads its feed too
    #[arg(long, default_value_t = 2_000_000)]
    events: u64,
    /// As short as it can be: only whether it works
    #[arg(long)]
    test: bool,
    /// Passed by cargo
    #[arg(long, hide = true)]
    bench: bool,
    /// Runs only when "persistence" contains it, as the other benches take a filter
    filter: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    Append,
    Replay,
    Open,
    Project,
    Start,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Store {
    Sqlite,
    Postgres,
}

pub struct Args {
    pub parts: Vec<Part>,
    pub stores: Vec<Store>,
    pub writers: Vec<usize>,
    pub rounds: usize,
    pub time: Duration,
    pub payload: usize,
    pub events: u64,
}

impl Args {
    pub fn parse() -> anyhow::Result<Self> {
        let flags = Flags::parse();
        anyhow::ensure!(flags.seconds > 0.0 && flags.seconds < 3_600.0, "--seconds: more than 0, less than 3600");
        anyhow::ensure!(flags.rounds > 0, "--rounds: at least 1");
        anyhow::ensure!(flags.writers.iter().all(|writers| *writers > 0), "--writers: at least 1");
        anyhow::ensure!(flags.events >= 20_000, "--events: at least 20000");
        let all = |parts: Vec<Part>| if parts.is_empty() { Part::value_variants().to_vec() } else { parts };
        let skipped = flags.filter.is_some_and(|filter| !"persistence".contains(&filter));
        let stores = if flags.store.is_empty() { Store::value_variants().to_vec() } else { flags.store };
        Ok(Self {
            parts: if skipped { Vec::new() } else { all(flags.part) },
            stores: if skipped { Vec::new() } else { stores },
            writers: flags.writers,
            rounds: if flags.test { 1 } else { flags.rounds },
            time: Duration::from_secs_f64(if flags.test { 0.05 } else { flags.seconds }),
            payload: flags.payload,
            events: if flags.test { 20_000 } else { flags.events },
        })
    }
}
