//! Actors that were made asleep, since they have nothing to do before their first message.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use actors::testkit::TestKit;
use actors::{Actor, ActorContext, ActorRef, ActorState, ActorSystem, Behavior, Handled, Signal};
use tokio::runtime::{Builder, Runtime};

const COUNT: usize = 100;

#[derive(Clone, Default)]
struct Tally {
    told: Arc<AtomicUsize>,
    stopped: Arc<AtomicUsize>,
    dropped: Arc<AtomicUsize>,
}

impl Tally {
    fn counts(&self) -> (usize, usize, usize) {
        let [told, stopped, dropped] = [&self.told, &self.stopped, &self.dropped].map(|of| of.load(Ordering::SeqCst));
        (told, stopped, dropped)
    }
}

struct Sleeper(Tally);

impl Actor for Sleeper {
    type Message = ();

    async fn receive(&mut self, _ctx: &mut ActorContext<()>, (): ()) -> Handled {
        self.0.told.fetch_add(1, Ordering::SeqCst);
        Ok(Behavior::Same)
    }

    async fn on_signal(&mut self, _ctx: &mut ActorContext<()>, signal: Signal) -> Handled {
        self.0.stopped.fetch_add(usize::from(matches!(signal, Signal::PostStop)), Ordering::SeqCst);
        Ok(Behavior::Unhandled)
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

#[derive(Clone, Copy, Debug)]
enum Way {
    Stop,
    StopWithin,
    Drain,
    Kill,
    OwnEnd,
}

/// Makes sleepers, tells every other one something, and ends them in one of several ways.
struct Parent(Tally, Vec<ActorRef<()>>);

enum ParentMessage {
    Raise,
    TellSome,
    End(Way),
}

impl Actor for Parent {
    type Message = ParentMessage;

    async fn receive(&mut self, ctx: &mut ActorContext<ParentMessage>, message: ParentMessage) -> Handled {
        match message {
            ParentMessage::Raise => {
                self.1 = (0..COUNT).map(|_| ctx.spawn_anonymous(Sleeper(self.0.clone()))).collect();
            }
            ParentMessage::TellSome => self.1.iter().step_by(2).for_each(|child| child.tell(())),
            ParentMessage::End(Way::OwnEnd) => return Ok(Behavior::Stopped),
            ParentMessage::End(way) => {
                for child in &self.1 {
                    match way {
                        Way::Stop => ctx.stop(child),
                        Way::StopWithin => ctx.stop_within(child, Duration::from_secs(1)),
                        Way::Drain => ctx.drain(child, Duration::from_secs(1)),
                        Way::Kill | Way::OwnEnd => ctx.kill(child),
                    }
                }
            }
        }
        Ok(Behavior::Same)
    }
}

#[test]
fn they_end_as_all_others_do_told_anything_or_not() {
    for way in [Way::Stop, Way::StopWithin, Way::Drain, Way::Kill, Way::OwnEnd] {
        let kit = TestKit::new();
        let tally = Tally::default();
        let parent = kit.spawn("parent", Parent(tally.clone(), Vec::new()));
        parent.tell(ParentMessage::Raise);
        kit.settle();
        assert_eq!(tally.counts(), (0, 0, 0), "{way:?}");
        parent.tell(ParentMessage::TellSome);
        kit.settle();
        assert_eq!(tally.counts(), (COUNT / 2, 0, 0), "{way:?}");

        parent.tell(ParentMessage::End(way));
        kit.settle();
        let told_to_stop = if matches!(way, Way::Kill) { 0 } else { COUNT };
        assert_eq!(tally.counts(), (COUNT / 2, told_to_stop, COUNT), "{way:?}");
    }
}

/// So many of them, on a runtime of two threads.
fn on_two_threads() -> (Runtime, ActorSystem, Vec<ActorRef<()>>, Tally) {
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    let tally = Tally::default();
    let system = {
        let _entered = runtime.enter();
        ActorSystem::new("sleepers")
    };
    let sleepers = (0..COUNT).map(|_| system.spawn_anonymous(Sleeper(tally.clone()))).collect();
    (runtime, system, sleepers, tally)
}

#[test]
fn they_are_idle_from_the_first_moment() {
    let (runtime, system, sleepers, tally) = on_two_threads();
    let tree = runtime.block_on(system.tree());
    let idle = tree.actors().iter().filter(|actor| actor.state == ActorState::Idle).count();
    assert!(idle >= COUNT, "{idle} of {COUNT} are idle");

    sleepers.iter().for_each(|sleeper| sleeper.tell(()));
    runtime.block_on(system.terminate());
    let (told, stopped, dropped) = tally.counts();
    assert!(told <= COUNT);
    assert_eq!((stopped, dropped), (COUNT, COUNT));
}

#[test]
fn they_are_let_go_of_when_the_runtime_ends() {
    let (runtime, _system, _sleepers, tally) = on_two_threads();
    drop(runtime);
    assert_eq!(tally.counts(), (0, 0, COUNT));
}
