//! An actor whose end is the end of the system.

use super::CoordinatedShutdown;
use super::report::ShutdownReason;
use crate::actor::{Actor, Behavior, Handled};
use crate::actor_ref::ActorRef;
use crate::context::ActorContext;
use crate::path::ActorPath;
use crate::props::Props;

/// Waits for the end of another actor.
struct Guard {
    shutdown: CoordinatedShutdown,
}

struct Ended(ActorPath);

impl CoordinatedShutdown {
    /// Starts the shutdown when `guardian` stops for good, for whatever reason; at once if it has already.
    pub fn start_when_stopped<M: Send + 'static>(&self, guardian: &ActorRef<M>) {
        let Some(system) = self.0.system.upgrade() else { return };
        let (guardian, shutdown) = (guardian.clone(), self.clone());
        let guard = Props::setup(move |ctx: &mut ActorContext<Ended>| {
            ctx.watch_with(&guardian, Ended(guardian.path().clone()));
            Guard { shutdown: shutdown.clone() }
        });
        system.spawn_internal_anonymous(guard);
    }
}

impl Actor for Guard {
    type Message = Ended;

    async fn receive(&mut self, _ctx: &mut ActorContext<Ended>, Ended(path): Ended) -> Handled {
        self.shutdown.start_for(ShutdownReason::GuardianStopped(path));
        Ok(Behavior::Stopped)
    }
}
