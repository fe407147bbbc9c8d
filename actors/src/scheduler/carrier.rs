//! [`Carrier`]: a worker as a task of tokio, or two that take turns. [`Decoys`]: tasks that push a carrier out of tokio's
//! next-task slot.

use std::fmt;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, fence};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::coop::has_budget_remaining;

use super::pool::Pool;
use super::sleepers::MAX;
use super::worker::Worker;

/// Every so many times a carrier gives way it is put off, so that tokio looks at timers and I/O. By itself it does that every
/// 61 tasks, which with nothing but slices of carriers among them is a long time.
const PUT_OFF_EVERY: u32 = 5;
/// If it comes back no sooner the thread had other tasks, so that tokio looks by itself.
const LATE: Duration = Duration::from_millis(1);
/// Then it is put off again after so many times.
const PUT_OFF_NEXT: u32 = 100;
/// As much as a task's budget can be, and more.
const BUDGET: u32 = 256;

/// Runs actors whenever it is polled.
///
/// Where there can be several, a carrier is two tasks that take turns, since a task that wakes itself goes to the end of its
/// thread's queue *and* has tokio wake an idle thread, which finds nothing: that was a tenth of all time where one carrier had
/// all there was to do. A task that wakes another one goes unnoticed: that one waits in the thread's next-task slot, and is
/// put at the end of the queue if the first has used up its budget. (For what that pushes out of the slot idle threads are
/// woken.)
///
/// The one that has its turn is pending without a wake-up to come exactly while the carrier sleeps. While it is
/// [put off](Tasks::put_off) no other thread can take it, which is why it is so only after it had work, and why
/// `Pool::relieve` [hastens](Tasks::hasten) it; as a rule it comes at once.
pub(super) struct Carrier {
    pool: Arc<Pool>,
    index: usize,
    turn: usize,
    /// While it is this one's turn.
    duty: Option<Duty>,
    handed_over: Arc<Mutex<Option<Duty>>>,
}

/// What the one that has its turn has.
struct Duty {
    worker: Worker,
    asleep: bool,
    /// It was called and counts as one that looks for work.
    searching: bool,
    /// Times until it is put off.
    until_put_off: u32,
    /// Since when it is.
    put_off: Option<Instant>,
}

/// The tasks of one carrier, for those who wake it.
pub(super) struct Tasks {
    wakers: [OnceLock<Waker>; 2],
    /// Whose turn it is: known to whoever has seen that the carrier sleeps.
    turn: AtomicUsize,
    /// It comes when its thread has nothing else to do.
    put_off: AtomicBool,
}

impl Tasks {
    pub(super) fn new() -> Self {
        Self { wakers: [OnceLock::new(), OnceLock::new()], turn: AtomicUsize::new(0), put_off: AtomicBool::new(false) }
    }

    /// Wakes the carrier, which sleeps. One that never was polled is about to be.
    pub(super) fn wake(&self) {
        if let Some(waker) = self.wakers[self.turn.load(Relaxed)].get() {
            waker.wake_by_ref();
        }
    }

    pub(super) fn wake_all(&self) {
        self.wakers.iter().filter_map(OnceLock::get).for_each(Waker::wake_by_ref);
    }

    /// Sees to it that any thread may take a carrier that was put off for long: a task may block the one it waits for.
    pub(super) fn hasten(&self) {
        if self.put_off.load(Acquire) {
            self.wake();
        }
    }
}

impl Carrier {
    /// The tasks of a carrier.
    pub(super) fn tasks(pool: &Arc<Pool>, worker: Worker) -> impl Iterator<Item = Self> {
        let index = worker.index();
        let handed_over = Arc::new(Mutex::new(None));
        let first = Duty { worker, asleep: false, searching: false, until_put_off: PUT_OFF_EVERY, put_off: None };
        let duties = [Some(first), None].into_iter().take(if pool.may_grow() { 2 } else { 1 });
        let pool = pool.clone();
        duties.enumerate().map(move |(turn, duty)| Self {
            pool: pool.clone(),
            index,
            turn,
            duty,
            handed_over: handed_over.clone(),
        })
    }

    fn tasks_of_mine(&self) -> &Tasks {
        &self.pool.seat(self.index).tasks
    }

    /// Has more work: lets others of this thread have their turn, and comes again.
    #[allow(clippy::disallowed_methods, reason = "time of this thread, as in `worker::Slice`")]
    fn give_way(&mut self, mut duty: Duty, cx: &mut Context<'_>) {
        duty.until_put_off = duty.until_put_off.saturating_sub(1);
        if duty.until_put_off == 0 && self.pool.line().is_none() {
            duty.put_off = Some(Instant::now());
            self.duty = Some(duty);
            self.tasks_of_mine().put_off.store(true, Release);
            // What comes next on this thread may block it: another one is to know of it.
            self.pool.clear_next();
            let _ = pin!(tokio::task::yield_now()).poll(cx);
        } else if let Some(other) = self.tasks_of_mine().wakers[1 - self.turn].get() {
            use_up_budget();
            *self.handed_over.lock() = Some(duty);
            other.wake_by_ref();
        } else {
            self.come_again(duty, cx);
        }
    }

