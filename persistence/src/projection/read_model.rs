//! [`SqliteReadModel`]: tables that a projection writes, with its offset in the same transaction.

use super::{
    Claimed, Envelope, ParkedEvent, Position, ProjectionFence, ProjectionId, ProjectionStore, Selection,
    sink::{Sink, Work, caught},
    sqlite::{ParkedPage, ProjectionWork, READ_MODEL, fenced, move_offset, parked, parked_count, perform, positions},
    state::Applied,
};
use crate::{
    AppendError, BoxFuture, JournalError, Offset,
    sqlite::{ReadError, Written},
};
use actors::{BoxError, Clock};
use futures_util::FutureExt;
use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::Arc,
    thread,
    time::Duration,
};
use tokio::sync::{mpsc, oneshot};

/// A SQLite database of the program's own tables, for projections that handle each item exactly once.
///
/// The handler writes in the transaction that also moves the offset, so that both happen or neither. Offsets and parked
/// items are in tables of this database whose names begin with `persistence_`. A handle, cheap to clone.
///
/// One thread writes, two read; no call of SQLite runs on a thread of the async runtime. Each commit is synced: after a
/// power loss nothing is behind what was acknowledged, for the events before an offset may have been deleted by then.
#[derive(Clone)]
pub struct SqliteReadModel(Arc<Inner>);

struct Inner {
    writes: mpsc::Sender<Job>,
    reads: mpsc::Sender<Job>,
}

/// Something to do with a connection; `None` when there is none to be had.
type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// Why a read model did not answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReadModelError {
    /// SQLite's own error. A write was rolled back.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// The thread could not be started, or has ended. A write may have been committed or not.
    #[error("read model unavailable: {reason}")]
    Unavailable {
        /// Why.
        reason: String,
    },
}

/// Requests that may wait for each kind of thread.
const QUEUE: usize = 256;

const READERS: usize = 2;

/// How long a statement waits for another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

const TABLES: &str = "
CREATE TABLE IF NOT EXISTS persistence_projection(id INTEGER PRIMARY KEY, consumer_group TEXT NOT NULL,
  source TEXT NOT NULL, epoch INTEGER NOT NULL, position INTEGER NOT NULL, generation INTEGER NOT NULL DEFAULT 0,
  tx INTEGER NOT NULL DEFAULT 0, paused INTEGER NOT NULL DEFAULT 0, UNIQUE(consumer_group, source)) STRICT;
CREATE TABLE IF NOT EXISTS persistence_parked(projection INTEGER NOT NULL, generation INTEGER NOT NULL,
  tx INTEGER NOT NULL, position INTEGER NOT NULL, persistence_id TEXT NOT NULL, seq_nr INTEGER NOT NULL,
  attempts INTEGER NOT NULL, reason TEXT NOT NULL, time_ms INTEGER NOT NULL, replay INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY(projection, generation, tx, position)) STRICT, WITHOUT ROWID;
";

impl SqliteReadModel {
    /// Opens the database in `file`, creating it if need be, and has `tables` make what the program needs
    /// (`CREATE TABLE IF NOT EXISTS …`), in one transaction. Blocks for some milliseconds.
    ///
    /// # Errors
    /// Nothing is changed then.
    pub fn open(
        file: impl AsRef<Path>,
        tables: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<()>,
    ) -> Result<Self, ReadModelError> {
        let file = file.as_ref();
        let mut writer = connect(file)?;
        writer.pragma_update(None, "journal_mode", "WAL")?;
        writer.pragma_update(None, "synchronous", "FULL")?;
        let setup = writer.transaction_with_behavior(TransactionBehavior::Immediate)?;
        setup.execute_batch(TABLES)?;
        tables(&setup)?;
        setup.commit()?;
        let writes = serve("read-model-writer", [writer])?;
        let mut readers = Vec::with_capacity(READERS);
        for _ in 0..READERS {
            let reader = connect(file)?;
            reader.pragma_update(None, "query_only", true)?;
            readers.push(reader);
        }
        Ok(Self(Arc::new(Inner { writes, reads: serve("read-model-reader", readers)? })))
    }

    /// Asks the tables something. Sees every item that a projection has been waited for.
    ///
    /// # Errors
    /// What `query` says, or that the threads have ended.
    pub async fn read<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, ReadModelError> {
        let (job, answer) = job(move |db| query(db));
        self.0.reads.send(job).await.map_err(|_| ended())?;
        Ok(answer.await.map_err(|_| ended())??)
    }

