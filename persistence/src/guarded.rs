//! [`Guarded`]: a store behind a circuit breaker that all its entities share.

use crate::{
    Append, AppendError, BoxFuture, BreakerChange, BreakerSettings, Call, CallOutcome, CircuitBreaker, DeleteState,
    Fence, FenceScope, Journal, JournalError, PersistenceId, PutState, ReplayLimit, SnapshotStore, StateStore, Stored,
    StoredSnapshot, StoredState,
};
use actors::{Clock, Tick};
use futures_util::FutureExt;
use parking_lot::Mutex;
use std::{future::ready, ops::Range, sync::Arc};

/// A journal, snapshot store, state store, feed or projection store that is left in peace while it fails.
///
/// After some failures in a row ([`BreakerSettings`]) every call is refused at once, for a while, instead of making its
/// entity wait for its end: with [`AppendError::Unavailable`] or [`JournalError::Unavailable`], so certainly without
/// effect. Failures are unknown outcomes, stores that are unavailable, and calls without an answer in time; a write whose
/// time is over counts as [`AppendError::Unknown`]. Refusals of what was asked, and full queues
/// ([`AppendError::Overloaded`], [`JournalError::Overloaded`]), are answers like others.
///
/// Clones share the breaker: make one per store and give each entity a clone. The series
/// `persistence_breaker_opened_total`, `persistence_breaker_refused_total` and `persistence_breaker_open` (0 or 1) carry
/// its name as `store`.
///
/// ```
/// use actors::Clock;
/// use persistence::{Guarded, InMemoryJournal};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let journal = InMemoryJournal::<u64>::default();
/// let journal = Guarded::journal(journal, Clock::tokio());
/// # let _ = journal.clone();
/// # }
/// ```
pub struct Guarded<T> {
    store: Arc<T>,
    guard: Arc<Guard>,
}

struct Guard {
    name: &'static str,
    clock: Clock,
    settings: BreakerSettings,
    breaker: Mutex<Breaker>,
}

struct Breaker {
    circuit: CircuitBreaker,
    last_failure: String,
}

impl<T> Guarded<T> {
    /// A journal, with [`BreakerSettings::JOURNAL`].
    pub fn journal(store: T, clock: Clock) -> Self {
        Self::new("journal", store, clock, BreakerSettings::JOURNAL)
    }

    /// A snapshot store, with [`BreakerSettings::SNAPSHOTS`].
    pub fn snapshots(store: T, clock: Clock) -> Self {
        Self::new("snapshots", store, clock, BreakerSettings::SNAPSHOTS)
    }

    /// A state store, with [`BreakerSettings::JOURNAL`].
    pub fn states(store: T, clock: Clock) -> Self {
        Self::new("states", store, clock, BreakerSettings::JOURNAL)
    }

    /// `store` behind a breaker that logs and metrics call `name`.
    pub fn new(name: &'static str, store: T, clock: Clock, settings: BreakerSettings) -> Self {
        let breaker = Breaker { circuit: CircuitBreaker::new(settings), last_failure: String::new() };
        let guard = Guard { name, clock, settings, breaker: Mutex::new(breaker) };
        metrics::gauge!("persistence_breaker_open", "store" => name).set(0.0);
        Self { store: Arc::new(store), guard: Arc::new(guard) }
    }

    /// Whether calls pass.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.guard.breaker.lock().circuit.is_closed()
    }

    /// The store, for what asks it nothing.
    pub(crate) fn unguarded(&self) -> &T {
        &self.store
    }

    /// Makes a write here and now, if it may pass: writes reach the store in the order in which they were asked for.
    pub(crate) fn write<V: Send + 'static>(
        &self,
        write: impl FnOnce(&T) -> BoxFuture<'static, Result<V, AppendError>>,
    ) -> BoxFuture<'static, Result<V, AppendError>> {
        let under_way = match self.guard.enter() {
            Ok(under_way) => under_way,
            Err(reason) => return ready(Err(AppendError::Unavailable { reason })).boxed(),
        };
        let (written, guard) = (write(&self.store), Arc::clone(&self.guard));
        async move {
            let outcome = match guard.clock.timeout(guard.settings.call_timeout, written).await {
                Ok(outcome) => outcome,
                Err(elapsed) => Err(AppendError::Unknown { reason: elapsed.to_string() }),
            };
            under_way.ended(match &outcome {
                Err(error @ (AppendError::Unknown { .. } | AppendError::Unavailable { .. })) => Err(error.to_string()),
                _ => Ok(()),
            });
            outcome
        }
        .boxed()
    }

    pub(crate) fn read<V: Send + 'static>(
        &self,
        read: impl FnOnce(&T) -> BoxFuture<'static, Result<V, JournalError>>,
    ) -> BoxFuture<'static, Result<V, JournalError>> {
        let under_way = match self.guard.enter() {
            Ok(under_way) => under_way,
            Err(reason) => return ready(Err(JournalError::Unavailable { reason })).boxed(),
        };
        let (answer, guard) = (read(&self.store), Arc::clone(&self.guard));
        async move {
            let outcome = match guard.clock.timeout(guard.settings.call_timeout, answer).await {
                Ok(outcome) => outcome,
                Err(elapsed) => Err(JournalError::Unavailable { reason: elapsed.to_string() }),
            };
            under_way.ended(match &outcome {
                Err(error @ JournalError::Unavailable { .. }) => Err(error.to_string()),
                _ => Ok(()),
            });
            outcome
        }
        .boxed()
    }
}

/// A call that passed. Dropped without an end, it was abandoned.
struct UnderWay {
    guard: Arc<Guard>,
    call: Option<Call>,
    since: Tick,
}

