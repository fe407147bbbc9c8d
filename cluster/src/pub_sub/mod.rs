//! Topics: whoever publishes and whoever listens know a name and a type, and not each other.
//!
//! # What is promised
//! A message reaches each subscriber at most once, and those of one publisher reach one subscriber in the order in which they
//! were published, as long as both stay where they are. Nothing is promised between publishers. A subscription that the
//! publisher's node has not heard of yet gets nothing. Of the subscribers of one group one gets
//! each message.
//!
//! # Parts
//! [`interests`] is what all nodes know of who listens to what, each node the only writer of its own part, as a value that
//! is replicated by gossip. A message goes once to each node with subscribers and fans out there: [`fan_out`].

mod fan_out;
mod interests;
mod topic;
mod topics;

#[cfg(test)]
mod interests_tests;

pub use topic::{Topic, TopicError};
pub(crate) use topics::{GossipEnvelope, Topics};
