//! The end of a member within the end of its system.
//!
//! One that leaves does so in phases: what it did is handed over before and between them, by those who did it. One that was
//! given up has nothing to hand over and no right to: it stops hosting at once, and its system ends by the short way.

use super::Cluster;
use crate::{
    member::MemberStatus,
    membership::{
        daemon::{inbox::Wish, shared::Stage},
        node::Command,
    },
};
use actors::{BoxError, Phase, PhaseBegun, ShutdownReason, ShutdownTask};
use std::{sync::Arc, time::Duration};
use tokio::sync::oneshot;
use tracing::{info, warn};

/// How long one that exits waits for being removed, in the time of its phase, before it says that it is gone.
const REMOVED_WITHIN: Duration = Duration::from_secs(4);
/// How long each step of giving up a node that is not up may take.
const GIVE_UP_WITHIN: Duration = Duration::from_secs(1);
/// How long what waits to be sent may take at the end.
const FLUSH_WITHIN: Duration = Duration::from_secs(1);

/// Has the system's shutdown take the node out of the cluster.
pub(super) fn add_tasks(cluster: &Cluster) -> Result<(), PhaseBegun> {
    let shutdown = cluster.0.system.coordinated_shutdown();
    let leaving = cluster.clone();
    shutdown.add_task(Phase::ClusterLeave, "leave the cluster", || leave(leaving))?;
    let exiting = cluster.clone();
    shutdown.add_task(Phase::ClusterExitingDone, "tell that all is handed over", || async move {
        let _ = exiting.wish(Wish::Command(Command::HandedOver));
        Ok(())
    })?;
    let ending = cluster.clone();
    shutdown.add_task(Phase::ClusterShutdown, "be no member any more", || end(ending))?;
    let last = cluster.clone();
    shutdown.add_task(Phase::BeforeActorSystemTerminate, "close connections to other nodes", || async move {
        last.0.remoting.stop(FLUSH_WITHIN).await;
        Ok(())
    })
}

/// Gives up a node that is not up yet when its system shuts down, whether anybody waits for it or not; until this is dropped.
pub(super) struct WhileJoining(Option<ShutdownTask>);

impl WhileJoining {
    /// With what is ready once the system shuts down, unless this is over before.
    ///
    /// # Errors
    /// It shuts down already.
    pub(super) fn new(cluster: &Cluster) -> Result<(Self, oneshot::Receiver<()>), PhaseBegun> {
        let ((begins, begun), cluster) = (oneshot::channel(), cluster.clone());
        let shutdown = cluster.0.system.clone();
        let give_up = || async move {
            let _ = begins.send(());
            give_up(cluster).await;
            Ok(())
        };
        let shutdown = shutdown.coordinated_shutdown();
        let task = shutdown.add_cancellable_task(Phase::BeforeServiceUnbind, "give up joining", give_up)?;
        Ok((Self(Some(task)), begun))
    }

    /// The node is up. `false`: it is given up all the same.
    pub(super) fn end(mut self) -> bool {
        self.0.take().is_some_and(ShutdownTask::cancel)
    }
}

impl Drop for WhileJoining {
    fn drop(&mut self) {
        if let Some(task) = self.0.take() {
            task.cancel();
        }
    }
}

/// Says that it is gone, and closes all connections.
pub(super) async fn give_up(cluster: Cluster) {
    let _ = cluster.0.shared.inbox.wish(Wish::Quit);
    let _ = cluster.0.seams.clock.timeout(GIVE_UP_WITHIN, cluster.terminated()).await;
    cluster.0.remoting.stop(GIVE_UP_WITHIN).await;
}

async fn leave(cluster: Cluster) -> Result<(), BoxError> {
    let _ = cluster.wish(Wish::Command(Command::Leave(cluster.me().address.clone())));
    until(&cluster, |status| status >= MemberStatus::Exiting).await;
    Ok(())
}

/// Who could not leave, or is not removed in time, says that it is gone: nobody need wait for it.
async fn end(cluster: Cluster) -> Result<(), BoxError> {
    let reason = cluster.0.system.coordinated_shutdown().reason();
    let exits = cluster.status() == Some(MemberStatus::Exiting) && reason != Some(ShutdownReason::ClusterDowned);
    let patience = if exits { REMOVED_WITHIN } else { Duration::ZERO };
    if cluster.0.seams.clock.timeout(patience, cluster.terminated()).await.is_err() {
        cluster.0.shared.hosting.end();
        let _ = cluster.wish(Wish::Command(Command::Down(cluster.me().address.clone())));
        let departure = cluster.terminated().await;
        warn!(node = %cluster.me(), %departure, "ended without having been removed");
    }
    Ok(())
}

/// Waits for a status; or for the end.
async fn until(cluster: &Cluster, reached: impl Fn(MemberStatus) -> bool) {
    let mut stage = cluster.0.shared.stage();
    loop {
        match &*stage.borrow_and_update() {
            Stage::Member(status) if reached(*status) => return,
            Stage::Stopped(_) => return,
            _ => {}
        }
        // The sender lives in the cluster.
        let _ = stage.changed().await;
    }
}

/// Shuts the system down when the node is on its way out, whoever wanted it to be.
pub(super) fn watch(cluster: &Cluster) {
    let watched = cluster.clone();
    let ordinary = Arc::clone(&cluster.0.seams.ordinary);
    ordinary.spawn(Box::pin(async move {
        until(&watched, |status| status >= MemberStatus::Leaving).await;
        let shutdown = watched.0.system.coordinated_shutdown().clone();
        if watched.status().is_some_and(|status| status < MemberStatus::Down) {
            info!(node = %watched.me(), "this node leaves: its actor system shuts down");
            shutdown.start_for(ShutdownReason::ClusterLeft);
            until(&watched, |_| false).await;
        }
        let departure = watched.terminated().await;
        info!(node = %watched.me(), %departure, "this node is no member any more: its actor system shuts down");
        shutdown.start_for(departure.shutdown_reason());
    }));
}
