//! Schedulers with stand-ins for actors.

mod young;

use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize};
use std::sync::{Arc, Barrier, Weak, mpsc};
use std::thread;

use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};

use super::{After, Header, Hint, Order, Runnable, Scheduler, current};

const IDLE: u8 = 0;
const QUEUED: u8 = 1;
const RUNNING: u8 = 2;
const NOTIFIED: u8 = 3;

type Work = dyn Fn(&Hint, u64) + Send + Sync;

/// Counts what it is told, as an actor whose messages are units.
struct Counter {
    uid: u64,
    state: AtomicU8,
    told: AtomicU64,
    done: AtomicU64,
    work: Box<Work>,
}

impl Counter {
    fn new(uid: u64, work: impl Fn(&Hint, u64) + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            uid,
            state: AtomicU8::new(IDLE),
            told: AtomicU64::new(0),
            done: AtomicU64::new(0),
            work: Box::new(work),
        })
    }

    /// True: the caller schedules it.
    fn told(&self) -> bool {
        self.told.fetch_add(1, SeqCst);
        let next = |state| match state {
            IDLE => Some(QUEUED),
            RUNNING => Some(NOTIFIED),
            _ => None,
        };
        self.state.fetch_update(SeqCst, SeqCst, next) == Ok(IDLE)
    }

    fn done(&self) -> u64 {
        self.done.load(SeqCst)
    }
}

/// Says: look at this counter.
#[repr(C)]
struct Pointer {
    header: Header,
    counter: Arc<Counter>,
}

// SAFETY: it begins with a header made for it, below.
#[allow(unsafe_code, reason = "a stand-in for actors")]
unsafe impl Runnable for Pointer {
    fn run(&self, this: &Hint) -> After {
        self.counter.run(this)
    }
}

/// A hint at a counter of that name that nobody tells anything.
pub(super) fn numbered(uid: u64) -> Hint {
    hint(&Counter::new(uid, |_, _| {}))
}

fn hint(counter: &Arc<Counter>) -> Hint {
    Hint::new(|| Pointer { header: Header::of::<Pointer>(counter.uid, 1), counter: counter.clone() })
}

impl Counter {
    fn run(&self, this: &Hint) -> After {
        if self.state.compare_exchange(QUEUED, RUNNING, SeqCst, SeqCst).is_err() {
            return After::Ended;
        }
        let told = self.told.swap(0, SeqCst);
        (self.work)(this, told);
        self.done.fetch_add(told, SeqCst);
        if self.state.compare_exchange(RUNNING, IDLE, SeqCst, SeqCst).is_ok() {
            return After::Ended; // the hint is needed no more
        }
        self.state.store(QUEUED, SeqCst);
        After::Again
    }
}

fn tell(scheduler: &Scheduler, counter: &Arc<Counter>) {
    if counter.told() {
        scheduler.schedule(hint(counter));
    }
}

/// Counters, and how many of them have not run.
fn counting_down(count: usize) -> (Arc<AtomicUsize>, Vec<Arc<Counter>>) {
    let left = Arc::new(AtomicUsize::new(count));
    let counters = (0..count).map(|number| {
        let left = left.clone();
        Counter::new(number as u64 + 2, move |_, _| _ = left.fetch_sub(1, SeqCst))
    });
    let counters = counters.collect();
    (left, counters)
}

fn threads(count: usize) -> Runtime {
    Builder::new_multi_thread().worker_threads(count).build().expect("a runtime")
}

fn one_thread() -> Runtime {
    Builder::new_current_thread().enable_time().start_paused(true).build().expect("a runtime")
}

/// Until it is so.
#[track_caller]
fn until(mut so: impl FnMut() -> bool) {
    for _ in 0..50_000_000_u64 {
        if so() {
            return;
        }
        thread::yield_now();
    }
    panic!("never so");
}

