//! Asks that go in a circle fail at once.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use actors::testkit::TestKit;
use actors::{Actor, ActorContext, ActorRef, Ask, AskError, Behavior, Handled, ReplyTo};

const WITHIN: Duration = Duration::from_secs(60);

type Outcome = Result<u32, AskError>;

/// Asks the next hop and waits for it inside its handler.
struct Hop;

enum HopMessage {
    /// Asks along `route`; the last one answers with its length.
    Along(Vec<ActorRef<HopMessage>>, ReplyTo<Outcome>),
    /// As above, but answers first.
    AnswerThenAlong(Vec<ActorRef<HopMessage>>, ReplyTo<Outcome>, ReplyTo<Outcome>),
    /// Lets another answer and then ask back here.
    Via(ActorRef<HopMessage>, ReplyTo<Outcome>),
    /// Asks itself, in a task beside.
    PipedToItself(ReplyTo<Outcome>),
    Piped(Outcome, ReplyTo<Outcome>),
}

async fn along(mut route: Vec<ActorRef<HopMessage>>) -> Outcome {
    if route.is_empty() {
        return Ok(0);
    }
    let next = route.remove(0);
    let answer = next.ask(|reply_to| HopMessage::Along(route, reply_to), WITHIN).await;
    answer.and_then(|inner| inner.map(|hops| hops + 1))
}

impl Actor for Hop {
    type Message = HopMessage;

    async fn receive(&mut self, ctx: &mut ActorContext<HopMessage>, message: HopMessage) -> Handled {
        match message {
            HopMessage::Along(route, reply_to) => reply_to.tell(along(route).await),
            HopMessage::AnswerThenAlong(route, first, reply_to) => {
                first.tell(Ok(0));
                reply_to.tell(along(route).await);
            }
            HopMessage::Via(other, reply_to) => {
                let back = vec![ctx.this().clone()];
                let first = other.ask(|first| HopMessage::AnswerThenAlong(back, first, reply_to), WITHIN).await;
                assert_eq!(first, Ok(Ok(0)));
            }
            HopMessage::PipedToItself(reply_to) => {
                let answer = ctx.this().ask(|reply_to| HopMessage::Along(Vec::new(), reply_to), WITHIN);
                ctx.pipe_to_self(answer, |answer| HopMessage::Piped(answer.and_then(|inner| inner), reply_to));
            }
            HopMessage::Piped(outcome, reply_to) => reply_to.tell(outcome),
        }
        Ok(Behavior::Same)
    }
}

fn walk(kit: &TestKit, route: &[&ActorRef<HopMessage>]) -> (Outcome, Duration) {
    let before = kit.clock().now();
    let (first, rest) = route.split_first().unwrap();
    let rest = rest.iter().map(|hop| (*hop).clone()).collect();
    let outcome = kit.block_on(first.ask(|reply_to| HopMessage::Along(rest, reply_to), WITHIN)).unwrap();
    (outcome, kit.clock().now() - before)
}

#[test]
fn asking_oneself_and_waiting_fails_at_once() {
    let kit = TestKit::new();
    let a = kit.spawn("a", Hop);
    assert_eq!(walk(&kit, &[&a, &a]), (Err(AskError::Cycle), Duration::ZERO));
}

#[test]
fn a_longer_circle_fails_at_once_where_it_closes() {
    let kit = TestKit::new();
    let (a, b, c) = (kit.spawn("a", Hop), kit.spawn("b", Hop), kit.spawn("c", Hop));
    assert_eq!(walk(&kit, &[&a, &b, &c]), (Ok(2), Duration::ZERO));
    assert_eq!(walk(&kit, &[&a, &b, &c, &a]), (Err(AskError::Cycle), Duration::ZERO));
    assert_eq!(walk(&kit, &[&a, &b, &c, &b]), (Err(AskError::Cycle), Duration::ZERO));
    assert_eq!(walk(&kit, &[&a, &b, &c]), (Ok(2), Duration::ZERO), "all of them still serve");
}

#[test]
fn asking_oneself_without_waiting_is_no_circle() {
    let kit = TestKit::new();
    let a = kit.spawn("a", Hop);
    assert_eq!(kit.block_on(a.ask(HopMessage::PipedToItself, WITHIN)), Ok(Ok(0)));
}

