//! [`SqliteAdmin`]: a store folder or backup file, looked at from outside.

mod backup;
mod check;
mod export;
mod import;
mod query;
mod read;
mod rows;

pub use import::SqliteImport;

use super::{
    AdminError, EntityHead, EntityQuery, EntitySummary, EventRecord, Finding, Progress, Record, Row, SnapshotRecord,
    StateRecord, StoreAdmin, StoreInfo, Subject, Totals, UnfinishedFile, place,
};
use crate::{
    BoxFuture, OpenError, PersistenceId, ReplayLimit,
    sqlite::{SCHEMA_VERSION, open_from_outside, schema_version},
};
use futures_util::FutureExt;
use parking_lot::Mutex;
use rusqlite::Connection;
use std::{
    path::{Path, PathBuf},
    sync::Arc,
};
use tokio::sync::mpsc;

/// Steps of SQLite's machine between two looks at whether they are still wanted: well below a millisecond.
const STEPS_BETWEEN_LOOKS: i32 = 10_000;

/// A SQLite store, opened so that it cannot be changed, beside the process that writes or without one.
///
/// A handle, cheap to clone. One request at a time: requests of all clones wait for each other. Every method needs a tokio
/// runtime, whose threads for blocking work it uses.
#[derive(Clone)]
pub struct SqliteAdmin {
    database: Arc<Path>,
    db: Arc<Mutex<Connection>>,
}

impl SqliteAdmin {
    /// Opens the store in the folder `path`, or the database file `path`, such as a backup. Blocks for milliseconds, longer
    /// where a crash has left a long log that nobody has opened since.
    ///
    /// # Errors
    /// [`AdminError::NoStore`], [`AdminError::OlderSchema`], or why it cannot be opened.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, AdminError> {
        let database = place::database_of(path.as_ref())?;
        // A file that was named itself and has no log is one that nobody writes to: nothing need be put beside it.
        let alone = database == path.as_ref() && log_bytes(&database) == 0;
        Self::opened(database, alone)
    }

    fn opened(database: PathBuf, alone: bool) -> Result<Self, AdminError> {
        let db = if alone { open_from_outside(&database, true)? } else { open(&database)? };
        let found = schema_version(&db, &database)?;
        let place = || database.display().to_string();
        match found {
            0 => return Err(AdminError::NoStore { path: database }),
            found if found < SCHEMA_VERSION => {
                return Err(AdminError::OlderSchema { place: place(), found, supported: SCHEMA_VERSION });
            }
            found if found > SCHEMA_VERSION => {
                return Err(OpenError::NewerSchema { path: database, found, supported: SCHEMA_VERSION }.into());
            }
            _ => {}
        }
        Ok(Self { database: database.into(), db: Arc::new(Mutex::new(db)) })
    }

    /// The database file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.database
    }

    /// Runs `work` in one read transaction: what it sees is one moment.
    fn run<T: Send + 'static>(
        &self,
        progress: Progress,
        work: impl FnOnce(&Connection, &Path) -> Result<T, Stop> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, AdminError>> {
        self.run_alone(progress, |db, path| work(&*db.transaction()?, path))
    }

    /// Runs `work` on a thread that may block. SQLite ends whatever it is doing once `progress` is cancelled.
    fn run_alone<T: Send + 'static>(
        &self,
        progress: Progress,
        work: impl FnOnce(&mut Connection, &Path) -> Result<T, Stop> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, AdminError>> {
        let Self { database, db } = self.clone();
        let name = Arc::clone(&database);
        let failed = move |reason: String| AdminError::Failed { place: name.display().to_string(), reason };
        let watched = progress.clone();
        let blocking = tokio::task::spawn_blocking(move || {
            let mut db = db.lock();
            db.progress_handler(STEPS_BETWEEN_LOOKS, Some(move || watched.is_cancelled()))?;
            let done = work(&mut db, &database);
            db.progress_handler(0, None::<fn() -> bool>)?;
            done
        });
        async move {
            match blocking.await {
                Ok(Ok(done)) => Ok(done),
                Ok(Err(Stop::Sqlite(_))) if progress.is_cancelled() => Err(AdminError::Cancelled),
                Ok(Err(Stop::Sqlite(error))) => Err(failed(error.to_string())),
                Ok(Err(Stop::Because(error))) => Err(error),
                Err(panic) => Err(failed(panic.to_string())),
            }
        }
        .boxed()
    }
}

impl StoreAdmin for SqliteAdmin {
    fn kind(&self) -> &'static str {
        "sqlite"
    }

    fn info(&self) -> BoxFuture<'static, Result<StoreInfo, AdminError>> {
        self.run(Progress::default(), |db, path| Ok(read::info(db, path)?))
    }

    fn entities(&self, query: EntityQuery) -> BoxFuture<'static, Result<Vec<EntitySummary>, AdminError>> {
        self.run(Progress::default(), move |db, _| Ok(read::entities(db, &query)?))
    }

    fn head(&self, id: PersistenceId) -> BoxFuture<'static, Result<Option<EntityHead>, AdminError>> {
        self.run(Progress::default(), move |db, _| Ok(read::head(db, &id)?))
    }

    fn events(
        &self,
        id: PersistenceId,
        from: u64,
        to: u64,
        limit: ReplayLimit,
    ) -> BoxFuture<'static, Result<Vec<EventRecord>, AdminError>> {
        self.run(Progress::default(), move |db, _| rows::events(db, &id, from, to, limit))
    }

    fn snapshot(&self, id: PersistenceId) -> BoxFuture<'static, Result<Option<SnapshotRecord>, AdminError>> {
        self.run(Progress::default(), move |db, _| rows::newest_snapshot(db, &id))
    }

    fn state(&self, id: PersistenceId) -> BoxFuture<'static, Result<Option<StateRecord>, AdminError>> {
        self.run(Progress::default(), move |db, _| rows::state(db, &id))
    }

    fn check(
        &self,
        progress: Progress,
        findings: mpsc::Sender<Finding>,
    ) -> BoxFuture<'static, Result<Totals, AdminError>> {
        self.run(progress.clone(), move |db, _| check::check(db, &progress, &findings))
    }

    fn export(
        &self,
        progress: Progress,
        records: mpsc::Sender<Vec<Record>>,
    ) -> BoxFuture<'static, Result<Totals, AdminError>> {
        self.run(progress.clone(), move |db, _| export::export(db, &progress, &records))
    }
}

