//! Destructors, closures and handlers that panic at the very end of an actor: it ends all the same, and is seen to.

use std::future::{Future, pending};
use std::time::Duration;

use actors::testkit::TestKit;
use actors::{Actor, ActorContext, Behavior, BoxError, Handled, Props, ReplyTo, Signal, SupervisorStrategy};

use crate::script::{Diary, Order, Scripted};

const SECOND: Duration = Duration::from_secs(1);

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "dropped");
    }
}

fn armed(bomb: Bomb) -> Order {
    Order::run(move |_, _| drop(bomb))
}

type Arm = fn(&mut Scripted, &mut ActorContext<Order>);

/// What an actor may leave behind, two of each: the second must not meet the panic of the first.
const LEFT_BEHIND: [(&str, Arm); 6] = [
    ("timers", |_, ctx| {
        ctx.timers().start_single("one", SECOND, armed(Bomb));
        ctx.timers().start_single("two", SECOND, armed(Bomb));
    }),
    ("asks without an answer", |_, ctx| {
        let silent = ctx.spawn("silent", Keeps(Vec::new()));
        for bomb in [Bomb, Bomb] {
            ctx.ask(&silent, |reply_to| reply_to, SECOND, move |_| armed(bomb));
        }
    }),
    ("answers", |_, ctx| {
        for bomb in [Bomb, Bomb] {
            let this = ctx.this().clone();
            let answered = |reply_to: ReplyTo<()>| {
                reply_to.tell(());
                Order::note("answered")
            };
            ctx.ask(&this, answered, SECOND, move |_| armed(bomb));
        }
    }),
    ("a receive timeout", |_, ctx| {
        let bomb = Bomb;
        ctx.set_receive_timeout(SECOND, move || {
            let _held = &bomb;
            Order::note("idle")
        });
    }),
    ("watches", |_, ctx| {
        let silent = ctx.spawn("silent", Keeps(Vec::new()));
        let other = ctx.spawn("other", Keeps(Vec::new()));
        ctx.watch_with(&silent, armed(Bomb));
        ctx.watch_with(&other, armed(Bomb));
    }),
    ("messages", |_, ctx| {
        ctx.this().tell(armed(Bomb));
        ctx.this().tell(armed(Bomb));
    }),
];

/// Keeps every question.
struct Keeps(Vec<ReplyTo<()>>);

impl Actor for Keeps {
    type Message = ReplyTo<()>;

    async fn receive(&mut self, _ctx: &mut ActorContext<ReplyTo<()>>, question: ReplyTo<()>) -> Handled {
        self.0.push(question);
        Ok(Behavior::Same)
    }
}

#[test]
fn whatever_a_stopped_actor_leaves_behind_its_end_is_seen() {
    for (what, arm) in LEFT_BEHIND {
        let kit = TestKit::new();
        let diary = Diary::default();
        let parent = kit.spawn("parent", Scripted::new("parent", &diary));
        parent.tell(Order::run(move |this, ctx| {
            let child = ctx.spawn("child", Scripted::new("child", &this.diary));
            ctx.watch(&child);
            child.tell(Order::Do(Box::new(move |child, ctx| {
                arm(child, ctx);
                Ok(Behavior::Stopped)
            })));
        }));
        kit.settle();
        let read = diary.read();
        assert_eq!(read.last().unwrap(), "parent terminated child", "{what}: {read:?}");
    }
}

#[test]
fn whatever_a_failed_life_leaves_behind_the_next_one_begins() {
    for (what, arm) in LEFT_BEHIND.into_iter().filter(|(what, _)| *what != "messages") {
        let kit = TestKit::new();
        let diary = Diary::default();
        let lives = diary.clone();
        let props = Props::new(move || Scripted::new("actor", &lives)).supervise(SupervisorStrategy::restart());
        let actor = kit.spawn("actor", props);
        actor.tell(Order::Do(Box::new(move |this, ctx| {
            arm(this, ctx);
            Err(BoxError::from("broken"))
        })));
        actor.tell(Order::note("goes on"));
        kit.settle();
        let read = diary.read();
        assert_eq!(read.iter().filter(|line| *line == "actor started").count(), 2, "{what}: {read:?}");
        assert!(read.contains(&"actor goes on".to_owned()), "{what}: {read:?}");
    }
}

