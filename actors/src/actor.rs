//! [`Actor`]: what a user implements.

use std::error::Error;
use std::future::Future;
use std::sync::Arc;

use crate::context::ActorContext;
use crate::path::ActorPath;

/// Any error; keeps its type, for `downcast_ref`.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// What a handler returns: what to be next, or a failure for supervision to decide on.
pub type Handled = Result<Behavior, BoxError>;

/// State and behaviour of one actor. One handler runs at a time, with `&mut self`.
///
/// While a handler awaits, this actor serves nothing else. Work that should not hold up the mailbox goes through
/// [`ActorContext::ask`] or [`ActorContext::pipe_to_self`].
pub trait Actor: Send + Sized + 'static {
    /// What this actor understands.
    type Message: Send + 'static;

    /// Runs once per life, before the first message. An error here is a failure to start.
    fn started(&mut self, ctx: &mut ActorContext<Self::Message>) -> impl Future<Output = Handled> + Send {
        let _ = ctx;
        async { Ok(Behavior::Same) }
    }

    /// Handles one message. An error or a panic is a failure: supervision decides, the message is gone.
    fn receive(
        &mut self,
        ctx: &mut ActorContext<Self::Message>,
        message: Self::Message,
    ) -> impl Future<Output = Handled> + Send;

    /// Handles one signal. Left [`Behavior::Unhandled`], [`Signal::Terminated`] and [`Signal::ChildFailed`] make this
    /// actor fail with a [`DeathPact`]; the other signals may be ignored.
    fn on_signal(
        &mut self,
        ctx: &mut ActorContext<Self::Message>,
        signal: Signal,
    ) -> impl Future<Output = Handled> + Send {
        let _ = (ctx, signal);
        async { Ok(Behavior::Unhandled) }
    }
}

/// What an actor is after a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behavior {
    /// Alive, as before.
    Same,
    /// Stops: no further message is handled, children stop, then [`Signal::PostStop`].
    Stopped,
    /// Alive; the message meant nothing to it, which is counted and published.
    Unhandled,
}

/// What the runtime tells an actor. Signals overtake messages.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Signal {
    /// This life ends after a failure and another begins. Its result does not matter. Not sent after a panic: the
    /// state may be half changed and is only dropped.
    PreRestart,
    /// The actor has stopped; all its children have. Not sent for a restart, nor after a panic.
    PostStop,
    /// A watched actor has stopped for good.
    Terminated(ActorPath),
    /// A watched child has stopped because of a failure; takes the place of `Terminated`.
    ChildFailed {
        /// Which child.
        child: ActorPath,
        /// What it failed with.
        cause: Arc<dyn Error + Send + Sync>,
    },
}

/// The failure of an actor that panicked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("panicked: {message}")]
pub struct Panicked {
    /// What the panic said.
    pub message: String,
}

/// The failure of an actor that watched another and did not handle its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("death pact: {terminated} terminated and the watching actor did not handle the signal")]
pub struct DeathPact {
    /// The watched actor.
    pub terminated: ActorPath,
}
