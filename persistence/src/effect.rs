//! [`Effect`]: what a command leads to. Persist first, then reply, run, stop.

use crate::{AppendError, BoxFuture, CodecError, EventSourced, ReplyOnce, chained::Chain};
use actors::{ActorContext, ReplyTo};
use bytes::Bytes;
use futures_util::FutureExt;
use serde::{Serialize, de::DeserializeOwned};

/// What a command handler decides: one primary effect, then others in the order they are chained.
///
/// # Ordering
/// Chained effects run after the events are durable and applied, in order, at most once, and never in recovery. If the
/// write fails none of them runs, except for [`then_reply_outcome`](Self::then_reply_outcome): any other `ReplyTo` among
/// them is dropped, which ends its ask with `NoReply`. If the process dies between write and effect, it does not run later.
#[must_use = "an effect does nothing unless the command handler returns it"]
pub struct Effect<E: EventSourced> {
    pub(crate) primary: Primary<E>,
    pub(crate) chained: Chain<E::Command, E::State>,
    pub(crate) answer: Option<Result<Bytes, CodecError>>, // kept with the events, for repetitions of the command
}

pub(crate) enum Primary<E: EventSourced> {
    None,
    Persist(Vec<E::Event>),
    Stash(E::Command),
    Unhandled,
    Later(BoxFuture<'static, Effect<E>>),
}

/// An [`Effect`] that has been given its reply, or says that there is none to give.
///
/// A command handler that makes all its effects through this type cannot forget an asker:
///
/// ```
/// # use actors::ReplyTo;
/// # use persistence::{Effect, EventSourced, PersistenceId, ReplyEffect};
/// # struct Counter;
/// enum Command {
///     Add(u64, ReplyTo<u64>),
///     Reset,
/// }
///
/// impl Counter {
///     fn decide(&self, command: Command) -> ReplyEffect<Self> {
///         match command {
///             Command::Add(count, reply_to) => Effect::persist(count).replying(reply_to, |total| *total),
///             Command::Reset => Effect::persist(0).no_reply(), // `Effect::persist(0)` alone would not compile
///         }
///     }
/// }
///
/// impl EventSourced for Counter {
///     type Command = Command;
///     type Event = u64;
///     type State = u64;
///
///     fn handle_command(&self, _total: &u64, command: Command) -> Effect<Self> {
///         self.decide(command).into()
///     }
/// #   fn persistence_id(&self) -> PersistenceId { PersistenceId::of("counter", "1") }
/// #   fn handle_event(total: &mut u64, event: &u64) { *total += event; }
/// }
/// ```
#[must_use = "an effect does nothing unless the command handler returns it"]
pub struct ReplyEffect<E: EventSourced>(Effect<E>);

impl<E: EventSourced> Effect<E> {
    /// Stores one event.
    pub fn persist(event: E::Event) -> Self {
        Self::persist_all([event])
    }

    /// Stores the events together: all or none. Without any this is [`none`](Self::none).
    pub fn persist_all(events: impl IntoIterator<Item = E::Event>) -> Self {
        let events: Vec<_> = events.into_iter().collect();
        Self::of(if events.is_empty() { Primary::None } else { Primary::Persist(events) })
    }

    /// Stores nothing.
    pub fn none() -> Self {
        Self::of(Primary::None)
    }

    /// Stores nothing and answers.
    pub fn reply<T: Send + 'static>(reply_to: ReplyTo<T>, answer: T) -> Self {
        Self::none().then_reply(reply_to, move |_| answer)
    }

    /// The command means nothing in this state; it is counted and published as unhandled.
    pub fn unhandled() -> Self {
        Self::of(Primary::Unhandled)
    }

    /// Stops the entity; what waits in its mailbox becomes dead letters.
    pub fn stop() -> Self {
        Self::none().then_stop()
    }

    /// Holds `command` back until [`then_unstash_all`](Self::then_unstash_all). What is held is lost when the entity
    /// stops or the process dies. When the stash is full the command is dropped, which tells an asker so.
    pub fn stash(command: E::Command) -> Self {
        Self::of(Primary::Stash(command))
    }

    /// Awaits `decision`, then does what it says, then what is chained here. Other commands wait meanwhile, so the state
    /// is still the same then.
    ///
    /// It has [`asynchronous_timeout`](crate::EventSourcedBehavior::asynchronous_timeout): after that it is dropped, and
    /// the command has no effect. What the future has done by then is done.
    pub fn asynchronous(decision: impl Future<Output = Self> + Send + 'static) -> Self {
        Self::of(Primary::Later(decision.boxed()))
    }

    /// Then calls `run` with the state after the events.
    pub fn then_run(mut self, run: impl FnOnce(&E::State, &mut ActorContext<E::Command>) + Send + 'static) -> Self {
        self.chained.run(run);
        self
    }

