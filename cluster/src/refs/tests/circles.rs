//! Asks that come back to who waits for them, by way of other nodes.

use super::{
    super::circles,
    nodes::{Node, SECOND, Two},
};
use crate::WireMessage;
use actors::{Actor, ActorContext, ActorRef, AskError, Behavior, Handled, PoolRouter, Props, ReplyTo};
use serde::{Deserialize, Serialize};
use std::{sync::atomic::Ordering, time::Duration};

const WITHIN: Duration = Duration::from_secs(60);

/// How many asked, or why there is no answer.
type Outcome = Result<u32, String>;

/// Asks the next of its route, and waits for it in its handler.
struct Hop;

#[derive(Serialize, Deserialize)]
enum HopMessage {
    Along(Vec<ActorRef<HopMessage>>, ReplyTo<Outcome>),
    /// As above, and waits only after a second.
    Later(Vec<ActorRef<HopMessage>>, ReplyTo<Outcome>),
    /// As above, in a task beside.
    Piped(Vec<ActorRef<HopMessage>>, ReplyTo<Outcome>),
    /// Answers first, and the second once it knows.
    Answers(Vec<ActorRef<HopMessage>>, ReplyTo<Outcome>, ReplyTo<Outcome>),
    /// Lets another do the same and then ask back here.
    LetsAnswer(ActorRef<HopMessage>, ActorRef<HopMessage>, ReplyTo<Outcome>),
    Who(ReplyTo<ActorRef<HopMessage>>),
}

impl WireMessage for HopMessage {
    const NAME: &'static str = "test.Hop";
}

fn counted(answer: Result<Outcome, AskError>) -> Outcome {
    answer.map_err(|error| format!("{error:?}")).and_then(|inner| inner.map(|hops| hops + 1))
}

fn ask(mut route: Vec<ActorRef<HopMessage>>) -> Option<actors::Ask<Outcome>> {
    (!route.is_empty()).then(|| route.remove(0).ask(|reply_to| HopMessage::Along(route, reply_to), WITHIN))
}

async fn along(route: Vec<ActorRef<HopMessage>>) -> Outcome {
    match ask(route) {
        Some(asked) => counted(asked.await),
        None => Ok(0),
    }
}

impl Actor for Hop {
    type Message = HopMessage;

    async fn receive(&mut self, ctx: &mut ActorContext<HopMessage>, message: HopMessage) -> Handled {
        match message {
            HopMessage::Along(route, reply_to) => reply_to.tell(along(route).await),
            HopMessage::Later(mut route, reply_to) => {
                let asked = route.remove(0).ask(|reply_to| HopMessage::Along(route, reply_to), WITHIN);
                ctx.clock().sleep(SECOND).await;
                reply_to.tell(counted(asked.await));
            }
            HopMessage::Piped(route, reply_to) => {
                if let Some(asked) = ask(route) {
                    ctx.spawn_task(async move { reply_to.tell(counted(asked.await)) });
                }
            }
            HopMessage::Answers(route, first, reply_to) => {
                first.tell(Ok(0));
                reply_to.tell(along(route).await);
            }
            HopMessage::LetsAnswer(other, back, reply_to) => {
                let first = other.ask(|first| HopMessage::Answers(vec![back], first, reply_to), WITHIN).await;
                assert_eq!(first, Ok(Ok(0)));
            }
            HopMessage::Who(reply_to) => reply_to.tell(ctx.this().clone()),
        }
        Ok(Behavior::Same)
    }
}

/// Three nodes.
struct Ring {
    nodes: Two,
    three: Node,
}

impl Ring {
    fn new() -> Self {
        let nodes = Two::with(|registry| registry.message::<HopMessage>());
        let three = nodes.third(|registry| registry.message::<HopMessage>());
        Self { nodes, three }
    }

    fn node(&self, at: usize) -> &Node {
        [&self.nodes.one, &self.nodes.two, &self.three][at]
    }

    /// An actor of that node, as the first node sees it.
    fn hop(&self, at: usize, name: &str) -> ActorRef<HopMessage> {
        let node = self.node(at);
        let hop = node.system.spawn(name, Hop);
        self.named(at, name, &hop)
    }

    fn named(&self, at: usize, name: &str, actor: &ActorRef<HopMessage>) -> ActorRef<HopMessage> {
        self.node(at).refs.name(name, actor).unwrap();
        if at == 0 {
            return actor.clone();
        }
        let named: ActorRef<HopMessage> = self.nodes.one.refs.named(&self.node(at).me, name).unwrap();
        self.nodes.kit.block_on(named.ask(HopMessage::Who, WITHIN)).unwrap()
    }

    /// What comes of it, and whether it took longer than the way.
    fn ask(&self, first: &ActorRef<HopMessage>, make: impl FnOnce(ReplyTo<Outcome>) -> HopMessage) -> (Outcome, bool) {
        let began = self.nodes.kit.clock().now();
        let outcome = self.nodes.kit.block_on(first.ask(make, WITHIN));
        let outcome = outcome.unwrap_or_else(|error| Err(format!("not even the first: {error:?}")));
        (outcome, self.nodes.kit.clock().now() - began > 5 * SECOND)
    }

    fn along(&self, route: &[&ActorRef<HopMessage>]) -> (Outcome, bool) {
        let route: Vec<_> = route.iter().copied().cloned().collect();
        self.ask(&route[0], |reply_to| HopMessage::Along(route[1..].to_vec(), reply_to))
    }

    /// How many frames were sent that are about circles.
    fn said(&self) -> usize {
        let is_said = |frame: &&bytes::Bytes| (8..=10).contains(&frame[0]);
        (0..3).map(|at| self.node(at).remote.sent.lock().iter().filter(is_said).count()).sum()
    }
}

