//! [`DurableStateBehavior`]: how a [`DurableState`] entity becomes an actor.

use crate::{
    Adapted, Codec, DurableState, Fence, NotOwner, RawState, RecoveryLimit, StateStore, WindowLimits, WithCommands,
    adapted::Plain, durable_state_actor::DurableStateActor, recovery_limit::EqualFailures,
};
use actors::{Mailbox, Props, SupervisorStrategy};
use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};

/// Makes an actor of a [`DurableState`] entity; spawn it as it is.
///
/// # Ordering
/// One command at a time: while a state is written, or the entity recovers, further commands wait in the mailbox, 4096
/// of them unless [`mailbox`](Self::mailbox) says otherwise. A stop waits for the write that is under way.
///
/// # Failures
/// Those of [`EventSourcedBehavior`](crate::EventSourcedBehavior), with one difference: where another writer has stored a
/// state after a write of unknown outcome, nobody can know any more what became of that write.
pub struct DurableStateBehavior<D: DurableState> {
    setup: Arc<StateSetup<D>>,
    strategy: SupervisorStrategy,
    mailbox: Mailbox,
}

/// What all lives of one entity share.
pub(crate) struct StateSetup<D: DurableState> {
    pub(crate) entity: D,
    pub(crate) store: Arc<dyn StateStore<WithCommands<D::State>>>,
    pub(crate) fence: Option<Fence>,
    pub(crate) write_timeout: Duration,
    pub(crate) asynchronous_timeout: Duration,
    pub(crate) window: WindowLimits,
    pub(crate) not_owner: Option<ToldNotOwner<D>>,
    pub(crate) recovery_timeout: Duration,
    pub(crate) recovery_limit: Option<RecoveryLimit>,
    pub(crate) failures: Mutex<EqualFailures>,
}

type ToldNotOwner<D> = Box<dyn Fn(NotOwner<<D as DurableState>::Command>) + Send + Sync>;

/// Answers together that are stored with each state, in bytes.
const WINDOW_BYTES: usize = 64 << 10;

/// Commands that may wait while an entity writes or recovers.
const COMMANDS_WAITING: usize = 4_096;

impl<D: DurableState> DurableStateBehavior<D> {
    /// The entity over a store of its states. It claims the right to write each time it starts.
    pub fn new(entity: D, store: impl StateStore<D::State>) -> Self {
        Self::with_commands(entity, Plain(store))
    }

    /// The entity over a store of bytes: with room for the answers to commands with an id.
    pub fn adapted(entity: D, store: impl StateStore<RawState>, codec: impl Codec<D::State>) -> Self {
        Self::with_commands(entity, Adapted::new(store, codec))
    }

    /// The entity over a store of states [`WithCommands`]: what [`adapted`](Self::adapted) makes of one of bytes.
    pub fn with_commands(entity: D, store: impl StateStore<WithCommands<D::State>>) -> Self {
        let setup = StateSetup {
            entity,
            store: Arc::new(store),
            fence: None,
            write_timeout: Duration::from_secs(10),
            asynchronous_timeout: Duration::from_secs(30),
            window: WindowLimits { bytes: WINDOW_BYTES, reply_bytes: WINDOW_BYTES / 4, ..WindowLimits::default() },
            not_owner: None,
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

    /// Writes with a right that was claimed for the entity's shard, instead of claiming one.
    #[must_use]
    pub fn fence(self, fence: Fence) -> Self {
        self.with(|setup| setup.fence = Some(fence))
    }

    /// How much of the past answers repeated commands; see [`DurableState::once`]. It is stored with each state. Default:
    /// that of [`WindowLimits`], but 64 KiB in all and 16 KiB an answer.
    #[must_use]
    pub fn command_window(self, limits: WindowLimits) -> Self {
        self.with(|setup| setup.window = limits)
    }

    /// Calls `told` when another writer has taken the entity over; see
    /// [`EventSourcedBehavior::on_not_owner`](crate::EventSourcedBehavior::on_not_owner).
    #[must_use]
    pub fn on_not_owner(self, told: impl Fn(NotOwner<D::Command>) + Send + Sync + 'static) -> Self {
        self.with(|setup| setup.not_owner = Some(Box::new(told)))
    }

    /// How long [`StateEffect::asynchronous`](crate::StateEffect::asynchronous) may take. Default 30 s.
    #[must_use]
    pub fn asynchronous_timeout(self, within: Duration) -> Self {
        self.with(|setup| setup.asynchronous_timeout = within)
    }

    /// How long a write may take before its outcome counts as unknown, and how long it is tried to settle that. Default
    /// 10 s.
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

    /// Starts again after a failure, with a growing delay, from what the store says. Default: stop.
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

    fn with(mut self, change: impl FnOnce(&mut StateSetup<D>)) -> Self {
        // Nobody else holds it before it is spawned.
        if let Some(setup) = Arc::get_mut(&mut self.setup) {
            change(setup);
        }
        self
    }
}

impl<D: DurableState> From<DurableStateBehavior<D>> for Props<DurableStateActor<D>> {
    fn from(behavior: DurableStateBehavior<D>) -> Self {
        let DurableStateBehavior { setup, strategy, mailbox } = behavior;
        Self::new(move || DurableStateActor::new(Arc::clone(&setup))).supervise(strategy).mailbox(mailbox)
    }
}
