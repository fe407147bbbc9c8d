//! More threads than cores: the workloads of the contest with 16 workers beside 2.
//!
//! A lock that is held by a thread that does not run shows here: everybody else waits for the rest of its time slice.

use crate::args::Args;
use crate::contestant::Contestant;
use crate::framework::Flavor;
use crate::ours::Ours;
use crate::raw::TokioUnbounded;
use crate::workloads::Workload;

const CONTESTANTS: [Contestant; 2] = [Contestant::of::<Ours>(), Contestant::of::<TokioUnbounded>()];
const FEW: usize = 2;

/// One row a workload and contestant: medians of rounds that go through both numbers of workers.
pub fn compare(args: &Args) {
    println!("| workload | who | {FEW} workers, ns | {} workers, ns | ratio | CPU ns | CPU ns | ratio |", args.many);
    println!("|---|---|---:|---:|---:|---:|---:|---:|");
    for workload in Workload::ALL {
        let operations = ((workload.default_ops() as f64 * args.scale) as u64).max(1_000);
        for contestant in &CONTESTANTS {
            let mut few = Vec::new();
            let mut many = Vec::new();
            (contestant.run)(workload, Flavor::Multi(FEW), workload.warm_up_ops(operations)); // dropped
            for _ in 0..args.rounds {
                few.push((contestant.run)(workload, Flavor::Multi(FEW), operations));
                many.push((contestant.run)(workload, Flavor::Multi(args.many), operations));
            }
            let wall = |of: &[crate::measure::Measure]| median(of.iter().map(|m| m.wall_ns as f64 / m.ops as f64));
            let cpu = |of: &[crate::measure::Measure]| median(of.iter().map(|m| m.cpu_ns as f64 / m.ops as f64));
            println!(
                "| {} | {} | {:.0} | {:.0} | {:.2} | {:.0} | {:.0} | {:.2} |",
                workload.name(),
                contestant.name,
                wall(&few),
                wall(&many),
                wall(&many) / wall(&few),
                cpu(&few),
                cpu(&many),
                cpu(&many) / cpu(&few),
            );
        }
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
