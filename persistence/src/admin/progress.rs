//! [`Progress`]: how far a long task has got, and the way to end it early.

use parking_lot::Mutex;
use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};
use tokio::sync::Notify;

/// Shared between a task and whoever shows how far it is. A cheap handle.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    done: AtomicU64,
    total: AtomicU64,
    stage: Mutex<&'static str>,
    cancelled: AtomicBool,
    told: Notify,
}

impl Progress {
    /// Steps of this stage done, and of how many; (0, 0) where that cannot be told. What a step is depends on the stage: a
    /// row, a page.
    #[must_use]
    pub fn get(&self) -> (u64, u64) {
        let total = self.0.total.load(Ordering::Relaxed);
        (self.0.done.load(Ordering::Relaxed).min(total), total)
    }

    /// What the task is at, in two or three words; empty until it has begun.
    #[must_use]
    pub fn stage(&self) -> &'static str {
        *self.0.stage.lock()
    }

    /// Asks the task to end with [`AdminError::Cancelled`](super::AdminError::Cancelled), which it does within
    /// milliseconds.
    pub fn cancel(&self) {
        self.0.cancelled.store(true, Ordering::Relaxed);
        self.0.told.notify_waiters();
    }

    /// Ends once [`cancel`](Self::cancel) was called: for a task that waits for something else meanwhile. Cancel safe.
    pub async fn cancelled(&self) {
        let mut told = std::pin::pin!(self.0.told.notified());
        // Before the look: what is said between the two is heard.
        told.as_mut().enable();
        if !self.is_cancelled() {
            told.await;
        }
    }

    /// Whether [`cancel`](Self::cancel) was called.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.cancelled.load(Ordering::Relaxed)
    }

    /// Says that `stage` begins, which takes `total` steps; 0 where that cannot be told. For whoever does the task.
    pub fn begin(&self, stage: &'static str, total: u64) {
        *self.0.stage.lock() = stage;
        self.0.done.store(0, Ordering::Relaxed);
        self.0.total.store(total, Ordering::Relaxed);
    }

    /// Says that `steps` more are done.
    pub fn add(&self, steps: u64) {
        self.0.done.fetch_add(steps, Ordering::Relaxed);
    }

    /// Says that `done` steps are done in all.
    pub fn set(&self, done: u64) {
        self.0.done.store(done, Ordering::Relaxed);
    }
}
