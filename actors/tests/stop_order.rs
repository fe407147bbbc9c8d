//! How actors stop, and in which order.

use std::time::Duration;

use actors::testkit::TestKit;
use actors::{
    Actor, ActorContext, ActorRef, AskError, Behavior, DeadLetterReason, Handled, Props, ReplyTo, Signal, SpawnError,
    StopForced,
};

use crate::script::{Diary, Order, Scripted};

const SECOND: Duration = Duration::from_secs(1);

fn family(kit: &TestKit, diary: &Diary) -> ActorRef<Order> {
    let top = kit.spawn("top", Scripted::new("top", diary));
    top.tell(Order::run(|this, ctx| {
        for name in ["a", "b"] {
            let child = ctx.spawn(name, Scripted::new(name, &this.diary));
            child.tell(Order::run(move |this, ctx| {
                ctx.spawn("leaf", Scripted::new(format!("{name}-leaf"), &this.diary));
            }));
        }
    }));
    kit.settle();
    diary.read();
    top
}

#[test]
fn children_are_gone_before_their_parent_hears_post_stop() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let top = family(&kit, &diary);
    top.tell(Order::Stop);
    kit.settle();
    let read = diary.read();
    let at = |entry: &str| read.iter().position(|line| line == entry).unwrap_or_else(|| panic!("{entry}: {read:#?}"));
    for name in ["a", "b"] {
        assert!(at(&format!("{name}-leaf dropped")) < at(&format!("{name} post-stop")), "{read:#?}");
        assert!(at(&format!("{name} dropped")) < at("top post-stop"), "{read:#?}");
    }
    assert_eq!(read.last().unwrap(), "top dropped");
}

#[test]
fn stopping_finishes_the_message_in_hand_and_handles_no_further_one() {
    let kit = TestKit::new();
    let mut probe = kit.probe::<u32>();
    let parent = kit.spawn("parent", Parent { told: probe.actor_ref(), child: None });
    parent.tell(ParentMessage::Spawn);
    for number in 1..=3 {
        parent.tell(ParentMessage::ToChild(number));
    }
    kit.settle();
    parent.tell(ParentMessage::StopChild); // the child is in the middle of number one
    kit.advance(SECOND * 10);
    assert_eq!(probe.drain(), [1, 100], "number one, then `PostStop`");
    assert_eq!(kit.system().event_stream().dead_letters(DeadLetterReason::StoppedBefore), 2);
}

struct Parent {
    told: ActorRef<u32>,
    child: Option<ActorRef<u32>>,
}

enum ParentMessage {
    Spawn,
    ToChild(u32),
    StopChild,
}

impl Actor for Parent {
    type Message = ParentMessage;

    async fn receive(&mut self, ctx: &mut ActorContext<ParentMessage>, message: ParentMessage) -> Handled {
        match message {
            ParentMessage::Spawn => self.child = Some(ctx.spawn("slow", Slow { told: self.told.clone() })),
            ParentMessage::ToChild(number) => self.child.as_ref().unwrap().tell(number),
            ParentMessage::StopChild => ctx.stop(self.child.as_ref().unwrap()),
        }
        Ok(Behavior::Same)
    }
}

/// Takes a second for each number.
struct Slow {
    told: ActorRef<u32>,
}

impl Actor for Slow {
    type Message = u32;

    async fn receive(&mut self, ctx: &mut ActorContext<u32>, number: u32) -> Handled {
        ctx.clock().sleep(SECOND).await;
        self.told.tell(number);
        Ok(Behavior::Same)
    }

    async fn on_signal(&mut self, _ctx: &mut ActorContext<u32>, signal: Signal) -> Handled {
        if let Signal::PostStop = signal {
            self.told.tell(100);
        }
        Ok(Behavior::Same)
    }
}

#[test]
fn a_stopping_actor_takes_no_messages_from_the_start_of_its_stop() {
    let kit = TestKit::new();
    let mut probe = kit.probe::<u32>();
    let parent = kit.spawn("parent", Parent { told: probe.actor_ref(), child: None });
    parent.tell(ParentMessage::Spawn);
    parent.tell(ParentMessage::ToChild(1));
    kit.settle();
    let system = kit.system().clone();
    system.coordinated_shutdown().start();
    kit.settle();
    // The parent waits for its child, which is in the middle of number one.
    assert!(parent.is_stopped());
    assert!(parent.try_tell(ParentMessage::ToChild(2)).is_err());
    kit.block_on(system.terminated());
    assert_eq!(probe.drain(), [1, 100]);
}

/// Never comes back from its handler, which holds a question.
struct Hangs;

impl Actor for Hangs {
    type Message = ReplyTo<()>;

