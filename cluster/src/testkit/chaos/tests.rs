//! Seeds that hold, and that tell the same story each time.

use super::{Outcome, Plan, RunOptions, run};
use crate::testkit::planted::{self, Bug};

fn told(seed: u64) -> Outcome {
    run(&Plan::of(seed), &RunOptions::default())
}

#[test]
fn a_run_is_the_same_each_time() {
    for seed in 0..4 {
        let (one, two) = (told(seed), told(seed));
        assert_eq!((one.hash, one.simulated), (two.hash, two.simulated), "seed {seed}");
        assert_ne!(one.hash, told(seed + 100).hash);
    }
}

#[test]
fn nothing_breaks_in_the_first_seeds() {
    for seed in 0..20 {
        let outcome = told(seed);
        assert!(outcome.failure.is_none(), "{}: {}", Plan::of(seed), outcome.failure.unwrap());
    }
}

/// Each mistake, a seed that shows it and the promise that it breaks. A seed tells another story when the cluster does:
/// then the next that shows the mistake takes its place.
const MISTAKES: [(Bug, u64, &str); 9] = [
    (Bug::NoSeenSet, 19, "M1"),
    (Bug::ResolverOff, 4, "M2"),
    (Bug::TieBrokenWrongly, 3, "M5"),
    (Bug::SilentWhenAlone, 42, "M3"),
    (Bug::LifeUnchecked, 0, "A2"),
    (Bug::NotDeduplicated, 2, "A2"),
    (Bug::QuarantineByOne, 5, "M7"),
    (Bug::TimeFirst, 44, "M6"),
    (Bug::StartedOnUnreachable, 0, "S2"),
];

/// The first of 200 seeds, from `from` on, that breaks `promise` with `bug`, and nothing without it.
fn found(bug: Bug, promise: &str, from: u64) -> Option<u64> {
    (from..from + 200).find(|seed| {
        let broken = planted::with(bug, || told(*seed).failure);
        broken.is_some_and(|failure| failure.promise == promise) && told(*seed).failure.is_none()
    })
}

#[test]
#[ignore = "takes long without optimisation: part of the long tests"]
fn mistakes_made_on_purpose_are_found() {
    for (bug, from, promise) in MISTAKES {
        assert!(found(bug, promise, from).is_some(), "{bug:?} does not break {promise} in 200 seeds");
    }
}
