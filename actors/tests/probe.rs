//! Probes: what they expect, and what they say when it does not come.

use std::time::Duration;

use actors::testkit::FishingOutcome::{Complete, Continue, ContinueAndIgnore, Fail};
use actors::testkit::{TestKit, TestProbe};
use actors::{AskError, DeadLetterReason, ReplyTo};

use crate::behavior_kit::{assert_says, panic_of};
use crate::script::{Diary, Order, Scripted};

const SECOND: Duration = Duration::from_secs(1);

fn told<M: Send + 'static>(kit: &TestKit, messages: impl IntoIterator<Item = M>) -> TestProbe<M> {
    let probe = kit.probe();
    messages.into_iter().for_each(|message| probe.actor_ref().tell(message));
    probe
}

#[test]
fn an_expected_message_comes_in_time_or_the_test_fails() {
    let kit = TestKit::new();
    let mut probe = told(&kit, [1, 2]);
    assert_eq!((probe.expect_message(), probe.expect_message_within(SECOND)), (1, 2));
    let before = kit.clock().now();
    assert_says(&panic_of(|| probe.expect_message()), &["expected a message within 3s, none came"]);
    assert_says(&panic_of(|| probe.expect_message_within(SECOND)), &["expected a message within 1s, none came"]);
    assert_eq!(kit.clock().now() - before, SECOND * 4, "in virtual time");
}

#[test]
fn a_late_message_is_waited_for() {
    let kit = TestKit::new();
    let mut probe = kit.probe();
    let to = probe.actor_ref();
    let actor = kit.spawn("actor", Scripted::new("it", &Diary::default()));
    actor.tell(Order::run(move |_, ctx| {
        ctx.timers().start_single("later", SECOND * 2, Order::run(move |_, _| to.tell("late")));
    }));
    assert_eq!(probe.expect_message_eq("late"), "late");
    assert_eq!(kit.clock().now().since_start(), SECOND * 2, "and no longer");
}

#[test]
fn a_dilated_kit_is_more_patient() {
    let kit = TestKit::new().with_dilation(1.5);
    assert_eq!(kit.dilated(SECOND * 2), SECOND * 3);
    let mut probe = kit.probe::<u32>();
    assert_says(&panic_of(|| probe.expect_message()), &["within 4.5s"]);
    probe.expect_no_message(SECOND);
    assert_eq!(kit.clock().now().since_start(), SECOND * 11 / 2, "time that passes anyway is not dilated");
}

#[test]
fn another_message_than_expected_is_shown_and_so_is_what_followed() {
    let kit = TestKit::new();
    let mut probe = told(&kit, [1, 2, 3]);
    assert_says(&panic_of(|| probe.expect_message_eq(7)), &["expected 7, got 1, followed by [2, 3]"]);
    assert_says(&panic_of(|| probe.expect_message_eq(7)), &["expected 7 within 3s, no message came"]);

    let mut probe = told(&kit, [1, 2]);
    assert_eq!(probe.expect_any_of([2, 1]), 1);
    assert_says(&panic_of(|| probe.expect_any_of([7, 8])), &["expected one of [7, 8], got 2"]);
}

#[test]
fn messages_are_expected_in_whatever_order() {
    let kit = TestKit::new();
    let mut probe = told(&kit, [1, 2, 2, 3, 9]);
    assert_eq!(probe.expect_all_of([2, 1, 2]), [1, 2, 2]);
    assert_says(&panic_of(|| probe.expect_all_of([4, 3])), &["expected [4] in whatever order, got 9 after [3]"]);
    let mut probe = told(&kit, [1]);
    assert_says(&panic_of(|| probe.expect_all_of([1, 2])), &["expected [2] within 3s, only [1] came"]);
}

#[test]
fn several_messages_are_received_or_those_that_came_are_shown() {
    let kit = TestKit::new();
    let mut probe = told(&kit, [1, 2, 3]);
    assert_eq!(probe.receive_messages(2, SECOND), [1, 2]);
    assert_says(&panic_of(|| probe.receive_messages(2, SECOND)), &["expected 2 messages within 1s, 1 came: [3]"]);
}

#[test]
fn fishing_keeps_drops_catches_or_fails() {
    let kit = TestKit::new();
    let hook = |message: &i32| match message {
        0 => Fail("zero is no fish".into()),
        1..10 => Continue,
        10..100 => ContinueAndIgnore,
        _ => Complete,
    };
    let mut probe = told(&kit, [1, 10, 2, 100, 3]);
    assert_eq!(probe.fish_for_message(SECOND, hook), [1, 2, 100]);
    let text = panic_of(|| probe.fish_for_message(SECOND, hook));
    assert_says(&text, &["did not catch within 1s what was fished for; this came: [3]"]);
    let mut probe = told(&kit, [5, 0, 100]);
    let text = panic_of(|| probe.fish_for_message(SECOND, hook));
    assert_says(&text, &["fishing failed: zero is no fish; this came: [5, 0]"]);
}

