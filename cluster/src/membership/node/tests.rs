//! Stories of a cluster.

use super::{
    ClusterEvent, Command, NodeSettings, SharedSettings, StopReason,
    network::{Net, address},
};
use crate::{
    downing::{Downing, Stop},
    member::MemberStatus::{Exiting, Joining, ReadyForShutdown, Up, WeaklyUp},
};
use rand::RngExt;
use std::time::Duration;

fn equal_tables(net: &Net, nodes: impl IntoIterator<Item = usize>) {
    let digests: Vec<_> = nodes.into_iter().map(|at| net.process(at).node.table().digest()).collect();
    assert!(digests.windows(2).all(|two| two[0] == two[1]), "{digests:?}");
}

#[test]
fn five_nodes_join_through_seeds_and_have_equal_tables() {
    let net = Net::up(1, 5);
    equal_tables(&net, 0..5);
    let table = net.process(4).node.table();
    let mut numbers: Vec<_> = table.members().filter_map(|member| member.up_number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 3, 4, 5]);
    assert!(table.is_converged());
    for at in 0..5 {
        assert!(Net::hosts(net.process(at), net.now));
        let uid = net.process(at).id.uid;
        assert!(net.told(at, uid).ends_with(&["up"]), "{:?}", net.told(at, uid));
    }
}

/// While there are too few the lowest of those that have joined acts for all, and who that is changes with each that comes:
/// none does before all of them know of each other. (Two with one number fail the test by themselves.)
#[test]
fn while_too_few_have_joined_to_begin_nobody_lets_others_in_alone() {
    for seed in 0..300 {
        let mut net = Net::new(seed);
        net.settings.min_members.total = 3;
        net.start(2, &[2, 1]);
        net.run(6);
        for at in [1, 3, 0] {
            net.start(at, &[2, 1]);
            let gap = net.rng.random_range(0..60);
            net.run_for(Duration::from_millis(gap));
        }
        assert!(net.run_until(30, |net| (0..4).all(|at| net.statuses(at) == [Up; 4])), "seed {seed}: not up in time");
    }
}

#[test]
fn who_leaves_exits_and_is_removed_in_this_order() {
    let mut net = Net::up(2, 4);
    let leaver = net.process(0).id.uid;
    net.command(0, Command::Leave(address(0)));
    net.run(4);
    assert!(net.statuses(3).contains(&Exiting), "it has not said that others have its work: {:?}", net.statuses(3));
    net.command(0, Command::HandedOver);
    net.run(4);
    assert_eq!(net.process(0).stopped.map(|(why, _)| why), Some(StopReason::Left));
    for at in 1..4 {
        assert!(net.told(at, leaver).ends_with(&["up", "left", "exited", "removed"]), "{:?}", net.told(at, leaver));
        assert_eq!(net.statuses(at), [Up; 3]);
    }
    let (at, removed) =
        net.process(2).events.iter().rfind(|(_, it)| matches!(it, ClusterEvent::Removed { .. })).unwrap();
    assert!(matches!(removed, ClusterEvent::Removed { free_at, previous: Exiting, .. } if free_at == at));
    equal_tables(&net, 1..4);
}

#[test]
fn the_last_one_leaves_by_itself() {
    let mut net = Net::up(3, 1);
    net.command(0, Command::Leave(address(0)));
    net.run(2);
    assert_eq!(net.process(0).stopped.map(|(why, _)| why), Some(StopReason::Left));
}

#[test]
fn who_crashed_is_given_up_by_the_majority_and_removed() {
    let mut net = Net::up(4, 5);
    let gone = net.process(4).id.uid;
    net.crash(4);
    net.run(8);
    for at in 0..4 {
        assert!(
            net.told(at, gone).ends_with(&["unreachable"]),
            "not before the stable period: {:?}",
            net.told(at, gone)
        );
    }
    net.run(12);
    for at in 0..4 {
        assert!(net.told(at, gone).ends_with(&["unreachable", "downed", "removed"]), "{:?}", net.told(at, gone));
        assert_eq!(net.statuses(at), [Up; 4]);
    }
    equal_tables(&net, 0..4);
}

#[test]
fn the_minority_stops_before_others_do_its_work() {
    let mut net = Net::up(5, 5);
    net.cut(&[0, 1], &[2, 3, 4]);
    net.run(40);
    let free = |at: usize| {
        let of = net.process(at).id.uid;
        let removed = net.process(4).events.iter().find_map(|(_, event)| match event {
            ClusterEvent::Removed { member, free_at, .. } if member.node.uid == of => Some(*free_at),
            _ => None,
        });
        removed.unwrap()
    };
    for at in 0..2 {
        let (why, when) = net.process(at).stopped.unwrap();
        assert_eq!(why, StopReason::Unreachable(Stop::OtherSide));
        assert!(when < free(at));
    }
    (2..5).for_each(|at| assert_eq!(net.statuses(at), [Up; 3]));
    assert!((2..5).all(|at| Net::hosts(net.process(at), net.now)));
}

