//! Whole nodes over a network in memory, in virtual time, and over real sockets.

use super::{Cluster, ClusterError, Ground, JoinError, join};
use crate::{
    ClusterConfig, ClusterEvent, ClusterSingleton, Departure, MemberStatus, Singleton, SingletonError, WireMessage,
    config::DiscoveryConfig, discovery::Discovery, member::Address, remote::memory::MemoryNetwork, rng::Rng,
    seams::Seams, uptime::Uptime,
};
use actors::{
    ActorSystem, Behavior, BoxError, Clock, FnActor, Phase, Props, ShutdownOverBudget, ShutdownReason, testkit::TestKit,
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, future::Future, pin::Pin, sync::Arc, time::Duration};

fn address(at: usize) -> Address {
    Address::new(format!("n{at}"), 2551).unwrap()
}

pub(crate) struct Nodes {
    pub(crate) kit: TestKit,
    pub(crate) network: MemoryNetwork,
}

impl Nodes {
    pub(crate) fn new() -> Self {
        let kit = TestKit::new();
        let network = MemoryNetwork::new(kit.clock().clone());
        Self { kit, network }
    }

    fn config(&self, at: usize) -> ClusterConfig {
        let advertised = Some(address(at));
        ClusterConfig { seeds: vec![address(0), address(1)], advertised, ..ClusterConfig::local(2551) }
    }

    fn system(&self, at: usize) -> ActorSystem {
        let runtime = self.kit.system().runtime().clone();
        ActorSystem::builder(format!("n{at}")).clock(self.kit.clock().clone()).runtime(runtime).start()
    }

    fn ground(&self, at: usize) -> Ground {
        let runtime = Arc::new(self.kit.system().runtime().clone());
        let seams = Seams {
            clock: self.kit.clock().clone(),
            transport: Arc::new(self.network.node(address(at))),
            control: runtime.clone(),
            ordinary: runtime,
            rng: Arc::new(Rng::seeded(at as u64 + 1)),
        };
        let uptime = Uptime::of(self.kit.clock().clone());
        Ground { seams, uptime, address: address(at), looks_first: true, start: 1000, control: None, probe: None }
    }

    /// So many that join at the same time.
    fn up(&self, nodes: usize) -> Vec<Cluster> {
        self.up_with(nodes, |config| config)
    }

    /// As `up`, each with what is made of its configuration.
    pub(crate) fn up_with(&self, nodes: usize, change: impl Fn(ClusterConfig) -> ClusterConfig) -> Vec<Cluster> {
        let systems: Vec<ActorSystem> = (0..nodes).map(|at| self.system(at)).collect();
        let joins = (0..nodes).map(|at| join::join(&systems[at], change(self.config(at)), self.ground(at)));
        let joined = self.kit.block_on(futures_util::future::join_all(joins));
        let clusters: Vec<Cluster> = joined.into_iter().map(Result::unwrap).collect();
        self.until("all see all up", 30, || {
            let all =
                |cluster: &Cluster| cluster.state().members.iter().filter(|it| it.status == MemberStatus::Up).count();
            clusters.iter().all(|cluster| all(cluster) == nodes)
        });
        clusters
    }

    pub(crate) fn until(&self, what: &str, secs: u64, mut holds: impl FnMut() -> bool) {
        for _ in 0..secs * 10 {
            if holds() {
                return;
            }
            self.kit.advance(Duration::from_millis(100));
        }
        assert!(holds(), "not within {secs} s: {what}");
    }
}

#[test]
fn three_nodes_join_at_the_same_time_and_see_each_other() {
    let nodes = Nodes::new();
    let clusters = nodes.up(3);
    let states: Vec<_> = clusters.iter().map(Cluster::state).collect();
    assert_eq!(states[0], states[1]);
    assert_eq!(states[1], states[2]);
    let leader = states[0].leader.clone();
    assert_eq!(leader.as_ref(), Some(clusters[0].me()), "the lowest address");
    nodes.until("all may host", 10, || clusters.iter().all(|cluster| cluster.hosting().check().is_ok()));
    let oldest = states[0].oldest(None).unwrap().node.clone();
    assert_eq!(oldest, *clusters[0].me(), "who began the cluster is the oldest");
}

