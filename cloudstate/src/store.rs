//! Opens the store that the configuration names.

use std::io;
use std::sync::Arc;

use actors::Clock;
use persistence::{
    EventFeed, Guarded, InMemoryJournal, InMemoryProjections, Journal, OpenError, ProjectionStore, RawEvent,
    RawSnapshot, RawState, SnapshotStore, SqliteOptions, SqliteStore, StateStore,
};

use crate::config::{SqliteConfig, StoreConfig, StoreLocation};

/// The open store. A cheap handle.
#[derive(Clone)]
pub struct Store {
    /// Where events go.
    pub journal: Arc<dyn Journal<RawEvent>>,
    /// Where snapshots go.
    pub snapshots: Arc<dyn SnapshotStore<RawSnapshot>>,
    /// Where values go. Its epochs are those of the journal.
    pub states: Arc<dyn StateStore<RawState>>,
    /// What consumers of events need, where the store has it.
    pub events: Option<EventStore>,
    durable: Option<SqliteStore>,
}

/// Events across entities, and how far their consumers are. A cheap handle.
#[derive(Clone)]
pub struct EventStore {
    /// The events of all entities of a type, in commit order.
    pub feed: Arc<dyn EventFeed<RawEvent>>,
    /// Offsets and parked events.
    pub projections: Arc<dyn ProjectionStore>,
}

/// Why the store could not be opened; nothing stored was changed.
#[derive(Debug, thiserror::Error)]
#[error("{reason} (`store` is chosen with --store or CLOUDSTATE_STORE)")]
pub struct StoreError {
    reason: OpenError,
}

impl StoreError {
    /// Whether another process has the store open.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        matches!(self.reason, OpenError::InUse { .. })
    }

    /// Says which process that is.
    #[must_use]
    pub fn in_use_by(&self) -> String {
        match &self.reason {
            OpenError::InUse { folder, pid: Some(pid) } => {
                format!("store {} is in use by process {pid}", folder.display())
            }
            OpenError::InUse { folder, pid: None } => {
                format!("store {} is in use by another process", folder.display())
            }
            other => other.to_string(),
        }
    }
}

impl Store {
    /// Opens what `config` names. A store is locked: another process that opens it is refused.
    ///
    /// # Errors
    /// Says what is wrong with the folder, and which process has it if one has.
    pub async fn open(config: &StoreConfig) -> Result<Self, StoreError> {
        let StoreLocation::Sqlite(folder) = &config.location else {
            return Ok(Self::in_memory());
        };
        let (path, options) = (folder.clone(), options(&config.sqlite));
        // Opening recovers what a crash left in the write-ahead log: that may read a lot.
        let opening = tokio::task::spawn_blocking(move || SqliteStore::open(path, options));
        let opened = opening.await.unwrap_or_else(|panic| {
            let reason = io::Error::other(panic).to_string();
            Err(OpenError::Io { path: folder.clone(), reason })
        });
        let store = opened.map_err(|reason| StoreError { reason })?;
        let events = EventStore { feed: Arc::new(store.clone()), projections: Arc::new(store.clone()) };
        Ok(Self {
            events: Some(events),
            journal: Arc::new(store.clone()),
            snapshots: Arc::new(store.clone()),
            states: Arc::new(store.clone()),
            durable: Some(store),
        })
    }

    /// A store made of any parts, which have to share their epochs, without event logs to
    /// consume; [`Store::close`] does nothing to them.
    #[must_use]
    pub fn new(
        journal: impl Journal<RawEvent>,
        snapshots: impl SnapshotStore<RawSnapshot>,
        states: impl StateStore<RawState>,
    ) -> Self {
        Self {
            journal: Arc::new(journal),
            snapshots: Arc::new(snapshots),
            states: Arc::new(states),
            events: None,
            durable: None,
        }
    }

    /// The same store behind circuit breakers, one each for events, snapshots and values: while it fails, requests are
    /// refused at once instead of waiting for their time to be over.
    #[must_use]
    pub fn guarded(self, clock: &Clock) -> Self {
        Self {
            journal: Arc::new(Guarded::journal(self.journal, clock.clone())),
            snapshots: Arc::new(Guarded::snapshots(self.snapshots, clock.clone())),
            states: Arc::new(Guarded::states(self.states, clock.clone())),
            ..self
        }
    }

    /// A store that ends with this process.
    #[must_use]
    pub fn in_memory() -> Self {
        let journal = InMemoryJournal::raw();
        let snapshots = journal.snapshots();
        let states = journal.states();
        let events =
            EventStore { feed: Arc::new(journal.clone()), projections: Arc::new(InMemoryProjections::default()) };
        Self { events: Some(events), ..Self::new(journal, snapshots, states) }
    }

    /// Writes what is waiting and lets go of the folder. Later requests through any handle are refused.
    pub async fn close(&self) {
        if let Some(store) = &self.durable {
            store.close().await;
        }
    }
}

fn options(config: &SqliteConfig) -> SqliteOptions {
    SqliteOptions {
        readers: config.readers.get(),
        checkpoint_pages: config.wal_autocheckpoint,
        cache_kib: u32::try_from(config.cache_size >> 10).unwrap_or(u32::MAX),
        ..SqliteOptions::default()
    }
}
