//! [`SqliteStore`]: events, snapshots and states in one SQLite database, for one process.
//!
//! One thread writes and commits many requests together; a few threads read. No call of SQLite ever runs on a thread of
//! the async runtime.

mod cache;
mod fault;
mod lock;
mod log_file;
mod options;
mod reader;
mod request;
mod row;
mod schema;
mod state;
mod stats;
mod transaction;
mod writer;

pub(crate) use cache::{Cache, NameTable};
pub(crate) use lock::StoreLock;
pub use options::{Durability, OpenError, SqliteOptions};
pub(crate) use reader::ReadError;
pub(crate) use request::{ReadRequest, Reply, Work, Written};
pub(crate) use row::{ManifestNames, StoredRow};
pub(crate) use schema::{SCHEMA_VERSION, create_unsynced, open_from_outside, schema_version};
pub(crate) use state::StateRow;
pub(crate) use transaction::{Transaction, clamped};

use crate::{AppendError, BoxFuture, JournalError};
use futures_util::FutureExt;
use parking_lot::Mutex;
use reader::Reader;
use request::WriteRequest;
use stats::{Backlog, Stats};
use std::{
    future::{Future, ready},
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    thread::{self, JoinHandle},
};
use tokio::sync::{mpsc, oneshot, watch};
use writer::Writer;

/// A [`Journal`](crate::Journal) of [`RawEvent`](crate::RawEvent)s [`SnapshotStore`](crate::SnapshotStore) of
/// [`RawSnapshot`](crate::RawSnapshot)s and [`StateStore`](crate::StateStore) of [`RawState`](crate::RawState)s in a
/// folder. Wrap it in [`Coded`](crate::Coded) to store values.
///
/// A handle, cheap to clone. The folder holds `store.db` with its `-wal` and `-shm` files, and `store.lock`; while it is
/// open, `sqlite3 -readonly` may look into it, and no other process can open it here.
///
/// # Durability
/// With [`Durability::Fsync`] an acknowledged write survives `kill -9` and power loss. A write whose outcome is
/// [`AppendError::Unknown`] is stored or not, entirely.
#[derive(Clone)]
pub struct SqliteStore {
    inner: Arc<Inner>,
}

struct Inner {
    writes: mpsc::Sender<WriteRequest>,
    reads: crossbeam_channel::Sender<ReadRequest>,
    queue_bytes: usize,
    path: PathBuf,
    stats: Arc<Stats>,
    threads: Mutex<Threads>,
}

#[derive(Default)]
struct Threads {
    readers: Vec<JoinHandle<()>>,
    writer: Option<JoinHandle<()>>,
}

impl SqliteStore {
    /// Opens the store in `folder`, creating it if need be. Blocks for some milliseconds, longer after a crash with a
    /// long log.
    ///
    /// # Errors
    /// [`OpenError`] says what to do about it; nothing stored is changed.
    pub fn open(folder: impl AsRef<Path>, options: SqliteOptions) -> Result<Self, OpenError> {
        let folder = folder.as_ref();
        options.validate()?;
        let lock = StoreLock::acquire(folder)?;
        let path = folder.join("store.db");
        let stats = Arc::<Stats>::default();
        let (writes, write_queue) = mpsc::channel(options.queue_requests);
        let (reads, read_queue) = crossbeam_channel::bounded(options.queue_requests);
        let writer = Writer::open(path.clone(), options.clone(), write_queue, Arc::clone(&stats), lock)?;
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
            thread::Builder::new()
                .name(name.to_owned())
                .spawn(run)
                .map_err(|error| OpenError::Io { path: path.clone(), reason: error.to_string() })
        };
        let mut threads = Threads::default();
        for _ in 0..options.readers {
            let db = Some(schema::open_reader(&path, &options)?);
            let (queue, stats) = (read_queue.clone(), Arc::clone(&stats));
            let reader = Reader { path: path.clone(), options: options.clone(), queue, stats, db };
            threads.readers.push(spawn("store-reader", Box::new(move || reader.run()))?);
        }
        threads.writer = Some(spawn("store-writer", Box::new(move || writer.run()))?);
        let queue_bytes = options.queue_bytes;
        let inner = Inner { writes, reads, queue_bytes, path, stats, threads: Mutex::new(threads) };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Finishes what was requested before, then closes the files and ends the threads. Afterwards every request, from
    /// any clone, is refused as unavailable, and the folder can be opened again. A second call does nothing.
    ///
    /// Without it the same happens some time after the last clone is dropped, except that nobody knows when.
    pub async fn close(&self) {
        let Threads { readers, writer } = std::mem::take(&mut *self.inner.threads.lock());
        let (reads, count) = (self.inner.reads.clone(), readers.len());
        // Waits for room: reads that came before are answered.
        join(readers, move || (0..count).for_each(|_| drop(reads.send(ReadRequest::Close)))).await;
        // The writer goes last: the last connection to go copies the log into the database file.
        let (reply, closed) = oneshot::channel();
        if let Some(backlog) = Backlog::reserve(&self.inner.stats, 0, self.inner.queue_bytes) {
            let request = WriteRequest { work: Work::Close, reply, _backlog: backlog };
            if writer.is_some() && self.inner.writes.send(request).await.is_ok() {
                let _ = closed.await;
            }
        }
        join(writer, || ()).await;
    }

