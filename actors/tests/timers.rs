//! Keyed timers and the receive timeout.

use std::time::Duration;

use actors::testkit::TestKit;
use actors::{Actor, ActorContext, AskError, Behavior, Handled, MissedTicks, Props, ReplyTo, SupervisorStrategy};

use crate::script::{Diary, Order, Scripted};

const SECOND: Duration = Duration::from_secs(1);

fn single(key: &'static str, delay: Duration, says: &'static str) -> Order {
    Order::run(move |_, ctx| ctx.timers().start_single(key, delay, Order::note(says)))
}

#[test]
fn a_single_timer_fires_once_at_its_time_and_never_early() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let actor = kit.spawn("actor", Scripted::new("it", &diary));
    actor.tell(single("key", SECOND, "fired"));
    kit.advance(Duration::from_millis(999));
    assert_eq!(diary.read(), ["it started"]);
    kit.advance(Duration::from_millis(1));
    assert_eq!(diary.read(), ["it fired"]);
    kit.advance(SECOND * 60);
    assert_eq!(diary.read(), [""; 0]);
}

#[test]
fn a_cancelled_timer_never_fires_even_if_it_was_due_already() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let actor = kit.spawn("actor", Scripted::new("it", &diary));
    actor.tell(single("a", SECOND, "a"));
    actor.tell(single("b", SECOND, "b"));
    // Both are due at one moment; the first to be handled cancels the other.
    actor.tell(Order::run(|_, ctx| {
        ctx.timers().start_single(
            "killer",
            SECOND / 2,
            Order::run(|_, ctx| {
                ctx.timers().start_single("z", SECOND / 2, Order::note("z"));
                ctx.timers().cancel("b");
            }),
        );
    }));
    actor.tell(Order::run(|_, ctx| {
        ctx.timers().start_single("first", SECOND, Order::run(|_, ctx| ctx.timers().cancel("z")));
    }));
    kit.advance(SECOND * 10);
    assert_eq!(diary.read(), ["it started", "it a"]);
}

#[test]
fn a_replaced_timer_never_fires() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let actor = kit.spawn("actor", Scripted::new("it", &diary));
    actor.tell(single("key", SECOND, "old"));
    actor.tell(single("key", SECOND * 2, "new"));
    kit.advance(SECOND * 10);
    assert_eq!(diary.read(), ["it started", "it new"]);
}

#[test]
fn a_timer_that_is_due_while_the_actor_is_busy_can_still_be_replaced() {
    let kit = TestKit::new();
    let mut probe = kit.probe::<&'static str>();
    let told = probe.actor_ref();
    let actor = kit.spawn("actor", Napper { told });
    actor.tell(NapperMessage::Nap(SECOND * 5)); // starts a timer of one second first, replaces it at the end
    kit.advance(SECOND * 5);
    assert_eq!(probe.drain(), [""; 0], "its time came during the nap, but the replacement came first");
    kit.advance(SECOND);
    assert_eq!(probe.drain(), ["new"]);
}

struct Napper {
    told: actors::ActorRef<&'static str>,
}

enum NapperMessage {
    Nap(Duration),
    Tick(&'static str),
}

impl actors::Actor for Napper {
    type Message = NapperMessage;

    async fn receive(&mut self, ctx: &mut ActorContext<NapperMessage>, message: NapperMessage) -> actors::Handled {
        match message {
            NapperMessage::Nap(time) => {
                ctx.timers().start_single("key", SECOND, NapperMessage::Tick("old"));
                ctx.clock().sleep(time).await;
                ctx.timers().start_single("key", SECOND, NapperMessage::Tick("new"));
            }
            NapperMessage::Tick(says) => self.told.tell(says),
        }
        Ok(actors::Behavior::Same)
    }
}

#[test]
fn a_fixed_delay_counts_from_each_delivery() {
    let kit = TestKit::new();
    let mut probe = kit.probe::<Duration>();
    let told = probe.actor_ref();
    kit.spawn("ticker", Ticker { told, takes: SECOND * 3, fixed_rate: None });
    kit.advance(SECOND * 12);
    let at: Vec<u64> = probe.drain().iter().map(Duration::as_secs).collect();
    assert_eq!(at, [1, 4, 7, 10], "one at a time: ticks do not pile up while the actor is busy");
}

#[test]
fn a_fixed_rate_keeps_to_its_multiples_and_skips_what_it_missed() {
    let kit = TestKit::new();
    let mut probe = kit.probe::<Duration>();
    let told = probe.actor_ref();
    kit.spawn("ticker", Ticker { told, takes: Duration::from_millis(2_500), fixed_rate: Some(MissedTicks::Skip) });
    kit.advance(SECOND * 9);
    let at: Vec<u128> = probe.drain().iter().map(Duration::as_millis).collect();
    assert_eq!(at, [1_000, 3_500, 6_000, 8_500]);
}

struct Ticker {
    told: actors::ActorRef<Duration>,
    takes: Duration,
    fixed_rate: Option<MissedTicks>,
}

impl actors::Actor for Ticker {
    type Message = ();

