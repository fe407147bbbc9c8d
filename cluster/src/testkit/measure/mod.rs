//! How long a cluster takes to notice and to mend what happens to it, and what it takes for dead that is not: measured in
//! simulated time, with the settings that a node has by default.
//!
//! Each measurement is a function of its seed. Moments are looked at every [`STEP`], so no figure is better than that.

mod crash;
mod fail_over;
mod spread;
mod stalls;

#[cfg(test)]
mod tests;

pub use crash::until_all_know;
pub use fail_over::{FailOver, Trouble, fail_over};
pub use spread::Spread;
pub use stalls::{Stalls, StallsOutcome, stall};

use super::{NetFaults, SimCluster, SimClusterBuilder, draw::Draw};
use crate::rng::Rng;
use std::time::Duration;

/// How often it is looked whether something has happened.
pub const STEP: Duration = Duration::from_millis(50);
/// How long a cluster may take to form.
const FORMS_WITHIN: Duration = Duration::from_secs(120);
/// For how long it is left in peace afterwards, at least, and how much longer at most: in milliseconds.
const PEACE_MS: (u64, u64) = (15_000, 5_000);
/// By how many millionths clocks are off. Those of machines are by fewer.
const DRIFT_PPM: u32 = 200;

/// So many nodes, by default settings, each with its own idea of time.
fn nodes(nodes: usize, seed: u64) -> SimClusterBuilder {
    SimCluster::builder().nodes(nodes).seed(seed).drift_ppm(DRIFT_PPM)
}

/// Lets the cluster form and then be in peace for a while that `draw` decides, with datagrams lost from then on: `loss` in
/// a thousand.
///
/// # Panics
/// When it does not form, which is another test's matter.
fn settle(cluster: &mut SimCluster, loss: u32, draw: &mut Draw) {
    assert!(cluster.run_until(FORMS_WITHIN, SimCluster::is_whole), "the cluster does not form");
    cluster.set_faults(NetFaults { loss, ..NetFaults::NONE });
    let (least, more) = PEACE_MS;
    cluster.run_for(Duration::from_millis(least + draw.below(more)));
}

fn draw(seed: u64, what: &str) -> Draw {
    Draw::fork(&Rng::seeded(seed), what)
}

/// Lets time pass until `condition` holds, `within` at most, and looks every [`STEP`].
fn watch(cluster: &mut SimCluster, within: Duration, mut condition: impl FnMut(&SimCluster) -> bool) -> bool {
    let ends = cluster.elapsed() + within;
    while !condition(cluster) {
        if cluster.elapsed() >= ends {
            return false;
        }
        cluster.run_for(STEP);
    }
    true
}
