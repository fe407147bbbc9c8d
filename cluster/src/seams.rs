//! [`Seams`]: the doors of one node to the world. Production and simulation run the same code behind them.

use crate::{
    remote::transport::{BoxFuture, Transport},
    rng::Rng,
};
use actors::{ActorSystem, Clock};
use std::{fmt, sync::Arc};
use tokio::{runtime::Handle, task::AbortHandle};

/// Runs a node's tasks. A simulated node's are polled in an order of its seed, and end with the node.
pub(crate) trait Spawner: Send + Sync + 'static {
    /// Runs `task` until it is done, the handle says otherwise or the node ends.
    fn spawn(&self, task: BoxFuture<'static, ()>) -> AbortHandle;
}

impl Spawner for Handle {
    fn spawn(&self, task: BoxFuture<'static, ()>) -> AbortHandle {
        Self::spawn(self, task).abort_handle()
    }
}

impl Spawner for ActorSystem {
    fn spawn(&self, task: BoxFuture<'static, ()>) -> AbortHandle {
        self.spawn_task(task)
    }
}

/// What one node reaches the world through. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Seams {
    /// Time.
    pub(crate) clock: Clock,
    /// The network.
    pub(crate) transport: Arc<dyn Transport>,
    /// For membership, failure detection and the control lane: in production a thread of its own, which nothing that users
    /// do delays.
    pub(crate) control: Arc<dyn Spawner>,
    /// For everything else.
    pub(crate) ordinary: Arc<dyn Spawner>,
    /// Each part draws from a fork of its own.
    pub(crate) rng: Arc<Rng>,
}

impl fmt::Debug for Seams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seams").field("clock", &self.clock).finish_non_exhaustive()
    }
}