#[test]
fn an_actor_that_has_its_answer_already_is_not_part_of_a_circle() {
    let kit = TestKit::new();
    let (a, b) = (kit.spawn("a", Hop), kit.spawn("b", Hop));
    let outcome = kit.block_on(a.ask(|reply_to| HopMessage::Via(b, reply_to), WITHIN));
    assert_eq!(outcome, Ok(Ok(1)));
}

/// Tells itself, by an ask it does not wait for, to go on.
struct Stepper;

struct Step {
    left: u32,
    reply_to: ReplyTo<()>,
    done: ReplyTo<()>,
}

impl Actor for Stepper {
    type Message = Step;

    async fn receive(&mut self, ctx: &mut ActorContext<Step>, step: Step) -> Handled {
        let Step { left, reply_to, done } = step;
        reply_to.tell(());
        match left {
            0 => done.tell(()),
            left => drop(ctx.this().ask(|reply_to| Step { left: left - 1, reply_to, done }, WITHIN)),
        }
        Ok(Behavior::Same)
    }
}

#[test]
fn asks_that_are_over_do_not_pile_up_behind_one_another() {
    let kit = TestKit::new();
    let stepper = kit.spawn("stepper", Stepper);
    let (done, all_done) = ReplyTo::channel();
    // As a chain this many would not fit on the stack when it is dropped.
    stepper.tell(Step { left: 100_000, reply_to: ReplyTo::ignore(), done });
    assert_eq!(kit.block_on(all_done), Ok(()));
}

/// Looks once whether an answer is there and puts the ask aside.
struct LooksOnce {
    aside: Option<Pin<Box<Ask<Outcome>>>>,
}

enum LookMessage {
    /// Asks the hop, which asks back here; goes on with the answer in the given way.
    Ask(ActorRef<HopMessage>, Later, ReplyTo<Outcome>),
    Await(ReplyTo<Outcome>),
    Hop(HopMessage),
    Piped(Outcome, ReplyTo<Outcome>),
}

#[derive(Clone, Copy)]
enum Later {
    Piped,
    AwaitedInALaterTurn,
}

impl Actor for LooksOnce {
    type Message = LookMessage;

    async fn receive(&mut self, ctx: &mut ActorContext<LookMessage>, message: LookMessage) -> Handled {
        match message {
            LookMessage::Ask(hop, later, reply_to) => {
                let back = vec![ctx.this().map(LookMessage::Hop)];
                let mut ask = Box::pin(hop.ask(|reply_to| HopMessage::Along(back, reply_to), WITHIN));
                let there = poll_fn(|cx| Poll::Ready(ask.as_mut().poll(cx).is_ready())).await;
                assert!(!there);
                match later {
                    Later::Piped => {
                        let answer = async { ask.await.and_then(|inner| inner) };
                        ctx.pipe_to_self(answer, |answer| LookMessage::Piped(answer, reply_to));
                    }
                    Later::AwaitedInALaterTurn => {
                        self.aside = Some(ask);
                        ctx.this().tell(LookMessage::Await(reply_to));
                    }
                }
            }
            LookMessage::Await(reply_to) => {
                let ask = self.aside.take().unwrap();
                reply_to.tell(ask.await.and_then(|inner| inner));
            }
            LookMessage::Hop(HopMessage::Along(_, reply_to)) => reply_to.tell(Ok(0)),
            LookMessage::Hop(_) => unreachable!("only asked along a route"),
            LookMessage::Piped(outcome, reply_to) => reply_to.tell(outcome),
        }
        Ok(Behavior::Same)
    }
}

#[test]
fn an_ask_that_was_put_aside_closes_a_circle_only_once_it_is_awaited() {
    for (later, expected) in [(Later::Piped, Ok(1)), (Later::AwaitedInALaterTurn, Err(AskError::Cycle))] {
        let kit = TestKit::new();
        let hop = kit.spawn("hop", Hop);
        let actor = kit.spawn("actor", LooksOnce { aside: None });
        let before = kit.clock().now();
        let outcome = kit.block_on(actor.ask(|reply_to| LookMessage::Ask(hop, later, reply_to), WITHIN));
        assert_eq!((outcome, kit.clock().now() - before), (Ok(expected), Duration::ZERO));
    }
}
