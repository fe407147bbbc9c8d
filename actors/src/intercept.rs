//! [`Interceptor`]: sees each message an actor handles, and what came of it.

use std::any::type_name;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::actor::{Actor, Behavior, BoxError, Handled, Signal};
use crate::clock::{Clock, Tick};
use crate::context::ActorContext;
use crate::discard;
use crate::path::ActorPath;
use crate::props::Props;

/// Sees each message an actor handles: for metrics, audits and tests. Given to [`Props::intercept`].
///
/// Called in the actor's turn, so it must not block. One interceptor may serve many actors, hence `&self`. What brings a
/// message (mailbox, timer, answer, stash) makes no difference; signals are not shown.
///
/// ```
/// use actors::{ActorPath, ActorSystem, Behavior, FnActor, Interceptor, MessageOutcome, Props};
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use std::time::Duration;
///
/// /// Time spent in handlers.
/// #[derive(Default)]
/// struct Spent(AtomicU64);
///
/// impl<M> Interceptor<M> for Spent {
///     fn after(&self, _actor: &ActorPath, _outcome: MessageOutcome<'_>, took: Duration) {
///         self.0.fetch_add(took.as_micros() as u64, Ordering::Relaxed);
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let spent = Arc::new(Spent::default());
/// let till = FnActor::new(0, |sum: &mut u32, _ctx, coins: u32| {
///     *sum += coins;
///     Ok(Behavior::Same)
/// });
/// let till = ActorSystem::new("shop").spawn("till", Props::from(till).intercept(spent.clone()));
/// till.tell(5);
/// # }
/// ```
pub trait Interceptor<M>: Send + Sync + 'static {
    /// `actor` is about to handle `message`. A panic here is a failure of the actor; the message is gone.
    fn before(&self, actor: &ActorPath, message: &M) {
        let _ = (actor, message);
    }

    /// `actor` is done with the message in hand, which took that long by the system's clock, suspensions included. A panic
    /// here is logged and nothing else.
    fn after(&self, actor: &ActorPath, outcome: MessageOutcome<'_>, took: Duration) {
        let _ = (actor, outcome, took);
    }
}

impl<M, I: Interceptor<M>> Interceptor<M> for Arc<I> {
    fn before(&self, actor: &ActorPath, message: &M) {
        (**self).before(actor, message);
    }

    fn after(&self, actor: &ActorPath, outcome: MessageOutcome<'_>, took: Duration) {
        (**self).after(actor, outcome, took);
    }
}

/// What came of a message.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum MessageOutcome<'a> {
    /// The handler returned this.
    Handled(Behavior),
    /// The handler returned an error.
    Failed(&'a BoxError),
    /// The handler panicked.
    Panicked,
    /// The handler was dropped where it was suspended: the actor was killed or did not stop in time.
    Dropped,
}

/// An actor with an [`Interceptor`] around it. Made by [`Props::intercept`].
pub struct Intercepted<A, I> {
    actor: A,
    interceptor: Arc<I>,
}

impl<A: Actor> Props<A> {
    /// Shows `interceptor` each message this actor handles. One given later is around those given before. Actors without
    /// one pay nothing for it.
    pub fn intercept<I: Interceptor<A::Message>>(self, interceptor: I) -> Props<Intercepted<A, I>> {
        let interceptor = Arc::new(interceptor);
        self.around(|_| {}, move |actor| actor.map(|actor| Intercepted { actor, interceptor: interceptor.clone() }))
    }
}

impl<A: Actor, I: Interceptor<A::Message>> Actor for Intercepted<A, I> {
    type Message = A::Message;

    fn started(&mut self, ctx: &mut ActorContext<A::Message>) -> impl Future<Output = Handled> + Send {
        self.actor.started(ctx)
    }

    async fn receive(&mut self, ctx: &mut ActorContext<A::Message>, message: A::Message) -> Handled {
        let (path, clock) = (ctx.path().clone(), ctx.clock().clone());
        self.interceptor.before(&path, &message);
        let after = |path: &ActorPath, outcome: MessageOutcome<'_>, took| {
            I::after(&self.interceptor, path, outcome, took);
        };
        let began = clock.now();
        let in_hand = InHand { path, clock, began, after: Some(after) };
        let handled = self.actor.receive(ctx, message).await;
        in_hand.end(match &handled {
            Ok(behavior) => MessageOutcome::Handled(*behavior),
            Err(error) => MessageOutcome::Failed(error),
        });
        handled
    }

    fn on_signal(
        &mut self,
        ctx: &mut ActorContext<A::Message>,
        signal: Signal,
    ) -> impl Future<Output = Handled> + Send {
        self.actor.on_signal(ctx, signal)
    }
}

/// Calls `after` exactly once, however the handler ends.
struct InHand<F: FnOnce(&ActorPath, MessageOutcome<'_>, Duration)> {
    path: ActorPath,
    clock: Clock,
    began: Tick,
    after: Option<F>,
}

impl<F: FnOnce(&ActorPath, MessageOutcome<'_>, Duration)> InHand<F> {
    fn end(mut self, outcome: MessageOutcome<'_>) {
        self.tell(outcome);
    }

    fn tell(&mut self, outcome: MessageOutcome<'_>) {
        if let Some(after) = self.after.take() {
            let took = self.clock.now() - self.began;
            discard::caught(|| after(&self.path, outcome, took));
        }
    }
}

impl<F: FnOnce(&ActorPath, MessageOutcome<'_>, Duration)> Drop for InHand<F> {
    fn drop(&mut self) {
        self.tell(if std::thread::panicking() { MessageOutcome::Panicked } else { MessageOutcome::Dropped });
    }
}

impl<A, I> fmt::Debug for Intercepted<A, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Intercepted").field(&type_name::<A>()).finish()
    }
}
