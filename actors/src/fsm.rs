//! [`Fsm`]: an enum as an actor's state machine, with time limits that end with the state.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use crate::context::ActorContext;

/// What an actor is at the moment, and how long it may stay so.
///
/// A state machine is an enum in a field and a `match` over state and message; this wrapper adds what is easily
/// forgotten: the time limit of a state ends with it. [`goto`](Fsm::goto) changes the state and cancels the limit of the
/// one before, whose message is never delivered afterwards, not even if it was due already.
///
/// Its limit is a timer of the actor: it ends with this life, so a restart, whose factory makes the machine anew, sets the
/// limit of its first state in [`started`](crate::Actor::started) if that has one.
///
/// ```
/// use actors::testkit::TestKit;
/// use actors::{Actor, ActorContext, Behavior, Fsm, Handled, ReplyTo};
/// use std::time::Duration;
///
/// /// Closes itself when it was open for ten seconds; three wrong codes lock it for a minute.
/// struct Door {
///     state: Fsm<DoorState>,
/// }
///
/// #[derive(Clone, Copy, Debug, PartialEq)]
/// enum DoorState {
///     Closed { wrong_codes: u32 },
///     Open,
///     Locked,
/// }
/// use DoorState::{Closed, Locked, Open};
///
/// enum DoorMessage {
///     Enter { code: u32 },
///     Close,
///     /// The state has lasted as long as it may.
///     TimeIsOver,
///     State(ReplyTo<DoorState>),
/// }
///
/// const AT_MOST_OPEN: Duration = Duration::from_secs(10);
/// const LOCKED_FOR: Duration = Duration::from_secs(60);
///
/// impl Actor for Door {
///     type Message = DoorMessage;
///
///     async fn receive(&mut self, ctx: &mut ActorContext<DoorMessage>, message: DoorMessage) -> Handled {
///         match (*self.state, message) {
///             (state, DoorMessage::State(reply_to)) => reply_to.tell(state),
///             (Closed { .. }, DoorMessage::Enter { code: 1234 }) => {
///                 self.state.goto(ctx, Open).for_max(AT_MOST_OPEN, DoorMessage::TimeIsOver);
///             }
///             (Closed { wrong_codes: 2 }, DoorMessage::Enter { .. }) => {
///                 self.state.goto(ctx, Locked).for_max(LOCKED_FOR, DoorMessage::TimeIsOver);
///             }
///             (Closed { wrong_codes }, DoorMessage::Enter { .. }) => {
///                 self.state.goto(ctx, Closed { wrong_codes: wrong_codes + 1 });
///             }
///             // Somebody else is coming through: ten seconds from here.
///             (Open, DoorMessage::Enter { .. }) => {
///                 self.state.stay(ctx).for_max(AT_MOST_OPEN, DoorMessage::TimeIsOver);
///             }
///             (Open, DoorMessage::Close) | (Open | Locked, DoorMessage::TimeIsOver) => {
///                 self.state.goto(ctx, Closed { wrong_codes: 0 });
///             }
///             _ => return Ok(Behavior::Unhandled),
///         }
///         Ok(Behavior::Same)
///     }
/// }
///
/// let kit = TestKit::new();
/// let door = kit.spawn("door", Door { state: Fsm::new(Closed { wrong_codes: 0 }) });
/// let state = || kit.block_on(door.ask(DoorMessage::State, Duration::from_secs(1)));
///
/// door.tell(DoorMessage::Enter { code: 1234 });
/// kit.advance(Duration::from_secs(9));
/// assert_eq!(state(), Ok(Open));
/// kit.advance(Duration::from_secs(1));
/// assert_eq!(state(), Ok(Closed { wrong_codes: 0 }));
///
/// for code in [1, 2, 3] {
///     door.tell(DoorMessage::Enter { code });
/// }
/// assert_eq!(state(), Ok(Locked));
/// ```
pub struct Fsm<S> {
    state: S,
    /// Of the timer that limits the state.
    key: Cow<'static, str>,
}

impl<S> Fsm<S> {
    /// A machine that is in `state` at first, without a limit.
    pub fn new(state: S) -> Self {
        Self { state, key: Cow::Borrowed("state timeout") }
    }

    /// The key of the timer that limits a state, instead of `state timeout`: an actor with several machines gives each
    /// its own.
    #[must_use]
    pub fn with_timer_key(mut self, key: impl Into<Cow<'static, str>>) -> Self {
        self.key = key.into();
        self
    }

    /// The state, to change data in it: no transition, a limit goes on.
    pub fn state_mut(&mut self) -> &mut S {
        &mut self.state
    }

    /// Changes to `next`, which may be the same state again. The limit of the state before is cancelled.
    pub fn goto<'a, M: Send + 'static>(&'a mut self, ctx: &'a mut ActorContext<M>, next: S) -> StateTimeout<'a, M> {
        ctx.timers().cancel(&self.key);
        self.state = next;
        StateTimeout { key: &self.key, ctx }
    }

    /// Stays. A limit goes on, unless [`for_max`](StateTimeout::for_max) sets it anew.
    pub fn stay<'a, M: Send + 'static>(&'a mut self, ctx: &'a mut ActorContext<M>) -> StateTimeout<'a, M> {
        StateTimeout { key: &self.key, ctx }
    }
}

/// The state.
impl<S> std::ops::Deref for Fsm<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.state
    }
}

impl<S: fmt::Debug> fmt::Debug for Fsm<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Fsm").field(&self.state).finish()
    }
}

/// A state just entered, or confirmed: it may be given a limit. Made by [`Fsm::goto`] and [`Fsm::stay`].
pub struct StateTimeout<'a, M> {
    key: &'a Cow<'static, str>,
    ctx: &'a mut ActorContext<M>,
}

impl<M: Send + 'static> StateTimeout<'_, M> {
    /// Delivers `message` if the state still lasts `within` from now. Replaces a limit set before.
    pub fn for_max(self, within: Duration, message: M) {
        self.ctx.timers().start_single(self.key.clone(), within, message);
    }
}

impl<M> fmt::Debug for StateTimeout<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StateTimeout").field("key", self.key).finish_non_exhaustive()
    }
}
