//! What event-sourced and durable-state entities have in common: settings, what a failure leads to, and what becomes of
//! commands of an entity that has lost what is stored.

use crate::{
    NotOwner, PersistFailed, PersistenceId, PersistenceSignal, RecoveryFailure, RecoveryLimit, WindowLimits,
    chained::Chain,
    fencing::Fence,
    lost::Lost,
    recovery_limit::EqualFailures,
    settling::{AfterFailure, WriteFailure},
};
use actors::{ActorContext, ActorSystem, Behavior, Handled, Mailbox, StashBuffer, SupervisorStrategy};
use parking_lot::Mutex;
use std::time::Duration;

/// Names one write among those of all writers. The epoch is in it: two systems with one seed draw the same bits.
pub(crate) fn batch_id(system: &ActorSystem, fence: &Fence) -> u128 {
    let [high, low] = [system.random_bits(), system.random_bits() ^ fence.epoch].map(u128::from);
    high << 64 | low
}

/// Commands that may wait while an entity writes or recovers.
const COMMANDS_WAITING: usize = 4_096;

/// Commands an entity may stash.
const STASH: usize = 4_096;

/// What all lives of one entity share, whatever its kind; `C` is its command.
pub(crate) struct Common<C> {
    pub(crate) fence: Option<Fence>,
    pub(crate) write_timeout: Duration,
    pub(crate) asynchronous_timeout: Duration,
    pub(crate) recovery_timeout: Duration,
    pub(crate) recovery_limit: Option<RecoveryLimit>,
    pub(crate) window: WindowLimits,
    pub(crate) not_owner: Option<ToldNotOwner<C>>,
    pub(crate) failures: Mutex<EqualFailures>,
}

pub(crate) type ToldNotOwner<C> = Box<dyn Fn(NotOwner<C>) + Send + Sync>;

/// How the actor of an entity is spawned.
pub(crate) struct Spawning {
    pub(crate) strategy: SupervisorStrategy,
    pub(crate) mailbox: Mailbox,
}

impl Default for Spawning {
    fn default() -> Self {
        Self { strategy: SupervisorStrategy::stop(), mailbox: Mailbox::bounded(COMMANDS_WAITING) }
    }
}

/// Commands that wait in the actor of an entity: those held back, and those that come after it has lost what is stored.
pub(crate) struct Waiting<C> {
    pub(crate) stash: StashBuffer<C>,
    pub(crate) lost: Option<Lost>,
}

impl<C> Waiting<C> {
    pub(crate) fn new() -> Self {
        Self { stash: StashBuffer::with_capacity(STASH), lost: None }
    }

    /// Holds a command back; drops it when there are too many.
    pub(crate) fn stash(&mut self, id: &PersistenceId, command: C) {
        if let Err(full) = self.stash.stash(command) {
            tracing::warn!(%id, %full, "command dropped");
        }
    }
}

impl<C: Send + 'static> Common<C> {
    pub(crate) fn new(window: WindowLimits) -> Self {
        Self {
            fence: None,
            write_timeout: Duration::from_secs(10),
            asynchronous_timeout: Duration::from_secs(30),
            recovery_timeout: Duration::from_secs(30),
            recovery_limit: None,
            window,
            not_owner: None,
            failures: Mutex::default(),
        }
    }

    /// The entity's own, or that of all entities here.
    pub(crate) fn recovery_limit(&self, system: &ActorSystem) -> RecoveryLimit {
        self.recovery_limit.clone().unwrap_or_else(|| RecoveryLimit::clone(&system.extension()))
    }

    /// What the failure table says: certainly not stored, go on; else stop, and only an unknown outcome may restart. The
    /// entity has been told, and has given up a state that is not to be believed.
    pub(crate) fn write_failed<S>(
        &self,
        ctx: &mut ActorContext<C>,
        id: PersistenceId,
        chained: Chain<C, S>,
        WriteFailure { error, after }: WriteFailure,
        waiting: &mut Waiting<C>,
    ) -> Handled {
        if after == AfterFailure::GoOn {
            tracing::warn!(%id, %error, "write failed and nothing is stored, entity goes on");
        } else {
            tracing::error!(%id, %error, "write failed, entity stops");
        }
        chained.write_failed(&error);
        match (after, &self.not_owner) {
            (AfterFailure::GoOn, _) => Ok(Behavior::Same),
            (AfterFailure::StopForGood, None) => Ok(Behavior::Stopped),
            (AfterFailure::StopForGood, Some(told)) => {
                told(NotOwner::Lost { id, error });
                // What is held back comes first, then what waits in the mailbox.
                ctx.unstash_all(&mut waiting.stash);
                waiting.lost = Some(Lost::begin(ctx));
                Ok(Behavior::Same)
            }
            (AfterFailure::StartOver, _) => Err(PersistFailed(error).into()),
        }
    }

    /// A command for an entity that has no state.
    pub(crate) fn without_state(&self, lost: Option<&Lost>, command: C) -> Handled {
        if let (Some(_), Some(told)) = (lost, &self.not_owner) {
            told(NotOwner::Command(command));
            return Ok(Behavior::Same);
        }
        // Only a supervisor told to resume comes here without a state; it does not get its way.
        Err(PersistFailed::not_recovered().into())
    }

    /// Whether the entity tries again is supervision's choice, until it is parked.
    pub(crate) fn recovery_failed(&self, id: &PersistenceId, failure: RecoveryFailure) -> Handled {
        if self.failures.lock().note(&failure) {
            metrics::counter!("persistence_parked_total").increment(1);
            tracing::error!(%id, %failure, "entity parked: recovery keeps failing in the same way");
            return Ok(Behavior::Stopped);
        }
        tracing::warn!(%id, %failure, "recovery failed");
        Err(failure.into())
    }
}

