//! For tests: stores and disks that fail on command, and the contracts every store must keep.

mod child;
mod contract;
mod crash;
mod disk;
mod faulty;
mod faulty_states;
mod feed_contract;
mod open_stores;
#[cfg(feature = "postgres")]
mod postgres_server;
mod state_contract;
mod take_over;

pub use contract::{Subject, contract};
pub use crash::{Acknowledged, CrashPlan, CrashSubject, Tally, Told, Violation, crash_rounds, write_for_ever};
pub use disk::{Change, DiskOp, FaultPlan, Faults, FaultyVfs, Files, Tape};
pub use faulty::{FaultyJournal, FaultySnapshots};
pub use faulty_states::FaultyStates;
pub use feed_contract::{FeedSubject, feed_contract};
pub use open_stores::OpenStores;
#[cfg(feature = "postgres")]
pub use postgres_server::{PostgresServer, PostgresServerError, PostgresServerOptions};
pub use state_contract::{StateDamage, StateSubject, state_contract};
pub use take_over::{TakeOverPlan, TakeOverSubject, TakeOvers, take_overs, write_late};
