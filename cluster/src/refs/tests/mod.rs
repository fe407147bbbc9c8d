//! Actors of two nodes that talk to each other.

mod across;
mod ask;
mod circles;
pub(crate) mod nodes;
mod refs_in_messages;
mod said;
mod send;
mod tell;
mod watch;
