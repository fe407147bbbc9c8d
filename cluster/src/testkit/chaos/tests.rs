//! Seeds that hold, and that tell the same story each time.

use super::{
    Outcome, Plan, RunOptions,
    ledger::Ledger,
    minimize,
    only::Knock,
    run,
    talker::{self, Talk},
};
use crate::testkit::{
    SimCluster, SimNode,
    planted::{self, Bug},
};
use std::{
    sync::{Arc, Weak},
    time::Duration,
};

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

/// The second life of n1 joins by those that gave up the first, and is gone before SWIM tells them more of it than its end.
#[test]
fn a_life_that_swim_hears_of_when_it_is_over_is_given_up() {
    let story = "seed 104024084
        nodes 6
        trouble 34569 ms
        4433 ms  split [0, 1, 1, 0, 1, 0]
        4705 ms  power off n4
        10939 ms  start n4
        13369 ms  kill n1
        15583 ms  start n1
        30148 ms  heal all
        32202 ms  power off n1";
    let outcome = run(&story.parse().unwrap(), &RunOptions::default());
    assert!(outcome.failure.is_none(), "{:?}", outcome.failure);
}

/// Both others stand still, and go on as two of three that know nothing of it: whoever gave one of them up by hand had two
/// clusters, as beyond a cut.
#[test]
fn nobody_is_given_up_by_hand_who_stands_still_with_the_greater_side() {
    let story = "
        seed 112096306
        nodes 3
        trouble 46976 ms
        short io 48 of 1000
        resets 90 of 1000
        1562 ms  connections n0 - n1 break
        4560 ms  n1 stands still for 48403 ms
        16021 ms  n2 stands still for 96162 ms
        17991 ms  connections n2 - n0 break
        29373 ms  n0 gives up n2";
    let outcome = run(&story.parse().unwrap(), &RunOptions::default());
    assert!(outcome.failure.is_none(), "{:?}", outcome.failure);
}

/// Each mistake, a seed that shows it and the promises of which it breaks one. A seed tells another story when the cluster
/// does: then the next that shows the mistake is looked for, and takes its place here.
const MISTAKES: [(Bug, u64, &[&str]); 12] = [
    (Bug::NoSeenSet, 282, &["M1"]),
    (Bug::ResolverOff, 6, &["M2"]),
    // Two that serve at once are found out by what they host, or by how long they may.
    (Bug::TieBrokenWrongly, 3, &["S2", "M5"]),
    (Bug::LifeUnchecked, 0, &["A2"]),
    (Bug::NotDeduplicated, 0, &["A2"]),
    (Bug::QuarantineByOne, 0, &["M7"]),
    (Bug::TimeFirst, 47, &["M6"]),
    (Bug::StartedOnUnreachable, 0, &["S2"]),
    (Bug::DroppedUncounted, 6, &["A3"]),
    (Bug::HeldTooLong, 10, &["L1"]),
    (Bug::ListedForEver, 6, &["R1"]),
    (Bug::SharedByAll, 2, &["T2"]),
];

/// How many seeds may tell nothing of a mistake, from the one that did once.
const LOOKED_AT: u64 = 400;

/// Whether that seed breaks one of `promises` with `bug`, and nothing without it.
fn shows(seed: u64, bug: Bug, promises: &[&str]) -> bool {
    let broken = planted::with(bug, || told(seed).failure);
    broken.is_some_and(|failure| promises.contains(&failure.promise)) && told(seed).failure.is_none()
}

/// The first seed that shows it, of so many from `from` on.
fn found(bug: Bug, promises: &[&str], from: u64, among: u64) -> Option<u64> {
    (from..from + among).find(|seed| shows(*seed, bug, promises))
}

#[test]
fn mistakes_made_on_purpose_are_found() {
    for (bug, from, promises) in MISTAKES {
        let found = found(bug, promises, from, LOOKED_AT);
        assert!(found.is_some(), "{bug:?} breaks none of {promises:?} in {LOOKED_AT} seeds from {from} on");
        if found != Some(from) {
            eprintln!("{bug:?}: seed {} is the next that shows it", found.unwrap());
        }
    }
}

#[test]
fn of_the_trouble_that_shows_a_mistake_little_is_left() {
    let plan = Plan::of(0);
    let mut sizes = vec![(plan.kinds.len(), plan.faults.len(), plan.nodes)];
    let (least, failure) = planted::with(Bug::NotDeduplicated, || {
        minimize(&plan, |smaller, failure| {
            assert_eq!(failure.promise, "A2", "the same is broken");
            sizes.push((smaller.kinds.len(), smaller.faults.len(), smaller.nodes));
        })
    });
    assert!(sizes.windows(2).all(|of| of[1] < of[0] || of[1].2 < of[0].2), "each is smaller: {sizes:?}");
    assert!(least.kinds.len() <= 2 && least.faults.len() <= 2 && least.nodes <= 3, "{least}");
    let told = |plan: &Plan| run(plan, &RunOptions::default()).failure;
    assert_eq!((planted::with(Bug::NotDeduplicated, || told(&least)), told(&least)), (failure, None), "{least}");
    assert_eq!(minimize(&least, |_, _| panic!("nothing is broken")), (least.clone(), None));
}

/// Few are left alone for long enough.
#[test]
#[ignore = "takes long without optimisation: part of the long tests"]
fn whoever_is_silent_when_alone_is_found() {
    let found = found(Bug::SilentWhenAlone, &["M3"], 0, 2000);
    assert!(found.is_some(), "nobody was alone");
}

#[test]
fn lives_that_were_killed_leave_nothing_in_memory() {
    #[derive(Default)]
    struct Kept;
    let ledger = Ledger::default();
    let joined = move |node: &SimNode| {
        ledger.follow(node);
        talker::start(&ledger, node);
    };
    let talkers = SimCluster::builder().nodes(3).config(|_, config| config.message::<Talk>().message::<Knock>());
    let mut sim = talkers.on_join(joined).start();
    assert!(sim.run_until(Duration::from_secs(60), SimCluster::is_whole), "they do not meet");
    // By then they talk to each other, and watch each other.
    sim.run_for(Duration::from_secs(10));
    let systems: Vec<_> = (0..3).map(|node| Arc::downgrade(&sim.cluster(node).system().extension::<Kept>())).collect();
    sim.kill(2);
    sim.run_for(Duration::from_secs(10));
    assert_eq!(systems.iter().map(Weak::strong_count).collect::<Vec<_>>(), [1, 1, 0], "its actor system is kept");
    drop(sim);
    assert_eq!(systems.iter().map(Weak::strong_count).collect::<Vec<_>>(), [0, 0, 0]);
}