    async fn receive(&mut self, _ctx: &mut ActorContext<ReplyTo<()>>, reply_to: ReplyTo<()>) -> Handled {
        std::future::pending::<()>().await;
        reply_to.tell(());
        Ok(Behavior::Same)
    }
}

#[test]
fn a_handler_that_hangs_is_dropped_once_the_stop_timeout_is_over() {
    let kit = TestKit::new();
    let mut forced = kit.probe::<StopForced>();
    kit.system().event_stream().subscribe(&forced.actor_ref());
    let hangs = kit.spawn("hangs", Props::new(|| Hangs).stop_timeout(SECOND * 2));
    let answer = hangs.ask(|reply_to| reply_to, SECOND * 60);
    kit.advance(SECOND * 5); // hanging alone is no reason
    assert!(!hangs.is_stopped());

    kit.system().coordinated_shutdown().start();
    kit.advance(SECOND * 2 - Duration::from_millis(1));
    assert!(forced.drain().is_empty());
    kit.advance(Duration::from_millis(1));
    assert_eq!(forced.drain(), [StopForced { actor: hangs.path().clone(), after: SECOND * 2 }]);
    assert_eq!(kit.block_on(answer), Err(AskError::NoReply));
    kit.block_on(kit.system().terminated());
}

#[test]
fn only_a_parent_stops_an_actor() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let mut probe = kit.probe::<()>();
    let (a, b) = (kit.spawn("a", Scripted::new("a", &diary)), kit.spawn("b", Scripted::new("b", &diary)));
    let foreign = b.clone();
    a.tell(Order::run(move |_, ctx| ctx.stop(&foreign)));
    probe.expect_terminated(&a);
    assert!(!b.is_stopped());
}

#[test]
fn a_child_may_be_stopped_twice_and_its_name_is_taken_until_it_is_gone() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let parent = kit.spawn("parent", Scripted::new("parent", &diary));
    parent.tell(Order::run(|this, ctx| {
        let child = ctx.spawn("child", Scripted::new("child", &this.diary));
        ctx.stop(&child);
        ctx.stop(&child);
        let again = ctx.try_spawn("child", Scripted::new("again", &Diary::default()));
        assert!(matches!(again, Err(SpawnError::NameTaken { .. })));
        assert!(matches!(ctx.try_spawn("", Scripted::new("", &Diary::default())), Err(SpawnError::EmptyName)));
    }));
    kit.settle();
    parent.tell(Order::run(|this, ctx| this.note(format!("has {} children", ctx.children().count()))));
    kit.settle();
    assert_eq!(diary.read().last().unwrap(), "parent has 0 children");
}

#[test]
fn the_name_of_a_child_that_ended_is_free_whoever_has_its_place() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let parent = kit.spawn("parent", Scripted::new("parent", &diary));
    let spawn = |name: &'static str| {
        Order::run(move |this, ctx| {
            let spawned = ctx.try_spawn(name, Scripted::new(name, &Diary::default()));
            this.note(format!("{name} {}", spawned.is_ok()));
        })
    };
    parent.tell(spawn("stays"));
    parent.tell(spawn("ends"));
    parent.tell(Order::run(|_, ctx| {
        let ends = ctx.child::<Order>("ends").unwrap();
        ctx.stop(&ends);
    }));
    kit.settle();
    parent.tell(spawn("other"));
    parent.tell(Order::run(|this, ctx| this.note(format!("ends {:?}", ctx.child::<Order>("ends").is_some()))));
    parent.tell(spawn("ends"));
    kit.settle();
    let expected = ["parent started", "stays true", "ends true", "other true", "ends false", "ends true"];
    let expected = expected.map(|line| if line == "parent started" { line.into() } else { format!("parent {line}") });
    assert_eq!(diary.read(), expected);
}

#[test]
fn children_are_found_by_name_and_message_type() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let parent = kit.spawn("parent", Scripted::new("parent", &diary));
    parent.tell(Order::run(|_, ctx| {
        let quiet = Diary::default();
        let child = ctx.spawn("cart/1", Scripted::new("cart", &quiet));
        assert_eq!(child.path().as_str(), "/user/parent/cart%2F1");
        assert_eq!(ctx.child::<Order>("cart/1"), Some(child));
        assert_eq!(ctx.child::<u32>("cart/1"), None);
        let unnamed = ctx.spawn_anonymous(Scripted::new("unnamed", &quiet));
        assert_eq!(ctx.children().count(), 2);
        assert!(ctx.children().any(|path| path == unnamed.path()));
    }));
    parent.tell(Order::note("all as expected"));
    kit.settle();
    assert_eq!(diary.read(), ["parent started", "parent all as expected"]);
}

