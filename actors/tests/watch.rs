//! Death watch.

use std::time::Duration;

use actors::testkit::TestKit;
use actors::{Actor, ActorContext, ActorRef, Behavior, Handled, Props, Signal, SupervisorStrategy};

use crate::script::{Diary, Order, Scripted};

const SECOND: Duration = Duration::from_secs(1);

fn watch(target: &ActorRef<Order>) -> Order {
    let target = target.clone();
    Order::run(move |_, ctx| ctx.watch(&target))
}

fn unwatch(target: &ActorRef<Order>) -> Order {
    let target = target.clone();
    Order::run(move |_, ctx| ctx.unwatch(&target))
}

/// A watcher, a target, and the diary with the entries of the start already read.
fn watcher_and_target(kit: &TestKit) -> (ActorRef<Order>, ActorRef<Order>, Diary) {
    let (diary, quiet) = (Diary::default(), Diary::default());
    let watcher = kit.spawn("watcher", Scripted::new("watcher", &diary));
    let target = kit.spawn("target", Scripted::new("target", &quiet));
    kit.settle();
    diary.read();
    (watcher, target, diary)
}

#[test]
fn terminated_comes_once_however_often_it_is_watched() {
    let kit = TestKit::new();
    let (watcher, target, diary) = watcher_and_target(&kit);
    watcher.tell(watch(&target));
    watcher.tell(watch(&target));
    kit.settle();
    target.tell(Order::Stop);
    kit.settle();
    assert_eq!(diary.read(), ["watcher terminated target"]);
    kit.advance(SECOND * 60);
    assert_eq!(diary.read(), [""; 0]);
}

#[test]
fn who_is_gone_already_is_reported_at_once() {
    let kit = TestKit::new();
    let (watcher, target, diary) = watcher_and_target(&kit);
    target.tell(Order::Stop);
    kit.settle();
    watcher.tell(watch(&target));
    watcher.tell(watch(&target));
    kit.settle();
    assert_eq!(diary.read(), ["watcher terminated target"]);
}

#[test]
fn a_restart_is_not_an_end() {
    let kit = TestKit::new();
    let (watcher, _, diary) = watcher_and_target(&kit);
    let quiet = Diary::default();
    let props = Props::new(move || Scripted::new("target", &quiet)).supervise(SupervisorStrategy::restart());
    let target = kit.spawn("restarts", props);
    watcher.tell(watch(&target));
    kit.settle();
    target.tell(Order::Fail("broken"));
    kit.settle();
    assert_eq!(diary.read(), [""; 0]);
    target.tell(Order::Stop);
    kit.settle();
    assert_eq!(diary.read(), ["watcher terminated restarts"]);
}

#[test]
fn after_unwatch_nothing_comes_even_if_it_was_queued() {
    let kit = TestKit::new();
    let (watcher, target, diary) = watcher_and_target(&kit);
    watcher.tell(watch(&target));
    kit.settle();
    // All of this waits in the watcher's mailbox while the target stops.
    watcher.tell(unwatch(&target));
    target.tell(Order::Stop);
    kit.settle();
    assert_eq!(diary.read(), [""; 0]);

    watcher.tell(watch(&target));
    watcher.tell(unwatch(&target)); // the notice of the watch is queued by now
    kit.settle();
    assert_eq!(diary.read(), [""; 0]);
    watcher.tell(watch(&target));
    watcher.tell(unwatch(&target));
    watcher.tell(watch(&target));
    kit.settle();
    assert_eq!(diary.read(), ["watcher terminated target"], "watched again: once, whatever was queued before");
}

#[test]
fn watch_with_delivers_a_message_and_the_last_call_counts() {
    let kit = TestKit::new();
    let (watcher, target, diary) = watcher_and_target(&kit);
    let gone = target.clone();
    watcher.tell(watch(&target));
    watcher.tell(Order::run(move |_, ctx| ctx.watch_with(&gone, Order::note("it is gone"))));
    kit.settle();
    target.tell(Order::Stop);
    kit.settle();
    assert_eq!(diary.read(), ["watcher it is gone"]);
}

#[test]
fn an_unhandled_end_is_a_death_pact_and_climbs_the_tree() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let mut probe = kit.probe::<()>();
    let top = kit.spawn("top", scripted("top", &diary));
    let made = diary.clone();
    top.tell(Order::run(move |_, ctx| {
        let middle = ctx.spawn("middle", scripted("middle", &made).careless());
        ctx.watch(&middle);
        middle.tell(Order::run(move |_, ctx| {
            let leaf = ctx.spawn("leaf", scripted("leaf", &made));
            ctx.watch(&leaf);
            leaf.tell(Order::Stop);
        }));
    }));
    kit.settle();
    let read = diary.read();
    let pact = "top child-failed middle death pact: /user/top/middle/leaf terminated and the watching actor did not \
                handle the signal";
    assert!(read.contains(&pact.to_owned()), "{read:#?}");
    assert!(!top.is_stopped());
    top.tell(Order::Stop);
    probe.expect_terminated(&top);
}

fn scripted(name: &str, diary: &Diary) -> Scripted {
    Scripted::new(name, diary)
}

