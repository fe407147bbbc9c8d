//! [`Actor`]: what a user implements.

use std::error::Error;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

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
    ///
    /// An actor that leaves this as it is, and is spawned from a value with nothing around it (supervision, interceptors, traces,
    /// a policy for failed messages, a thread of its own), is not run before something comes: a spawn costs half then.
    fn started(&mut self, ctx: &mut ActorContext<Self::Message>) -> impl Future<Output = Handled> + Send {
        let _ = ctx;
        AsItIs::<Self>::of(Behavior::Same)
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
        AsItIs::<Self>::of(Behavior::Unhandled)
    }
}

/// What a handler returns that `A` has left as it is. Nobody else can make one: whoever hands on to another actor's handler
/// returns that one's type.
struct AsItIs<A> {
    behavior: Behavior,
    of: PhantomData<fn(A)>,
}

impl<A> AsItIs<A> {
    fn of(behavior: Behavior) -> Self {
        Self { behavior, of: PhantomData }
    }

    /// Whether that is what a handler returns, which is not called for this.
    fn is<F>() -> bool {
        typeid::of::<F>() == typeid::of::<Self>()
    }
}

impl<A> Future for AsItIs<A> {
    type Output = Handled;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Handled> {
        Poll::Ready(Ok(self.behavior))
    }
}

/// Whether `A` has left [`Actor::started`] as it is: then there is nothing to run before the first message.
pub(crate) fn starts_with_nothing<A: Actor>() -> bool {
    fn check<'a, A: Actor, F: Future>(_: impl FnOnce(&'a mut A, &'a mut ActorContext<A::Message>) -> F) -> bool {
        AsItIs::<A>::is::<F>()
    }
    check::<A, _>(A::started)
}

/// Whether `A` has left [`Actor::on_signal`] as it is: then a last signal need not be delivered.
pub(crate) fn ignores_last_signals<A: Actor>() -> bool {
    fn check<'a, A: Actor, F: Future>(
        _: impl FnOnce(&'a mut A, &'a mut ActorContext<A::Message>, Signal) -> F,
    ) -> bool {
        AsItIs::<A>::is::<F>()
    }
    check::<A, _>(A::on_signal)
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

#[cfg(all(test, not(any(actors_loom, actors_shuttle))))]
mod tests {
    use super::*;

    /// Leaves everything as it is.
    struct Plain;

    impl Actor for Plain {
        type Message = ();

        async fn receive(&mut self, _: &mut ActorContext<()>, (): ()) -> Handled {
            Ok(Behavior::Same)
        }
    }

    /// Has handlers of its own that do nothing either.
    struct Own;

    impl Actor for Own {
        type Message = ();

        async fn started(&mut self, _: &mut ActorContext<()>) -> Handled {
            Ok(Behavior::Same)
        }

        async fn receive(&mut self, _: &mut ActorContext<()>, (): ()) -> Handled {
            Ok(Behavior::Same)
        }

        async fn on_signal(&mut self, _: &mut ActorContext<()>, _: Signal) -> Handled {
            Ok(Behavior::Unhandled)
        }
    }

    /// Does something and hands on, without an `async fn` of its own.
    struct Around<A> {
        inner: A,
        handled: u32,
    }

    impl<A: Actor> Actor for Around<A> {
        type Message = A::Message;

        fn started(&mut self, ctx: &mut ActorContext<A::Message>) -> impl Future<Output = Handled> + Send {
            self.handled += 1;
            self.inner.started(ctx)
        }

        fn receive(
            &mut self,
            ctx: &mut ActorContext<A::Message>,
            message: A::Message,
        ) -> impl Future<Output = Handled> + Send {
            self.handled += 1;
            self.inner.receive(ctx, message)
        }

        fn on_signal(
            &mut self,
            ctx: &mut ActorContext<A::Message>,
            signal: Signal,
        ) -> impl Future<Output = Handled> + Send {
            self.handled += 1;
            self.inner.on_signal(ctx, signal)
        }
    }

    #[test]
    fn only_who_leaves_a_handler_as_it_is_has_nothing_to_do() {
        assert!(starts_with_nothing::<Plain>() && ignores_last_signals::<Plain>());
        assert!(!starts_with_nothing::<Own>() && !ignores_last_signals::<Own>());
        assert!(!starts_with_nothing::<Around<Plain>>() && !ignores_last_signals::<Around<Plain>>());
        assert!(!starts_with_nothing::<Around<Around<Plain>>>());
    }
}