#[test]
fn a_stopped_actor_holds_nothing_though_its_reference_lives_on() {
    let kit = TestKit::new();
    let held = std::sync::Arc::new(());
    let diary = Diary::default();
    let factory = held.clone();
    let props = Props::new(move || {
        let _held_by_the_factory = &factory;
        Scripted::new("it", &diary)
    });
    let actor = kit.spawn("actor", props);
    let watcher = kit.spawn("watcher", Scripted::new("watcher", &Diary::default()));
    for number in 0..3 {
        let (by_timer, by_task, by_watcher) = (held.clone(), held.clone(), held.clone());
        actor.tell(Order::run(move |_, ctx| {
            let key = format!("timer{number}");
            ctx.timers().start_single(key, SECOND, Order::run(move |_, _| drop(by_timer)));
            ctx.spawn_task(async move {
                std::future::pending::<()>().await;
                drop(by_task);
            });
        }));
        let target = actor.clone();
        watcher.tell(Order::run(move |_, ctx| ctx.watch_with(&target, Order::run(move |_, _| drop(by_watcher)))));
    }
    kit.settle();
    actor.tell(Order::Stop);
    let in_the_mailbox = held.clone();
    actor.tell(Order::run(move |_, _| drop(in_the_mailbox)));
    kit.settle();
    assert_eq!(std::sync::Arc::strong_count(&held), 1);
    assert!(actor.is_stopped());
}

/// Hangs in its last signal.
struct HangsAtTheEnd;

impl Actor for HangsAtTheEnd {
    type Message = ();

    async fn receive(&mut self, _ctx: &mut ActorContext<()>, (): ()) -> Handled {
        Err(actors::BoxError::from("told to"))
    }

    async fn on_signal(&mut self, _ctx: &mut ActorContext<()>, _signal: Signal) -> Handled {
        std::future::pending().await
    }
}

#[test]
fn the_stop_timeout_covers_the_last_signals_too() {
    for fail_first in [false, true] {
        let kit = TestKit::new();
        let mut forced = kit.probe::<StopForced>();
        kit.system().event_stream().subscribe(&forced.actor_ref());
        let props = Props::new(|| HangsAtTheEnd).supervise(actors::SupervisorStrategy::restart());
        let actor = kit.spawn("hangs", props.stop_timeout(SECOND * 2));
        if fail_first {
            actor.tell(()); // hangs in `PreRestart`
            kit.settle();
        }
        kit.system().coordinated_shutdown().start();
        kit.advance(SECOND * 2);
        assert_eq!(forced.drain().len(), 1, "fail first: {fail_first}");
        kit.probe::<()>().expect_terminated(&actor);
        assert_eq!(kit.clock().now().since_start(), SECOND * 2, "no further life has to end first");
    }
}

/// Asks its parent and waits for the answer inside its handler.
struct Asks {
    parent: ActorRef<Question>,
    outcome: ActorRef<Result<(), AskError>>,
}

impl Actor for Asks {
    type Message = ();

    async fn receive(&mut self, _ctx: &mut ActorContext<()>, (): ()) -> Handled {
        self.outcome.tell(self.parent.ask(Question::Asked, SECOND * 60).await);
        Ok(Behavior::Same)
    }
}

enum Question {
    /// Spawns the child that asks, then stops with its question in the mailbox.
    StopWhenAsked(ActorRef<Result<(), AskError>>),
    Asked(ReplyTo<()>),
}

struct Asked;

impl Actor for Asked {
    type Message = Question;

    async fn receive(&mut self, ctx: &mut ActorContext<Question>, question: Question) -> Handled {
        match question {
            Question::StopWhenAsked(outcome) => {
                let parent = ctx.this().clone();
                ctx.spawn("child", Asks { parent, outcome }).tell(());
                ctx.clock().sleep(SECOND).await;
                Ok(Behavior::Stopped)
            }
            Question::Asked(reply_to) => {
                reply_to.tell(());
                Ok(Behavior::Same)
            }
        }
    }
}

#[test]
fn a_child_that_waits_for_an_answer_of_its_stopping_parent_learns_at_once_that_none_comes() {
    let kit = TestKit::new();
    let mut outcome = kit.probe();
    let parent = kit.spawn("parent", Asked);
    parent.tell(Question::StopWhenAsked(outcome.actor_ref()));
    kit.probe::<()>().expect_terminated(&parent);
    assert_eq!(kit.clock().now().since_start(), SECOND, "nobody waited for a time limit");
    assert_eq!(outcome.drain(), [Err(AskError::Stopped)]);
    assert_eq!(kit.system().event_stream().dead_letters(DeadLetterReason::StoppedBefore), 1);
}
