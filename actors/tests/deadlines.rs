//! Asks made while an ask is handled end with it, and questions nobody waits for any more are not handled.

use std::time::Duration;

use actors::testkit::TestKit;
use actors::{
    Actor, ActorContext, ActorRef, ActorSystem, AskError, Behavior, Clock, DeadLetterReason, Handled, Mailbox, Props,
    ReplyTo, SupervisorStrategy, ask_all, ask_hedged,
};

const SECOND: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(60);

/// What an asker learnt, and after how long.
type Outcome = (Result<u32, AskError>, Duration);

/// Does with a question what that says.
#[derive(Default)]
struct Clerk {
    kept: Vec<ReplyTo<u32>>,
    handled: u32,
}

enum ClerkMessage {
    Count(ReplyTo<u32>),
    Keep(ReplyTo<u32>),
    Nap(Duration),
    NapThenCount(Duration, ReplyTo<u32>),
    /// Asks the other to keep a question, for so long at most, and tells what came of it.
    AskOther(Way, ActorRef<ClerkMessage>, Duration, ActorRef<Outcome>, ReplyTo<u32>),
    /// As `AskOther`, but nobody waits for an answer.
    AskOtherUnasked(ActorRef<ClerkMessage>, Duration, ActorRef<Outcome>),
    /// The next of these clerks is to ask the one after it, and so on; the last one is to keep the question.
    Chain(Vec<ActorRef<ClerkMessage>>, ReplyTo<Result<u32, AskError>>),
    Answered(Result<u32, AskError>, Duration, ActorRef<Outcome>),
    Left(ReplyTo<Option<Duration>>),
    /// References through which it is counted, and asked for the time left, in other words.
    Adapters(ReplyTo<Adapters>),
    Fail(ReplyTo<u32>),
}
type Adapters = (ActorRef<ReplyTo<u32>>, ActorRef<ReplyTo<Option<Duration>>>);

use ClerkMessage::{AskOther, AskOtherUnasked, Chain, Count, Fail, Keep, Left, Nap, NapThenCount};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Awaited,
    Message,
    All,
    Hedged,
    HedgedInside,
}

impl Clerk {
    async fn ask_other(
        ctx: &mut ActorContext<ClerkMessage>,
        way: Way,
        other: &ActorRef<ClerkMessage>,
        within: Duration,
        told: ActorRef<Outcome>,
    ) {
        let now = ctx.clock().now().since_start();
        let both = [other, other];
        let outcome = match way {
            Way::Awaited => other.ask(Keep, within).await,
            Way::All => {
                ask_all(both, Keep, within).await.map(|answers| answers[0]).map_err(|failed| failed.errors[1].1)
            }
            Way::Hedged => ask_hedged(both, Keep, SECOND, within).await.map_err(|failed| failed.errors[1].1),
            Way::Message => {
                return ctx.ask(other, Keep, within, move |answer| ClerkMessage::Answered(answer, now, told));
            }
            Way::HedgedInside => {
                return ctx.ask_hedged(both, Keep, SECOND, within, move |answer| {
                    ClerkMessage::Answered(answer.map_err(|failed| failed.errors[1].1), now, told)
                });
            }
        };
        told.tell((outcome, ctx.clock().now().since_start() - now));
    }
}

impl Actor for Clerk {
    type Message = ClerkMessage;

