//! What is put around each message an actor handles.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use actors::testkit::TestKit;
use actors::{
    Actor, ActorContext, ActorPath, ActorRef, Behavior, BoxError, Handled, Interceptor, MessageOutcome, Props,
    SupervisorStrategy,
};

const SECOND: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
enum Does {
    Nothing,
    Sleep(u64),
    Fail,
    Panic,
    Unhandled,
}

struct Doer;

impl Actor for Doer {
    type Message = Does;

    async fn receive(&mut self, ctx: &mut ActorContext<Does>, does: Does) -> Handled {
        match does {
            Does::Nothing => Ok(Behavior::Same),
            Does::Sleep(seconds) => {
                let sleep = ctx.clock().sleep(Duration::from_secs(seconds));
                sleep.await;
                Ok(Behavior::Same)
            }
            Does::Fail => Err(BoxError::from("broken")),
            Does::Panic => panic!("lost"),
            Does::Unhandled => Ok(Behavior::Unhandled),
        }
    }
}

/// Writes down what it sees, under its name.
#[derive(Clone)]
struct Notes(&'static str, Arc<Mutex<Vec<String>>>);

impl Notes {
    fn new(name: &'static str) -> Self {
        Self(name, Arc::default())
    }

    fn read(&self) -> Vec<String> {
        std::mem::take(&mut *self.1.lock().unwrap())
    }
}

impl Interceptor<Does> for Notes {
    fn before(&self, actor: &ActorPath, message: &Does) {
        self.1.lock().unwrap().push(format!("{} before {} {message:?}", self.0, actor.name()));
    }

    fn after(&self, _actor: &ActorPath, outcome: MessageOutcome<'_>, took: Duration) {
        self.1.lock().unwrap().push(format!("{} after {outcome:?} {took:?}", self.0));
    }
}

fn doer() -> Props<Doer> {
    Props::new(|| Doer).supervise(SupervisorStrategy::restart())
}

#[test]
fn each_message_is_shown_before_and_after_with_its_outcome_and_duration() {
    let kit = TestKit::new();
    let notes = Notes::new("it");
    let actor = kit.spawn("doer", doer().intercept(notes.clone()));
    [Does::Nothing, Does::Sleep(2), Does::Unhandled, Does::Fail, Does::Panic]
        .into_iter()
        .for_each(|does| actor.tell(does));
    kit.advance(2 * SECOND);
    let expected = [
        "it before doer Nothing",
        "it after Handled(Same) 0ns",
        "it before doer Sleep(2)",
        "it after Handled(Same) 2s",
        "it before doer Unhandled",
        "it after Handled(Unhandled) 0ns",
        "it before doer Fail",
        "it after Failed(\"broken\") 0ns",
        "it before doer Panic",
        "it after Panicked 0ns",
    ];
    assert_eq!(notes.read(), expected);
    let tree = kit.block_on(kit.system().tree());
    let node = tree.find("/user/doer").unwrap();
    assert_eq!((node.actor_type, node.restarts), (std::any::type_name::<Doer>(), Some(2)));
}

#[test]
fn a_handler_that_is_dropped_is_told_of_too() {
    struct Killer(Option<ActorRef<Does>>, Notes);
    impl Actor for Killer {
        type Message = bool;
        async fn receive(&mut self, ctx: &mut ActorContext<bool>, kill: bool) -> Handled {
            if kill {
                ctx.kill(self.0.as_ref().unwrap());
            } else {
                let child = ctx.spawn("doer", doer().intercept(self.1.clone()));
                child.tell(Does::Sleep(60));
                self.0 = Some(child);
            }
            Ok(Behavior::Same)
        }
    }
    let kit = TestKit::new();
    let notes = Notes::new("it");
    let killer = kit.spawn("killer", Killer(None, notes.clone()));
    killer.tell(false);
    kit.advance(SECOND);
    killer.tell(true);
    kit.settle();
    assert_eq!(notes.read(), ["it before doer Sleep(60)", "it after Dropped 1s"]);
}

#[test]
fn one_given_later_is_around_those_before() {
    let kit = TestKit::new();
    let inner = Notes::new("inner");
    let outer = Notes("outer", inner.1.clone());
    let actor = kit.spawn("doer", doer().intercept(inner.clone()).intercept(outer));
    actor.tell(Does::Nothing);
    kit.settle();
    let expected = [
        "outer before doer Nothing",
        "inner before doer Nothing",
        "inner after Handled(Same) 0ns",
        "outer after Handled(Same) 0ns",
    ];
    assert_eq!(inner.read(), expected);
}

#[test]
fn an_interceptor_that_panics_afterwards_does_no_harm() {
    struct Clumsy;
    impl<M> Interceptor<M> for Clumsy {
        fn after(&self, _actor: &ActorPath, _outcome: MessageOutcome<'_>, _took: Duration) {
            panic!("clumsy");
        }
    }
    let kit = TestKit::new();
    let notes = Notes::new("it");
    let actor = kit.spawn("doer", doer().intercept(notes.clone()).intercept(Arc::new(Clumsy)));
    [Does::Panic, Does::Nothing].into_iter().for_each(|does| actor.tell(does));
    kit.settle();
    assert_eq!(notes.read().len(), 4, "it lives on");
    let tree = kit.block_on(kit.system().tree());
    assert_eq!(tree.find("/user/doer").unwrap().restarts, Some(1), "only its own panic was a failure");
}
