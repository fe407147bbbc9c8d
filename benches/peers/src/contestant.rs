//! A library that takes part, as an entry of a table.

use crate::framework::{Flavor, Framework};
use crate::measure::Measure;
use crate::workloads::{self, Workload};

pub struct Contestant {
    pub name: &'static str,
    pub mailbox: &'static str,
    /// Whether it has what the workload needs.
    pub supports: fn(Workload) -> bool,
    pub run: fn(Workload, Flavor, u64) -> Measure,
}

impl Contestant {
    pub const fn of<F: Framework>() -> Self {
        Contestant { name: F::NAME, mailbox: F::MAILBOX, supports: workloads::supports::<F>, run: workloads::run::<F> }
    }
}
