//! The end of an actor, awaited from outside of any.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use actors::testkit::TestKit;
use actors::{Actor, ActorContext, ActorRef, Behavior, BoxError, Handled, Props, Signal, SupervisorStrategy};

const SECOND: Duration = Duration::from_secs(1);

struct Parent {
    told: ActorRef<&'static str>,
    slow: Duration,
}

#[derive(Clone, Copy)]
enum ParentMessage {
    Spawn,
    Fail,
    Stop,
}

impl Actor for Parent {
    type Message = ParentMessage;

    async fn receive(&mut self, ctx: &mut ActorContext<ParentMessage>, message: ParentMessage) -> Handled {
        match message {
            ParentMessage::Spawn => {
                let child = Parent { told: self.told.clone(), slow: Duration::ZERO };
                ctx.spawn("child", child);
                Ok(Behavior::Same)
            }
            ParentMessage::Fail => Err(BoxError::from("told to")),
            ParentMessage::Stop => Ok(Behavior::Stopped),
        }
    }

    async fn on_signal(&mut self, ctx: &mut ActorContext<ParentMessage>, signal: Signal) -> Handled {
        if let Signal::PostStop = signal {
            ctx.clock().sleep(self.slow).await;
            self.told.tell("post stop");
        }
        Ok(Behavior::Same)
    }
}

fn is_pending(future: impl Future<Output = ()>) -> bool {
    pin!(future).poll(&mut Context::from_waker(Waker::noop())) == Poll::Pending
}

fn parent(kit: &TestKit, told: ActorRef<&'static str>) -> ActorRef<ParentMessage> {
    let props = Props::new(move || Parent { told: told.clone(), slow: SECOND });
    kit.spawn("parent", props.supervise(SupervisorStrategy::restart()))
}

#[test]
fn it_comes_after_post_stop_and_children_and_not_with_a_restart() {
    let kit = TestKit::new();
    let mut probe = kit.probe();
    let parent = parent(&kit, probe.actor_ref());
    parent.tell(ParentMessage::Spawn);
    parent.tell(ParentMessage::Fail);
    parent.tell(ParentMessage::Spawn);
    kit.settle();
    let mapped = parent.map(|()| ParentMessage::Stop);
    let (ended, also) = (parent.terminated(), mapped.terminated());
    assert!(is_pending(parent.terminated()), "a restart is no end");
    probe.drain();
    mapped.tell(());
    kit.settle();
    assert!(is_pending(parent.terminated()), "its last signal goes on");
    let before = kit.clock().now();
    kit.block_on(ended);
    assert_eq!(kit.clock().now() - before, SECOND);
    assert_eq!(probe.drain(), ["post stop", "post stop"], "the child's and its own");
    kit.block_on(also);
    kit.block_on(parent.terminated());
    kit.spawn("parent", Parent { told: probe.actor_ref(), slow: SECOND }); // the name is free
}

#[test]
fn whoever_gives_up_is_not_woken_and_takes_nobody_along() {
    let kit = TestKit::new();
    let probe = kit.probe();
    let parent = parent(&kit, probe.actor_ref());
    kit.settle();
    let (woken, counting) = counter();
    let mut cx = Context::from_waker(&counting);
    let mut given_up = Box::pin(parent.terminated());
    let mut kept = pin!(parent.terminated());
    assert!(given_up.as_mut().poll(&mut cx).is_pending() && given_up.as_mut().poll(&mut cx).is_pending());
    assert!(kept.as_mut().poll(&mut cx).is_pending());
    drop(given_up);
    kit.stop(&parent);
    assert_eq!(woken.load(std::sync::atomic::Ordering::Relaxed), 1, "the one that waits, once");
    assert!(kept.as_mut().poll(&mut cx).is_ready());
}

#[test]
fn who_never_lived_has_ended() {
    let kit = TestKit::new();
    kit.block_on(kit.system().terminate());
    let probe = kit.probe();
    let late = kit.spawn("late", Parent { told: probe.actor_ref(), slow: SECOND });
    assert!(!is_pending(late.terminated()));
}

/// A waker that counts how often it is woken.
fn counter() -> (std::sync::Arc<std::sync::atomic::AtomicU32>, Waker) {
    struct Counter(std::sync::Arc<std::sync::atomic::AtomicU32>);
    impl std::task::Wake for Counter {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
    }
    let woken = std::sync::Arc::default();
    (std::sync::Arc::clone(&woken), std::sync::Arc::new(Counter(woken)).into())
}
