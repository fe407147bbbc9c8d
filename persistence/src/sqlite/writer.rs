//! The writer thread: collects requests, commits them together, then answers all.
//!
//! There is no timer: the next batch collects while the last one syncs, so a lone request waits for nobody and a crowd
//! shares one sync.
//!
//! Invariant: nobody is told "stored" before the commit returned, and a connection whose commit failed in an unknown way
//! is never used again.

use super::{
    Durability, OpenError, SqliteOptions,
    cache::Cache,
    fault::Fault,
    lock::StoreLock,
    log_file,
    request::{Work, WriteRequest, Written},
    schema,
    stats::Stats,
    transaction::{Transaction, sweep},
};
use crate::AppendError;
use rusqlite::Connection;
use std::{
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    thread,
    time::Duration,
};
use tokio::sync::mpsc::{Receiver, error::TryRecvError};

pub(crate) struct Writer {
    path: PathBuf,
    options: SqliteOptions,
    queue: Receiver<WriteRequest>,
    stats: Arc<Stats>,
    db: Option<Connection>, // `None` while the store is broken
    cache: Cache,
    data_version: i64, // of the database when the cache was last known to be right
    restart_at: i64,   // pages of log from which it is made to start again
    sweeping: bool,    // deleted rows may be left to remove
    _lock: StoreLock,
}

/// Between two attempts to reopen a broken store that nobody writes to; reads are refused until one succeeds.
const REOPEN_PAUSE: Duration = Duration::from_millis(200);

/// The log may grow to as many times `checkpoint_pages` before the writer waits for readers so that it can start again.
const LOG_PAGES_FACTOR: i64 = 4;

/// How long the writer waits for readers then. Those of the store take a few ms each; others may take for ever.
const RESTART_WAIT: Duration = Duration::from_millis(100);

type Answer = Result<Written, AppendError>;

impl Writer {
    pub(crate) fn open(
        path: PathBuf,
        options: SqliteOptions,
        queue: Receiver<WriteRequest>,
        stats: Arc<Stats>,
        lock: StoreLock,
    ) -> Result<Self, OpenError> {
        let db = schema::open_writer(&path, &options)?;
        // Before anybody reads: what a killed process left in the log counts from now on, so it must be durable.
        if options.durability == Durability::Fsync {
            let syncs = log_file::make_durable(&db).map_err(|error| schema::open_error(&path, &error))?;
            stats.synced(syncs);
        }
        let restart_at = i64::from(options.checkpoint_pages) * LOG_PAGES_FACTOR;
        let (db, cache) = (Some(db), Cache::default());
        let data_version = 0;
        Ok(Self { path, options, queue, stats, db, cache, data_version, restart_at, sweeping: true, _lock: lock })
    }

    /// Serves until every handle is gone or [`Work::Close`] arrives.
    pub(crate) fn run(mut self) {
        while let Some(first) = self.next() {
            let (batch, close) = self.collect(first);
            self.serve(batch);
            self.checkpoint();
            self.sweep();
            if let Some(close) = close {
                self.db = None; // closes the file before anybody is told
                self.refuse_the_rest();
                let _ = close.reply.send(Ok(Written::Done));
                return;
            }
        }
    }

    /// Answers those that came after the request to close.
    fn refuse_the_rest(&mut self) {
        self.queue.close();
        while let Some(request) = self.queue.blocking_recv() {
            let _ = request.reply.send(Err(AppendError::Unavailable { reason: "store is closed".into() }));
        }
    }

    /// The next request; meanwhile reopens a broken store and removes deleted rows.
    fn next(&mut self) -> Option<WriteRequest> {
        loop {
            let broken = self.ensure_open().is_err();
            if !broken && !self.sweeping {
                return self.queue.blocking_recv();
            }
            match self.queue.try_recv() {
                Ok(request) => return Some(request),
                Err(TryRecvError::Disconnected) => return None,
                #[expect(clippy::disallowed_methods, reason = "the writer's own thread, which runs no actor")]
                Err(TryRecvError::Empty) if broken => thread::sleep(REOPEN_PAUSE),
                Err(TryRecvError::Empty) => self.sweep(),
            }
        }
    }