    /// Syncs of the disk since the store was opened: one per commit that wrote, three per checkpoint.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.inner.stats.syncs.load(Ordering::Relaxed)
    }

    /// Commits since the store was opened, each of one or more requests.
    #[must_use]
    pub fn batches(&self) -> u64 {
        self.inner.stats.batches.load(Ordering::Relaxed)
    }

    /// Events stored since the store was opened.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.inner.stats.events.load(Ordering::Relaxed)
    }

    /// The database file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// Raised with every commit that stored events.
    pub(crate) fn events_stored(&self) -> &watch::Sender<u64> {
        &self.inner.stats.events_stored
    }

    /// Raised with every commit that stored states.
    pub(crate) fn states_stored(&self) -> &watch::Sender<u64> {
        &self.inner.stats.states_stored
    }

    /// Queues `work` at once; the future only waits for the answer.
    pub(crate) fn write(&self, work: Work) -> BoxFuture<'static, Result<Written, AppendError>> {
        let inner = &self.inner;
        let refused = |error| ready(Err(error)).boxed();
        let overloaded = |reason: &str| refused(AppendError::Overloaded { reason: reason.to_owned() });
        let Some(backlog) = Backlog::reserve(&inner.stats, work.weight(), inner.queue_bytes) else {
            return overloaded("too many bytes wait for the writer (queue_bytes)");
        };
        let (reply, answer) = oneshot::channel();
        match inner.writes.try_send(WriteRequest { work, reply, _backlog: backlog }) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                return overloaded("too many requests wait for the writer (queue_requests)");
            }
            Err(mpsc::error::TrySendError::Closed(_)) => {
                return refused(AppendError::Unavailable { reason: "store is closed".to_owned() });
            }
        }
        async move {
            // A writer that ended without an answer may have committed first.
            answer.await.unwrap_or_else(|_| Err(AppendError::Unknown { reason: "the writer ended".into() }))
        }
        .boxed()
    }

    /// Queues a read at once; the future only waits for the answer.
    pub(crate) fn read<T: Send + 'static>(
        &self,
        request: impl FnOnce(Reply<T>) -> ReadRequest,
    ) -> BoxFuture<'static, Result<T, JournalError>> {
        let (reply, answer) = oneshot::channel();
        let unavailable = |reason: &str| JournalError::Unavailable { reason: reason.to_owned() };
        if let Err(error) = self.inner.reads.try_send(request(reply)) {
            return ready(Err(match error {
                crossbeam_channel::TrySendError::Full(_) => {
                    JournalError::Overloaded { reason: "too many reads wait (queue_requests)".to_owned() }
                }
                crossbeam_channel::TrySendError::Disconnected(_) => unavailable("store is closed"),
            }))
            .boxed();
        }
        async move { answer.await.unwrap_or_else(|_| Err(unavailable("store is closed"))) }.boxed()
    }
}

/// Has threads end and joins them, without blocking the runtime should one take its time.
fn join(
    threads: impl IntoIterator<Item = JoinHandle<()>> + Send + 'static,
    end: impl FnOnce() + Send + 'static,
) -> impl Future<Output = ()> {
    let (done, ended) = oneshot::channel::<()>();
    let waiter = thread::Builder::new().name("store-close".to_owned()).spawn(move || {
        end();
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a store thread panicked");
            }
        }
        drop(done);
    });
    async move {
        if waiter.is_ok() {
            let _ = ended.await;
        }
    }
}
