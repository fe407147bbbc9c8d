//! [`Retention`]: when to take a snapshot and what to delete after it succeeded. Pure arithmetic.

use std::num::NonZeroU64;

/// When an entity saves snapshots and how many it keeps.
///
/// ```
/// use persistence::Retention;
///
/// let retention = Retention::snapshot_every(100).keep_snapshots(2);
/// assert!(retention.is_due(199, 200));
/// assert_eq!(retention.after_snapshot(500).delete_snapshots_to, Some(399)); // 400 and 500 stay
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    every: Option<NonZeroU64>,
    keep: NonZeroU64,
    delete_events: bool,
}

/// What may be deleted once a snapshot was stored. Snapshots go first, so that none ever lacks its events while an older
/// one still has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetentionStep {
    /// Delete snapshots with `seq_nr <=` this.
    pub delete_snapshots_to: Option<u64>,
    /// Delete events with `seq_nr <=` this: all that the oldest kept snapshot contains.
    pub delete_events_to: Option<u64>,
}

impl Retention {
    /// No snapshots, all events kept: the default.
    #[must_use]
    pub const fn keep_everything() -> Self {
        Self { every: None, keep: NonZeroU64::MIN, delete_events: false }
    }

    /// A snapshot whenever another `events` events were stored; two are kept. 0 means never.
    #[must_use]
    pub const fn snapshot_every(events: u64) -> Self {
        let keep = NonZeroU64::MIN.saturating_add(1);
        Self { every: NonZeroU64::new(events), keep, delete_events: false }
    }

    /// Keeps the newest `count` snapshots, at least one.
    #[must_use]
    pub const fn keep_snapshots(mut self, count: u64) -> Self {
        if let Some(keep) = NonZeroU64::new(count) {
            self.keep = keep;
        } else {
            self.keep = NonZeroU64::MIN;
        }
        self
    }

    /// Also deletes the events that the oldest kept snapshot contains. Projections that have not read them never will.
    #[must_use]
    pub const fn delete_events_on_snapshot(mut self) -> Self {
        self.delete_events = true;
        self
    }

    /// Whether storing the events `before + 1 ..= after` calls for a snapshot at `after`. A batch that steps over a
    /// multiple counts.
    #[must_use]
    pub fn is_due(&self, before: u64, after: u64) -> bool {
        self.every.is_some_and(|every| before / every < after / every)
    }

    /// What to delete after the snapshot at `seq_nr` was stored.
    #[must_use]
    pub fn after_snapshot(&self, seq_nr: u64) -> RetentionStep {
        let Some(every) = self.every else {
            return RetentionStep::default();
        };
        // A batch may push a snapshot past its multiple of `every`, never to the next one: counting from multiples
        // keeps the right snapshots without a list of them.
        let multiple = seq_nr / every * every.get();
        let oldest_kept = multiple.saturating_sub((self.keep.get() - 1).saturating_mul(every.get()));
        let positive = |seq: u64| Some(seq).filter(|&seq| seq > 0);
        RetentionStep {
            delete_snapshots_to: positive(oldest_kept.saturating_sub(1)),
            delete_events_to: positive(oldest_kept).filter(|_| self.delete_events),
        }
    }
}

impl Default for Retention {
    fn default() -> Self {
        Self::keep_everything()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_is_due_or_deleted_by_default() {
        let retention = Retention::default();
        assert!(!retention.is_due(0, 1_000_000));
        assert_eq!(retention.after_snapshot(1_000), RetentionStep::default());
        assert_eq!(Retention::snapshot_every(0).keep_snapshots(3).after_snapshot(9), RetentionStep::default());
    }

    proptest! {
        /// Whatever the batches, exactly the newest `keep` snapshots stay, and every event after the oldest of them.
        #[test]
        fn the_newest_snapshots_and_their_events_stay(
            every in 1_u64..20,
            keep in 1_u64..5,
            batches in proptest::collection::vec(1_u64..8, 1..200),
        ) {
            let every = every + 7; // no batch steps over two multiples
            let retention = Retention::snapshot_every(every).keep_snapshots(keep).delete_events_on_snapshot();
            let (mut seq, mut snapshots, mut taken, mut deleted_to) = (0, Vec::new(), 0, 0);
            for batch in batches {
                let before = seq;
                seq += batch;
                if retention.is_due(before, seq) {
                    snapshots.push(seq);
                    taken += 1;
                    let step = retention.after_snapshot(seq);
                    snapshots.retain(|&at| step.delete_snapshots_to.is_none_or(|to| at > to));
                    deleted_to = deleted_to.max(step.delete_events_to.unwrap_or(0));
                }
                prop_assert_eq!(snapshots.len() as u64, keep.min(taken));
                prop_assert!(snapshots.first().is_none_or(|&oldest| deleted_to <= oldest));
                prop_assert!(!snapshots.is_empty() || deleted_to == 0);
            }
            prop_assert_eq!(taken, seq / every);
        }
    }
}
