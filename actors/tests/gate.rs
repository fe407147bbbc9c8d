//! Several simulated processes on one runtime: one that stands still, one that ends, and clocks that differ.

use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use actors::testkit::TestKit;
use actors::{Actor, ActorContext, ActorSystem, Admission, Behavior, Clock, Drift, Gate, Handled, Signal};
use parking_lot::Mutex;

use crate::script::Diary;

const SECOND: Duration = Duration::from_secs(1);

/// Lets tasks go on, or wait until it is opened, or end.
struct Turnstile(Mutex<(Admission, Vec<Waker>)>);

impl Turnstile {
    fn open() -> Arc<Self> {
        Arc::new(Self(Mutex::new((Admission::Go, Vec::new()))))
    }

    fn set(&self, to: Admission) {
        let mut state = self.0.lock();
        state.0 = to;
        std::mem::take(&mut state.1).into_iter().for_each(Waker::wake);
    }
}

impl Gate for Turnstile {
    fn admit(&self, cx: &mut Context<'_>) -> Admission {
        let mut state = self.0.lock();
        if state.0 == Admission::Wait {
            state.1.push(cx.waker().clone());
        }
        state.0
    }
}

/// Writes down what it is told, and what its task and its timer say.
struct Writer(Diary);

impl Actor for Writer {
    type Message = &'static str;

    async fn receive(&mut self, ctx: &mut ActorContext<&'static str>, word: &'static str) -> Handled {
        self.0.note(word);
        if word == "begin" {
            ctx.timers().start_single("later", SECOND, "timer");
            let sleep = ctx.clock().sleep(SECOND);
            ctx.pipe_to_self(sleep, |()| "task");
        }
        Ok(Behavior::Same)
    }

    async fn on_signal(&mut self, _ctx: &mut ActorContext<&'static str>, signal: Signal) -> Handled {
        self.0.note(format!("{signal:?}"));
        Ok(Behavior::Same)
    }
}

fn process(kit: &TestKit, gate: &Arc<Turnstile>) -> ActorSystem {
    let builder = ActorSystem::builder("process").runtime(kit.system().runtime().clone()).clock(kit.clock().clone());
    builder.seed(1).seeded_order(1).gate(gate.clone()).start()
}

#[test]
fn a_process_that_stands_still_does_nothing_until_it_goes_on() {
    let (kit, gate, diary) = (TestKit::new(), Turnstile::open(), Diary::default());
    let system = process(&kit, &gate);
    let writer = system.spawn("writer", Writer(diary.clone()));
    writer.tell("begin");
    kit.settle();
    gate.set(Admission::Wait);
    writer.tell("while it stands");
    kit.advance(SECOND * 10);
    assert_eq!(diary.read(), ["begin"]);
    gate.set(Admission::Go);
    kit.settle();
    let mut after = diary.read();
    after.sort();
    assert_eq!(after, ["task", "timer", "while it stands"], "late, but all of it");
}

#[test]
fn a_crash_ends_everything_and_nobody_notices() {
    let (kit, gate, diary) = (TestKit::new(), Turnstile::open(), Diary::default());
    let system = process(&kit, &gate);
    let writer = system.spawn("writer", Writer(diary.clone()));
    writer.tell("begin");
    kit.settle();
    assert_eq!(diary.read(), ["begin"]);
    gate.set(Admission::Never);
    writer.tell("never handled");
    system.crash();
    kit.advance(SECOND * 10);
    assert_eq!(diary.read(), [""; 0], "no message, no timer, no signal");
    let lives = Arc::downgrade(&gate);
    drop((system, writer, gate));
    kit.settle();
    assert_eq!(lives.strong_count(), 0, "nothing of it is kept");
}

#[test]
fn clocks_of_different_machines_drift_apart_and_none_fires_early() {
    let kit = TestKit::new();
    let drift = |start, ppm| Clock::drifting(kit.system().runtime(), 1_000, Drift { start, ppm });
    let (fast, slow) = (drift(SECOND * 500, 10_000), drift(Duration::ZERO, -10_000));
    let (began, sleeps) = (fast.now(), fast.sleep(SECOND * 101));
    assert_eq!((began.since_start(), fast.wall_ms(), slow.wall_ms()), (SECOND * 500, 1_000, 1_000));
    kit.advance(SECOND * 100);
    assert_eq!((fast.now() - began, slow.now().since_start()), (SECOND * 101, SECOND * 99));
    assert_eq!((fast.wall_ms(), slow.wall_ms()), (102_000, 100_000));
    kit.block_on(sleeps);
    for millis in 1..200 {
        let deadline = slow.now() + Duration::from_nanos(millis * 1_234_567);
        kit.block_on(slow.sleep_until(deadline));
        assert!(slow.now() >= deadline && slow.now() - deadline < Duration::from_millis(2));
    }
    slow.set_wall_ms(5);
    kit.advance(SECOND);
    assert_eq!(slow.wall_ms(), 995);
}
