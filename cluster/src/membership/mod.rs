//! Who belongs to the cluster. [`swim`] finds out who is alive; [`table`] is what one node knows of all members, as a value
//! that merges with those of others; [`node`] is what one member does about it, as a state machine without any network.

pub(crate) mod codec;
pub(crate) mod daemon;
pub(crate) mod news;
pub(crate) mod node;
pub(crate) mod reachability;
pub(crate) mod swim;
pub(crate) mod table;

#[cfg(test)]
mod table_tests;
