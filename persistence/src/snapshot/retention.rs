//! [`Retention`]: when to take a snapshot and what to delete after it succeeded. Pure arithmetic.

use std::num::NonZeroU64;

/// When an entity saves snapshots and how many it keeps.
///
/// ```
/// use persistence::Retention;
///
/// let retention = Retention::snapshot_every(100).keep_snapshots(2);
/// assert!(retention.is_due(199, 200));
/// assert_eq!(retention.after_snapshot(&[400, 500]).delete_snapshots_to, Some(399)); // 400 and 500 stay
/// assert_eq!(retention.after_snapshot(&[300, 500]).delete_snapshots_to, Some(299)); // the one at 400 failed
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

    /// What to delete after a snapshot was stored: the last of `known`, which are the numbers of those known to be there,
    /// in order. [`remember`](Self::remember) keeps that list.
    ///
    /// With fewer than are to be kept, older ones are taken to be where they belong, `every` apart.
    #[must_use]
    pub fn after_snapshot(&self, known: &[u64]) -> RetentionStep {
        let (Some(every), Some(&oldest_known)) = (self.every, known.first()) else {
            return RetentionStep::default();
        };
        let more = self.keep.get().saturating_sub(known.len() as u64);
        let oldest_kept = if more > 0 {
            // A batch may push a snapshot past its multiple of `every`, so count from multiples.
            (oldest_known / every * every.get()).saturating_sub(more.saturating_mul(every.get()))
        } else {
            known[known.len() - self.keep.get() as usize] // not more than `known` has
        };
        let positive = |seq: u64| Some(seq).filter(|&seq| seq > 0);
        RetentionStep {
            delete_snapshots_to: positive(oldest_kept.saturating_sub(1)),
            delete_events_to: positive(oldest_kept).filter(|_| self.delete_events),
        }
    }

    /// Adds a snapshot that was stored, or recovered from, to `known`, and forgets what no decision needs.
    pub fn remember(&self, known: &mut Vec<u64>, seq_nr: u64) {
        known.push(seq_nr);
        let needed = usize::try_from(self.keep.get()).unwrap_or(usize::MAX).min(KNOWN_MAX);
        known.drain(..known.len().saturating_sub(needed));
    }
}

/// Snapshots remembered at most, however many are to be kept.
const KNOWN_MAX: usize = 64;

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
        assert_eq!(retention.after_snapshot(&[1_000]), RetentionStep::default());
        assert_eq!(Retention::snapshot_every(0).keep_snapshots(3).after_snapshot(&[9]), RetentionStep::default());
    }

    proptest! {
        /// Whatever the batches, and whichever snapshots fail, exactly the newest `keep` of those stored stay, and every
        /// event after the oldest of them.
        #[test]
        fn the_newest_snapshots_and_their_events_stay(
            every in 1_u64..20,
            keep in 1_u64..5,
            batches in proptest::collection::vec((1_u64..30, proptest::bool::weighted(0.8)), 1..200),
        ) {
            let retention = Retention::snapshot_every(every).keep_snapshots(keep).delete_events_on_snapshot();
            let (mut seq, mut snapshots, mut taken, mut deleted_to) = (0, Vec::new(), 0, 0);
            let mut known = Vec::new();
            for (batch, stored) in batches {
                let before = seq;
                seq += batch;
                if retention.is_due(before, seq) && stored {
                    snapshots.push(seq);
                    taken += 1;
                    retention.remember(&mut known, seq);
                    let step = retention.after_snapshot(&known);
                    snapshots.retain(|&at| step.delete_snapshots_to.is_none_or(|to| at > to));
                    deleted_to = deleted_to.max(step.delete_events_to.unwrap_or(0));
                }
                prop_assert_eq!(snapshots.len() as u64, keep.min(taken));
                prop_assert!(snapshots.first().is_none_or(|&oldest| deleted_to <= oldest));
                prop_assert!(!snapshots.is_empty() || deleted_to == 0);
            }
        }

        /// A new life knows one snapshot only; what it cannot know it neither deletes too early nor keeps for ever.
        #[test]
        fn short_lives_do_not_pile_up_snapshots(every in 1_u64..20, keep in 1_u64..8, lives in 1_u64..40) {
            let retention = Retention::snapshot_every(every).keep_snapshots(keep);
            let mut snapshots = Vec::new();
            for life in 1..=lives {
                let mut known = snapshots.last().copied().into_iter().collect();
                snapshots.push(life * every);
                retention.remember(&mut known, life * every);
                let step = retention.after_snapshot(&known);
                snapshots.retain(|&at| step.delete_snapshots_to.is_none_or(|to| at > to));
                prop_assert_eq!(snapshots.len() as u64, keep.min(life));
            }
        }
    }
}
