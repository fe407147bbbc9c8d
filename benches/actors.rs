//! Actors beside other libraries: the workloads of the contest, one group each.
//!
//! `cargo bench -p benches --bench actors` holds `actors` against a task that reads a tokio channel; with
//! `--features peers` against actix, ractor and kameo too. Rates are of wall time, with two workers. `scripts/contest` has
//! more libraries, processor time and memory; behaviours and workloads are the same sources.

#![allow(
    clippy::disallowed_methods,
    dead_code,
    missing_docs,
    unreachable_pub,
    unsafe_code,
    reason = "a bench, and sources shared with a program that uses all of them"
)]

#[cfg(feature = "peers")]
#[path = "peers/src/frameworks/actix.rs"]
mod actix;
#[path = "peers/src/body.rs"]
mod body;
#[path = "peers/src/contestant.rs"]
mod contestant;
#[path = "peers/src/framework.rs"]
mod framework;
#[cfg(feature = "peers")]
#[path = "peers/src/frameworks/kameo.rs"]
mod kameo;
#[path = "peers/src/measure.rs"]
mod measure;
#[path = "peers/src/frameworks/ours.rs"]
mod ours;
#[cfg(feature = "peers")]
#[path = "peers/src/frameworks/ractor.rs"]
mod ractor;
#[path = "peers/src/frameworks/raw.rs"]
mod raw;
#[path = "peers/src/workloads/mod.rs"]
mod workloads;

use std::time::Duration;

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};

use crate::contestant::Contestant;
use crate::framework::Flavor;
use crate::workloads::Workload;

const CONTESTANTS: &[Contestant] = &[
    Contestant::of::<ours::Ours>(),
    Contestant::of::<ours::Bounded>(),
    Contestant::of::<raw::TokioUnbounded>(),
    Contestant::of::<raw::TokioBounded>(),
    #[cfg(feature = "peers")]
    Contestant::of::<actix::Actix>(),
    #[cfg(feature = "peers")]
    Contestant::of::<ractor::Ractor>(),
    #[cfg(feature = "peers")]
    Contestant::of::<kameo::Kameo>(),
];

/// Workloads, and the operations of one iteration: a few milliseconds, so that starting up does not show.
const WORKLOADS: [(Workload, u64); 9] = [
    (Workload::Tell1to1, 100_000),
    (Workload::TellNto1, 100_000),
    (Workload::PingPong, 20_000),
    (Workload::Ask, 10_000),
    (Workload::AskConcurrent, 25_600),
    (Workload::Spawn, 10_000),
    (Workload::Ring, 100_000),
    (Workload::Skynet, 10_000),
    (Workload::FanOut, 10_000),
];

fn actors(c: &mut Criterion) {
    for (workload, operations) in WORKLOADS {
        let mut group = c.benchmark_group(workload.name());
        group
            .throughput(Throughput::Elements(operations))
            .sampling_mode(SamplingMode::Flat)
            .sample_size(10)
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_secs(2));
        for contestant in CONTESTANTS.iter().filter(|contestant| (contestant.supports)(workload)) {
            group.bench_function(contestant.name, |b| {
                // The sums are asserted inside; what is made before the first message is not measured.
                b.iter_custom(|times| {
                    let once =
                        |_| Duration::from_nanos((contestant.run)(workload, Flavor::Multi(2), operations).wall_ns);
                    (0..times).map(once).sum()
                });
            });
        }
    }
}

criterion_group!(benches, actors);
criterion_main!(benches);