    /// Changes the tables apart from any projection, in a transaction of its own.
    ///
    /// # Errors
    /// What `change` says: then nothing is changed.
    pub async fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, ReadModelError> {
        let (job, answer) = job(move |db| {
            let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let changed = change(&transaction)?;
            transaction.commit()?;
            Ok::<_, rusqlite::Error>(changed)
        });
        self.0.writes.send(job).await.map_err(|_| ended())?;
        Ok(answer.await.map_err(|_| ended())??)
    }

    fn written<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Connection) -> Result<T, AppendError> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, AppendError>> {
        let (job, answer) = job(change);
        let writes = self.0.writes.clone();
        async move {
            let unavailable = |_| AppendError::Unavailable { reason: ended().to_string() };
            writes.send(job).await.map_err(unavailable)?;
            answer.await.unwrap_or_else(|_| Err(AppendError::Unknown { reason: ended().to_string() }))
        }
        .boxed()
    }

    fn perform(&self, work: ProjectionWork) -> BoxFuture<'static, Result<Written, AppendError>> {
        self.written(move |db| {
            let transaction = begin(db)?;
            let (answer, _) = perform(&transaction, &READ_MODEL, &work).map_err(|error| before_commit(&error))?;
            if answer.is_ok() {
                commit(transaction)?;
            }
            answer
        })
    }

    fn asked<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, ReadError> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, JournalError>> {
        let (job, answer) = job(move |db| query(db));
        let reads = self.0.reads.clone();
        async move {
            let unavailable = |reason: String| JournalError::Unavailable { reason };
            reads.send(job).await.map_err(|_| unavailable(ended().to_string()))?;
            let found = answer.await.map_err(|_| unavailable(ended().to_string()))?;
            found.map_err(|error| match error {
                ReadError::Damaged(error) => error,
                ReadError::Sqlite(error) => unavailable(error.to_string()),
            })
        }
        .boxed()
    }
}

fn connect(file: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(file, flags)?;
    db.busy_timeout(BUSY_TIMEOUT)?;
    db.set_prepared_statement_cache_capacity(64);
    Ok(db)
}

/// A thread for each connection, which end with the last handle.
fn serve(name: &str, connections: impl IntoIterator<Item = Connection>) -> Result<mpsc::Sender<Job>, ReadModelError> {
    let (jobs, queue) = mpsc::channel::<Job>(QUEUE);
    let queue = Arc::new(Mutex::new(queue));
    for mut db in connections {
        let queue = Arc::clone(&queue);
        let run = move || {
            loop {
                // Whoever holds the lock is the one that waits; the others wait for the lock.
                let job = queue.lock().blocking_recv();
                let Some(job) = job else { return };
                // A panic of a query is told to whoever asked, by an answer that never comes.
                let _ = catch_unwind(AssertUnwindSafe(|| job(&mut db)));
            }
        };
        let spawned = thread::Builder::new().name(name.to_owned()).spawn(run);
        spawned.map_err(|error| ReadModelError::Unavailable { reason: error.to_string() })?;
    }
    Ok(jobs)
}

fn job<T: Send + 'static>(run: impl FnOnce(&mut Connection) -> T + Send + 'static) -> (Job, oneshot::Receiver<T>) {
    let (reply, answer) = oneshot::channel();
    let job = Box::new(move |db: &mut Connection| {
        let _ = reply.send(run(db));
    });
    (job, answer)
}

fn ended() -> ReadModelError {
    ReadModelError::Unavailable { reason: "its thread gave no answer".to_owned() }
}

fn begin(db: &mut Connection) -> Result<Transaction<'_>, AppendError> {
    db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(|error| before_commit(&error))
}

fn before_commit(error: &rusqlite::Error) -> AppendError {
    AppendError::Unavailable { reason: error.to_string() }
}

fn commit(transaction: Transaction<'_>) -> Result<(), AppendError> {
    transaction.commit().map_err(|error| AppendError::Unknown { reason: error.to_string() })
}

