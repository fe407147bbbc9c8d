//! Whole clusters in one thread, in virtual time, under faults drawn from a seed.

mod draw;
mod net;
mod process;
mod trace;

pub use net::NetFaults;
