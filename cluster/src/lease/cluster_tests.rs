//! Whole clusters that a lease divides: the resolver with its lease in a store that some reach and others do not. At no moment
//! do two instances of a singleton serve, and those that are left in the end are one cluster.

use super::{
    InMemoryLeaseStore, Lease as _, LeaseFuture, LeaseRecord, LeaseSettings, LeaseStore, LeaseStoreError, Stored,
    StoredLease, Swapped, Version,
};
use crate::{
    ClusterSingleton, Departure, Downing, HostingDeadline, Singleton, WireMessage,
    cluster::Cluster,
    testkit::{SimCluster, SimNode},
};
use actors::{Actor, ActorContext, ActorSystem, Behavior, Handled, Props};
use parking_lot::Mutex;
use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};
use serde::{Deserialize, Serialize};
use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    sync::{Arc, OnceLock},
    time::Duration,
};

const NODES: usize = 5;
const SECOND: Duration = Duration::from_secs(1);
const STEP: Duration = Duration::from_millis(100);

/// What all nodes keep their lease in.
#[derive(Clone, Default)]
struct Store {
    leases: Arc<OnceLock<InMemoryLeaseStore>>,
    cut_off: Arc<Mutex<BTreeSet<usize>>>,
}

/// The store as one node reaches it. One that is cut off gets no answer.
struct Reached {
    store: Store,
    node: usize,
}

impl Reached {
    async fn leases(&self) -> &InMemoryLeaseStore {
        if self.store.cut_off.lock().contains(&self.node) {
            std::future::pending().await
        }
        self.store.leases.get().unwrap()
    }
}

impl LeaseStore for Reached {
    fn read<'a>(&'a self, name: &'a str) -> LeaseFuture<'a, Result<Option<Stored>, LeaseStoreError>> {
        Box::pin(async move { self.leases().await.read(name).await })
    }

    fn swap<'a>(
        &'a self,
        name: &'a str,
        expected: Option<&'a Version>,
        record: LeaseRecord,
    ) -> LeaseFuture<'a, Result<Swapped, LeaseStoreError>> {
        Box::pin(async move { self.leases().await.swap(name, expected, record).await })
    }
}

#[derive(Serialize, Deserialize)]
struct Work;

impl WireMessage for Work {
    const NAME: &'static str = "test.Work";
}

/// The instances that there are, by node and life, each with the right of its node to serve.
type Instances = Arc<Mutex<BTreeMap<(usize, u64), HostingDeadline>>>;

struct Instance {
    at: (usize, u64),
    instances: Instances,
}

impl Actor for Instance {
    type Message = Work;

    async fn receive(&mut self, _: &mut ActorContext<Work>, Work: Work) -> Handled {
        Ok(Behavior::Same)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.instances.lock().remove(&self.at);
    }
}

struct World {
    sim: SimCluster,
    store: Store,
    instances: Instances,
    /// To learn why they end.
    lives: Vec<Cluster>,
}

/// Who makes the lease.
#[derive(Clone, Copy, PartialEq)]
enum By {
    Store,
    User,
}

impl World {
    fn up(seed: u64, by: By) -> Self {
        let (store, instances) = (Store::default(), Instances::default());
        let systems: Rc<RefCell<BTreeMap<usize, ActorSystem>>> = Rc::default();
        let (stores, hosted, begun) = (store.clone(), instances.clone(), systems.clone());
        let mut sim = SimCluster::builder()
            .nodes(NODES)
            .seed(seed)
            .drift_ppm(10_000)
            .on_start(move |node| drop(begun.borrow_mut().insert(node.number(), node.system().clone())))
            .config(move |node, mut config| {
                let store: Arc<dyn LeaseStore> = Arc::new(Reached { store: stores.clone(), node });
                if by == By::Store {
                    config.downing = Downing::StoreMajority { role: None };
                    config.lease_store = Some(store);
                } else {
                    let settings = LeaseSettings::default();
                    let lease = StoredLease::start(&systems.borrow()[&node], "resolver", store, settings).unwrap();
                    config.downing = Downing::LeaseMajority { role: None };
                    config.lease = Some(Arc::new(lease));
                }
                config.message::<Work>()
            })
            .on_join(move |node| takes_part(node, &hosted))
            .start_none();
        assert!(store.leases.set(InMemoryLeaseStore::new(sim.clock().clone())).is_ok());
        (0..NODES).for_each(|node| sim.start(node));
        assert!(sim.run_until(60 * SECOND, SimCluster::is_whole), "seed {seed}: they do not meet");
        let lives = (0..NODES).map(|node| sim.cluster(node)).collect();
        let mut world = Self { sim, store, instances, lives };
        world.run(20);
        assert_eq!(world.serving().len(), 1, "seed {seed}");
        world
    }