    /// Comes again, on whichever thread finds it first.
    fn come_again(&mut self, duty: Duty, cx: &mut Context<'_>) {
        self.duty = Some(duty);
        cx.waker().wake_by_ref();
    }

    /// What is to be done, if it is this one's turn.
    fn begin(&mut self) -> Option<Duty> {
        let mut duty = self.duty.take().or_else(|| self.handed_over.lock().take())?;
        let tasks = self.tasks_of_mine();
        tasks.turn.store(self.turn, Relaxed);
        if let Some(since) = duty.put_off.take() {
            tasks.put_off.store(false, Relaxed);
            duty.until_put_off = if since.elapsed() < LATE { PUT_OFF_EVERY } else { PUT_OFF_NEXT };
        }
        Some(duty)
    }
}

/// That of the task that calls this.
fn use_up_budget() {
    let mut unheard = Context::from_waker(Waker::noop());
    for _ in 0..BUDGET {
        if !has_budget_remaining() {
            break;
        }
        let _ = pin!(tokio::task::consume_budget()).poll(&mut unheard);
    }
}

impl Future for Carrier {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        // Each is a task of its own, so its waker stays the same.
        let waker = &this.tasks_of_mine().wakers[this.turn];
        if waker.get().is_none() && waker.set(cx.waker().clone()).is_ok() {
            // Who stops the carriers writes first and then looks for wakers: one of the two sees the other.
            fence(SeqCst);
        }
        if this.pool.is_stopped() {
            return Poll::Ready(());
        }
        let Some(mut duty) = this.begin() else { return Poll::Pending };
        this.pool.is_here();
        let sleepers = this.pool.sleepers();
        if std::mem::take(&mut duty.asleep) {
            duty.searching = sleepers.rise(this.index);
        }
        if duty.worker.work(std::mem::take(&mut duty.searching)) {
            this.give_way(duty, cx);
        } else if duty.worker.doze() {
            duty.asleep = true;
            this.duty = Some(duty);
        } else {
            duty.searching = sleepers.rise(this.index);
            this.come_again(duty, cx);
        }
        Poll::Pending
    }
}

impl Drop for Carrier {
    /// One alone is no carrier, and may have been handed the duty. So when one ends, by the end of its runtime or otherwise, all
    /// do.
    fn drop(&mut self) {
        self.pool.stop();
    }
}

/// A task that is woken on a tokio thread takes the place of the one woken there before, which goes into the queue from
/// which other threads steal. So a carrier that wakes another and goes on wakes one of these next. They do nothing.
pub(super) struct Decoys(Arc<Shared>);

struct Shared {
    /// One bit for each that waits to be woken.
    free: AtomicU64,
    wakers: [OnceLock<Waker>; MAX],
    stopped: AtomicBool,
}

struct Decoy {
    index: usize,
    shared: Arc<Shared>,
}

impl Decoys {
    pub(super) fn new() -> Self {
        let wakers = [const { OnceLock::new() }; MAX];
        Self(Arc::new(Shared { free: AtomicU64::new(0), wakers, stopped: AtomicBool::new(false) }))
    }

    pub(super) fn spawn(&self, runtime: &Handle, count: usize) {
        for index in 0..count.min(MAX) {
            runtime.spawn(Decoy { index, shared: self.0.clone() });
        }
    }

    /// Wakes one. False: all are on their way.
    pub(super) fn wake(&self) -> bool {
        let mut free = self.0.free.load(Acquire);
        while free != 0 {
            match self.0.free.compare_exchange_weak(free, free & (free - 1), AcqRel, Acquire) {
                Ok(_) => {
                    if let Some(waker) = self.0.wakers[free.trailing_zeros() as usize].get() {
                        waker.wake_by_ref();
                    }
                    return true;
                }
                Err(now) => free = now,
            }
        }
        false
    }

    pub(super) fn stop(&self) {
        self.0.stopped.store(true, Relaxed);
        fence(SeqCst);
        self.0.wakers.iter().filter_map(OnceLock::get).for_each(Waker::wake_by_ref);
    }
}

impl Future for Decoy {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { index, shared } = &*self;
        shared.wakers[*index].get_or_init(|| cx.waker().clone());
        shared.free.fetch_or(1 << index, AcqRel);
        // Who stops them writes first and then looks for wakers: one of the two sees the other.
        fence(SeqCst);
        if shared.stopped.load(Relaxed) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl fmt::Debug for Decoys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#b}", self.0.free.load(Relaxed))
    }
}
