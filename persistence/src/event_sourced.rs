//! [`EventSourced`]: what a user implements, and what it hears of its log.

use crate::{AppendError, CommandId, Effect, Once, PersistenceId, Retention};
use actors::ActorContext;
use std::sync::Arc;

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

    /// When to save snapshots and what to delete then. Needs [`EventSourcedBehavior::snapshots`] or its kin.
    ///
    /// [`EventSourcedBehavior::snapshots`]: crate::EventSourcedBehavior::snapshots
    fn retention(&self) -> Retention {
        Retention::default()
    }

    /// Whether `event`, just stored as number `seq_nr`, calls for a snapshot; `state` is the one after it. What
    /// [`retention`](Self::retention) says comes on top.
    fn snapshot_when(&self, state: &Self::State, event: &Self::Event, seq_nr: u64) -> bool {
        let _ = (state, event, seq_nr);
        false
    }

    /// Names under which `event` can be found across entities; `state` is the one before the command.
    fn tags(&self, state: &Self::State, event: &Self::Event) -> Vec<Arc<str>> {
        let _ = (state, event);
        Vec::new()
    }

    /// The part of a command that says which one it is, for commands that are to be carried out once however often they
    /// are sent: after a reply that never came, a client sends the command again, with the same id.
    ///
    /// What was answered is stored with the command's events, in the same write. A repetition is answered with it,
    /// without asking the command handler, in this life of the entity and in every later one, as long as its
    /// [window](crate::WindowLimits) goes back. An id that comes with other contents is dropped, which ends its ask
    /// with `NoReply`, and told as [`PersistenceSignal::CommandIdReused`]. Needs stores of bytes:
    /// [`EventSourcedBehavior::adapted`] and, if there are snapshots,
    /// [`adapted_snapshots`](crate::EventSourcedBehavior::adapted_snapshots); with any other the write is rejected.
    ///
    /// [`EventSourcedBehavior::adapted`]: crate::EventSourcedBehavior::adapted
    ///
    /// ```
    /// use actors::{ActorSystem, ReplyTo};
    /// use persistence::{
    ///     CommandId, Effect, EventSourced, EventSourcedBehavior, InMemoryJournal, MessagePack, Once, PersistenceId,
    ///     ReplyOnce,
    /// };
    /// use std::time::Duration;
    ///
    /// struct Wallet;
    ///
    /// enum Command {
    ///     Withdraw { cents: u64, reply_to: ReplyOnce<Result<u64, String>> },
    /// }
    ///
    /// impl EventSourced for Wallet {
    ///     type Command = Command;
    ///     type Event = u64; // cents that were withdrawn
    ///     type State = u64;
    ///
    ///     fn persistence_id(&self) -> PersistenceId {
    ///         PersistenceId::of("wallet", "ada")
    ///     }
    ///
    ///     fn once<'c>(&self, command: &'c mut Command) -> Option<&'c mut dyn Once> {
    ///         match command {
    ///             Command::Withdraw { reply_to, .. } => Some(reply_to),
    ///         }
    ///     }
    ///
    ///     fn handle_command(&self, withdrawn: &u64, command: Command) -> Effect<Self> {
    ///         match command {
    ///             Command::Withdraw { cents, reply_to } if withdrawn + cents > 100 => {
    ///                 Effect::none().then_reply_once(reply_to, Err("not enough".to_owned()))
    ///             }
    ///             Command::Withdraw { cents, reply_to } => {
    ///                 Effect::persist(cents).then_reply_once(reply_to, Ok(100 - withdrawn - cents))
    ///             }
    ///         }
    ///     }
    ///
    ///     fn handle_event(withdrawn: &mut u64, cents: &u64) {
    ///         *withdrawn += cents;
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), actors::AskError> {
    /// let system = ActorSystem::new("guide");
    /// let adapter = MessagePack::<u64>::new("wallet.Withdrawn", 1);
    /// let wallet = system.spawn("ada", EventSourcedBehavior::adapted(Wallet, InMemoryJournal::raw(), adapter));
    /// let withdraw = |id: &str, cents: u64| {
    ///     let command = CommandId::of(id, &[b"withdraw", &cents.to_be_bytes()]);
    ///     wallet.ask(
    ///         move |reply_to: ReplyTo<_>| Command::Withdraw { cents, reply_to: ReplyOnce::new(command, reply_to) },
    ///         Duration::from_secs(3),
    ///     )
    /// };
    /// assert_eq!(withdraw("order-7", 80).await?, Ok(20));
    /// assert_eq!(withdraw("order-7", 80).await?, Ok(20)); // sent again: answered again, withdrawn once
    /// assert_eq!(withdraw("order-8", 80).await?, Err("not enough".to_owned()));
    /// assert!(withdraw("order-7", 5).await.is_err()); // the id of another command
    /// # Ok(())
    /// # }
    /// ```
    fn once<'c>(&self, command: &'c mut Self::Command) -> Option<&'c mut dyn Once> {
        let _ = command;
        None
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
    /// Events that a snapshot has made superfluous were not deleted, for somebody still needs them, or it is not known
    /// whether anybody does; see [`Retention::delete_events_on_snapshot`].
    EventsKept {
        /// The first of them.
        from: u64,
        /// The last of them.
        to: u64,
    },
    /// A command had the id of another one, with other contents. It was dropped.
    CommandIdReused {
        /// The command that was dropped.
        command: CommandId,
    },
}

/// An event that was stored, for subscribers in this process; see
/// [`EventSourcedBehavior::publish_events`](crate::EventSourcedBehavior::publish_events).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersistedEvent<E> {
    /// Whose event.
    pub id: PersistenceId,
    /// Its number.
    pub seq_nr: u64,
    /// Wall clock of the writer, ms since 1970.
    pub time_ms: u64,
    /// The event.
    pub event: E,
}

/// What becomes of an entity whose log another writer has taken over; see
/// [`EventSourcedBehavior::on_not_owner`](crate::EventSourcedBehavior::on_not_owner).
#[derive(Debug)]
#[non_exhaustive]
pub enum NotOwner<C> {
    /// It was found out, by a write that was refused. Told first, and once.
    Lost {
        /// Whose log.
        id: PersistenceId,
        /// How the store put it.
        error: AppendError,
    },
    /// A command that waited for the entity, in order: to be sent to where the entity is now.
    Command(C),
}