    async fn started(&mut self, ctx: &mut ActorContext<()>) -> actors::Handled {
        match self.fixed_rate {
            None => ctx.timers().start_with_fixed_delay("tick", SECOND, || ()),
            Some(missed) => ctx.timers().start_at_fixed_rate("tick", SECOND, missed, || ()),
        }
        Ok(actors::Behavior::Same)
    }

    async fn receive(&mut self, ctx: &mut ActorContext<()>, (): ()) -> actors::Handled {
        self.told.tell(ctx.clock().now().since_start());
        ctx.clock().sleep(self.takes).await;
        Ok(actors::Behavior::Same)
    }
}

#[test]
fn timers_end_with_the_life() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let made = diary.clone();
    let mut life = 0;
    let props = Props::new(move || {
        life += 1;
        Scripted::new(format!("life{life}"), &made)
    });
    let actor = kit.spawn("actor", props.supervise(SupervisorStrategy::restart()));
    actor.tell(single("key", SECOND, "fired"));
    actor.tell(Order::Fail("broken"));
    kit.advance(SECOND * 10);
    assert!(!diary.read().iter().any(|entry| entry.contains("fired")));
}

#[test]
fn the_receive_timeout_comes_after_each_quiet_span_and_messages_put_it_off() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let actor = kit.spawn("actor", Scripted::new("it", &diary));
    actor.tell(Order::run(|_, ctx| ctx.set_receive_timeout(SECOND * 2, || Order::note("quiet"))));
    kit.advance(SECOND);
    actor.tell(Order::note("message"));
    kit.advance(SECOND + SECOND / 2);
    assert_eq!(diary.read(), ["it started", "it message"]);
    kit.advance(SECOND / 2);
    assert_eq!(diary.read(), ["it quiet"]);
    kit.advance(SECOND * 4);
    assert_eq!(diary.read(), ["it quiet", "it quiet"]);
    actor.tell(Order::run(|_, ctx| ctx.cancel_receive_timeout()));
    kit.advance(SECOND * 60);
    assert_eq!(diary.read(), [""; 0]);
}

#[test]
fn timers_do_not_put_the_receive_timeout_off() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let actor = kit.spawn("actor", Scripted::new("it", &diary));
    actor.tell(Order::run(|_, ctx| {
        ctx.timers().start_with_fixed_delay("tick", SECOND, || Order::run(|_, _| {}));
        ctx.set_receive_timeout(SECOND * 3, || Order::note("quiet"));
    }));
    kit.advance(SECOND * 3);
    assert_eq!(diary.read(), ["it started", "it quiet"]);
}

/// Naps for a second over each message.
struct Naps(Diary, Vec<ReplyTo<()>>);

enum Nap {
    /// Starts a timer, and an ask that gets no answer.
    Start,
    StartTooOften,
    /// Starts a timer of little more than a nap.
    StartLate,
    Note(&'static str),
    Question(ReplyTo<()>),
    Answer(Result<(), AskError>),
}

impl Actor for Naps {
    type Message = Nap;

