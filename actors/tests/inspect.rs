//! What a look at the whole system shows.

use std::time::Duration;

use actors::testkit::TestKit;
use actors::{Actor, ActorContext, ActorRef, ActorState, Behavior, Handled, Props, SupervisorStrategy, TreeOptions};

use crate::script::{Diary, Order, Scripted};

const SECOND: Duration = Duration::from_secs(1);

fn restarting(diary: &Diary, delay: Duration) -> Props<Scripted> {
    let made = diary.clone();
    let strategy = if delay.is_zero() {
        SupervisorStrategy::restart()
    } else {
        SupervisorStrategy::restart_with_backoff(delay, delay)
    };
    Props::new(move || Scripted::new("it", &made)).supervise(strategy)
}

/// Spends the time it is told in one turn.
struct Slow;

impl Actor for Slow {
    type Message = Duration;

    async fn started(&mut self, ctx: &mut ActorContext<Duration>) -> Handled {
        ctx.spawn("below", Idle);
        Ok(Behavior::Same)
    }

    async fn receive(&mut self, ctx: &mut ActorContext<Duration>, time: Duration) -> Handled {
        let clock = ctx.clock().clone();
        clock.sleep(time).await;
        Ok(Behavior::Same)
    }
}

struct Idle;

impl Actor for Idle {
    type Message = ();

    async fn receive(&mut self, _ctx: &mut ActorContext<()>, (): ()) -> Handled {
        Ok(Behavior::Same)
    }
}

