//! The ends of actors at the top, and of a whole system within a limit.

use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use crate::actor_ref::ActorRef;
use crate::orders::Ending;
use crate::shutdown::ShutdownReport;
use crate::system::ActorSystem;

impl ActorSystem {
    /// Stops an actor at the top, as [`ActorContext::stop`](crate::ActorContext::stop) stops a child. From now on it takes
    /// no messages. Returns at once.
    ///
    /// # Panics
    /// When `actor` was not spawned by this system itself: only a parent stops an actor.
    pub fn stop<M: Send + 'static>(&self, actor: &ActorRef<M>) {
        self.end(actor, Ending::Stop);
    }

    /// As [`ActorContext::stop_within`](crate::ActorContext::stop_within), for an actor at the top.
    ///
    /// # Panics
    /// As [`stop`](ActorSystem::stop).
    pub fn stop_within<M: Send + 'static>(&self, actor: &ActorRef<M>, limit: Duration) {
        self.end(actor, Ending::StopWithin(limit));
    }

    /// As [`ActorContext::drain`](crate::ActorContext::drain), for an actor at the top; for a pool there is
    /// [`PoolRef::drain`](crate::PoolRef::drain).
    ///
    /// # Panics
    /// As [`stop`](ActorSystem::stop).
    pub fn drain<M: Send + 'static>(&self, actor: &ActorRef<M>, within: Duration) {
        self.end(actor, Ending::Drain(within));
    }

    /// As [`ActorContext::kill`](crate::ActorContext::kill), for an actor at the top.
    ///
    /// # Panics
    /// As [`stop`](ActorSystem::stop).
    pub fn kill<M: Send + 'static>(&self, actor: &ActorRef<M>) {
        self.end(actor, Ending::Kill);
    }

    fn end<M: Send + 'static>(&self, actor: &ActorRef<M>, how: Ending) {
        let parent = actor.control().head().parent().path();
        assert!(
            self.guardians().iter().any(|guardian| guardian.own_path() == parent),
            "{} is not at the top of this system, so its parent stops it; send it a message that makes it stop",
            actor.path(),
        );
        actor.control_arc().end(how);
    }

    /// As [`terminate`](ActorSystem::terminate), and when `limit` is over the shutdown is cut short and every actor that
    /// has not ended is killed, as by [`ActorContext::kill`](crate::ActorContext::kill). Only a handler that never awaits
    /// outlives that.
    ///
    /// Cancel safe, but cancelled it cuts nothing short.
    pub async fn terminate_within(&self, limit: Duration) -> Arc<ShutdownReport> {
        let shutdown = self.coordinated_shutdown();
        if let Ok(report) = self.clock().timeout(limit, shutdown.run()).await {
            return report;
        }
        warn!(?limit, alive = ?self.alive_at_top(), "system did not end in time: it is cut short, its actors are killed");
        shutdown.cut_short();
        self.guardians().into_iter().for_each(|guardian| guardian.kill());
        shutdown.ended().await
    }
}