    async fn receive(&mut self, ctx: &mut ActorContext<Nap>, message: Nap) -> Handled {
        match message {
            Nap::Start => {
                ctx.timers().start_single("key", SECOND * 3 / 2, Nap::Note("timer"));
                let this = ctx.this().clone();
                ctx.ask(&this, Nap::Question, SECOND * 5 / 2, Nap::Answer);
            }
            Nap::StartTooOften => ctx.timers().start_with_fixed_delay("key", SECOND / 2, || Nap::Note("tick")),
            Nap::StartLate => {
                ctx.timers().start_single("key", SECOND + Duration::from_micros(1), Nap::Note("timer"));
            }
            Nap::Note(what) => {
                ctx.clock().sleep(SECOND).await;
                self.0.note(what);
            }
            Nap::Question(reply_to) => self.1.push(reply_to),
            Nap::Answer(answer) => self.0.note(format!("{answer:?}")),
        }
        Ok(Behavior::Same)
    }
}

#[test]
fn timers_and_time_outs_of_a_busy_actor_wait_for_the_handler_at_work_and_no_longer() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let actor = kit.spawn("actor", Naps(diary.clone(), Vec::new()));
    actor.tell(Nap::Start);
    for nap in ["1", "2", "3", "4", "5", "6"] {
        actor.tell(Nap::Note(nap));
    }
    kit.advance(SECOND * 10);
    assert_eq!(diary.read(), ["1", "2", "timer", "3", "Err(Timeout)", "4", "5", "6"], "in turn with the messages");
}

#[test]
fn a_timer_whose_handler_takes_longer_than_its_delay_leaves_messages_every_other_turn() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let actor = kit.spawn("actor", Naps(diary.clone(), Vec::new()));
    actor.tell(Nap::StartTooOften);
    for nap in ["1", "2", "3"] {
        actor.tell(Nap::Note(nap));
    }
    kit.advance(SECOND * 7);
    assert_eq!(diary.read(), ["1", "tick", "2", "tick", "3", "tick", "tick"]);
}

#[test]
fn a_clock_that_jumps_brings_nothing_early_and_nothing_that_was_cancelled() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let hour = SECOND * 3600;
    let actor = kit.spawn("actor", Scripted::new("it", &diary));
    actor.tell(Order::run(move |_, ctx| {
        let first = Order::run(|this, ctx| {
            this.note("first");
            ctx.timers().cancel("cancelled");
            ctx.timers().start_single("replaced", SECOND, Order::note("replacement"));
        });
        ctx.timers().start_single("first", SECOND, first);
        ctx.timers().start_single("cancelled", SECOND * 2, Order::note("cancelled"));
        ctx.timers().start_single("replaced", SECOND * 3, Order::note("replaced"));
        ctx.timers().start_single("late", hour * 2, Order::note("late"));
    }));
    kit.settle();
    kit.jump(hour); // all but the last are due at one moment
    kit.settle();
    assert_eq!(diary.read(), ["it started", "it first"]);
    kit.advance(SECOND - Duration::from_nanos(1_000_000));
    assert_eq!(diary.read(), [""; 0], "what was started after the jump counts from there");
    kit.advance(Duration::from_millis(1));
    assert_eq!(diary.read(), ["it replacement"]);

    for wall_ms in [0, u64::MAX / 2] {
        kit.set_wall_ms(wall_ms);
        kit.settle();
    }
    kit.jump(hour - SECOND * 2);
    kit.settle();
    assert_eq!(diary.read(), [""; 0], "the wall clock is no business of a timer's, and a second is missing");
    kit.jump(SECOND);
    kit.settle();
    assert_eq!(diary.read(), ["it late"]);
}

#[test]
fn after_a_jump_a_tick_comes_once_and_the_next_one_in_its_own_way() {
    for (fixed_rate, next) in [(None, 11_500), (Some(MissedTicks::Skip), 11_000), (Some(MissedTicks::Delay), 11_500)] {
        let kit = TestKit::new();
        let mut probe = kit.probe::<Duration>();
        kit.spawn("ticker", Ticker { told: probe.actor_ref(), takes: Duration::ZERO, fixed_rate });
        kit.settle();
        kit.jump(Duration::from_millis(10_500));
        kit.advance(SECOND);
        let at: Vec<u128> = probe.drain().iter().map(Duration::as_millis).collect();
        assert_eq!(at, [10_500, next], "{fixed_rate:?}");
    }
}

#[test]
fn a_busy_actor_gets_no_timer_early() {
    let kit = TestKit::new();
    let diary = Diary::default();
    let actor = kit.spawn("actor", Naps(diary.clone(), Vec::new()));
    actor.tell(Nap::StartLate); // a microsecond after the first nap, which ends with a look at the timers
    actor.tell(Nap::Note("1"));
    actor.tell(Nap::Note("2"));
    kit.advance(SECOND * 5);
    assert_eq!(diary.read(), ["1", "2", "timer"]);
}
