//! [`ShutdownReason`] and [`ShutdownReport`]: why a system ends and how that went.

use std::fmt;

use super::phase::Phase;
use crate::path::ActorPath;

/// Why a system ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShutdownReason {
    /// Somebody asked for it: [`ActorSystem::terminate`](crate::ActorSystem::terminate) and the like.
    #[default]
    Terminate,
    /// The process got this signal: `SIGTERM`, `SIGINT`.
    Signal(&'static str),
    /// The actor that stood for the whole system has stopped.
    GuardianStopped(ActorPath),
    /// This node leaves its cluster, by its own wish or another's.
    ClusterLeft,
    /// This node was declared down: it is no member any more and others may own what it hosted.
    ClusterDowned,
    /// This node found no cluster to join, or was refused. For whoever called `Cluster::join` to say so.
    ClusterJoinFailed,
}

impl ShutdownReason {
    /// What the process should end with: 0 for an orderly end, 3 when it was [declared down](Self::ClusterDowned), 4 when
    /// it [could not join](Self::ClusterJoinFailed). Not zero tells whatever started the process that it did not mean to.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Terminate | Self::Signal(_) | Self::GuardianStopped(_) | Self::ClusterLeft => 0,
            Self::ClusterDowned => 3,
            Self::ClusterJoinFailed => 4,
        }
    }

    /// Phases in the order they run for this reason.
    ///
    /// A node that is down has neither the time nor the right to hand anything over: it stops being a member, and with
    /// that hosting anything, before all else, and skips what needs the others' consent.
    pub(super) fn phases(&self) -> Vec<Phase> {
        let graceful = |phase: &Phase| {
            matches!(
                phase,
                Phase::ClusterShardingShutdownRegion
                    | Phase::ClusterLeave
                    | Phase::ClusterExiting
                    | Phase::ClusterExitingDone
            )
        };
        if *self != Self::ClusterDowned {
            return Phase::ALL.to_vec();
        }
        let others = Phase::ALL.into_iter().filter(|phase| *phase != Phase::ClusterShutdown && !graceful(phase));
        [Phase::ClusterShutdown].into_iter().chain(others).collect()
    }
}

impl fmt::Display for ShutdownReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Terminate => f.write_str("asked to terminate"),
            Self::Signal(name) => write!(f, "got {name}"),
            Self::GuardianStopped(path) => write!(f, "{path} has stopped"),
            Self::ClusterLeft => f.write_str("left the cluster"),
            Self::ClusterDowned => f.write_str("declared down by the cluster"),
            Self::ClusterJoinFailed => f.write_str("could not join a cluster"),
        }
    }
}

/// How a shutdown went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Why it was begun.
    pub reason: ShutdownReason,
    /// Tasks that failed, panicked, were cut off by their phase's timeout or never ran, in the order of phases.
    pub failures: Vec<TaskFailure>,
    /// The phase that was the last to run because the shutdown did not go on: a task of it failed and the phase does not
    /// [recover](super::CoordinatedShutdown::set_recover), or the shutdown was [cut short](super::CoordinatedShutdown::cut_short).
    pub aborted_in: Option<Phase>,
}

impl ShutdownReport {
    /// What the process should end with: the [reason's code](ShutdownReason::exit_code), or 1 in place of 0 when the
    /// shutdown was aborted. Failures that did not abort it change nothing.
    pub fn exit_code(&self) -> u8 {
        match self.reason.exit_code() {
            0 if self.aborted_in.is_some() => 1,
            code => code,
        }
    }
}

/// A task of the shutdown that did not end well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskFailure {
    /// The phase it was in.
    pub phase: Phase,
    /// Its name.
    pub task: String,
    /// What happened.
    pub cause: String,
}
