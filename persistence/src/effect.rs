//! [`Effect`]: what a command leads to. Persist first, then reply, run, stop.

use crate::{AppendError, EventSourced, chained::Chain};
use actors::{ActorContext, ReplyTo};

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
}

pub(crate) enum Primary<E: EventSourced> {
    None,
    Persist(Vec<E::Event>),
    Stash(E::Command),
    Unhandled,
}

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

    /// The events this effect would store, for tests of a command handler.
    #[must_use]
    pub fn events(&self) -> &[E::Event] {
        match &self.primary {
            Primary::Persist(events) => events,
            Primary::None | Primary::Stash(_) | Primary::Unhandled => &[],
        }
    }

    fn of(primary: Primary<E>) -> Self {
        Self { primary, chained: Chain::default() }
    }
}
