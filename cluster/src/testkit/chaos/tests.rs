//! Seeds that hold, and that tell the same story each time.

use super::{Failure, Outcome, Plan, RunOptions, run};
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

/// How many seeds it takes to find it.
fn found_after(bug: Bug) -> Option<(u64, Failure)> {
    planted::with(bug, || (0..200).find_map(|seed| Some((seed + 1, told(seed).failure?))))
}

#[test]
fn mistakes_made_on_purpose_are_found() {
    for bug in [Bug::NoSeenSet, Bug::ResolverOff, Bug::TieBrokenWrongly, Bug::SilentWhenAlone] {
        let found = found_after(bug);
        assert!(found.is_some(), "{bug:?} was not found in 200 seeds");
    }
}
