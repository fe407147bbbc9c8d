//! The flags.

use std::time::Duration;

use clap::{Parser, ValueEnum};

/// Measures messages between nodes beside bare connections, and what membership costs.
#[derive(Parser)]
#[command(name = "cluster")]
struct Flags {
    /// Parts to run; default: all
    #[arg(long, value_enum, value_delimiter = ',')]
    part: Vec<Part>,
    /// Rounds, in which floor and cluster take turns
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Messages told in a round
    #[arg(long, default_value_t = 1_000_000)]
    messages: u64,
    /// Questions asked in a round
    #[arg(long, default_value_t = 20_000)]
    questions: u64,
    /// Nodes of the join part
    #[arg(long, default_value_t = 20)]
    nodes: usize,
    /// Members in the idle part
    #[arg(long, value_delimiter = ',', default_values_t = [3, 30, 300])]
    members: Vec<usize>,
    /// Simulated seconds of the idle part
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// As short as it can be: only whether it works
    #[arg(long)]
    test: bool,
    /// Passed by cargo
    #[arg(long, hide = true)]
    bench: bool,
    /// Runs only when "cluster" contains it, as the other benches take a filter
    filter: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    Tell,
    Ask,
    Join,
    Idle,
}

pub struct Args {
    pub parts: Vec<Part>,
    pub rounds: usize,
    pub messages: u64,
    pub questions: u64,
    pub nodes: usize,
    pub members: Vec<usize>,
    pub idle: Duration,
}

impl Args {
    pub fn parse() -> anyhow::Result<Self> {
        let flags = Flags::parse();
        anyhow::ensure!(flags.rounds > 0, "--rounds: at least 1");
        anyhow::ensure!(flags.messages > 0, "--messages: at least 1");
        anyhow::ensure!(flags.questions > 0, "--questions: at least 1");
        anyhow::ensure!((1..=500).contains(&flags.nodes), "--nodes: 1 to 500");
        anyhow::ensure!(flags.members.iter().all(|members| (1..=1000).contains(members)), "--members: 1 to 1000");
        anyhow::ensure!(flags.seconds > 0, "--seconds: at least 1");
        let parts = match () {
            () if flags.filter.is_some_and(|filter| !"cluster".contains(&filter)) => Vec::new(),
            () if flags.part.is_empty() => Part::value_variants().to_vec(),
            () => flags.part,
        };
        Ok(Self {
            parts,
            rounds: if flags.test { 1 } else { flags.rounds },
            messages: if flags.test { 10_000 } else { flags.messages },
            questions: if flags.test { 100 } else { flags.questions },
            nodes: if flags.test { 3 } else { flags.nodes },
            members: if flags.test { vec![3] } else { flags.members },
            idle: Duration::from_secs(if flags.test { 1 } else { flags.seconds }),
        })
    }
}