#[test]
fn a_failed_child_is_reported_with_its_cause_to_a_parent_that_watches() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let parent = kit.spawn("parent", Scripted::new("parent", &diary));
    let quiet = Diary::default();
    parent.tell(Order::run(move |_, ctx| {
        for name in ["watched", "unwatched"] {
            let child = ctx.spawn(name, Scripted::new(name, &quiet));
            if name == "watched" {
                ctx.watch(&child);
            }
            child.tell(Order::Fail("out of paper"));
        }
    }));
    kit.settle();
    assert_eq!(diary.read(), ["parent started", "parent child-failed watched out of paper"]);
}

#[test]
fn the_end_does_not_overtake_what_was_said_before() {
    let kit = TestKit::new();
    let (watcher, target, diary) = watcher_and_target(&kit);
    watcher.tell(watch(&target));
    kit.settle();
    let to = watcher.clone();
    target.tell(Order::Do(Box::new(move |_, _| {
        for number in 1..=3 {
            to.tell(Order::note(number));
        }
        Ok(Behavior::Stopped)
    })));
    kit.settle();
    assert_eq!(diary.read(), ["watcher 1", "watcher 2", "watcher 3", "watcher terminated target"]);
}

#[test]
fn a_parent_can_spawn_the_same_name_again_once_it_hears_of_the_end() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let parent = kit.spawn("parent", Scripted::new("parent", &diary));
    parent.tell(Order::run(move |this, ctx| {
        let first = ctx.spawn("child", Scripted::new("first", &this.diary));
        ctx.watch_with(
            &first,
            Order::run(|this, ctx| {
                ctx.spawn("child", Scripted::new("second", &this.diary));
            }),
        );
        ctx.stop(&first);
    }));
    kit.settle();
    assert_eq!(diary.read(), ["parent started", "first started", "first post-stop", "first dropped", "second started"]);
}

#[test]
fn an_old_reference_does_not_reach_a_new_actor_of_the_same_name() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let old = kit.spawn("name", Scripted::new("old", &diary));
    old.tell(Order::Stop);
    kit.settle();
    let new = kit.spawn("name", Scripted::new("new", &diary));
    assert_eq!(old.path().as_str(), new.path().as_str());
    assert!(old != new);
    old.tell(Order::note("lost"));
    new.tell(Order::note("arrives"));
    kit.settle();
    assert_eq!(diary.read(), ["old started", "old post-stop", "old dropped", "new started", "new arrives"]);
}

#[test]
fn a_watch_outlives_a_restart_of_the_watcher_but_not_those_of_children_it_stops() {
    let kit = TestKit::new();
    let (_, target, _) = watcher_and_target(&kit);
    let diary = Diary::default();
    let made = diary.clone();
    let props = Props::new(move || Scripted::new("it", &made)).supervise(SupervisorStrategy::restart());
    let watcher = kit.spawn("restarts", props);
    watcher.tell(watch(&target));
    watcher.tell(Order::run(|_, ctx: &mut ActorContext<Order>| {
        let child = ctx.spawn("child", Scripted::new("child", &Diary::default()));
        ctx.watch(&child);
    }));
    watcher.tell(Order::Fail("broken"));
    kit.settle();
    assert_eq!(diary.read(), ["it started", "it pre-restart", "it dropped", "it started"]);
    target.tell(Order::Stop);
    kit.settle();
    assert_eq!(diary.read(), ["it terminated target"]);
}

#[test]
fn a_child_that_failed_before_it_was_watched_is_reported_with_its_cause() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let parent = kit.spawn("parent", scripted("parent", &diary));
    let (tx, rx) = std::sync::mpsc::channel();
    parent.tell(Order::run(move |_, ctx| {
        let child = ctx.spawn("child", scripted("child", &Diary::default()));
        child.tell(Order::Fail("disk is gone"));
        tx.send(child).unwrap();
    }));
    kit.settle();
    parent.tell(watch(&rx.recv().unwrap()));
    kit.settle();
    assert_eq!(diary.read(), ["parent started", "parent child-failed child disk is gone"]);
}

/// Says its last word to somebody who watches it.
struct LastWords(ActorRef<Order>);

impl Actor for LastWords {
    type Message = ();

    async fn receive(&mut self, _ctx: &mut ActorContext<()>, (): ()) -> Handled {
        Ok(Behavior::Stopped)
    }

    async fn on_signal(&mut self, ctx: &mut ActorContext<()>, _signal: Signal) -> Handled {
        ctx.clock().sleep(SECOND).await;
        self.0.tell(Order::note("farewell"));
        Ok(Behavior::Same)
    }
}

#[test]
fn the_end_does_not_overtake_what_is_said_in_the_last_signal() {
    let kit = TestKit::new();
    let (watcher, _, diary) = watcher_and_target(&kit);
    let target = kit.spawn("speaker", LastWords(watcher.clone()));
    let watched = target.clone();
    watcher.tell(Order::run(move |_, ctx| ctx.watch(&watched)));
    target.tell(());
    kit.settle();
    assert_eq!(diary.read(), [""; 0], "it has not ended yet");
    kit.advance(SECOND);
    assert_eq!(diary.read(), ["watcher farewell", "watcher terminated speaker"]);
}
