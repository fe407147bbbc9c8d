//! The cluster crate.