/// Stops with the results of two tasks in its hands, and a child to wait for.
struct Piper;

impl Actor for Piper {
    type Message = ();

    async fn receive(&mut self, ctx: &mut ActorContext<()>, (): ()) -> Handled {
        ctx.spawn("child", Keeps(Vec::new()));
        for bomb in [Bomb, Bomb] {
            ctx.pipe_to_self(async {}, move |()| drop(bomb));
        }
        ctx.clock().sleep(SECOND).await;
        Ok(Behavior::Stopped)
    }
}

#[test]
fn results_that_come_too_late_may_panic() {
    let kit = TestKit::new();
    let piper = kit.spawn("piper", Piper);
    piper.tell(());
    kit.probe::<()>().expect_terminated(&piper);
}

/// Panics before its handler of signals returns a future.
struct PanicsWhenCalled;

impl Actor for PanicsWhenCalled {
    type Message = bool;

    async fn receive(&mut self, _ctx: &mut ActorContext<bool>, stop: bool) -> Handled {
        if stop { Ok(Behavior::Stopped) } else { Err(BoxError::from("told to")) }
    }

    fn on_signal(&mut self, _ctx: &mut ActorContext<bool>, signal: Signal) -> impl Future<Output = Handled> + Send {
        assert!(!matches!(signal, Signal::PostStop | Signal::PreRestart), "panics when called");
        async { Ok(Behavior::Same) }
    }
}

#[test]
fn a_handler_of_a_last_signal_may_panic_before_it_awaits() {
    let kit = TestKit::new();
    let actor = kit.spawn("actor", Props::new(|| PanicsWhenCalled).supervise(SupervisorStrategy::restart()));
    actor.tell(false);
    actor.tell(true);
    kit.probe::<()>().expect_terminated(&actor);
}

/// Never comes to the end of its handler, which holds a bomb.
struct HangsArmed;

impl Actor for HangsArmed {
    type Message = ();

    async fn receive(&mut self, _ctx: &mut ActorContext<()>, (): ()) -> Handled {
        let _bomb = Bomb;
        pending().await
    }
}

#[test]
fn a_handler_dropped_by_the_stop_timeout_may_panic() {
    let kit = TestKit::new();
    let actor = kit.spawn("actor", Props::new(|| HangsArmed).stop_timeout(SECOND));
    actor.tell(());
    kit.settle();
    let report = kit.block_on(kit.system().coordinated_shutdown().run());
    assert_eq!(report.failures, []);
    kit.probe::<()>().expect_terminated(&actor);
}

/// A future that panics when it is polled, a large one the second time; and again when it is dropped.
struct PanicsTwice<const SIZE: usize>([u8; SIZE]);

impl<const SIZE: usize> Future for PanicsTwice<SIZE> {
    type Output = Handled;

    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<Handled> {
        if SIZE > 64 && self.0[0] == 0 {
            self.0[0] = 1;
            cx.waker().wake_by_ref();
            return std::task::Poll::Pending;
        }
        panic!("polled");
    }
}

impl<const SIZE: usize> Drop for PanicsTwice<SIZE> {
    fn drop(&mut self) {
        panic!("dropped as well");
    }
}

/// Its handler is such a future, of no size or of some.
struct Bare<const SIZE: usize>;

impl<const SIZE: usize> Actor for Bare<SIZE> {
    type Message = ();

    fn receive(&mut self, _ctx: &mut ActorContext<()>, (): ()) -> impl Future<Output = Handled> + Send {
        PanicsTwice([0; SIZE])
    }
}

/// A second panic while the first is on its way would end the process.
#[test]
fn a_handlers_future_may_panic_in_its_poll_and_again_in_its_destructor() {
    let kit = TestKit::new();
    let empty = kit.spawn("empty", Props::new(|| Bare::<0>).supervise(SupervisorStrategy::restart()));
    let sized = kit.spawn("sized", Props::new(|| Bare::<64>).supervise(SupervisorStrategy::restart()));
    let large = kit.spawn("large", Props::new(|| Bare::<128>).supervise(SupervisorStrategy::restart()));
    for actor in [empty, sized, large] {
        actor.tell(());
        kit.settle();
        assert!(!actor.is_stopped(), "it was restarted");
        kit.stop(&actor);
    }
}
