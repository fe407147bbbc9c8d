//! Actors of two nodes that talk to each other.

mod ask;
mod nodes;
mod refs_in_messages;
mod tell;
