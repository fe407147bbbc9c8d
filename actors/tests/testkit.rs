//! The kit itself: its time, its end, its seeds, what it hears of the log.

use std::time::Duration;

use actors::testkit::TestKit;
use actors::{MissedTicks, Phase, Tick};

use crate::behavior_kit::{assert_says, panic_of};
use crate::script::{Diary, Order, Scripted};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn time_moves_by_exactly_what_it_is_told() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let actor = kit.spawn("actor", Scripted::new("it", &diary));
    let tick = Duration::from_micros(1_500);
    actor.tell(Order::run(move |_, ctx| {
        ctx.timers().start_with_fixed_delay("tick", tick, || {
            Order::run(|actor, ctx| actor.note(ctx.clock().now().since_start().as_micros()))
        });
    }));
    for _ in 0..4 {
        kit.advance(tick);
    }
    assert_eq!(kit.clock().now(), Tick::START + tick * 4, "rounding does not add up");
    assert_eq!(
        diary.read(),
        ["it started", "it 2000", "it 4000", "it 6000"],
        "timers go by the millisecond, never early"
    );
    for nanos in [0, 1, 999_999] {
        kit.advance(Duration::from_nanos(nanos));
    }
    assert_eq!(kit.clock().now(), Tick::START + Duration::from_millis(7));
    kit.jump(Duration::from_nanos(1));
    assert_eq!(kit.clock().now(), Tick::START + Duration::from_millis(8));
}

#[test]
fn what_is_due_happens_at_its_moment_when_time_passes_and_late_when_it_jumps() {
    let at = |jumps: bool| {
        let kit = TestKit::new();
        let diary = Diary::default();
        let actor = kit.spawn("actor", Scripted::new("it", &diary));
        actor.tell(Order::run(|_, ctx| {
            ctx.timers().start_at_fixed_rate("tick", SECOND, MissedTicks::Burst, || {
                Order::run(|actor, ctx| actor.note(ctx.clock().now().since_start().as_secs()))
            });
        }));
        if jumps {
            kit.jump(SECOND * 3)
        } else {
            kit.advance(SECOND * 3)
        }
        diary.read()
    };
    assert_eq!(at(false), ["it started", "it 1", "it 2", "it 3"]);
    assert_eq!(at(true), ["it started", "it 3", "it 3", "it 3"]);
}

#[test]
fn the_wall_clock_can_be_set_and_nothing_else_notices() {
    let kit = TestKit::new();
    kit.advance(SECOND * 3600);
    let before = kit.clock().now();
    for wall_ms in [5, 1_700_000_000_000] {
        kit.set_wall_ms(wall_ms);
        assert_eq!((kit.clock().wall_ms(), kit.clock().now()), (wall_ms, before));
    }
    kit.advance(SECOND);
    assert_eq!(kit.clock().wall_ms(), 1_700_000_001_000);
}

#[test]
fn a_condition_is_awaited_as_long_as_it_takes_and_no_longer() {
    let kit = TestKit::new();
    let clock = kit.clock().clone();
    let due = clock.now() + SECOND;
    kit.await_until("a second is over", || clock.now() >= due);
    assert_eq!(clock.now(), due);
    let text = panic_of(|| kit.await_until("pigs fly", || false));
    assert_says(&text, &["not so within 3s: pigs fly"]);
    assert_eq!(clock.now(), due + SECOND * 3);

    let kit = kit.with_dilation(2.0);
    let text = panic_of(|| kit.await_until_within(SECOND, "pigs fly", || false));
    assert_says(&text, &["not so within 2s: pigs fly"]);
    let text = panic_of(|| TestKit::new().with_dilation(0.0));
    assert_says(&text, &["`factor` must be a number above zero, not 0"]);
}

