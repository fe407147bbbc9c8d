//! The four verbs, and why an answer does not come.

use std::future::Future;
use std::task::{Context, Waker};
use std::time::Duration;

use actors::testkit::TestKit;
use actors::{
    Actor, ActorContext, ActorRef, AskError, Behavior, BoxError, Handled, Mailbox, Props, ReplyTo, Stopped,
    TryTellError,
};

const WITHIN: Duration = Duration::from_secs(5);

/// Answers, keeps, drops or fails, as asked.
#[derive(Default)]
struct Clerk {
    kept: Vec<ReplyTo<u32>>,
}

enum ClerkMessage {
    Double(u32, ReplyTo<u32>),
    Keep(ReplyTo<u32>),
    Drop(ReplyTo<u32>),
    FailOn(ReplyTo<u32>),
    PanicOn(ReplyTo<u32>),
    AnswerKept(u32),
    Nap(Duration),
    Stop,
}
use ClerkMessage::{AnswerKept, Double, FailOn, Keep, Nap, PanicOn, Stop};

impl Actor for Clerk {
    type Message = ClerkMessage;

    async fn receive(&mut self, ctx: &mut ActorContext<ClerkMessage>, message: ClerkMessage) -> Handled {
        match message {
            Double(number, reply_to) => reply_to.tell(number * 2),
            Keep(reply_to) => self.kept.push(reply_to),
            ClerkMessage::Drop(reply_to) => drop(reply_to),
            FailOn(_reply_to) => return Err(BoxError::from("no")),
            PanicOn(_reply_to) => panic!("no"),
            AnswerKept(number) => self.kept.drain(..).for_each(|reply_to| reply_to.tell(number)),
            Nap(time) => ctx.clock().sleep(time).await,
            Stop => return Ok(Behavior::Stopped),
        }
        Ok(Behavior::Same)
    }
}

fn clerk(kit: &TestKit) -> ActorRef<ClerkMessage> {
    kit.spawn("clerk", Clerk::default())
}

#[test]
fn an_answer_comes_back() {
    let kit = TestKit::new();
    let clerk = clerk(&kit);
    assert_eq!(kit.block_on(clerk.ask(|reply_to| Double(21, reply_to), WITHIN)), Ok(42));
}

#[test]
fn an_ask_outlives_the_reference_it_was_made_from() {
    let kit = TestKit::new();
    let answer = clerk(&kit).ask(|reply_to| Double(1, reply_to), WITHIN);
    assert_eq!(kit.block_on(answer), Ok(2));
}

#[test]
fn no_answer_in_time_is_a_timeout_at_that_time() {
    let kit = TestKit::new();
    let clerk = clerk(&kit);
    let before = kit.clock().now();
    assert_eq!(kit.block_on(clerk.ask(Keep, WITHIN)), Err(AskError::Timeout));
    assert_eq!(kit.clock().now() - before, WITHIN);
    clerk.tell(AnswerKept(1)); // late: nobody minds
    assert_eq!(kit.block_on(clerk.ask(|reply_to| Double(1, reply_to), WITHIN)), Ok(2));
}

#[test]
fn the_time_runs_from_the_call() {
    let kit = TestKit::new();
    let clerk = clerk(&kit);
    let before = kit.clock().now();
    let answer = clerk.ask(Keep, WITHIN);
    kit.advance(Duration::from_secs(4));
    assert_eq!(kit.block_on(answer), Err(AskError::Timeout));
    assert_eq!(kit.clock().now() - before, WITHIN);
}

#[test]
fn a_dropped_question_ends_the_ask_at_once() {
    let kit = TestKit::new();
    let before = kit.clock().now();
    let stops = kit.spawn("drops", Clerk::default());
    assert_eq!(kit.block_on(stops.ask(ClerkMessage::Drop, WITHIN)), Err(AskError::NoReply));
    assert_eq!(kit.block_on(stops.ask(FailOn, WITHIN)), Err(AskError::NoReply));
    let panics = kit.spawn("panics", Clerk::default());
    assert_eq!(kit.block_on(panics.ask(PanicOn, WITHIN)), Err(AskError::NoReply));
    assert_eq!(kit.clock().now(), before);
}

#[test]
fn a_stopped_actor_says_so_whenever_it_stopped() {
    let kit = TestKit::new();
    let clerk = clerk(&kit);
    let before = kit.clock().now();
    let kept = clerk.ask(Keep, WITHIN);
    clerk.tell(Stop);
    let behind = clerk.ask(|reply_to| Double(1, reply_to), WITHIN);
    assert_eq!(kit.block_on(kept), Err(AskError::Stopped), "kept in the state when it stopped");
    assert_eq!(kit.block_on(behind), Err(AskError::Stopped), "in the mailbox when it stopped");
    let after = clerk.ask(|reply_to| Double(1, reply_to), WITHIN);
    assert_eq!(kit.block_on(after), Err(AskError::Stopped), "sent afterwards");
    assert_eq!(kit.clock().now(), before);
}

