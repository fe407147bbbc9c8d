//! Runs drawn from a seed: a cluster in trouble, then in peace, and what must hold all the while.
//!
//! A run is a [`Plan`], drawn from its seed, carried out on a [`SimCluster`](crate::testkit::SimCluster): the cluster forms;
//! trouble comes as planned; then all is healed, those that are gone are given up, all are started, and within [`PEACE`] all
//! must agree. What must hold at each
//! step is looked at ten times a second, and with each event that a node tells its subscribers. A run that fails can be made
//! [smaller](minimize), and its plan kept as a [story].
//!
//! # On a cluster of one's own
//! A plan comes over any cluster, with whatever actors it has:
//! ```
//! use cluster::testkit::{SimCluster, chaos::Plan};
//! use std::time::Duration;
//!
//! let plan: Plan = "seed 7
//!     nodes 3
//!     trouble 20000 ms
//!     loss 50 of 1000
//!     5000 ms power off n1".parse().unwrap();
//! let mut sim = plan.builder().start(); // .config and .on_join: one's own actors
//! assert!(sim.run_until(Duration::from_secs(60), SimCluster::is_whole));
//! plan.trouble(&mut sim, |sim| assert!(sim.running().count() >= 2)); // what must hold always
//! assert!(sim.recover(Duration::from_secs(60))); // and what in the end
//! ```
//!
//! # What must hold
//! The codes are of this table alone. L1, R1, T1 and T2 are looked at in every second run. A panic fails a run as well.
//!
//! | promise | at each moment | in peace |
//! |---|---|---|
//! | A2 | what is for one life comes to no other, in order and at most once; system messages once and without a gap | all of them came |
//! | A3 | what was sent once came, or was counted as dropped, or was under way when its connection ended | something of it comes |
//! | A4 | the end of a life is told once, after its last word | it is told |
//! | A6 | | what is to be sent does not wait all the time |
//! | M1 | a status goes forward, and no two members have one number | |
//! | M2 | | all agree, and go on agreeing |
//! | M3 | nobody is silent who is there | |
//! | M5 | who must stop has stopped before others take over | |
//! | M6 | where all datagrams come in time, nobody who does not stand still is said to be gone | |
//! | M7 | a node stops as cut off only if most of the others cut it off, or all that it reaches | |
//! | S1 | terms of the singleton grow, as long as half still are members of those that were when the last one began | |
//! | S2 | of two instances one may not serve any more | |
//! | S5 | | there is one, and all reach it |
//! | L1 | grants of a lease have numbers of their own, and who holds it has the highest that was written with | somebody holds it |
//! | R1 | | all list the services of all |
//! | T1 | what one publishes comes at most once, and in order | all hear all |
//! | T2 | of a group one gets it | |

mod balance;
mod carry_out;
mod checks;
mod courier;
mod fault;
mod guard;
mod ledger;
mod listener;
mod minimize;
mod only;
mod plan;
mod run;
mod services;
pub mod story;
mod talker;
#[cfg(test)]
mod tests;

pub use fault::{Fault, FaultKind};
pub use minimize::minimize;
pub use plan::{Plan, Planned};
pub use run::{Failure, Outcome, PEACE, RunOptions, run};