/// Whether it is the database that fails, and not this item: then no other item would fare better.
fn is_the_stores(error: &BoxError) -> bool {
    use ErrorCode::{
        CannotOpen, DatabaseBusy, DatabaseCorrupt, DatabaseLocked, DiskFull, NotADatabase, OutOfMemory, ReadOnly,
        SystemIoFailure,
    };
    let code = error.downcast_ref::<rusqlite::Error>().and_then(rusqlite::Error::sqlite_error_code);
    matches!(
        code,
        Some(
            CannotOpen
                | DatabaseBusy
                | DatabaseCorrupt
                | DatabaseLocked
                | DiskFull
                | NotADatabase
                | OutOfMemory
                | ReadOnly
                | SystemIoFailure
        )
    )
}

impl ProjectionStore for SqliteReadModel {
    fn take_over(&self, projection: ProjectionId) -> BoxFuture<'static, Result<Claimed, AppendError>> {
        let written = self.perform(ProjectionWork::Claim(projection));
        async move {
            match written.await? {
                Written::Claimed(claimed) => Ok(claimed),
                other => unreachable!("a claim answers an offset, not {other:?}"),
            }
        }
        .boxed()
    }

    fn save_offset(&self, fence: ProjectionFence, offset: Offset) -> BoxFuture<'static, Result<(), AppendError>> {
        self.perform(ProjectionWork::SaveOffset(fence, offset)).map(|done| done.map(drop)).boxed()
    }

    fn set_offset(&self, fence: ProjectionFence, offset: Offset) -> BoxFuture<'static, Result<(), AppendError>> {
        self.perform(ProjectionWork::SetOffset(fence, offset)).map(|done| done.map(drop)).boxed()
    }

    fn set_paused(&self, projection: ProjectionId, paused: bool) -> BoxFuture<'static, Result<(), AppendError>> {
        self.perform(ProjectionWork::SetPaused(projection, paused)).map(|done| done.map(drop)).boxed()
    }

    fn positions(&self, selection: Selection) -> BoxFuture<'static, Result<Vec<Position>, JournalError>> {
        self.asked(move |db| positions(db, &READ_MODEL, &selection))
    }

    fn park(&self, fence: ProjectionFence, event: ParkedEvent) -> BoxFuture<'static, Result<(), AppendError>> {
        self.perform(ProjectionWork::Park(fence, event)).map(|done| done.map(drop)).boxed()
    }

    fn unpark(&self, fence: ProjectionFence, offset: Offset) -> BoxFuture<'static, Result<(), AppendError>> {
        self.perform(ProjectionWork::Unpark(fence, offset)).map(|done| done.map(drop)).boxed()
    }

    fn parked(
        &self,
        selection: Selection,
        after: Option<(ProjectionId, Offset)>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<ParkedEvent>, JournalError>> {
        let page = ParkedPage { selection, after, limit, to_replay: false };
        self.asked(move |db| parked(db, &READ_MODEL, &page))
    }

    fn to_replay(
        &self,
        selection: Selection,
        after: Option<(ProjectionId, Offset)>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<ParkedEvent>, JournalError>> {
        let page = ParkedPage { selection, after, limit, to_replay: true };
        self.asked(move |db| parked(db, &READ_MODEL, &page))
    }

    fn parked_count(&self, selection: Selection) -> BoxFuture<'static, Result<u64, JournalError>> {
        self.asked(move |db| parked_count(db, &READ_MODEL, &selection))
    }

    fn replay_parked(&self, selection: Selection) -> BoxFuture<'static, Result<u64, AppendError>> {
        counted(self.perform(ProjectionWork::Replay(selection)))
    }

    fn drop_parked(&self, selection: Selection) -> BoxFuture<'static, Result<u64, AppendError>> {
        counted(self.perform(ProjectionWork::Drop(selection)))
    }
}

