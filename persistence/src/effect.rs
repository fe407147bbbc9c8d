//! [`Effect`]: what a command leads to. Persist first, then reply, run, stop.

use crate::EventSourced;
use actors::{ActorContext, ReplyTo};

/// What a command handler decides: one primary effect, then others in the order they are chained.
///
/// # Ordering
/// Chained effects run after the events are durable and applied, in order, at most once, and never in recovery. If the
/// write fails none of them runs: a `ReplyTo` among them is dropped, which ends its ask with `NoReply`. If the process
/// dies between write and effect, it does not run later.
#[must_use = "an effect does nothing unless the command handler returns it"]
pub struct Effect<E: EventSourced> {
    pub(crate) primary: Primary<E>,
    pub(crate) chained: Vec<Chained<E>>,
}

pub(crate) enum Primary<E: EventSourced> {
    None,
    Persist(Vec<E::Event>),
    Stash(E::Command),
    Unhandled,
}

pub(crate) enum Chained<E: EventSourced> {
    Run(Run<E>),
    UnstashAll,
    Stop,
}

type Run<E> = Box<dyn FnOnce(&<E as EventSourced>::State, &mut ActorContext<<E as EventSourced>::Command>) + Send>;

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
        self.chained.push(Chained::Run(Box::new(run)));
        self
    }

    /// Then answers with what `make` finds in the state after the events.
    pub fn then_reply<T: Send + 'static>(
        self,
        reply_to: ReplyTo<T>,
        make: impl FnOnce(&E::State) -> T + Send + 'static,
    ) -> Self {
        self.then_run(move |state, _| reply_to.tell(make(state)))
    }

    /// Then stops the entity; nothing chained after this runs.
    pub fn then_stop(mut self) -> Self {
        self.chained.push(Chained::Stop);
        self
    }

    /// Then brings all stashed commands back, in order, before anything newer.
    pub fn then_unstash_all(mut self) -> Self {
        self.chained.push(Chained::UnstashAll);
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
        Self { primary, chained: Vec::new() }
    }
}
