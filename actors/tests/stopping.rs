//! Draining, stopping within a limit and killing: what is still done, what is dropped, and who hears of it.

use std::time::Duration;

use actors::testkit::TestKit;
use actors::{
    Actor, ActorContext, ActorKilled, ActorRef, Behavior, DeadLetter, DeadLetterReason, Handled, Mailbox, Phase, Props,
    Signal, StashBuffer, StopForced, Stopped, TryTellError,
};

use crate::script::{Diary, Order, Scripted};

const SECOND: Duration = Duration::from_secs(1);

/// Takes a second for each message, and for ever for a [`Work::Hang`].
struct Worker {
    name: &'static str,
    diary: Diary,
}

#[derive(Debug)]
enum Work {
    Item(u32),
    Hang,
    /// Spawns a child of this name that hangs at once.
    Child(&'static str),
    /// Watches a child that stops while the next message is handled.
    Watch,
}

impl Worker {
    fn new(name: &'static str, diary: &Diary) -> Self {
        Self { name, diary: diary.clone() }
    }

    fn note(&self, what: impl std::fmt::Display) {
        self.diary.note(format!("{} {what}", self.name));
    }
}

impl Actor for Worker {
    type Message = Work;

    async fn receive(&mut self, ctx: &mut ActorContext<Work>, work: Work) -> Handled {
        match work {
            Work::Item(number) => {
                ctx.clock().sleep(SECOND).await;
                self.note(number);
            }
            Work::Hang => std::future::pending().await,
            Work::Watch => {
                let brief = ctx.spawn("brief", Scripted::new("brief", &Diary::default()));
                brief.tell(Order::Stop);
                ctx.watch(&brief);
            }
            Work::Child(name) => ctx.spawn(name, Worker::new(name, &self.diary)).tell(Work::Hang),
        }
        Ok(Behavior::Same)
    }

    async fn on_signal(&mut self, _ctx: &mut ActorContext<Work>, signal: Signal) -> Handled {
        match signal {
            Signal::PostStop => self.note("post-stop"),
            Signal::PreRestart => self.note("pre-restart"),
            Signal::Terminated(path) => self.note(format!("terminated {}", path.name())),
            other => self.note(format!("{other:?}")),
        }
        Ok(Behavior::Same)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.note("dropped");
    }
}

fn refuses(actor: &ActorRef<Work>) -> bool {
    matches!(actor.try_tell(Work::Item(0)), Err(TryTellError::Stopped(Work::Item(0))))
}

fn dropped(kit: &TestKit) -> u64 {
    kit.system().event_stream().dead_letters(DeadLetterReason::StoppedBefore)
}

#[test]
fn a_drained_actor_handles_what_waits_and_takes_nothing_more() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let actor = kit.spawn("actor", Worker::new("w", &diary));
    (1..=3).for_each(|number| actor.tell(Work::Item(number)));
    kit.system().drain(&actor, SECOND * 60);
    assert!(refuses(&actor), "at once, whatever waits");
    assert!(actor.is_stopped());
    kit.advance(SECOND * 3);
    assert_eq!(diary.read(), ["w 1", "w 2", "w 3", "w post-stop", "w dropped"]);
    assert_eq!(dropped(&kit), 0);
    kit.probe::<()>().expect_terminated(&actor);
}

#[test]
fn an_idle_actor_that_is_drained_stops_at_once() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let actor = kit.spawn("actor", Worker::new("w", &diary));
    kit.settle();
    kit.system().drain(&actor, SECOND * 60);
    kit.settle();
    assert_eq!(diary.read(), ["w post-stop", "w dropped"]);
}

#[test]
fn when_the_time_to_drain_is_over_it_is_a_stop() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let actor = kit.spawn("actor", Worker::new("w", &diary));
    (1..=5).for_each(|number| actor.tell(Work::Item(number)));
    kit.system().drain(&actor, SECOND * 2 + SECOND / 2);
    kit.advance(SECOND * 10);
    assert_eq!(diary.read(), ["w 1", "w 2", "w 3", "w post-stop", "w dropped"], "the message in hand comes to its end");
    assert_eq!(dropped(&kit), 2);
}

#[test]
fn a_draining_actor_that_hangs_is_dropped_by_its_stop_timeout() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let mut forced = kit.probe::<StopForced>();
    kit.system().event_stream().subscribe(&forced.actor_ref());
    let worker = diary.clone();
    let actor = kit.spawn("actor", Props::new(move || Worker::new("w", &worker)).stop_timeout(SECOND * 3));
    actor.tell(Work::Hang);
    kit.system().drain(&actor, SECOND * 2);
    kit.advance(SECOND * 4);
    assert_eq!(diary.read(), [""; 0]);
    kit.advance(SECOND);
    assert_eq!(diary.read(), ["w dropped"]);
    assert_eq!(forced.drain(), [StopForced { actor: actor.path().clone(), after: SECOND * 3 }]);
}

