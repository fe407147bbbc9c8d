//! One life and the next: what passes over, what does not, and when the next one comes.

use std::time::Duration;

use actors::testkit::TestKit;
use actors::{Actor, ActorContext, ActorRef, Behavior, BoxError, Handled, Props, Signal, SupervisorStrategy};

use crate::script::{Diary, Order, Scripted};

const SECOND: Duration = Duration::from_secs(1);

/// Tells when each of its lives begins, in milliseconds; fails on every message, and in its start if that takes any time.
struct ShortLived {
    starts: Duration,
    begun: ActorRef<u128>,
}

impl Actor for ShortLived {
    type Message = ();

    async fn started(&mut self, ctx: &mut ActorContext<()>) -> Handled {
        self.begun.tell(ctx.clock().now().since_start().as_millis());
        if self.starts.is_zero() {
            return Ok(Behavior::Same);
        }
        ctx.clock().sleep(self.starts).await;
        Err(BoxError::from("not yet"))
    }

    async fn receive(&mut self, _ctx: &mut ActorContext<()>, (): ()) -> Handled {
        Err(BoxError::from("told to"))
    }
}

/// When the lives of an actor begin that is told four messages at once.
fn lives_begin(starts: Duration) -> Vec<u128> {
    let kit = TestKit::new();
    let mut begun = kit.probe();
    let told = begun.actor_ref();
    let ms = Duration::from_millis;
    let strategy = SupervisorStrategy::restart_with_backoff(ms(100), SECOND).jitter(0.0);
    let props = Props::new(move || ShortLived { starts, begun: told.clone() }).supervise(strategy);
    let actor = kit.spawn("short-lived", props);
    (0..4).for_each(|_| actor.tell(()));
    kit.advance(SECOND * 5);
    begun.drain()
}

#[test]
fn delays_grow_over_lives_that_fail_soon_however_long_the_actor_exists() {
    assert_eq!(lives_begin(Duration::ZERO), [0, 100, 300, 700, 1_500]);
}

#[test]
fn a_start_that_fails_is_no_good_life_however_long_it_took() {
    assert_eq!(lives_begin(SECOND)[..4], [0, 1_100, 2_300, 3_700]);
}

/// Has work of its first life on the way when that ends.
struct Leaves {
    life: u32,
    diary: Diary,
}

enum Left {
    Work,
    Result(u32),
}

impl Actor for Leaves {
    type Message = Left;

    async fn receive(&mut self, ctx: &mut ActorContext<Left>, message: Left) -> Handled {
        match message {
            Left::Work => {
                let life = self.life;
                ctx.pipe_to_self(async move { life }, Left::Result);
                ctx.clock().sleep(SECOND).await; // by then the result waits
                Err(BoxError::from("too late for it"))
            }
            Left::Result(of) => {
                self.diary.note(format!("life {} has what life {of} wanted", self.life));
                Ok(Behavior::Same)
            }
        }
    }

    async fn on_signal(&mut self, ctx: &mut ActorContext<Left>, _signal: Signal) -> Handled {
        let life = self.life;
        ctx.timers().start_single("last will", SECOND, Left::Result(life));
        ctx.set_receive_timeout(SECOND, move || Left::Result(life));
        Ok(Behavior::Same)
    }
}

#[test]
fn what_a_life_left_on_the_way_and_what_it_started_in_its_last_signal_end_with_it() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let (made, mut life) = (diary.clone(), 0);
    let props = Props::new(move || {
        life += 1;
        Leaves { life, diary: made.clone() }
    });
    let actor = kit.spawn("leaves", props.supervise(SupervisorStrategy::restart()));
    actor.tell(Left::Work);
    kit.advance(SECOND * 10);
    assert_eq!(diary.read(), [""; 0]);
    actor.tell(Left::Result(0));
    kit.settle();
    assert_eq!(diary.read(), ["life 2 has what life 0 wanted"], "it lives");
}

/// Takes a second to end.
struct SlowToStop;

impl Actor for SlowToStop {
    type Message = ();

    async fn receive(&mut self, _ctx: &mut ActorContext<()>, (): ()) -> Handled {
        Ok(Behavior::Same)
    }

    async fn on_signal(&mut self, ctx: &mut ActorContext<()>, _signal: Signal) -> Handled {
        ctx.clock().sleep(SECOND).await;
        Ok(Behavior::Same)
    }
}

#[test]
fn an_actor_that_is_stopped_while_a_restart_waits_for_its_children_does_not_live_again() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let made = diary.clone();
    let props = Props::new(move || Scripted::new("it", &made)).supervise(SupervisorStrategy::restart());
    let actor = kit.spawn("actor", props);
    actor.tell(Order::run(|_, ctx| {
        ctx.spawn("child", SlowToStop);
    }));
    actor.tell(Order::Fail("broken"));
    kit.settle();
    kit.system().stop(&actor);
    kit.advance(SECOND);
    assert_eq!(diary.read(), ["it started", "it pre-restart", "it dropped"]);
    kit.probe::<()>().expect_terminated(&actor);
}

#[test]
fn an_actor_that_is_drained_between_two_lives_handles_what_waits_in_the_next_and_ends() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let made = diary.clone();
    let strategy = SupervisorStrategy::restart_with_backoff(SECOND, SECOND).jitter(0.0);
    let actor = kit.spawn("actor", Props::new(move || Scripted::new("it", &made)).supervise(strategy));
    actor.tell(Order::Fail("broken"));
    actor.tell(Order::note("waits"));
    kit.settle();
    diary.read();
    kit.system().drain(&actor, SECOND * 60);
    kit.advance(SECOND);
    assert_eq!(diary.read(), ["it started", "it waits", "it post-stop", "it dropped"]);
    assert!(actor.is_stopped());
}