    /// Then answers with what `make` finds in the state after the events.
    pub fn then_reply<T: Send + 'static>(
        mut self,
        reply_to: ReplyTo<T>,
        make: impl FnOnce(&E::State) -> T + Send + 'static,
    ) -> Self {
        self.chained.reply(reply_to, make);
        self
    }

    /// Then answers with what `make` finds in the state after the events, and in the number of the last one stored: with it a caller can
    /// [wait](crate::Projections::wait_until) until a projection has seen what was just written.
    pub fn then_reply_at<T: Send + 'static>(
        mut self,
        reply_to: ReplyTo<T>,
        make: impl FnOnce(&E::State, u64) -> T + Send + 'static,
    ) -> Self {
        self.chained.reply_at(reply_to, make);
        self
    }

    /// Then answers in any case: with what `make` finds in the state after the events, or with what it says about the
    /// write's failure.
    ///
    /// [`AppendError::Unknown`] is no failure to tell a caller of as such: the events may be stored.
    pub fn then_reply_outcome<T: Send + 'static>(
        mut self,
        reply_to: ReplyTo<T>,
        make: impl FnOnce(Result<&E::State, &AppendError>) -> T + Send + 'static,
    ) -> Self {
        self.chained.reply_outcome(reply_to, make);
        self
    }

    /// Then answers a command with an id. The answer is stored with the events, so it is needed before they are; without
    /// events it is remembered until the entity stops.
    ///
    /// An answer that cannot be encoded rejects the write.
    pub fn then_reply_once<T>(mut self, reply_to: ReplyOnce<T>, answer: T) -> Self
    where
        T: Serialize + DeserializeOwned + Send + 'static,
    {
        self.answer = Some(reply_to.encode(&answer));
        self.chained.run(move |_, _| reply_to.tell(answer));
        self
    }

    /// Then stops the entity; nothing chained after this runs.
    pub fn then_stop(mut self) -> Self {
        self.chained.stop();
        self
    }

    /// Then brings all stashed commands back, in order, before anything newer.
    pub fn then_unstash_all(mut self) -> Self {
        self.chained.unstash_all();
        self
    }

    /// Then saves a snapshot, whatever the retention says. Before a stop it is waited for.
    pub fn then_snapshot(mut self) -> Self {
        self.chained.snapshot();
        self
    }

    /// [`then_reply`](Self::then_reply), as the reply that a [`ReplyEffect`] needs.
    pub fn replying<T: Send + 'static>(
        self,
        reply_to: ReplyTo<T>,
        make: impl FnOnce(&E::State) -> T + Send + 'static,
    ) -> ReplyEffect<E> {
        ReplyEffect(self.then_reply(reply_to, make))
    }

    /// [`then_reply_once`](Self::then_reply_once), as the reply that a [`ReplyEffect`] needs.
    pub fn replying_once<T>(self, reply_to: ReplyOnce<T>, answer: T) -> ReplyEffect<E>
    where
        T: Serialize + DeserializeOwned + Send + 'static,
    {
        ReplyEffect(self.then_reply_once(reply_to, answer))
    }

    /// Nobody waits for a reply, or the command is stashed with whoever waits.
    pub fn no_reply(self) -> ReplyEffect<E> {
        ReplyEffect(self)
    }

    /// The events this effect would store, for tests of a command handler.
    #[must_use]
    pub fn events(&self) -> &[E::Event] {
        match &self.primary {
            Primary::Persist(events) => events,
            Primary::None | Primary::Stash(_) | Primary::Unhandled | Primary::Later(_) => &[],
        }
    }

    fn of(primary: Primary<E>) -> Self {
        Self { primary, chained: Chain::default(), answer: None }
    }
}

impl<E: EventSourced> ReplyEffect<E> {
    /// Then calls `run` with the state after the events.
    pub fn then_run(self, run: impl FnOnce(&E::State, &mut ActorContext<E::Command>) + Send + 'static) -> Self {
        Self(self.0.then_run(run))
    }

    /// Then stops the entity; nothing chained after this runs.
    pub fn then_stop(self) -> Self {
        Self(self.0.then_stop())
    }

    /// Then brings all stashed commands back, in order, before anything newer.
    pub fn then_unstash_all(self) -> Self {
        Self(self.0.then_unstash_all())
    }

    /// Then saves a snapshot.
    pub fn then_snapshot(self) -> Self {
        Self(self.0.then_snapshot())
    }
}

impl<E: EventSourced> From<ReplyEffect<E>> for Effect<E> {
    fn from(effect: ReplyEffect<E>) -> Self {
        effect.0
    }
}
