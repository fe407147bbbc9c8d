//! What happens when an actor fails, strategy by strategy.

use std::num::ParseIntError;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use actors::testkit::TestKit;
use actors::{
    Actor, ActorContext, ActorRef, ActorRestarted, ActorSystem, AskError, Behavior, BoxError, Handled, Panicked, Props,
    ReplyTo, Signal, SupervisorStrategy,
};

use crate::script::{Diary, Order, Scripted};

fn scripted(diary: &Diary) -> Props<Scripted> {
    let diary = diary.clone();
    let mut life = 0;
    Props::new(move || {
        life += 1;
        Scripted::new(format!("life{life}"), &diary)
    })
}

#[test]
fn the_default_is_to_stop() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let actor = kit.spawn("actor", scripted(&diary));
    actor.tell(Order::Fail("broken"));
    actor.tell(Order::note("never handled"));
    kit.settle();
    assert_eq!(diary.read(), ["life1 started", "life1 post-stop", "life1 dropped"]);
    assert!(actor.is_stopped());
}

#[test]
fn resume_drops_the_message_and_keeps_the_state() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let actor = kit.spawn("actor", scripted(&diary).supervise(SupervisorStrategy::resume()));
    actor.tell(Order::Fail("minor"));
    actor.tell(Order::note("goes on"));
    kit.settle();
    assert_eq!(diary.read(), ["life1 started", "life1 goes on"]);
}

#[test]
fn a_panic_never_resumes() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let actor = kit.spawn("actor", scripted(&diary).supervise(SupervisorStrategy::resume()));
    actor.tell(Order::Panic("half changed"));
    kit.settle();
    assert_eq!(diary.read(), ["life1 started", "life1 dropped"], "no handler runs on the state after a panic");
    assert!(actor.is_stopped());
}

/// Those above fail in the run in which they began.
#[test]
fn a_panic_of_an_actor_that_was_at_rest_is_supervised_like_any_other() {
    let strategies = [SupervisorStrategy::stop(), SupervisorStrategy::resume(), SupervisorStrategy::restart()];
    for (strategy, restarts) in strategies.into_iter().zip([false, false, true]) {
        let kit = TestKit::new();
        let diary = Diary::default();
        let mut watcher = kit.probe::<()>();
        let actor = kit.spawn("actor", scripted(&diary).supervise(strategy));
        kit.settle();
        actor.tell(Order::note("one"));
        kit.settle();
        actor.tell(Order::Panic("broken"));
        actor.tell(Order::note("two"));
        kit.settle();
        let lives = ["life1 started", "life1 one", "life1 dropped", "life2 started", "life2 two"];
        assert_eq!(diary.read(), lives[..if restarts { 5 } else { 3 }]);
        assert_eq!(actor.is_stopped(), !restarts);
        if !restarts {
            watcher.expect_terminated(&actor);
        }
    }
}

/// Whoever awaits an answer outside of actors may run the actor, on a thread that is no worker's.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_on_the_thread_of_whoever_asked_stays_there() {
    const WITHIN: Duration = Duration::from_secs(60);
    let system = ActorSystem::new("panics");
    let diary = Diary::default();
    let actor = system.spawn("actor", scripted(&diary).supervise(SupervisorStrategy::restart()));
    let ask = |panics: bool| {
        let answer = move |reply_to: ReplyTo<u32>| {
            Order::run(move |_, _| {
                assert!(!panics, "on purpose");
                reply_to.tell(7);
            })
        };
        actor.ask(answer, WITHIN)
    };
    for round in 0..20 {
        assert_eq!(ask(false).await, Ok(7), "round {round}");
        assert_eq!(ask(true).await, Err(AskError::NoReply), "round {round}");
    }
    assert_eq!(ask(false).await, Ok(7));
    assert_eq!(diary.read().iter().filter(|entry| entry.ends_with("started")).count(), 21);
    system.terminate().await;
}

#[test]
fn a_restart_keeps_the_reference_and_what_waits_but_not_the_message_that_failed() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let actor = kit.spawn("actor", scripted(&diary).supervise(SupervisorStrategy::restart()));
    actor.tell(Order::note("one"));
    actor.tell(Order::Fail("broken"));
    actor.tell(Order::note("two"));
    actor.tell(Order::Panic("broken again"));
    actor.tell(Order::note("three"));
    kit.settle();
    assert_eq!(
        diary.read(),
        [
            "life1 started",
            "life1 one",
            "life1 pre-restart",
            "life1 dropped",
            "life2 started",
            "life2 two",
            "life2 dropped", // no `PreRestart` after a panic
            "life3 started",
            "life3 three",
        ]
    );
}