fn cycle() -> (Outcome, bool) {
    (Err("Cycle".to_owned()), false)
}

#[test]
fn an_ask_that_comes_back_by_way_of_another_node_fails_at_once() {
    let ring = Ring::new();
    let [a, b] = [0, 1].map(|at| ring.hop(at, "hop"));
    assert_eq!(ring.along(&[&a, &b]), (Ok(1), false));
    assert_eq!(ring.said(), 0);
    assert_eq!(ring.along(&[&a, &b, &a]), cycle());
    assert_eq!(ring.said(), 3, "who may be asked for, who waits, and that it is one");
    assert_eq!(ring.along(&[&b, &a, &b]), cycle());
    assert_eq!(ring.along(&[&a, &b]), (Ok(1), false), "whoever failed goes on");
}

#[test]
fn it_fails_by_way_of_three_nodes_and_of_several_actors_on_each() {
    let ring = Ring::new();
    let [a, b, c] = [0, 1, 2].map(|at| ring.hop(at, "hop"));
    let [a2, b2, c2] = [0, 1, 2].map(|at| ring.hop(at, "more"));
    assert_eq!(ring.along(&[&a, &b, &c]), (Ok(2), false));
    assert_eq!(ring.along(&[&a, &b, &c, &a]), cycle());
    assert_eq!(ring.along(&[&a, &b, &c, &b]), cycle(), "one on the way");
    assert_eq!(ring.along(&[&a, &a2, &b, &c, &a]), cycle(), "who asked another of its own node");
    assert_eq!(ring.along(&[&a, &b, &b2, &c, &c2, &a]), cycle());
    assert_eq!(ring.along(&[&a, &b, &a2, &a]), cycle(), "by one of its own node");
    assert_eq!(ring.along(&[&a, &b, &a2, &c, &a]), cycle(), "whose node was come by in between");
    let said = ring.said();
    assert_eq!(ring.along(&[&a, &b, &a2, &b2, &c, &c2]), (Ok(5), false), "nobody waits for itself");
    assert_eq!(ring.said(), said);
}

#[test]
fn it_fails_whatever_the_one_asked_is_called_and_by_way_of_a_router_of_its_node() {
    let ring = Ring::new();
    let b = ring.hop(1, "hop");
    let a = ring.hop(0, "hop");
    let name = |at: usize| -> ActorRef<HopMessage> { ring.nodes.two.refs.named(&ring.node(at).me, "hop").unwrap() };
    assert_eq!(ring.along(&[&a, &b, &name(0)]), cycle());
    assert_eq!(ring.along(&[&b, &a, &name(1)]), cycle());
    let pool = ring.nodes.one.system.spawn_pool("pool", PoolRouter::new(1, || Props::new(|| Hop)));
    ring.nodes.settle();
    let pool = ring.named(0, "pool", pool.actor_ref());
    assert_eq!(ring.along(&[&pool, &b, &pool]), cycle(), "the only routee asks itself");
}

#[test]
fn whoever_comes_second_to_wait_closes_the_circle() {
    let ring = Ring::new();
    let [a, b] = [0, 1].map(|at| ring.hop(at, "hop"));
    let route = vec![b, a.clone()];
    assert_eq!(ring.ask(&a, |reply_to| HopMessage::Later(route, reply_to)), cycle());
}

#[test]
fn what_is_asked_beside_holds_nobody_up() {
    let ring = Ring::new();
    let [a, b] = [0, 1].map(|at| ring.hop(at, "hop"));
    let route = vec![b.clone(), a.clone()];
    let piped = ring.ask(&a, |reply_to| HopMessage::Piped(route, reply_to));
    assert_eq!(piped, (Ok(2), false), "the first goes on, and answers");
    assert_eq!(ring.said(), 2, "that it is one is not said");
    assert_eq!(ring.ask(&a, |reply_to| HopMessage::LetsAnswer(b.clone(), a.clone(), reply_to)), (Ok(1), false));
}

#[test]
fn a_deadline_still_ends_what_no_ask_closes() {
    let ring = Ring::new();
    let [a, b] = [0, 1].map(|at| ring.hop(at, "hop"));
    let waits = {
        let (a2, b2) = (a.clone(), b.clone());
        // Each waits for the other, and neither was asked by the other.
        let first = a.ask(|reply_to| HopMessage::Later(vec![b2], reply_to), 3 * SECOND);
        let second = b.ask(|reply_to| HopMessage::Later(vec![a2], reply_to), 3 * SECOND);
        ring.nodes.kit.block_on(async { (first.await, second.await) })
    };
    let is_late = |outcome: Result<Outcome, AskError>| match outcome {
        Err(error) => error == AskError::Timeout,
        Ok(inner) => inner == Err("Timeout".to_owned()),
    };
    assert!(is_late(waits.0.clone()) && is_late(waits.1.clone()), "{waits:?}");
    ring.nodes.kit.advance(SECOND);
    assert_eq!(ring.along(&[&a, &b]), (Ok(1), false));
}

#[test]
fn nodes_that_know_of_no_hops_read_what_is_asked_and_time_ends_the_circle() {
    let ring = Ring::new();
    for at in 0..3 {
        ring.node(at).remote.protocol.store(circles::SINCE - 1, Ordering::Relaxed);
    }
    let [a, b] = [0, 1].map(|at| ring.hop(at, "hop"));
    assert_eq!(ring.along(&[&a, &b]), (Ok(1), false));
    let (outcome, took_long) = ring.along(&[&a, &b, &a]);
    assert!(outcome.is_err_and(|error| error.contains("Timeout")) && took_long);
    assert_eq!(ring.said(), 0);
}
