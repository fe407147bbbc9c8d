//! A process that is stopped while another takes its entities over.

use crate::this_program;
use persistence::{
    BoxFuture, OpenError, SqliteOptions, SqliteStore,
    testkit::{OpenStores, TakeOverSubject, write_late},
};
use rusqlite::Connection;
use std::{
    fs,
    io::BufReader,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// The late process on SQLite.
pub(crate) async fn late_sqlite(folder: &Path) -> Result<(), String> {
    let store = SqliteStore::open(folder, SqliteOptions::default()).map_err(|error| error.to_string())?;
    late(OpenStores::of(store)).await;
    Ok(())
}

pub(crate) async fn late(stores: OpenStores) {
    write_late(stores, BufReader::new(std::io::stdin()), std::io::stdout()).await;
}

/// SQLite: one process at a time has the store, by `store.lock`, for as long as it lives, stopped or not. Here somebody
/// removes that file, and opens the store a second time: what is left then are the epochs.
pub(crate) struct Sqlite {
    folder: PathBuf,
    probe: Option<Connection>,
}

impl Sqlite {
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder, probe: None }
    }

    fn open_past_the_lock(&mut self) -> Result<OpenStores, String> {
        match SqliteStore::open(&self.folder, SqliteOptions::default()) {
            Err(OpenError::InUse { .. }) => {}
            Err(other) => return Err(other.to_string()),
            Ok(_) => return Err("the store was opened by two processes, and nobody had touched its lock".into()),
        }
        fs::remove_file(self.folder.join("store.lock")).map_err(|error| error.to_string())?;
        let store = SqliteStore::open(&self.folder, SqliteOptions::default()).map_err(|error| error.to_string())?;
        let probe = Connection::open(store.path()).and_then(|probe| {
            probe.busy_timeout(Duration::ZERO)?;
            Ok(probe)
        });
        self.probe = Some(probe.map_err(|error| error.to_string())?);
        Ok(OpenStores::of(store))
    }
}

impl TakeOverSubject for Sqlite {
    fn late(&mut self) -> Command {
        let mut command = this_program();
        command.args(["late", "sqlite"]).arg(&self.folder);
        command
    }

    fn open(&mut self) -> BoxFuture<'_, Result<OpenStores, String>> {
        Box::pin(async { self.open_past_the_lock() })
    }

    /// Stopped in the middle of a transaction it holds SQLite's own lock, and nobody can write at all.
    fn can_take_over(&mut self) -> bool {
        self.probe.as_ref().is_some_and(|probe| probe.execute_batch("BEGIN IMMEDIATE; ROLLBACK").is_ok())
    }
}
