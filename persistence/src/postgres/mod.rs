//! [`PostgresStore`]: events, snapshots and states in a PostgreSQL database that several nodes share.
//!
//! A few connections write, each many requests in one transaction; a few others read.

mod columns;
mod error;
mod fault;
mod known;
mod known_columns;
mod leases;
mod options;
mod pending;
mod reader;
#[cfg(test)]
pub(crate) mod real_server;
mod request;
mod rows;
mod schema;
mod session;
mod statements;
mod sweep;
mod tls;
mod transaction;
mod watch;
mod writer;

pub(crate) use columns::{BatchId, TransactionId, clamped};
pub use error::PostgresOpenError;
pub(crate) use fault::Fault;
pub use leases::{LeaseRow, LeaseRowError, LeaseSwap, PostgresLeases};
pub use options::PostgresOptions;
pub(crate) use options::chain;
pub(crate) use request::{Work, Written};
pub(crate) use rows::{ReadError, StoredRow, highest_seq, load_snapshot, load_state, replay, stored_state};
pub(crate) use schema::{installed_version, prepare as prepare_schema};
pub(crate) use session::{Connector, Parameter, PlainClient, Session, Sql};

use crate::{
    AppendError, BoxFuture, FenceScope, JournalError, PersistenceId, ProjectionId,
    journal::{check_batch, not_covered},
};
use actors::Clock;
use futures_util::FutureExt;
use parking_lot::Mutex;
use reader::{Question, Read};
use request::{Backlog, WriteRequest};
use schema::Identity;
use std::{
    future::ready,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Notify, mpsc, oneshot, watch::Sender},
    task::JoinHandle,
};
use writer::Writer;

/// A [`Journal`](crate::Journal) of [`RawEvent`](crate::RawEvent)s, [`SnapshotStore`](crate::SnapshotStore) of
/// [`RawSnapshot`](crate::RawSnapshot)s and [`StateStore`](crate::StateStore) of [`RawState`](crate::RawState)s in a
/// schema of a PostgreSQL database, version 13 or later. Wrap it in [`Coded`](crate::Coded) to store values.
///
/// A handle, cheap to clone. Any number of processes may have the same store open: who claimed an entity last is the one
/// that writes to it.
///
/// # Durability
/// With [`Durability::Fsync`](crate::Durability::Fsync) an acknowledged write survives a crash of the server and of its
/// machine. A write whose outcome is [`AppendError::Unknown`] was on its way when the connection was lost: it is stored or
/// not, entirely, and the same write sent again settles it.
///
/// # Servers that move or go back
/// The order of feeds rests on the server's transaction ids. A dump that was restored into another server, whose ids are
/// others, is refused until it is [adopted](Self::adopt).
///
/// A server that is restored to an earlier moment, or a replica that lagged behind when it was promoted, is still the same
/// server, has lost commits that were acknowledged, and gives their ids out again. What the store keeps itself is of that
/// earlier moment too, and consistent. Who remembers more is ahead of it: offsets kept elsewhere, as in a
/// [`SqliteReadModel`](crate::SqliteReadModel), and nodes that run on. So stop all nodes and adopt the store before
/// anything is written to it: what comes then is behind every offset there was. An offset ahead of every transaction of the
/// server is refused as a [`ForeignOffset`](crate::JournalError::ForeignOffset); one that was overtaken meanwhile passes
/// over what was stored up to it. [`open`](Self::open) logs a warning when the server's timeline is another one than when
/// the store was made or adopted. After a promotion that lost nothing there is nothing to do: hence no more than a warning.
/// A copy of the server's files that is put back has the old timeline and is not noticed: adopting does nothing then, so
/// restore by recovery to a point in time instead, which begins a timeline of its own.
///
/// # Text
/// PostgreSQL stores no zero characters in text: ids, manifests and tags that hold one are rejected.
#[derive(Clone)]
pub struct PostgresStore {
    inner: Arc<Inner>,
}

struct Inner {
    writers: Vec<mpsc::Sender<WriteRequest>>,
    reads: mpsc::Sender<Box<dyn Read>>,
    queued_bytes: Arc<AtomicUsize>,
    shared: Arc<Shared>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    upkeep: Mutex<Vec<JoinHandle<()>>>,
}

/// What all tasks of a store know.
pub(crate) struct Shared {
    connector: Connector,
    identity: Identity,
    sweep: Notify,
    closing: Notify, // for the readers
    stored: Notify,  // for the watch
    last_tx: AtomicU64,
    batches: AtomicU64,
    events: AtomicU64,
    events_stored: Sender<u64>,
    states_stored: Sender<u64>,
}

