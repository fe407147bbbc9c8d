//! [`EventSourcedBehavior`]: how an [`EventSourced`] entity becomes an actor.

use crate::{
    Adapted, Codec, EventAdapter, EventSourced, Journal, PersistedEvent, PersistenceId, RawEvent, RawSnapshot, Record,
    RecoveryMode, ReplayCost, RetentionGuard, SnapshotStore, WindowLimits, WithCommands,
    adapted::Plain,
    common::{Common, Spawning, common_settings},
    event_sourced_actor::EventSourcedActor,
};
use actors::{ActorContext, Props};
use std::sync::Arc;

/// Makes an actor of an [`EventSourced`] entity; spawn it as it is.
///
/// # Ordering
/// One command at a time: while events are written, or the entity recovers, further commands wait in the mailbox, 4096
/// of them unless [`mailbox`](Self::mailbox) says otherwise. A stop waits for the write that is under way.
///
/// # Failures
/// | what | what is stored | what happens |
/// |---|---|---|
/// | [`Rejected`], [`Unavailable`], [`Overloaded`] | certainly nothing | the entity hears of it and goes on; chained effects are dropped, but for [`then_reply_outcome`] |
/// | [`Unknown`], or no answer in time | nobody knows | the same write is sent again, with the same id, which settles it mostly. If not, the asker is told [`Unknown`], the entity stops, or starts again with [`restart_with_backoff`](Self::restart_with_backoff), with what the journal says |
/// | [`Conflict`], [`Stale`] | certainly nothing | another writer owns the log: the entity stops and is not restarted here; see [`on_not_owner`](Self::on_not_owner) |
/// | recovery failed | | it stops or tries again likewise; after three equal failures that time cannot cure it is parked, that is, stopped for good |
/// | a snapshot was not saved | | the entity hears of it and goes on |
/// | a snapshot cannot be loaded | | the one before it, or all events; if those are gone, recovery failed |
///
/// [`Rejected`]: crate::AppendError::Rejected
/// [`Unavailable`]: crate::AppendError::Unavailable
/// [`Overloaded`]: crate::AppendError::Overloaded
/// [`Unknown`]: crate::AppendError::Unknown
/// [`Conflict`]: crate::AppendError::Conflict
/// [`Stale`]: crate::AppendError::Stale
/// [`then_reply_outcome`]: crate::Effect::then_reply_outcome
pub struct EventSourcedBehavior<E: EventSourced> {
    pub(crate) setup: Arc<Setup<E>>,
    spawning: Spawning,
}

/// What all lives of one entity share.
pub(crate) struct Setup<E: EventSourced> {
    pub(crate) entity: E,
    pub(crate) journal: Arc<dyn Journal<Record<E::Event>>>,
    pub(crate) snapshots: Option<Snapshots<E::State>>,
    pub(crate) common: Common<E::Command>,
    pub(crate) apply_before: Option<Copy<E::State>>,
    pub(crate) recovery_mode: RecoveryMode,
    pub(crate) replay_cost: ReplayCost,
    pub(crate) needed_by: Option<Arc<dyn RetentionGuard>>,
    pub(crate) publish: Option<Publish<E>>,
}

pub(crate) struct Snapshots<S> {
    pub(crate) store: Arc<dyn SnapshotStore<WithCommands<S>>>,
    pub(crate) copy: Copy<S>,
}

/// `Clone::clone`, kept from where the bound is known to where it is needed.
type Copy<S> = fn(&S) -> S;

type Publish<E> = fn(&ActorContext<<E as EventSourced>::Command>, PersistenceId, u64, u64, &<E as EventSourced>::Event);

impl<E: EventSourced> EventSourcedBehavior<E> {
    /// The entity over a journal of its events, without snapshots. It claims the right to write each time it starts.
    pub fn new(entity: E, journal: impl Journal<E::Event>) -> Self {
        Self::with_records(entity, Plain(journal))
    }

