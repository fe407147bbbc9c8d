//! [`ReplayCost`] and when a snapshot is due. Pure.

use crate::Retention;
use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};

/// What the replay of one event costs, as real replays have shown. Share one among the entities of a type: what one
/// learns, all know.
///
/// Until a replay was measured, 50 µs an event are assumed.
#[derive(Clone, Debug, Default)]
pub struct ReplayCost(Arc<Mutex<Cost>>);

#[derive(Debug)]
struct Cost {
    nanos_per_event: f64,
    measured: bool,
}

/// Shorter replays say more about the store's first answer than about events.
const EVENTS_MIN: u64 = 10;

/// What the newest replay counts for against all before it.
const NEWEST: f64 = 0.3;

impl Default for Cost {
    fn default() -> Self {
        Self { nanos_per_event: 50_000.0, measured: false }
    }
}

impl ReplayCost {
    /// A replay of `events` events took so long. Replays of fewer than ten are ignored.
    pub fn observe(&self, events: u64, took: Duration) {
        if events < EVENTS_MIN {
            return;
        }
        let seen = took.as_nanos() as f64 / events as f64;
        let mut cost = self.0.lock();
        cost.nanos_per_event = if cost.measured { cost.nanos_per_event * (1.0 - NEWEST) + seen * NEWEST } else { seen };
        cost.measured = true;
    }

    /// How long the replay of `events` events is expected to take.
    #[must_use]
    pub fn expected(&self, events: u64) -> Duration {
        Duration::from_nanos((self.0.lock().nanos_per_event * events as f64) as u64)
    }
}

/// When a snapshot is due: one at a time, and what falls due meanwhile is made up for.
#[derive(Debug)]
pub(crate) struct SnapshotSchedule {
    retention: Retention,
    /// From where a replay would have to start, or where a snapshot was last tried in vain.
    since: u64,
    wanted: bool,
    under_way: bool,
}

impl SnapshotSchedule {
    /// The entity has started from a snapshot at `since`, or from nothing at 0.
    pub(crate) fn new(retention: Retention, since: u64) -> Self {
        Self { retention, since, wanted: false, under_way: false }
    }

    /// Events `before + 1 ..= after` were stored.
    pub(crate) fn stored(&mut self, before: u64, after: u64, cost: &ReplayCost) {
        self.wanted |= self.retention.is_due(before, after)
            || (after > before && self.retention.is_too_slow(cost.expected(after.saturating_sub(self.since))));
    }

    /// The entity asks for one.
    pub(crate) fn asked(&mut self) {
        self.wanted = true;
    }

    /// Whether one is due, be there one under way or not.
    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted
    }

    /// Whether to take one now, of the state after event `seq_nr`. Then it is under way until [`ended`](Self::ended).
    pub(crate) fn take(&mut self, seq_nr: u64) -> bool {
        if !self.wanted || self.under_way {
            return false;
        }
        if seq_nr == 0 {
            self.wanted = false; // of nothing there is no snapshot, and the next event is no reason for one
            return false;
        }
        self.wanted = false;
        self.under_way = true;
        true
    }

    /// The one under way, of the state after event `seq_nr`, is stored or has failed. After a failure the next is due
    /// when it would have been after a success: a store in trouble is not asked with every event.
    pub(crate) fn ended(&mut self, seq_nr: u64) {
        self.under_way = false;
        self.since = self.since.max(seq_nr);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn the_cost_follows_what_replays_take() {
        let cost = ReplayCost::default();
        assert_eq!(cost.expected(1_000), 50 * MS, "assumed");
        cost.observe(9, 9_000 * MS);
        assert_eq!(cost.expected(1_000), 50 * MS, "too short to say anything");
        cost.observe(100, 100 * MS);
        assert_eq!(cost.expected(7), 7 * MS, "the first measurement counts whole");
        (0..50).for_each(|_| cost.observe(100, 300 * MS));
        let expected = cost.clone().expected(100);
        assert!(expected > 299 * MS && expected <= 300 * MS, "then it follows: {expected:?}");
    }

    #[test]
    fn a_slow_replay_makes_a_snapshot_due_and_a_failure_gives_it_time() {
        let cost = ReplayCost::default();
        cost.observe(10, 10 * MS);
        let mut schedule = SnapshotSchedule::new(Retention::snapshot_when_asked().or_replay_longer_than(20 * MS), 100);
        schedule.stored(100, 120, &cost);
        assert!(!schedule.take(120), "20 ms are not more than 20 ms");
        schedule.stored(120, 121, &cost);
        assert!(schedule.take(121));
        schedule.stored(121, 160, &cost);
        assert!(!schedule.take(160), "one at a time");
        schedule.ended(121);
        assert!(schedule.take(160), "and what fell due meanwhile");
        schedule.ended(160);
        schedule.stored(160, 180, &cost);
        assert!(!schedule.take(180));
    }

    #[test]
    fn one_is_taken_when_asked_but_never_of_nothing() {
        let mut schedule = SnapshotSchedule::new(Retention::default(), 0);
        schedule.asked();
        assert!(!schedule.take(0) && !schedule.take(1));
        schedule.asked();
        assert!(schedule.take(1));
    }
}
