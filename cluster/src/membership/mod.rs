//! Who belongs to the cluster. [`table`] is what one node knows of it, as a value that merges with those of others,
//! [`swim`] finds out who is alive.

pub(crate) mod reachability;
pub(crate) mod swim;
pub(crate) mod table;

#[cfg(test)]
mod table_tests;
