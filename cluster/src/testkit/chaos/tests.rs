//! Seeds that hold, and that tell the same story each time.

use super::{Outcome, Plan, RunOptions, run};

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
