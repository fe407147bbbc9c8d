//! Questions that are handed on or held back keep who waits for them.

use std::time::Duration;

use actors::testkit::TestKit;
use actors::{
    Actor, ActorContext, ActorRef, AskError, Behavior, DeadLetterReason, Handled, PoolRouter, Props, ReplyTo,
    StashBuffer,
};

const SECOND: Duration = Duration::from_secs(1);

/// How long an asker still waits, as the one asked sees it.
type Left = Option<Duration>;

enum DeskMessage {
    Left(ReplyTo<Left>),
    /// The next desk is to answer.
    HandOn(Vec<ActorRef<DeskMessage>>, ReplyTo<Left>),
    /// Asks the first, by way of the second, and waits for it.
    AskBack(ActorRef<DeskMessage>, ActorRef<DeskMessage>, ReplyTo<Result<Left, AskError>>),
    /// As `AskBack`, for whoever waits already.
    AskThere(ActorRef<DeskMessage>, ReplyTo<Left>, ReplyTo<AskError>),
    Nap(Duration),
    Open,
}
use DeskMessage::{AskBack, AskThere, HandOn, Left as HowLong, Nap, Open};

struct Desk {
    open: bool,
    stash: StashBuffer<DeskMessage>,
    /// Holds messages back without what is behind them.
    bare: bool,
}

impl Actor for Desk {
    type Message = DeskMessage;

    async fn receive(&mut self, ctx: &mut ActorContext<DeskMessage>, message: DeskMessage) -> Handled {
        match message {
            Open => {
                self.open = true;
                ctx.unstash_all(&mut self.stash);
            }
            early if !self.open && self.bare => self.stash.stash(early)?,
            early if !self.open => ctx.stash(&mut self.stash, early)?,
            HowLong(reply_to) => reply_to.tell(ctx.deadline().map(|at| at - ctx.clock().now())),
            HandOn(mut further, reply_to) => match further.pop() {
                Some(next) => ctx.forward(&next, HandOn(further, reply_to)),
                None => reply_to.tell(ctx.deadline().map(|at| at - ctx.clock().now())),
            },
            AskBack(between, there, reply_to) => {
                let (tell_cycle, cycle) = ReplyTo::channel();
                let asked = between.ask(|left| AskThere(there, left, tell_cycle), SECOND * 9).await;
                reply_to.tell(cycle.await.map_or(asked, Err));
            }
            // The one that waits, who does not hear it.
            AskThere(there, left, tell_cycle) => match there.ask(HowLong, SECOND * 5).await {
                Ok(answer) => left.tell(answer),
                Err(error) => tell_cycle.tell(error),
            },
            Nap(how_long) => ctx.clock().sleep(how_long).await,
        }
        Ok(Behavior::Same)
    }
}

fn desk(kit: &TestKit, name: &str, open: bool, bare: bool) -> ActorRef<DeskMessage> {
    kit.spawn(name, Props::new(move || Desk { open, stash: StashBuffer::with_capacity(9), bare }))
}

#[test]
fn a_question_that_is_handed_on_ends_when_its_asker_gives_up() {
    let kit = TestKit::new();
    let [first, second, third] = ["first", "second", "third"].map(|name| desk(&kit, name, true, false));
    let ask = first.ask(|reply_to| HandOn(vec![third.clone(), second.clone()], reply_to), SECOND * 3);
    first.tell(Nap(SECOND)); // behind the question
    assert_eq!(kit.block_on(ask), Ok(Some(SECOND * 3)), "by way of both");

    third.tell(Nap(SECOND * 4));
    kit.settle();
    let late = first.ask(|reply_to| HandOn(vec![third.clone()], reply_to), SECOND * 3);
    kit.advance(SECOND * 5);
    assert_eq!(kit.block_on(late), Err(AskError::Timeout));
    assert_eq!(kit.system().event_stream().dead_letters(DeadLetterReason::Expired), 1, "nobody handles it any more");
}

