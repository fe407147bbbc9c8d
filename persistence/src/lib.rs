//! Event-sourced actors and durable states, and the stores under them.
//!
//! An entity's state is the fold of its events. A command handler sees the state and decides on events; an event handler
//! applies them and can do nothing else. What is stored is what happened, so the state can always be computed again.
//! An entity whose history nobody needs is a [`DurableState`] instead: each write takes the place of the one before it.
//!
//! ```
//! use actors::{ActorSystem, ReplyTo};
//! use persistence::{Effect, EventSourced, EventSourcedBehavior, InMemoryJournal, PersistenceId};
//! use std::time::Duration;
//!
//! struct CounterEntity;
//!
//! enum CounterCommand {
//!     Add(u64),
//!     Total(ReplyTo<u64>),
//! }
//!
//! #[derive(Clone)]
//! struct Added(u64);
//!
//! impl EventSourced for CounterEntity {
//!     type Command = CounterCommand;
//!     type Event = Added;
//!     type State = u64;
//!
//!     fn persistence_id(&self) -> PersistenceId {
//!         PersistenceId::of("counter", "visitors")
//!     }
//!
//!     fn handle_command(&self, total: &u64, command: CounterCommand) -> Effect<Self> {
//!         match command {
//!             CounterCommand::Add(count) => Effect::persist(Added(count)),
//!             CounterCommand::Total(reply_to) => Effect::reply(reply_to, *total),
//!         }
//!     }
//!
//!     fn handle_event(total: &mut u64, event: &Added) {
//!         *total += event.0;
//!     }
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), actors::AskError> {
//! let system = ActorSystem::new("guide");
//! let journal = InMemoryJournal::default();
//! let counter = system.spawn("visitors", EventSourcedBehavior::new(CounterEntity, journal));
//! counter.tell(CounterCommand::Add(2));
//! counter.tell(CounterCommand::Add(3));
//! assert_eq!(counter.ask(CounterCommand::Total, Duration::from_secs(3)).await?, 5);
//! # Ok(())
//! # }
//! ```
//!
//! # What is durable when
//!
//! - **A reply after an event is sent when the event is durable.** With [`SqliteStore`] at [`Durability::Fsync`], the
//!   default, the disk has confirmed it: it survives `kill -9` and power loss. At [`Durability::Os`] it survives
//!   `kill -9` only. [`InMemoryJournal`] keeps nothing beyond the process.
//! - **A batch is stored entirely or not at all**, and each answer of [`Journal::append`] but one says which.
//! - **[`AppendError::Unknown`] means that the batch is stored or not.** The entity drops its state and reads the journal
//!   before it says anything more. The same batch sent again, with the same id, settles it.
//! - **One writer.** Whoever claims an entity, or its shard, last is the only one whose writes are taken: events,
//!   snapshots, states and deletions of an older writer are refused in the transaction that would have stored them. So claim
//!   first, then read.
//!
//! # What a crash may lose
//!
//! - Commands that were not answered: nobody was told that they happened. Their events may be stored all the same.
//! - Chained effects ([`Effect::then_run`] and its kin) of the last command: they run at most once, and not after a
//!   restart. Work that must happen belongs into an event and whoever follows the events.
//! - Stashed and waiting commands. Never an event that was answered for, and never half a batch.
//! - A snapshot: it costs time at the next recovery, no data, unless its events were deleted.
//!
//! # What is refused rather than repaired
//!
//! Each row carries a checksum over all it says. A torn tail of SQLite's write-ahead log is cut off, which loses nothing
//! that was acknowledged; a row that fails its check is refused with its place ([`JournalError::Damaged`]), and a log with
//! a hole, a lost tail or a writer out of turn is not believed ([`Recovery`]). After three equal failures of that kind an
//! entity is parked. Damage to SQLite's own index pages is found as far as SQLite finds it; `PRAGMA integrity_check` looks
//! at all of them.
//!
//! # What bounds the load of a store
//!
//! - **Recoveries.** At most 64 entities of an actor system recover at once; the others wait, and their commands with them.
//!   [`EventSourcedBehavior::recovery_limit`] gives an entity another [`RecoveryLimit`].
//! - **Failures.** A store that keeps failing is asked again by each entity, unless it is wrapped in a [`Guarded`], whose
//!   clones share a circuit breaker. None is there by default: it belongs to the store, not to an entity. Make one for the
//!   journal and one for the snapshots, and give each entity clones of them.
//!
//! ```
//! use actors::ActorSystem;
//! use persistence::{Guarded, InMemoryJournal};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let system = ActorSystem::new("guide");
//! let journal = InMemoryJournal::<u64>::default();
//! let snapshots = Guarded::snapshots(journal.snapshots::<u64>(), system.clock().clone());
//! let journal = Guarded::journal(journal, system.clock().clone());
//! assert!(journal.is_closed() && snapshots.is_closed(), "calls pass until ten in a row have failed");
//! # }
//! ```
//!
//! # Parts
//!
//! - [`EventSourced`], [`Effect`], [`EventSourcedBehavior`]: the entity and how it becomes an actor.
//! - [`DurableState`], [`StateEffect`], [`DurableStateBehavior`]: the same for an entity that keeps no history.
//! - [`Journal`], [`SnapshotStore`]: the contract; [`testkit::contract`] checks any store for it.
//! - [`StateStore`]: the last state instead of the history; [`testkit::state_contract`] checks any store for it.
//! - [`SqliteStore`], [`InMemoryJournal`], [`InMemorySnapshotStore`], [`InMemoryStateStore`]: the stores.
//! - [`EventFeed`], [`ProjectionStore`]: events across entities in commit order, and how far their consumers are.
//! - [`EntityIds`], [`LiveIds`]: which entities there are, and which come.
//! - `PostgresLeases`: who is the only one for what, for as many processes as there are; with the feature `cluster` the
//!   store of a cluster's `Downing::StoreMajority`, and the backend of any `cluster::StoredLease`.
//! - [`Codec`], [`MessagePack`], [`Coded`]: values as bytes, with versions.
//! - [`Fence`], [`FenceScope`]: the right to write.
//! - [`Recovery`], [`Retention`]: decisions as plain values, for whoever stores by other means.

mod adapted;
pub mod admin;
mod breaker;
mod chained;
mod checksum;
mod codec;
mod common;
mod dedupe;
mod durable_state;
mod durable_state_actor;
mod durable_state_behavior;
mod effect;
mod error;
mod event_sourced;
mod event_sourced_actor;
mod event_sourced_behavior;
mod fencing;
mod guarded;
mod guarded_feed;
mod journal;
mod lost;
#[cfg(feature = "postgres")]
mod manifests;
mod offset;
mod persistence_id;
#[cfg(feature = "postgres")]
mod postgres;
mod projection;
mod query;
mod recovering;
mod recovery;
mod recovery_limit;
mod settling;
mod snapshot;
mod sqlite;
mod state;
mod state_effect;
pub mod testkit;

pub use adapted::{Adapted, EventAdapter, Evolution, Record, WithCommands};
pub use breaker::{BreakerChange, BreakerOpen, BreakerSettings, Call, CallOutcome, CircuitBreaker};
pub use chained::PersistFailed;
pub use codec::{Codec, CodecError, Coded, MessagePack};
pub use dedupe::{
    Answered, CommandId, CommandWindow, Found, InvalidCommandId, KeptReply, Once, ReplyOnce, WindowLimits,
    decode_answered, decode_window, encode_answered, encode_window,
};
pub use durable_state::DurableState;
pub use durable_state_actor::DurableStateActor;
pub use durable_state_behavior::DurableStateBehavior;
pub use effect::{Effect, ReplyEffect};
pub use error::{AppendError, JournalError};
pub use event_sourced::{EventSourced, NotOwner, PersistedEvent, PersistenceSignal};
pub use event_sourced_actor::EventSourcedActor;
pub use event_sourced_behavior::EventSourcedBehavior;
pub use fencing::{Fence, FenceScope};
pub use futures_util::future::BoxFuture;
pub use guarded::Guarded;
pub use journal::{Append, InMemoryJournal, Journal, RawEvent, ReplayLimit, Stored};
pub use offset::{InvalidOffset, Offset};
pub use persistence_id::{InvalidEntityType, PersistenceId, SLICES};
#[cfg(feature = "postgres")]
pub use postgres::{
    LeaseRow, LeaseRowError, LeaseSwap, PostgresLeases, PostgresOpenError, PostgresOptions, PostgresStore,
};
pub use projection::{
    Claimed, Envelope, InMemoryProjections, InvalidProjectionSettings, OnFailure, ParkedEvent, Place, Position,
    Progress, Projection, ProjectionActor, ProjectionFailed, ProjectionFeed, ProjectionFence, ProjectionId,
    ProjectionMessage, ProjectionSettings, ProjectionStatus, ProjectionStore, Projections, ReadModelError, ResetError,
    Selection, SqliteReadModel, WaitError, slice_ranges,
};
pub use query::{
    Changes, EntityIds, EventFeed, FeedEvent, FeedPage, FeedQuery, LiveEvents, LiveFeed, LiveIds, StateChange,
    StateFeed, StatePage,
};
pub use recovering::RecoveryFailure;
pub use recovery::{Recovered, Recovery, RecoveryError};
pub use recovery_limit::{RecoveryLimit, RecoveryMode};
pub use rusqlite;
pub use snapshot::{
    InMemorySnapshotStore, ProjectionGuard, RawSnapshot, ReplayCost, Retention, RetentionGuard, RetentionStep,
    SnapshotSearch, SnapshotStore, StoredSnapshot,
};
pub use sqlite::{Durability, OpenError, SqliteOptions, SqliteStore};
pub use state::{DeleteState, InMemoryStateStore, PutState, RawState, StateStore, StoredState};
pub use state_effect::StateEffect;
#[cfg(feature = "postgres")]
pub use tokio_postgres;
