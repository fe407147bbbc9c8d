//! [`Machine`] and [`Life`]: a host with its clock, and what runs on it; [`SimNode`]: what tests see of it.

use crate::{
    cluster::Cluster,
    member::{Address, UniqueAddress},
    testkit::{process::Process, trace::Trace},
};
use actors::{ActorSystem, Clock};
use parking_lot::Mutex;
use std::{fmt, sync::Arc};
use tokio::task::AbortHandle;

/// A host. Its clock goes on whatever runs on it.
pub(super) struct Machine {
    pub(super) address: Address,
    pub(super) clock: Clock,
    pub(super) lives: u64,
    pub(super) life: Option<Life>,
}

/// A process on a host.
pub(super) struct Life {
    pub(super) process: Process,
    pub(super) node: SimNode,
    /// Set once its actor system has ended by itself.
    pub(super) ended: Arc<Mutex<bool>>,
    pub(super) waits_for_end: AbortHandle,
}

impl Drop for Life {
    fn drop(&mut self) {
        self.waits_for_end.abort();
        self.process.kill();
        self.node.system.crash();
        if let Some(cluster) = self.node.cluster() {
            cluster.refs().crash();
        }
    }
}

/// One life of a simulated node. Clones are the same one.
#[derive(Clone)]
pub struct SimNode {
    pub(super) number: usize,
    pub(super) life: u64,
    pub(super) system: ActorSystem,
    pub(super) joined: Arc<Mutex<Joined>>,
    pub(super) trace: Trace,
    pub(super) world: Clock,
}

#[derive(Default)]
pub(super) enum Joined {
    #[default]
    NotYet,
    Yes(Cluster),
    Failed(String),
}

impl SimNode {
    /// Which node it is, from 0.
    pub fn number(&self) -> usize {
        self.number
    }

    /// Which of its lives, from 1.
    pub fn life(&self) -> u64 {
        self.life
    }

    /// Its actors.
    pub fn system(&self) -> &ActorSystem {
        &self.system
    }

    /// Its clock, which is not the world's.
    pub fn clock(&self) -> &Clock {
        self.system.clock()
    }

    /// Writes a line into the trace.
    pub fn note(&self, what: &str) {
        self.trace.tell(self.world.now().since_start().as_millis() as u64, self.number, what);
    }

    /// Its membership, once it has joined.
    pub fn cluster(&self) -> Option<Cluster> {
        match &*self.joined.lock() {
            Joined::Yes(cluster) => Some(cluster.clone()),
            Joined::NotYet | Joined::Failed(_) => None,
        }
    }

    /// Which member it is, once it has joined.
    pub fn id(&self) -> Option<UniqueAddress> {
        self.cluster().map(|cluster| cluster.me().clone())
    }

    /// Why it could not join.
    pub fn refusal(&self) -> Option<String> {
        match &*self.joined.lock() {
            Joined::Failed(why) => Some(why.clone()),
            Joined::NotYet | Joined::Yes(_) => None,
        }
    }
}

impl fmt::Debug for SimNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimNode").field("number", &self.number).field("life", &self.life).finish_non_exhaustive()
    }
}
