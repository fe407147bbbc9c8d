//! [`Fenced`]: an actor that handles nothing while its node must not serve.

use crate::lease::HostingDeadline;
use actors::{Actor, ActorContext, Behavior, Handled, Signal};
use std::future::Future;
use tracing::debug;

/// The actor within handles messages only while this node may serve what it hosts; others are dropped, and whoever asked is
/// told at once that there is no answer. Checked before each message: one atomic load and a clock.
pub(crate) struct Fenced<A> {
    actor: A,
    deadline: HostingDeadline,
}

impl<A> Fenced<A> {
    pub(crate) fn new(actor: A, deadline: HostingDeadline) -> Self {
        Self { actor, deadline }
    }
}

impl<A: Actor> Actor for Fenced<A> {
    type Message = A::Message;

    fn started(&mut self, ctx: &mut ActorContext<A::Message>) -> impl Future<Output = Handled> + Send {
        self.actor.started(ctx)
    }

    async fn receive(&mut self, ctx: &mut ActorContext<A::Message>, message: A::Message) -> Handled {
        if let Err(fenced) = self.deadline.check() {
            debug!(actor = %ctx.path(), %fenced, "a message is dropped");
            drop(message);
            return Ok(Behavior::Same);
        }
        self.actor.receive(ctx, message).await
    }

    fn on_signal(
        &mut self,
        ctx: &mut ActorContext<A::Message>,
        signal: Signal,
    ) -> impl Future<Output = Handled> + Send {
        self.actor.on_signal(ctx, signal)
    }
}
