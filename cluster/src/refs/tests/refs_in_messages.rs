//! References inside of messages.

use super::nodes::{GateMessage, Greeting, Two, Unknown};
use actors::{ActorRef, AskError, ReplyTo};
use std::time::Duration;

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
    let (gate, _) = nodes.gate();
    let trace: actors::TraceContext = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().unwrap();
    trace.enter(|| gate.tell(GateMessage::Note(1)));
    nodes.kit.advance(Duration::from_millis(10));
    let sent = nodes.one.remote.sent.lock();
    let text = trace.to_string();
    assert!(sent.iter().any(|frame| frame.windows(text.len()).any(|part| part == text.as_bytes())));
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
