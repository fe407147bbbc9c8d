//! [`LocalActor`]: an actor whose state must not leave its thread.

use std::any::type_name;
use std::fmt;
use std::future::Future;

use super::bound::{Bound, BoundFuture};
use crate::actor::{Actor, Behavior, Handled, Signal};
use crate::context::ActorContext;
use crate::props::Props;

/// An actor whose state, and whose handlers' futures, need not be `Send`: an `Rc`, a handle of a C library, an interpreter.
/// It has a thread of its own and is spawned from [`Props::local`]; to everybody else it is an actor like any other.
///
/// The methods mean what those of [`Actor`] mean.
///
/// ```
/// use actors::{ActorContext, ActorSystem, Behavior, Handled, LocalActor, Props, ReplyTo};
/// use std::cell::Cell;
/// use std::rc::Rc;
/// use std::time::Duration;
///
/// struct Counter {
///     count: Rc<Cell<u64>>,
/// }
///
/// impl LocalActor for Counter {
///     type Message = ReplyTo<u64>;
///
///     async fn receive(&mut self, _ctx: &mut ActorContext<Self::Message>, reply_to: Self::Message) -> Handled {
///         let count = self.count.clone(); // held over the await below, which makes the future not `Send`
///         tokio::task::spawn_local(async move { count.set(count.get() + 1) }).await?;
///         reply_to.tell(self.count.get());
///         Ok(Behavior::Same)
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let system = ActorSystem::new("local");
/// let counter = system.spawn("counter", Props::local(|_ctx| Counter { count: Rc::default() }));
/// assert_eq!(counter.ask(|reply_to| reply_to, Duration::from_secs(10)).await?, 1);
/// # Ok(())
/// # }
/// ```
pub trait LocalActor: Sized + 'static {
    /// What this actor understands. Messages come from other threads.
    type Message: Send + 'static;

    /// See [`Actor::started`].
    fn started(&mut self, ctx: &mut ActorContext<Self::Message>) -> impl Future<Output = Handled> {
        let _ = ctx;
        async { Ok(Behavior::Same) }
    }

    /// See [`Actor::receive`].
    fn receive(
        &mut self,
        ctx: &mut ActorContext<Self::Message>,
        message: Self::Message,
    ) -> impl Future<Output = Handled>;

    /// See [`Actor::on_signal`].
    fn on_signal(&mut self, ctx: &mut ActorContext<Self::Message>, signal: Signal) -> impl Future<Output = Handled> {
        let _ = (ctx, signal);
        async { Ok(Behavior::Unhandled) }
    }
}

/// What a [`LocalActor`] is spawned as. Made by [`Props::local`] alone.
pub struct Local<L: LocalActor>(Bound<L>);

impl<L: LocalActor> Actor for Local<L> {
    type Message = L::Message;

    fn started(&mut self, ctx: &mut ActorContext<L::Message>) -> impl Future<Output = Handled> + Send {
        BoundFuture::new(Box::pin(self.0.here().started(ctx)))
    }

    fn receive(
        &mut self,
        ctx: &mut ActorContext<L::Message>,
        message: L::Message,
    ) -> impl Future<Output = Handled> + Send {
        BoundFuture::new(Box::pin(self.0.here().receive(ctx, message)))
    }

    fn on_signal(
        &mut self,
        ctx: &mut ActorContext<L::Message>,
        signal: Signal,
    ) -> impl Future<Output = Handled> + Send {
        BoundFuture::new(Box::pin(self.0.here().on_signal(ctx, signal)))
    }
}

impl<L: LocalActor> Props<Local<L>> {
    /// An actor whose state need not be `Send`. `factory` is called for each life, on the actor's own thread, where the
    /// state stays; see [`pinned`](Props::pinned) for that thread. Handling a message makes one allocation.
    ///
    /// In a [`TestKit`](crate::testkit::TestKit) it lives on the test's own thread, without `spawn_local`.
    pub fn local(mut factory: impl FnMut(&mut ActorContext<L::Message>) -> L + Send + 'static) -> Self {
        let mut props = Self::setup(move |ctx| Local(Bound::new(factory(ctx)))).pinned();
        props.actor_type = Some(type_name::<L>);
        props
    }
}

impl<L: LocalActor> fmt::Debug for Local<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Local").finish_non_exhaustive()
    }
}