impl SqliteAdmin {
    /// Copies the store into the file `to`, as it is at this moment, while its writer goes on. The copy is checked if
    /// `findings` is given; the totals are then the answer. The file appears when it is complete, sound and on the disk, and
    /// is a store of its own: in a folder, under the name `store.db`, it can be opened.
    ///
    /// The log cannot start again before the copy is done, and grows by what is written meanwhile; see the
    /// [module](crate::admin).
    ///
    /// # Errors
    /// [`AdminError::NotEmpty`] when there is such a file, [`AdminError::Unsound`] when there are findings, which were sent.
    /// After any error there is no file.
    pub fn backup(
        &self,
        to: PathBuf,
        progress: Progress,
        findings: Option<mpsc::Sender<Finding>>,
    ) -> BoxFuture<'static, Result<Option<Totals>, AdminError>> {
        let from = self.clone();
        async move {
            let file = UnfinishedFile::begin(to)?;
            let copy = file.path().to_owned();
            let watched = progress.clone();
            from.run(progress.clone(), move |db, _| backup::copy(db, &copy, &watched)).await?;
            let totals = match findings {
                Some(findings) => Some(sound_copy(file.path(), progress, findings).await?),
                None => None,
            };
            blocking(move || file.publish()).await?;
            Ok(totals)
        }
        .boxed()
    }

    /// Runs one statement that reads, and sends its answer: first the names of its columns, as a row of texts, then the
    /// rows, until `rows` is closed. A statement that answers nothing sends nothing.
    ///
    /// # Errors
    /// [`AdminError::Statement`] when the statement is wrong, is more than one, or would do anything but read.
    pub fn query(
        &self,
        sql: String,
        progress: Progress,
        rows: mpsc::Sender<Row>,
    ) -> BoxFuture<'static, Result<(), AdminError>> {
        self.run_alone(progress, move |db, _| query::query(db, &sql, &rows))
    }
}

/// Why work on the database ended early.
enum Stop {
    Sqlite(rusqlite::Error),
    Because(AdminError),
}

impl From<rusqlite::Error> for Stop {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

impl From<AdminError> for Stop {
    fn from(error: AdminError) -> Self {
        Self::Because(error)
    }
}

impl From<Finding> for Stop {
    fn from(finding: Finding) -> Self {
        Self::Because(AdminError::Damaged(finding))
    }
}

/// Checks a file that nobody else has, and counts the findings, warnings apart.
async fn sound_copy(file: &Path, progress: Progress, findings: mpsc::Sender<Finding>) -> Result<Totals, AdminError> {
    let copy = SqliteAdmin::opened(file.to_owned(), true)?;
    let (sender, mut found) = mpsc::channel::<Finding>(64);
    let forward = async {
        let mut count = 0;
        while let Some(finding) = found.recv().await {
            count += u64::from(!finding.warning);
            // Whoever looks no more at them is told their number all the same.
            let _ = findings.send(finding).await;
        }
        count
    };
    let (totals, count) = futures_util::join!(copy.check(progress, sender), forward);
    let totals = totals?;
    if count > 0 { Err(AdminError::Unsound { findings: count }) } else { Ok(totals) }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AdminError> + Send + 'static,
) -> Result<T, AdminError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|panic| Err(AdminError::Failed { place: "store".into(), reason: panic.to_string() }))
}

/// Ends early if somebody has asked for it.
fn go_on(progress: &Progress) -> Result<(), Stop> {
    if progress.is_cancelled() { Err(AdminError::Cancelled.into()) } else { Ok(()) }
}

/// Where no process has the database open and the folder cannot be written, SQLite cannot make the files that readers
/// share; then nobody can be writing either.
fn open(database: &Path) -> Result<Connection, AdminError> {
    let db = open_from_outside(database, false)?;
    let readable = db.query_row("SELECT count(*) FROM sqlite_schema", (), |_| Ok(()));
    match readable {
        Err(rusqlite::Error::SqliteFailure(error, _))
            if log_bytes(database) == 0
                && matches!(error.code, rusqlite::ErrorCode::CannotOpen | rusqlite::ErrorCode::ReadOnly) =>
        {
            Ok(open_from_outside(database, true)?)
        }
        _ => Ok(db), // whatever it is, the next question says it better
    }
}

fn log_bytes(database: &Path) -> u64 {
    std::fs::metadata(log_of(database)).map_or(0, |log| log.len())
}

fn log_of(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

fn as_number(stored: i64) -> u64 {
    u64::try_from(stored).unwrap_or(0)
}

/// What SQLite itself says is damaged.
fn database_damage(error: &rusqlite::Error) -> Option<Finding> {
    let damaged = matches!(
        error.sqlite_error_code(),
        Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase)
    ) || error.sqlite_error_code().is_none();
    damaged.then(|| Finding::new(Subject::Database, "", error.to_string()))
}
