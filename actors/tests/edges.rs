//! Moments in between: of two turns, of two lives, of room that is set aside and the message for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use actors::testkit::TestKit;
use actors::{
    Actor, ActorContext, ActorRef, ActorSystem, Behavior, BoxError, DeadLetterReason, FailedMessage, Handled, Phase,
    PoolRouter, Props, RoutingLogic, Signal, SupervisorStrategy,
};

use crate::script::{Diary, Order, Scripted};

const SECOND: Duration = Duration::from_secs(1);

/// What time brings is not kept waiting by a mailbox that is never empty.
#[test]
fn a_timer_that_is_due_comes_between_messages_and_not_after_all_of_them() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let actor = kit.spawn("actor", Scripted::new("actor", &diary));
    kit.settle();
    diary.read();
    // The first look at the clock comes with the first timer: that is over when the second one is set.
    actor.tell(Order::run(|_, ctx| ctx.timers().start_single("far away", SECOND * 9, Order::Stop)));
    actor.tell(Order::run(|_, _| {}));
    actor.tell(Order::run(|_, ctx| ctx.timers().start_single("due at once", Duration::ZERO, Order::note("timer"))));
    (0..100).for_each(|number| actor.tell(Order::note(number)));
    kit.settle();
    let read = diary.read();
    let at = read.iter().position(|entry| entry.ends_with("timer")).expect("the timer came");
    assert!(at <= 8, "{at} messages came before it");
    assert_eq!(read.len(), 101);
}

/// Takes its time over the signal, and fails when told to.
struct Lingers {
    told: ActorRef<String>,
    life: u32,
}

impl Lingers {
    /// Will tell in a second, unless it ends before.
    fn begin_work(&self, ctx: &mut ActorContext<&'static str>, of: &'static str) {
        let (told, sleep) = (self.told.clone(), ctx.clock().sleep(SECOND));
        ctx.spawn_task(async move {
            sleep.await;
            told.tell(format!("work of {of} went on"));
        });
        ctx.timers().start_single("late", SECOND, "a timer went on");
    }
}

impl Actor for Lingers {
    type Message = &'static str;

    async fn receive(&mut self, ctx: &mut ActorContext<&'static str>, message: &'static str) -> Handled {
        match message {
            "fail" => {
                self.begin_work(ctx, "a life");
                return Err(BoxError::from("told to"));
            }
            "stop" => {
                self.begin_work(ctx, "a life");
                return Ok(Behavior::Stopped);
            }
            other => self.told.tell(format!("{other} in life {}", self.life)),
        }
        Ok(Behavior::Same)
    }

    async fn on_signal(&mut self, ctx: &mut ActorContext<&'static str>, signal: Signal) -> Handled {
        let active = ctx.timers().is_active("late");
        ctx.clock().sleep(SECOND * 3).await;
        self.told.tell(format!("{signal:?}, timer {active}"));
        self.begin_work(ctx, "a last signal");
        Ok(Behavior::Same)
    }
}

#[test]
fn what_a_life_began_ends_before_its_last_signal_however_long_that_takes() {
    let kit = TestKit::new();
    let mut probe = kit.probe();
    let (told, lives) = (probe.actor_ref(), AtomicU32::new(0));
    let props = Props::new(move || Lingers { told: told.clone(), life: lives.fetch_add(1, Ordering::Relaxed) });
    let actor = kit.spawn("lingers", props.supervise(SupervisorStrategy::restart()));
    actor.tell("fail");
    actor.tell("next");
    kit.advance(SECOND * 10);
    assert_eq!(probe.drain(), ["PreRestart, timer false", "next in life 1"]);
    actor.tell("stop");
    kit.advance(SECOND * 10);
    assert_eq!(probe.drain(), ["PostStop, timer false"]);
}

