//! Conflict-free replicated data types: what CRDT entities are made of.
//!
//! Every type is a **delta-state** CRDT. A mutator changes the value in place and returns a delta, a small value of the same
//! type; merging the delta into any other copy has the effect of the change there. Merging is commutative, associative and
//! idempotent, so deltas and full states may arrive twice and in any order, and copies that saw the same changes are equal.
//!
//! | Type | State | Concurrent changes |
//! |---|---|---|
//! | [`GCounter`] | a number per replica | add up |
//! | [`PnCounter`] | two [`GCounter`]s | add up |
//! | [`GSet`] | the elements | union |
//! | [`OrSet`] | elements with the dots of their additions | an addition beats a removal |
//! | [`LwwRegister`] | a value, a timestamp, who wrote it | the higher timestamp, then the lower replica |
//! | [`Flag`] | a bit | enabling wins, there is nothing else |
//! | [`OrMap`] | keys with nested values of any kind | an addition or an update beats a removal; nested values merge |
//! | [`Vote`] | a number per replica, odd is yes | each replica has its own vote |
//!
//! Removals leave no tombstones: a [`CausalContext`] says which additions ("dots") were seen, and one that was seen and is
//! not there was removed.
//!
//! **A replica must only ever mutate with its own [`ReplicaId`], on its own latest copy.** Two copies that change under one id
//! would both use the same slot or dot. The id is therefore new on every start of a node.
//!
//! When a replica has left for good, [`Crdt::prune`] folds what is kept under its id into another's and
//! [`Crdt::forget`] drops it from copies that have not been pruned yet.

mod causal;
mod codec;
mod counter;
mod dot_map;
mod element;
mod flag;
mod g_set;
mod lww_register;
mod or_map;
mod or_set;
mod vote;

pub use self::causal::{CausalContext, Dot, ReplicaId};
pub use self::codec::{DecodeError, MAX_DEPTH, MAX_ENCODED_BYTES};
pub use self::counter::{CounterOverflow, GCounter, PnCounter};
pub use self::element::Element;
pub use self::flag::Flag;
pub use self::g_set::GSet;
pub use self::lww_register::{Clock, LwwRegister, SetOutcome};
pub use self::or_map::{MapError, OrMap};
pub use self::or_set::OrSet;
pub use self::vote::{Tally, Vote};

/// A value of any of the types. Equality is equality of state: of everything that a later merge may depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Crdt {
    /// A counter that only grows.
    GCounter(GCounter),
    /// A counter that goes both ways.
    PnCounter(PnCounter),
    /// A set that only grows.
    GSet(GSet),
    /// A set of which elements can be removed.
    OrSet(OrSet),
    /// A register: the last write wins.
    LwwRegister(LwwRegister),
    /// A flag that can be enabled.
    Flag(Flag),
    /// A map with nested values.
    OrMap(OrMap),
    /// A vote of the replicas.
    Vote(Vote),
}

/// Which of the types a [`Crdt`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// [`GCounter`]
    GCounter,
    /// [`PnCounter`]
    PnCounter,
    /// [`GSet`]
    GSet,
    /// [`OrSet`]
    OrSet,
    /// [`LwwRegister`]
    LwwRegister,
    /// [`Flag`]
    Flag,
    /// [`OrMap`]
    OrMap,
    /// [`Vote`]
    Vote,
}

impl std::fmt::Display for Kind {
    /// The type's name as the CloudState protocol has it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Kind::GCounter => "GCounter",
            Kind::PnCounter => "PNCounter",
            Kind::GSet => "GSet",
            Kind::OrSet => "ORSet",
            Kind::LwwRegister => "LWWRegister",
            Kind::Flag => "Flag",
            Kind::OrMap => "ORMap",
            Kind::Vote => "Vote",
        })
    }
}

/// Two values of different kinds cannot be merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a {found} was given where the value is a {expected}; use another key for a value of another type")]
pub struct KindMismatch {
    /// The kind of the value that is there.
    pub expected: Kind,
    /// The kind that was given.
    pub found: Kind,
}

/// The same expression for the value inside, whatever its type.
macro_rules! each {
    ($crdt:expr, $value:ident => $body:expr) => {
        match $crdt {
            Crdt::GCounter($value) => $body,
            Crdt::PnCounter($value) => $body,
            Crdt::GSet($value) => $body,
            Crdt::OrSet($value) => $body,
            Crdt::LwwRegister($value) => $body,
            Crdt::Flag($value) => $body,
            Crdt::OrMap($value) => $body,
            Crdt::Vote($value) => $body,
        }
    };
}

