//! Daemons over a network in memory, in virtual time.

use super::{
    Daemon, Equipment,
    double::Exchange,
    inbox::Wish,
    shared::{Shared, Stage},
};
use crate::{
    event::{ClusterEvent, ClusterState},
    member::{Address, Member, MemberStatus, UniqueAddress},
    membership::{
        node::{Command, NodeSettings, SharedSettings, StopReason},
        swim::{KeyRing, Settings},
    },
    remote::memory::MemoryNetwork,
    rng::Rng,
    seams::Seams,
    uptime::Uptime,
};
use actors::testkit::TestKit;
use std::{sync::Arc, time::Duration};
use tokio::task::AbortHandle;

struct Cluster {
    kit: TestKit,
    network: MemoryNetwork,
    exchange: Exchange,
    nodes: Vec<Node>,
    settings: NodeSettings,
}

struct Node {
    shared: Arc<Shared>,
    task: AbortHandle,
}

fn address(at: usize) -> Address {
    Address::new(format!("n{at}"), 2551).unwrap()
}

impl Cluster {
    fn new() -> Self {
        let kit = TestKit::new();
        let network = MemoryNetwork::new(kit.system().clock().clone());
        Self { kit, network, exchange: Exchange::default(), nodes: Vec::new(), settings: NodeSettings::default() }
    }

    fn of(nodes: usize) -> Self {
        let mut cluster = Self::new();
        (0..nodes).for_each(|at| cluster.start(at, at as u64 + 1, 1000));
        cluster.until("all are up", 40, |cluster| {
            (0..nodes).all(|at| cluster.statuses(at) == vec![MemberStatus::Up; nodes])
        });
        cluster
    }

    fn start(&mut self, at: usize, uid: u64, start: u64) {
        let clock = self.kit.system().clock().clone();
        let me = UniqueAddress { address: address(at), uid };
        let myself = Member {
            node: me.clone(),
            status: MemberStatus::Joining,
            up_number: None,
            roles: ["worker".into()].into(),
            data_center: "here".into(),
            app_version: "1".into(),
        };
        let runtime = Arc::new(self.kit.system().runtime().clone());
        let seams = Seams {
            clock: clock.clone(),
            transport: Arc::new(self.network.node(me.address.clone())),
            control: runtime.clone(),
            ordinary: runtime,
            rng: Arc::new(Rng::seeded(uid)),
        };
        let shared = Shared::new(myself, Uptime::of(clock.clone()));
        let seeds = vec![address(0), address(1)];
        shared.inbox.wish(Wish::Command(Command::Join { seeds: seeds.clone() })).unwrap();
        let keys = Some(KeyRing::new(&[[7; 32]]).unwrap());
        let equipment = Equipment {
            seams,
            uptime: Uptime::of(clock),
            shared: Arc::clone(&shared),
            remote: self.exchange.node(me, shared.inbox.clone()),
            start,
            swim: Settings { keys, seeds, ..Settings::new("shop") },
            node: self.settings.clone(),
            lease: None,
            removed: None,
        };
        let task = self.kit.block_on(async { Daemon::start(equipment).unwrap() });
        let node = Node { shared, task };
        if at < self.nodes.len() { self.nodes[at] = node } else { self.nodes.push(node) }
    }

    fn until(&self, what: &str, secs: u64, holds: impl Fn(&Self) -> bool) {
        for _ in 0..secs * 10 {
            if holds(self) {
                return;
            }
            self.kit.advance(Duration::from_millis(100));
        }
        assert!(holds(self), "not within {secs} s: {what}; {:#?}", self.state(0));
    }

    fn state(&self, at: usize) -> Arc<ClusterState> {
        self.nodes[at].shared.state()
    }

    fn statuses(&self, at: usize) -> Vec<MemberStatus> {
        self.state(at).members.iter().map(|member| member.status).collect()
    }

    fn stage(&self, at: usize) -> Stage {
        self.nodes[at].shared.stage().borrow().clone()
    }

