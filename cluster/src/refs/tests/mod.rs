//! Actors of two nodes that talk to each other.

mod ask;
pub(crate) mod nodes;
mod refs_in_messages;
mod send;
mod tell;
mod watch;