#[test]
fn of_two_halves_the_one_with_the_lowest_address_goes_on() {
    let mut net = Net::up(6, 4);
    net.cut(&[0, 3], &[1, 2]);
    net.run(40);
    assert!(net.process(1).stopped.is_some() && net.process(2).stopped.is_some());
    assert_eq!((net.statuses(0), net.statuses(3)), (vec![Up; 2], vec![Up; 2]));
}

#[test]
fn a_short_cut_changes_nothing() {
    let mut net = Net::up(7, 5);
    let before = net.process(0).node.table().members().cloned().collect::<Vec<_>>();
    net.cut(&[0, 1], &[2, 3, 4]);
    net.run(6);
    let other = net.process(3).id.uid;
    assert!(net.told(0, other).ends_with(&["unreachable"]));
    net.heal();
    net.run(20);
    assert!(net.told(0, other).ends_with(&["unreachable", "reachable"]));
    for at in 0..5 {
        assert_eq!(net.process(at).node.table().members().cloned().collect::<Vec<_>>(), before);
        assert!(net.process(at).node.table().is_converged());
        assert!(Net::hosts(net.process(at), net.now));
    }
    equal_tables(&net, 0..5);
}

#[test]
fn a_restarted_node_waits_for_the_end_of_its_earlier_life() {
    let mut net = Net::up(8, 4);
    let earlier = net.process(2).id.uid;
    net.crash(2);
    net.run(1);
    net.start(2, &[0, 1]);
    net.run(25);
    let later = net.process(2).id.uid;
    for at in [0, 1, 3] {
        let told = net.told(at, earlier);
        assert!(told.contains(&"downed") && told.ends_with(&["removed"]), "{told:?}");
        let events = &net.process(at).events;
        let place = |wanted: fn(&ClusterEvent) -> bool| events.iter().rposition(|(_, event)| wanted(event));
        let removed = place(|event| matches!(event, ClusterEvent::Removed { .. }));
        assert!(removed < place(|event| matches!(event, ClusterEvent::Joined(_) | ClusterEvent::Up(_))));
        assert!(net.told(at, later).ends_with(&["up"]));
        assert_eq!(net.statuses(at), [Up; 4]);
    }
}

#[test]
fn two_clusters_do_not_merge_though_their_nodes_hear_of_each_other() {
    let mut net = Net::new(9);
    [(0, 0), (1, 0), (2, 2), (3, 2)].into_iter().for_each(|(at, seed)| net.start(at, &[seed]));
    net.run(40);
    assert!((0..4).all(|at| net.statuses(at) == [Up; 2]));
    equal_tables(&net, [0, 1]);
    equal_tables(&net, [2, 3]);
    net.crash(3);
    net.run(1);
    // It changes sides; its earlier life is still one of the other cluster.
    net.start(3, &[0]);
    net.run(40);
    assert!([0, 1, 3].into_iter().all(|at| net.statuses(at) == [Up; 3]));
    assert_eq!(net.statuses(2), [Up]);
}

#[test]
fn a_node_with_other_settings_is_told_which() {
    let shared = |shards: &str, key: u128| NodeSettings {
        shared: SharedSettings::default().with("sharding.shards", shards).with_secret("remote.key", key),
        ..NodeSettings::default()
    };
    let mut net = Net::up_with(10, 2, shared("1024", 7));
    net.settings = shared("512", 8);
    net.start(2, &[0, 1]);
    net.run(15);
    let refusals: Vec<_> =
        net.process(2).refusals.iter().map(|it| (&*it.key, &*it.of_cluster, &*it.of_joiner)).collect();
    assert_eq!(refusals, [("remote.key", "***", "***"), ("sharding.shards", "1024", "512")]);
    assert_eq!(net.statuses(0), [Up; 2]);
}

#[test]
fn a_newcomer_may_work_while_somebody_cannot_be_reached() {
    let mut net = Net::up(11, 3);
    // Nobody else says so, and SWIM finds a way: it holds everything up, and removes nobody.
    net.broken_links.insert((0, 1));
    net.run(7);
    net.start(3, &[0, 1]);
    net.run(14);
    assert_eq!(net.statuses(0)[3], WeaklyUp);
    net.heal();
    net.run(5);
    assert!((0..4).all(|at| net.statuses(at) == [Up; 4]));
}

#[test]
fn a_lease_lets_the_smaller_rest_go_on() {
    let downing = Downing::LeaseMajority { role: None };
    let mut net = Net::up_with(12, 5, NodeSettings { downing, ..NodeSettings::default() });
    [2, 3, 4].into_iter().for_each(|at| net.crash(at));
    net.run(60);
    assert!((0..2).all(|at| net.statuses(at) == [Up; 2] && Net::hosts(net.process(at), net.now)));
}

#[test]
fn without_the_lease_a_side_stops() {
    let downing = Downing::LeaseMajority { role: None };
    let mut net = Net::up_with(13, 5, NodeSettings { downing, ..NodeSettings::default() });
    net.cut(&[0, 1], &[2, 3, 4]);
    net.run(40);
    assert_eq!(net.process(0).stopped.map(|(why, _)| why), Some(StopReason::LeaseDenied));
    assert_eq!(net.process(1).stopped.map(|(why, _)| why), Some(StopReason::Down), "its leader told it");
    assert!((2..5).all(|at| net.statuses(at) == [Up; 3]));
}

