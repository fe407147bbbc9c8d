//! [`Line`]: how one connection's task is told that there is something to send, and that it is to end.

use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::Notify;

/// Between one connection's task and whoever decides about it.
#[derive(Debug, Default)]
pub(super) struct Line {
    ready: Notify,
    stop: Notify,
    is_stopped: AtomicBool,
}

impl Line {
    /// There is something to take.
    pub(super) fn wake(&self) {
        self.ready.notify_one();
    }

    /// Waits until there is something to take, or was since the last call. Cancel safe.
    pub(super) async fn woken(&self) {
        self.ready.notified().await;
    }

    /// The task is to end, for good.
    pub(super) fn stop(&self) {
        self.is_stopped.store(true, Ordering::Release);
        self.stop.notify_one();
    }

    /// Waits until the task is to end. One may wait at a time. Cancel safe.
    pub(super) async fn stopped(&self) {
        while !self.is_stopped.load(Ordering::Acquire) {
            self.stop.notified().await;
        }
    }
}