#[test]
fn a_draining_actor_serves_what_was_unstashed_and_refuses_those_who_wait_for_room() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let props = Props::from(Scripted::new("a", &diary)).mailbox(Mailbox::bounded(2));
    let actor = kit.spawn("actor", props);
    actor.tell(Order::run(|_, ctx| {
        let mut stash = StashBuffer::with_capacity(1);
        stash.stash(Order::note("unstashed")).expect("there is room");
        ctx.unstash_all(&mut stash);
    }));
    actor.tell(Order::note("queued"));
    let mut refused = kit.probe::<bool>();
    let (sender, refused_to) = (actor.clone(), refused.actor_ref());
    kit.system().runtime().spawn(async move {
        let sent = sender.send(Order::note("too late")).await;
        refused_to.tell(matches!(sent, Err(Stopped(Order::Note(_)))));
    });
    kit.system().drain(&actor, SECOND);
    assert_eq!(refused.drain(), [true]);
    assert_eq!(diary.read(), ["a started", "a unstashed", "a queued", "a post-stop", "a dropped"]);
}

#[test]
fn a_draining_actor_hears_of_ends() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let actor = kit.spawn("actor", Worker::new("w", &diary));
    actor.tell(Work::Watch);
    actor.tell(Work::Item(1));
    kit.system().drain(&actor, SECOND * 5);
    kit.advance(SECOND);
    assert_eq!(diary.read(), ["w 1", "w terminated brief", "w post-stop", "w dropped"]);
}

#[test]
fn a_drain_outlives_a_restart() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let worker = diary.clone();
    let props = Props::new(move || Scripted::new("a", &worker));
    let actor = kit.spawn("actor", props.supervise(actors::SupervisorStrategy::restart()));
    actor.tell(Order::Fail("broken"));
    actor.tell(Order::note("after"));
    kit.system().drain(&actor, SECOND);
    kit.settle();
    let told = diary.read();
    assert_eq!(told, ["a started", "a pre-restart", "a dropped", "a started", "a after", "a post-stop", "a dropped"]);
}

#[test]
fn a_stopped_actor_takes_no_message_even_while_it_is_busy() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let actor = kit.spawn("actor", Worker::new("w", &diary));
    actor.tell(Work::Item(1));
    actor.tell(Work::Item(2));
    kit.settle();
    kit.system().stop(&actor);
    assert!(refuses(&actor));
    kit.advance(SECOND);
    assert_eq!(diary.read(), ["w 1", "w post-stop", "w dropped"]);
    assert_eq!(dropped(&kit), 1);
}

#[test]
fn a_killed_actor_drops_what_it_does_and_gets_no_post_stop() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let mut killed = kit.probe::<ActorKilled>();
    kit.system().event_stream().subscribe(&killed.actor_ref());
    let actor = kit.spawn("actor", Worker::new("w", &diary));
    actor.tell(Work::Hang);
    actor.tell(Work::Item(1));
    kit.settle();
    kit.system().kill(&actor);
    assert!(refuses(&actor));
    let mut watcher = kit.probe::<()>();
    watcher.expect_terminated(&actor);
    assert_eq!(kit.clock().now(), actors::Tick::START, "no time has passed");
    assert_eq!(diary.read(), ["w dropped"]);
    assert_eq!(dropped(&kit), 1);
    assert_eq!(killed.drain(), [ActorKilled { actor: actor.path().clone() }]);
    kit.spawn("actor", Worker::new("next", &diary)); // the name is free
}

#[test]
fn a_kill_takes_along_all_below() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let mut killed = kit.probe::<ActorKilled>();
    kit.system().event_stream().subscribe(&killed.actor_ref());
    let actor = kit.spawn("parent", Worker::new("parent", &diary));
    actor.tell(Work::Child("child"));
    kit.settle();
    kit.system().kill(&actor);
    kit.settle();
    assert_eq!(diary.read(), ["parent dropped", "child dropped"]);
    let names: Vec<String> = killed.drain().iter().map(|event| event.actor.name().to_owned()).collect();
    assert_eq!(names, ["child", "parent"], "no child outlives its parent");
}