#[test]
fn a_full_mailbox_refuses_each_verb_in_its_own_way() {
    let kit = TestKit::new();
    let clerk = kit.spawn("clerk", Props::new(Clerk::default).mailbox(Mailbox::bounded(2)));
    clerk.tell(AnswerKept(1));
    clerk.tell(AnswerKept(2));

    assert!(matches!(clerk.try_tell(AnswerKept(3)), Err(TryTellError::Full(AnswerKept(3)))));
    assert_eq!(kit.block_on(clerk.ask(|reply_to| Double(1, reply_to), WITHIN)), Err(AskError::Full));
    kit.settle();
    assert!(clerk.try_tell(AnswerKept(4)).is_ok());
}

#[test]
fn send_waits_for_room_and_returns_the_message_when_the_actor_stops() {
    let kit = TestKit::new();
    let clerk = kit.spawn("clerk", Props::new(Clerk::default).mailbox(Mailbox::bounded(1)));
    clerk.tell(Nap(Duration::from_secs(1)));
    kit.settle();
    clerk.tell(AnswerKept(1)); // fills the mailbox while the clerk naps

    let before = kit.clock().now();
    kit.block_on(clerk.send(Nap(Duration::from_secs(2)))).unwrap();
    assert_eq!(kit.clock().now() - before, Duration::from_secs(1));

    kit.settle();
    clerk.tell(Stop);
    let returned = kit.block_on(clerk.send(AnswerKept(7)));
    assert!(matches!(returned, Err(Stopped(AnswerKept(7)))));
}

#[test]
fn a_send_that_is_dropped_was_not_sent() {
    let kit = TestKit::new();
    let mut probe = kit.probe();
    let gate = kit.spawn(
        "gate",
        Props::new({
            let to = probe.actor_ref();
            move || Forward { to: to.clone() }
        })
        .mailbox(Mailbox::bounded(1)),
    );
    gate.tell(Step::Nap(Duration::from_secs(10)));
    kit.settle();
    gate.tell(Step::Number(1));

    let clock = kit.clock().clone();
    let given_up = kit.block_on(clock.timeout(Duration::from_secs(1), gate.send(Step::Number(2))));
    assert!(given_up.is_err());
    kit.block_on(gate.send(Step::Number(3))).unwrap();
    kit.advance(Duration::from_secs(20));
    assert_eq!(probe.drain(), [1, 3]);
}

/// Passes numbers on.
struct Forward {
    to: ActorRef<u32>,
}

enum Step {
    Number(u32),
    Nap(Duration),
}

impl Actor for Forward {
    type Message = Step;

    async fn receive(&mut self, ctx: &mut ActorContext<Step>, step: Step) -> Handled {
        match step {
            Step::Number(number) => self.to.tell(number),
            Step::Nap(time) => ctx.clock().sleep(time).await,
        }
        Ok(Behavior::Same)
    }
}

#[test]
fn room_given_to_a_send_that_is_dropped_goes_to_the_next() {
    let kit = TestKit::new();
    let mut probe = kit.probe();
    let to = probe.actor_ref();
    let gate = kit.spawn("gate", Props::new(move || Forward { to: to.clone() }).mailbox(Mailbox::bounded(1)));
    gate.tell(Step::Number(1));
    let mut first = Box::pin(gate.send(Step::Number(2)));
    let mut second = Box::pin(gate.send(Step::Number(3)));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(first.as_mut().poll(&mut cx).is_pending());
    assert!(second.as_mut().poll(&mut cx).is_pending());
    kit.settle(); // room is given to the first
    drop(first);
    assert!(second.as_mut().poll(&mut cx).is_ready());
    drop(second);
    assert_eq!(probe.drain(), [1, 3]);
    assert!(gate.try_tell(Step::Number(4)).is_ok(), "and it is free again");
}

#[test]
fn those_who_wait_get_room_in_the_order_they_came() {
    let kit = TestKit::new();
    let mut probe = kit.probe();
    let to = probe.actor_ref();
    let gate = kit.spawn("gate", Props::new(move || Forward { to: to.clone() }).mailbox(Mailbox::bounded(1)));
    gate.tell(Step::Nap(Duration::from_secs(1)));
    kit.settle();
    gate.tell(Step::Number(0));
    for number in 1..=3 {
        let gate = gate.clone();
        kit.system().runtime().spawn(async move { gate.send(Step::Number(number)).await });
        kit.settle();
    }
    kit.advance(Duration::from_secs(2));
    assert_eq!(probe.drain(), [0, 1, 2, 3]);
}

