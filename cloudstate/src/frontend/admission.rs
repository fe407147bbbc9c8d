//! How many calls are being served, and what became of each.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use actors::{Clock, Tick};
use tonic::{Code, Status};

use crate::telemetry::{RequestInFlight, RequestMetrics, request_refused};

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

/// An admitted call that is counted and timed. Dropped unfinished, it counts as cancelled.
pub(super) struct Ticket {
    _admitted: Admitted,
    measured: Option<(RequestInFlight, Clock, Tick)>,
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
            request_refused("overloaded");
            let text = format!("the proxy serves {} calls already; try again later", self.max);
            return Err(Status::resource_exhausted(text));
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

impl Ticket {
    /// A call that `metrics` count.
    pub(super) fn measured(admitted: Admitted, metrics: &RequestMetrics, clock: &Clock) -> Self {
        let measured = Some((metrics.begin(), clock.clone(), clock.now()));
        Self { _admitted: admitted, measured }
    }

    /// A call that is none of the user function's.
    pub(super) fn unmeasured(admitted: Admitted) -> Self {
        Self { _admitted: admitted, measured: None }
    }

    /// The call was answered with `code`.
    pub(super) fn finish(self, code: Code) {
        if let Some((in_flight, clock, started)) = self.measured {
            in_flight.finish(code, clock.now() - started);
        }
    }
}