    /// Lets so many seconds pass.
    fn run(&mut self, seconds: u64) {
        for _ in 0..seconds * 10 {
            self.sim.run_for(STEP);
            let serving = self.serving();
            assert!(serving.len() <= 1, "{:?}: two serve: {serving:?}", self.sim.elapsed());
        }
    }

    /// The instances that may serve now.
    fn serving(&self) -> Vec<usize> {
        let runs = |at: &(usize, u64)| self.sim.node(at.0).is_some_and(|node| node.life() == at.1);
        let instances = self.instances.lock();
        let valid = instances.iter().filter(|(at, deadline)| runs(at) && deadline.check().is_ok());
        valid.map(|((node, _), _)| *node).collect()
    }

    fn cut_off_store(&self, nodes: &[usize]) {
        *self.store.cut_off.lock() = nodes.iter().copied().collect();
    }

    /// These are one cluster, all of them host, and one has the instance. Nobody else is there.
    fn is_up_to(&self, nodes: &[usize]) {
        let running: Vec<usize> = self.sim.running().map(SimNode::number).collect();
        assert_eq!(running, nodes, "{:?}", self.lives.iter().map(Cluster::departure).collect::<Vec<_>>());
        for node in nodes {
            let cluster = self.sim.cluster(*node);
            assert_eq!(cluster.state().members.len(), nodes.len(), "as n{node} sees it");
            assert!(cluster.hosting().check().is_ok(), "n{node} hosts nothing");
        }
        assert_eq!(self.serving().len(), nodes.len().min(1));
    }

    fn was_denied(&self, node: usize) -> bool {
        self.lives[node].departure() == Some(Departure::LeaseDenied)
    }
}

/// Has a node take part in the singleton.
fn takes_part(node: &SimNode, instances: &Instances) {
    let (at, cluster) = ((node.number(), node.life()), node.cluster().unwrap());
    let (instances, hosting) = (instances.clone(), cluster.hosting());
    let props = Props::new(move || {
        instances.lock().insert(at, hosting.clone());
        Instance { at, instances: instances.clone() }
    });
    ClusterSingleton::start(&cluster, Singleton::new("only", props)).unwrap();
}

#[test]
fn of_two_sides_that_reach_the_store_the_greater_one_goes_on() {
    for by in [By::Store, By::User] {
        let mut world = World::up(1, by);
        world.sim.split(&[&[0, 1], &[2, 3, 4]]);
        world.run(90);
        world.is_up_to(&[2, 3, 4]);
        assert!(world.was_denied(0) || world.was_denied(1), "one asked");
    }
}

#[test]
fn a_side_that_reaches_the_store_goes_on_though_it_is_the_lesser_one() {
    for by in [By::Store, By::User] {
        let mut world = World::up(2, by);
        world.sim.split(&[&[0, 1], &[2, 3, 4]]);
        world.cut_off_store(&[2, 3, 4]);
        world.run(120);
        world.is_up_to(&[0, 1]);
    }
}

/// Those that went on have given the lease back by the time it reaches the store.
#[test]
fn a_side_that_reaches_the_store_too_late_stops() {
    let mut world = World::up(3, By::Store);
    world.sim.split(&[&[0, 1], &[2, 3, 4]]);
    world.cut_off_store(&[0, 1]);
    world.run(25);
    assert!(world.sim.node(0).is_some(), "it may still get it");
    world.run(85);
    world.cut_off_store(&[]);
    world.run(60);
    world.is_up_to(&[2, 3, 4]);
}

#[test]
fn a_side_that_reaches_the_store_a_little_late_goes_on_if_it_is_the_only_one() {
    let mut world = World::up(4, By::Store);
    [2, 3, 4].iter().for_each(|node| world.sim.power_off(*node));
    world.cut_off_store(&[0, 1]);
    world.run(20);
    world.cut_off_store(&[]);
    world.run(70);
    world.is_up_to(&[0, 1]);
}