    /// The entity over a journal of bytes: with schema evolution, tags, and room for the answers to commands with an id.
    pub fn adapted(entity: E, journal: impl Journal<RawEvent>, adapter: impl EventAdapter<E::Event>) -> Self {
        Self::with_records(entity, Adapted::new(journal, adapter))
    }

    /// The entity over a journal of [`Record`]s: what [`adapted`](Self::adapted) makes of one of bytes.
    pub fn with_records(entity: E, journal: impl Journal<Record<E::Event>>) -> Self {
        let setup = Setup {
            entity,
            journal: Arc::new(journal),
            snapshots: None,
            common: Common::new(WindowLimits::default()),
            apply_before: None,
            recovery_mode: RecoveryMode::default(),
            replay_cost: ReplayCost::default(),
            needed_by: None,
            publish: None,
        };
        Self { setup: Arc::new(setup), spawning: Spawning::default() }
    }

    /// Saves snapshots there, as [`EventSourced::retention`] says, and starts from them.
    #[must_use]
    pub fn snapshots(self, store: impl SnapshotStore<E::State>) -> Self
    where
        E::State: Clone,
    {
        self.snapshots_with_commands(Plain(store))
    }

    /// As [`snapshots`](Self::snapshots), in a store of bytes: with room for the answers to commands with an id.
    #[must_use]
    pub fn adapted_snapshots(self, store: impl SnapshotStore<RawSnapshot>, codec: impl Codec<E::State>) -> Self
    where
        E::State: Clone,
    {
        self.snapshots_with_commands(Adapted::new(store, codec))
    }

    /// As [`snapshots`](Self::snapshots), in a store of states [`WithCommands`].
    #[must_use]
    pub fn snapshots_with_commands(self, store: impl SnapshotStore<WithCommands<E::State>>) -> Self
    where
        E::State: Clone,
    {
        self.with(|setup| setup.snapshots = Some(Snapshots { store: Arc::new(store), copy: E::State::clone }))
    }

    /// Who needs the entity's events, so that [`Retention::delete_events_on_snapshot`] keeps them.
    ///
    /// [`Retention::delete_events_on_snapshot`]: crate::Retention::delete_events_on_snapshot
    #[must_use]
    pub fn needed_by(self, guard: impl RetentionGuard) -> Self {
        self.with(|setup| setup.needed_by = Some(Arc::new(guard)))
    }

    /// What replays cost, for [`Retention::or_replay_longer_than`]. Give all entities of a type clones of one.
    ///
    /// [`Retention::or_replay_longer_than`]: crate::Retention::or_replay_longer_than
    #[must_use]
    pub fn replay_cost(self, cost: ReplayCost) -> Self {
        self.with(|setup| setup.replay_cost = cost)
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

    /// Publishes each event, once it is stored and applied, on the system's event stream as a [`PersistedEvent`], to
    /// whoever subscribes to that. Best effort and in this process only: who must not miss any reads the
    /// [`EventFeed`](crate::EventFeed).
    #[must_use]
    pub fn publish_events(self) -> Self {
        self.with(|setup| {
            setup.publish = Some(|ctx, id, seq_nr, time_ms, event| {
                let event = event.clone();
                ctx.system().event_stream().publish(PersistedEvent { id, seq_nr, time_ms, event });
            });
        })
    }

    /// What the entity reads of its log when it starts. Default: all of it.
    #[must_use]
    pub fn recovery_mode(self, mode: RecoveryMode) -> Self {
        self.with(|setup| setup.recovery_mode = mode)
    }

    common_settings! {
        Setup<E>,
        effect = "Effect",
        window = "How much of the past answers repeated commands; see [`EventSourced::once`]."
    }
}

impl<E: EventSourced> From<EventSourcedBehavior<E>> for Props<EventSourcedActor<E>> {
    fn from(behavior: EventSourcedBehavior<E>) -> Self {
        let EventSourcedBehavior { setup, spawning: Spawning { strategy, mailbox } } = behavior;
        Self::new(move || EventSourcedActor::new(Arc::clone(&setup))).supervise(strategy).mailbox(mailbox)
    }
}
