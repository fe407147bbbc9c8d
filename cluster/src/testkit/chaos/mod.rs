//! Runs drawn from a seed: a cluster in trouble, then in peace, and what must hold all the while.
//!
//! A run is a [`Plan`], drawn from its seed, carried out on a [`SimCluster`](crate::testkit::SimCluster): the cluster forms;
//! trouble comes as planned; then all is healed and started, and within [`PEACE`] all must agree. What must hold at each
//! step is looked at ten times a second, and with each event that a node tells its subscribers. A run that fails can be made
//! [smaller](minimize).

mod fault;
mod ledger;
mod minimize;
mod plan;
mod run;
mod talker;
#[cfg(test)]
mod tests;

pub use fault::{Fault, FaultKind};
pub use minimize::minimize;
pub use plan::{Plan, Planned};
pub use run::{Failure, Outcome, PEACE, RunOptions, run};
