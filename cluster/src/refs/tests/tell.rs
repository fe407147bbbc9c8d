//! Messages to an actor of another node.

use super::nodes::{GateMessage, Private, SECOND, Two, Unknown};
use crate::remote::dropped::DropReason::{
    self, Broken, LaneFull, Malformed, NoReceiver, OldLife, OutOfOrder, Quarantined, Stale,
};
use actors::{ActorRef, AskError, DeadLetterReason, TryTellError};
use std::time::Duration;

#[test]
fn what_is_told_arrives_in_order_from_the_first_message_on() {
    let nodes = Two::new();
    nodes.two.gate("gate");
    let gate: ActorRef<GateMessage> = nodes.one.refs.named(&nodes.two.me, "gate").unwrap();
    (0..100).for_each(|n| gate.tell(GateMessage::Note(n)));
    assert_eq!(nodes.noted(&gate), (0..100).collect::<Vec<_>>());
    (100..200).for_each(|n| gate.try_tell(GateMessage::Note(n)).unwrap());
    assert_eq!(nodes.noted(&gate), (0..200).collect::<Vec<_>>());
}

#[test]
fn a_reference_is_equal_to_another_one_to_the_same_actor_wherever_it_comes_from() {
    let nodes = Two::new();
    let (first, there) = nodes.gate();
    let second = nodes.ask(&first, GateMessage::Who).unwrap();
    assert_eq!(first, second);
    assert_eq!(first.path(), there.path());
    assert_eq!(format!("{first:?}"), format!("ActorRef(two:2/user/gate#{})", there.path().uid()));
    let named: ActorRef<GateMessage> = nodes.one.refs.named(&nodes.two.me, "gate").unwrap();
    assert_eq!(named, nodes.one.refs.named(&nodes.two.me, "gate").unwrap());
    assert_ne!(named, first, "who is called so may be another one tomorrow");
    let peer = nodes.one.refs.0.peers.get(&nodes.two.me).unwrap();
    assert_eq!(peer.stand_ins_len(), 2);
    drop((first, second, named));
    assert_eq!(peer.stand_ins_len(), 0, "nothing is kept for what nobody refers to");
}

#[test]
fn whoever_has_stopped_takes_no_messages_and_asks_end_at_once() {
    let nodes = Two::new();
    let (gate, there) = nodes.gate();
    let kept = nodes.kit.block_on(async {
        let kept = gate.ask(GateMessage::Keep, 100 * SECOND);
        gate.tell(GateMessage::Stop);
        kept.await
    });
    assert_eq!(kept, Err(AskError::Stopped), "the actor had taken the question");
    assert!(there.is_stopped());
    let before = nodes.kit.clock().now();
    let asked = nodes.ask(&gate, GateMessage::Keep);
    assert_eq!(asked, Err(AskError::Stopped));
    assert!(nodes.kit.clock().now() - before < SECOND, "not only when the time is over");
    nodes.settle();
    assert!(gate.is_stopped(), "who sends there is told");
    let back = gate.try_tell(GateMessage::Note(1));
    assert!(matches!(back, Err(TryTellError::Stopped(GateMessage::Note(1)))));
    let sent = nodes.kit.block_on(async { gate.send(GateMessage::Note(2)).await });
    assert!(matches!(sent.unwrap_err().0, GateMessage::Note(2)));
    gate.tell(GateMessage::Note(3));
    assert_eq!(nodes.dead_letters(&nodes.one, DeadLetterReason::Stopped), 1);
    assert_eq!(nodes.two.refs.0.exports.len(), 0);
    let there = nodes.dead_letters(&nodes.two, DeadLetterReason::Stopped);
    assert_eq!(there, 1, "the question that came too late was counted where it was dropped");
}

#[test]
fn what_the_other_node_does_not_know_is_dropped_with_a_reason() {
    let nodes = Two::new();
    let (gate, _) = nodes.gate();
    let refused = nodes.one.refs.named::<Unknown>(&nodes.two.me, "unknown").unwrap_err().to_string();
    assert!(refused.contains("Unknown") && refused.contains("ClusterConfig::message"), "{refused}");
    let private = nodes.one.refs.named::<Private>(&nodes.two.me, "private").unwrap();
    private.tell(Private(1));
    assert_eq!(nodes.dead_letters(&nodes.one, DeadLetterReason::Unsendable), 1);
    gate.tell(GateMessage::Load(vec![200; 300_000]));
    assert_eq!(nodes.dead_letters(&nodes.one, DeadLetterReason::Unsendable), 2, "it is too large for its lane");
    gate.tell(GateMessage::Load(vec![200; 100_000]));
    assert_eq!(nodes.noted(&gate), [100_000]);
}

#[test]
fn actors_that_get_large_messages_have_a_lane_of_their_own() {
    let nodes = Two::new();
    let images = nodes.two.system.spawn("images", super::nodes::Gate::default());
    let (gate, _) = nodes.gate();
    nodes.two.refs.name("images", &images).unwrap();
    let named: ActorRef<GateMessage> = nodes.one.refs.named(&nodes.two.me, "images").unwrap();
    let images = nodes.ask(&named, GateMessage::Who).unwrap();
    images.tell(GateMessage::Load(vec![200; 1_000_000]));
    assert_eq!(nodes.noted(&images), [1_000_000]);
    drop(gate);
}