    async fn receive(&mut self, ctx: &mut ActorContext<ClerkMessage>, message: ClerkMessage) -> Handled {
        match message {
            Count(reply_to) => {
                self.handled += 1;
                reply_to.tell(self.handled);
            }
            Keep(reply_to) => self.kept.push(reply_to),
            Nap(time) => ctx.clock().sleep(time).await,
            NapThenCount(time, reply_to) => {
                ctx.clock().sleep(time).await;
                self.handled += 1;
                reply_to.tell(self.handled);
            }
            AskOther(way, other, within, told, reply_to) => {
                self.kept.push(reply_to);
                Self::ask_other(ctx, way, &other, within, told).await;
            }
            AskOtherUnasked(other, within, told) => Self::ask_other(ctx, Way::Awaited, &other, within, told).await,
            Chain(mut others, reply_to) => match others.pop() {
                Some(next) => {
                    let answer = next.ask(|reply_to| Chain(others, reply_to), LONG).await;
                    reply_to.tell(answer.and_then(|inner| inner));
                }
                None => {
                    let (kept, answer) = ReplyTo::channel();
                    self.kept.push(kept);
                    reply_to.tell(ctx.clock().timeout(LONG, answer).await.unwrap_or(Err(AskError::Timeout)));
                }
            },
            ClerkMessage::Answered(outcome, asked_at, told) => {
                told.tell((outcome, ctx.clock().now().since_start() - asked_at));
            }
            Left(reply_to) => {
                let left = ctx.deadline().map(|deadline| deadline - ctx.clock().now());
                reply_to.tell(left);
            }
            ClerkMessage::Adapters(reply_to) => reply_to.tell((ctx.message_adapter(Count), ctx.message_adapter(Left))),
            Fail(reply_to) => {
                self.kept.push(reply_to);
                return Err("told to".into());
            }
        }
        Ok(Behavior::Same)
    }
}

fn clerk(kit: &TestKit, name: &str) -> ActorRef<ClerkMessage> {
    kit.spawn(name, Props::new(Clerk::default).supervise(SupervisorStrategy::restart()))
}

fn expired(kit: &TestKit) -> u64 {
    kit.system().event_stream().dead_letters(DeadLetterReason::Expired)
}

#[test]
fn a_question_whose_time_is_over_is_not_handled() {
    let kit = TestKit::new();
    let clerk = clerk(&kit, "clerk");
    clerk.tell(Nap(SECOND * 5));
    let late = clerk.ask(Count, SECOND);
    let mapped = clerk.map(Count).ask(|reply_to| reply_to, SECOND);
    let in_time = clerk.ask(Count, SECOND * 10);
    let before = kit.clock().now();
    assert_eq!(kit.block_on(late), Err(AskError::Timeout));
    assert_eq!(kit.clock().now() - before, SECOND);
    assert_eq!(kit.block_on(mapped), Err(AskError::Timeout));
    assert_eq!(expired(&kit), 0, "it still waits");
    assert_eq!(kit.block_on(in_time), Ok(1), "the first that is handled");
    assert_eq!((expired(&kit), kit.system().event_stream().dead_letters_total()), (2, 2));
}

#[test]
fn a_question_through_an_adapter_has_a_deadline_like_any_other() {
    let kit = TestKit::new();
    let clerk = clerk(&kit, "clerk");
    let (count, left) = kit.block_on(clerk.ask(ClerkMessage::Adapters, LONG)).unwrap();
    assert_eq!(kit.block_on(left.ask(|reply_to| reply_to, SECOND * 5)), Ok(Some(SECOND * 5)));
    clerk.tell(Nap(SECOND * 5));
    let late = count.ask(|reply_to| reply_to, SECOND);
    let in_time = count.ask(|reply_to| reply_to, SECOND * 10);
    assert_eq!(kit.block_on(late), Err(AskError::Timeout));
    assert_eq!(kit.block_on(in_time), Ok(1), "the first that is handled");
    assert_eq!(expired(&kit), 1);
}