impl PostgresStore {
    /// Connects, makes or upgrades the schema, and checks that the server is one that this store can be written to.
    /// Takes as long as connections take, longer while another node upgrades the schema. Tasks of the store run on the
    /// ambient tokio runtime.
    ///
    /// # Errors
    /// [`PostgresOpenError`] says what to do about it; nothing stored is changed.
    pub async fn open(options: PostgresOptions, clock: Clock) -> Result<Self, PostgresOpenError> {
        let connector = Connector::new(&options, &clock)?;
        let first = connector.connect(&[]).await?;
        let identity = schema::prepare(&connector, &first).await?;
        let shared = Arc::new(Shared {
            connector,
            identity,
            sweep: Notify::new(),
            closing: Notify::new(),
            stored: Notify::new(),
            last_tx: AtomicU64::new(0),
            batches: AtomicU64::new(0),
            events: AtomicU64::new(0),
            events_stored: Sender::default(),
            states_stored: Sender::default(),
        });
        // All at once, so that a server with too few connections shows now and not under load.
        let (mut writing, mut reading) = (Vec::new(), Vec::new());
        for _ in 0..options.writers {
            writing.push(shared.connector.connect(statements::WRITERS).await?);
        }
        for _ in 0..options.readers {
            reading.push(shared.connector.connect(rows::READERS).await?);
        }
        let (mut writers, mut tasks) = (Vec::new(), Vec::new());
        for session in writing {
            let (sender, queue) = mpsc::channel(options.queue_requests);
            writers.push(sender);
            tasks.push(tokio::spawn(Writer::new(Arc::clone(&shared), session, queue).run()));
        }
        let (reads, queue) = mpsc::channel(options.queue_requests);
        let read_queue = Arc::new(tokio::sync::Mutex::new(queue));
        for session in reading {
            tasks.push(tokio::spawn(reader::run(Arc::clone(&shared), session, Arc::clone(&read_queue))));
        }
        let upkeep =
            vec![tokio::spawn(sweep::run(Arc::clone(&shared), first)), tokio::spawn(watch::run(Arc::clone(&shared)))];
        let inner = Inner {
            writers,
            reads,
            queued_bytes: Arc::default(),
            shared,
            tasks: Mutex::new(tasks),
            upkeep: Mutex::new(upkeep),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Takes over a store that was restored from a dump into another server, or upgraded to another one: its generation
    /// grows, so that everything from now on comes after everything before in the order of feeds. Only when nobody writes
    /// to the original any more; does nothing to a store that belongs to this server. A server that was promoted, or set back
    /// to an earlier moment, counts as another one. Nodes that have the store open refuse to go on once they connect anew:
    /// stop them first. Answers the generation.
    ///
    /// # Errors
    /// As [`open`](Self::open); nothing is changed then.
    pub async fn adopt(options: PostgresOptions, clock: Clock) -> Result<u32, PostgresOpenError> {
        let connector = Connector::new(&options, &clock)?;
        let session = connector.connect(&[]).await?;
        Ok(schema::adopt(&connector, &session).await?.generation as u32)
    }

    /// Finishes what was requested before, then closes the connections. Afterwards every request, from any clone, is
    /// refused as unavailable. A second call does nothing.
    ///
    /// Without it the same happens some time after the last clone is dropped, except that nobody knows when.
    pub async fn close(&self) {
        let tasks = std::mem::take(&mut *self.inner.tasks.lock());
        for upkeep in self.inner.upkeep.lock().drain(..) {
            upkeep.abort();
        }
        for writer in &self.inner.writers {
            let (reply, closed) = oneshot::channel();
            let backlog = Backlog::reserve(&self.inner.queued_bytes, 0, 0).expect("what weighs nothing always fits");
            let request = WriteRequest { work: Work::Close, reply, attempts: 0, _backlog: backlog };
            if writer.send(request).await.is_ok() {
                let _ = closed.await;
            }
        }
        self.inner.shared.closing.notify_one();
        for task in tasks {
            if task.await.is_err_and(|error| error.is_panic()) {
                tracing::error!("a task of the store panicked");
            }
        }
    }

    /// Commits since the store was opened, each of one or more requests; some of these may have been refused.
    #[must_use]
    pub fn batches(&self) -> u64 {
        self.inner.shared.batches.load(Ordering::Relaxed)
    }

    /// Events stored since the store was opened.
    #[must_use]
    pub fn events(&self) -> u64 {
        self.inner.shared.events.load(Ordering::Relaxed)
    }

    /// Of the server's data, as it was when the store was opened.
    pub(crate) fn generation(&self) -> i32 {
        self.inner.shared.identity.generation
    }

    /// The last transaction of this store that stored events or states.
    pub(crate) fn last_tx(&self) -> u64 {
        self.inner.shared.last_tx.load(Ordering::Relaxed)
    }

    /// A connection for whoever writes tables of the program's own.
    pub(crate) async fn plain_client(&self) -> Result<PlainClient, PostgresOpenError> {
        let shared = &self.inner.shared;
        let client = shared.connector.connect_plain().await?;
        shared.check_identity(client.session()).await?;
        Ok(client)
    }

    /// How long to wait for an answer of the server.
    pub(crate) fn answer_within(&self) -> Duration {
        self.inner.shared.connector.answer_within()
    }

    pub(crate) fn clock(&self) -> &Clock {
        self.inner.shared.connector.clock()
    }

    /// Raised with every commit that stored events, and when others have stored some.
    pub(crate) fn events_stored(&self) -> &Sender<u64> {
        &self.inner.shared.events_stored
    }

    /// Raised with every commit that stored states, and when others have stored some.
    pub(crate) fn states_stored(&self) -> &Sender<u64> {
        &self.inner.shared.states_stored
    }

    /// Queues `work` at once; the future only waits for the answer.
    pub(crate) fn write(&self, work: Work) -> BoxFuture<'static, Result<Written, AppendError>> {
        let inner = &self.inner;
        let options = inner.shared.connector.options();
        let refused = |error: AppendError| {
            count_failure(&error);
            ready(Err(error)).boxed()
        };
        if let Err(error) = check(&work, options.payload_bytes_max) {
            return refused(error);
        }
        let overloaded = |reason: &str| refused(AppendError::Overloaded { reason: reason.to_owned() });
        let Some(backlog) = Backlog::reserve(&inner.queued_bytes, work.weight(), options.queue_bytes) else {
            return overloaded("too many bytes wait for the writers (queue_bytes)");
        };
        let (reply, answer) = oneshot::channel();
        let writer = &inner.writers[writer_of(&work, inner.writers.len())];
        match writer.try_send(WriteRequest { work, reply, attempts: 0, _backlog: backlog }) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => {
                return overloaded("too many requests wait for the writer (queue_requests)");
            }
            Err(mpsc::error::TrySendError::Closed(_)) => {
                return refused(AppendError::Unavailable { reason: "store is closed".into() });
            }
        }
        async move {
            // A writer that ended without an answer may have committed first.
            let ended = |_| Err(AppendError::Unknown { reason: "the writer ended".into() });
            answer.await.unwrap_or_else(ended).inspect_err(count_failure)
        }
        .boxed()
    }