#[test]
fn a_kill_reaches_an_actor_that_waits_for_its_children_between_two_lives_or_in_a_last_signal() {
    let kit = TestKit::new();
    let diary = Diary::default();
    // It stops and waits for a child that hangs.
    let stopping = kit.spawn("stopping", Worker::new("stopping", &diary));
    stopping.tell(Work::Child("hangs"));
    kit.settle();
    kit.system().stop(&stopping);
    // It waits for its next life.
    let hour = SECOND * 3600;
    let (again, factory) = (actors::SupervisorStrategy::restart_with_backoff(hour, hour), diary.clone());
    let waiting = kit.spawn("waiting", Props::new(move || Scripted::new("waiting", &factory)).supervise(again));
    waiting.tell(Order::Fail("broken"));
    kit.settle();
    diary.read();

    kit.system().kill(&stopping);
    kit.system().kill(&waiting);
    let mut watcher = kit.probe::<()>();
    watcher.expect_terminated(&stopping);
    watcher.expect_terminated(&waiting);
    assert_eq!(kit.clock().now(), actors::Tick::START, "no time has passed");
    assert_eq!(diary.read(), ["hangs dropped", "stopping dropped"]);
}

#[test]
fn an_actor_that_has_not_begun_is_killed_before_it_does() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let actor = kit.spawn("actor", Scripted::new("a", &diary));
    kit.system().kill(&actor);
    kit.settle();
    assert_eq!(diary.read(), ["a dropped"]);
}

#[test]
fn a_stop_within_a_limit_is_a_kill_of_all_below_once_that_is_over() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let (mut forced, mut killed) = (kit.probe::<StopForced>(), kit.probe::<ActorKilled>());
    kit.system().event_stream().subscribe(&forced.actor_ref());
    kit.system().event_stream().subscribe(&killed.actor_ref());
    let actor = kit.spawn("parent", Worker::new("parent", &diary));
    actor.tell(Work::Child("child"));
    kit.settle();
    kit.system().stop_within(&actor, SECOND * 2);
    kit.advance(SECOND);
    assert_eq!(diary.read(), [""; 0], "it waits for its child, which hangs");
    kit.advance(SECOND);
    assert_eq!(diary.read(), ["child dropped", "parent dropped"]);
    assert_eq!(forced.drain(), [StopForced { actor: actor.path().clone(), after: SECOND * 2 }]);
    assert_eq!(killed.drain().len(), 1, "the child");
}

#[test]
fn a_stop_within_a_limit_is_a_plain_stop_for_who_keeps_it() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let actor = kit.spawn("actor", Worker::new("w", &diary));
    actor.tell(Work::Item(1));
    kit.settle();
    kit.system().stop_within(&actor, SECOND * 2);
    kit.advance(SECOND * 5);
    assert_eq!(diary.read(), ["w 1", "w post-stop", "w dropped"]);
}

#[test]
fn a_parent_ends_its_children_in_the_same_ways() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let parent = kit.spawn("parent", Scripted::new("parent", &Diary::default()));
    let children = diary.clone();
    parent.tell(Order::run(move |_, ctx| {
        for (name, how) in [("drained", 0), ("limited", 1), ("killed", 2)] {
            let child = ctx.spawn(name, Worker::new(name, &children));
            child.tell(Work::Item(1));
            match how {
                0 => ctx.drain(&child, SECOND * 5),
                1 => ctx.stop_within(&child, SECOND / 2),
                _ => ctx.kill(&child),
            }
        }
    }));
    kit.advance(SECOND * 5);
    let mut told = diary.read();
    told.sort();
    assert_eq!(
        told,
        ["drained 1", "drained dropped", "drained post-stop", "killed dropped", "limited dropped", "limited post-stop"]
    );
}

#[test]
fn only_a_parent_ends_an_actor() {
    let kit = TestKit::new();
    let parent = kit.spawn("parent", Scripted::new("parent", &Diary::default()));
    let mut child = kit.probe();
    let tell = child.actor_ref();
    parent.tell(Order::run(move |_, ctx| tell.tell(ctx.spawn("child", Scripted::new("child", &Diary::default())))));
    let child = child.expect_message();
    let system = kit.system().clone();
    let killed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| system.kill(&child)));
    let text = *killed.expect_err("it panics").downcast::<String>().expect("a text");
    assert!(text.contains("/user/parent/child is not at the top of this system"), "{text}");
    kit.settle();
    assert!(!child.is_stopped());
}

