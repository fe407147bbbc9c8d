//! [`Opened`]: the store of the configuration, opened for a look from outside.

use std::path::Path;

use actors::Clock;
use persistence::admin::{AdminError, Progress, Row, SqliteAdmin, SqliteImport, StoreAdmin, StoreImport};
#[cfg(feature = "postgres")]
use persistence::admin::{PostgresAdmin, PostgresImport};
use tokio::sync::mpsc;

use super::{Out, StoreCommandError};
use crate::cli::Exit;
use crate::config::{StoreConfig, StoreLocation};
use crate::store;

/// A store that is there.
pub(super) enum Opened {
    Sqlite(SqliteAdmin),
    #[cfg(feature = "postgres")]
    Postgres(PostgresAdmin),
}

impl Opened {
    #[cfg_attr(not(feature = "postgres"), expect(unused_variables, reason = "only servers need a clock"))]
    pub(super) async fn open(config: &StoreConfig, clock: &Clock) -> Result<Self, StoreCommandError> {
        match &config.location {
            StoreLocation::Memory => Err(StoreCommandError::InMemory),
            #[cfg(feature = "postgres")]
            StoreLocation::Postgres(url) => {
                let options = store::postgres_options(url, &config.postgres);
                Ok(Self::Postgres(PostgresAdmin::open(options, clock.clone()).await?))
            }
            #[cfg(not(feature = "postgres"))]
            StoreLocation::Postgres(_) => Err(store::StoreError::not_built().into()),
            StoreLocation::Sqlite(folder) => Ok(Self::Sqlite(sqlite(folder).await?)),
        }
    }

    pub(super) fn admin(&self) -> &dyn StoreAdmin {
        match self {
            Self::Sqlite(admin) => admin,
            #[cfg(feature = "postgres")]
            Self::Postgres(admin) => admin,
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
            #[cfg(feature = "postgres")]
            Self::Postgres(admin) => admin.query(sql, progress, rows).await,
        }
    }
}

/// A store that is to be made where `config` says.
#[cfg_attr(not(feature = "postgres"), expect(unused_variables, reason = "only servers need a clock"))]
pub(super) async fn begin_import(
    config: &StoreConfig,
    clock: &Clock,
) -> Result<Box<dyn StoreImport>, StoreCommandError> {
    match &config.location {
        StoreLocation::Memory => Err(StoreCommandError::InMemory),
        #[cfg(feature = "postgres")]
        StoreLocation::Postgres(url) => {
            let options = store::postgres_options(url, &config.postgres);
            Ok(Box::new(PostgresImport::begin(options, clock.clone()).await?))
        }
        #[cfg(not(feature = "postgres"))]
        StoreLocation::Postgres(_) => Err(store::StoreError::not_built().into()),
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
