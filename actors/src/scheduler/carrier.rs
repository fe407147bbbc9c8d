//! [`Carrier`]: a worker as a tokio task. [`Decoys`]: tasks that push a carrier out of tokio's next-task slot.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64, fence};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use tokio::runtime::Handle;

use super::sleepers::MAX;
use super::worker::Worker;

/// Runs actors whenever it is polled, and is pending without a wake-up to come exactly while it sleeps.
pub(super) struct Carrier {
    worker: Worker,
    asleep: bool,
    /// It was called and counts as one that looks for work.
    searching: bool,
}

impl Carrier {
    pub(super) fn new(worker: Worker) -> Self {
        Self { worker, asleep: false, searching: false }
    }
}

impl Future for Carrier {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let pool = this.worker.pool();
        pool.is_here();
        // It is a task of its own, so its waker stays the same.
        this.worker.seat().waker.get_or_init(|| cx.waker().clone());
        if std::mem::take(&mut this.asleep) {
            this.searching = pool.sleepers().rise(this.worker.index());
        }
        if pool.is_stopped() {
            return Poll::Ready(());
        }
        let busy = this.worker.work(std::mem::take(&mut this.searching));
        if !busy {
            if this.worker.doze() {
                this.asleep = true;
                return Poll::Pending;
            }
            this.searching = pool.sleepers().rise(this.worker.index());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
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
