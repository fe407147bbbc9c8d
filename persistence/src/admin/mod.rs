//! A store seen from outside, for the people who run it: what is in it, whether it is sound, copies of it.
//!
//! Nothing here is needed to run entities. Everything that reads works beside the process that writes, and reads in pages
//! or streams: memory does not grow with the store.
//!
//! A look takes no lock that a writer needs, but it is of one moment, and what that moment needs is kept as long as it
//! takes. On SQLite this is the write-ahead log: it grows by what is written while a check, a copy, an export or a
//! statement runs, and starts again afterwards. Now and then, each time the log has grown by another
//! [`checkpoint_pages`](crate::SqliteOptions::checkpoint_pages), the writer waits up to 100 ms for those who read.
//!
//! - [`StoreAdmin`]: the questions, the same for every kind of store.
//! - [`SqliteAdmin`]: a store folder or a backup file, read-only; [`backup`](SqliteAdmin::backup) and
//!   [`query`](SqliteAdmin::query) besides. [`SqliteImport`] makes a folder out of what another store exported.
//! - [`PostgresAdmin`]: a store on PostgreSQL, read-only; [`query`](PostgresAdmin::query) besides. [`PostgresImport`] fills
//!   an empty schema.
//! - [`Record`]: all that a store holds, in a form that every other can take in. [`Finding`]: one thing that is wrong.

mod finding;
mod info;
mod place;
mod places;
#[cfg(feature = "postgres")]
mod postgres;
mod progress;
mod record;
mod sound;
mod sqlite;
mod table;
mod unfinished;

pub use finding::{Finding, Subject};
pub use info::{
    EntityHead, EntityQuery, EntitySummary, ProjectionInfo, SnapshotSummary, StateSummary, StoreInfo, StoreSizes,
    TypeInfo,
};
#[cfg(feature = "postgres")]
pub use postgres::{PostgresAdmin, PostgresImport};
pub use progress::Progress;
pub use record::{
    EntityRecord, EventRecord, OwnerRecord, ParkedRecord, PlacesRecord, ProjectionRecord, Record, SnapshotRecord,
    StateRecord, Totals,
};
pub use sqlite::{SqliteAdmin, SqliteImport};
pub use table::{Cell, Row};
pub use unfinished::UnfinishedFile;

#[cfg(feature = "postgres")]
use crate::PostgresOpenError;
use crate::{BoxFuture, OpenError, PersistenceId, ReplayLimit};
use std::path::PathBuf;
use tokio::sync::mpsc;

/// What can be asked of every kind of store.
///
/// # Promises of every implementation
/// - Nothing stored is changed, and no writer waits for longer than a moment; the [module](self) says for what.
/// - One answer describes one moment: what is committed meanwhile is in it entirely or not at all.
/// - Memory is bounded by one page, whatever the store holds.
pub trait StoreAdmin: Send + Sync + 'static {
    /// `sqlite`, `postgres` or `memory`.
    fn kind(&self) -> &'static str;

    /// How much there is. Costs a look at every entity, none at every event.
    fn info(&self) -> BoxFuture<'static, Result<StoreInfo, AdminError>>;

    /// One page of entities, by persistence id.
    fn entities(&self, query: EntityQuery) -> BoxFuture<'static, Result<Vec<EntitySummary>, AdminError>>;

    /// What is known of one entity beside its contents; `None` when the store never heard of it.
    fn head(&self, id: PersistenceId) -> BoxFuture<'static, Result<Option<EntityHead>, AdminError>>;

    /// One page of events with `from <= seq_nr <= to`, by sequence number. Holes are shown as they are: this is what one
    /// looks with after [`check`](Self::check) has found some. Empty only when there are none in the range.
    fn events(
        &self,
        id: PersistenceId,
        from: u64,
        to: u64,
        limit: ReplayLimit,
    ) -> BoxFuture<'static, Result<Vec<EventRecord>, AdminError>>;

    /// The newest snapshot.
    fn snapshot(&self, id: PersistenceId) -> BoxFuture<'static, Result<Option<SnapshotRecord>, AdminError>>;

    /// The state of an entity that keeps no history; a deleted one has no payload.
    fn state(&self, id: PersistenceId) -> BoxFuture<'static, Result<Option<StateRecord>, AdminError>>;

    /// Looks at every row and sends what is wrong, as it is found, until `findings` is closed. Answers how much was looked
    /// at.
    fn check(
        &self,
        progress: Progress,
        findings: mpsc::Sender<Finding>,
    ) -> BoxFuture<'static, Result<Totals, AdminError>>;

    /// Sends everything there is, in the order in which an import takes it: owners, projections, parked events,
    /// entities, events in commit order, snapshots, states in the order of their last change.
    ///
    /// # Errors
    /// [`AdminError::Damaged`] at the first row that cannot be vouched for; [`AdminError::Cancelled`] when `records` is
    /// closed.
    fn export(
        &self,
        progress: Progress,
        records: mpsc::Sender<Vec<Record>>,
    ) -> BoxFuture<'static, Result<Totals, AdminError>>;
}

