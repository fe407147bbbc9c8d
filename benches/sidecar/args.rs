//! The flags, and how long a run of each size takes.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;

use crate::contestant::{Contestant, node_cart};
use crate::kinds;

/// Measures the sidecar as a whole process, beside the floors of what it does.
#[derive(Parser)]
#[command(name = "sidecar")]
struct Flags {
    /// One round of short cells: a look, not a measurement
    #[arg(long)]
    quick: bool,
    /// Rounds; each starts everything afresh
    #[arg(long)]
    reps: Option<usize>,
    /// Contestants whose name contains one of these
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Carts of the cells to run
    #[arg(long, value_delimiter = ',')]
    carts: Vec<usize>,
    /// Clients of the cells to run
    #[arg(long, value_delimiter = ',')]
    clients: Vec<usize>,
    /// Kinds beside the carts: value, crdt, action; none leaves them out
    #[arg(long, value_delimiter = ',')]
    kinds: Vec<String>,
    /// Leave out what is measured once: after a kill, memory, disk, idle
    #[arg(long)]
    no_rows: bool,
    /// Measured milliseconds of a cell
    #[arg(long)]
    measured_ms: Option<u64>,
    /// Use this binary, an absolute path, instead of building the sidecar
    #[arg(long)]
    binary: Option<PathBuf>,
    /// One cell, as short as it can be: only whether it works
    #[arg(long)]
    test: bool,
    /// Passed by cargo
    #[arg(long, hide = true)]
    bench: bool,
    /// Runs only when "sidecar" contains it, as the other benches take a filter
    filter: Option<String>,
}

pub struct Args {
    pub rounds: usize,
    pub contestants: Vec<Contestant>,
    pub carts: Vec<usize>,
    pub clients: Vec<usize>,
    pub kinds: Vec<kinds::Kind>,
    /// Ids and clients of the cells of these kinds.
    pub kinds_carts: usize,
    pub kinds_clients: usize,
    pub warm_up: Duration,
    pub measured: Duration,
    /// Whether what is not compared is measured too.
    pub rows: bool,
    pub binary: Option<PathBuf>,
    pub kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Full,
    Quick,
    Smoke,
}

/// Carts of the cells every round measures; the others are measured in every second round.
pub const CARTS_MAIN: usize = 100;
const CARTS: [usize; 3] = [1, CARTS_MAIN, 10_000];
/// Clients of the cells of other kinds.
const KINDS_CLIENTS: usize = 64;
const CLIENTS: [usize; 4] = [1, 16, 64, 256];

impl Args {
    /// `None` when this bench was filtered out.
    pub fn parse() -> Option<Self> {
        let flags = Flags::parse();
        if flags.filter.as_deref().is_some_and(|filter| !"sidecar".contains(filter)) {
            return None;
        }
        // `cargo test --benches` passes nothing: then it has to be quick, as with the other benches.
        let kind = match (flags.test || !flags.bench, flags.quick) {
            (true, _) => Kind::Smoke,
            (false, true) => Kind::Quick,
            (false, false) => Kind::Full,
        };
        let (rounds, carts, clients, warm_up, measured) = match kind {
            Kind::Full => (5, &CARTS[..], &CLIENTS[..], 300, 1_000),
            Kind::Quick => (1, &[CARTS_MAIN][..], &[1, 64][..], 200, 500),
            Kind::Smoke => (1, &[10][..], &[4][..], 50, 150),
        };
        let or = |given: Vec<usize>, usual: &[usize]| {
            if given.is_empty() { usual.to_vec() } else { given }
        };
        let mut contestants = Contestant::matching(&flags.only);
        if kind == Kind::Smoke || node_cart().is_none() {
            contestants.retain(|contestant| !contestant.is_node());
        }
        let wanted = |kind: &kinds::Kind| flags.kinds.is_empty() || flags.kinds.iter().any(|name| name == kind.name());
        Some(Self {
            kinds: kinds::Kind::ALL.into_iter().filter(wanted).collect(),
            kinds_carts: if kind == Kind::Smoke { 10 } else { CARTS_MAIN },
            kinds_clients: if kind == Kind::Smoke { 4 } else { KINDS_CLIENTS },
            rounds: flags.reps.unwrap_or(rounds),
            rows: !flags.no_rows && contestants.contains(&Contestant::SidecarDurable),
            contestants,
            carts: or(flags.carts, carts),
            clients: or(flags.clients, clients),
            warm_up: Duration::from_millis(warm_up),
            measured: Duration::from_millis(flags.measured_ms.unwrap_or(measured)),
            binary: flags.binary,
            kind,
        })
    }
}
