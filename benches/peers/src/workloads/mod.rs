//! One module per workload. Each is generic over the framework, asserts that
//! everything it sent was processed, and returns what it measured.

mod ask;
mod fan_out;
mod ping_pong;
mod ring;
mod skynet;
mod spawn;
mod tell;

use crate::framework::{Flavor, Framework};
use crate::measure::Measure;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Workload {
    Tell1to1,
    TellNto1,
    PingPong,
    Ask,
    AskConcurrent,
    Spawn,
    Ring,
    Skynet,
    FanOut,
}

impl Workload {
    pub const ALL: [Workload; 9] = [
        Workload::Tell1to1,
        Workload::TellNto1,
        Workload::PingPong,
        Workload::Ask,
        Workload::AskConcurrent,
        Workload::Spawn,
        Workload::Ring,
        Workload::Skynet,
        Workload::FanOut,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Workload::Tell1to1 => "tell_1to1",
            Workload::TellNto1 => "tell_8to1",
            Workload::PingPong => "ping_pong",
            Workload::Ask => "ask",
            Workload::AskConcurrent => "ask_concurrent",
            Workload::Spawn => "spawn",
            Workload::Ring => "ring",
            Workload::Skynet => "skynet",
            Workload::FanOut => "fan_out",
        }
    }

    /// Operations of a full-size run.
    pub fn default_ops(self) -> u64 {
        match self {
            Workload::Tell1to1 | Workload::TellNto1 | Workload::Ring => 5_000_000,
            Workload::PingPong | Workload::Spawn | Workload::Skynet | Workload::FanOut => 1_000_000,
            Workload::Ask | Workload::AskConcurrent => 500_000,
        }
    }

    /// The warm-up must not leave the allocator holding a million dead actors.
    pub fn warm_up_ops(self, ops: u64) -> u64 {
        match self {
            Workload::Spawn => ops.min(1_000),
            Workload::Skynet => ops.min(10_000),
            _ => (ops / 10).max(1),
        }
    }
}

/// Whether the framework has what the workload needs.
pub fn supports<F: Framework>(workload: Workload) -> bool {
    match workload {
        Workload::Tell1to1 | Workload::TellNto1 | Workload::Ask | Workload::AskConcurrent => true,
        Workload::Skynet => F::SKYNET && !F::BOUNDED,
        _ => !F::BOUNDED,
    }
}

pub fn run<F: Framework>(workload: Workload, flavor: Flavor, ops: u64) -> Measure {
    match workload {
        Workload::Tell1to1 => tell::run::<F>(flavor, 1, ops),
        Workload::TellNto1 => tell::run::<F>(flavor, 8, ops),
        Workload::PingPong => ping_pong::run::<F>(flavor, ops),
        Workload::Ask => ask::sequential::<F>(flavor, ops),
        Workload::AskConcurrent => ask::concurrent::<F>(flavor, ops),
        Workload::Spawn => spawn::run::<F>(flavor, ops),
        Workload::Ring => ring::run::<F>(flavor, ops),
        Workload::Skynet => skynet::run::<F>(flavor, ops),
        Workload::FanOut => fan_out::run::<F>(flavor, ops),
    }
}
