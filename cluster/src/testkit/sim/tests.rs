//! What a test can do with a cluster.

use super::{SimCluster, SimNode};
use crate::{ClusterConfig, Discovery, DiscoveryConfig, FileDiscovery, StaticDiscovery};
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

/// Three nodes, none of which has begun, that find each other by `source`.
fn discovered<D: Discovery>(source: impl Fn() -> D + 'static) -> SimCluster {
    let config =
        move |_, config| ClusterConfig { seeds: Vec::new(), discovery: Some(DiscoveryConfig::new(source())), ..config };
    SimCluster::builder().nodes(3).seed(9).config(config).start_none()
}

fn has_joined(sim: &SimCluster, node: usize) -> bool {
    sim.node(node).and_then(SimNode::cluster).is_some()
}

#[test]
fn a_list_begins_one_cluster_and_only_once_two_of_it_are_there() {
    let list = || StaticDiscovery::new((0..3).map(|node| format!("n{node}:2551").parse().unwrap()));
    let mut sim = discovered(list);
    sim.start(0);
    sim.run_for(2 * MINUTE);
    assert!(!has_joined(&sim, 0), "those that are only on the list are no reason to begin");
    sim.start(1);
    assert!(sim.run_until(MINUTE, |sim| has_joined(sim, 0) && has_joined(sim, 1)));
    sim.start(2);
    assert!(sim.run_until(MINUTE, SimCluster::is_whole));
}

#[test]
fn a_file_that_is_written_later_begins_one_cluster() {
    let path = std::env::temp_dir().join(format!("cluster-sim-{}", std::process::id()));
    let mut sim = discovered({
        let path = path.clone();
        move || FileDiscovery::new(&path)
    });
    (0..3).for_each(|node| sim.start(node));
    sim.run_for(MINUTE);
    std::fs::write(&path, "# nobody yet\nn2:2551\n").unwrap();
    sim.run_for(MINUTE);
    assert!((0..3).all(|node| !has_joined(&sim, node)), "one is not enough");
    std::fs::write(&path, "n2:2551\nn0:2551\nn1:2551\n").unwrap();
    assert!(sim.run_until(MINUTE, SimCluster::is_whole));
    let oldest = sim.cluster(2).state().oldest(None).unwrap().node.address.clone();
    assert_eq!(oldest, *sim.address(0), "the lowest address has begun it");
    std::fs::remove_file(&path).unwrap();
}