#[test]
fn one_that_leaves_hands_over_phase_by_phase_and_the_others_see_each_step() {
    let nodes = Nodes::new();
    let clusters = nodes.up(3);
    let mut probe = nodes.kit.probe::<ClusterEvent>();
    clusters[0].subscribe(&probe.actor_ref()).unwrap();
    let order = Arc::new(Mutex::new(Vec::new()));
    let shutdown = clusters[2].system().coordinated_shutdown();
    for phase in [Phase::ClusterShardingShutdownRegion, Phase::ClusterExiting] {
        let (order, cluster) = (Arc::clone(&order), clusters[2].clone());
        let note = move || async move {
            order.lock().push((phase, cluster.member().unwrap().status));
            Ok(())
        };
        shutdown.add_task(phase, "note", note).unwrap();
    }
    nodes.kit.block_on(clusters[2].leave(Duration::from_secs(30))).unwrap();
    assert_eq!(clusters[2].hosting().remaining(), Duration::ZERO);
    let told =
        [(Phase::ClusterShardingShutdownRegion, MemberStatus::Up), (Phase::ClusterExiting, MemberStatus::Exiting)];
    assert_eq!(*order.lock(), told);
    nodes.kit.block_on(clusters[2].system().terminated());
    assert_eq!(shutdown.reason(), Some(ShutdownReason::ClusterLeft));
    nodes
        .until("the others see it gone", 10, || clusters[..2].iter().all(|cluster| cluster.state().members.len() == 2));

    let of_it: Vec<ClusterEvent> = probe.drain();
    let steps: Vec<&str> = of_it
        .iter()
        .filter_map(|event| match event {
            ClusterEvent::Left(_) => Some("left"),
            ClusterEvent::Exited(_) => Some("exited"),
            ClusterEvent::Removed { .. } => Some("removed"),
            ClusterEvent::Downed(_) => Some("downed"),
            _ => None,
        })
        .collect();
    assert_eq!(steps, ["left", "exited", "removed"]);
    let removed = of_it.iter().find_map(|event| match event {
        ClusterEvent::Removed { free_at, .. } => Some(*free_at),
        _ => None,
    });
    assert!(removed.unwrap() <= nodes.kit.clock().now(), "it has handed over: nobody need wait");
    assert!(matches!(clusters[2].leave_member(&address(0)), Err(ClusterError::Stopped(Departure::Left))));
}

#[test]
fn one_that_is_given_up_stops_hosting_and_its_system_ends_by_the_short_way() {
    let nodes = Nodes::new();
    let clusters = nodes.up(3);
    let shutdown = clusters[2].system().coordinated_shutdown();
    let handed_over = Arc::new(Mutex::new(false));
    let note = Arc::clone(&handed_over);
    shutdown
        .add_task(Phase::ClusterExiting, "hand over", || async move {
            *note.lock() = true;
            Ok(())
        })
        .unwrap();
    assert!(matches!(clusters[0].down(&address(7)), Err(ClusterError::NotAMember(_))));
    nodes.until("it may host", 10, || clusters[2].hosting().check().is_ok());
    clusters[0].down(&address(2)).unwrap();
    assert_eq!(nodes.kit.block_on(clusters[2].terminated()), Departure::Down);
    assert_eq!(clusters[2].hosting().remaining(), Duration::ZERO);
    nodes.kit.block_on(clusters[2].system().terminated());
    let report = nodes.kit.block_on(shutdown.run());
    assert_eq!((report.reason.clone(), report.exit_code()), (ShutdownReason::ClusterDowned, 3));
    assert!(!*handed_over.lock(), "it has no right to hand anything over");
    nodes.until("it is removed", 20, || clusters[0].state().members.len() == 2);
}

