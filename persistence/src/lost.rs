//! What an entity does once another writer owns it: it hands on what waits for it, for a moment, and stops.

use actors::{Actor, ActorContext, ActorPath, ActorRef, Behavior, Handled, Props, SupervisorStrategy};
use std::time::Duration;

/// Commands that were on their way when the log was lost arrive within this time.
const LINGER: Duration = Duration::from_secs(1);

/// An entity that has lost its log and is still there.
pub(crate) struct Lost {
    timer: ActorPath,
}

impl Lost {
    /// Begins the time in which commands are handed on; it ends with the end of a child.
    pub(crate) fn begin<M: Send + 'static>(ctx: &mut ActorContext<M>) -> Self {
        let props = Props::new(|| Timer).supervise(SupervisorStrategy::stop());
        let child: ActorRef<Never> = ctx.spawn_anonymous(props);
        ctx.watch(&child);
        Self { timer: child.path().clone() }
    }

    /// What the end of `child` leads to: nothing, unless it is the end of this time. Left unhandled it would be a failure,
    /// and a new life would take the log back.
    pub(crate) fn ended(&self, child: &ActorPath) -> Behavior {
        if self.timer == *child { Behavior::Stopped } else { Behavior::Same }
    }
}

enum Never {}

struct Timer;

impl Actor for Timer {
    type Message = Never;

    async fn started(&mut self, ctx: &mut ActorContext<Never>) -> Handled {
        ctx.clock().sleep(LINGER).await;
        Ok(Behavior::Stopped)
    }

    async fn receive(&mut self, _ctx: &mut ActorContext<Never>, never: Never) -> Handled {
        match never {}
    }
}