impl Guard {
    fn enter(self: &Arc<Self>) -> Result<UnderWay, String> {
        let (mut breaker, now) = (self.breaker.lock(), self.clock.now());
        match breaker.circuit.enter(now) {
            Ok(call) => Ok(UnderWay { guard: Arc::clone(self), call: Some(call), since: now }),
            Err(open) => {
                metrics::counter!("persistence_breaker_refused_total", "store" => self.name).increment(1);
                Err(format!("{}: {open}; the last failure was: {}", self.name, breaker.last_failure))
            }
        }
    }

    fn changed(&self, change: BreakerChange, last_failure: &str) {
        let open = change == BreakerChange::Opened;
        metrics::gauge!("persistence_breaker_open", "store" => self.name).set(f64::from(u8::from(open)));
        if open {
            metrics::counter!("persistence_breaker_opened_total", "store" => self.name).increment(1);
            let rest = self.settings.reset_after;
            tracing::error!(
                store = self.name,
                last_failure,
                ?rest,
                "circuit breaker opened, the store is left in peace"
            );
        } else {
            tracing::info!(store = self.name, "circuit breaker closed, the store answers again");
        }
    }
}

impl UnderWay {
    /// The call ended; a failure says what it was.
    fn ended(mut self, outcome: Result<(), String>) {
        match outcome {
            Ok(()) => self.leave(CallOutcome::Answered),
            Err(failure) => self.failed(failure),
        }
    }

    fn failed(&mut self, failure: String) {
        self.guard.breaker.lock().last_failure = failure;
        self.leave(CallOutcome::Failed);
    }

    fn leave(&mut self, outcome: CallOutcome) {
        let Some(call) = self.call.take() else { return };
        let mut breaker = self.guard.breaker.lock();
        if let Some(change) = breaker.circuit.leave(call, outcome, self.guard.clock.now()) {
            self.guard.changed(change, &breaker.last_failure);
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if self.call.is_none() {
            return;
        }
        // A caller that has less patience than the breaker gives up first: that must not hide a store that hangs.
        let waited = self.guard.clock.now() - self.since;
        if waited * 2 >= self.guard.settings.call_timeout {
            self.failed(format!("no answer within {waited:?}, when its caller gave up"));
        } else {
            self.leave(CallOutcome::Abandoned);
        }
    }
}

impl<E: Send + 'static, T: Journal<E>> Journal<E> for Guarded<T> {
    fn claim(&self, scope: FenceScope) -> BoxFuture<'static, Result<Fence, JournalError>> {
        self.read(|store| store.claim(scope))
    }

    fn claim_all(
        &self,
        entity_type: Arc<str>,
        shards: Range<u16>,
    ) -> BoxFuture<'static, Result<Vec<Fence>, JournalError>> {
        self.read(|store| store.claim_all(entity_type, shards))
    }

    fn append(&self, append: Append<E>) -> BoxFuture<'static, Result<u64, AppendError>> {
        self.write(|store| store.append(append))
    }

    fn replay(
        &self,
        id: PersistenceId,
        from: u64,
        to: u64,
        limit: ReplayLimit,
    ) -> BoxFuture<'static, Result<Vec<Stored<E>>, JournalError>> {
        self.read(|store| store.replay(id, from, to, limit))
    }

    fn highest_seq(&self, id: PersistenceId) -> BoxFuture<'static, Result<u64, JournalError>> {
        self.read(|store| store.highest_seq(id))
    }

    fn delete_to(&self, id: PersistenceId, seq: u64, fence: Fence) -> BoxFuture<'static, Result<(), AppendError>> {
        self.write(|store| store.delete_to(id, seq, fence))
    }
}

impl<S: Send + 'static, T: SnapshotStore<S>> SnapshotStore<S> for Guarded<T> {
    fn save(
        &self,
        id: PersistenceId,
        seq_nr: u64,
        fence: Fence,
        time_ms: u64,
        snapshot: S,
    ) -> BoxFuture<'static, Result<(), AppendError>> {
        self.write(|store| store.save(id, seq_nr, fence, time_ms, snapshot))
    }

    fn load(
        &self,
        id: PersistenceId,
        max_seq: u64,
    ) -> BoxFuture<'static, Result<Option<StoredSnapshot<S>>, JournalError>> {
        self.read(|store| store.load(id, max_seq))
    }

    fn delete(&self, id: PersistenceId, up_to_seq: u64, fence: Fence) -> BoxFuture<'static, Result<(), AppendError>> {
        self.write(|store| store.delete(id, up_to_seq, fence))
    }
}

impl<S: Send + 'static, T: StateStore<S>> StateStore<S> for Guarded<T> {
    fn claim(&self, scope: FenceScope) -> BoxFuture<'static, Result<Fence, JournalError>> {
        self.read(|store| store.claim(scope))
    }

    fn claim_all(
        &self,
        entity_type: Arc<str>,
        shards: Range<u16>,
    ) -> BoxFuture<'static, Result<Vec<Fence>, JournalError>> {
        self.read(|store| store.claim_all(entity_type, shards))
    }

    fn load(&self, id: PersistenceId) -> BoxFuture<'static, Result<Option<StoredState<S>>, JournalError>> {
        self.read(|store| store.load(id))
    }

    fn upsert(&self, put: PutState<S>) -> BoxFuture<'static, Result<u64, AppendError>> {
        self.write(|store| store.upsert(put))
    }

    fn delete(&self, delete: DeleteState) -> BoxFuture<'static, Result<u64, AppendError>> {
        self.write(|store| store.delete(delete))
    }
}

impl<T> Clone for Guarded<T> {
    fn clone(&self) -> Self {
        Self { store: Arc::clone(&self.store), guard: Arc::clone(&self.guard) }
    }
}