#[test]
fn a_mapped_reference_is_the_same_actor_with_the_same_room() {
    let kit = TestKit::new();
    let mut probe = kit.probe();
    let to = probe.actor_ref();
    let gate = kit.spawn("gate", Props::new(move || Forward { to: to.clone() }).mailbox(Mailbox::bounded(2)));
    let numbers = gate.map(Step::Number);
    let texts = numbers.map(|text: &str| text.len() as u32);

    assert!(numbers.path() == gate.path());
    numbers.tell(1);
    texts.tell("22");
    assert_eq!(numbers.try_tell(3), Err(TryTellError::Full(3)), "the message comes back unmapped");
    assert_eq!(texts.try_tell("333"), Err(TryTellError::Full("333")));
    kit.settle();
    kit.block_on(texts.send("4444")).unwrap();
    assert_eq!(probe.drain(), [1, 2, 4]);
}

#[test]
fn an_answer_slot_can_be_handed_out_by_code_that_is_no_actor() {
    let kit = TestKit::new();
    let clerk = clerk(&kit);
    let (reply_to, answer) = ReplyTo::channel();
    clerk.tell(Double(4, reply_to));
    assert_eq!(kit.block_on(answer), Ok(8));

    let mut probe = kit.probe();
    let told = probe.actor_ref();
    clerk.tell(ClerkMessage::Drop(ReplyTo::from_fn(move |outcome| told.tell(outcome))));
    assert_eq!(probe.expect_message(), Err(AskError::NoReply));
}

#[test]
fn who_gave_up_can_be_noticed() {
    let kit = TestKit::new();
    let mut probe = kit.probe::<ReplyTo<u32>>();
    let asked = probe.actor_ref();
    let answer = asked.ask(|reply_to| reply_to, WITHIN);
    let reply_to = probe.expect_message();
    assert!(!reply_to.is_closed());
    drop(answer);
    assert!(reply_to.is_closed());
}

/// Asks another and reports what came of it.
struct Asker {
    target: ActorRef<ClerkMessage>,
    report: ActorRef<(u32, Result<u32, AskError>)>,
}

enum AskerMessage {
    Ask(u32, fn(ReplyTo<u32>) -> ClerkMessage),
    Outcome(u32, Result<u32, AskError>),
    Fail,
}

impl Actor for Asker {
    type Message = AskerMessage;

    async fn receive(&mut self, ctx: &mut ActorContext<AskerMessage>, message: AskerMessage) -> Handled {
        match message {
            AskerMessage::Ask(number, make) => {
                ctx.ask(&self.target, make, WITHIN, move |outcome| AskerMessage::Outcome(number, outcome));
            }
            AskerMessage::Outcome(number, outcome) => self.report.tell((number, outcome)),
            AskerMessage::Fail => return Err(BoxError::from("told to")),
        }
        Ok(Behavior::Same)
    }
}

#[test]
fn an_ask_from_inside_comes_back_as_one_message() {
    let kit = TestKit::new();
    let mut report = kit.probe();
    let (target, told) = (clerk(&kit), report.actor_ref());
    let asker = kit.spawn("asker", Asker { target: target.clone(), report: told });

    asker.tell(AskerMessage::Ask(1, |reply_to| Double(4, reply_to)));
    asker.tell(AskerMessage::Ask(2, ClerkMessage::Drop));
    assert_eq!(report.drain(), [(1, Ok(8)), (2, Err(AskError::NoReply))]);

    asker.tell(AskerMessage::Ask(3, Keep));
    kit.advance(WITHIN);
    assert_eq!(report.drain(), [(3, Err(AskError::Timeout))]);
    target.tell(AnswerKept(9));
    assert_eq!(report.drain(), [], "late");

    target.tell(Stop);
    kit.settle();
    asker.tell(AskerMessage::Ask(4, Keep));
    assert_eq!(report.drain(), [(4, Err(AskError::Stopped))]);
}

#[test]
fn an_answer_to_an_earlier_life_is_not_delivered() {
    let kit = TestKit::new();
    let mut report = kit.probe();
    let (target, told) = (clerk(&kit), report.actor_ref());
    let props = {
        let target = target.clone();
        Props::new(move || Asker { target: target.clone(), report: told.clone() })
    };
    let asker = kit.spawn("asker", props.supervise(actors::SupervisorStrategy::restart()));

    asker.tell(AskerMessage::Ask(1, Keep));
    kit.settle();
    asker.tell(AskerMessage::Fail);
    kit.settle();
    target.tell(AnswerKept(1));
    kit.advance(WITHIN);
    assert_eq!(report.drain(), []);

    asker.tell(AskerMessage::Ask(2, Keep));
    asker.tell(AskerMessage::Fail);
    kit.advance(WITHIN * 2);
    assert_eq!(report.drain(), [], "nor is its timeout");
}
