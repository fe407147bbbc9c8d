//! The sharding crate.
