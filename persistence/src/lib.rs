//! Event-sourced actors, journals and snapshots.

mod codec;
mod effect;
mod error;
mod event_sourced;
mod event_sourced_actor;
mod fencing;
mod journal;
mod persistence_id;
mod recovering;
mod recovery;
mod snapshot;
mod sqlite;
pub mod testkit;

pub use codec::{Codec, CodecError, Coded, MessagePack};
pub use effect::Effect;
pub use error::{AppendError, JournalError};
pub use event_sourced::{EventSourced, EventSourcedBehavior, PersistenceSignal, RecoveryLimit};
pub use event_sourced_actor::{EventSourcedActor, PersistFailed};
pub use fencing::{Fence, FenceScope};
pub use futures_util::future::BoxFuture;
pub use journal::{Append, InMemoryJournal, Journal, RawEvent, ReplayLimit, Stored};
pub use persistence_id::{InvalidEntityType, PersistenceId, SLICES};
pub use recovering::RecoveryFailure;
pub use recovery::{Recovered, Recovery, RecoveryError};
pub use snapshot::{InMemorySnapshotStore, RawSnapshot, Retention, RetentionStep, SnapshotStore, StoredSnapshot};
pub use sqlite::{Durability, OpenError, SqliteOptions, SqliteStore};
