//! State machines whose states have limits.

use std::time::Duration;

use actors::testkit::{TestKit, TestProbe};
use actors::{Actor, ActorContext, ActorRef, Behavior, Fsm, Handled, Props, SupervisorStrategy};

const SECOND: Duration = Duration::from_secs(1);

/// A philosopher with two machines: one for eating and thinking, one for the lamp over the seat.
struct Hakker {
    mood: Fsm<Mood>,
    lamp: Fsm<bool>,
    told: ActorRef<Told>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mood {
    Thinking,
    Hungry { forks: u32 },
    Eating,
}
use Mood::{Eating, Hungry, Thinking};

#[derive(Debug, PartialEq)]
enum Told {
    Is(Mood),
    GaveUp(Mood),
    LampOut,
}

enum HakkerMessage {
    Think,
    /// Waits for forks, five seconds at most.
    GetHungry,
    /// One more fork: three seconds more for the next.
    ForkPatiently,
    Fork,
    /// Two forks at last, after a nap in which the limit ran out.
    NapAndEat(Duration),
    LampOn,
    Fail,
    MoodIsOver,
    LampIsOver,
}
use HakkerMessage::{Fail, Fork, ForkPatiently, GetHungry, LampIsOver, LampOn, MoodIsOver, NapAndEat, Think};

impl Actor for Hakker {
    type Message = HakkerMessage;

    async fn receive(&mut self, ctx: &mut ActorContext<HakkerMessage>, message: HakkerMessage) -> Handled {
        match (*self.mood, message) {
            (_, LampOn) => self.lamp.goto(ctx, true).for_max(SECOND * 2, LampIsOver),
            (_, LampIsOver) => {
                self.lamp.goto(ctx, false);
                self.told.tell(Told::LampOut);
            }
            (_, Fail) => return Err("a fork broke".into()),
            (mood, MoodIsOver) => self.told.tell(Told::GaveUp(mood)),
            (_, Think) => {
                self.mood.goto(ctx, Thinking);
            }
            (_, GetHungry) => self.mood.goto(ctx, Hungry { forks: 0 }).for_max(SECOND * 5, MoodIsOver),
            (Hungry { .. }, Fork) => {
                if let Hungry { forks } = self.mood.state_mut() {
                    *forks += 1;
                }
                self.mood.stay(ctx);
            }
            (Hungry { forks }, ForkPatiently) => {
                *self.mood.state_mut() = Hungry { forks: forks + 1 };
                self.mood.stay(ctx).for_max(SECOND * 3, MoodIsOver);
            }
            (_, NapAndEat(nap)) => {
                ctx.clock().sleep(nap).await;
                self.mood.goto(ctx, Eating);
            }
            _ => return Ok(Behavior::Unhandled),
        }
        self.told.tell(Told::Is(*self.mood));
        Ok(Behavior::Same)
    }
}

fn hakker(kit: &TestKit) -> (ActorRef<HakkerMessage>, TestProbe<Told>) {
    let probe = kit.probe();
    let told = probe.actor_ref();
    let props = Props::new(move || Hakker {
        mood: Fsm::new(Thinking),
        lamp: Fsm::new(false).with_timer_key("lamp"),
        told: told.clone(),
    });
    (kit.spawn("hakker", props.supervise(SupervisorStrategy::restart())), probe)
}

#[test]
fn a_state_that_lasts_too_long_is_told_so_once() {
    let kit = TestKit::new();
    let (hakker, mut probe) = hakker(&kit);
    hakker.tell(GetHungry);
    kit.advance(SECOND * 5 - Duration::from_millis(1));
    assert_eq!(probe.drain(), [Told::Is(Hungry { forks: 0 })]);
    kit.advance(Duration::from_millis(1));
    assert_eq!(probe.drain(), [Told::GaveUp(Hungry { forks: 0 }), Told::Is(Hungry { forks: 0 })]);
    kit.advance(SECOND * 60);
    assert_eq!(probe.drain(), []);
}

#[test]
fn a_limit_ends_with_its_state_even_if_it_was_due_already() {
    let kit = TestKit::new();
    let (hakker, mut probe) = hakker(&kit);
    hakker.tell(GetHungry);
    kit.advance(SECOND * 4);
    hakker.tell(Think);
    kit.advance(SECOND * 60);
    assert_eq!(probe.drain(), [Told::Is(Hungry { forks: 0 }), Told::Is(Thinking)]);

    hakker.tell(GetHungry);
    hakker.tell(NapAndEat(SECOND * 20)); // the limit is over in the middle of this
    kit.advance(SECOND * 60);
    assert_eq!(probe.drain(), [Told::Is(Hungry { forks: 0 }), Told::Is(Eating)]);
}

#[test]
fn staying_keeps_the_limit_and_may_set_it_anew() {
    let kit = TestKit::new();
    let (hakker, mut probe) = hakker(&kit);
    hakker.tell(GetHungry);
    kit.advance(SECOND * 4);
    hakker.tell(Fork);
    kit.advance(SECOND);
    let gave_up = probe.drain().into_iter().find(|told| matches!(told, Told::GaveUp(_)));
    assert_eq!(gave_up, Some(Told::GaveUp(Hungry { forks: 1 })), "five seconds after it got hungry");

    hakker.tell(GetHungry);
    kit.advance(SECOND * 4);
    hakker.tell(ForkPatiently);
    kit.advance(SECOND * 3 - Duration::from_millis(1));
    assert_eq!(probe.drain(), [Told::Is(Hungry { forks: 0 }), Told::Is(Hungry { forks: 1 })]);
    kit.advance(Duration::from_millis(1));
    assert_eq!(probe.drain().first(), Some(&Told::GaveUp(Hungry { forks: 1 })), "three seconds after the fork came");
}

#[test]
fn entering_a_state_again_is_a_transition() {
    let kit = TestKit::new();
    let (hakker, mut probe) = hakker(&kit);
    hakker.tell(GetHungry);
    kit.advance(SECOND * 4);
    hakker.tell(GetHungry);
    kit.advance(SECOND * 4);
    assert_eq!(probe.drain(), [Told::Is(Hungry { forks: 0 }), Told::Is(Hungry { forks: 0 })]);
}

#[test]
fn machines_of_one_actor_have_limits_of_their_own() {
    let kit = TestKit::new();
    let (hakker, mut probe) = hakker(&kit);
    hakker.tell(LampOn);
    hakker.tell(GetHungry);
    hakker.tell(Think);
    kit.advance(SECOND * 2);
    assert!(probe.drain().contains(&Told::LampOut));
}

#[test]
fn a_limit_ends_with_the_life_that_set_it() {
    let kit = TestKit::new();
    let (hakker, mut probe) = hakker(&kit);
    hakker.tell(GetHungry);
    hakker.tell(Fail);
    kit.advance(SECOND * 60);
    assert_eq!(probe.drain(), [Told::Is(Hungry { forks: 0 })]);
}
