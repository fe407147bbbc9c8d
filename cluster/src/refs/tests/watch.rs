//! Ends of actors of another node.

use super::{
    super::frame::Kind,
    nodes::{GateMessage, Greeting, SECOND, Two},
};
use crate::remote::door::Remote;
use actors::{ActorRef, Behavior, FnActor, testkit::TestProbe};
use std::time::Duration;

/// What a watcher is told to do, and what it hears.
enum Watcher {
    Watch(ActorRef<GateMessage>),
    Unwatch(ActorRef<GateMessage>),
    Ended(&'static str),
    Said(Greeting),
}

/// Tells the probe of ends, and of what it was told.
fn watcher(nodes: &Two) -> (ActorRef<Watcher>, TestProbe<String>) {
    let probe = nodes.kit.probe();
    let to = probe.actor_ref();
    let actor = FnActor::new((), move |(), ctx, message: Watcher| {
        match message {
            Watcher::Watch(gate) => ctx.watch_with(&gate, Watcher::Ended("ended")),
            Watcher::Unwatch(gate) => ctx.unwatch(&gate),
            Watcher::Ended(text) => to.tell(text.to_owned()),
            Watcher::Said(Greeting(text)) => to.tell(text),
        }
        Ok(Behavior::Same)
    });
    (nodes.one.system.spawn("watcher", actor), probe)
}

#[test]
fn an_end_is_told_once_and_after_all_that_the_actor_said() {
    let nodes = Two::new();
    let (gate, _) = nodes.gate();
    let (watcher, mut heard) = watcher(&nodes);
    watcher.tell(Watcher::Watch(gate.clone()));
    watcher.tell(Watcher::Watch(gate.clone()));
    nodes.settle();
    let here = watcher.map(Watcher::Said);
    (0..3).for_each(|_| gate.tell(GateMessage::Greet(here.clone())));
    gate.tell(GateMessage::Stop);
    (0..3).for_each(|_| {
        heard.expect_message_eq("hello from gate".into());
    });
    heard.expect_message_eq("ended".into());
    heard.expect_no_message(10 * SECOND);
    assert!(gate.is_stopped());
    watcher.tell(Watcher::Watch(gate.clone()));
    heard.expect_message_eq("ended".into());
    nodes.kit.block_on(gate.terminated());
    let there = nodes.two.refs.0.peers.get(&nodes.one.me).unwrap();
    assert_eq!((there.watched.lock().len(), nodes.two.refs.0.exports.len()), (0, 0));
}

#[test]
fn whoever_waits_outside_of_actors_hears_of_it_too() {
    let nodes = Two::new();
    let (gate, there) = nodes.gate();
    let terminated = gate.terminated();
    drop(gate);
    nodes.kit.block_on(async {
        let clock = nodes.kit.clock();
        let mut terminated = std::pin::pin!(terminated);
        assert!(clock.timeout(SECOND, &mut terminated).await.is_err(), "it lives");
        there.tell(GateMessage::Stop);
        assert!(clock.timeout(SECOND, &mut terminated).await.is_ok());
    });
    let peer = nodes.one.refs.0.peers.get(&nodes.two.me).unwrap();
    assert_eq!((peer.watching.lock().len(), peer.stand_ins_len()), (0, 0));
}

#[test]
fn who_does_not_watch_any_more_hears_nothing_and_costs_nothing() {
    let nodes = Two::new();
    let (gate, there) = nodes.gate();
    let (watcher, mut heard) = watcher(&nodes);
    watcher.tell(Watcher::Watch(gate.clone()));
    nodes.settle();
    let known = nodes.two.refs.0.peers.get(&nodes.one.me).unwrap();
    assert_eq!(known.watched.lock().len(), 1);
    watcher.tell(Watcher::Unwatch(gate.clone()));
    nodes.settle();
    assert_eq!(known.watched.lock().len(), 0);
    there.tell(GateMessage::Stop);
    heard.expect_no_message(10 * SECOND);
    let (gate, _) = nodes.gate();
    watcher.tell(Watcher::Watch(gate.clone()));
    nodes.settle();
    nodes.kit.stop(&watcher);
    nodes.settle();
    assert_eq!(known.watched.lock().len(), 0, "an actor that has ended watches nobody");
}

#[test]
fn one_that_is_watched_is_the_same_when_its_reference_comes_again() {
    let nodes = Two::new();
    let (gate, _) = nodes.gate();
    let (watcher, mut heard) = watcher(&nodes);
    watcher.tell(Watcher::Watch(gate));
    nodes.settle();
    let named: ActorRef<GateMessage> = nodes.one.refs.named(&nodes.two.me, "gate").unwrap();
    let again = nodes.ask(&named, GateMessage::Who).unwrap();
    watcher.tell(Watcher::Watch(again.clone()));
    nodes.settle();
    again.tell(GateMessage::Stop);
    heard.expect_message_eq("ended".into());
    heard.expect_no_message(10 * SECOND);
    assert!(again.is_stopped());
}

#[test]
fn an_actor_that_ended_before_is_said_to_have_ended() {
    let nodes = Two::new();
    let (gate, there) = nodes.gate();
    there.tell(GateMessage::Stop);
    nodes.settle();
    let (watcher, mut heard) = watcher(&nodes);
    watcher.tell(Watcher::Watch(gate));
    heard.expect_message_eq("ended".into());
    let nobody: ActorRef<GateMessage> = nodes.one.refs.named(&nodes.two.me, "nobody").unwrap();
    watcher.tell(Watcher::Watch(nobody));
    heard.expect_message_eq("ended".into());
}

#[test]
fn the_end_of_a_life_ends_all_its_actors_once() {
    let nodes = Two::new();
    let (gate, _) = nodes.gate();
    let (watcher, mut heard) = watcher(&nodes);
    watcher.tell(Watcher::Watch(gate.clone()));
    nodes.settle();
    nodes.one.remote.quarantine(&nodes.two.me);
    heard.expect_message_eq("ended".into());
    nodes.one.refs.life_ended(&nodes.two.me);
    heard.expect_no_message(10 * SECOND);
    assert!(gate.is_stopped());
}

#[test]
fn nothing_is_heard_from_a_life_after_its_end() {
    let nodes = Two::new();
    let here = nodes.one.gate("gate");
    let seen_from_there: ActorRef<GateMessage> = nodes.two.refs.named(&nodes.one.me, "gate").unwrap();
    seen_from_there.tell(GateMessage::Note(1));
    nodes.settle();
    // The connection does not know it yet.
    nodes.one.refs.life_ended(&nodes.two.me);
    seen_from_there.tell(GateMessage::Note(2));
    nodes.settle();
    assert_eq!(nodes.noted(&here), [1]);
    let (watcher, mut heard) = watcher(&nodes);
    watcher.tell(Watcher::Watch(nodes.one.refs.named(&nodes.two.me, "gate").unwrap()));
    heard.expect_message_eq("ended".into());
}

#[test]
fn an_actor_of_a_life_that_was_over_before_has_ended() {
    let nodes = Two::new();
    let (gate, _) = nodes.gate();
    let old = nodes.two.me.clone();
    let (watcher, mut heard) = watcher(&nodes);
    // Its node begins another life, of which nobody has heard yet.
    nodes.kit.block_on(nodes.two.remote.inner.stop(SECOND));
    let again = nodes.two_again();
    again.gate("gate");
    watcher.tell(Watcher::Watch(gate));
    heard.expect_message_within(30 * SECOND);
    let old: ActorRef<GateMessage> = nodes.one.refs.named(&old, "gate").unwrap();
    watcher.tell(Watcher::Watch(old));
    heard.expect_message_within(30 * SECOND);
    let new: ActorRef<GateMessage> = nodes.one.refs.named(&again.me, "gate").unwrap();
    new.tell(GateMessage::Note(1));
    assert_eq!(nodes.noted(&new), [1]);
}

#[test]
fn the_notice_waits_for_what_was_said_and_not_for_ever() {
    let nodes = Two::new();
    let (gate, there) = nodes.gate();
    let (watcher, mut heard) = watcher(&nodes);
    watcher.tell(Watcher::Watch(gate));
    nodes.settle();
    nodes.two.remote.lose(|_, system, frame| !system && frame[0] == Kind::Flush as u8);
    there.tell(GateMessage::Stop);
    heard.expect_no_message(Duration::from_millis(2900));
    heard.expect_message_eq("ended".into());
}
