//! Bounds of recovery: how many at once, how much of the log, how often in vain.

use crate::RecoveryFailure;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bounds how many entities recover at the same time, so that a node that starts with many of them leaves its store room
/// for those that write. The default is 64; entities that were given none share one such among all of their actor system.
#[derive(Clone, Debug)]
pub struct RecoveryLimit(pub(crate) Arc<Semaphore>);

/// What an entity reads of its log when it starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecoveryMode {
    /// The latest snapshot, and all events after it.
    #[default]
    All,
    /// Nothing but the last number, for an entity that only ever writes. Its state is the fold of what it stored in this
    /// life; it saves no snapshots, and does not know commands with an id that earlier lives answered.
    Nothing,
    /// The last event, for an entity whose events say all that is to know. Otherwise as [`Nothing`](Self::Nothing).
    LastEvent,
}

/// Counts recoveries that failed with the same text.
#[derive(Debug, Default)]
pub(crate) struct EqualFailures {
    last: String,
    count: u32,
}

/// Recoveries at a time, unless it is said otherwise.
const RECOVERIES: usize = 64;

/// After as many equal failures that time cannot cure, an entity is parked.
const PARKED_AFTER: u32 = 3;

impl RecoveryLimit {
    /// At most `recoveries` at a time, at least one; [`usize::MAX`] for as many as there are.
    #[must_use]
    pub fn new(recoveries: usize) -> Self {
        Self(Arc::new(Semaphore::new(recoveries.clamp(1, Semaphore::MAX_PERMITS))))
    }

    /// Waits for a place among those that recover. It is nobody else's until what this gives is dropped.
    pub(crate) async fn place(self) -> Option<OwnedSemaphorePermit> {
        self.0.acquire_owned().await.ok() // it is never closed
    }
}

impl Default for RecoveryLimit {
    fn default() -> Self {
        Self::new(RECOVERIES)
    }
}

impl EqualFailures {
    /// Notes a failure and answers whether to give up.
    pub(crate) fn note(&mut self, failure: &RecoveryFailure) -> bool {
        if !failure.is_permanent() {
            *self = Self::default();
            return false;
        }
        let text = failure.to_string();
        self.count = if self.last == text { self.count + 1 } else { 1 };
        self.last = text;
        self.count >= PARKED_AFTER
    }

    /// Forgets all: a recovery succeeded.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}
