//! How many calls are being served.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tonic::Status;

/// Counts the calls being served and refuses more than a fixed number.
#[derive(Debug)]
pub(super) struct Admission {
    running: Arc<AtomicUsize>,
    max: usize,
}

/// The place of one call; given back when dropped.
#[derive(Debug)]
pub(super) struct Admitted {
    running: Arc<AtomicUsize>,
}

impl Admission {
    pub(super) fn new(max: usize) -> Self {
        Self { running: Arc::default(), max }
    }

    /// A place for one more call.
    pub(super) fn admit(&self) -> Result<Admitted, Status> {
        // Counted first and checked then, so that two callers cannot both take the last place.
        let before = self.running.fetch_add(1, Ordering::Relaxed);
        let admitted = Admitted { running: self.running.clone() };
        if before >= self.max {
            return Err(Status::resource_exhausted(format!(
                "the proxy serves {} calls already; try again later",
                self.max
            )));
        }
        Ok(admitted)
    }

    pub(super) fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.running.fetch_sub(1, Ordering::Relaxed);
    }
}