/// On a runtime of one thread: until nothing can go on.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[test]
fn nothing_is_lost_whoever_schedules() {
    const EACH: u64 = 20_000;
    for workers in [1, 2, 4] {
        let runtime = threads(2);
        let scheduler = Scheduler::start(runtime.handle(), Order::Fast, Some(workers));
        let counters: Vec<_> = (1..=16).map(|uid| Counter::new(uid, |_, _| {})).collect();
        let barrier = Barrier::new(8);
        thread::scope(|scope| {
            for thread in 0..8 {
                let (runtime, scheduler, counters, barrier) = (runtime.handle(), &scheduler, &counters, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    let flood = {
                        let (scheduler, counters) = (scheduler.clone(), counters.clone());
                        async move {
                            for i in 0..EACH {
                                tell(&scheduler, &counters[(i % 16) as usize]);
                                if i % 100 == 0 {
                                    tokio::task::yield_now().await;
                                }
                            }
                        }
                    };
                    match thread % 3 {
                        // From a task of the runtime, from a thread that has entered it, from one that knows no runtime.
                        0 => runtime.block_on(runtime.spawn(flood)).expect("no panic"),
                        1 => runtime.block_on(flood),
                        _ => (0..EACH).for_each(|i| tell(scheduler, &counters[(i % 16) as usize])),
                    }
                });
            }
        });
        until(|| counters.iter().all(|counter| counter.done() == EACH / 2));
        scheduler.stop();
    }
}

#[test]
fn a_ring_of_tokens_goes_round_from_inside() {
    const ROUNDS: u64 = 2_000;
    let runtime = threads(2);
    let scheduler = Scheduler::start(runtime.handle(), Order::Fast, None);
    let ring: Arc<Mutex<Vec<Arc<Counter>>>> = Arc::default();
    let passed = Arc::new(AtomicU64::new(0));
    for uid in 1..=32_u64 {
        let (next, passed, scheduler) = (ring.clone(), passed.clone(), scheduler.clone());
        let member = Counter::new(uid, move |_, tokens| {
            let next = next.lock()[(uid % 32) as usize].clone();
            for _ in 0..tokens {
                if passed.fetch_add(1, SeqCst) < 32 * ROUNDS {
                    tell(&scheduler, &next);
                }
            }
        });
        ring.lock().push(member);
    }
    for i in 0..10 {
        let member = ring.lock()[i * 3].clone();
        tell(&scheduler, &member);
    }
    // Ten tokens: each is swallowed by the first that sees that all rounds are done.
    until(|| passed.load(SeqCst) == 32 * ROUNDS + 10);
    ring.lock().clear();
}

#[test]
fn several_schedulers_on_the_same_threads() {
    let runtime = threads(2);
    let schedulers: Vec<_> = (0..3).map(|_| Scheduler::start(runtime.handle(), Order::Fast, None)).collect();
    let last = Counter::new(3, |_, _| {});
    let (target, third) = (last.clone(), schedulers[2].clone());
    let middle = Counter::new(2, move |_, told| (0..told).for_each(|_| tell(&third, &target)));
    let (target, second) = (middle.clone(), schedulers[1].clone());
    let first = Counter::new(1, move |_, told| (0..told).for_each(|_| tell(&second, &target)));
    (0..10_000).for_each(|_| tell(&schedulers[0], &first));
    until(|| last.done() == 10_000);
    // Each ran on its own scheduler.
    for scheduler in &schedulers {
        assert!(scheduler.workers().iter().map(|worker| worker.runs).sum::<u64>() > 0);
    }
}

#[test]
fn who_brings_work_from_outside_may_do_it_and_nobody_else() {
    fn uid() -> Option<u64> {
        current(|hint| hint.map(|hint| hint.uid()))
    }
    let runtime = one_thread();
    let scheduler = Scheduler::start(runtime.handle(), Order::Fast, None);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let [one, two] = [1, 2].map(|number| {
        let seen = seen.clone();
        Counter::new(number, move |_, _| seen.lock().push((number, uid())))
    });
    let bring = |counter: &Arc<Counter>| {
        assert!(counter.told());
        let hint = hint(counter);
        scheduler.schedule(hint.clone());
        hint
    };
    let first = bring(&one);
    assert!(scheduler.run_inline(&first), "this thread brought it last");
    assert!(!scheduler.run_inline(&first), "it is done");
    assert_eq!((seen.lock().pop(), one.done(), uid()), (Some((1, Some(1))), 1, None));

    let (first, second) = (bring(&one), bring(&two));
    assert!(!scheduler.run_inline(&first), "it is in the queue of all");
    thread::scope(|scope| {
        scope.spawn(|| assert!(scheduler.run_inline(&second), "whichever thread has brought it"));
    });
    assert_eq!(two.done(), 1);
    let second = bring(&two);
    let inside = {
        let (scheduler, second) = (scheduler.clone(), second.clone());
        Counter::new(3, move |this, _| {
            assert!(current(|hint| hint.expect("this one") == this));
            assert!(!scheduler.run_inline(&second), "not inside another");
        })
    };
    tell(&scheduler, &inside);
    runtime.block_on(settle());
    assert_eq!((one.done(), two.done(), inside.done()), (2, 2, 1), "carriers do it");
    assert!(!scheduler.run_inline(&second), "it is done");

    let panics = Counter::new(4, |_, _| panic!("on purpose"));
    let hint = bring(&panics);
    assert!(scheduler.run_inline(&hint));
    assert_eq!(uid(), None);
}

