//! [`EventSourced`]: what a user implements; [`EventSourcedBehavior`]: how it becomes an actor.

use crate::{
    AppendError, Effect, Fence, Journal, PersistenceId, Retention, SnapshotStore,
    event_sourced_actor::EventSourcedActor, recovering::RecoveryFailure,
};
use actors::{ActorContext, Mailbox, Props, SupervisorStrategy};
use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};
use tokio::sync::Semaphore;

/// An entity whose state is the fold of its events.
///
/// Commands cannot touch the state, events cannot touch the world: the signatures see to it.
pub trait EventSourced: Send + Sync + Sized + 'static {
    /// What it is asked to do.
    type Command: Send + 'static;
    /// What has happened. Cloned once per write.
    type Event: Clone + Send + 'static;
    /// What the events add up to; its default is the state before the first.
    type State: Default + Send + 'static;

    /// The name of its log; the same for ever.
    fn persistence_id(&self) -> PersistenceId;

    /// Decides what a command leads to. Must not have effects of its own: they belong into the [`Effect`], where they
    /// wait for the events to be durable.
    fn handle_command(&self, state: &Self::State, command: Self::Command) -> Effect<Self>;

    /// Applies one event: pure, total and fast, for it runs at every recovery too.
    ///
    /// # Panics
    /// A panic makes the log unreadable until it is fixed: after three equal failures the entity is parked.
    fn handle_event(state: &mut Self::State, event: &Self::Event);

    /// When to save snapshots and what to delete then. Needs [`EventSourcedBehavior::snapshots`].
    fn retention(&self) -> Retention {
        Retention::default()
    }

    /// Hears of recoveries and failed writes; timers may be started here.
    fn on_signal(&self, state: &Self::State, ctx: &mut ActorContext<Self::Command>, signal: &PersistenceSignal) {
        let _ = (state, ctx, signal);
    }
}

/// What an entity is told about its log.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PersistenceSignal {
    /// The state is what the store says; commands follow. Sent to new entities too.
    RecoveryCompleted {
        /// The last event's number, or the revision of a [`DurableState`](crate::DurableState).
        highest_seq: u64,
    },
    /// What the last command was to store is certainly not stored; the entity goes on with the state before it.
    PersistRejected(AppendError),
    /// What the last command was to store may be stored, or another writer owns the entity; the entity stops.
    PersistFailed(AppendError),
    /// A snapshot was stored.
    SnapshotSaved {
        /// The last event in it.
        seq_nr: u64,
    },
    /// A snapshot, or the deletion of what it makes superfluous, failed. Nothing is lost; the entity goes on.
    SnapshotFailed {
        /// The last event in it.
        seq_nr: u64,
        /// Why.
        reason: String,
    },
}

/// Makes an actor of an [`EventSourced`] entity; spawn it as it is.
///
/// # Ordering
/// One command at a time: while events are written, or the entity recovers, further commands wait in the mailbox, 4096
/// of them unless [`mailbox`](Self::mailbox) says otherwise. A stop waits for the write that is under way.
///
/// # Failures
/// - A write that is certainly not stored: the entity hears of it, goes on, and the command's chained effects are dropped,
///   but for [`Effect::then_reply_outcome`].
/// - A write whose outcome is unknown: the entity stops, or starts again with [`restart_with_backoff`](Self::restart_with_backoff),
///   with what the journal says.
/// - Another writer took over: the entity stops and is not restarted here.
/// - Recovery failed: it stops or tries again likewise; after three equal failures that time cannot cure it is parked,
///   that is, stopped for good.
pub struct EventSourcedBehavior<E: EventSourced> {
    pub(crate) setup: Arc<Setup<E>>,
    strategy: SupervisorStrategy,
    mailbox: Mailbox,
}

/// What all lives of one entity share.
pub(crate) struct Setup<E: EventSourced> {
    pub(crate) entity: E,
    pub(crate) journal: Arc<dyn Journal<E::Event>>,
    pub(crate) snapshots: Option<Snapshots<E::State>>,
    pub(crate) fence: Option<Fence>,
    pub(crate) apply_before: Option<Copy<E::State>>,
    pub(crate) write_timeout: Duration,
    pub(crate) recovery_timeout: Duration,
    pub(crate) recovery_limit: Option<RecoveryLimit>,
    pub(crate) failures: Mutex<EqualFailures>,
}

pub(crate) struct Snapshots<S> {
    pub(crate) store: Arc<dyn SnapshotStore<S>>,
    pub(crate) copy: Copy<S>,
}

/// `Clone::clone`, kept from where the bound is known to where it is needed.
type Copy<S> = fn(&S) -> S;

/// Counts recoveries that failed with the same text.
#[derive(Debug, Default)]
pub(crate) struct EqualFailures {
    last: String,
    count: u32,
}