#[test]
fn who_is_asked_to_leave_by_another_does_and_the_last_one_can_too() {
    let nodes = Nodes::new();
    let clusters = nodes.up(2);
    clusters[0].leave_member(&address(1)).unwrap();
    assert_eq!(nodes.kit.block_on(clusters[1].terminated()), Departure::Left);
    nodes.kit.block_on(clusters[1].system().terminated());
    nodes.until("it is gone", 10, || clusters[0].state().members.len() == 1);
    nodes.kit.block_on(clusters[0].leave(Duration::from_secs(30))).unwrap();
}

#[test]
fn what_is_to_be_told_is_counted_until_it_is_told() {
    let nodes = Nodes::new();
    let clusters = nodes.up(3);
    let waiting = || clusters[0].news_waiting();
    nodes.until("all is told", 20, || waiting() == 0);
    [0, 1].iter().for_each(|at| nodes.network.cut(&address(*at), &address(2)));
    nodes.until("one is gone", 20, || waiting() > 0);
    nodes.until("that is told", 20, || waiting() == 0);
}

#[test]
fn who_has_other_settings_is_refused_and_leaves_nothing_behind() {
    let nodes = Nodes::new();
    let clusters = nodes.up(2);
    let mut config = nodes.config(2);
    config.shared_settings.insert("shards".to_owned(), "64".to_owned());
    let system = nodes.system(2);
    let Err(refused) = nodes.kit.block_on(join::join(&system, config, nodes.ground(2))) else { panic!("let in") };
    assert!(refused.to_string().contains("shards is (not set) in the cluster and 64 here"), "{refused}");
    assert!(!system.coordinated_shutdown().is_started(), "what becomes of it is up to whoever asked");
    assert_eq!(clusters[0].state().members.len(), 2);
    let cluster = nodes.kit.block_on(join::join(&system, nodes.config(2), nodes.ground(2))).unwrap();
    assert_eq!(cluster.member().unwrap().status, MemberStatus::Up);
}

#[test]
fn who_has_another_secret_is_refused_and_none_is_shown() {
    let nodes = Nodes::new();
    nodes.up_with(2, |config| config.shared_secret("vault", "swordfish"));
    let join = |secret: &str| {
        let config = nodes.config(2).shared_secret("vault", secret);
        assert!(!format!("{config:?}").contains(secret));
        nodes.kit.block_on(join::join(&nodes.system(2), config, nodes.ground(2)))
    };
    let Err(error) = join("sesame") else { panic!("let in") };
    assert!(error.to_string().contains("vault is *** in the cluster and *** here"), "{error}");
    join("swordfish").unwrap();
}