    /// A read about what `texts` name, which are refused here and now if the server cannot store such: nothing is there.
    pub(crate) fn read_of<T, F>(&self, texts: &[(&str, &str)], ask: F) -> BoxFuture<'static, Result<T, JournalError>>
    where
        T: Send + 'static,
        F: for<'s> Fn(&'s Session) -> BoxFuture<'s, Result<T, ReadError>> + Send + Sync + 'static,
    {
        match texts.iter().try_for_each(|(what, text)| storable(what, text)) {
            Ok(()) => self.read(ask),
            Err(reason) => ready(Err(JournalError::Rejected { reason })).boxed(),
        }
    }

    /// Queues a read at once; the future only waits for the answer. `ask` may be called again on a new connection.
    pub(crate) fn read<T, F>(&self, ask: F) -> BoxFuture<'static, Result<T, JournalError>>
    where
        T: Send + 'static,
        F: for<'s> Fn(&'s Session) -> BoxFuture<'s, Result<T, ReadError>> + Send + Sync + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let unavailable = |reason: &str| JournalError::Unavailable { reason: reason.to_owned() };
        if let Err(error) = self.inner.reads.try_send(Box::new(Question { ask, reply })) {
            return ready(Err(match error {
                mpsc::error::TrySendError::Full(_) => {
                    JournalError::Overloaded { reason: "too many reads wait (queue_requests)".into() }
                }
                mpsc::error::TrySendError::Closed(_) => unavailable("store is closed"),
            }))
            .boxed();
        }
        async move { answer.await.unwrap_or_else(|_| Err(unavailable("store is closed"))) }.boxed()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        for task in self.upkeep.lock().drain(..) {
            task.abort();
        }
    }
}

