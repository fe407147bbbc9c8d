//! Entities spread over a cluster by id, at most one incarnation of each.
//!
//! This crate holds only its guide for now. It will route messages to entities by id, start them on
//! demand, move shards between nodes without losing or reordering anything in a planned move, and
//! passivate what is idle. It depends on `actors` and `cluster` and knows nothing of journals: an
//! entity may be event sourced, sharding cannot tell.