#[test]
fn questions_expire_wherever_they_wait() {
    let mailboxes = [
        Mailbox::bounded(8),
        Mailbox::unbounded(),
        Mailbox::bounded(8).drop_oldest(),
        Mailbox::bounded(8).drop_newest(),
    ];
    for (mailbox, weighed) in mailboxes.into_iter().flat_map(|mailbox| [(mailbox, false), (mailbox, true)]) {
        let kit = TestKit::new();
        let mut props = Props::new(Clerk::default).mailbox(mailbox);
        if weighed {
            props = props.mailbox_bytes(1_000, |_| 1);
        }
        let clerk = kit.spawn("clerk", props);
        let (adapted, left) = kit.block_on(clerk.ask(ClerkMessage::Adapters, LONG)).unwrap();
        clerk.tell(Nap(SECOND * 5));
        kit.settle();
        let mapped = clerk.map(Count);
        let late = [clerk.ask(Count, SECOND), mapped.ask(|r| r, SECOND), adapted.ask(|r| r, SECOND)];
        let in_time = mapped.ask(|reply_to| reply_to, SECOND * 10);
        let time_left = left.ask(|reply_to| reply_to, SECOND * 10);
        for late in late {
            assert_eq!(kit.block_on(late), Err(AskError::Timeout), "{mailbox:?}, weighed: {weighed}");
        }
        assert_eq!(kit.block_on(in_time), Ok(1), "the first that is handled; {mailbox:?}, weighed: {weighed}");
        assert_eq!(kit.block_on(time_left), Ok(Some(SECOND * 5)), "{mailbox:?}, weighed: {weighed}");
        assert_eq!(expired(&kit), 3, "{mailbox:?}, weighed: {weighed}");
    }
}

#[test]
fn a_question_nobody_waits_for_any_more_is_handled_up_to_its_deadline() {
    let kit = TestKit::new();
    let clerk = clerk(&kit, "clerk");
    clerk.tell(Nap(SECOND * 5));
    drop(clerk.ask(Count, SECOND * 10));
    drop(clerk.ask(Count, SECOND));
    assert_eq!((kit.block_on(clerk.ask(Count, LONG)), expired(&kit)), (Ok(2), 1));
}

#[test]
fn a_question_that_is_late_at_its_own_actor_is_still_answered_in_time() {
    let kit = TestKit::new();
    let clerk = clerk(&kit, "clerk");
    let answer = kit.block_on(clerk.ask(|reply_to| NapThenCount(SECOND, reply_to), SECOND * 2));
    assert_eq!((answer, expired(&kit)), (Ok(1), 0));
}

#[test]
fn questions_expire_during_a_restart_too() {
    let kit = TestKit::new();
    let strategy = SupervisorStrategy::restart_with_backoff(SECOND * 5, SECOND * 5);
    let clerk = kit.spawn("clerk", Props::new(Clerk::default).supervise(strategy));
    let failing = clerk.ask(Fail, SECOND);
    kit.settle();
    let late = clerk.ask(Count, SECOND);
    assert_eq!(kit.block_on(failing), Err(AskError::NoReply));
    assert_eq!(kit.block_on(late), Err(AskError::Timeout));
    assert_eq!((kit.block_on(clerk.ask(Count, LONG)), expired(&kit)), (Ok(1), 1));
}

#[test]
fn a_question_asked_inside_an_actor_expires_too() {
    let kit = TestKit::new();
    let mut probe = kit.probe();
    let (asker, other) = (clerk(&kit, "asker"), clerk(&kit, "other"));
    for (round, way) in [Way::Awaited, Way::Message, Way::All].into_iter().enumerate() {
        other.tell(Nap(SECOND * 5));
        let before = expired(&kit);
        let ask = asker.ask(|reply_to| AskOther(way, other.clone(), SECOND, probe.actor_ref(), reply_to), LONG);
        assert_eq!(probe.expect_message(), (Err(AskError::Timeout), SECOND), "round {round}");
        kit.advance(SECOND * 5);
        assert_eq!(expired(&kit) - before, if way == Way::All { 2 } else { 1 });
        drop(ask);
    }
}

