//! Questions to an actor of another node.

use super::nodes::{GateMessage, SECOND, Two};
use actors::{AskError, ReplyTo};

#[test]
fn an_answer_comes_back_and_what_it_was_for_is_forgotten() {
    let nodes = Two::new();
    let (gate, _) = nodes.gate();
    let enter = |visitor: &str| {
        let visitor = visitor.to_owned();
        nodes.ask(&gate, |reply_to| GateMessage::Enter { visitor, reply_to })
    };
    assert_eq!(enter("Ada"), Ok(3));
    assert_eq!(enter("Grace"), Ok(8));
    assert_eq!(nodes.one.refs.0.peers.get(&nodes.two.me).unwrap().slots.lock().len(), 0);
}

#[test]
fn a_question_that_is_dropped_ends_at_once() {
    let nodes = Two::new();
    let (gate, _) = nodes.gate();
    let before = nodes.kit.clock().now();
    assert_eq!(nodes.ask(&gate, GateMessage::Forget), Err(AskError::NoReply));
    assert!(nodes.kit.clock().now() - before < SECOND);
}

#[test]
fn a_question_takes_its_deadline_along() {
    let nodes = Two::new();
    let (gate, _) = nodes.gate();
    gate.tell(GateMessage::Sleep(5 * SECOND));
    let asked = nodes.kit.block_on(async { gate.ask(GateMessage::Keep, SECOND).await });
    assert_eq!(asked, Err(AskError::Timeout));
    nodes.kit.advance(6 * SECOND);
    let expired = nodes.dead_letters(&nodes.two, actors::DeadLetterReason::Expired);
    assert_eq!(expired, 1, "nobody waits for it any more when the gate comes to it");
}

#[test]
fn a_full_mailbox_says_so_across_nodes() {
    let nodes = Two::new();
    let small = nodes
        .two
        .system
        .spawn("small", actors::Props::new(super::nodes::Gate::default).mailbox(actors::Mailbox::bounded(1)));
    nodes.two.refs.name("small", &small).unwrap();
    let small = nodes.one.refs.named::<GateMessage>(&nodes.two.me, "small").unwrap();
    small.tell(GateMessage::Sleep(5 * SECOND));
    nodes.settle();
    small.tell(GateMessage::Note(1));
    nodes.settle();
    assert_eq!(nodes.ask(&small, GateMessage::Keep), Err(AskError::Full));
}

#[test]
fn an_answer_that_cannot_be_sent_ends_the_ask_at_once() {
    let nodes = Two::new();
    let (gate, _) = nodes.gate();
    assert_eq!(nodes.ask(&gate, |reply_to| GateMessage::Bytes(1000, reply_to)).map(|bytes| bytes.len()), Ok(1000));
    let before = nodes.kit.clock().now();
    assert_eq!(nodes.ask(&gate, |reply_to| GateMessage::Bytes(300_000, reply_to)), Err(AskError::NoReply));
    assert!(nodes.kit.clock().now() - before < SECOND);
}

#[test]
fn the_end_of_a_life_ends_all_asks_of_it() {
    let nodes = Two::new();
    let (gate, _) = nodes.gate();
    let asked = nodes.kit.block_on(async {
        let asked = gate.ask(GateMessage::Keep, 1000 * SECOND);
        let (reply_to, waited) = ReplyTo::channel();
        gate.tell(GateMessage::Keep(reply_to));
        nodes.kit.clock().sleep(SECOND).await;
        crate::remote::door::Remote::quarantine(&*nodes.one.remote, &nodes.two.me);
        let both = futures_util::future::join(asked, waited);
        nodes.kit.clock().timeout(SECOND, both).await
    });
    let (asked, waited) = asked.expect("both end with the life, whatever time they have");
    assert_eq!((asked, waited), (Err(AskError::Stopped), Err(AskError::Stopped)));
    assert!(gate.is_stopped());
    assert_eq!(nodes.ask(&gate, GateMessage::Keep), Err(AskError::Stopped));
}

#[test]
fn an_answer_that_is_lost_is_waited_for_until_the_time_is_over() {
    let nodes = Two::new();
    let (gate, _) = nodes.gate();
    nodes.two.remote.lose(|_, _, frame| frame[0] == 2);
    let enter = |reply_to| GateMessage::Enter { visitor: "Ada".into(), reply_to };
    assert_eq!(nodes.ask(&gate, enter), Err(AskError::Timeout));
    nodes.two.remote.heal();
    assert_eq!(nodes.ask(&gate, enter), Ok(6));
}
