//! [`Shared`]: what all of a node can see of its daemon.

use super::{counts::Counts, inbox::Inbox};
use crate::{
    epoch::Council,
    event::ClusterState,
    lease::HostingDeadline,
    member::{Member, MemberStatus, UniqueAddress},
    membership::node::{Difference, StopReason},
    uptime::Uptime,
};
use parking_lot::RwLock;
use std::sync::Arc;
use tokio::sync::watch;

/// Where this node is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Joining,
    /// The cluster does not want it as it is.
    Refused {
        by: UniqueAddress,
        differing: Vec<Difference>,
    },
    Member(MemberStatus),
    Stopped(StopReason),
}

/// Written by the daemon.
#[derive(Debug)]
pub(crate) struct Shared {
    /// As it joined.
    pub(crate) myself: Member,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) hosting: HostingDeadline,
    pub(crate) counts: Arc<Counts>,
    pub(super) state: RwLock<Arc<ClusterState>>,
    pub(super) stage: watch::Sender<Stage>,
    /// The members in a table that all of them have.
    pub(crate) council: watch::Sender<Option<Council>>,
}

impl Shared {
    pub(crate) fn new(myself: Member, uptime: Uptime) -> Arc<Self> {
        let counts = Arc::<Counts>::default();
        Arc::new(Self {
            myself,
            inbox: Arc::new(Inbox::new(Arc::clone(&counts))),
            hosting: HostingDeadline::by(uptime),
            counts,
            state: RwLock::default(),
            stage: watch::Sender::new(Stage::Joining),
            council: watch::Sender::new(None),
        })
    }

    /// What subscribers know.
    pub(crate) fn state(&self) -> Arc<ClusterState> {
        Arc::clone(&self.state.read())
    }

    pub(crate) fn stage(&self) -> watch::Receiver<Stage> {
        self.stage.subscribe()
    }

    /// Unless it is that already; and not once it has stopped.
    pub(super) fn enter(&self, stage: Stage) {
        self.stage.send_if_modified(|known| {
            let changes = *known != stage && !matches!(known, Stage::Stopped(_));
            if changes {
                *known = stage;
            }
            changes
        });
    }
}