#[test]
fn one_that_finds_nobody_says_so_in_time_and_one_that_is_dropped_does_not_join() {
    let nodes = Nodes::new();
    let system = nodes.system(1);
    let config = ClusterConfig { join_within: Some(Duration::from_secs(30)), ..nodes.config(1) };
    let outcome = nodes.kit.block_on(join::join(&system, config, nodes.ground(1)));
    let Err(error) = outcome else { panic!("there is nobody") };
    assert!(error.to_string().contains("asked n0:2551 (nobody takes connections there: "), "{error}");
    assert!(!error.to_string().contains("none of these"), "{error}");
    assert!(matches!(error, JoinError::TimedOut { asked, failed, .. }
        if asked == [address(0), address(1)] && failed.keys().eq([&address(0)])));
    let config =
        ClusterConfig { seeds: vec![address(0)], join_within: Some(Duration::from_secs(3)), ..nodes.config(1) };
    let outcome = nodes.kit.block_on(join::join(&system, config, nodes.ground(1)));
    let Err(error) = outcome else { panic!("there is nobody") };
    assert!(error.to_string().contains("this node is n1:2551, which is none of these"), "{error}");

    let clusters = nodes.up(1);
    let clock = nodes.kit.clock().clone();
    nodes.network.delay(&address(0), &address(1), Duration::from_millis(50));
    nodes.kit.block_on(async {
        let known = async {
            while clusters[0].state().members.len() < 2 {
                clock.sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            biased;
            _ = join::join(&system, nodes.config(1), nodes.ground(1)) => panic!("up before it was known"),
            () = known => {}
        }
    });
    nodes.until("it is no member any more", 30, || clusters[0].state().members.len() == 1);
}

/// Whoever presses ctrl-c while a node looks for its cluster need not wait for it.
#[test]
fn one_that_is_shut_down_while_it_joins_gives_up_and_the_cluster_hears_of_it() {
    let nodes = Nodes::new();
    let clusters = nodes.up(1);
    for is_let_in in [false, true] {
        let system = nodes.system(1);
        let seeds = vec![if is_let_in { address(0) } else { address(7) }];
        let config = ClusterConfig { seeds, ..nodes.config(1) };
        let shutdown = system.coordinated_shutdown();
        let starts = async {
            while is_let_in && clusters[0].state().members.len() < 2 {
                nodes.kit.clock().sleep(Duration::from_millis(1)).await;
            }
            nodes.kit.clock().sleep(Duration::from_millis(if is_let_in { 0 } else { 3000 })).await;
            shutdown.run().await
        };
        let joins = join::join(&system, config, nodes.ground(1));
        if is_let_in {
            nodes.network.delay(&address(0), &address(1), Duration::from_millis(50));
        }
        let (joined, report) = nodes.kit.block_on(async { tokio::join!(joins, starts) });
        assert!(matches!(joined, Err(JoinError::ShuttingDown)), "{:?}", joined.map(|cluster| cluster.me().clone()));
        assert_eq!(report.exit_code(), 0, "{report:?}");
        nodes.until("it is no member any more", 30, || clusters[0].state().members.len() == 1);
    }
}

#[test]
fn a_system_that_shuts_down_waits_for_no_node_that_nobody_joins_any_more() {
    let nodes = Nodes::new();
    let system = nodes.system(1);
    let shutdown = system.coordinated_shutdown();
    let before = shutdown.worst_case();
    let a_while = || nodes.kit.clock().sleep(Duration::from_secs(5));
    nodes.kit.block_on(async {
        tokio::select! {
            biased;
            _ = join::join(&system, nodes.config(1), nodes.ground(1)) => panic!("there is nobody"),
            () = a_while() => {}
        }
        a_while().await;
        assert_eq!(shutdown.worst_case(), before, "one that was dropped leaves nothing behind");
        let mut held = std::pin::pin!(join::join(&system, nodes.config(1), nodes.ground(1)));
        tokio::select! {
            biased;
            _ = &mut held => panic!("there is nobody"),
            () = a_while() => {}
        }
        let report = shutdown.run().await;
        assert_eq!(
            (report.exit_code(), report.failures.len()),
            (0, 0),
            "one that is not polled is given up: {report:?}"
        );
    });
}

#[test]
fn joining_costs_a_shutdown_no_more_than_being_there_does() {
    let nodes = Nodes::new();
    let system = nodes.system(0);
    let shutdown = system.coordinated_shutdown();
    shutdown.set_budget(Duration::from_secs(30));
    let mut probe = nodes.kit.probe::<ShutdownOverBudget>();
    system.event_stream().subscribe(&probe.actor_ref());
    let cluster = nodes.kit.block_on(join::join(&system, nodes.config(0), nodes.ground(0)));
    assert!(cluster.is_ok());
    assert!(shutdown.worst_case() <= Duration::from_secs(30));
    probe.expect_no_message(Duration::from_secs(1));
}

/// A message that travels.
#[derive(Serialize, Deserialize)]
struct Ring;

impl WireMessage for Ring {
    const NAME: &'static str = "tests.Ring";
}

#[test]
fn a_singleton_is_started_once_on_a_node_and_not_while_its_system_ends() {
    let nodes = Nodes::new();
    let clusters = nodes.up_with(1, |config| config.message::<Ring>());
    let bell = || Props::new(|| FnActor::new((), |(), _, _: Ring| Ok(Behavior::Same)));
    let start = |name: &str| ClusterSingleton::start(&clusters[0], Singleton::new(name, bell())).map(drop);
    assert_eq!(start("bell"), Ok(()));
    assert_eq!(start("bell"), Err(SingletonError::Started { name: "bell".into() }));
    nodes.kit.block_on(clusters[0].system().terminate());
    assert_eq!(start("horn"), Err(SingletonError::ShuttingDown { name: "horn".into() }));
}

/// Knows those that were started.
struct Started(Arc<Mutex<BTreeSet<Address>>>);

impl Discovery for Started {
    fn contacts(&self) -> Pin<Box<dyn Future<Output = Result<Vec<Address>, BoxError>> + Send + '_>> {
        Box::pin(async { Ok(self.0.lock().iter().cloned().collect()) })
    }
}

