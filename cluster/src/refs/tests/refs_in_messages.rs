//! References inside of messages.

use super::super::Refs;
use super::nodes::{GateMessage, Greeting, Two, Unknown};
use actors::{ActorRef, AskError, Behavior, FnActor, Props, ReplyTo, TraceContext};
use parking_lot::Mutex;
use std::sync::Arc;

#[test]
fn whoever_is_named_in_a_message_can_be_told() {
    let mut nodes = Two::new();
    let (gate, _) = nodes.gate();
    let mut probe = nodes.kit.probe::<Greeting>();
    gate.tell(GateMessage::Greet(probe.actor_ref()));
    probe.expect_message_eq(Greeting("hello from gate".into()));
    nodes.settle();
    let part = probe.actor_ref().map(|Greeting(text)| Greeting(format!("mapped: {text}")));
    gate.tell(GateMessage::Greet(part.clone()));
    gate.tell(GateMessage::Greet(part));
    probe.expect_message_eq(Greeting("mapped: hello from gate".into()));
    probe.expect_message_eq(Greeting("mapped: hello from gate".into()));
    assert_eq!(nodes.one.refs.0.exports.len(), 2, "the probe, and one part of it");
    let _ = &mut nodes;
}

#[test]
fn a_reference_that_comes_home_is_the_actor_itself() {
    let nodes = Two::new();
    let (gate, _) = nodes.gate();
    let home = nodes.one.gate("home");
    let passed = nodes.ask(&gate, |reply_to| GateMessage::Pass(home.clone(), reply_to));
    assert_eq!(passed, Ok(6), "the answer went from the one to the other and back");
    let back: ActorRef<GateMessage> = {
        let named: ActorRef<GateMessage> = nodes.two.refs.named(&nodes.one.me, "home").unwrap();
        nodes.ask(&named, GateMessage::Who).unwrap()
    };
    assert_eq!(back, home);
    assert_eq!(back.path(), home.path());
    assert_eq!((Refs::node_of(&home), Refs::node_of(&gate)), (None, Some(nodes.two.me.clone())));
    assert_eq!(Refs::node_of(&back), Some(nodes.one.me.clone()), "as the other node sees it");
    assert_eq!(
        Refs::node_of(&gate.map(|()| GateMessage::Stop)),
        Some(nodes.two.me.clone()),
        "a part of it is there too"
    );
}

#[test]
fn a_question_may_be_passed_on_and_whoever_drops_it_ends_it() {
    let nodes = Two::new();
    let (gate, there) = nodes.gate();
    let home = nodes.one.gate("home");
    home.tell(GateMessage::Stop);
    nodes.settle();
    let passed = nodes.ask(&gate, |reply_to| GateMessage::Pass(home, reply_to));
    assert_eq!(passed, Err(AskError::Stopped));
    let (reply_to, answer) = ReplyTo::channel();
    gate.tell(GateMessage::Keep(reply_to));
    nodes.settle();
    there.tell(GateMessage::Stop);
    assert_eq!(nodes.kit.block_on(answer), Err(AskError::Stopped));
}

#[test]
fn outside_of_a_message_a_reference_is_neither_written_nor_read() {
    let nodes = Two::new();
    let home = nodes.one.gate("home");
    let error = rmp_serde::to_vec(&home).unwrap_err().to_string();
    assert!(error.contains("ActorRef") && error.contains("while a message is sent to another node"), "{error}");
    let error = rmp_serde::to_vec(&ReplyTo::<u32>::channel().0).unwrap_err().to_string();
    assert!(error.contains("ReplyTo"), "{error}");
    let error = rmp_serde::from_slice::<ActorRef<Unknown>>(&[0xc4, 1, 0]).unwrap_err().to_string();
    assert!(error.contains("while a message comes from another node"), "{error}");
    let error = rmp_serde::from_slice::<ReplyTo<u32>>(&[1]).unwrap_err().to_string();
    assert!(error.contains("ReplyTo"), "{error}");
}

#[test]
fn a_trace_goes_along() {
    let nodes = Two::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let sees = Arc::clone(&seen);
    let traced = FnActor::new((), move |(), ctx, _: GateMessage| {
        sees.lock().push(ctx.trace_context());
        Ok(Behavior::Same)
    });
    let there = nodes.two.system.spawn("traced", Props::from(traced).traced());
    nodes.two.refs.name("traced", &there).unwrap();
    let gate: ActorRef<GateMessage> = nodes.one.refs.named(&nodes.two.me, "traced").unwrap();
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let trace = TraceContext::from_headers(parent, "vendor=1").unwrap();
    // The first waits for the connection, the second does not.
    trace.enter(|| gate.tell(GateMessage::Note(1)));
    nodes.settle();
    trace.enter(|| gate.tell(GateMessage::Note(2)));
    gate.tell(GateMessage::Note(3));
    nodes.settle();
    let seen = seen.lock();
    let turn =
        |turn: usize| seen[turn].as_ref().map(|seen| (seen.trace_id(), seen.is_sampled(), seen.state().as_str()));
    let told = (trace.trace_id(), true, "vendor=1");
    assert_eq!((turn(0), turn(1)), (Some(told), Some(told)));
    assert_ne!(seen[0].as_ref().map(TraceContext::span_id), Some(trace.span_id()), "a span of its own");
    assert_ne!(turn(2).map(|(id, ..)| id), Some(trace.trace_id()), "what belongs to none stays so");
    assert_eq!(seen.len(), 3);
}

#[test]
fn who_is_named_on_the_own_node_is_looked_for_at_each_message_too() {
    let nodes = Two::new();
    let named: ActorRef<GateMessage> = nodes.one.refs.named(&nodes.one.me, "home").unwrap();
    assert_eq!(nodes.ask(&named, GateMessage::Keep), Err(AskError::Stopped), "nobody is called so yet");
    let first = nodes.one.gate("home");
    named.tell(GateMessage::Note(1));
    assert_eq!((nodes.noted(&named), nodes.noted(&first)), (vec![1], vec![1]));
    first.tell(GateMessage::Stop);
    nodes.settle();
    nodes.one.gate("home");
    assert_eq!(nodes.noted(&named), [] as [u32; 0], "another one is, and it has nothing noted");
    let (gate, _) = nodes.gate();
    assert_eq!(
        nodes.ask(&gate, |reply_to| GateMessage::Pass(named.clone(), reply_to)),
        Ok(6),
        "as seen from elsewhere"
    );
    let there: ActorRef<GateMessage> = nodes.two.refs.named(&nodes.one.me, "home").unwrap();
    assert_eq!(named, there, "it is the same wherever it is named");
    let terminated = named.terminated();
    nodes.noted(&named);
    named.tell(GateMessage::Stop);
    nodes.kit.block_on(async { nodes.kit.clock().timeout(super::nodes::SECOND, terminated).await }).unwrap();
}
