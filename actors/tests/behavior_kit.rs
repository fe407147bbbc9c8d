//! One actor alone: its handlers run when the test says so, and what they did is there as values.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use actors::testkit::{BehaviorTestKit, Effect, TimerKind};
use actors::{
    Actor, ActorContext, ActorRef, AskError, Behavior, Handled, MissedTicks, Panicked, Props, ReplyTo, Signal,
    StashBuffer, SupervisorStrategy, UnhandledMessage,
};

use crate::script::{Diary, Order, Scripted};

const SECOND: Duration = Duration::from_secs(1);

/// What `work` panics with.
pub(crate) fn panic_of<R>(work: impl FnOnce() -> R) -> String {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        work();
    }));
    let panic = outcome.expect_err("it was expected to panic");
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => (*panic.downcast::<&str>().expect("a panic with text")).to_owned(),
    }
}

pub(crate) fn assert_says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "expected `{part}` in: {text}");
    }
}

fn scripted() -> (BehaviorTestKit<Scripted>, Diary) {
    let diary = Diary::default();
    let kit = BehaviorTestKit::new(Scripted::new("it", &diary));
    assert_eq!(diary.read(), ["it started"]);
    (kit, diary)
}

/// Spawned by others; never runs.
struct Child;

impl Actor for Child {
    type Message = &'static str;

    async fn started(&mut self, _ctx: &mut ActorContext<&'static str>) -> Handled {
        unreachable!("a child under the kit is an inbox")
    }

    async fn receive(&mut self, _ctx: &mut ActorContext<&'static str>, _message: &'static str) -> Handled {
        Ok(Behavior::Same)
    }
}