#[test]
fn silence_is_expected_for_as_long_as_it_says() {
    let kit = TestKit::new();
    let mut probe = told::<u32>(&kit, []);
    probe.expect_no_message(SECOND);
    probe.actor_ref().tell(1);
    probe.actor_ref().tell(2);
    let text = panic_of(|| probe.expect_no_message(SECOND));
    assert_says(&text, &["expected no message for 1s, got 1, followed by [2]"]);
}

#[derive(Debug)]
enum Question {
    Total(ReplyTo<u32>),
    Other,
}

fn total(question: Question) -> Result<ReplyTo<u32>, Question> {
    if let Question::Total(reply_to) = question { Ok(reply_to) } else { Err(question) }
}

#[test]
fn a_question_is_expected_and_answered() {
    let kit = TestKit::new();
    let mut probe = kit.probe();
    let to = probe.actor_ref();
    let ask = to.ask(Question::Total, SECOND);
    probe.expect_question(total).tell(7);
    assert_eq!(kit.block_on(ask), Ok(7));

    to.tell(Question::Other);
    assert_says(&panic_of(|| probe.expect_question(total)), &["got Other, which is not what was expected"]);
    drop(to.ask(Question::Total, SECOND));
    assert_says(&panic_of(|| probe.expect_question(total)), &["whose asker does not wait for the answer any more"]);
    to.tell(Question::Other);
    assert_eq!(
        probe.expect_map(|question| if let Question::Other = question { Ok("other") } else { Err(question) }),
        "other"
    );
}

#[test]
fn a_probe_can_answer_by_itself_and_leave_the_rest_to_the_test() {
    let kit = TestKit::new();
    let mut probe = kit.probe();
    let mut answers = 40..;
    probe.answer_with(move |question| match question {
        Question::Total(reply_to) => {
            reply_to.tell(answers.next()?);
            None
        }
        other @ Question::Other => Some(other),
    });
    let to = probe.actor_ref();
    assert_eq!(kit.block_on(to.ask(Question::Total, SECOND)), Ok(40));
    to.tell(Question::Other);
    assert_eq!(kit.block_on(to.ask(Question::Total, SECOND)), Ok(41));
    assert!(matches!(*probe.drain(), [Question::Other]));
}

#[test]
fn the_end_of_an_actor_is_awaited_and_its_absence_named() {
    let kit = TestKit::new();
    let mut probe = kit.probe::<()>();
    let actor = kit.spawn("actor", Scripted::new("it", &Diary::default()));
    let text = panic_of(|| probe.expect_terminated(&actor));
    assert_says(&text, &["expected /user/actor to terminate within 3s, it has not"]);
    let text = panic_of(|| probe.expect_terminated_within(&actor, SECOND));
    assert_says(&text, &["expected /user/actor to terminate within 1s, it has not"]);
    actor.tell(Order::Stop);
    probe.expect_terminated(&actor);
    probe.expect_terminated(&actor);
    kit.probe::<u32>().expect_terminated(&actor);
}

#[test]
fn a_probe_that_is_dropped_or_stopped_ends_like_any_actor() {
    let kit = TestKit::new();
    let (mut stopped, dropped) = (kit.probe::<ReplyTo<u32>>(), kit.probe::<ReplyTo<u32>>());
    let (to_stopped, to_dropped) = (stopped.actor_ref(), dropped.actor_ref());
    let unread = to_dropped.ask(|reply_to| reply_to, SECOND);
    kit.settle();
    drop(dropped);
    stopped.stop();
    assert!(to_stopped.is_stopped() && to_dropped.is_stopped());
    assert_eq!(kit.block_on(unread), Err(AskError::NoReply));
    to_stopped.tell(ReplyTo::ignore());
    assert_eq!(kit.system().event_stream().dead_letters(DeadLetterReason::Stopped), 1);
    kit.probe::<()>().expect_terminated(&to_dropped);
}

#[test]
fn a_probe_outlives_its_system() {
    let kit = TestKit::new();
    let mut probe = kit.probe();
    kit.shutdown();
    probe.actor_ref().tell("last words");
    assert_eq!(probe.drain(), ["last words"]);
}
