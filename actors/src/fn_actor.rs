//! [`FnActor`]: an actor written as a state and a closure.

use std::fmt;
use std::marker::PhantomData;

use crate::actor::{Actor, Handled};
use crate::context::ActorContext;

/// A small actor written as a state and a closure, for tests and for behaviours that are not worth a type.
///
/// The closure handles one message at a time with `&mut` to the state. It does not await: what takes time goes through
/// [`ActorContext::ask`] or [`ActorContext::pipe_to_self`], and an actor that wants to await in its handler, or to handle
/// signals, implements [`Actor`]. To be restarted it needs a factory like any other:
/// `Props::new(|| FnActor::new(..))`.
///
/// ```
/// use actors::{ActorSystem, Behavior, BoxError, FnActor, ReplyTo};
/// use std::time::Duration;
///
/// enum CounterMessage {
///     Add(u64),
///     Total(ReplyTo<u64>),
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// let counter = FnActor::new(0, |total, _ctx, message| {
///     match message {
///         CounterMessage::Add(number) => *total += number,
///         CounterMessage::Total(reply_to) => reply_to.tell(*total),
///     }
///     Ok(Behavior::Same)
/// });
/// let counter = ActorSystem::new("guide").spawn("counter", counter);
/// counter.tell(CounterMessage::Add(42));
/// assert_eq!(counter.ask(CounterMessage::Total, Duration::from_secs(1)).await?, 42);
/// # Ok(())
/// # }
/// ```
pub struct FnActor<S, M, F> {
    state: S,
    receive: F,
    message: PhantomData<fn(M)>,
}

impl<S, M, F> FnActor<S, M, F>
where
    S: Send + 'static,
    M: Send + 'static,
    F: FnMut(&mut S, &mut ActorContext<M>, M) -> Handled + Send + 'static,
{
    /// An actor that is `state` at first and handles each message with `receive`.
    pub fn new(state: S, receive: F) -> Self {
        Self { state, receive, message: PhantomData }
    }
}

impl<S, M, F> Actor for FnActor<S, M, F>
where
    S: Send + 'static,
    M: Send + 'static,
    F: FnMut(&mut S, &mut ActorContext<M>, M) -> Handled + Send + 'static,
{
    type Message = M;

    async fn receive(&mut self, ctx: &mut ActorContext<M>, message: M) -> Handled {
        (self.receive)(&mut self.state, ctx, message)
    }
}

impl<S, M, F> fmt::Debug for FnActor<S, M, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FnActor")
    }
}