/// One that always goes on keeps the carrier busy, and with every run a thread outside brings one more.
#[test]
fn what_was_brought_first_has_its_turn_whoever_brings_more_and_whoever_goes_on() {
    const RUNS: u64 = 20_000;
    let runtime = one_thread();
    let scheduler = Scheduler::start(runtime.handle(), Order::Fast, None);
    let runs = Arc::new(AtomicU64::new(0));
    let waited = |uid| {
        let (runs, seen) = (runs.clone(), Arc::new(AtomicU64::new(0)));
        let noted = seen.clone();
        (Counter::new(uid, move |_, _| noted.store(runs.load(SeqCst), SeqCst)), seen)
    };
    // Each of these threads has a place of its own, and brings nothing more.
    let others: Vec<_> = (2..10).map(waited).collect();
    for (other, _) in &others {
        thread::scope(|scope| {
            scope.spawn(|| tell(&scheduler, other));
        });
    }
    let (first, first_seen) = waited(10);
    let mut brought = Vec::new();
    let (bring, next) = mpsc::channel::<Arc<Counter>>();
    let (done, is_done) = mpsc::channel();
    let outside = {
        let scheduler = scheduler.clone();
        thread::spawn(move || {
            for counter in next {
                tell(&scheduler, &counter);
                done.send(()).expect("somebody waits");
            }
        })
    };
    bring.send(first.clone()).expect("it lives");
    is_done.recv().expect("it was brought");
    for uid in 100..100 + RUNS {
        brought.push(Counter::new(uid, |_, _| {}));
    }
    let busy = {
        let (runs, brought, bring) = (runs.clone(), Mutex::new(brought), Mutex::new(bring));
        let is_done = Mutex::new(is_done);
        let slot: Arc<Mutex<Option<Arc<Counter>>>> = Arc::default();
        let this = slot.clone();
        let busy = Counter::new(1, move |_, _| {
            runs.fetch_add(1, SeqCst);
            let Some(more) = brought.lock().pop() else { return };
            bring.lock().send(more).expect("it lives");
            is_done.lock().recv().expect("it was brought");
            if let Some(this) = &*this.lock() {
                this.told(); // it goes on
            }
        });
        *slot.lock() = Some(busy.clone());
        (busy, slot)
    };
    tell(&scheduler, &busy.0);
    runtime.block_on(async {
        while runs.load(SeqCst) < RUNS {
            tokio::task::yield_now().await;
        }
    });
    runtime.block_on(settle());
    for (place, (other, seen)) in others.iter().enumerate() {
        assert_eq!(other.done(), 1);
        assert!(seen.load(SeqCst) < 5_000, "place {place} waited for {} runs", seen.load(SeqCst));
    }
    assert_eq!(first.done(), 1);
    assert!(first_seen.load(SeqCst) < 5_000, "the first waited for {} runs", first_seen.load(SeqCst));
    *busy.1.lock() = None;
    drop((busy, scheduler));
    outside.join().expect("no panic");
}

/// Twenty that tell each other for a while; the order in which they ran.
fn order(order: Order) -> Vec<u64> {
    let runtime = one_thread();
    let scheduler = Scheduler::start(runtime.handle(), order, None);
    let ran: Arc<Mutex<Vec<u64>>> = Arc::default();
    let all: Arc<Mutex<Vec<Arc<Counter>>>> = Arc::default();
    for uid in 1..=20_u64 {
        let (ran, targets, scheduler) = (ran.clone(), all.clone(), scheduler.clone());
        let counter = Counter::new(uid, move |_, _| {
            let turn = {
                let mut ran = ran.lock();
                ran.push(uid);
                ran.len() as u64
            };
            if turn < 2_000 {
                let targets = targets.lock();
                tell(&scheduler, &targets[(uid * 7 % 20) as usize]);
                tell(&scheduler, &targets[(turn * 3 % 20) as usize]);
            }
        });
        all.lock().push(counter);
    }
    all.lock().iter().for_each(|counter| tell(&scheduler, counter));
    runtime.block_on(settle());
    all.lock().clear();
    let ran = ran.lock().clone();
    assert!(ran.len() >= 2_000);
    ran
}

