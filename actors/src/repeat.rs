//! [`Props::repeat`] and [`Props::wrap`]: for those that start the actors of others.

use crate::actor::{Actor, BoxError};
use crate::context::ActorContext;
use crate::failed_message::FailedPolicy;
use crate::foyer::Scale;
use crate::props::{Factory, Props};
use parking_lot::Mutex;
use std::sync::Arc;

/// A plain value was to be started again.
#[derive(Debug, thiserror::Error)]
#[error("an actor that is a plain value starts once: use `Props::new` with a factory")]
struct StartsOnce;

impl<A: Actor> Props<A> {
    /// Makes props of the same rules, for one actor after the other. They share the factory; each is supervised by itself. Of
    /// a plain value only the first starts, the others fail to.
    ///
    /// ```
    /// # use actors::{ActorSystem, Behavior, FnActor, Props};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() {
    /// # let system = ActorSystem::new("shop");
    /// let mut tills = Props::new(|| FnActor::new(0, |sum: &mut u32, _ctx, coins: u32| {
    ///     *sum += coins;
    ///     Ok(Behavior::Same)
    /// }))
    /// .repeat();
    /// let (first, second) = (system.spawn("first", tills()), system.spawn("second", tills()));
    /// # }
    /// ```
    pub fn repeat(self) -> impl FnMut() -> Self + Send + 'static {
        let Self {
            factory,
            supervision,
            mailbox,
            scale,
            tracing,
            stop_timeout,
            stop_limit,
            failed,
            actor_type,
            pinned,
        } = self;
        let factory = Arc::new(Mutex::new(match factory {
            Factory::Build(build) => build,
            Factory::Value(value) => {
                let mut value = Some(value);
                Box::new(move |_: &mut ActorContext<A::Message>| value.take().ok_or_else(|| BoxError::from(StartsOnce)))
            }
        }));
        move || {
            let factory = factory.clone();
            let scale = scale.as_ref().map(|scale| Scale { limit: scale.limit, weigh: scale.weigh.clone() });
            Self {
                factory: Factory::Build(Box::new(move |ctx| {
                    let mut build = factory.lock();
                    build(ctx)
                })),
                supervision: supervision.as_ref().map(|supervision| Box::new(supervision.anew())),
                mailbox,
                scale: scale.map(Box::new),
                tracing,
                stop_timeout,
                stop_limit,
                failed: failed.as_ref().map(|failed| FailedPolicy { what: failed.what, copy: failed.copy }),
                actor_type,
                pinned,
            }
        }
    }

    /// The same rules for an actor that `wrap` makes of each that the factory makes. It passes on what the one within is to
    /// see of messages and signals.
    pub fn wrap<B: Actor<Message = A::Message>>(self, mut wrap: impl FnMut(A) -> B + Send + 'static) -> Props<B> {
        self.around(|_| {}, move |actor| actor.map(&mut wrap))
    }
}
