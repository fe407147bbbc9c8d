//! One line of the results file.

use serde::{Deserialize, Serialize};

use crate::contestant::{Contestant, Started};
use crate::kinds::Kind;
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

impl Cell {
    pub fn name(self) -> String {
        let kind = self.kind.map_or("cart", Kind::name);
        format!("{} {kind}s, {} clients", self.carts, self.clients)
    }
}

/// Clients over carts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cell {
    /// `None`: carts.
    pub kind: Option<Kind>,
    pub carts: usize,
    pub clients: usize,
}
