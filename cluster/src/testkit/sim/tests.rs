//! What a test can do with a cluster.

use super::SimCluster;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

fn three(seed: u64) -> SimCluster {
    let mut sim = SimCluster::builder().nodes(3).seed(seed).start();
    assert!(sim.run_until(MINUTE, SimCluster::is_whole), "they do not meet");
    sim
}

#[test]
fn a_node_that_was_killed_comes_back_as_another_life_with_the_same_address() {
    let mut sim = three(1);
    let before = sim.cluster(2).me().clone();
    sim.kill(2);
    assert!(sim.node(2).is_none());
    sim.start(2);
    assert!(sim.run_until(2 * MINUTE, SimCluster::is_whole));
    let after = sim.cluster(2).me().clone();
    assert_eq!(after.address, before.address);
    assert_ne!(after.uid, before.uid);
}

#[test]
fn a_node_that_leaves_ends_and_the_others_go_on() {
    let mut sim = three(2);
    sim.leave(1, MINUTE);
    assert!(sim.run_until(MINUTE, |sim| sim.node(1).is_none()), "its process ends");
    let alone = |sim: &SimCluster| [0, 2].iter().all(|node| sim.cluster(*node).state().members.len() == 2);
    assert!(sim.run_until(MINUTE, alone));
}

#[test]
fn the_lesser_side_of_a_split_ends_and_the_greater_one_goes_on() {
    let mut sim = three(3);
    sim.split(&[&[0, 1], &[2]]);
    assert!(sim.run_until(2 * MINUTE, |sim| sim.node(2).is_none()), "the lesser side stops");
    assert!(sim.cluster(0).hosting().check().is_ok() && sim.cluster(1).hosting().check().is_ok());
    sim.heal_all();
    sim.start(2);
    assert!(sim.run_until(2 * MINUTE, SimCluster::is_whole));
}

#[test]
fn the_same_seed_and_the_same_calls_are_the_same_run() {
    let story = |seed| {
        let mut sim = SimCluster::builder().nodes(3).seed(seed).traced().drift_ppm(10_000).start();
        sim.run_for(Duration::from_secs(12));
        sim.pause(1, Duration::from_secs(4));
        sim.run_for(Duration::from_secs(5));
        sim.power_off(0);
        sim.run_for(MINUTE);
        (sim.trace_hash(), sim.trace())
    };
    assert_eq!(story(5), story(5));
    assert_ne!(story(5).0, story(6).0);
}