#[test]
fn all_get_ready_for_a_shutdown_and_nobody_is_let_in() {
    let mut net = Net::up(14, 3);
    net.command(1, Command::PrepareForShutdown);
    net.run(5);
    net.start(3, &[0]);
    net.run(15);
    assert_eq!(net.statuses(2), [ReadyForShutdown, ReadyForShutdown, ReadyForShutdown, Joining]);
}

#[test]
fn who_is_given_up_by_an_operator_stops_at_once() {
    let mut net = Net::up(15, 3);
    net.command(0, Command::Down(address(2)));
    net.run(1);
    // What comes first is what it hears.
    let why = net.process(2).stopped.map(|(why, _)| why);
    assert!(matches!(why, Some(StopReason::Down | StopReason::Removed)), "{why:?}");
    net.run(5);
    assert_eq!(net.statuses(1), [Up; 2]);
}

#[test]
fn a_network_that_is_never_quiet_stops_all() {
    let mut net = Net::up(16, 5);
    net.cut(&[4], &[0, 1, 2, 3]);
    for _ in 0..6 {
        net.run(5);
        net.cut(&[3], &[0, 1, 2]);
        net.run(5);
        net.heal();
        net.cut(&[4], &[0, 1, 2, 3]);
    }
    let stopped: Vec<_> = (0..5).map(|at| net.process(at).stopped.map(|(why, _)| why)).collect();
    assert!(stopped[..3].iter().all(|why| *why == Some(StopReason::Unstable)), "{stopped:?}");
}

/// The hint is old, so nothing has changed for long when the cut comes. What it says is sure only then.
#[test]
fn a_stale_hint_of_one_decides_nothing_when_the_network_is_cut() {
    let mut net = Net::up(17, 3);
    net.broken_links.insert((0, 1));
    net.run(20);
    net.cut(&[0], &[1, 2]);
    net.run(40);
    assert!(net.process(0).stopped.is_some(), "it is alone");
    assert!((1..3).all(|at| net.statuses(at) == [Up; 2]));
}

#[test]
fn a_snapshot_and_the_events_after_it_tell_all() {
    let mut net = Net::up(18, 4);
    net.command(3, Command::Subscribe { subscriber: 1 });
    net.command(0, Command::Leave(address(0)));
    net.run(3);
    net.command(0, Command::HandedOver);
    net.run(3);
    net.crash(1);
    net.run(6);
    net.start(4, &[2, 3]);
    net.run(30);
    net.command(3, Command::Subscribe { subscriber: 2 });
    let process = net.process(3);
    let [(from, before), (to, after)] = &process.snapshots[..] else {
        panic!("two were asked for: {:?}", process.stopped)
    };
    let mut folded = before.clone();
    for (_, event) in &process.events[*from..*to] {
        match event.clone() {
            ClusterEvent::Joined(member)
            | ClusterEvent::WeaklyUp(member)
            | ClusterEvent::Up(member)
            | ClusterEvent::PreparingForShutdown(member)
            | ClusterEvent::ReadyForShutdown(member)
            | ClusterEvent::Left(member)
            | ClusterEvent::Exited(member)
            | ClusterEvent::Downed(member) => drop(folded.members.insert(member.node.uid, member)),
            ClusterEvent::Removed { member, previous, .. } => {
                let known = folded.members.remove(&member.node.uid).unwrap();
                assert_eq!(known.status, previous);
                folded.unreachable.remove(&member.node.uid);
            }
            ClusterEvent::Unreachable(member) => assert!(folded.unreachable.insert(member.node.uid)),
            ClusterEvent::Reachable(member) => assert!(folded.unreachable.remove(&member.node.uid)),
            ClusterEvent::LeaderChanged(leader) => folded.leader = leader,
            ClusterEvent::RoleLeaderChanged { role, leader: Some(leader) } => {
                folded.role_leaders.insert(role, leader);
            }
            ClusterEvent::RoleLeaderChanged { role, leader: None } => drop(folded.role_leaders.remove(&role)),
            ClusterEvent::Current(_) => unreachable!("it is told by the daemon"),
        }
    }
    assert_eq!(folded, *after);
    assert_eq!(after.members.len(), 3, "{after:?}");
}

#[test]
fn who_was_let_in_by_one_that_told_nobody_is_let_in_by_others() {
    let mut net = Net::up(19, 3);
    net.cut(&[2, 3], &[0, 1]);
    net.start(3, &[2]);
    net.run(2);
    assert_eq!(net.statuses(3), [Up, Up, Up, Joining]);
    net.crash(2);
    net.heal();
    net.run(30);
    assert!([0, 1, 3].into_iter().all(|at| net.statuses(at) == [Up; 3]), "{:?} {:?}", net.statuses(0), net.statuses(3));
}