fn counted(written: BoxFuture<'static, Result<Written, AppendError>>) -> BoxFuture<'static, Result<u64, AppendError>> {
    async move {
        match written.await? {
            Written::Count(count) => Ok(count),
            other => unreachable!("a change of parked events answers a number, not {other:?}"),
        }
    }
    .boxed()
}

/// What a user does with items in a transaction.
pub(super) enum Handler<I> {
    OneByOne(Arc<EachItem<I>>),
    ByGroup(Arc<EachGroup<I>>),
}

type EachItem<I> = dyn Fn(&Transaction<'_>, &I) -> Result<(), BoxError> + Send + Sync;
type EachGroup<I> = dyn Fn(&Transaction<'_>, &[Arc<I>]) -> Result<(), BoxError> + Send + Sync;

/// What a user does in the transaction of a reset.
pub(super) type OnReset = Arc<dyn Fn(&Transaction<'_>) -> rusqlite::Result<()> + Send + Sync>;

/// Items into the tables of a read model.
pub(super) struct IntoTables<I> {
    pub(super) model: SqliteReadModel,
    pub(super) handler: Arc<Handler<I>>,
    pub(super) on_reset: Option<OnReset>,
}

impl<I: Envelope> Sink<I> for IntoTables<I> {
    fn store(&self) -> Arc<dyn ProjectionStore> {
        Arc::new(self.model.clone())
    }

    fn work(&self, work: Work<I>, _: &Clock) -> BoxFuture<'static, Result<Applied, AppendError>> {
        let handler = Arc::clone(&self.handler);
        self.model.written(move |db| {
            let transaction = begin(db)?;
            let id = fenced(&transaction, &READ_MODEL, &work.fence).map_err(|error| before_commit(&error))??;
            if work.replay {
                // First: one that somebody else has handled or dropped is not handled.
                for item in &work.items {
                    let forget = ProjectionWork::Drop(Selection::one(&work.fence.projection, item.offset()));
                    let (forgotten, _) =
                        perform(&transaction, &READ_MODEL, &forget).map_err(|error| before_commit(&error))?;
                    if matches!(forgotten?, Written::Count(0)) {
                        return Ok(Applied { done: 0, failure: None });
                    }
                }
            }
            let applied = match &*handler {
                Handler::OneByOne(handle) => one_by_one(&transaction, &work.items, &**handle)?,
                Handler::ByGroup(handle) => match caught(|| handle(&transaction, &work.items)) {
                    Ok(()) => Applied { done: work.items.len(), failure: None },
                    Err(error) if is_the_stores(&error) => return Err(store_failed(&error)),
                    // Dropped with the transaction: nothing of the group stays.
                    Err(error) => return Ok(Applied { done: 0, failure: Some(error.to_string()) }),
                },
            };
            match work.items[..applied.done].last() {
                Some(last) if !work.replay => {
                    move_offset(&transaction, &READ_MODEL, id, last.offset()).map_err(|error| before_commit(&error))?;
                }
                // Dropped with the transaction: it stays parked.
                _ if applied.failure.is_some() => return Ok(applied),
                _ => {}
            }
            commit(transaction)?;
            Ok(applied)
        })
    }

    fn reset(&self, fence: ProjectionFence, offset: Offset) -> BoxFuture<'static, Result<(), AppendError>> {
        let on_reset = self.on_reset.clone();
        self.model.written(move |db| {
            let transaction = begin(db)?;
            let work = ProjectionWork::SetOffset(fence, offset);
            perform(&transaction, &READ_MODEL, &work).map_err(|error| before_commit(&error))?.0?;
            if let Some(on_reset) = on_reset {
                caught(|| Ok(on_reset(&transaction)?)).map_err(|error| store_failed(&error))?;
            }
            commit(transaction)
        })
    }
}

/// Each item in a savepoint: one that fails leaves nothing, and those before it stay.
fn one_by_one<I>(
    transaction: &Transaction<'_>,
    items: &[Arc<I>],
    handle: &EachItem<I>,
) -> Result<Applied, AppendError> {
    let run = |sql: &str| {
        let done = transaction.prepare_cached(sql).and_then(|mut statement| statement.execute(()));
        done.map(drop).map_err(|error| before_commit(&error))
    };
    for (done, item) in items.iter().enumerate() {
        run("SAVEPOINT persistence_item")?;
        match caught(|| handle(transaction, item)) {
            Ok(()) => run("RELEASE persistence_item")?,
            Err(error) if is_the_stores(&error) => return Err(store_failed(&error)),
            Err(error) => {
                run("ROLLBACK TO persistence_item")?;
                run("RELEASE persistence_item")?;
                return Ok(Applied { done, failure: Some(error.to_string()) });
            }
        }
    }
    Ok(Applied { done: items.len(), failure: None })
}

fn store_failed(error: &BoxError) -> AppendError {
    AppendError::Unavailable { reason: format!("the read model's database: {error}") }
}