#[test]
fn nodes_that_are_discovered_begin_one_cluster() {
    let nodes = Nodes::new();
    let started = Arc::new(Mutex::new(BTreeSet::from([address(1)])));
    let config = |at| {
        let discovery = Some(DiscoveryConfig::new(Started(Arc::clone(&started))));
        ClusterConfig { seeds: Vec::new(), discovery, ..nodes.config(at) }
    };
    let systems: Vec<ActorSystem> = (0..3).map(|at| nodes.system(at)).collect();
    let clock = nodes.kit.clock().clone();
    let joins = (0..3).map(|at| {
        let (system, config, ground) = (&systems[at], config(at), nodes.ground(at));
        let (clock, started) = (clock.clone(), Arc::clone(&started));
        async move {
            clock.sleep(Duration::from_secs(3 * at as u64)).await;
            started.lock().insert(address(at));
            join::join(system, config, ground).await.unwrap()
        }
    });
    let clusters = nodes.kit.block_on(futures_util::future::join_all(joins));
    nodes.until("one cluster of three", 30, || clusters.iter().all(|cluster| cluster.state().members.len() == 3));
}

/// It would replace the one that is there, in the eyes of all others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_advertises_the_address_of_another_process_does_not_start() {
    let (one, two) = (ActorSystem::new("one"), ActorSystem::new("two"));
    let first = Cluster::join(&one, ClusterConfig::local(0)).await.unwrap();
    let advertised = Some(first.me().address.clone());
    let Err(error) = Cluster::join(&two, ClusterConfig { advertised, ..ClusterConfig::local(0) }).await else {
        panic!("two processes with one address")
    };
    let JoinError::AddressTaken { me, said } = &error else { panic!("{error}") };
    assert_eq!(me.address, first.me().address);
    assert!(said.contains(&me.to_string()) && said.contains(&first.me().to_string()), "{error}");
    assert!(!two.coordinated_shutdown().is_started(), "what becomes of it is up to whoever asked");
    first.leave(Duration::from_secs(20)).await.unwrap();
    one.terminated().await;
}

/// It answers itself, or nobody does where it cannot reach itself.
#[test]
fn who_is_alone_at_its_address_starts() {
    let nodes = Nodes::new();
    nodes.up(2);
    nodes.network.cut(&address(3), &address(3));
    let cluster = nodes.kit.block_on(join::join(&nodes.system(3), nodes.config(3), nodes.ground(3))).unwrap();
    assert_eq!(cluster.state().members.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_join_over_real_sockets_and_one_leaves() {
    let one = ActorSystem::new("one");
    let first = Cluster::join(&one, ClusterConfig::local(0)).await.unwrap();
    let config = || ClusterConfig { seeds: vec![first.me().address.clone()], ..ClusterConfig::local(0) };
    let two = ActorSystem::new("two");
    let second = Cluster::join(&two, config()).await.unwrap();
    assert_eq!(second.state().members.len(), 2);
    second.leave(Duration::from_secs(20)).await.unwrap();
    two.terminated().await;

    let other = ClusterConfig { name: "another".to_owned(), join_within: Some(Duration::from_secs(1)), ..config() };
    let three = ActorSystem::builder("three").clock(Clock::tokio()).start();
    let Err(error) = Cluster::join(&three, other).await else { panic!("let into another cluster") };
    assert!(error.to_string().contains("refused") && error.to_string().contains("another"), "{error}");
    first.leave(Duration::from_secs(20)).await.unwrap();
    one.terminated().await;
}