/// A store that is being made of records. Until [`finish`](Self::finish) has answered there is nothing in the place it is
/// to have; dropped before that, it leaves nothing.
pub trait StoreImport: Send + 'static {
    /// Takes the next records, in the order of [`StoreAdmin::export`].
    ///
    /// # Errors
    /// Why a record cannot be. The store is not to be used any further.
    fn take(&mut self, records: Vec<Record>) -> BoxFuture<'_, Result<(), AdminError>>;

    /// Checks what was taken, as [`StoreAdmin::check`] does, and puts it in its place, durably.
    ///
    /// # Errors
    /// [`AdminError::Unsound`] when there are findings, which were sent.
    fn finish(
        self: Box<Self>,
        progress: Progress,
        findings: mpsc::Sender<Finding>,
    ) -> BoxFuture<'static, Result<Totals, AdminError>>;
}

/// Why a store could not be asked, copied or filled. What was there before is unchanged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// There is nothing there.
    #[error("there is no store in {}", path.display())]
    NoStore {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// It is there and cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The database is there and holds no store.
    #[cfg(feature = "postgres")]
    #[error("there is no store in schema {schema} of {place}")]
    NoTables {
        /// The server and database.
        place: String,
        /// Where it was looked for.
        schema: String,
    },
    /// The server cannot be asked, or has no store that this program can read.
    #[cfg(feature = "postgres")]
    #[error(transparent)]
    OpenPostgres(#[from] PostgresOpenError),
    /// The tables are of an older version, and who only reads cannot bring them up to date.
    #[error(
        "store {place} has schema version {found}, this program reads {supported}; open it once for writing, which upgrades it"
    )]
    OlderSchema {
        /// The database.
        place: String,
        /// The version stored.
        found: i64,
        /// The version known here.
        supported: i64,
    },
    /// It was copied, and the copy is not sound; it was thrown away.
    #[error("what was copied is not sound: {findings} findings; nothing was put in place")]
    Unsound {
        /// How many things are wrong with it.
        findings: u64,
    },
    /// Something is in the place that was to be filled.
    #[error("{place} is not empty: it holds {found}; name a place where nothing is")]
    NotEmpty {
        /// The place.
        place: String,
        /// What is in it.
        found: String,
    },
    /// A row cannot be vouched for.
    #[error("{0}; `check` lists all damage")]
    Damaged(Finding),
    /// The store could not be read or written.
    #[error("{place}: {reason}")]
    Failed {
        /// The file or database.
        place: String,
        /// What was said.
        reason: String,
    },
    /// What is to be imported makes no sense.
    #[error("{0}")]
    Import(String),
    /// A statement was refused, or is wrong.
    #[error("{0}")]
    Statement(String),
    /// [`Progress::cancel`] was called, or nobody takes the answer any more.
    #[error("cancelled")]
    Cancelled,
}
