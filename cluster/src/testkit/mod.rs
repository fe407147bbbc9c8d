//! Whole clusters in one thread, in virtual time, under faults drawn from a seed.

pub mod chaos;
mod draw;
mod net;
pub(crate) mod planted;
mod process;
#[cfg(test)]
mod process_tests;
mod sim;
mod trace;

pub use net::NetFaults;
pub use sim::{SimCluster, SimClusterBuilder, SimNode};