#[test]
fn children_stop_in_reverse_if_their_parent_says_so() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let children = diary.clone();
    let parent = kit.spawn("parent", Scripted::new("parent", &Diary::default()));
    parent.tell(Order::run(move |_, ctx| {
        ctx.stop_children_in_reverse();
        for name in ["a", "b", "c"] {
            ctx.spawn(name, Worker::new(name, &children)).tell(Work::Item(1));
        }
    }));
    kit.settle();
    kit.system().stop(&parent);
    kit.advance(SECOND / 2);
    kit.advance(SECOND * 5);
    // Side by side all three would have been told while they handled their message, and ended in order of name.
    let told = diary.read();
    assert_eq!(
        told.iter().filter(|note| note.ends_with("post-stop")).collect::<Vec<_>>(),
        ["c post-stop", "b post-stop", "a post-stop"]
    );
}

#[test]
fn a_system_ends_within_its_limit_whatever_hangs() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let system = kit.system();
    system.coordinated_shutdown().set_timeout(Phase::ActorSystemTerminate, SECOND * 3600).expect("not begun");
    let stuck = kit.spawn("stuck", Worker::new("stuck", &diary));
    stuck.tell(Work::Hang);
    kit.settle();
    let before = kit.clock().now();
    let report = kit.block_on(system.terminate_within(SECOND * 7));
    assert_eq!(kit.clock().now() - before, SECOND * 7);
    kit.settle();
    assert_eq!(diary.read(), ["stuck dropped"]);
    assert_eq!((report.aborted_in, report.exit_code()), (Some(Phase::ActorSystemTerminate), 1));
    assert_eq!(report.failures[0].cause, "the shutdown was cut short; still stopping: /user/stuck");
}

#[test]
fn a_system_that_ends_in_time_is_not_cut_short() {
    let kit = TestKit::new();
    let diary = Diary::default();
    kit.spawn("actor", Worker::new("w", &diary));
    let report = kit.block_on(kit.system().terminate_within(SECOND));
    assert_eq!((report.aborted_in, report.failures.len()), (None, 0));
    assert_eq!(diary.read(), ["w post-stop", "w dropped"]);
}

#[test]
fn what_is_told_to_a_stopping_actor_is_a_dead_letter_at_once() {
    let kit = TestKit::new();
    let mut letters = kit.probe::<DeadLetter>();
    kit.system().event_stream().subscribe(&letters.actor_ref());
    let actor = kit.spawn("actor", Worker::new("w", &Diary::default()));
    actor.tell(Work::Hang);
    kit.settle();
    kit.system().stop(&actor);
    actor.tell(Work::Item(1));
    assert_eq!(letters.drain().iter().map(|letter| letter.reason).collect::<Vec<_>>(), [DeadLetterReason::Stopped]);
}

#[test]
fn of_several_limits_the_tightest_counts() {
    let kit = TestKit::new();
    let mut forced = kit.probe::<StopForced>();
    kit.system().event_stream().subscribe(&forced.actor_ref());
    let actor = kit.spawn("hangs", Worker::new("w", &Diary::default()));
    actor.tell(Work::Hang);
    kit.settle();
    kit.system().stop_within(&actor, SECOND * 60);
    kit.settle(); // it waits for the minute to pass
    kit.system().stop_within(&actor, SECOND * 2);
    kit.settle();
    kit.system().stop_within(&actor, SECOND * 30);
    kit.advance(SECOND * 2);
    assert_eq!(forced.drain(), [StopForced { actor: actor.path().clone(), after: SECOND * 2 }]);

    let drains = kit.spawn("drains", Worker::new("w", &Diary::default()));
    (1..=9).for_each(|number| drains.tell(Work::Item(number)));
    kit.system().drain(&drains, SECOND * 3 / 2);
    kit.system().drain(&drains, SECOND * 60);
    kit.probe::<()>().expect_terminated(&drains);
    assert_eq!(dropped(&kit), 7);
}

#[test]
fn an_actor_that_waits_to_live_again_and_is_drained_stops_when_its_time_is_over() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let worker = diary.clone();
    let props = Props::new(move || Scripted::new("a", &worker));
    let again = actors::SupervisorStrategy::restart_with_backoff(SECOND * 60, SECOND * 60);
    let actor = kit.spawn("actor", props.supervise(again));
    actor.tell(Order::Fail("broken"));
    actor.tell(Order::note("after"));
    kit.settle();
    kit.system().drain(&actor, SECOND * 5);
    kit.advance(SECOND * 4);
    assert_eq!(dropped(&kit), 0, "it may yet live again and handle what waits");
    kit.advance(SECOND * 2);
    assert_eq!(dropped(&kit), 1);
    kit.advance(SECOND * 60);
    assert_eq!(diary.read(), ["a started", "a pre-restart", "a dropped"], "there was no other life");
}