#[test]
fn messages_to_whom_nobody_reaches_do_not_wait_for_ever() {
    let nodes = Two::new();
    let nobody = crate::member::UniqueAddress { address: "three:3".parse().unwrap(), uid: 3 };
    let gate: ActorRef<GateMessage> = nodes.one.refs.named(&nobody, "gate").unwrap();
    gate.tell(GateMessage::Note(1));
    let asked = nodes.kit.block_on(async { gate.ask(GateMessage::Keep, 1000 * SECOND).await });
    assert_eq!(asked, Err(AskError::NoReply));
    assert_eq!(nodes.dead_letters(&nodes.one, DeadLetterReason::Unreachable), 2);
}

/// A message waits for the second node, which was not met, while something else at its address is dropped.
fn comes_though_others_were_dropped(reasons: &[DropReason]) {
    let nodes = Two::new();
    let (one, two) = (&nodes.one.me.address, &nodes.two.me.address);
    nodes.network.cut(one, two);
    let gate: ActorRef<GateMessage> = nodes.one.refs.named(&nodes.two.me, "gate").unwrap();
    gate.tell(GateMessage::Note(1));
    nodes.two.gate("gate");
    reasons.iter().for_each(|reason| nodes.one.refs.receiver().dropped(two, *reason, 1));
    nodes.network.heal(one, two);
    nodes.kit.advance(Duration::from_secs(5));
    assert_eq!(nodes.noted(&gate), [1]);
    assert_eq!(nodes.dead_letters(&nodes.one, DeadLetterReason::Unreachable), 0);
}

#[test]
fn what_waits_outlives_what_came_and_was_dropped_or_broke_off() {
    comes_though_others_were_dropped(&[Broken, Malformed, NoReceiver, OutOfOrder, Stale]);
}

/// Cannot be written.
#[derive(serde::Deserialize)]
struct Touchy;

impl serde::Serialize for Touchy {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        panic!("do not touch")
    }
}

impl crate::WireMessage for Touchy {
    const NAME: &'static str = "test.Touchy";
}

#[test]
fn one_that_panics_when_it_is_written_holds_up_nobody_who_waits() {
    let nodes = Two::with(|registry| registry.message::<Touchy>());
    let (one, two) = (&nodes.one.me.address, &nodes.two.me.address);
    nodes.network.cut(one, two);
    let touchy: ActorRef<Touchy> = nodes.one.refs.named(&nodes.two.me, "touchy").unwrap();
    touchy.tell(Touchy);
    let gate: ActorRef<GateMessage> = nodes.one.refs.named(&nodes.two.me, "gate").unwrap();
    gate.tell(GateMessage::Note(1));
    nodes.two.gate("gate");
    nodes.network.heal(one, two);
    nodes.kit.advance(Duration::from_secs(5));
    assert_eq!(nodes.noted(&gate), [1]);
    assert_eq!(nodes.dead_letters(&nodes.one, DeadLetterReason::Unsendable), 1);
}

#[test]
fn what_waits_for_a_life_outlives_what_was_for_another_at_its_address() {
    comes_though_others_were_dropped(&[LaneFull, OldLife, Quarantined]);
}

#[test]
fn as_many_wait_for_a_node_as_may() {
    let nodes = Two::new();
    nodes.network.cut(&nodes.one.me.address, &nodes.two.me.address);
    let gate: ActorRef<GateMessage> = nodes.one.refs.named(&nodes.two.me, "gate").unwrap();
    let taken = (0..5000).take_while(|n| gate.try_tell(GateMessage::Note(*n)).is_ok()).count();
    assert_eq!(taken, super::super::peer::WAITING_MAX);
    nodes.network.heal(&nodes.one.me.address, &nodes.two.me.address);
    nodes.two.gate("gate");
    nodes.kit.advance(Duration::from_secs(5));
    assert_eq!(nodes.noted(&gate).len(), taken, "those come");
}

#[test]
fn what_finds_no_room_on_the_way_comes_back_and_what_waits_for_room_gets_it() {
    let nodes = Two::new();
    let (gate, _) = nodes.gate();
    let (one, two) = (&nodes.one.me.address, &nodes.two.me.address);
    nodes.network.cut(one, two);
    let load = || GateMessage::Note(7);
    // What the connection takes before it waits as well makes room for more.
    let mut taken = 0;
    loop {
        let more = (0..10_000).take_while(|_| gate.try_tell(load()).is_ok()).count();
        taken += more;
        nodes.settle();
        if more == 0 {
            break;
        }
    }
    assert!((1..10_000).contains(&taken));
    assert!(matches!(gate.try_tell(load()), Err(TryTellError::Full(GateMessage::Note(7)))));
    let before = nodes.dead_letters(&nodes.one, DeadLetterReason::MailboxFull);
    gate.tell(load());
    gate.map(GateMessage::Note).tell(7);
    assert_eq!(nodes.dead_letters(&nodes.one, DeadLetterReason::MailboxFull), before + 2);
    let asked = gate.ask(|reply_to| GateMessage::Enter { visitor: "Ada".into(), reply_to }, SECOND);
    assert_eq!(nodes.kit.block_on(asked), Err(AskError::Full));
    assert_eq!(nodes.one.refs.0.peers.get(&nodes.two.me).unwrap().slots.lock().len(), 0);
    nodes.kit.block_on(async {
        let send = gate.send(load());
        let mut send = std::pin::pin!(send);
        nodes.kit.clock().timeout(SECOND, &mut send).await.unwrap_err();
        nodes.network.heal(one, two);
        nodes.kit.clock().timeout(20 * SECOND, send).await.unwrap().unwrap();
    });
    nodes.kit.advance(5 * SECOND);
    assert_eq!(nodes.noted(&gate).len(), taken + 1);
}
