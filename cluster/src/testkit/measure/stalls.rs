//! Who is taken for dead although it only stood still, or was only hard to hear.

use super::{draw, nodes, settle};
use crate::{
    cluster::Cluster,
    departure::Departure,
    testkit::{NetFaults, SimCluster, draw::Draw},
};
use futures_util::FutureExt as _;
use std::{collections::BTreeSet, time::Duration};

/// How often it is looked what has become of whom.
const LOOK: Duration = Duration::from_millis(250);
/// How long one that was given up may take to be back.
const BACK_WITHIN: Duration = Duration::from_secs(180);

/// What a cluster has to bear, and for how long.
#[derive(Clone, Debug)]
pub struct Stalls {
    /// How many nodes there are.
    pub nodes: usize,
    /// Of a thousand datagrams so many are lost.
    pub loss: u32,
    /// So many of the nodes stall again and again; others are drawn every ten minutes.
    pub stalling: usize,
    /// How long each stands still at a time, in milliseconds: from the first to the second.
    pub stall_ms: (u64, u64),
    /// How long it runs in between.
    pub run_ms: (u64, u64),
    /// For how long all this goes on.
    pub time: Duration,
}

impl Stalls {
    /// A quarter of `nodes` stalls for one to ten seconds at a time, and runs for five to twenty in between; 5 % of datagrams
    /// are lost.
    pub fn of_a_quarter(nodes: usize, time: Duration) -> Self {
        Self { nodes, loss: 50, stalling: (nodes / 4).max(1), stall_ms: (1000, 10_000), run_ms: (5000, 20_000), time }
    }
}

/// What became of it.
#[derive(Clone, Debug, Default)]
pub struct StallsOutcome {
    /// How long nodes were members, all together.
    pub node_time: Duration,
    /// How often one stood still.
    pub stalls: u64,
    /// How often one that was alive was given up or stopped itself for fear of it. Each of these is a false death.
    pub deaths: u64,
    /// How often one was held for unreachable by somebody, and contradicted.
    pub refuted: u64,
    /// When, which node, and why: the first hundred.
    pub first_deaths: Vec<(Duration, usize, Option<Departure>)>,
}

/// Has a cluster bear `stalls`. Whoever is given up starts again, so that all are there again after a while.
///
/// # Panics
/// When the cluster does not form at first.
pub fn stall(stalls: &Stalls, seed: u64) -> StallsOutcome {
    let mut draw = draw(seed, "stalls");
    let mut cluster = nodes(stalls.nodes, seed).start();
    settle(&mut cluster, stalls.loss, &mut draw);
    let mut run =
        Run { cluster, outcome: StallsOutcome::default(), held: BTreeSet::new(), known: vec![None; stalls.nodes] };
    let began = run.cluster.elapsed();
    let ends = began + stalls.time;
    while run.cluster.elapsed() < ends {
        run.ten_minutes(stalls, &mut draw, ends);
    }
    run.outcome
}

struct Run {
    cluster: SimCluster,
    outcome: StallsOutcome,
    /// Whom somebody holds for unreachable.
    held: BTreeSet<u64>,
    /// Each node as it was seen last.
    known: Vec<Option<Cluster>>,
}

impl Run {
    /// With the same nodes stalling.
    fn ten_minutes(&mut self, stalls: &Stalls, draw: &mut Draw, ends: Duration) {
        let ends = ends.min(self.cluster.elapsed() + Duration::from_mins(10));
        let mut order: Vec<usize> = (0..stalls.nodes).collect();
        draw.shuffle(&mut order);
        let span = |draw: &mut Draw, (from, to): (u64, u64)| Duration::from_millis(draw.between(from, to));
        let mut next: Vec<(Duration, usize)> = Vec::new();
        for node in order.into_iter().take(stalls.stalling) {
            next.push((self.cluster.elapsed() + span(draw, stalls.run_ms), node));
        }
        while self.cluster.elapsed() < ends {
            let now = self.cluster.elapsed();
            for (at, node) in next.iter_mut().filter(|(at, _)| *at <= now) {
                let time = span(draw, stalls.stall_ms);
                self.cluster.pause(*node, time);
                self.outcome.stalls += 1;
                *at = now + time + span(draw, stalls.run_ms);
            }
            let wait = next.iter().map(|(at, _)| at.saturating_sub(now)).min().unwrap_or(LOOK);
            let wait = wait.clamp(Duration::from_millis(1), LOOK);
            self.cluster.run_for(wait);
            self.outcome.node_time += wait * self.cluster.running().count() as u32;
            if self.look() {
                self.bring_back(stalls.loss);
                return;
            }
        }
    }

    /// Whether somebody has died.
    fn look(&mut self) -> bool {
        let mut held = BTreeSet::new();
        for node in self.cluster.running() {
            if let Some(joined) = node.cluster() {
                held.extend(joined.state().unreachable.iter().map(|node| node.uid));
                self.known[node.number()] = Some(joined);
            }
        }
        self.outcome.refuted += self.held.difference(&held).count() as u64;
        self.held = held;
        let dead: Vec<usize> = (0..self.cluster.nodes()).filter(|node| self.cluster.node(*node).is_none()).collect();
        dead.into_iter().for_each(|node| self.died(node));
        self.cluster.running().count() < self.cluster.nodes()
    }

    fn died(&mut self, node: usize) {
        self.outcome.deaths += 1;
        let why = self.known[node].take().and_then(|joined| joined.terminated().now_or_never());
        self.outcome.first_deaths.push((self.cluster.elapsed(), node, why));
        self.outcome.first_deaths.truncate(100);
    }

    /// Trouble ends, and whoever is not there starts again. Those that die meanwhile, for they were given up already, count.
    fn bring_back(&mut self, loss: u32) {
        self.cluster.set_faults(NetFaults::NONE);
        for node in 0..self.cluster.nodes() {
            self.cluster.resume(node);
        }
        let mut started: BTreeSet<usize> =
            (0..self.cluster.nodes()).filter(|node| self.cluster.node(*node).is_none()).collect();
        started.iter().for_each(|node| self.cluster.start(*node));
        let ends = self.cluster.elapsed() + BACK_WITHIN;
        while !self.cluster.is_whole() && self.cluster.elapsed() < ends {
            self.cluster.run_for(LOOK);
            for node in 0..self.cluster.nodes() {
                if self.cluster.node(node).is_none() {
                    if started.insert(node) {
                        self.died(node);
                    }
                    self.cluster.start(node);
                }
            }
        }
        self.held.clear();
        self.cluster.set_faults(NetFaults { loss, ..NetFaults::NONE });
    }
}
