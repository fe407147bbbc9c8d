//! [`Phase`]: the steps of a shutdown.

use std::fmt;
use std::time::Duration;

/// The steps of a shutdown, in the order they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Before anything is closed: announce that this node goes.
    BeforeServiceUnbind,
    /// Take no new connections.
    ServiceUnbind,
    /// Wait for requests under way.
    ServiceRequestsDone,
    /// Close connections.
    ServiceStop,
    /// Before the cluster is told.
    BeforeClusterShutdown,
    /// Hand shards over, while the coordinator can still be reached. Ten seconds by default.
    ClusterShardingShutdownRegion,
    /// Tell the cluster that this node leaves.
    ClusterLeave,
    /// Hand singletons over. Ten seconds by default.
    ClusterExiting,
    /// Nothing of the cluster's runs here any more.
    ClusterExitingDone,
    /// Stop being a member.
    ClusterShutdown,
    /// Last things that need actors: flush stores, for instance.
    BeforeActorSystemTerminate,
    /// All actors stop. Ten seconds by default.
    ActorSystemTerminate,
}

impl Phase {
    /// All phases in the order they run.
    pub const ALL: [Self; 12] = [
        Self::BeforeServiceUnbind,
        Self::ServiceUnbind,
        Self::ServiceRequestsDone,
        Self::ServiceStop,
        Self::BeforeClusterShutdown,
        Self::ClusterShardingShutdownRegion,
        Self::ClusterLeave,
        Self::ClusterExiting,
        Self::ClusterExitingDone,
        Self::ClusterShutdown,
        Self::BeforeActorSystemTerminate,
        Self::ActorSystemTerminate,
    ];

    /// The name as in logs: `service-unbind` and so on.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BeforeServiceUnbind => "before-service-unbind",
            Self::ServiceUnbind => "service-unbind",
            Self::ServiceRequestsDone => "service-requests-done",
            Self::ServiceStop => "service-stop",
            Self::BeforeClusterShutdown => "before-cluster-shutdown",
            Self::ClusterShardingShutdownRegion => "cluster-sharding-shutdown-region",
            Self::ClusterLeave => "cluster-leave",
            Self::ClusterExiting => "cluster-exiting",
            Self::ClusterExitingDone => "cluster-exiting-done",
            Self::ClusterShutdown => "cluster-shutdown",
            Self::BeforeActorSystemTerminate => "before-actor-system-terminate",
            Self::ActorSystemTerminate => "actor-system-terminate",
        }
    }

    pub(super) fn default_timeout(self) -> Duration {
        match self {
            Self::ClusterShardingShutdownRegion | Self::ClusterExiting | Self::ActorSystemTerminate => {
                Duration::from_secs(10)
            }
            _ => Duration::from_secs(5),
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Too late: the phase has begun, or is skipped by the shutdown under way, so the change would have had no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("shutdown phase {phase} has already begun; add its tasks and set its timeout before the shutdown starts")]
pub struct PhaseBegun {
    /// Which phase.
    pub phase: Phase,
}
