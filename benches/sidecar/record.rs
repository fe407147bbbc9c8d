//! One line of the results file.

use serde::{Deserialize, Serialize};

use crate::contestant::{Contestant, Started};
use crate::load::Outcome;

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "kebab-case")]
pub enum Record {
    Start { round: usize, contestant: Contestant, started: Started },
    Cell(CellRecord),
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CellRecord {
    pub round: usize,
    pub contestant: Contestant,
    pub cell: Cell,
    pub outcome: Outcome,
    pub syncs_per_call: Option<f64>,
    pub resident_mb: f64,
}

/// Clients over carts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cell {
    pub carts: usize,
    pub clients: usize,
}