#[test]
fn who_watches_itself_ends_like_any_other() {
    let kit = TestKit::new();
    let mut probe = kit.probe::<()>();
    let diary = Diary::default();
    let actor = kit.spawn("narcissus", Scripted::new("narcissus", &diary));
    actor.tell(Order::run(|_, ctx| {
        let me = ctx.this().clone();
        ctx.watch(&me);
        ctx.watch_with(&me, Order::note("an end of its own"));
    }));
    actor.tell(Order::Stop);
    probe.expect_terminated(&actor);
    assert_eq!(diary.read(), ["narcissus started", "narcissus post-stop", "narcissus dropped"]);
    assert_eq!(kit.system().event_stream().dead_letters_total(), 0);
}

/// Tries, in the moment in which it is woken, to take the name of an actor that has ended.
struct TakesName {
    system: ActorSystem,
    taken: AtomicBool,
}

impl Wake for TakesName {
    fn wake(self: Arc<Self>) {
        let spawned = self.system.try_spawn("name", Props::new(|| Scripted::new("heir", &Diary::default())));
        self.taken.store(spawned.is_ok(), Ordering::Relaxed);
    }
}

#[test]
fn a_name_is_free_before_anybody_hears_of_the_end() {
    let kit = TestKit::new();
    let actor = kit.spawn("name", Scripted::new("name", &Diary::default()));
    let heir = Arc::new(TakesName { system: kit.system().clone(), taken: AtomicBool::new(false) });
    let waker = Waker::from(heir.clone());
    let mut ended = Box::pin(actor.terminated());
    assert_eq!(ended.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Pending);
    actor.tell(Order::Stop);
    kit.settle();
    assert!(heir.taken.load(Ordering::Relaxed));
    assert!(!kit.alive().is_empty(), "the heir");
}

#[test]
fn a_message_that_is_made_while_its_actor_is_stopped_is_a_dead_letter() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let actor = kit.spawn("actor", Scripted::new("actor", &diary));
    kit.settle();
    let (system, target) = (kit.system().clone(), actor.clone());
    let part = actor.map(move |number: u32| {
        system.stop(&target);
        Order::note(number)
    });
    part.tell(1); // there was room, and it was taken, when the message came to be made
    kit.settle();
    let events = kit.system().event_stream();
    assert_eq!((events.dead_letters(DeadLetterReason::Stopped), events.dead_letters_total()), (1, 1));
    assert_eq!(diary.read(), ["actor started", "actor post-stop", "actor dropped"]);
}

/// Fails on a message the first time it sees it.
#[derive(Clone)]
struct Picky(ActorRef<u32>, Arc<AtomicU32>);

impl Actor for Picky {
    type Message = u32;

    async fn receive(&mut self, ctx: &mut ActorContext<u32>, number: u32) -> Handled {
        if self.1.fetch_add(1, Ordering::Relaxed) < number {
            return Err(BoxError::from("not yet"));
        }
        ctx.clock().sleep(SECOND).await;
        self.0.tell(number);
        Ok(Behavior::Same)
    }
}

#[test]
fn a_pool_that_shrinks_leaves_no_message_that_is_to_be_handled_again() {
    let kit = TestKit::new();
    let mut probe = kit.probe();
    let told = probe.actor_ref();
    let workers = PoolRouter::new(2, move || {
        let (told, seen) = (told.clone(), Arc::new(AtomicU32::new(0)));
        Props::new(move || Picky(told.clone(), seen.clone()))
            .supervise(SupervisorStrategy::restart_with_backoff(SECOND, SECOND).jitter(0.0))
            .on_failed_message(FailedMessage::Redeliver { max: 5 })
    });
    let pool = kit.system().spawn_pool("pool", workers.logic(RoutingLogic::round_robin()));
    kit.settle();
    pool.tell(0); // to 1, which is content with it
    pool.tell(2); // to 2, which fails on it twice
    kit.settle();
    pool.resize(1);
    kit.advance(SECOND * 2);
    kit.advance(SECOND * 2);
    assert_eq!(probe.drain(), [0, 2]);
    assert_eq!(kit.system().event_stream().dead_letters_total(), 0);
    kit.advance(SECOND);
    assert_eq!(kit.block_on(kit.system().tree()).below("/user/pool").len(), 2, "then it is gone");
}