    /// Takes what waits already, up to the limits of a batch. A request to close ends it.
    fn collect(&mut self, first: WriteRequest) -> (Vec<WriteRequest>, Option<WriteRequest>) {
        let mut batch = Vec::new();
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(request) = next {
            if matches!(request.work, Work::Close) {
                return (batch, Some(request));
            }
            bytes += request.work.weight();
            batch.push(request);
            let full = batch.len() >= self.options.batch_requests || bytes >= self.options.batch_bytes;
            next = if full { None } else { self.queue.try_recv().ok() };
        }
        (batch, None)
    }

    fn serve(&mut self, batch: Vec<WriteRequest>) {
        if batch.is_empty() {
            return;
        }
        if let Err(refusal) = self.ensure_open() {
            return answer_all(batch, &refusal);
        }
        match self.commit(&batch) {
            Ok(answers) => answer_each(batch, answers),
            // One request that SQLite will not take must not fail its neighbours.
            Err((Fault::Statement(_), _)) if batch.len() > 1 => {
                for request in batch {
                    self.serve(vec![request]);
                }
            }
            Err((fault, answer)) => {
                if let Fault::Broken(reason) = &fault {
                    self.abandon(reason);
                }
                answer_all(batch, &answer);
            }
        }
    }

    /// All of `batch` in one transaction; the answers are true only because the commit succeeded.
    fn commit(&mut self, batch: &[WriteRequest]) -> Result<Vec<Answer>, (Fault, AppendError)> {
        let db = self.db.as_ref().expect("ensure_open came first");
        let before_commit = |error: rusqlite::Error| {
            let fault = Fault::of(&error);
            let answer = fault.before_commit();
            (fault, answer)
        };
        begin(db).map_err(before_commit)?;
        match data_version(db) {
            Ok(found) if found == self.data_version => {}
            // Somebody else wrote, past the lock: what is remembered of the tables may be wrong, epochs above all.
            Ok(found) => {
                self.cache.clear();
                self.data_version = found;
            }
            Err(error) => {
                let _ = db.execute_batch("ROLLBACK");
                return Err(before_commit(error));
            }
        }
        let mut transaction = Transaction {
            db,
            cache: &mut self.cache,
            payload_bytes_max: self.options.payload_bytes_max,
            events: 0,
            states: 0,
            dirty: false,
        };
        let applied: rusqlite::Result<Vec<Answer>> =
            batch.iter().map(|request| transaction.apply(&request.work)).collect();
        let (events, states, dirty) = (transaction.events, transaction.states, transaction.dirty);
        let committed = match applied {
            Ok(answers) => match db.execute_batch("COMMIT") {
                Ok(()) => Ok(answers),
                Err(error) => {
                    let fault = Fault::of(&error);
                    let answer = fault.in_commit();
                    Err((fault, answer))
                }
            },
            Err(error) => Err(before_commit(error)),
        };
        match committed {
            Ok(answers) => {
                // One sync of the log per commit that wrote; a batch of refusals touches no disk.
                self.stats.committed(batch.len(), events, states, u64::from(dirty) * self.syncs(1));
                self.sweeping |= batch.iter().any(|request| matches!(request.work, Work::DeleteEvents { .. }));
                Ok(answers)
            }
            Err((fault, answer)) => {
                self.cache.clear();
                // SQLite may have rolled back by itself; if neither it nor we can, the connection is of no use.
                if !db.is_autocommit() && db.execute_batch("ROLLBACK").is_err() && !db.is_autocommit() {
                    return Err((Fault::Broken(format!("rollback failed after: {answer}")), answer));
                }
                Err((fault, answer))
            }
        }
    }

