//! [`EpochRegister`]: numbers that only grow, one owner each, agreed on by the members themselves.
//!
//! For terms of singletons and owners of shards where no store outside of the cluster gives [leases](crate::Lease). Each
//! full member keeps the highest epoch it knows of each name. Who wants the next one has a majority of the members *promise*
//! to take none that was begun earlier, and then has a majority *accept* the one above all it was told of.
//!
//! # Whose majority
//! Of the members that are up in a table that all full members have: a [`Council`]. As soon as that table changes no round
//! goes on. Before a member takes part in the next council it asks all its members, and those that are leaving or exit,
//! what they know. So an epoch that was accepted in one council is known in the next, whoever joins or leaves.
//!
//! # What is promised
//! Epochs of one name strictly grow and each has one owner, as long as the resolver keeps two sides from both having a
//! council, and somebody who knew goes on. Where neither holds (all members were restarted, or most of them were given up
//! at once) numbers still grow if they begin at the wall clock's milliseconds, as far as that is not set back: give them
//! as `floor`. With a store outside of the cluster, prefer its leases.

mod keeper;
mod message;
mod register;
mod round;

#[cfg(test)]
mod model_tests;

pub(crate) use keeper::{EpochEnvelope, Epochs, KeeperMessage};
pub(crate) use message::{Ballot, CouncilId, EpochMessage, Known};
pub(crate) use register::{Council, Effect, EpochRegister, Input};
