//! [`DurableState`]: an entity that keeps its last state and no history; [`DurableStateBehavior`]: how it becomes an actor.

use crate::{
    Fence, PersistenceId, PersistenceSignal, RecoveryLimit, StateEffect, StateStore,
    durable_state_actor::DurableStateActor, event_sourced::EqualFailures,
};
use actors::{ActorContext, Mailbox, Props, SupervisorStrategy};
use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};

/// An entity whose state is stored as it is: each write takes the place of the one before it.
///
/// What led to the state is not kept. Where that matters, be an [`EventSourced`](crate::EventSourced) entity.
///
/// ```
/// use actors::{ActorSystem, ReplyTo};
/// use persistence::{DurableState, DurableStateBehavior, InMemoryStateStore, PersistenceId, StateEffect};
/// use std::time::Duration;
///
/// struct Profile;
///
/// enum ProfileCommand {
///     Rename(String, ReplyTo<String>),
///     Forget,
///     Name(ReplyTo<String>),
/// }
///
/// impl DurableState for Profile {
///     type Command = ProfileCommand;
///     type State = String;
///
///     fn persistence_id(&self) -> PersistenceId {
///         PersistenceId::of("profile", "ada")
///     }
///
///     fn handle_command(&self, name: &String, command: ProfileCommand) -> StateEffect<Self> {
///         match command {
///             ProfileCommand::Rename(name, reply_to) => {
///                 StateEffect::persist(name).then_reply(reply_to, |name: &String| format!("hello {name}"))
///             }
///             ProfileCommand::Forget => StateEffect::delete(),
///             ProfileCommand::Name(reply_to) => StateEffect::reply(reply_to, name.clone()),
///         }
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), actors::AskError> {
/// let system = ActorSystem::new("guide");
/// let profile = system.spawn("ada", DurableStateBehavior::new(Profile, InMemoryStateStore::default()));
/// let within = Duration::from_secs(3);
/// let greeting = profile.ask(|reply_to| ProfileCommand::Rename("Ada".into(), reply_to), within).await?;
/// assert_eq!(greeting, "hello Ada");
/// profile.tell(ProfileCommand::Forget);
/// assert_eq!(profile.ask(ProfileCommand::Name, within).await?, "");
/// # Ok(())
/// # }
/// ```
pub trait DurableState: Send + Sync + Sized + 'static {
    /// What it is asked to do.
    type Command: Send + 'static;
    /// What is stored; its default is the state before the first write and after a deletion. Cloned once per write.
    type State: Default + Clone + Send + 'static;

    /// The name under which the state is stored; the same for ever.
    fn persistence_id(&self) -> PersistenceId;

    /// Decides what a command leads to. Must not have effects of its own: they belong into the [`StateEffect`], where they
    /// wait for the state to be durable.
    fn handle_command(&self, state: &Self::State, command: Self::Command) -> StateEffect<Self>;

    /// Hears of recoveries and failed writes; timers may be started here.
    fn on_signal(&self, state: &Self::State, ctx: &mut ActorContext<Self::Command>, signal: &PersistenceSignal) {
        let _ = (state, ctx, signal);
    }
}

/// Makes an actor of a [`DurableState`] entity; spawn it as it is.
///
/// # Ordering
/// One command at a time: while a state is written, or the entity recovers, further commands wait in the mailbox, 4096
/// of them unless [`mailbox`](Self::mailbox) says otherwise. A stop waits for the write that is under way.
///
/// # Failures
/// - A write that is certainly not stored: the entity hears of it, goes on with the state before it, and the command's
///   chained effects are dropped, but for [`StateEffect::then_reply_outcome`].
/// - A write whose outcome is unknown: the entity stops, or starts again with
///   [`restart_with_backoff`](Self::restart_with_backoff), with what the store says.
/// - Another writer took over: the entity stops and is not restarted here.
/// - Recovery failed: it stops or tries again likewise; after three equal failures that time cannot cure it is parked,
///   that is, stopped for good.
pub struct DurableStateBehavior<D: DurableState> {
    setup: Arc<StateSetup<D>>,
    strategy: SupervisorStrategy,
    mailbox: Mailbox,
}

/// What all lives of one entity share.
pub(crate) struct StateSetup<D: DurableState> {
    pub(crate) entity: D,
    pub(crate) store: Arc<dyn StateStore<D::State>>,
    pub(crate) fence: Option<Fence>,
    pub(crate) write_timeout: Duration,
    pub(crate) recovery_timeout: Duration,
    pub(crate) recovery_limit: Option<RecoveryLimit>,
    pub(crate) failures: Mutex<EqualFailures>,
}

/// Commands that may wait while an entity writes or recovers.
const COMMANDS_WAITING: usize = 4_096;

impl<D: DurableState> DurableStateBehavior<D> {
    /// The entity over its store. It claims the right to write each time it starts.
    pub fn new(entity: D, store: impl StateStore<D::State>) -> Self {
        let setup = StateSetup {
            entity,
            store: Arc::new(store),
            fence: None,
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