/// Bounds how many entities recover at the same time; share one among all of a node. The usual bound is 50.
#[derive(Clone, Debug)]
pub struct RecoveryLimit(pub(crate) Arc<Semaphore>);

/// Commands that may wait while an entity writes or recovers.
const COMMANDS_WAITING: usize = 4_096;

/// After as many equal failures that time cannot cure, an entity is parked.
const PARKED_AFTER: u32 = 3;

impl<E: EventSourced> EventSourcedBehavior<E> {
    /// The entity over its journal, without snapshots. It claims the right to write each time it starts.
    pub fn new(entity: E, journal: impl Journal<E::Event>) -> Self {
        let setup = Setup {
            entity,
            journal: Arc::new(journal),
            snapshots: None,
            fence: None,
            apply_before: None,
            write_timeout: Duration::from_secs(10),
            recovery_timeout: Duration::from_secs(30),
            recovery_limit: None,
            failures: Mutex::default(),
        };
        Self {
            setup: Arc::new(setup),
            strategy: SupervisorStrategy::stop(),
            mailbox: Mailbox::bounded(COMMANDS_WAITING),
        }
    }

    /// Saves snapshots there, as [`EventSourced::retention`] says, and starts from them.
    #[must_use]
    pub fn snapshots(self, store: impl SnapshotStore<E::State>) -> Self
    where
        E::State: Clone,
    {
        self.with(|setup| setup.snapshots = Some(Snapshots { store: Arc::new(store), copy: E::State::clone }))
    }

    /// Applies events to a copy of the state *before* they are stored, so that an event handler that panics is noticed
    /// while nothing is stored yet. Costs a clone of the state per command that stores.
    #[must_use]
    pub fn apply_before(self) -> Self
    where
        E::State: Clone,
    {
        self.with(|setup| setup.apply_before = Some(E::State::clone))
    }

    /// Writes with a right that was claimed for the entity's shard, instead of claiming one.
    #[must_use]
    pub fn fence(self, fence: Fence) -> Self {
        self.with(|setup| setup.fence = Some(fence))
    }

    /// How long a write may take before its outcome counts as unknown. Default 10 s.
    #[must_use]
    pub fn write_timeout(self, within: Duration) -> Self {
        self.with(|setup| setup.write_timeout = within)
    }

    /// How long recovery may wait for the next answer of the store. Default 30 s.
    #[must_use]
    pub fn recovery_timeout(self, within: Duration) -> Self {
        self.with(|setup| setup.recovery_timeout = within)
    }

    /// Recovers only while `limit` has room.
    #[must_use]
    pub fn recovery_limit(self, limit: RecoveryLimit) -> Self {
        self.with(|setup| setup.recovery_limit = Some(limit))
    }

    /// Starts again after a failure, with a growing delay, from what the journal says. Default: stop. There is no other
    /// way to restart, for a store that is down would be hammered.
    ///
    /// # Panics
    /// When `min` is zero or `max` is shorter than `min`.
    #[must_use]
    pub fn restart_with_backoff(mut self, min: Duration, max: Duration) -> Self {
        self.strategy = SupervisorStrategy::restart_with_backoff(min, max);
        self
    }

    /// How many commands may wait. Default 4096.
    #[must_use]
    pub fn mailbox(mut self, mailbox: Mailbox) -> Self {
        self.mailbox = mailbox;
        self
    }

    fn with(mut self, change: impl FnOnce(&mut Setup<E>)) -> Self {
        // Nobody else holds it before it is spawned.
        if let Some(setup) = Arc::get_mut(&mut self.setup) {
            change(setup);
        }
        self
    }
}

impl<E: EventSourced> From<EventSourcedBehavior<E>> for Props<EventSourcedActor<E>> {
    fn from(behavior: EventSourcedBehavior<E>) -> Self {
        let EventSourcedBehavior { setup, strategy, mailbox } = behavior;
        Self::new(move || EventSourcedActor::new(Arc::clone(&setup))).supervise(strategy).mailbox(mailbox)
    }
}

impl RecoveryLimit {
    /// At most `recoveries` at a time; at least one.
    #[must_use]
    pub fn new(recoveries: usize) -> Self {
        Self(Arc::new(Semaphore::new(recoveries.max(1))))
    }
}

impl EqualFailures {
    /// Notes a failure and answers whether to give up.
    pub(crate) fn note(&mut self, failure: &RecoveryFailure) -> bool {
        if !failure.is_permanent() {
            *self = Self::default();
            return false;
        }
        let text = failure.to_string();
        self.count = if self.last == text { self.count + 1 } else { 1 };
        self.last = text;
        self.count >= PARKED_AFTER
    }

    /// Forgets all: a recovery succeeded.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}
