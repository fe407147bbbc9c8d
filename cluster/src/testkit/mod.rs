//! Whole clusters in one thread, in virtual time, under faults drawn from a seed.
//!
//! [`SimCluster`] is for tests of what runs on a cluster: it starts, kills, pauses and cuts off whole nodes, each with its
//! actors, and lets time pass. [`chaos`] has it do so at random, and checks what the cluster promises; [`measure`] asks how
//! long it takes.
//!
//! # What makes a run repeatable
//! One thread; time that moves only when nothing else can; all chance from one seed, by forks for each node and part. The
//! tasks of a node take their turns in an order drawn from the seed. Whoever adds code that runs on nodes keeps to this: no
//! clocks but the node's, no `HashMap` whose order decides anything, `select!` always `biased`, tasks only through the
//! node's spawner or its actor system.

pub mod chaos;
mod draw;
pub mod measure;
mod net;
pub(crate) mod planted;
mod process;
#[cfg(test)]
mod process_tests;
mod sim;
mod trace;

pub use net::NetFaults;
pub use sim::{SimCluster, SimClusterBuilder, SimNode};
