//! What is registered on one node is found on the other.

use crate::{
    event::ClusterEvent,
    member::{Member, MemberStatus, UniqueAddress},
    refs::tests::nodes::{Gate, GateMessage, Node, SECOND, Two, Unknown},
};
use actors::{ActorRef, Behavior, FnActor, GroupRouter, Listing, RoutingLogic, ServiceKey};
use std::collections::BTreeSet;

pub(crate) fn member(node: &UniqueAddress) -> Member {
    Member {
        node: node.clone(),
        status: MemberStatus::Up,
        up_number: Some(1),
        roles: BTreeSet::new(),
        data_center: "dc".into(),
        app_version: "1".into(),
    }
}

fn gates() -> ServiceKey<GateMessage> {
    ServiceKey::new("gates")
}

fn listed(nodes: &Two, node: &Node) -> Listing<GateMessage> {
    nodes.kit.block_on(async { node.system.receptionist().find(&gates(), SECOND).await }).unwrap()
}

fn register(node: &Node, name: &str) -> ActorRef<GateMessage> {
    let gate = node.system.spawn(name, Gate::default());
    node.system.receptionist().register(&gates(), &gate);
    gate
}

fn nodes() -> Two {
    Two::with(super::protocol)
}

#[test]
fn who_is_registered_on_one_node_is_listed_on_all_until_it_stops() {
    let nodes = nodes();
    let (here, there) = (register(&nodes.one, "here"), register(&nodes.two, "there"));
    nodes.join_receptionists();
    nodes.settle();
    for node in [&nodes.one, &nodes.two] {
        let listing = listed(&nodes, node);
        assert_eq!(listing.instances().len(), 2, "{listing:?}");
        assert!(
            listing.instances().contains(&here) && listing.instances().iter().any(|gate| gate.path() == there.path())
        );
    }
    let listing = listed(&nodes, &nodes.one);
    let far = listing.instances().iter().find(|gate| **gate != here).unwrap();
    far.tell(GateMessage::Note(7));
    nodes.settle();
    assert_eq!(nodes.noted(&there), [7]);
    far.tell(GateMessage::Stop);
    nodes.settle();
    assert_eq!(listed(&nodes, &nodes.one).instances(), std::slice::from_ref(&here));
    let again = register(&nodes.two, "again");
    nodes.settle();
    assert_eq!(listed(&nodes, &nodes.one).instances().len(), 2);
    drop(again);
}

#[test]
fn what_is_lost_is_told_again() {
    let nodes = nodes();
    let (one, _) = nodes.join_receptionists();
    nodes.settle();
    nodes.two.remote.lose(|_, system, _| !system);
    register(&nodes.two, "there");
    nodes.kit.advance(3 * SECOND);
    assert_eq!(listed(&nodes, &nodes.one).instances().len(), 0);
    nodes.two.remote.heal();
    nodes.kit.advance(2 * SECOND);
    assert_eq!(listed(&nodes, &nodes.one).instances().len(), 1);
    let before = nodes.two.remote.sent.lock().len();
    nodes.kit.advance(60 * SECOND);
    assert_eq!(nodes.two.remote.sent.lock().len(), before, "and then no more");
    drop(one);
}

#[test]
fn who_cannot_be_reached_is_listed_apart_and_who_is_removed_not_at_all() {
    let nodes = nodes();
    register(&nodes.two, "there");
    let (one, _) = nodes.join_receptionists();
    nodes.settle();
    let counts = || {
        nodes.settle();
        let listing = listed(&nodes, &nodes.one);
        (listing.instances().len(), listing.all_instances().len())
    };
    assert_eq!(counts(), (1, 1));
    one.tell(ClusterEvent::Unreachable(member(&nodes.two.me)).into());
    assert_eq!(counts(), (0, 1));
    one.tell(ClusterEvent::Reachable(member(&nodes.two.me)).into());
    assert_eq!(counts(), (1, 1));
    let removed = ClusterEvent::Removed {
        member: member(&nodes.two.me),
        previous: MemberStatus::Down,
        free_at: nodes.kit.clock().now(),
    };
    one.tell(removed.into());
    assert_eq!(counts(), (0, 0));
    register(&nodes.two, "late");
    nodes.kit.advance(3 * SECOND);
    assert_eq!(counts(), (0, 0), "nobody listens to one that was removed");
}

#[test]
fn what_does_not_travel_is_listed_at_home_alone() {
    let nodes = nodes();
    let key = ServiceKey::<Unknown>::new("gates");
    let unknown = nodes.two.system.spawn("unknown", FnActor::new((), |(), _, _: Unknown| Ok(Behavior::Same)));
    nodes.two.system.receptionist().register(&key, &unknown);
    register(&nodes.two, "there");
    nodes.join_receptionists();
    nodes.settle();
    assert_eq!(listed(&nodes, &nodes.one).instances().len(), 1);
    let find = |node: &Node| nodes.kit.block_on(async { node.system.receptionist().find(&key, SECOND).await }).unwrap();
    assert_eq!((find(&nodes.one).instances().len(), find(&nodes.two).instances().len()), (0, 1));
}

#[test]
fn what_does_not_travel_is_told_in_the_log_once_of_each_type() {
    let nodes = nodes();
    let key = ServiceKey::<Unknown>::new("gates");
    let mut logs = nodes.kit.logs();
    nodes.join_receptionists();
    for name in ["one", "another"] {
        let unknown = nodes.one.system.spawn(name, FnActor::new((), |(), _, _: Unknown| Ok(Behavior::Same)));
        nodes.one.system.receptionist().register(&key, &unknown);
        register(&nodes.one, &format!("{name} known"));
        nodes.settle();
    }
    let told = logs.drain();
    let told: Vec<_> = told.iter().filter(|event| event.message.contains("on this node alone")).collect();
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].fields["message_type"].ends_with("Unknown"), "{told:?}");
}

#[test]
fn a_group_router_sends_to_the_actors_of_all_nodes() {
    let nodes = nodes();
    let router = nodes.one.system.spawn_group("router", GroupRouter::new(&gates()).logic(RoutingLogic::round_robin()));
    let (here, there) = (register(&nodes.one, "here"), register(&nodes.two, "there"));
    nodes.join_receptionists();
    nodes.settle();
    (0..10).for_each(|n| router.tell(GateMessage::Note(n)));
    nodes.settle();
    let (mine, theirs) = (nodes.noted(&here), nodes.noted(&there));
    assert_eq!((mine.len(), theirs.len()), (5, 5));
    assert!(mine.is_sorted() && theirs.is_sorted());
    there.tell(GateMessage::Stop);
    nodes.settle();
    (10..20).for_each(|n| router.tell(GateMessage::Note(n)));
    nodes.settle();
    assert_eq!(nodes.noted(&here).len(), 15);
}
