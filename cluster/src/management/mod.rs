//! [`ClusterManagement`]: looking into a cluster and changing who is in it, by hand.
//!
//! The actor is the protocol; with the feature `management` `management::http` answers it over HTTP.

#[cfg(feature = "management")]
pub mod http;
mod report;

pub use report::{ClusterReport, MemberReport};

use crate::{
    cluster::{Cluster, ClusterError},
    member::Address,
};
use actors::{Actor, ActorContext, ActorRef, Behavior, Handled, Props, ReplyTo};

/// Answers what one node knows of its cluster, and does what people want of it.
#[derive(Debug)]
pub struct ClusterManagement {
    cluster: Cluster,
}

/// What [`ClusterManagement`] is asked.
#[derive(Debug)]
#[non_exhaustive]
pub enum ClusterManagementMessage {
    /// What does this node know?
    Status {
        /// Gets it.
        reply_to: ReplyTo<ClusterReport>,
    },
    /// See [`Cluster::leave_member`].
    Leave {
        /// Where the member is.
        address: Address,
        /// Gets whether that was begun.
        reply_to: ReplyTo<Result<(), ClusterError>>,
    },
    /// See [`Cluster::down`].
    Down {
        /// Where the member is.
        address: Address,
        /// Gets whether that was begun.
        reply_to: ReplyTo<Result<(), ClusterError>>,
    },
}

impl ClusterManagement {
    /// Starts it below `/system` of the cluster's actor system; once.
    ///
    /// # Panics
    /// When it was started before.
    pub fn start(cluster: &Cluster) -> ActorRef<ClusterManagementMessage> {
        let managed = cluster.clone();
        cluster.system().spawn_internal("cluster-management", Props::new(move || Self { cluster: managed.clone() }))
    }
}

impl Actor for ClusterManagement {
    type Message = ClusterManagementMessage;

    async fn receive(&mut self, _: &mut ActorContext<Self::Message>, message: Self::Message) -> Handled {
        match message {
            ClusterManagementMessage::Status { reply_to } => reply_to.tell(ClusterReport::of(&self.cluster)),
            ClusterManagementMessage::Leave { address, reply_to } => reply_to.tell(self.cluster.leave_member(&address)),
            ClusterManagementMessage::Down { address, reply_to } => reply_to.tell(self.cluster.down(&address)),
        }
        Ok(Behavior::Same)
    }
}