#[test]
fn a_strict_kit_names_who_is_left() {
    let diary = Diary::default();
    let text = panic_of(|| {
        let kit = TestKit::strict();
        kit.spawn("forgotten", Scripted::new("one", &diary));
        let stopped = kit.spawn("stopped", Scripted::new("two", &diary));
        kit.spawn("also forgotten", Scripted::new("three", &diary));
        stopped.tell(Order::Stop);
    });
    assert_says(&text, &["still alive at the end of the test: /user/also forgotten, /user/forgotten; stop them"]);

    let kit = TestKit::strict();
    let probe = kit.probe::<()>();
    let actor = kit.spawn("actor", Scripted::new("it", &diary));
    assert_eq!(kit.alive(), [actor.path().clone()]);
    kit.stop(&actor);
    kit.verify_no_leaks();
    drop(probe);

    // One that fails anyway is not told about leaks as well.
    let text = panic_of(|| {
        let kit = TestKit::strict();
        kit.spawn("forgotten", Scripted::new("it", &diary));
        panic!("the test's own");
    });
    assert_eq!(text, "the test's own");

    TestKit::new().spawn("forgotten", Scripted::new("it", &diary)); // no strict kit
}

#[test]
fn stop_waits_for_the_end_and_says_so_when_there_is_none() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let actor = kit.spawn("actor", Scripted::new("it", &diary));
    actor.tell(Order::run(|_, ctx| drop(ctx.spawn("child", Scripted::new("child", &Diary::default())))));
    kit.stop(&actor);
    assert_eq!(diary.read(), ["it started", "it post-stop", "it dropped"]);

    let stubborn = kit.spawn("stubborn", Stubborn);
    stubborn.tell(());
    kit.settle();
    let text = panic_of(|| kit.stop(&stubborn));
    assert_says(&text, &["/user/stubborn was told to stop and has not terminated within 3s"]);
    let text = panic_of(|| kit.stop(&kit.probe::<()>().actor_ref()));
    assert_says(&text, &["/probe/", "is not at the top of this kit's system"]);
    let text = panic_of(|| kit.stop(&TestKit::new().spawn("actor", Stubborn)));
    assert_says(&text, &["is not at the top of this kit's system"]);
}

/// Takes an hour over a message.
struct Stubborn;

impl actors::Actor for Stubborn {
    type Message = ();

    async fn receive(&mut self, ctx: &mut actors::ActorContext<()>, (): ()) -> actors::Handled {
        ctx.clock().sleep(SECOND * 3600).await;
        Ok(actors::Behavior::Same)
    }
}

#[test]
fn a_shutdown_ends_everything_but_the_probes_and_is_reported() {
    let kit = TestKit::strict();
    let diary = Diary::default();
    let mut probe = kit.probe();
    let to = probe.actor_ref();
    kit.spawn("actor", Scripted::new("it", &diary));
    let added = kit.system().coordinated_shutdown().add_task(Phase::ServiceStop, "fails", async move || {
        to.tell("stopping");
        Err("not today".into())
    });
    added.unwrap();
    let report = kit.shutdown();
    assert_eq!(report.failures.len(), 1);
    assert_eq!(probe.drain(), ["stopping"]);
    assert_eq!(diary.read(), ["it started", "it post-stop", "it dropped"]);
}

#[test]
fn with_the_kit_and_its_last_probe_all_actors_are_gone() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let actor = kit.spawn("actor", Scripted::new("it", &diary));
    let (child, made) = (diary.clone(), diary.clone());
    actor.tell(Order::run(move |_, ctx| drop(ctx.spawn("child", Scripted::new("child", &child)))));
    let asleep = kit.spawn("asleep", Scripted::new("asleep", &made));
    asleep.tell(Order::run(|_, ctx| ctx.timers().start_single("long", SECOND * 3600, Order::note("never"))));
    let probe = kit.probe::<()>();
    kit.settle();
    assert_eq!(diary.read().len(), 3);
    drop(kit);
    assert_eq!(diary.read(), [""; 0], "a probe still looks on");
    drop(probe);
    let mut gone = diary.read();
    gone.sort();
    assert_eq!(gone, ["asleep dropped", "child dropped", "it dropped"]);
}

#[test]
fn a_seed_that_fails_is_named() {
    let mut seen = Vec::new();
    TestKit::for_each_seed(3..5, |kit| seen.push(kit.system().uid()));
    assert_eq!(seen, [TestKit::seeded(3).system().uid(), TestKit::seeded(4).system().uid()]);
    assert_ne!(seen[0], seen[1]);

    let unlucky = TestKit::seeded(11).system().uid();
    let text = panic_of(|| {
        TestKit::for_each_seed(0..20, |kit| assert!(kit.system().uid() != unlucky, "of all seeds"));
    });
    assert_says(&text, &["with seed 11: of all seeds", "`TestKit::seeded(11)` repeats it"]);
}
