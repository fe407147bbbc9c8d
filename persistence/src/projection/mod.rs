//! How far consumers of events have got, and what they have given up on: [`ProjectionStore`]. [`Projection`] is one.

mod actor;
mod behavior;
mod group;
#[cfg(feature = "postgres")]
mod into_postgres;
mod memory;
mod meter;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
mod read_model;
mod settings;
mod sink;
mod source;
mod sqlite;
mod state;

#[cfg(test)]
mod actor_tests;
#[cfg(test)]
mod sink_tests;
#[cfg(test)]
mod state_tests;

pub use actor::{Place, ProjectionActor, ProjectionFailed, ProjectionMessage};
pub use behavior::{Projection, ProjectionFeed, ProjectionStatus};
pub use group::{Projections, ResetError, WaitError};
pub use memory::InMemoryProjections;
pub use meter::Progress;
pub use read_model::{ReadModelError, SqliteReadModel};
pub use settings::{InvalidProjectionSettings, OnFailure, ProjectionSettings};
pub use source::{Envelope, slice_ranges};
pub(crate) use source::{FeedKind, overlap, parse as parse_source};
pub(crate) use sqlite::{ParkedPage, ProjectionWork, STORE, parked, parked_count, positions};

use crate::{AppendError, BoxFuture, JournalError, Offset, PersistenceId};
use std::{fmt, sync::Arc};

/// Names a consumer: who reads, and what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProjectionId {
    /// The consumer group. Groups know nothing of each other.
    pub group: Arc<str>,
    /// What is read: for an event log, the entity type part of its persistence ids.
    pub source: Arc<str>,
}

/// The right to move a consumer's offset: the instance that claimed last has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectionFence {
    /// Whose offset.
    pub projection: ProjectionId,
    /// One more with every claim.
    pub epoch: u64,
}

/// What [`ProjectionStore::take_over`] finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// For all further writes of this instance.
    pub fence: ProjectionFence,
    /// Everything up to this offset is done or parked; [`Offset::START`] for a new consumer.
    pub offset: Offset,
    /// Whether it is to wait until it is resumed.
    pub paused: bool,
}

/// How far a consumer has got, seen from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The consumer.
    pub projection: ProjectionId,
    /// Everything up to this offset is done or parked.
    pub offset: Offset,
    /// The epoch of the instance that claimed last.
    pub epoch: u64,
    /// Whether it is to wait until it is resumed.
    pub paused: bool,
}

/// An event that a consumer could not handle and has passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParkedEvent {
    /// The consumer.
    pub projection: ProjectionId,
    /// The event's offset, which names it among those of its consumer.
    pub offset: Offset,
    /// Whose event it is.
    pub id: PersistenceId,
    /// Its sequence number; the event itself is in the journal.
    pub seq_nr: u64,
    /// How often it was tried, since it was first parked.
    pub attempts: u32,
    /// Why the last attempt failed.
    pub reason: String,
    /// When it was parked, ms since 1970.
    pub time_ms: u64,
    /// Whether it was asked to be tried again.
    pub replay: bool,
}

/// Which parked events; an empty selection means all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Only of this consumer group.
    pub group: Option<Arc<str>>,
    /// Only of this source.
    pub source: Option<Arc<str>>,
    /// Only this event.
    pub offset: Option<Offset>,
}

/// Keeps offsets and parked events of consumers that handle each event at least once.
///
/// # Promises of every implementation
/// - Writes with a fence are refused with [`AppendError::Stale`] once another instance has claimed.
/// - A saved offset never goes back, except by [`set_offset`](Self::set_offset).
/// - Offsets are kept whole: they may come from a feed of another store.
/// - What was acknowledged is as durable as the store's other writes.
pub trait ProjectionStore: Send + Sync + 'static {
    /// Takes the consumer over from every earlier instance.
    fn take_over(&self, projection: ProjectionId) -> BoxFuture<'static, Result<Claimed, AppendError>>;

    /// Notes that everything up to `offset` is done or parked. A lower offset than the one saved changes nothing.
    fn save_offset(&self, fence: ProjectionFence, offset: Offset) -> BoxFuture<'static, Result<(), AppendError>>;

    /// Sets the offset to whatever it says, back too: everything behind it is handled again, so none of that is parked any
    /// more. Both happen or neither.
    fn set_offset(&self, fence: ProjectionFence, offset: Offset) -> BoxFuture<'static, Result<(), AppendError>>;

    /// Has the consumer wait, or go on. Needs no fence: the instance that runs looks by and by, the next one to start at
    /// once. A consumer that never was is remembered too.
    fn set_paused(&self, projection: ProjectionId, paused: bool) -> BoxFuture<'static, Result<(), AppendError>>;

    /// How far the selected consumers are, by group and source. [`Selection::offset`] is of no account.
    fn positions(&self, selection: Selection) -> BoxFuture<'static, Result<Vec<Position>, JournalError>>;

    /// Parks an event; one that is parked already is parked with what this says. `event.replay` is of no account.
    fn park(&self, fence: ProjectionFence, event: ParkedEvent) -> BoxFuture<'static, Result<(), AppendError>>;

    /// Forgets a parked event that was handled after all.
    fn unpark(&self, fence: ProjectionFence, offset: Offset) -> BoxFuture<'static, Result<(), AppendError>>;

    /// At most `limit` parked events, by group, source and offset, from the one after `after` on.
    fn parked(
        &self,
        selection: Selection,
        after: Option<(ProjectionId, Offset)>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<ParkedEvent>, JournalError>>;

    /// As [`parked`](Self::parked), only those that were asked to be tried again.
    fn to_replay(
        &self,
        selection: Selection,
        after: Option<(ProjectionId, Offset)>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<ParkedEvent>, JournalError>>;

    /// How many of the selected events are parked.
    fn parked_count(&self, selection: Selection) -> BoxFuture<'static, Result<u64, JournalError>>;

    /// Asks for the selected events to be tried again, and answers how many there are. Needs no fence: the consumer that
    /// runs, or the next one to start, finds them.
    fn replay_parked(&self, selection: Selection) -> BoxFuture<'static, Result<u64, AppendError>>;

    /// Gives the selected events up for good, and answers how many there were.
    fn drop_parked(&self, selection: Selection) -> BoxFuture<'static, Result<u64, AppendError>>;
}

impl fmt::Display for ProjectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.group, self.source)
    }
}

impl Selection {
    /// Everything of one consumer.
    #[must_use]
    pub fn of(projection: &ProjectionId) -> Self {
        Self { group: Some(projection.group.clone()), source: Some(projection.source.clone()), offset: None }
    }

    /// One event of one consumer.
    #[must_use]
    pub fn one(projection: &ProjectionId, offset: Offset) -> Self {
        Self { offset: Some(offset), ..Self::of(projection) }
    }

    fn takes(&self, projection: &ProjectionId, offset: Offset) -> bool {
        self.takes_all_of(projection) && self.offset.is_none_or(|only| only == offset)
    }

    fn takes_all_of(&self, projection: &ProjectionId) -> bool {
        self.group.as_ref().is_none_or(|group| *group == projection.group)
            && self.source.as_ref().is_none_or(|source| *source == projection.source)
    }
}
