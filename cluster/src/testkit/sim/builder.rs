//! [`SimClusterBuilder`]: what a simulated cluster is made of.

use super::{SimCluster, SimNode};
use crate::{config::ClusterConfig, member::UniqueAddress, remote::door::Receiver, testkit::net::NetFaults};
use std::{fmt, sync::Arc, time::Duration};

/// Of a thousand polls so many are put off, unless said otherwise.
const DEFERRALS: u32 = 333;

/// Settings of a [`SimCluster`].
#[must_use = "a builder does nothing until `start`"]
pub struct SimClusterBuilder {
    pub(super) nodes: usize,
    pub(super) seed: u64,
    pub(super) faults: NetFaults,
    pub(super) deferrals: u32,
    pub(super) drift_ppm: u32,
    pub(super) traced: bool,
    pub(super) config: Arc<dyn Fn(usize, ClusterConfig) -> ClusterConfig>,
    pub(super) begun: Arc<dyn Fn(&SimNode)>,
    pub(super) joined: Arc<dyn Fn(&SimNode) + Send + Sync>,
    pub(super) probe: Option<ProbeMaker>,
}

/// What takes a test's frames, for each life.
pub(super) type ProbeMaker = Arc<dyn Fn(&UniqueAddress) -> Arc<dyn Receiver> + Send + Sync>;

impl SimClusterBuilder {
    pub(super) fn new() -> Self {
        Self {
            nodes: 3,
            seed: 0,
            faults: NetFaults::NONE,
            deferrals: DEFERRALS,
            drift_ppm: 0,
            traced: false,
            config: Arc::new(|_, config| config),
            begun: Arc::new(|_| {}),
            joined: Arc::new(|_| {}),
            probe: None,
        }
    }

    /// How many nodes there are, numbered from 0. Default: 3.
    ///
    /// # Panics
    /// When there are none, or more than 1,000.
    pub fn nodes(mut self, nodes: usize) -> Self {
        assert!((1..=1000).contains(&nodes), "nodes: there may be 1 to 1,000, not {nodes}");
        self.nodes = nodes;
        self
    }

    /// Where all chance comes from: the same seed, the same run. Default: 0.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// What the network does by itself, from the start. Default: a good network.
    pub fn faults(mut self, faults: NetFaults) -> Self {
        self.faults = faults;
        self
    }

    /// Of a thousand times that a task could go on so many are put off, so that others come first. Default: 333.
    ///
    /// # Panics
    /// When none would ever go on: at most 900.
    pub fn deferrals(mut self, per_mille: u32) -> Self {
        assert!(per_mille <= 900, "deferrals: at most 900 of 1,000, not {per_mille}");
        self.deferrals = per_mille;
        self
    }

    /// By how many millionths the clock of a node is fast or slow at most; and each shows another time at first. Default: 0,
    /// all clocks are equal.
    ///
    /// # Panics
    /// When it is more than 100,000.
    pub fn drift_ppm(mut self, most: u32) -> Self {
        assert!(most <= 100_000, "drift_ppm: at most 100,000, not {most}");
        self.drift_ppm = most;
        self
    }

    /// Keeps the text of all that happens; see [`SimCluster::trace`]. Default: its hash alone.
    pub fn traced(mut self) -> Self {
        self.traced = true;
        self
    }

    /// What becomes of the configuration of each node, by number. Default: it stays as it is.
    pub fn config(mut self, change: impl Fn(usize, ClusterConfig) -> ClusterConfig + 'static) -> Self {
        self.config = Arc::new(change);
        self
    }

    /// Called in each life of each node before it joins: to spawn actors, to subscribe.
    pub fn on_start(mut self, begun: impl Fn(&SimNode) + 'static) -> Self {
        self.begun = Arc::new(begun);
        self
    }

    /// Called in each life of each node when it has joined, from a task of that node.
    pub fn on_join(mut self, joined: impl Fn(&SimNode) + Send + Sync + 'static) -> Self {
        self.joined = Arc::new(joined);
        self
    }

    /// What takes frames of the channel that is for tests, made for each life before it talks to anybody.
    pub(crate) fn probe(mut self, make: impl Fn(&UniqueAddress) -> Arc<dyn Receiver> + Send + Sync + 'static) -> Self {
        self.probe = Some(Arc::new(make));
        self
    }

    /// Makes the cluster, and starts all nodes. Nothing runs before time passes.
    pub fn start(self) -> SimCluster {
        let nodes = self.nodes;
        let mut cluster = self.start_none();
        (0..nodes).for_each(|node| cluster.start(node));
        cluster
    }

    /// Makes the cluster. No node runs before it is [started](SimCluster::start).
    pub fn start_none(self) -> SimCluster {
        SimCluster::new(self)
    }
}

impl fmt::Debug for SimClusterBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimClusterBuilder")
            .field("nodes", &self.nodes)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

/// How long a condition is waited for before it is looked at again.
pub(super) const STEP: Duration = Duration::from_millis(100);