#[test]
fn the_same_seed_is_the_same_order() {
    assert_eq!(order(Order::Seeded(7)), order(Order::Seeded(7)));
    assert_ne!(order(Order::Seeded(7)), order(Order::Seeded(8)));
    assert_eq!(order(Order::Fifo), order(Order::Fifo));
    assert_eq!(order(Order::Fifo)[..20], (1..=20).collect::<Vec<_>>());
    assert_ne!(order(Order::Fifo)[..20], order(Order::Seeded(7))[..20]);
}

#[test]
fn nothing_outlives_the_runtime_or_the_last_scheduler() {
    let fresh = |held: &mut Vec<Weak<Counter>>| {
        let counter = Counter::new(1, |_, _| {});
        held.push(Arc::downgrade(&counter));
        assert!(counter.told());
        counter
    };
    for end in ["runtime", "stop", "drop"] {
        for kind in [Order::Fast, Order::Fifo] {
            let runtime = one_thread();
            let scheduler = Scheduler::start(runtime.handle(), kind, None);
            runtime.block_on(settle());
            let mut held = Vec::new();
            (0..100).for_each(|_| scheduler.schedule(hint(&fresh(&mut held))));
            assert!(held.iter().all(|counter| counter.upgrade().is_some()), "waits");
            match end {
                "runtime" => {
                    drop(runtime);
                    scheduler.schedule(hint(&fresh(&mut held)));
                    assert!(!scheduler.run_inline(&hint(&fresh(&mut held))));
                }
                "stop" => {
                    scheduler.stop();
                    scheduler.schedule(hint(&fresh(&mut held)));
                    runtime.block_on(settle());
                    assert_eq!(runtime.metrics().num_alive_tasks(), 0);
                }
                _ => {
                    drop(scheduler);
                    runtime.block_on(settle());
                    assert_eq!(runtime.metrics().num_alive_tasks(), 0);
                }
            }
            assert!(held.iter().all(|counter| counter.upgrade().is_none()), "{end}, {kind:?}");
        }
    }
}

#[test]
fn stopped_in_the_middle_of_work_nothing_is_kept() {
    for _ in 0..20 {
        let runtime = threads(2);
        let scheduler = Scheduler::start(runtime.handle(), Order::Fast, None);
        let all: Arc<Mutex<Vec<Weak<Counter>>>> = Arc::default();
        let counters: Vec<_> = (1..=64)
            .map(|uid| {
                let (scheduler, all) = (scheduler.clone(), all.clone());
                Counter::new(uid, move |_, _| {
                    let next = all.lock()[(uid * 31 % 64) as usize].upgrade();
                    next.into_iter().for_each(|next| tell(&scheduler, &next));
                })
            })
            .collect();
        *all.lock() = counters.iter().map(Arc::downgrade).collect();
        counters.iter().for_each(|counter| tell(&scheduler, counter));
        until(|| counters[5].done() > 0);
        drop(counters);
        scheduler.stop();
        until(|| runtime.metrics().num_alive_tasks() == 0);
        assert!(all.lock().iter().all(|counter| counter.upgrade().is_none()));
    }
}

#[test]
fn a_panic_out_of_a_run_costs_that_actor_only() {
    let runtime = one_thread();
    let scheduler = Scheduler::start(runtime.handle(), Order::Fast, None);
    let broken = Counter::new(1, |_, _| panic!("on purpose"));
    let sound = Counter::new(2, |_, _| {});
    tell(&scheduler, &broken);
    tell(&scheduler, &sound);
    runtime.block_on(settle());
    assert_eq!((broken.done(), sound.done()), (0, 1));
    assert_eq!(Arc::strong_count(&broken), 1);
}