#[test]
fn the_last_phase_of_a_shutdown_lets_go_of_everything_even_when_it_is_cut_short() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let lingers = kit.spawn("lingers", Props::from(Lingers { told: kit.system().ignore_ref(), life: 0 }));
    let probe = kit.probe::<u32>();
    kit.system().event_stream().subscribe(&probe.actor_ref());
    let shutdown = kit.system().coordinated_shutdown();
    let noted = diary.clone();
    let work = move || async move {
        noted.note("a task of the last phase");
        Ok(())
    };
    shutdown.add_task(Phase::ActorSystemTerminate, "note", work).unwrap();
    shutdown.start();
    kit.settle();
    assert_eq!(diary.read(), ["a task of the last phase"]);
    shutdown.cut_short();
    let began = kit.clock().now();
    let report = kit.block_on(shutdown.ended());
    assert_eq!(kit.clock().now(), began, "at once");
    assert_eq!(report.aborted_in, Some(Phase::ActorSystemTerminate));
    let [failure] = &report.failures[..] else { panic!("one: {report:?}") };
    assert_eq!(failure.cause, "the shutdown was cut short; still stopping: /user/lingers");
    let events = kit.system().event_stream();
    events.publish(1_u32);
    let mut probe = probe;
    assert_eq!(probe.drain(), [], "nobody is told anything more");
    kit.block_on(lingers.terminated()); // it goes on all the same
}

#[test]
fn the_last_phase_of_a_shutdown_that_fails_aborts_and_lets_go() {
    let kit = TestKit::new();
    let probe = kit.probe::<u32>();
    kit.system().event_stream().subscribe(&probe.actor_ref());
    let shutdown = kit.system().coordinated_shutdown();
    shutdown.add_task(Phase::ActorSystemTerminate, "fails", || async { Err(BoxError::from("disk is gone")) }).unwrap();
    shutdown.set_recover(Phase::ActorSystemTerminate, false).unwrap();
    let actor = kit.spawn("actor", Scripted::new("actor", &Diary::default()));
    let report = kit.block_on(shutdown.run());
    assert_eq!((report.aborted_in, report.failures.len()), (Some(Phase::ActorSystemTerminate), 1));
    assert!(actor.is_stopped(), "the other task of the phase has its time");
    kit.system().event_stream().publish(1_u32);
    let mut probe = probe;
    assert_eq!(probe.drain(), []);
}

#[test]
fn a_message_of_the_very_last_moment_is_in_time() {
    let kit = TestKit::new();
    let mut probe = kit.probe();
    let told = probe.actor_ref();
    let actor = kit.spawn("actor", Scripted::new("actor", &Diary::default()));
    actor.tell(Order::run(move |_, ctx| {
        let sleep = ctx.clock().sleep(SECOND);
        ctx.spawn_task(async move {
            sleep.await;
            told.tell(1);
        });
    }));
    kit.settle();
    let began = kit.clock().now();
    assert_eq!(probe.expect_message_within(SECOND), 1);
    assert_eq!(kit.clock().now() - began, SECOND);
}

#[test]
fn actors_that_are_left_are_named_whatever_their_depth() {
    let diary = Diary::default();
    let text = crate::behavior_kit::panic_of(|| {
        let kit = TestKit::strict();
        let busy = Props::from(Lingers { told: kit.system().ignore_ref(), life: 0 });
        let parent = kit.spawn("parent", Scripted::new("parent", &diary));
        let diary = diary.clone();
        parent.tell(Order::run(move |_, ctx| {
            let child = ctx.spawn("child", Scripted::new("child", &diary));
            child.tell(Order::run(move |_, ctx| drop(ctx.spawn("grandchild", Scripted::new("grandchild", &diary)))));
        }));
        let busy = kit.spawn("stopping", busy);
        busy.tell("stop");
    });
    let named = "still alive at the end of the test: /user/parent, /user/parent/child, /user/parent/child/grandchild, \
                 /user/stopping (busy, perhaps with actors below it); stop them";
    assert!(text.contains(named), "{text}");
}
