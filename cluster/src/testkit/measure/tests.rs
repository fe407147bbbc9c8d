//! The figures that a cluster promises, for a few seeds: `cargo sim figures` has them by the hundred.

use super::{Stalls, Trouble, fail_over, stall, until_all_know};
use std::time::Duration;

const LOSSY: u32 = 50;

#[test]
fn all_others_know_of_a_crash_within_six_seconds() {
    for (seed, (nodes, loss)) in (0..).zip([(3, 0), (3, LOSSY), (5, 0), (5, LOSSY), (10, LOSSY), (20, LOSSY)]) {
        let time = until_all_know(nodes, loss, seed).expect("they notice");
        assert!(time <= Duration::from_secs(6), "{time:?} at {nodes} nodes, seed {seed}");
        assert!(time >= Duration::from_secs(3), "{time:?}: nobody had time to contradict");
    }
}

/// Not much longer may it stand still: it takes some three seconds until others miss it, and the stable period to be sure.
#[test]
fn nobody_is_given_up_for_standing_still_for_ten_seconds_at_a_time() {
    let stalls = Stalls { stall_ms: (9000, 10_000), ..Stalls::of_a_quarter(5, Duration::from_mins(10)) };
    let outcome = stall(&stalls, 1);
    assert_eq!(outcome.deaths, 0, "{outcome:?}");
    assert!(outcome.stalls > 20 && outcome.refuted > 20, "{outcome:?}: that was no test");
}

#[test]
fn a_singleton_runs_elsewhere_within_twenty_seconds_of_a_crash_and_never_twice() {
    for (seed, loss) in [(0, 0), (1, LOSSY), (2, LOSSY), (3, 0)] {
        let crash = fail_over(5, Trouble::Crash, loss, seed);
        assert!(crash.next.is_some_and(|next| next <= Duration::from_secs(20)) && !crash.two, "{seed}: {crash:?}");
    }
    for seed in 0..2 {
        let cut_off = fail_over(5, Trouble::CutOff, LOSSY, seed);
        assert!(cut_off.fenced.is_some_and(|at| cut_off.next > Some(at)) && !cut_off.two, "{seed}: {cut_off:?}");
        let leave = fail_over(5, Trouble::Leave, LOSSY, seed);
        assert!(leave.next.is_some_and(|next| next <= Duration::from_secs(5)) && !leave.two, "{seed}: {leave:?}");
    }
}