#[test]
fn a_child_is_an_inbox_that_the_test_reads() {
    let (mut kit, _) = scripted();
    kit.run(Order::run(|_, ctx| {
        let child = ctx.spawn("child", Child);
        child.tell("first");
        child.tell("second");
        ctx.spawn_anonymous(Child).tell("third");
    }));
    let actor_type = std::any::type_name::<Child>();
    kit.expect_effect(Effect::Spawned { name: "child".into(), actor_type });
    kit.expect_effect(Effect::SpawnedAnonymous { name: "$1".into(), actor_type });
    kit.expect_no_effects();
    let mut child = kit.child_inbox::<&'static str>("child");
    assert_eq!(child.expect_message(), "first");
    assert_eq!(child.drain(), ["second"]);
    assert_eq!(kit.child_inbox::<&'static str>("$1").drain(), ["third"]);

    let text = panic_of(|| kit.child_inbox::<u32>("child"));
    assert_says(&text, &["/user/actor has no child `child` with messages of type u32", "$1"]);
}

#[test]
fn the_end_of_a_child_is_news_that_waits_until_the_test_has_it_handled() {
    let (mut kit, diary) = scripted();
    kit.run(Order::run(|_, ctx| {
        let (first, second) = (ctx.spawn("first", Child), ctx.spawn("second", Child));
        ctx.watch(&first);
        ctx.watch_with(&second, Order::note("second has ended"));
        ctx.stop(&first);
    }));
    let first = kit.effects();
    assert!(
        matches!(&first[2], Effect::Watched { target, with_message: false } if target.name() == "first"),
        "{first:?}"
    );
    assert!(
        matches!(&first[3], Effect::Watched { target, with_message: true } if target.name() == "second"),
        "{first:?}"
    );
    assert!(matches!(&first[4], Effect::Stopped { child } if child.name() == "first"), "{first:?}");
    assert_eq!(kit.waiting(), 1);
    kit.end_child("second");
    assert_eq!((kit.waiting(), diary.read().len()), (2, 0));
    assert_eq!(kit.run_all(), 2);
    assert_eq!(diary.read(), ["it terminated first", "it second has ended"]);
    kit.expect_no_effects();

    let text = panic_of(|| kit.end_child("first"));
    assert_says(&text, &["/user/actor has no child `first`"]);
}

#[test]
fn each_way_to_end_a_child_is_an_effect_of_its_own() {
    let (mut kit, _) = scripted();
    kit.run(Order::run(|_, ctx| {
        let children = ["a", "b", "c", "d"].map(|name| ctx.spawn(name, Child));
        ctx.stop(&children[0]);
        ctx.stop_within(&children[1], SECOND);
        ctx.drain(&children[2], SECOND * 2);
        ctx.kill(&children[3]);
    }));
    let ends: Vec<String> = kit.effects()[4..].iter().map(|effect| format!("{effect:?}")).collect();
    assert!(ends[0].starts_with("Stopped { child: /user/actor/a#"), "{ends:?}");
    assert!(
        ends[1].starts_with("StoppedWithin { child: /user/actor/b#") && ends[1].ends_with("limit: 1s }"),
        "{ends:?}"
    );
    assert!(ends[2].starts_with("Drained { child: /user/actor/c#") && ends[2].ends_with("within: 2s }"), "{ends:?}");
    assert!(ends[3].starts_with("Killed { child: /user/actor/d#"), "{ends:?}");
}

#[test]
fn a_signal_is_handled_when_the_test_sends_it_and_an_unhandled_end_is_a_failure() {
    let diary = Diary::default();
    let mut kit = BehaviorTestKit::new(Scripted::new("it", &diary).careless());
    let other = kit.probe::<()>().actor_ref().path().clone();
    kit.signal(Signal::ChildFailed {
        child: other.clone(),
        cause: std::sync::Arc::new(Panicked { message: "no".into() }),
    });
    let failure = kit.expect_failure(|kit| kit.signal(Signal::Terminated(other)));
    assert_says(&failure, &["death pact", "terminated and the watching actor did not handle the signal"]);
    assert!(!kit.is_alive());
    assert_eq!(diary.read()[1], "it child-failed $2 panicked: no");
}

#[test]
fn timers_are_effects_and_run_when_the_test_says_so_or_time_passes() {
    let (mut kit, diary) = scripted();
    kit.run(Order::run(|_, ctx| {
        ctx.timers().start_single("once", SECOND, Order::note("once"));
        ctx.timers().start_with_fixed_delay("delay", SECOND * 10, || Order::note("delay"));
        ctx.timers().start_at_fixed_rate("rate", SECOND * 20, MissedTicks::Burst, || Order::note("rate"));
        ctx.timers().cancel("nothing");
        ctx.set_receive_timeout(SECOND * 100, || Order::note("quiet"));
    }));
    let timer = |key: &'static str, delay, kind| Effect::TimerScheduled { key: key.into(), delay, kind };
    kit.expect_effect(timer("once", SECOND, TimerKind::Single));
    kit.expect_effect(timer("delay", SECOND * 10, TimerKind::FixedDelay));
    kit.expect_effect(timer("rate", SECOND * 20, TimerKind::FixedRate { missed: MissedTicks::Burst }));
    kit.expect_effect(Effect::TimerCancelled { key: "nothing".into() });
    kit.expect_effect(Effect::ReceiveTimeoutSet { after: SECOND * 100 });
    kit.expect_no_effects();

    kit.run_timer("once");
    assert_eq!(diary.read(), ["it once"]);
    let text = panic_of(|| kit.run_timer("once"));
    assert_says(&text, &["/user/actor has no timer `once`"]);

    kit.advance(SECOND * 4);
    kit.run_timer("delay"); // from here on again
    assert_eq!(diary.read(), ["it delay"]);
    kit.advance(SECOND * 9);
    assert_eq!(diary.read(), [""; 0]);
    kit.advance(SECOND * 7);
    assert_eq!(diary.read(), ["it delay", "it rate"]);

    kit.run(Order::run(|_, ctx| {
        ctx.timers().cancel_all();
        ctx.cancel_receive_timeout();
    }));
    assert_eq!(kit.effects(), [Effect::AllTimersCancelled, Effect::ReceiveTimeoutCancelled]);
    kit.advance(SECOND * 1_000);
    assert_eq!(diary.read(), [""; 0]);
}

#[test]
fn the_receive_timeout_counts_from_the_last_message_the_test_ran() {
    let (mut kit, diary) = scripted();
    kit.run(Order::run(|_, ctx| ctx.set_receive_timeout(SECOND * 2, || Order::note("quiet"))));
    kit.advance(SECOND * 3 / 2);
    kit.run(Order::note("message"));
    kit.advance(SECOND * 3 / 2);
    assert_eq!(diary.read(), ["it message"]);
    kit.advance(SECOND / 2);
    assert_eq!(diary.read(), ["it quiet"]);
}

#[test]
fn what_it_tells_itself_waits_in_its_own_inbox() {
    let (mut kit, diary) = scripted();
    kit.run(Order::run(|_, ctx| {
        ctx.this().tell(Order::note("itself"));
        ctx.message_adapter::<u32>(Order::note).tell(7);
        ctx.pipe_to_self(async { 8 }, Order::note);
        ctx.spawn_task(async {});
    }));
    assert_eq!(
        kit.effects(),
        [
            Effect::MessageAdapter { message_type: "u32" },
            Effect::PipedToSelf { output_type: "i32" },
            Effect::TaskSpawned,
        ]
    );
    assert_eq!((kit.waiting(), diary.read().len()), (3, 0));
    assert!(kit.run_one());
    assert_eq!(kit.run_all(), 2);
    assert!(!kit.run_one());
    let mut handled = diary.read();
    handled.sort();
    assert_eq!(handled, ["it 7", "it 8", "it itself"]);

    kit.run(Order::run(|_, ctx| ctx.this().tell(Order::note("never"))));
    assert_eq!(kit.self_inbox().len(), 1);
    assert_eq!((kit.run_all(), diary.read().len()), (0, 0));
}

/// Asks whom it is told to.
struct Asker {
    stash: StashBuffer<Asking>,
    answers: Vec<Result<u32, AskError>>,
}

enum Asking {
    Without(ActorRef<ReplyTo<u32>>),
    Awaiting(ActorRef<ReplyTo<u32>>),
    Answer(Result<u32, AskError>),
    Later,
    Unstash,
}

impl Asker {
    fn new() -> Self {
        Self { stash: StashBuffer::with_capacity(2), answers: Vec::new() }
    }
}

impl Actor for Asker {
    type Message = Asking;

    async fn receive(&mut self, ctx: &mut ActorContext<Asking>, message: Asking) -> Handled {
        match message {
            Asking::Without(whom) => ctx.ask(&whom, |reply_to| reply_to, SECOND * 5, Asking::Answer),
            Asking::Awaiting(whom) => self.answers.push(whom.ask(|reply_to| reply_to, SECOND * 5).await),
            Asking::Answer(answer) => self.answers.push(answer),
            Asking::Later if self.answers.is_empty() => self.stash.stash(Asking::Later)?,
            Asking::Later => return Ok(Behavior::Unhandled),
            Asking::Unstash => ctx.unstash_all(&mut self.stash),
        }
        Ok(Behavior::Same)
    }
}

#[test]
fn an_ask_is_an_effect_and_its_answer_a_message_that_waits() {
    let mut kit = BehaviorTestKit::new(Asker::new());
    let mut asked = kit.probe();
    kit.run(Asking::Without(asked.actor_ref()));
    kit.expect_effect(Effect::AskSent { target: asked.actor_ref().path().clone(), within: SECOND * 5 });
    asked.expect_message().tell(42);
    assert_eq!(kit.waiting(), 1);
    kit.run_one();
    kit.run(Asking::Without(asked.actor_ref()));
    kit.advance(SECOND * 5);
    assert_eq!(kit.with(|actor, _| actor.answers.clone()), [Ok(42), Err(AskError::Timeout)]);
}

#[test]
fn a_handler_that_awaits_something_is_reported_unless_it_may() {
    let mut kit = BehaviorTestKit::new(Asker::new());
    let mut asked = kit.probe();
    let to = asked.actor_ref();
    kit.begin(Asking::Awaiting(to.clone()));
    assert!(kit.is_suspended());
    let text = panic_of(|| kit.run(Asking::Unstash));
    assert_says(&text, &["/user/actor is still suspended in a handler"]);
    asked.expect_message().tell(1);
    kit.settle();
    assert!(!kit.is_suspended());
    kit.begin(Asking::Awaiting(to.clone()));
    kit.advance(SECOND * 5);
    assert_eq!(kit.with(|actor, _| actor.answers.clone()), [Ok(1), Err(AskError::Timeout)]);

    let text = panic_of(|| kit.run(Asking::Awaiting(to)));
    assert_says(&text, &["/user/actor has not come to the end of handling a message", "Use `begin`"]);
}

#[test]
fn what_it_stashed_comes_back_as_messages_that_wait() {
    let mut kit = BehaviorTestKit::new(Asker::new());
    let mut unhandled = kit.probe::<UnhandledMessage>();
    kit.kit().system().event_stream().subscribe(&unhandled.actor_ref());
    kit.run(Asking::Later);
    kit.run(Asking::Later);
    kit.run(Asking::Answer(Ok(1)));
    kit.run(Asking::Unstash);
    assert_eq!(kit.effects(), [Effect::Unstashed { count: 2 }]);
    assert_eq!(kit.returned(), Some(Ok(Behavior::Same)));
    assert_eq!(kit.run_all(), 2);
    assert_eq!(kit.returned(), Some(Ok(Behavior::Unhandled)));
    assert_eq!(unhandled.drain().len(), 2);
}

#[test]
fn it_stops_as_it_does_under_a_parent() {
    let (mut kit, diary) = scripted();
    kit.run(Order::run(|_, ctx| drop(ctx.spawn("child", Child))));
    let child = kit.child_inbox::<&'static str>("child").actor_ref();
    kit.run(Order::Stop);
    assert_eq!(kit.returned(), Some(Ok(Behavior::Stopped)));
    assert!(!kit.is_alive() && child.is_stopped());
    assert_eq!(diary.read(), ["it post-stop", "it dropped"]);
    let text = panic_of(|| kit.run(Order::note("late")));
    assert_says(&text, &["/user/actor has stopped"]);

    let (mut kit, diary) = scripted();
    kit.stop();
    assert!(!kit.is_alive());
    assert_eq!(diary.read(), ["it post-stop", "it dropped"]);
}

#[test]
fn a_failure_fails_the_test_unless_it_is_expected() {
    let (mut kit, _) = scripted();
    let text = panic_of(|| kit.run(Order::Fail("broken")));
    assert_says(&text, &["/user/actor failed: broken", "`expect_failure`"]);

    let (mut kit, _) = scripted();
    assert_eq!(kit.expect_failure(|kit| kit.run(Order::Fail("broken"))), "broken");
    assert_eq!(kit.returned(), Some(Err("broken".into())));
    assert!(!kit.is_alive(), "the strategy is to stop");

    let (mut kit, _) = scripted();
    let text = panic_of(|| kit.expect_failure(|kit| kit.run(Order::note("fine"))));
    assert_says(&text, &["expected one failure, got []"]);
}

#[test]
fn a_panic_in_a_handler_is_a_panic_of_the_test() {
    let (mut kit, _) = scripted();
    assert_eq!(panic_of(|| kit.run(Order::Panic("of the handler"))), "of the handler");
    let (mut kit, _) = scripted();
    assert_eq!(kit.expect_failure(|kit| kit.run(Order::Panic("meant"))), "panicked: meant");
}

#[test]
fn a_panic_beside_the_handlers_is_noticed() {
    let (mut kit, _) = scripted();
    let text = panic_of(|| kit.run(Order::run(|_, ctx| ctx.spawn_task(async { panic!("beside") }))));
    assert_says(&text, &["/user/actor failed beside its handlers"]);
}

#[test]
fn supervision_is_the_real_one() {
    let diary = Diary::default();
    let made = diary.clone();
    let props = Props::setup(move |ctx| {
        ctx.spawn("child", Child);
        Scripted::new("it", &made)
    });
    let mut kit = BehaviorTestKit::new(props.supervise(SupervisorStrategy::restart_with_backoff(SECOND, SECOND)));
    assert_eq!(kit.effects().len(), 1, "what the factory does counts too");
    kit.expect_failure(|kit| kit.run(Order::Fail("broken")));
    assert_eq!(diary.read(), ["it started", "it pre-restart", "it dropped"]);
    kit.advance(SECOND * 2);
    assert_eq!(diary.read(), ["it started"]);
    kit.expect_effect_where(|effect| matches!(effect, Effect::Spawned { name, .. } if name == "child"));
    kit.run(Order::note("lives on"));
    assert_eq!(diary.read(), ["it lives on"]);
}

#[test]
fn a_failure_to_start_is_an_error_or_fails_the_test() {
    let never = || Props::<Scripted>::try_setup(|_| Err("no such file".into()));
    assert_eq!(BehaviorTestKit::try_new(never()).unwrap_err(), "no such file");
    let text = panic_of(|| BehaviorTestKit::new(never()));
    assert_says(&text, &["the actor failed to start: no such file"]);
}

#[test]
fn an_effect_that_was_not_expected_is_shown() {
    let (mut kit, _) = scripted();
    let text = panic_of(|| kit.expect_effect(Effect::TaskSpawned));
    assert_says(&text, &["expected TaskSpawned, but the actor did nothing more"]);

    kit.run(Order::run(|_, ctx| {
        ctx.timers().cancel("a");
        ctx.timers().cancel("b");
    }));
    let text = panic_of(|| kit.expect_effect(Effect::TaskSpawned));
    assert_says(
        &text,
        &["expected TaskSpawned, got TimerCancelled { key: \"a\" }", "followed by [TimerCancelled { key: \"b\" }]"],
    );
    let text = panic_of(|| kit.expect_effect_where(|effect| *effect == Effect::TaskSpawned));
    assert_says(&text, &["got TimerCancelled { key: \"b\" }, which is not what was expected"]);

    kit.run(Order::run(|_, ctx| ctx.spawn_task(async {})));
    let text = panic_of(|| kit.expect_no_effects());
    assert_says(&text, &["expected no effects, got [TaskSpawned]"]);
}

#[test]
fn an_actor_that_never_comes_to_rest_is_reported() {
    fn again() -> Order {
        Order::run(|_, ctx| ctx.this().tell(again()))
    }
    let (mut kit, _) = scripted();
    kit.run(again());
    let text = panic_of(|| kit.run_all());
    assert_says(&text, &["does not come to rest"]);
}
