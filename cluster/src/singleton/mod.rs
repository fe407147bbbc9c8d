//! One instance of an actor in the whole cluster, or among the members with a role.
//!
//! # What is promised
//! At most one instance runs at a time. Between any two members that may host there is one [token](tokens), and who starts
//! the instance must have the tokens of all pairs that it is part of. The older has it at first; it goes from hand to hand
//! in messages, and only while neither of the two hosts. That of a member that is gone is there again once it is removed
//! *and* has certainly stopped. So whom the members would like to host, and whether they agree on that, has nothing to do
//! with safety: it is a [choice](HostChoice) that each makes by itself.
//!
//! An instance that moves in good order leaves nothing behind: each [proxy] sends it no more and says so behind all that it
//! sent, and [once all have](closing) the instance handles what it has and stops; what is told meanwhile waits for the next.
//!
//! What outlives all this (a process that was suspended, a write that is late) is refused by whoever checks the term: each
//! start of the instance has a higher one.
//!
//! # Parts
//! [`manager`] decides on each candidate when to start and to stop, [`proxy`] on every node where messages go.

mod choice;
mod closing;
mod fence;
mod manager;
mod message;
mod node;
mod proxy;
mod settings;
mod start;
mod tokens;

#[cfg(test)]
mod model;
#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod proxy_tests;

pub use choice::HostChoice;
pub(crate) use node::SingletonEnvelope;
pub use settings::Singleton;
#[cfg(test)]
pub(crate) use start::start;
pub use start::{ClusterSingleton, SingletonError};
