//! A [`Plan`] on a cluster of one's own: for tests of what runs on it.

use super::{fault::Fault, plan::Plan};
use crate::{
    member::Address,
    testkit::{NetFaults, SimCluster, SimClusterBuilder, SimNode},
};
use std::time::Duration;

/// After how long without any member all begin anew.
const ANEW_AFTER: Duration = Duration::from_secs(30);

/// How often the test may look.
const STEP: Duration = Duration::from_millis(100);

impl Plan {
    /// A cluster of as many nodes, with the plan's seed, tasks that come late and clocks that drift. The network is good
    /// until [`trouble`](Self::trouble) begins.
    pub fn builder(&self) -> SimClusterBuilder {
        SimCluster::builder().nodes(self.nodes).seed(self.seed).deferrals(self.deferrals).drift_ppm(self.drift_ppm)
    }

    /// Lets all trouble come over `cluster`, which takes [`chaos`](Self::chaos). `watch` is called every tenth of a second,
    /// to see that what must hold always does, and may let time pass itself. Afterwards there may be no node that runs:
    /// [`SimCluster::recover`] ends it.
    ///
    /// # Panics
    /// The cluster has fewer nodes than the plan.
    pub fn trouble(&self, cluster: &mut SimCluster, mut watch: impl FnMut(&mut SimCluster)) {
        let began = cluster.elapsed();
        let mut pass_until = |cluster: &mut SimCluster, at: Duration| {
            while cluster.elapsed() < at {
                cluster.run_for(STEP.min(at - cluster.elapsed()));
                watch(cluster);
            }
        };
        cluster.set_faults(self.net.clone());
        for planned in &self.faults {
            let at = Duration::from_millis(planned.at_ms);
            if at >= self.chaos {
                break;
            }
            pass_until(cluster, began + at);
            cluster.note(0, &planned.fault.to_string());
            planned.fault.make(cluster);
        }
        pass_until(cluster, began + self.chaos);
    }
}

impl Fault {
    /// Does it to `cluster`. What nobody could do is left out: a node that has not joined does not leave, gives up nobody and
    /// cuts off nobody.
    ///
    /// # Panics
    /// The cluster has no such node.
    pub fn make(&self, cluster: &mut SimCluster) {
        let has_joined = |cluster: &SimCluster, node: usize| cluster.node(node).and_then(SimNode::cluster).is_some();
        match *self {
            Self::Cut(from, to) => cluster.cut(from, to),
            Self::Heal(from, to) => cluster.heal(from, to),
            Self::Split(ref sides) => {
                for from in 0..sides.len() {
                    (0..sides.len()).filter(|to| sides[*to] != sides[from]).for_each(|to| cluster.cut(from, to));
                }
            }
            Self::HealAll => cluster.heal_all(),
            Self::Stall(from, to, stalled) => cluster.stall(from, to, stalled),
            Self::Reset(one, two) => cluster.reset(one, two),
            Self::Kill { node, power_off: true } => cluster.power_off(node),
            Self::Kill { node, power_off: false } => cluster.kill(node),
            Self::Start(node) => cluster.start_again(node),
            Self::Pause(node, ms) => cluster.pause(node, Duration::from_millis(ms)),
            Self::WallJump(node, by_ms) => cluster.jump_wall(node, by_ms),
            Self::Leave(node) if has_joined(cluster, node) => cluster.leave(node, Duration::from_secs(60)),
            Self::Down(by, node) if has_joined(cluster, by) => cluster.down(by, node),
            Self::Quarantine(by, node) if has_joined(cluster, by) && has_joined(cluster, node) => {
                cluster.quarantine(by, node);
            }
            Self::Leave(_) | Self::Down(..) | Self::Quarantine(..) => {}
        }
    }
}

impl SimCluster {
    /// The network is good again, whoever stands still goes on, and whoever has ended, or was refused, begins again. Where
    /// nobody is a member for 30 s all begin anew. Whether all are one cluster again [within](Self::is_whole) that time.
    pub fn recover(&mut self, within: Duration) -> bool {
        self.set_faults(NetFaults::NONE);
        self.heal_all();
        (0..self.nodes()).for_each(|node| self.resume(node));
        let (end, mut somebody_was_there) = (self.elapsed() + within, self.elapsed());
        loop {
            self.start_all(&mut somebody_was_there, |_| {});
            match self.is_whole() {
                true => return true,
                false if self.elapsed() >= end => return false,
                false => self.run_for(STEP.min(end - self.elapsed())),
            }
        }
    }

    /// Somebody starts again what has ended. If nobody is left whom the others could join, all begin anew. `before` is called
    /// if any is to be ended for that; whether any was.
    pub(super) fn start_all(&mut self, somebody_was_there: &mut Duration, before: impl FnOnce(&Self)) -> bool {
        let now = self.elapsed();
        if self.running().any(|node| node.cluster().is_some()) {
            *somebody_was_there = now;
            let is_refused = |node: &usize| self.node(*node).is_some_and(|node| node.refusal().is_some());
            let refused: Vec<usize> = (0..self.nodes()).filter(is_refused).collect();
            if !refused.is_empty() {
                before(self);
            }
            refused.iter().for_each(|node| self.kill(*node));
            (0..self.nodes()).for_each(|node| self.start_again(node));
            return !refused.is_empty();
        }
        let is_time = now > *somebody_was_there + ANEW_AFTER;
        if is_time {
            *somebody_was_there = now;
            before(self);
            (0..self.nodes()).for_each(|node| self.restart(node));
        }
        is_time
    }

    /// It knocks at the doors of all others if no process runs there. A node that is its own seed is nobody: only the first
    /// of all begins a cluster.
    pub(super) fn start_again(&mut self, node: usize) {
        let others = (0..self.nodes()).filter(|other| *other != node);
        let others: Vec<Address> = others.map(|other| self.address(other).clone()).collect();
        self.start_with(node, others);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testkit::chaos::{FaultKind, Planned};

    #[test]
    fn a_plan_comes_over_a_cluster_of_ones_own_and_goes() {
        let kill = Planned { at_ms: 5_000, kind: FaultKind::Kills, fault: Fault::Kill { node: 1, power_off: false } };
        let plan = Plan { nodes: 3, faults: vec![kill], chaos: Duration::from_secs(30), ..Plan::quiet(7) };
        let mut sim = plan.builder().start();
        assert!(sim.run_until(Duration::from_secs(60), SimCluster::is_whole));
        let (began, mut ran) = (sim.elapsed(), Vec::new());
        plan.trouble(&mut sim, |sim| ran.push((sim.elapsed() - began, sim.running().count())));
        assert_eq!(ran.len(), 300);
        assert!(ran.iter().all(|(at, count)| *count == if at.as_millis() <= 5_000 { 3 } else { 2 }), "{ran:?}");
        assert!(sim.recover(Duration::from_secs(60)));
    }

    #[test]
    fn a_cluster_recovers_though_nobody_is_left_or_some_are_still_to_learn_that_they_were_given_up() {
        let mut sim = SimCluster::builder().nodes(3).start();
        assert!(sim.run_until(Duration::from_secs(60), SimCluster::is_whole));
        sim.isolate(2);
        sim.run_for(Duration::from_secs(10));
        assert!(sim.recover(Duration::from_secs(120)), "one may just have been given up");
        (0..3).for_each(|node| sim.power_off(node));
        sim.run_for(Duration::from_secs(1));
        assert!(!sim.recover(Duration::from_secs(5)) && sim.recover(Duration::from_secs(60)));
    }
}