impl Shared {
    /// A new connection to the same store.
    async fn reconnect(&self, statements: &[&'static Sql]) -> Result<Session, PostgresOpenError> {
        let session = self.connector.connect(statements).await?;
        self.check_identity(&session).await?;
        Ok(session)
    }

    /// Whether a connection leads to the store that was opened.
    async fn check_identity(&self, session: &Session) -> Result<(), PostgresOpenError> {
        let found = schema::identity(&self.connector, session).await?;
        if found == self.identity {
            return Ok(());
        }
        Err(PostgresOpenError::Foreign {
            place: self.connector.place().to_owned(),
            schema: self.connector.options().schema.clone(),
            reason: "it is not the store that was opened (another was restored in its place); restart".into(),
        })
    }

    fn committed(&self, requests: usize, events: usize, states: bool, tx: u64) {
        self.last_tx.fetch_max(tx, Ordering::Relaxed);
        metrics::histogram!("persistence_batch_requests").record(requests as f64);
        metrics::counter!("persistence_batches_total").increment(1);
        metrics::counter!("persistence_events_total").increment(events as u64);
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.events.fetch_add(events as u64, Ordering::Relaxed);
        if events > 0 {
            self.events_stored.send_modify(|commits| *commits += 1);
        }
        if states {
            self.states_stored.send_modify(|commits| *commits += 1);
        }
        if tx > 0 {
            self.stored.notify_one();
        }
    }
}

/// Why writes fail, for those who watch; each is told to its caller too.
fn count_failure(error: &AppendError) {
    let outcome = match error {
        AppendError::Conflict { .. } => "conflict",
        AppendError::Stale { .. } => "stale",
        AppendError::Rejected { .. } => "rejected",
        AppendError::Unavailable { .. } => "unavailable",
        AppendError::Overloaded { .. } => "overloaded",
        AppendError::Unknown { .. } => "unknown",
    };
    metrics::counter!("persistence_failed_writes_total", "outcome" => outcome).increment(1);
}

/// The same writer for the same shard, always.
///
/// A claim of many shards goes to that of the first, so it is in no order with what other writers were asked before it and
/// have not answered: whichever the server locks first counts, which is what callers that do not wait for an answer have
/// to expect. What they may rely on is settled by the locks: once a claim is answered, no write of an older fence is
/// stored any more, whoever sends it, and all that were stored can be read.
fn writer_of(work: &Work, writers: usize) -> usize {
    let slice = |id: &PersistenceId| usize::from(id.slice());
    let shard = match work {
        Work::Claim(scopes) => scopes.first().map_or(0, |scope| match scope {
            FenceScope::Entity(id) => slice(id),
            FenceScope::Shard { shard, .. } => usize::from(*shard),
        }),
        Work::Projection(work) => work.projection().map_or(0, |ProjectionId { group, source }| {
            crc32c::crc32c_append(crc32c::crc32c(group.as_bytes()), source.as_bytes()) as usize
        }),
        work => work.subject().map_or(0, |(id, _)| slice(id)),
    };
    shard % writers
}

/// What can be refused without asking the server.
fn check(work: &Work, payload_bytes_max: usize) -> Result<(), AppendError> {
    let rejected = |reason: String| Err(AppendError::Rejected { reason });
    let storable = |what: &str, text: &str| storable(what, text).or_else(rejected);
    let size = |bytes: usize| {
        if bytes > payload_bytes_max {
            return rejected(format!("payload and meta hold {bytes} bytes, payload_bytes_max is {payload_bytes_max}"));
        }
        Ok(())
    };
    if let Some((id, fence)) = work.subject() {
        storable("id", id.as_str())?;
        if !fence.covers(id) {
            return Err(not_covered(id, fence));
        }
    }
    match work {
        Work::Append(append) => {
            check_batch(append)?;
            for event in &append.events {
                size(event.weight())?;
                storable("manifest", &event.manifest)?;
            }
            if work.weight() > BATCH_BYTES_MAX {
                return rejected(format!("a batch of {} bytes is more than {BATCH_BYTES_MAX}", work.weight()));
            }
            append.tags.iter().flatten().try_for_each(|tag| storable("tag", tag))
        }
        Work::WriteState(write) => {
            size(work.weight())?;
            write.tag.as_ref().map_or(Ok(()), |tag| storable("tag", tag))?;
            write.state.as_ref().map_or(Ok(()), |state| storable("manifest", &state.manifest))
        }
        Work::SaveSnapshot { snapshot, .. } => {
            size(work.weight())?;
            storable("manifest", &snapshot.manifest)
        }
        Work::Claim(scopes) => scopes.iter().try_for_each(|scope| match scope {
            FenceScope::Entity(id) => storable("id", id.as_str()),
            FenceScope::Shard { entity_type, .. } => storable("entity type", entity_type),
        }),
        Work::Projection(work) => {
            work.texts().into_iter().try_for_each(|text| storable("a projection's group, source, id or reason", text))
        }
        Work::DeleteSnapshots { .. } | Work::DeleteEvents { .. } | Work::Close => Ok(()),
    }
}

/// What is wrong with a text that the server would refuse; `what` says where it belongs.
fn storable(what: &str, text: &str) -> Result<(), String> {
    if text.contains('\0') {
        return Err(format!("{what} {text:?} holds a zero character, which PostgreSQL cannot store"));
    }
    Ok(())
}

/// The protocol has no messages of a gigabyte, and the server needs a few times as much memory.
const BATCH_BYTES_MAX: usize = 512 << 20;