/// Spawns a slow child in its factory and a timer; everything it does goes into the diary.
fn parent_of_slow_child(diary: &Diary) -> Props<Scripted> {
    let diary = diary.clone();
    let mut life = 0;
    Props::setup(move |ctx: &mut ActorContext<Order>| {
        life += 1;
        diary.note(format!("factory{life}"));
        ctx.spawn("child", SlowToStop { name: format!("child{life}"), diary: diary.clone() });
        ctx.timers().start_single("late", Duration::from_millis(500), Order::note(format!("timer{life}")));
        Scripted::new(format!("life{life}"), &diary)
    })
}

struct SlowToStop {
    name: String,
    diary: Diary,
}

impl Actor for SlowToStop {
    type Message = ();

    async fn receive(&mut self, _ctx: &mut ActorContext<()>, (): ()) -> Handled {
        Ok(Behavior::Same)
    }

    async fn on_signal(&mut self, ctx: &mut ActorContext<()>, signal: Signal) -> Handled {
        if let Signal::PostStop = signal {
            ctx.clock().sleep(Duration::from_secs(1)).await;
            self.diary.note(format!("{} post-stop", self.name));
        }
        Ok(Behavior::Same)
    }
}

#[test]
fn a_restart_goes_in_order_and_the_next_life_waits_for_all_of_it() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let strategy = SupervisorStrategy::restart_with_backoff(Duration::from_secs(2), Duration::from_secs(2)).jitter(0.0);
    let actor = kit.spawn("actor", parent_of_slow_child(&diary).supervise(strategy));
    kit.settle();
    assert_eq!(diary.read(), ["factory1", "life1 started"]);

    actor.tell(Order::Fail("broken"));
    actor.tell(Order::note("waits"));
    kit.settle();
    assert_eq!(diary.read(), ["life1 pre-restart"], "the child is still stopping");
    kit.advance(Duration::from_secs(1));
    assert_eq!(diary.read(), ["child1 post-stop", "life1 dropped"], "the old timer is gone, the delay begins now");
    kit.advance(Duration::from_millis(1_999));
    assert_eq!(diary.read(), [""; 0]);
    kit.advance(Duration::from_millis(1));
    assert_eq!(diary.read(), ["factory2", "life2 started", "life2 waits"]);
    kit.advance(Duration::from_millis(500));
    assert_eq!(diary.read(), ["life2 timer2"]);
}

#[test]
fn keep_children_lets_them_live_on() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let actor = kit.spawn("actor", scripted(&diary).supervise(SupervisorStrategy::restart().keep_children()));
    let child = diary.clone();
    actor.tell(Order::run(move |_, ctx| {
        ctx.spawn("child", Scripted::new("child", &child));
    }));
    actor.tell(Order::Fail("broken"));
    actor.tell(Order::run(|this, ctx| this.note(format!("has {}", ctx.children().count()))));
    kit.settle();
    let read = diary.read();
    assert!(read.contains(&"life2 has 1".to_owned()) && !read.contains(&"child post-stop".to_owned()), "{read:?}");
}

#[test]
fn a_stop_during_the_delay_ends_it() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let parent = kit.spawn("parent", Scripted::new("parent", &diary));
    let child = diary.clone();
    parent.tell(Order::run(move |_, ctx| {
        let hour = Duration::from_secs(3600);
        let props = scripted(&child).supervise(SupervisorStrategy::restart_with_backoff(hour, hour));
        let child = ctx.spawn("child", props);
        ctx.watch(&child);
        child.tell(Order::Fail("broken"));
    }));
    kit.advance(Duration::from_secs(60));
    diary.read();
    parent.tell(Order::run(|_, ctx| {
        let child = ctx.child::<Order>("child").unwrap();
        ctx.stop(&child);
    }));
    kit.settle();
    assert_eq!(diary.read(), ["parent terminated child"]);
}

/// Fails to start as often as told.
struct Starts {
    failures_left: Arc<AtomicU32>,
    attempts: ActorRef<Duration>,
}

