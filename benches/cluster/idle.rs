//! A member that does nothing, in clusters of several sizes: CPU time, messages and bytes of one node in one second.
//!
//! Simulated, so that hundreds fit in a process: the CPU time is that of the nodes and of the simulation together, without
//! what a kernel does for a message.

use std::time::Duration;

use anyhow::ensure;
use cluster::testkit::SimCluster;

use crate::{args::Args, usage::Watch};

/// From a whole cluster on, until nothing is news any more.
const SETTLES: Duration = Duration::from_secs(20);

pub fn measure(args: &Args) -> anyhow::Result<()> {
    for &members in &args.members {
        let mut cluster = SimCluster::builder().nodes(members).deferrals(0).start();
        let forming = Watch::start();
        ensure!(cluster.run_until(Duration::from_secs(300), SimCluster::is_whole), "{members} nodes never met");
        let formed = (cluster.elapsed(), forming.stop());
        cluster.run_for(SETTLES);
        let before = cluster.traffic();
        let watch = Watch::start();
        cluster.run_for(args.idle);
        let (took, after) = (watch.stop(), cluster.traffic());
        let each = members as f64 * args.idle.as_secs_f64();
        println!(
            "idle     {members:>4} members   {:>7.1} µs CPU, {:.1} messages, {:.0} bytes a node and second   whole after {:.1} s, {:.2} s of CPU time",
            took.cpu.as_secs_f64() * 1e6 / each,
            (after.0 - before.0) as f64 / each,
            (after.1 - before.1) as f64 / each,
            formed.0.as_secs_f64(),
            formed.1.cpu.as_secs_f64()
        );
    }
    Ok(())
}
