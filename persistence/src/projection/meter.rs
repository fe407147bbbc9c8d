//! How fast a projection is and how far behind: [`Progress`], and its metrics.

use super::ProjectionId;
use crate::Offset;
use actors::Tick;
use metrics::{Counter, Gauge, counter, gauge};
use std::time::Duration;

/// How a projection catches up.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Progress {
    /// Items handled since it started.
    pub done: u64,
    /// Items that were and are to be handled by then, from how many there were on the way so far.
    pub of_about: u64,
    /// Items a second, of late.
    pub per_second: f64,
}

/// Offsets behind the end from which on it is told in the log.
const FAR_BEHIND: u64 = 10_000;

/// Between two such tellings, and the span of a rate.
const TOLD_EVERY: Duration = Duration::from_secs(10);

pub(super) struct Meter {
    start: Offset,
    span_began: Tick,
    span_handled: u64,
    rate: f64,
    told: Tick,
    handled: Counter,
    failed: Counter,
    behind: Gauge,
    age: Gauge,
    parked: Gauge,
}

impl Meter {
    pub(super) fn new(projection: &ProjectionId, start: Offset, now: Tick) -> Self {
        let labels = [("projection", projection.group.to_string()), ("source", projection.source.to_string())];
        Self {
            start,
            span_began: now,
            span_handled: 0,
            rate: 0.0,
            told: now,
            handled: counter!("persistence_projection_handled_total", &labels),
            failed: counter!("persistence_projection_failures_total", &labels),
            behind: gauge!("persistence_projection_lag_offsets", &labels),
            age: gauge!("persistence_projection_lag_seconds", &labels),
            parked: gauge!("persistence_projection_parked", &labels),
        }
    }

    pub(super) fn handled(&self, count: u64) {
        self.handled.increment(count);
    }

    pub(super) fn failed(&self) {
        self.failed.increment(1);
    }

    pub(super) fn measured(&self, behind: u64, age: Duration, parked: usize) {
        self.behind.set(behind as f64);
        self.age.set(age.as_secs_f64());
        self.parked.set(parked as f64);
    }

    pub(super) fn progress(&mut self, done: u64, done_to: Offset, end: Offset, now: Tick) -> Progress {
        let span = (now - self.span_began).as_secs_f64();
        let in_span = done.saturating_sub(self.span_handled) as f64;
        if span >= TOLD_EVERY.as_secs_f64() {
            self.rate = in_span / span;
            (self.span_began, self.span_handled) = (now, done);
        } else if self.span_handled == 0 && span > 0.0 {
            self.rate = in_span / span; // the first span counts from its beginning
        }
        let passed = done_to.ordering().saturating_sub(self.start.ordering());
        let ahead = end.ordering().saturating_sub(done_to.ordering());
        // Of what was passed this share was ours; of what is ahead it will be about the same.
        let share = if passed == 0 { 1.0 } else { done as f64 / passed as f64 };
        Progress { done, of_about: done + (ahead as f64 * share).round() as u64, per_second: self.rate }
    }

    pub(super) fn is_to_be_told(&mut self, behind: u64, now: Tick) -> bool {
        let due = behind >= FAR_BEHIND && now - self.told >= TOLD_EVERY;
        if due {
            self.told = now;
        }
        due
    }
}
