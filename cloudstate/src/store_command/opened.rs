//! [`Opened`]: the store of the configuration, opened for a look from outside.

use std::path::Path;

use persistence::admin::{AdminError, Progress, Row, SqliteAdmin, SqliteImport, StoreAdmin, StoreImport};
use tokio::sync::mpsc;

use super::{Out, StoreCommandError};
use crate::cli::Exit;
use crate::config::{StoreConfig, StoreLocation};
use crate::store;

/// A store that is there.
pub(super) enum Opened {
    Sqlite(SqliteAdmin),
}

impl Opened {
    pub(super) async fn open(config: &StoreConfig) -> Result<Self, StoreCommandError> {
        match &config.location {
            StoreLocation::Memory => Err(StoreCommandError::InMemory),
            StoreLocation::Postgres(_) => Err(StoreCommandError::OnPostgres),
            StoreLocation::Sqlite(folder) => Ok(Self::Sqlite(sqlite(folder).await?)),
        }
    }

    pub(super) fn admin(&self) -> &dyn StoreAdmin {
        match self {
            Self::Sqlite(admin) => admin,
        }
    }

    pub(super) async fn query(
        &self,
        sql: String,
        progress: Progress,
        rows: mpsc::Sender<Row>,
    ) -> Result<(), AdminError> {
        match self {
            Self::Sqlite(admin) => admin.query(sql, progress, rows).await,
        }
    }
}

/// A store that is to be made where `config` says.
pub(super) async fn begin_import(config: &StoreConfig) -> Result<Box<dyn StoreImport>, StoreCommandError> {
    match &config.location {
        StoreLocation::Memory => Err(StoreCommandError::InMemory),
        StoreLocation::Postgres(_) => Err(StoreCommandError::OnPostgres),
        StoreLocation::Sqlite(folder) => Ok(Box::new(begin_sqlite(folder).await?)),
    }
}

/// A store folder, or the file of a backup.
pub(super) async fn sqlite(path: &Path) -> Result<SqliteAdmin, StoreCommandError> {
    let path = path.to_owned();
    blocking(move || SqliteAdmin::open(path)).await
}

pub(super) async fn begin_sqlite(folder: &Path) -> Result<SqliteImport, StoreCommandError> {
    let folder = folder.to_owned();
    blocking(move || SqliteImport::begin(folder)).await
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AdminError> + Send + 'static,
) -> Result<T, StoreCommandError> {
    let done = tokio::task::spawn_blocking(work).await;
    Ok(done.unwrap_or_else(|panic| Err(AdminError::Failed { place: "store".into(), reason: panic.to_string() }))?)
}

/// Has sidecars accept a store on the server where it is now.
pub(super) async fn adopt(config: &StoreConfig, out: &mut Out) -> Result<Exit, StoreCommandError> {
    match &config.location {
        StoreLocation::Memory => Err(StoreCommandError::InMemory),
        StoreLocation::Postgres(_) => {
            let generation = store::adopt(config).await?;
            out.line(format_args!("adopted: the store belongs to this server now, as generation {generation}"))?;
            Ok(Exit::Stopped)
        }
        StoreLocation::Sqlite(folder) => {
            sqlite(folder).await?;
            out.line(format_args!(
                "nothing to adopt: a store in SQLite can be used wherever it was restored (sqlite:{})",
                folder.display()
            ))?;
            Ok(Exit::Stopped)
        }
    }
}
