//! [`Downing`]: who goes on when members cannot reach each other, and who stops.
//!
//! A crash, a long pause and a partition look the same from outside. Once the view has been stable for a while each node
//! applies one pure function to its own view. Nodes that conclude that their side loses stop; on the side that goes on the
//! leader marks the others [`Down`](crate::MemberStatus::Down).
//!
//! # What is promised
//! Two sides that see the same members, up to one step of each member's life that happened just before the cut, never
//! both go on: checked for every division of up to six members that see the same, and of up to four that are one step
//! apart. Where links fail between some members, whoever goes on is enough against all others together: checked for
//! every set of links among up to five that are up. With views that are further apart the decision is a good guess, and
//! fencing excludes what a wrong one could do.

mod decide;
mod view;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

pub(crate) use decide::{Decision, Stop, decide, side};
pub(crate) use view::View;

use crate::member::Address;
use std::{num::NonZeroUsize, sync::Arc, time::Duration};

/// Who goes on when members cannot reach each other. All nodes of a cluster must have the same.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Downing {
    /// The side with more than half of the full members goes on; of two halves the one with the lowest address. When more
    /// than half crash at once the rest stops too. The one to take if in doubt.
    KeepMajority {
        /// Count only members with this role; all, if there is none.
        role: Option<Arc<str>>,
    },
    /// A side with at least this many full members goes on. With twice as many members both sides could: then all stop, even
    /// for one link that fails, so there must never be more than `2 × size - 1`, those that join included.
    StaticQuorum {
        /// How many are enough.
        size: NonZeroUsize,
        /// Count only members with this role; all, if there is none.
        role: Option<Arc<str>>,
    },
    /// The side with the oldest full member goes on.
    KeepOldest {
        /// Look only at members with this role; at all, if there is none.
        role: Option<Arc<str>>,
        /// If the oldest is all alone it stops, and the others go on. Of two members the oldest goes on all the same.
        down_if_alone: bool,
    },
    /// The side with the node at this address goes on; while it is away or leaves, nobody does who misses somebody. For two
    /// nodes and a witness.
    KeepReferee {
        /// Where the referee is.
        address: Address,
        /// It goes on with at least this many full members, itself included; with fewer all stop.
        at_least: NonZeroUsize,
    },
    /// Whoever gets [a lease](crate::ClusterConfig::lease) goes on; a side without a majority asks for it two seconds later.
    /// With [`StoreMajority`](Self::StoreMajority) the only one that survives the loss of more than half.
    ///
    /// A side that does not get it within 35 seconds after the others answered last (with more than ten members it is 25 more
    /// than [`stable_after`](Self::stable_after)) stops: they may have had the lease meanwhile and given it back. So where the
    /// lease is kept must be reached within that time, or all stop. It is kept for 40 seconds after the last of those it was
    /// needed for is gone. If the node that has it crashes within that time, the rest is denied it and stops.
    LeaseMajority {
        /// Count only members with this role; all, if there is none.
        role: Option<Arc<str>>,
    },
    /// As [`LeaseMajority`](Self::LeaseMajority), by a lease that each node keeps itself in the store that all have:
    /// [`ClusterConfig::lease_store`](crate::ClusterConfig::lease_store). With the database that events are written to, the
    /// side that goes on is one that can write.
    StoreMajority {
        /// Count only members with this role; all, if there is none.
        role: Option<Arc<str>>,
    },
    /// All stop. Right where starting again is quick and cheap.
    DownAll,
}

impl Default for Downing {
    fn default() -> Self {
        Self::KeepMajority { role: None }
    }
}

/// How long a side without a majority waits before it asks for the lease.
pub(crate) const MINORITY_WAITS: Duration = Duration::from_secs(2);

impl Downing {
    /// How long members and reachability must have been unchanged before anything is decided, for a cluster of so many
    /// members: the larger, the longer news takes. Whoever stands still is missed after three seconds at the earliest; so
    /// one that does for ten seconds has three to contradict when it wakes.
    pub fn stable_after(members: usize) -> Duration {
        Duration::from_secs(match members {
            0..=10 => 10,
            11..=20 => 13,
            21..=50 => 17,
            51..=100 => 20,
            _ => 30,
        })
    }
}