#[test]
fn the_rest_goes_on_when_more_than_half_are_lost() {
    for by in [By::Store, By::User] {
        let mut world = World::up(5, by);
        [0, 1, 2].iter().for_each(|node| world.sim.power_off(*node));
        world.run(60);
        world.is_up_to(&[3, 4]);
        // Once the lease is given back, again.
        world.run(60);
        world.sim.power_off(3);
        world.run(60);
        world.is_up_to(&[4]);
        // They come back, and are divided once more.
        let through = vec![world.sim.address(4).clone()];
        (0..4).for_each(|node| world.sim.start_with(node, through.clone()));
        world.run(90);
        world.is_up_to(&[0, 1, 2, 3, 4]);
        world.sim.split(&[&[0, 1, 2], &[3, 4]]);
        world.run(90);
        world.is_up_to(&[0, 1, 2]);
    }
}

#[test]
fn nobody_goes_on_by_a_store_that_nobody_reaches() {
    let mut world = World::up(6, By::Store);
    world.cut_off_store(&[0, 1, 2, 3, 4]);
    world.run(60);
    world.is_up_to(&[0, 1, 2, 3, 4]);
    world.sim.split(&[&[0, 1], &[2, 3, 4]]);
    world.run(90);
    world.is_up_to(&[]);
}

#[test]
fn whoever_has_decided_goes_on_without_the_store() {
    let mut world = World::up(7, By::Store);
    world.sim.split(&[&[0, 1], &[2, 3, 4]]);
    assert!(world.sim.run_until(60 * SECOND, |sim| sim.cluster(2).state().members.len() == 3));
    world.cut_off_store(&[0, 1, 2, 3, 4]);
    world.run(120);
    world.is_up_to(&[2, 3, 4]);
}

/// It wakes up when the others have given the lease back, and still cannot reach them.
#[test]
fn a_side_that_stood_still_while_the_others_decided_does_not_go_on() {
    let mut world = World::up(8, By::Store);
    world.sim.split(&[&[0, 1], &[2, 3, 4]]);
    [0, 1].iter().for_each(|node| world.sim.pause(*node, 150 * SECOND));
    world.run(250);
    world.is_up_to(&[2, 3, 4]);
}

/// Sides, crashes, pauses and a store that comes and goes, at random times.
#[test]
fn whatever_happens_no_two_serve_and_those_that_are_left_are_one_cluster() {
    let mut left = 0;
    for seed in 100..140 {
        let mut world = World::up(seed, By::Store);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let apart: usize = rng.random_range(1..1 << (NODES - 1));
        let (one, two): (Vec<usize>, Vec<usize>) = (0..NODES).partition(|node| apart & (1 << node) != 0);
        world.sim.split(&[&one, &two]);
        for _ in 0..12 {
            let node = rng.random_range(0..NODES);
            match rng.random_range(0..12) {
                0 => world.sim.power_off(node),
                1 | 2 => world.sim.pause(node, SECOND * rng.random_range(1..120)),
                3 => world.cut_off_store(&[]),
                4..8 => world.cut_off_store(if rng.random() { &one } else { &two }),
                8 => world.cut_off_store(&[0, 1, 2, 3, 4]),
                _ => {}
            }
            world.run(rng.random_range(1..15));
        }
        world.cut_off_store(&[]);
        world.run(200);
        let there: Vec<usize> = world.sim.running().map(SimNode::number).collect();
        world.is_up_to(&there);
        left += usize::from(!there.is_empty());
    }
    assert!(left > 20, "somebody is left of {left} in 40");
}

/// Its keeper stands still as it does, and renews nothing.
#[test]
fn whoever_stands_still_for_too_long_finds_its_lease_with_another() {
    let mut sim = SimCluster::builder().nodes(3).start();
    assert!(sim.run_until(60 * SECOND, SimCluster::is_whole));
    let store = Arc::new(InMemoryLeaseStore::new(sim.clock().clone()));
    let [sleeper, other] = [2, 0].map(|node| {
        let (system, store) = (sim.cluster(node).system().clone(), store.clone());
        StoredLease::start(&system, "gate", store, LeaseSettings::default()).unwrap()
    });
    let first = sim.block_on(sleeper.acquire(Box::new(drop))).unwrap();
    sim.pause(2, 120 * SECOND);
    sim.run_for(60 * SECOND);
    let second = sim.block_on(other.acquire(Box::new(drop))).expect("it was not renewed");
    assert!(second > first && sleeper.check().is_none() && other.check() == Some(second));
    sim.run_for(120 * SECOND);
    assert_eq!((sleeper.check(), other.check()), (None, Some(second)));
}