macro_rules! conversions {
    ($($kind:ident $as_ref:ident $as_mut:ident),*) => {
        impl Crdt {
            /// The empty value of a kind: merging it changes nothing.
            pub fn new(kind: Kind) -> Self {
                match kind {
                    $(Kind::$kind => Crdt::$kind($kind::default()),)*
                }
            }

            /// Which of the types it is.
            pub fn kind(&self) -> Kind {
                match self {
                    $(Crdt::$kind(_) => Kind::$kind,)*
                }
            }

            $(
                /// The value inside if it is of this kind.
                pub fn $as_ref(&self) -> Result<&$kind, KindMismatch> {
                    match self {
                        Crdt::$kind(value) => Ok(value),
                        other => Err(KindMismatch { expected: other.kind(), found: Kind::$kind }),
                    }
                }

                /// The value inside if it is of this kind, to be changed.
                pub fn $as_mut(&mut self) -> Result<&mut $kind, KindMismatch> {
                    match self {
                        Crdt::$kind(value) => Ok(value),
                        other => Err(KindMismatch { expected: other.kind(), found: Kind::$kind }),
                    }
                }
            )*

            /// Takes in what another copy, or a delta, knows. An error changes nothing.
            pub fn merge(&mut self, other: &Crdt) -> Result<(), KindMismatch> {
                match (self, other) {
                    $((Crdt::$kind(mine), Crdt::$kind(theirs)) => mine.merge(theirs),)*
                    (mine, theirs) => return Err(KindMismatch { expected: mine.kind(), found: theirs.kind() }),
                }
                Ok(())
            }
        }

        $(
            impl From<$kind> for Crdt {
                fn from(value: $kind) -> Self {
                    Crdt::$kind(value)
                }
            }
        )*
    };
}

conversions! {
    GCounter as_g_counter as_g_counter_mut,
    PnCounter as_pn_counter as_pn_counter_mut,
    GSet as_g_set as_g_set_mut,
    OrSet as_or_set as_or_set_mut,
    LwwRegister as_lww_register as_lww_register_mut,
    Flag as_flag as_flag_mut,
    OrMap as_or_map as_or_map_mut,
    Vote as_vote as_vote_mut
}

impl Crdt {
    /// Folds everything that is kept under the id of a replica that has left for good into the id of another, without
    /// changing the value. Doing it again, or in another order with further replicas, gives the same value.
    ///
    /// `into` must be the replica that calls this: it writes to that replica's slots. Call it once the removed replica's
    /// changes have reached everybody; then every copy that was not pruned, own or received, has to go through
    /// [`Crdt::forget`] before it meets the pruned one, or the folded share would count twice.
    ///
    /// A vote of the removed replica is dropped: it is no member any more. A counter whose two shares do not fit into one
    /// number is left as it is; [`Crdt::mentions`] still says so afterwards.
    pub fn prune(&mut self, removed: ReplicaId, into: ReplicaId) {
        if removed != into {
            each!(self, value => value.prune(removed, into));
        }
    }

    /// Drops everything that is kept under the id of a replica that another replica has pruned: what it is worth comes with
    /// the pruned copy. Until that is merged in the value lacks it.
    pub fn forget(&mut self, removed: ReplicaId) {
        each!(self, value => value.forget(removed));
    }

    /// Whether there is something for [`Crdt::prune`] to do.
    pub fn mentions(&self, replica: ReplicaId) -> bool {
        each!(self, value => value.mentions(replica))
    }

    /// A merge that cannot fail, for values nested in a map: of two kinds the one later in [`Kind`] stays.
    fn join(&mut self, other: &Crdt) {
        if self.merge(other).is_err() && other.kind() > self.kind() {
            *self = other.clone();
        }
    }

    /// The highest number of a dot of this replica that the value knows.
    fn highest(&self, replica: ReplicaId) -> u64 {
        match self {
            Crdt::OrSet(set) => set.0.context.highest(replica),
            Crdt::OrMap(map) => map.0.context.highest(replica),
            _ => 0,
        }
    }

    /// Makes the next dot of the replica a higher one than `floor`. Only for the replica's own copy, which knows all its dots.
    fn raise(&mut self, replica: ReplicaId, floor: u64) {
        match self {
            Crdt::OrSet(set) => set.0.context.insert_range(replica, 1, floor),
            Crdt::OrMap(map) => map.0.context.insert_range(replica, 1, floor),
            _ => {}
        }
    }

    /// Takes over from a fuller copy what was removed or overwritten there, but nothing that was added.
    fn learn_removals(&mut self, whole: &Crdt) {
        match (self, whole) {
            (Crdt::OrSet(share), Crdt::OrSet(whole)) => share.0.learn_removals(&whole.0),
            (Crdt::OrMap(share), Crdt::OrMap(whole)) => share.0.learn_removals(&whole.0),
            (Crdt::LwwRegister(share), Crdt::LwwRegister(whole)) => share.merge(whole),
            _ => {}
        }
    }

    /// How many maps are nested in each other; 1 for a value that is no map.
    fn depth(&self) -> usize {
        match self {
            Crdt::OrMap(map) => map.depth(),
            _ => 1,
        }
    }
}
