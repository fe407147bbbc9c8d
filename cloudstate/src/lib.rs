//! The CloudState sidecar as a library.

pub mod config;