impl Actor for Starts {
    type Message = ();

    async fn started(&mut self, ctx: &mut ActorContext<()>) -> Handled {
        self.attempts.tell(ctx.clock().now().since_start());
        let left = self.failures_left.load(Ordering::Relaxed);
        if left > 0 {
            self.failures_left.store(left - 1, Ordering::Relaxed);
            return Err(BoxError::from("not yet"));
        }
        Ok(Behavior::Same)
    }

    async fn receive(&mut self, _ctx: &mut ActorContext<()>, (): ()) -> Handled {
        Err(BoxError::from("told to"))
    }
}

fn attempts_to_start(failures: u32, strategy: SupervisorStrategy) -> (Vec<Duration>, bool) {
    let kit = TestKit::new();
    let mut attempts = kit.probe();
    let told = attempts.actor_ref();
    let left = Arc::new(AtomicU32::new(failures));
    let props = Props::new(move || Starts { failures_left: left.clone(), attempts: told.clone() });
    let actor = kit.spawn("actor", props.supervise(strategy));
    kit.advance(Duration::from_secs(3600));
    (attempts.drain(), actor.is_stopped())
}

#[test]
fn an_unlimited_restart_does_not_spin_on_a_failing_start() {
    let (attempts, stopped) = attempts_to_start(1, SupervisorStrategy::restart());
    assert_eq!((attempts.len(), stopped), (1, true));
}

#[test]
fn a_failing_start_never_resumes() {
    assert_eq!(attempts_to_start(1, SupervisorStrategy::resume()).0.len(), 1);
}

#[test]
fn with_a_limit_failing_starts_count() {
    let limited = SupervisorStrategy::restart().with_limit(3, Duration::from_secs(60));
    let (attempts, stopped) = attempts_to_start(2, limited.clone());
    assert_eq!((attempts.len(), stopped), (3, false));
    let (attempts, stopped) = attempts_to_start(9, limited);
    assert_eq!((attempts.len(), stopped), (4, true), "the first start and three restarts");
}

#[test]
fn the_delay_doubles_up_to_its_maximum_and_starts_again_after_a_good_life() {
    let ms = Duration::from_millis;
    let strategy = SupervisorStrategy::restart_with_backoff(ms(100), ms(1_000)).jitter(0.0);
    let kit = TestKit::new();
    let mut attempts = kit.probe();
    let told = attempts.actor_ref();
    let left = Arc::new(AtomicU32::new(6));
    let props = Props::new(move || Starts { failures_left: left.clone(), attempts: told.clone() });
    let actor = kit.spawn("actor", props.supervise(strategy));
    kit.advance(ms(60_000));
    let at: Vec<u128> = attempts.drain().iter().map(Duration::as_millis).collect();
    assert_eq!(at, [0, 100, 300, 700, 1_500, 2_500, 3_500]);

    let failed_at = kit.clock().now().since_start();
    actor.tell(());
    kit.advance(ms(60_000));
    assert_eq!(attempts.drain(), [failed_at + ms(100)]);
}

#[test]
fn the_delay_is_stretched_at_random_but_not_beyond_its_share() {
    let ms = Duration::from_millis;
    let strategy = SupervisorStrategy::restart_with_backoff(ms(1_000), ms(1_000)).jitter(0.5);
    let (attempts, _) = attempts_to_start(50, strategy);
    let gaps: Vec<Duration> = attempts.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(gaps.len(), 50);
    assert!(gaps.iter().all(|gap| (ms(1_000)..=ms(1_501)).contains(gap)), "{gaps:?}");
    assert!(gaps.iter().any(|gap| *gap != gaps[0]), "{gaps:?}");
}

#[test]
fn the_limit_is_per_window() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let strategy = SupervisorStrategy::restart().with_limit(2, Duration::from_secs(10));
    let actor = kit.spawn("actor", scripted(&diary).supervise(strategy));
    for _ in 0..5 {
        actor.tell(Order::Fail("now and then"));
        kit.advance(Duration::from_secs(6));
    }
    assert!(!actor.is_stopped(), "never more than two in ten seconds");
    actor.tell(Order::Fail("a burst"));
    actor.tell(Order::Fail("a burst"));
    kit.settle();
    assert!(actor.is_stopped());
}

