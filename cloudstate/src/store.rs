//! Opens the store that the configuration names.

use std::io;
use std::path::Path;
use std::sync::Arc;

use actors::Clock;
use persistence::{
    BreakerSettings, EventFeed, Guarded, InMemoryJournal, InMemoryProjections, Journal, OpenError, ProjectionStore,
    RawEvent, RawSnapshot, RawState, SnapshotStore, SqliteOptions, SqliteStore, StateStore,
};
#[cfg(feature = "postgres")]
use persistence::{PostgresOpenError, PostgresOptions, PostgresStore};

#[cfg(feature = "postgres")]
use crate::config::{PostgresConfig, Secret};
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
    durable: Durable,
    guarded: bool,
}

/// What has to be closed.
#[derive(Clone)]
enum Durable {
    Nothing,
    Sqlite(SqliteStore),
    #[cfg(feature = "postgres")]
    Postgres(PostgresStore),
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
    reason: Reason,
}

#[derive(Debug, thiserror::Error)]
enum Reason {
    #[error(transparent)]
    Sqlite(#[from] OpenError),
    #[cfg(feature = "postgres")]
    #[error(transparent)]
    Postgres(#[from] PostgresOpenError),
    #[cfg(not(feature = "postgres"))]
    #[error("this program was built without PostgreSQL (feature `postgres`); name another store")]
    NotBuilt,
}

impl StoreError {
    #[cfg(not(feature = "postgres"))]
    pub(crate) fn not_built() -> Self {
        Self { reason: Reason::NotBuilt }
    }

    /// Whether another process has the store open.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        matches!(self.reason, Reason::Sqlite(OpenError::InUse { .. }))
    }

    /// Says which process that is.
    #[must_use]
    pub fn in_use_by(&self) -> String {
        match &self.reason {
            Reason::Sqlite(OpenError::InUse { folder, pid: Some(pid) }) => {
                format!("store {} is in use by process {pid}", folder.display())
            }
            Reason::Sqlite(OpenError::InUse { folder, pid: None }) => {
                format!("store {} is in use by another process", folder.display())
            }
            other => other.to_string(),
        }
    }
}

impl Store {
    /// Opens what `config` names. An embedded store is locked: another process that opens it is refused. A store on
    /// PostgreSQL may be open in many.
    ///
    /// # Errors
    /// Says what is wrong with the folder or the server, and which process has the folder if one has.
    pub async fn open(config: &StoreConfig) -> Result<Self, StoreError> {
        match &config.location {
            StoreLocation::Memory => Ok(Self::in_memory()),
            StoreLocation::Sqlite(folder) => Self::open_sqlite(folder, &config.sqlite).await,
            #[cfg(feature = "postgres")]
            StoreLocation::Postgres(url) => {
                let options = postgres_options(url, &config.postgres);
                let opened = PostgresStore::open(options, Clock::tokio()).await;
                let store = opened.map_err(|reason| StoreError { reason: reason.into() })?;
                Ok(Self::durable(store.clone(), Durable::Postgres(store)))
            }
            #[cfg(not(feature = "postgres"))]
            StoreLocation::Postgres(_) => Err(StoreError::not_built()),
        }
    }

    async fn open_sqlite(folder: &Path, config: &SqliteConfig) -> Result<Self, StoreError> {
        let (path, options) = (folder.to_owned(), options(config));
        // Opening recovers what a crash left in the write-ahead log: that may read a lot.
        let opening = tokio::task::spawn_blocking(move || SqliteStore::open(path, options));
        let opened = opening.await.unwrap_or_else(|panic| {
            let reason = io::Error::other(panic).to_string();
            Err(OpenError::Io { path: folder.to_owned(), reason })
        });
        let store = opened.map_err(|reason| StoreError { reason: reason.into() })?;
        Ok(Self::durable(store.clone(), Durable::Sqlite(store)))
    }

    fn durable<S>(store: S, durable: Durable) -> Self
    where
        S: Journal<RawEvent> + SnapshotStore<RawSnapshot> + StateStore<RawState> + Clone,
        S: EventFeed<RawEvent> + ProjectionStore,
    {
        let events = EventStore { feed: Arc::new(store.clone()), projections: Arc::new(store.clone()) };
        Self { events: Some(events), durable, ..Self::new(store.clone(), store.clone(), store) }
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
            durable: Durable::Nothing,
            guarded: false,
        }
    }

    /// The same store behind circuit breakers, one each for events, snapshots, values, the feed of events and what is
    /// kept of its consumers: while one of them fails, requests are refused at once instead of waiting for their time to
    /// be over. A store that is behind some already stays as it is.
    #[must_use]
    pub fn guarded(self, clock: &Clock) -> Self {
        self.guarded_by(clock, BreakerSettings::JOURNAL, BreakerSettings::SNAPSHOTS)
    }

    /// As [`guarded`](Self::guarded), by breakers with these settings; the first ones are those of all but snapshots.
    #[must_use]
    pub fn guarded_by(self, clock: &Clock, settings: BreakerSettings, of_snapshots: BreakerSettings) -> Self {
        if self.guarded {
            return self;
        }
        let events = self.events.map(|EventStore { feed, projections }| EventStore {
            feed: Arc::new(Guarded::new("feed", feed, clock.clone(), settings)),
            projections: Arc::new(Guarded::new("projections", projections, clock.clone(), settings)),
        });
        Self {
            journal: Arc::new(Guarded::new("journal", self.journal, clock.clone(), settings)),
            snapshots: Arc::new(Guarded::new("snapshots", self.snapshots, clock.clone(), of_snapshots)),
            states: Arc::new(Guarded::new("states", self.states, clock.clone(), settings)),
            events,
            durable: self.durable,
            guarded: true,
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

    /// Writes what is waiting and lets go of the folder or the connections. Later requests through any handle are refused.
    pub async fn close(&self) {
        match &self.durable {
            Durable::Nothing => {}
            Durable::Sqlite(store) => store.close().await,
            #[cfg(feature = "postgres")]
            Durable::Postgres(store) => store.close().await,
        }
    }
}

/// Takes over a store that was moved to another server by a dump; answers its generation. One that cannot be told from its
/// copy, as an embedded one, is none to adopt: 0.
///
/// # Errors
/// As [`Store::open`].
pub async fn adopt(config: &StoreConfig) -> Result<u32, StoreError> {
    match &config.location {
        StoreLocation::Memory | StoreLocation::Sqlite(_) => Ok(0),
        #[cfg(feature = "postgres")]
        StoreLocation::Postgres(url) => {
            let adopted = PostgresStore::adopt(postgres_options(url, &config.postgres), Clock::tokio()).await;
            adopted.map_err(|reason| StoreError { reason: reason.into() })
        }
        #[cfg(not(feature = "postgres"))]
        StoreLocation::Postgres(_) => Err(StoreError::not_built()),
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

#[cfg(feature = "postgres")]
pub(crate) fn postgres_options(url: &Secret, config: &PostgresConfig) -> PostgresOptions {
    PostgresOptions {
        password: config.password.as_ref().map(|password| password.reveal().to_owned()),
        schema: config.schema.clone(),
        writers: config.writers.get(),
        readers: config.readers.get(),
        statement_timeout: config.statement_timeout,
        pooler: config.pooler,
        ..PostgresOptions::new(url.reveal())
    }
}
