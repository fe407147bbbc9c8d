//! The persistence crate.