#[test]
fn the_type_of_the_error_chooses_the_strategy() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let props = scripted(&diary)
        .supervise_error::<ParseIntError>(SupervisorStrategy::resume())
        .supervise_error::<ParseIntError>(SupervisorStrategy::stop()) // the first for a type counts
        .supervise_error::<Panicked>(SupervisorStrategy::restart())
        .supervise(SupervisorStrategy::stop());
    let actor = kit.spawn("actor", props);
    let parse = || Order::Do(Box::new(|_, _| Err("x".parse::<u32>().unwrap_err().into())));
    actor.tell(parse());
    actor.tell(Order::note("resumed"));
    actor.tell(Order::Panic("anything"));
    actor.tell(Order::note("restarted"));
    actor.tell(Order::Fail("anything"));
    actor.tell(Order::note("stopped"));
    kit.settle();
    let told: Vec<String> =
        diary.read().into_iter().filter(|entry| entry.ends_with("ed") && !entry.contains("dropped")).collect();
    assert_eq!(told, ["life1 started", "life1 resumed", "life2 started", "life2 restarted"]);
    assert!(actor.is_stopped());
}

#[test]
fn a_value_cannot_be_made_again() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let second = Duration::from_secs(1);
    for strategy in [SupervisorStrategy::restart(), SupervisorStrategy::restart_with_backoff(second, second)] {
        let quiet = Diary::default();
        let parent = kit.system().spawn_anonymous(Scripted::new("parent", &diary));
        parent.tell(Order::run(move |_, ctx| {
            let child = ctx.spawn("child", Props::from(Scripted::new("value", &quiet)).supervise(strategy));
            ctx.watch(&child);
            child.tell(Order::Fail("broken"));
        }));
        kit.settle();
        assert_eq!(
            diary.read(),
            ["parent started", "parent child-failed child broken"],
            "it stops with what it failed of"
        );
    }
}

#[test]
fn a_factory_that_panics_is_a_failing_start() {
    let kit = TestKit::new();
    let mut calls = 0;
    let props = Props::new(move || -> Scripted {
        calls += 1;
        panic!("call {calls}")
    });
    let strategy = SupervisorStrategy::restart().with_limit(1, Duration::from_secs(1));
    let actor = kit.spawn("actor", props.supervise(strategy));
    kit.settle();
    assert!(actor.is_stopped());
}

#[test]
fn a_destructor_that_panics_does_not_take_the_parent_along() {
    struct Bomb;
    impl Actor for Bomb {
        type Message = ();
        async fn receive(&mut self, _ctx: &mut ActorContext<()>, (): ()) -> Handled {
            Ok(Behavior::Stopped)
        }
    }
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("in drop");
        }
    }
    let kit = TestKit::new();
    let mut probe = kit.probe::<()>();
    let bomb = kit.spawn("bomb", Bomb);
    bomb.tell(());
    probe.expect_terminated(&bomb);
}

#[test]
fn a_restart_is_published_with_its_cause() {
    let kit = TestKit::new();
    let mut events = kit.probe::<ActorRestarted>();
    kit.system().event_stream().subscribe(&events.actor_ref());
    let actor = kit.spawn("actor", scripted(&Diary::default()).supervise(SupervisorStrategy::restart()));
    actor.tell(Order::Fail("broken"));
    let event = events.expect_message();
    assert_eq!((event.actor, event.cause.to_string()), (actor.path().clone(), "broken".to_owned()));
}

#[test]
fn a_factory_may_fail_with_an_error_and_its_children_are_stopped() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let made = diary.clone();
    let mut attempts = 0;
    let props = Props::try_setup(move |ctx: &mut ActorContext<Order>| {
        attempts += 1;
        ctx.spawn("child", Scripted::new(format!("child{attempts}"), &made));
        let port = if attempts < 2 { "none" } else { "80" };
        port.parse::<u16>()?;
        Ok(Scripted::new("actor", &made))
    });
    let actor =
        kit.spawn("actor", props.supervise(SupervisorStrategy::restart().with_limit(1, Duration::from_secs(1))));
    kit.settle();
    let read = diary.read();
    let at = |entry: &str| read.iter().position(|line| line == entry).unwrap_or_else(|| panic!("{entry}: {read:#?}"));
    assert!(at("child1 dropped") < at("actor started"), "{read:#?}");
    assert!(read.contains(&"child2 started".to_owned()) && !actor.is_stopped(), "{read:#?}");
}
