//! For tests: stores that fail on command, and the contract every store must keep.

mod contract;
mod faulty;
mod feed_contract;

pub use contract::{Subject, contract};
pub use faulty::{FaultyJournal, FaultySnapshots};
pub use feed_contract::{FeedSubject, feed_contract};