#[test]
fn a_carrier_without_work_lets_virtual_time_go_on() {
    let runtime = one_thread();
    let scheduler = Scheduler::start(runtime.handle(), Order::Fast, None);
    let counter = Counter::new(1, |_, _| {});
    runtime.block_on(async {
        for _ in 0..3 {
            tell(&scheduler, &counter);
            // An hour passes at once, and only when all else has settled.
            tokio::time::advance(std::time::Duration::ZERO).await;
            let hour = std::pin::pin!(crate::Clock::tokio().sleep(std::time::Duration::from_secs(3600)));
            hour.await;
        }
    });
    assert_eq!(counter.done(), 3);
}

#[test]
fn a_blocked_run_holds_up_nobody() {
    let runtime = threads(1);
    let scheduler = Scheduler::start(runtime.handle(), Order::Fast, None);
    let (answer, answered) = mpsc::channel();
    let answers = Counter::new(2, move |_, _| answer.send(()).expect("somebody waits"));
    let answered = Mutex::new(answered);
    let blocks = {
        let (scheduler, answers) = (scheduler.clone(), answers.clone());
        Counter::new(1, move |_, _| {
            // Into the slot of this very carrier.
            tell(&scheduler, &answers);
            tokio::task::block_in_place(|| answered.lock().recv().expect("an answer"));
        })
    };
    tell(&scheduler, &blocks);
    let mut looks = 0;
    until(|| {
        looks += usize::from(scheduler.relieve() > 0);
        blocks.done() == 1
    });
    assert!(looks > 0);
    assert!(scheduler.workers().len() > 1);
    // All are there still, but for one in reserve.
    for _ in 0..1_000 {
        tell(&scheduler, &Counter::new(3, |_, _| {}));
    }
    let last = Counter::new(4, |_, _| {});
    tell(&scheduler, &last);
    until(|| last.done() == 1);
}

#[test]
fn work_behind_a_blocked_run_is_stolen() {
    // The last of those told lies in the slot, nine in the deque; of those that begin there all ten.
    for (bring, stolen) in [(tell as fn(&Scheduler, &Arc<Counter>), 9), (young::begin, 10)] {
        let runtime = threads(2);
        let scheduler = Scheduler::start(runtime.handle(), Order::Fast, None);
        let (left, others) = counting_down(10);
        let blocks = {
            let scheduler = scheduler.clone();
            Counter::new(1, move |_, _| {
                others.iter().for_each(|other| bring(&scheduler, other));
                tokio::task::block_in_place(|| until(|| 10 - left.load(SeqCst) >= stolen));
            })
        };
        tell(&scheduler, &blocks);
        until(|| blocks.done() == 1);
    }
}

#[test]
fn a_task_that_tells_and_does_not_wait_gets_another_thread_for_the_actor() {
    let runtime = threads(2);
    let scheduler = Scheduler::start(runtime.handle(), Order::Fast, None);
    until(|| scheduler.workers().len() == 2 && runtime.metrics().num_alive_tasks() >= 2);
    for hurry in [false, true] {
        let scheduler = scheduler.clone();
        let task = runtime.spawn(async move {
            let counters: Vec<_> = (1..=16).map(|uid| Counter::new(uid, |_, _| {})).collect();
            if hurry {
                tell(&scheduler, &counters[0]);
                until(|| {
                    scheduler.hurry();
                    counters[0].done() == 1
                });
            } else {
                counters.iter().for_each(|counter| tell(&scheduler, counter));
                until(|| counters.iter().all(|counter| counter.done() == 1));
            }
        });
        runtime.block_on(task).expect("no panic");
    }
}

#[test]
fn a_guard_frees_whom_a_blocked_run_holds_up() {
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_time().build().expect("a runtime");
    let scheduler = Scheduler::start(runtime.handle(), Order::Fast, None);
    scheduler.guard(crate::Clock::tokio());
    let (answer, answered) = mpsc::channel();
    let answers = Counter::new(2, move |_, _| answer.send(()).expect("somebody waits"));
    let answered = Mutex::new(answered);
    let blocks = {
        let scheduler = scheduler.clone();
        Counter::new(1, move |_, _| {
            tell(&scheduler, &answers);
            tokio::task::block_in_place(|| answered.lock().recv().expect("an answer"));
        })
    };
    tell(&scheduler, &blocks);
    until(|| blocks.done() == 1);
    // It ends with the scheduler.
    drop(blocks);
    drop(scheduler);
    until(|| runtime.metrics().num_alive_tasks() == 0);
}