#[test]
fn an_ask_made_while_an_ask_is_handled_ends_no_later_than_that() {
    let kit = TestKit::new();
    let mut probe = kit.probe();
    let (asker, other) = (clerk(&kit, "asker"), clerk(&kit, "other"));
    for way in [Way::Awaited, Way::Message, Way::All, Way::Hedged, Way::HedgedInside] {
        let told = probe.actor_ref();
        let ask = |within: Duration, outer: Duration| {
            let (other, told) = (other.clone(), told.clone());
            asker.ask(move |reply_to| AskOther(way, other, within, told, reply_to), outer)
        };
        let outer_is_shorter = ask(LONG, SECOND * 2);
        kit.settle();
        assert_eq!(probe.expect_message(), (Err(AskError::Timeout), SECOND * 2), "{way:?}");
        drop(outer_is_shorter);

        let outer_is_longer = ask(SECOND * 2, LONG);
        assert_eq!(probe.expect_message(), (Err(AskError::Timeout), SECOND * 2), "{way:?}");
        drop(outer_is_longer);
    }
}

#[test]
fn the_first_deadline_holds_along_a_chain() {
    let kit = TestKit::new();
    let clerks: Vec<_> = ["d", "c", "b"].map(|name| clerk(&kit, name)).into();
    let (first, before) = (clerk(&kit, "a"), kit.clock().now());
    assert_eq!(kit.block_on(first.ask(|reply_to| Chain(clerks, reply_to), SECOND * 3)), Err(AskError::Timeout));
    assert_eq!(kit.clock().now() - before, SECOND * 3);
    // None of them still waits for the one after it, but the last, which waits for itself.
    assert!(kit.block_on(first.ask(Count, SECOND)).is_ok());
}

#[test]
fn a_deadline_ends_with_its_message() {
    let kit = TestKit::new();
    let mut probe = kit.probe();
    let (asker, other) = (clerk(&kit, "asker"), clerk(&kit, "other"));
    let mut later = |how: &str| {
        asker.tell(AskOtherUnasked(other.clone(), SECOND * 30, probe.actor_ref()));
        kit.advance(SECOND * 30);
        assert_eq!(probe.drain(), [(Err(AskError::Timeout), SECOND * 30)], "{how}");
    };
    assert_eq!(kit.block_on(asker.ask(Count, SECOND)), Ok(1));
    later("after one that was handled");
    assert!(kit.block_on(asker.ask(Fail, SECOND)).is_err());
    later("after one that failed");
}

#[test]
fn a_handler_knows_how_much_time_is_left() {
    let kit = TestKit::new();
    let clerk = clerk(&kit, "clerk");
    assert_eq!(kit.block_on(clerk.ask(Left, SECOND * 5)), Ok(Some(SECOND * 5)));
    clerk.tell(Nap(SECOND));
    assert_eq!(kit.block_on(clerk.ask(Left, SECOND * 5)), Ok(Some(SECOND * 4)));
    let (reply_to, left) = ReplyTo::channel();
    clerk.tell(Left(reply_to));
    assert_eq!(kit.block_on(left), Ok(None));
}

#[test]
fn what_is_left_counts_where_another_clock_goes() {
    let kit = TestKit::new();
    let mut probe = kit.probe();
    kit.advance(LONG * 10); // so the moments of the two clocks are far apart
    let runtime = kit.system().runtime();
    let elsewhere = ActorSystem::builder("elsewhere").clock(Clock::paused(runtime, 0)).runtime(runtime.clone()).start();
    let (asker, other) = (clerk(&kit, "asker"), elsewhere.spawn("other", Clerk::default()));
    for way in [Way::Awaited, Way::Message, Way::All] {
        let told = probe.actor_ref();
        let ask = asker.ask(|reply_to| AskOther(way, other.clone(), LONG, told, reply_to), SECOND * 2);
        assert_eq!(probe.expect_message(), (Err(AskError::Timeout), SECOND * 2), "{way:?}");
        drop(ask);
    }
    assert_eq!(kit.block_on(other.ask(Count, SECOND)), Ok(1));
    assert_eq!(elsewhere.event_stream().dead_letters_total(), 0);
}
