//! Processes that stand still, end, and run their tasks in any order.

use super::{draw::Draw, process::Process};
use crate::{rng::Rng, seams::Spawner};
use actors::Clock;
use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};
use tokio::runtime::{Builder, Runtime};

const SECOND: Duration = Duration::from_secs(1);

type Diary = Arc<Mutex<Vec<u32>>>;

fn world(seed: u64, defers: u32) -> (Runtime, Clock, Process) {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let clock = Clock::paused(runtime.handle(), 0);
    let process = Process::new(runtime.handle().clone(), Draw::fork(&Rng::seeded(seed), "process"), defers);
    (runtime, clock, process)
}

/// A task that writes `number` every second.
fn ticker(process: &Process, clock: &Clock, diary: &Diary, number: u32) {
    let (clock, diary) = (clock.clone(), diary.clone());
    process.spawn(Box::pin(async move {
        loop {
            clock.sleep(SECOND).await;
            diary.lock().push(number);
        }
    }));
}

#[test]
fn the_order_of_tasks_is_drawn_from_the_seed() {
    let order = |seed, defers| {
        let (runtime, clock, process) = world(seed, defers);
        let diary = Diary::default();
        (0..5).for_each(|number| ticker(&process, &clock, &diary, number));
        runtime.block_on(clock.sleep(SECOND * 10));
        diary.lock().clone()
    };
    assert_eq!(order(1, 333), order(1, 333));
    assert_ne!(order(1, 333), order(2, 333));
    assert_ne!(order(1, 0), order(2, 0), "without deferrals, too");
    let mut sorted = order(1, 333);
    sorted[..5].sort_unstable();
    assert_eq!(sorted[..5], [0, 1, 2, 3, 4], "none is lost");
}

#[test]
fn a_process_that_stands_still_goes_on_where_it_was() {
    let (runtime, clock, process) = world(1, 333);
    let diary = Diary::default();
    ticker(&process, &clock, &diary, 7);
    runtime.block_on(clock.sleep(SECOND * 3 / 2));
    process.stand_still();
    runtime.block_on(clock.sleep(SECOND * 100));
    assert_eq!(diary.lock().len(), 1);
    process.go_on();
    runtime.block_on(clock.sleep(SECOND / 2));
    assert_eq!(diary.lock().len(), 2, "late, and once");
    runtime.block_on(clock.sleep(SECOND * 2));
    assert_eq!(diary.lock().len(), 4);
}

#[test]
fn nothing_of_a_process_that_was_killed_runs_and_all_of_it_is_dropped() {
    let (runtime, clock, process) = world(1, 333);
    let diary = Diary::default();
    (0..3).for_each(|number| ticker(&process, &clock, &diary, number));
    runtime.block_on(clock.sleep(SECOND * 3 / 2));
    process.kill();
    let written = diary.lock().len();
    ticker(&process, &clock, &diary, 9);
    runtime.block_on(clock.sleep(SECOND * 100));
    assert_eq!((diary.lock().len(), Arc::strong_count(&diary)), (written, 1));
}

#[test]
fn a_task_that_panics_is_noticed() {
    let (runtime, clock, process) = world(1, 0);
    process.spawn(Box::pin(async { panic!("a bug") }));
    runtime.block_on(clock.sleep(SECOND));
    assert_eq!(process.panic().as_deref(), Some("a bug"));
}
