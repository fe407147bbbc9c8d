//! The scheduler: workers with a last-in-first-out slot and a deque each that
//! steal from each other, run by tokio tasks.

use std::cell::{Cell, UnsafeCell};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*, fence};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use crossbeam_deque::{Injector, Steal, Stealer, Worker as Deque};
use tokio::runtime::Handle;

use super::cell::{After, Run};
use crate::framework::{Flavor, tokio_block_on};

/// Actors in a row taken from the last-in-first-out slot.
const LIFO_MAX: u32 = 16;
/// How long a carrier runs actors before it gives its thread back to tokio.
/// Each time it does, tokio may move it to another thread, so it must not be
/// too often.
const CARRIER_TIME: Duration = Duration::from_micros(200);
/// Actors run between two looks at the clock.
const CLOCK_EVERY: u32 = 64;
/// How often a worker looks at the injector first.
const FAIRNESS: u32 = 61;

/// What the thread that schedules an actor does next.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// Waits for the actor, so that its thread is free to run it.
    Waits,
    GoesOn,
}

struct Pool {
    injector: Injector<Run>,
    stealers: Vec<Stealer<Run>>,
    sleepers: Mutex<Vec<(usize, Waker)>>,
    /// The length of `sleepers`, to look at without the lock.
    sleeping: AtomicUsize,
    /// Workers that have been woken and have not found work yet. While there
    /// are any, no more need to be woken.
    searching: AtomicUsize,
    woken: Vec<AtomicBool>,
    stopped: AtomicBool,
}

static POOL: Mutex<Option<Arc<Pool>>> = Mutex::new(None);

impl Pool {
    /// Wakes one worker, if one sleeps.
    fn notify(&self, sender: Sender) {
        fence(SeqCst);
        if self.sleeping.load(Relaxed) == 0 || self.searching.load(Relaxed) > 0 {
            return;
        }
        let sleeper = {
            let mut sleepers = self.sleepers.lock().expect("not poisoned");
            let Some((index, sleeper)) = sleepers.pop() else {
                return;
            };
            self.sleeping.store(sleepers.len(), Relaxed);
            self.searching.fetch_add(1, SeqCst);
            self.woken[index].store(true, Release);
            sleeper
        };
        sleeper.wake();
        // A task woken from a tokio worker goes into that worker's slot for the next task, where no other worker can get
        // at it until this one is done with what it is doing. Another task pushes it out into the queue and calls the
        // others in.
        if sender == Sender::GoesOn && Handle::try_current().is_ok() {
            tokio::spawn(async {});
        }
    }

    fn idle(&self) -> bool {
        self.injector.is_empty() && self.stealers.iter().all(Stealer::is_empty)
    }

    /// Registers a worker as asleep. False when there is work after all.
    fn doze(&self, index: usize, sleeper: Waker) -> bool {
        {
            let mut sleepers = self.sleepers.lock().expect("not poisoned");
            sleepers.retain(|(other, _)| *other != index);
            sleepers.push((index, sleeper));
            self.sleeping.store(sleepers.len(), Relaxed);
        }
        fence(SeqCst);
        if !self.idle() || self.stopped.load(Relaxed) {
            let mut sleepers = self.sleepers.lock().expect("not poisoned");
            sleepers.retain(|(other, _)| *other != index);
            self.sleeping.store(sleepers.len(), Relaxed);
            return false;
        }
        true
    }
}

struct Worker {
    index: usize,
    pool: Arc<Pool>,
    lifo: Cell<Option<Run>>,
    lifo_polls: Cell<u32>,
    deque: Deque<Run>,
    tick: Cell<u32>,
}

thread_local! {
    /// The worker this thread is being, if any.
    static CURRENT: Cell<*const Worker> = const { Cell::new(std::ptr::null()) };
    /// For threads that are none.
    static OUTSIDE: UnsafeCell<Option<Arc<Pool>>> = const { UnsafeCell::new(None) };
}

#[inline]
pub fn schedule(run: Run, sender: Sender) {
    let current = CURRENT.get();
    if current.is_null() {
        return schedule_from_outside(run, sender);
    }
    // SAFETY: set for as long as the worker is borrowed by its loop.
    unsafe { (*current).schedule(run) }
}

#[cold]
fn schedule_from_outside(run: Run, sender: Sender) {
    OUTSIDE.with(|pool| {
        // SAFETY: only this thread, and not reentrant.
        let pool = unsafe { &mut *pool.get() };
        let stale = pool.as_ref().is_none_or(|pool| pool.stopped.load(Relaxed));
        if stale {
            *pool = POOL.lock().expect("not poisoned").clone();
        }
        let pool = pool.as_ref().expect("started");
        pool.injector.push(run);
        pool.notify(sender);
    });
}