#[test]
fn a_tree_shows_who_is_where_what_type_it_is_and_how_often_it_restarted() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let kiosk = kit.spawn("kiosk", restarting(&diary, Duration::ZERO));
    kiosk.tell(Order::Fail("once"));
    kiosk.tell(Order::run(|_, ctx| {
        let till: ActorRef<Duration> = ctx.spawn("till", Slow);
        assert_eq!(till.queued(), 0);
        ctx.spawn("gate", Idle);
    }));
    kit.system().receptionist();
    kit.settle();

    let tree = kit.block_on(kit.system().tree());

    assert!(tree.is_complete());
    let paths: Vec<_> = tree.actors().iter().map(|node| (node.path.as_str(), node.depth)).collect();
    let expected = [
        ("/user/kiosk", 0),
        ("/user/kiosk/gate", 1),
        ("/user/kiosk/till", 1),
        ("/user/kiosk/till/below", 2),
        ("/system/receptionist", 0),
    ];
    assert_eq!(paths, expected);
    let kiosk = tree.find("/user/kiosk").unwrap();
    assert_eq!((kiosk.restarts, kiosk.state, kiosk.queued), (Some(1), ActorState::Idle, 0));
    assert_eq!(kiosk.actor_type, std::any::type_name::<Scripted>());
    assert_eq!(tree.below("/user/kiosk/till").len(), 2);
    let text = tree.to_string();
    let line = format!("\n/user\n  kiosk  {}  idle  queued 0  restarts 1\n    gate  ", kiosk.actor_type);
    assert!(text.contains(&line), "{text}");
    let json = tree.to_json();
    assert!(json.starts_with(r#"{"system":"test","complete":true,"actors":[{"path":"/user/kiosk","uid":"#), "{json}");
    assert!(json.contains(r#""children":[{"path":"/user/kiosk/till/below","#), "{json}");
    assert_eq!(json.matches(['{', '[']).count(), json.matches(['}', ']']).count(), "{json}");
}

/// The handler of `slow` is suspended: the tree does not wait for it, and each look knows that the turn is older.
#[test]
fn one_that_is_busy_is_seen_from_outside_and_its_turn_has_an_age() {
    let kit = TestKit::new();
    let slow = kit.spawn("slow", Slow);
    let other = kit.spawn("other", Slow);
    kit.settle();
    slow.tell(10 * SECOND);
    slow.tell(SECOND);
    other.tell(Duration::from_millis(50));
    kit.settle();

    let tree = kit.block_on(kit.system().tree());
    let node = tree.find("/user/slow").unwrap();
    assert_eq!((node.state, node.queued, node.restarts), (ActorState::Suspended, 1, None));
    assert!(!node.children_known && !tree.is_complete());
    assert_eq!(node.turn_age, Some(Duration::from_millis(100)));
    assert!(tree.find("/user/slow/below").is_none());
    let other = tree.find("/user/other").unwrap();
    assert!(other.children_known, "it was done in time");
    assert_eq!((other.state, other.turn_age), (ActorState::Suspended, None));
    assert!(tree.find("/user/other/below").is_some());

    kit.advance(SECOND);
    let tree = kit.block_on(kit.system().tree());
    assert_eq!(tree.find("/user/slow").unwrap().turn_age, Some(Duration::from_millis(1_200)));

    kit.advance(20 * SECOND);
    let tree = kit.block_on(kit.system().tree());
    assert!(tree.is_complete(), "{tree}");
}

#[test]
fn between_two_lives_and_on_the_way_to_its_end_an_actor_still_answers() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let waits = kit.spawn("waits", restarting(&diary, 60 * SECOND));
    waits.tell(Order::Fail("broken"));
    let ends = kit.spawn("ends", Scripted::new("ends", &diary));
    ends.tell(Order::run(|_, ctx| ctx.spawn("slow", Slow).tell(60 * SECOND)));
    kit.settle();
    ends.tell(Order::Stop);
    kit.settle();

    let tree = kit.block_on(kit.system().tree());
    let waits = tree.find("/user/waits").unwrap();
    assert_eq!((waits.state, waits.restarts), (ActorState::Restarting, Some(1)));
    let ends = tree.find("/user/ends").unwrap();
    assert_eq!((ends.state, ends.children_known), (ActorState::Stopping, true));
    let slow = tree.find("/user/ends/slow").unwrap();
    assert_eq!((slow.state, slow.children_known), (ActorState::Stopping, false));
}

#[test]
fn one_that_does_not_come_up_is_starting() {
    struct Never;
    impl Actor for Never {
        type Message = ();
        async fn started(&mut self, _ctx: &mut ActorContext<()>) -> Handled {
            std::future::pending().await
        }
        async fn receive(&mut self, _ctx: &mut ActorContext<()>, (): ()) -> Handled {
            Ok(Behavior::Same)
        }
    }
    let kit = TestKit::new();
    kit.spawn("never", Never);
    kit.settle();
    let tree = kit.block_on(kit.system().tree());
    assert_eq!(tree.find("/user/never").unwrap().state, ActorState::Starting);
}

/// Three messages of a second each: what is told now waits for three seconds.
#[test]
fn the_time_in_the_queue_is_measured_when_asked_for() {
    let kit = TestKit::new();
    let slow = kit.spawn("slow", Slow);
    kit.settle();
    (0..3).for_each(|_| slow.tell(SECOND));
    let options = TreeOptions { within: 10 * SECOND, time_in_queue: true, ..TreeOptions::default() };
    let tree = kit.block_on(kit.system().tree_with(options));
    assert_eq!(tree.find("/user/slow").unwrap().time_in_queue, Some(3 * SECOND));
    assert_eq!(tree.find("/user/slow/below").unwrap().time_in_queue, Some(Duration::ZERO));
    assert_eq!(slow.queued(), 0);
    kit.block_on(kit.system().terminate());
    assert_eq!(kit.system().event_stream().dead_letters_total(), 0, "a probe is no message");
}

#[test]
fn a_tree_has_no_more_actors_than_it_may() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let parent = kit.spawn("parent", Scripted::new("parent", &diary));
    parent.tell(Order::run(|_, ctx| (0..10).for_each(|_| drop(ctx.spawn_anonymous(Idle)))));
    kit.settle();
    let options = TreeOptions { actors_max: 4, ..TreeOptions::default() };
    let tree = kit.block_on(kit.system().tree_with(options));
    assert_eq!(tree.actors().len(), 4);
    assert_eq!(tree.find("/user/parent").unwrap().left_out, 7);
    assert!(!tree.is_complete());
}
