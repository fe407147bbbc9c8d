//! Who belongs to the cluster. [`table`] is what one node knows of it, as a value that merges with those of others.

pub(crate) mod reachability;
pub(crate) mod table;

#[cfg(test)]
mod table_tests;