impl Worker {
    #[inline]
    fn schedule(&self, run: Run) {
        if self.lifo_polls.get() >= LIFO_MAX {
            return self.push_back(run);
        }
        if let Some(displaced) = self.lifo.replace(Some(run)) {
            self.push_back(displaced);
        }
    }

    /// Others are called in only when there is more than this worker's next
    /// piece of work.
    fn push_back(&self, run: Run) {
        let more = !self.deque.is_empty() || self.lifo.get().is_some();
        self.deque.push(run);
        if more {
            self.pool.notify(Sender::GoesOn);
        }
    }

    fn next(&self) -> Option<Run> {
        let tick = self.tick.get().wrapping_add(1);
        self.tick.set(tick);
        if tick.is_multiple_of(FAIRNESS)
            && let Some(run) = self.inject()
        {
            return Some(run);
        }
        if let Some(run) = self.lifo.take() {
            self.lifo_polls.set(self.lifo_polls.get() + 1);
            return Some(run);
        }
        self.lifo_polls.set(0);
        self.deque.pop().or_else(|| self.inject()).or_else(|| self.steal())
    }

    fn inject(&self) -> Option<Run> {
        loop {
            match self.pool.injector.steal_batch_and_pop(&self.deque) {
                Steal::Success(run) => return Some(run),
                Steal::Empty => return None,
                Steal::Retry => {}
            }
        }
    }

    fn steal(&self) -> Option<Run> {
        let n = self.pool.stealers.len();
        for i in 1..n {
            let victim = &self.pool.stealers[(self.index + i) % n];
            loop {
                match victim.steal_batch_and_pop(&self.deque) {
                    Steal::Success(run) => return Some(run),
                    Steal::Empty => break,
                    Steal::Retry => {}
                }
            }
        }
        None
    }

    /// Runs actors for about that long; false when it ran out of them.
    fn work(&self, time: Duration) -> bool {
        let outer = CURRENT.replace(self);
        let end = Instant::now() + time;
        let mut left = CLOCK_EVERY;
        let mut searching = self.pool.woken[self.index].swap(false, AcqRel);
        let busy = loop {
            let run = self.next();
            if std::mem::take(&mut searching) {
                let last = self.pool.searching.fetch_sub(1, SeqCst) == 1;
                if last && run.is_some() && !self.pool.idle() {
                    self.pool.notify(Sender::GoesOn);
                }
            }
            let Some(run) = run else { break false };
            if let After::Again = run.run() {
                self.push_back(run);
            }
            left -= 1;
            if left == 0 {
                left = CLOCK_EVERY;
                if Instant::now() >= end {
                    break true;
                }
            }
        };
        CURRENT.set(outer);
        busy
    }
}

fn pool(workers: usize) -> Vec<Worker> {
    let deques: Vec<_> = (0..workers).map(|_| Deque::new_fifo()).collect();
    let pool = Arc::new(Pool {
        injector: Injector::new(),
        stealers: deques.iter().map(Deque::stealer).collect(),
        sleepers: Mutex::new(Vec::new()),
        sleeping: AtomicUsize::new(0),
        searching: AtomicUsize::new(0),
        woken: (0..workers).map(|_| AtomicBool::new(false)).collect(),
        stopped: AtomicBool::new(false),
    });
    *POOL.lock().expect("not poisoned") = Some(pool.clone());
    let worker = |(index, deque)| Worker {
        index,
        pool: pool.clone(),
        lifo: Cell::new(None),
        lifo_polls: Cell::new(0),
        deque,
        tick: Cell::new(0),
    };
    deques.into_iter().enumerate().map(worker).collect()
}

fn stop_pool() {
    let pool = POOL.lock().expect("not poisoned").take().expect("started");
    pool.stopped.store(true, SeqCst);
    while pool.sleeping.load(SeqCst) > 0 {
        pool.searching.store(0, SeqCst);
        pool.notify(Sender::GoesOn);
    }
}

/// A worker as a tokio task.
struct Carrier(Worker);

impl Future for Carrier {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let worker = &self.get_mut().0;
        if worker.pool.stopped.load(Relaxed) {
            return Poll::Ready(());
        }
        let busy = worker.work(CARRIER_TIME);
        if busy || !worker.pool.doze(worker.index, cx.waker().clone()) {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

pub fn on_carriers<T, Fut>(flavor: Flavor, driver: Fut) -> T
where
    T: Send + 'static,
    Fut: Future<Output = T> + Send + 'static,
{
    tokio_block_on(flavor, async move {
        let tasks: Vec<_> = pool(flavor.workers()).into_iter().map(|worker| tokio::spawn(Carrier(worker))).collect();
        let out = driver.await;
        stop_pool();
        for task in tasks {
            task.await.expect("carrier");
        }
        out
    })
}
