//! For tests: stores that fail on command, and the contract every store must keep.

mod contract;
mod faulty;

pub use contract::{Subject, contract};
pub use faulty::{FaultyJournal, FaultySnapshots};
