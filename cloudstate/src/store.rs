//! Opens the store that the configuration names.

use std::io;
use std::sync::Arc;

use persistence::{
    InMemoryJournal, Journal, OpenError, RawEvent, RawSnapshot, RawState, SnapshotStore, SqliteOptions, SqliteStore,
    StateStore,
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
    durable: Option<SqliteStore>,
}

/// Why the store could not be opened; nothing stored was changed.
#[derive(Debug, thiserror::Error)]
#[error("{reason} (`store` is chosen with --store or CLOUDSTATE_STORE)")]
pub struct StoreError {
    reason: OpenError,
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
        Ok(Self {
            journal: Arc::new(store.clone()),
            snapshots: Arc::new(store.clone()),
            states: Arc::new(store.clone()),
            durable: Some(store),
        })
    }

    /// A store made of any parts, which have to share their epochs; [`Store::close`] does nothing to them.
    #[must_use]
    pub fn new(
        journal: impl Journal<RawEvent>,
        snapshots: impl SnapshotStore<RawSnapshot>,
        states: impl StateStore<RawState>,
    ) -> Self {
        Self { journal: Arc::new(journal), snapshots: Arc::new(snapshots), states: Arc::new(states), durable: None }
    }

    /// A store that ends with this process.
    #[must_use]
    pub fn in_memory() -> Self {
        let journal = InMemoryJournal::raw();
        let snapshots = journal.snapshots();
        let states = journal.states();
        Self::new(journal, snapshots, states)
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