    /// Copies the log into the database file once it is long enough. Runs after the answers, so nobody waits for it.
    ///
    /// The log starts again from its front only at a moment when nobody reads from it. Readers that always overlap leave
    /// no such moment, and it would grow without end: from [`LOG_PAGES_FACTOR`] on the writer waits for them.
    fn checkpoint(&mut self) {
        let Some(db) = &self.db else { return };
        let log = |mode: &str| {
            db.prepare_cached(&format!("PRAGMA wal_checkpoint({mode})"))?
                .query_row((), |row| Ok((row.get::<_, bool>(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?)))
        };
        let due = i64::from(self.options.checkpoint_pages);
        let copied = match log("NOOP") {
            Ok((_, pages, copied)) if pages - copied < due => return,
            Ok((_, pages, _)) if pages >= self.restart_at => {
                let restarted = schema::in_less_time(db, RESTART_WAIT, || log("RESTART"));
                // Somebody reads for longer than that: not again before the log has grown by as much as now is due.
                let busy = matches!(restarted, Ok((true, ..)));
                self.restart_at = if busy { pages + due } else { due * LOG_PAGES_FACTOR };
                restarted
            }
            Ok(_) => log("PASSIVE"),
            Err(error) => Err(error),
        };
        match copied {
            // The log, the database file, and soon the header of the log that starts again.
            Ok(_) => self.stats.synced(self.syncs(3)),
            Err(error) => self.failed_apart(&error, "checkpoint failed"),
        }
    }

    /// One step of removing deleted rows.
    fn sweep(&mut self) {
        if !self.sweeping {
            return;
        }
        let Some(db) = &self.db else {
            self.sweeping = false;
            return;
        };
        match sweep(db) {
            Ok(more) => {
                self.sweeping = more;
                self.stats.synced(u64::from(more) * self.syncs(1));
            }
            Err(error) => {
                self.sweeping = false; // until the next deletion or start
                self.failed_apart(&error, "removing deleted events failed");
            }
        }
    }

    /// An error in work that nobody waits for.
    fn failed_apart(&mut self, error: &rusqlite::Error, what: &'static str) {
        tracing::warn!(path = %self.path.display(), %error, what, "store upkeep failed");
        if let Fault::Broken(reason) = Fault::of(error) {
            self.abandon(&reason);
        }
    }

    /// Drops a connection that cannot be trusted. After a failed sync the kernel may have marked pages clean that never
    /// reached the disk, so a second sync proves nothing.
    fn abandon(&mut self, reason: &str) {
        tracing::error!(path = %self.path.display(), reason, "store connection abandoned, reopening from disk");
        metrics::counter!("persistence_reopened_total").increment(1);
        self.stats.suspect.store(true, Ordering::SeqCst);
        self.db = None;
        self.cache.clear();
    }

    /// Reopens an abandoned store. What the log seems to hold is written once more, with a sync of its own: only then is it
    /// known to be on the disk, and readers may see it again. Then it goes into the database file, unless somebody reads
    /// from the log for longer than a moment, as a check or a copy does: whoever looks must not keep the store closed.
    fn ensure_open(&mut self) -> Result<(), AppendError> {
        if self.db.is_some() {
            return Ok(());
        }
        let unavailable =
            |reason: String| AppendError::Unavailable { reason: format!("store is being reopened: {reason}") };
        let db = schema::open_writer(&self.path, &self.options).map_err(|error| unavailable(error.to_string()))?;
        let settled = log_file::cut_off(&db).and_then(|()| match self.options.durability {
            Durability::Fsync => log_file::make_durable(&db),
            Durability::Os => Ok(0),
        });
        let syncs = settled.map_err(|error| unavailable(error.to_string()))?;
        let busy = schema::in_less_time(&db, RESTART_WAIT, || {
            db.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |row| row.get::<_, bool>(0))
        });
        let busy = busy.map_err(|error| unavailable(error.to_string()))?;
        tracing::info!(path = %self.path.display(), log_kept_by_readers = busy, "store reopened");
        self.stats.synced(syncs + self.syncs(2));
        self.db = Some(db);
        self.sweeping = true;
        self.stats.suspect.store(false, Ordering::SeqCst);
        Ok(())
    }

    fn syncs(&self, count: u64) -> u64 {
        match self.options.durability {
            Durability::Fsync => count,
            Durability::Os => 0,
        }
    }
}

fn begin(db: &Connection) -> rusqlite::Result<()> {
    db.prepare_cached("BEGIN IMMEDIATE")?.execute(()).map(drop)
}

/// Changes when another connection has written to the database, and at no other time.
fn data_version(db: &Connection) -> rusqlite::Result<i64> {
    db.prepare_cached("PRAGMA data_version")?.query_row((), |row| row.get(0))
}

fn answer_each(batch: Vec<WriteRequest>, answers: Vec<Answer>) {
    for (request, answer) in batch.into_iter().zip(answers) {
        // A caller that went away is no error: its write is stored all the same.
        let _ = request.reply.send(answer);
    }
}

fn answer_all(batch: Vec<WriteRequest>, answer: &AppendError) {
    for request in batch {
        let _ = request.reply.send(Err(answer.clone()));
    }
}