impl WriteFailure {
    /// What the entity hears of it.
    pub(crate) fn signal(&self) -> PersistenceSignal {
        match self.after {
            AfterFailure::GoOn => PersistenceSignal::PersistRejected(self.error.clone()),
            AfterFailure::StopForGood | AfterFailure::StartOver => PersistenceSignal::PersistFailed(self.error.clone()),
        }
    }
}

/// The settings of [`Common`] and [`Spawning`], as methods of a behavior with fields `setup`, which has a `common`, and
/// `spawning`.
macro_rules! common_settings {
    ($setup:ident<$entity:ident>, effect = $effect:literal, window = $window:literal) => {
        /// Writes with a right that was claimed for the entity's shard, instead of claiming one.
        #[must_use]
        pub fn fence(self, fence: $crate::Fence) -> Self {
            self.with(|setup| setup.common.fence = Some(fence))
        }

        #[doc = $window]
        #[must_use]
        pub fn command_window(self, limits: $crate::WindowLimits) -> Self {
            self.with(|setup| setup.common.window = limits)
        }

        /// Calls `told` when another writer has taken the entity over, and then with each command that waited, or arrives
        /// within the next second, so that it can be sent to where the entity is now. Without this such commands end as
        /// dead letters, and their asks with `Stopped`.
        #[must_use]
        pub fn on_not_owner(self, told: impl Fn($crate::NotOwner<$entity::Command>) + Send + Sync + 'static) -> Self {
            self.with(|setup| setup.common.not_owner = Some(Box::new(told)))
        }

        /// How long a write may take before its outcome counts as unknown, and how long it is tried to settle that.
        /// Default 10 s.
        #[must_use]
        pub fn write_timeout(self, within: ::std::time::Duration) -> Self {
            self.with(|setup| setup.common.write_timeout = within)
        }

        #[doc = concat!("How long [`", $effect, "::asynchronous`](crate::", $effect, "::asynchronous) may take. Default 30 s.")]
        #[must_use]
        pub fn asynchronous_timeout(self, within: ::std::time::Duration) -> Self {
            self.with(|setup| setup.common.asynchronous_timeout = within)
        }

        /// How long recovery may wait for the next answer of the store. Default 30 s.
        #[must_use]
        pub fn recovery_timeout(self, within: ::std::time::Duration) -> Self {
            self.with(|setup| setup.common.recovery_timeout = within)
        }

        /// Recovers only while `limit` has room. Default: one [`RecoveryLimit`](crate::RecoveryLimit) of 64 that all entities
        /// of the actor system share.
        #[must_use]
        pub fn recovery_limit(self, limit: $crate::RecoveryLimit) -> Self {
            self.with(|setup| setup.common.recovery_limit = Some(limit))
        }

        /// Starts again after a failure, with a growing delay, from what the store says. Default: stop. There is no other
        /// way to restart, for a store that is down would be hammered.
        ///
        /// # Panics
        /// When `min` is zero or `max` is shorter than `min`.
        #[must_use]
        pub fn restart_with_backoff(mut self, min: ::std::time::Duration, max: ::std::time::Duration) -> Self {
            self.spawning.strategy = ::actors::SupervisorStrategy::restart_with_backoff(min, max);
            self
        }

        /// How many commands may wait. Default 4096.
        #[must_use]
        pub fn mailbox(mut self, mailbox: ::actors::Mailbox) -> Self {
            self.spawning.mailbox = mailbox;
            self
        }

        fn with(mut self, change: impl FnOnce(&mut $setup<$entity>)) -> Self {
            // Nobody else holds it before it is spawned.
            if let Some(setup) = ::std::sync::Arc::get_mut(&mut self.setup) {
                change(setup);
            }
            self
        }
    };
}
pub(crate) use common_settings;