    fn id(&self, at: usize) -> UniqueAddress {
        self.nodes[at].shared.myself.node.clone()
    }

    fn command(&self, at: usize, command: Command) {
        self.nodes[at].shared.inbox.wish(Wish::Command(command)).unwrap();
    }

    fn crash(&self, at: usize) {
        self.nodes[at].task.abort();
        self.exchange.gone(&address(at));
    }

    fn cut(&self, here: &[usize], there: &[usize]) {
        for one in here {
            for two in there {
                for (from, to) in [(one, two), (two, one)] {
                    self.network.cut(&address(*from), &address(*to));
                    self.exchange.cut(&address(*from), &address(*to));
                }
            }
        }
    }

    fn hosts(&self, at: usize) -> bool {
        self.nodes[at].shared.hosting.check().is_ok()
    }
}

#[test]
fn three_nodes_meet_and_each_subscriber_sees_it_in_order() {
    let mut cluster = Cluster::new();
    cluster.start(0, 1, 1000);
    let mut probe = cluster.kit.probe::<ClusterEvent>();
    cluster.nodes[0].shared.inbox.wish(Wish::Subscribe(probe.actor_ref())).unwrap();
    (1..3).for_each(|at| cluster.start(at, at as u64 + 1, 1000));
    cluster.until("all are up", 40, |cluster| (0..3).all(|at| cluster.statuses(at) == [MemberStatus::Up; 3]));
    cluster.until("all may host", 5, |cluster| (0..3).all(|at| cluster.hosts(at)));
    assert_eq!(cluster.stage(2), Stage::Member(MemberStatus::Up));
    assert_eq!(cluster.exchange.members_of(&cluster.id(1)), [cluster.id(0), cluster.id(2)]);

    let mut seen = ClusterState::default();
    let mut events = 0;
    for event in probe.drain() {
        events += 1;
        match event {
            ClusterEvent::Current(state) => {
                assert_eq!(events, 1, "the state comes first and once");
                seen = (*state).clone();
            }
            ClusterEvent::Joined(member) | ClusterEvent::WeaklyUp(member) | ClusterEvent::Up(member) => {
                seen.members.retain(|known| {
                    assert!(known.node != member.node || known.status < member.status, "{known:?}, then {member:?}");
                    known.node != member.node
                });
                seen.members.push(member);
                seen.members.sort_by(|one, two| one.node.cmp(&two.node));
            }
            ClusterEvent::LeaderChanged(leader) => seen.leader = leader,
            ClusterEvent::RoleLeaderChanged { role, leader } => drop(seen.role_leaders.insert(role, leader.unwrap())),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(seen, *cluster.state(0));
}

#[test]
fn one_that_leaves_is_removed_by_all_and_cut_off_once_it_knows() {
    let cluster = Cluster::of(3);
    cluster.command(2, Command::Leave(address(2)));
    cluster.until("it exits", 10, |cluster| cluster.stage(2) == Stage::Member(MemberStatus::Exiting));
    cluster.command(2, Command::HandedOver);
    cluster.until("it has left", 10, |cluster| cluster.stage(2) == Stage::Stopped(StopReason::Left));
    assert!(!cluster.hosts(2));
    cluster.until("the others know", 10, |cluster| (0..2).all(|at| cluster.statuses(at) == [MemberStatus::Up; 2]));
    cluster.until("it is cut off", 10, |cluster| cluster.exchange.has_quarantined(&cluster.id(0), &cluster.id(2)));
    assert_eq!(cluster.exchange.members_of(&cluster.id(1)), [cluster.id(0)]);
    cluster.until("its task is over", 2, |cluster| cluster.nodes[2].task.is_finished());
}

#[test]
fn one_that_crashed_is_given_up_and_comes_back_though_its_clock_is_behind() {
    let mut cluster = Cluster::of(3);
    cluster.crash(2);
    cluster.until("it is gone", 60, |cluster| (0..2).all(|at| cluster.statuses(at) == [MemberStatus::Up; 2]));
    // By the clock the new life began before the old one.
    cluster.start(2, 33, 500);
    cluster.until("it is back", 60, |cluster| (0..3).all(|at| cluster.statuses(at) == [MemberStatus::Up; 3]));
    cluster.kit.advance(Duration::from_secs(60));
    assert_eq!(cluster.stage(2), Stage::Member(MemberStatus::Up));
    assert!(cluster.state(0).unreachable.is_empty(), "{:?}", cluster.state(0));
}

#[test]
fn one_that_starts_again_at_once_takes_the_place_of_its_former_life() {
    for start in [2000, 500] {
        let mut cluster = Cluster::of(3);
        cluster.crash(2);
        cluster.start(2, 33, start);
        cluster.until("the new life is up", 90, |cluster| {
            (0..3).all(|at| cluster.statuses(at) == [MemberStatus::Up; 3])
                && cluster.state(0).members.iter().any(|member| member.node.uid == 33)
        });
        assert!(cluster.exchange.has_quarantined(&cluster.id(0), &UniqueAddress { address: address(2), uid: 3 }));
    }
}

#[test]
fn the_lesser_side_of_a_cut_stops_hosting_before_the_other_goes_on_without_it() {
    let cluster = Cluster::of(3);
    cluster.until("all may host", 5, |cluster| (0..3).all(|at| cluster.hosts(at)));
    let mut probe = cluster.kit.probe::<ClusterEvent>();
    cluster.nodes[0].shared.inbox.wish(Wish::Subscribe(probe.actor_ref())).unwrap();
    cluster.cut(&[0, 1], &[2]);
    cluster.until("the lesser side hosts nothing", 60, |cluster| !cluster.hosts(2));
    let hosted_until = cluster.kit.clock().now();
    cluster.until("the lesser side stops", 60, |cluster| matches!(cluster.stage(2), Stage::Stopped(_)));
    assert!(!cluster.hosts(2));
    cluster.until("the greater side goes on", 60, |cluster| {
        (0..2).all(|at| cluster.statuses(at) == [MemberStatus::Up; 2] && cluster.hosts(at))
    });
    let removed = probe
        .drain()
        .into_iter()
        .find_map(|event| if let ClusterEvent::Removed { free_at, .. } = event { Some(free_at) } else { None });
    assert!(removed.is_some_and(|free_at| free_at > hosted_until), "its work is not free before it surely stopped");
}

#[test]
fn who_has_other_settings_is_refused_and_learns_which() {
    let mut cluster = Cluster::of(2);
    cluster.settings.shared = SharedSettings::default().with("shards", "64");
    cluster.start(2, 3, 1000);
    cluster.until("it is refused", 20, |cluster| matches!(cluster.stage(2), Stage::Refused { .. }));
    let Stage::Refused { differing, .. } = cluster.stage(2) else { panic!("not refused") };
    assert_eq!(
        (&*differing[0].key, &*differing[0].of_cluster, &*differing[0].of_joiner),
        ("shards", "(not set)", "64")
    );
    cluster.nodes[2].shared.inbox.wish(Wish::Quit).unwrap();
    cluster.until("it ends", 2, |cluster| cluster.nodes[2].task.is_finished());
    assert_eq!(cluster.statuses(0).len(), 2);
}

#[test]
fn nodes_that_were_all_cut_off_for_a_moment_find_each_other_again() {
    let cluster = Cluster::of(3);
    cluster.cut(&[0], &[1, 2]);
    cluster.cut(&[1], &[2]);
    cluster.kit.advance(Duration::from_secs(6));
    for one in 0..3 {
        for two in 0..3 {
            cluster.network.heal(&address(one), &address(two));
        }
    }
    cluster.exchange.heal();
    cluster.until("all reach all", 60, |cluster| (0..3).all(|at| cluster.state(at).unreachable.is_empty()));
    cluster.kit.advance(Duration::from_secs(60));
    assert!((0..3).all(|at| cluster.statuses(at) == [MemberStatus::Up; 3] && cluster.hosts(at)));
}