#[test]
fn what_nobody_asked_is_handed_on_as_it_is() {
    let kit = TestKit::new();
    let [first, second] = ["first", "second"].map(|name| desk(&kit, name, true, false));
    let (reply_to, left) = ReplyTo::channel();
    first.tell(HandOn(vec![second], reply_to));
    assert_eq!(kit.block_on(left), Ok(None));
}

#[test]
fn a_question_that_is_held_back_keeps_its_deadline() {
    let kit = TestKit::new();
    let gate = desk(&kit, "gate", false, false);
    let (soon, later) = (gate.ask(HowLong, SECOND), gate.ask(HowLong, SECOND * 3));
    let (reply_to, unasked) = ReplyTo::channel();
    gate.tell(HowLong(reply_to));
    kit.settle();
    kit.advance(SECOND);
    gate.tell(Open);
    assert_eq!(kit.block_on(soon), Err(AskError::Timeout));
    assert_eq!(kit.block_on(later), Ok(Some(SECOND * 2)));
    assert_eq!(kit.block_on(unasked), Ok(None), "what is behind one message is not behind the next");
    assert_eq!(kit.system().event_stream().dead_letters(DeadLetterReason::Expired), 1);
}

#[test]
fn a_message_that_is_held_back_alone_is_handled_whoever_waits() {
    let kit = TestKit::new();
    let gate = desk(&kit, "gate", false, true);
    let (soon, later) = (gate.ask(HowLong, SECOND), gate.ask(HowLong, SECOND * 3));
    kit.settle();
    kit.advance(SECOND);
    gate.tell(Open);
    assert_eq!(kit.block_on(later), Ok(None));
    assert_eq!(kit.block_on(soon), Ok(None));
    assert_eq!(kit.system().event_stream().dead_letters_total(), 0);
}

#[test]
fn a_circle_of_asks_is_found_through_a_router() {
    let kit = TestKit::new();
    let props = || Props::new(|| Desk { open: true, stash: StashBuffer::with_capacity(0), bare: false });
    let pool = kit.system().spawn_pool("pool", PoolRouter::new(1, props));
    let other = desk(&kit, "other", true, false);
    kit.settle();
    let began = kit.clock().now();
    let (tell_cycle, cycle) = ReplyTo::channel();
    let (there, mapped) = (pool.actor_ref().clone(), pool.map(|message| message));
    let asked = pool.ask(|left| AskThere(there.clone(), left, tell_cycle), SECOND * 9);
    assert_eq!(kit.block_on(asked), Err(AskError::NoReply));
    assert_eq!(kit.block_on(cycle), Ok(AskError::Cycle), "the only routee asks itself");
    for back in [there, mapped] {
        let asked = pool.ask(|reply_to| AskBack(other.clone(), back, reply_to), SECOND * 20);
        assert_eq!(kit.block_on(asked), Ok(Err(AskError::Cycle)), "by way of another");
    }
    assert_eq!(kit.clock().now(), began, "at once");
}

/// Hands everything on.
struct Clerk {
    to: ActorRef<DeskMessage>,
}

impl Actor for Clerk {
    type Message = DeskMessage;

    async fn receive(&mut self, ctx: &mut ActorContext<DeskMessage>, message: DeskMessage) -> Handled {
        ctx.forward(&self.to, message);
        Ok(Behavior::Same)
    }
}

#[test]
fn a_circle_of_asks_is_found_through_one_that_hands_them_on() {
    let kit = TestKit::new();
    let (first, last) = (desk(&kit, "first", true, false), desk(&kit, "last", true, false));
    let clerk = kit.spawn("clerk", Clerk { to: last });
    let began = kit.clock().now();
    let there = first.clone();
    let asked = first.ask(|reply_to| AskBack(clerk, there, reply_to), SECOND * 20);
    assert_eq!(kit.block_on(asked), Ok(Err(AskError::Cycle)));
    assert_eq!(kit.clock().now(), began, "at once");
}
