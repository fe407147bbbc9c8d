//! The actors crate.
