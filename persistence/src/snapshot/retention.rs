//! [`Retention`]: when to take a snapshot and what to delete after it succeeded. Pure arithmetic.

use std::{num::NonZeroU64, time::Duration};

/// When an entity saves snapshots and how many it keeps.
///
/// Besides what is said here, [`EventSourced::snapshot_when`](crate::EventSourced::snapshot_when) and
/// [`Effect::then_snapshot`](crate::Effect::then_snapshot) ask for snapshots. One is taken at a time, of the state at that
/// moment; what falls due meanwhile is made up for with the next.
///
/// ```
/// use persistence::Retention;
/// use std::time::Duration;
///
/// let retention = Retention::snapshot_every(100).or_replay_longer_than(Duration::from_millis(50)).keep_snapshots(2);
/// assert!(retention.is_due(199, 200));
/// assert!(retention.is_too_slow(Duration::from_millis(51)));
/// assert_eq!(retention.after_snapshot(&[300, 400, 500]).delete_snapshots_to, Some(399)); // 400 and 500 stay
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    every: Option<NonZeroU64>,
    replay_max: Option<Duration>,
    keep: Option<NonZeroU64>, // `None` keeps all
    delete_events: DeleteEvents,
}

/// Which events go once a snapshot contains them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeleteEvents {
    No,
    /// Those that nobody needs any more, as far as the entity's guard knows.
    Read,
    All,
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
    /// No snapshots but those asked for, all of which are kept, and all events: the default.
    #[must_use]
    pub const fn keep_everything() -> Self {
        Self { every: None, replay_max: None, keep: None, delete_events: DeleteEvents::No }
    }

    /// A snapshot whenever another `events` events were stored; two are kept. 0 means never.
    #[must_use]
    pub const fn snapshot_every(events: u64) -> Self {
        Self { every: NonZeroU64::new(events), ..Self::snapshot_when_asked() }
    }

    /// Snapshots only when the entity asks for them; two are kept.
    #[must_use]
    pub const fn snapshot_when_asked() -> Self {
        Self { keep: Some(NonZeroU64::MIN.saturating_add(1)), ..Self::keep_everything() }
    }

    /// Also a snapshot whenever the replay of the events since the last one is expected to take longer than `replay`, by
    /// what replays have taken; see [`ReplayCost`](crate::ReplayCost).
    #[must_use]
    pub const fn or_replay_longer_than(mut self, replay: Duration) -> Self {
        self.replay_max = Some(replay);
        self
    }

    /// Keeps the newest `count` snapshots: 1 to 64.
    #[must_use]
    pub const fn keep_snapshots(mut self, count: u64) -> Self {
        let count = if count > KEEP_MAX { KEEP_MAX } else { count };
        self.keep = match NonZeroU64::new(count) {
            None => Some(NonZeroU64::MIN),
            kept => kept,
        };
        self
    }

    /// Also deletes the events that the oldest kept snapshot contains, as far as nobody needs them any more. Who does is
    /// said with [`EventSourcedBehavior::needed_by`](crate::EventSourcedBehavior::needed_by); as long as nothing is said,
    /// none is deleted.
    #[must_use]
    pub const fn delete_events_on_snapshot(mut self) -> Self {
        self.delete_events = DeleteEvents::Read;
        self
    }

    /// Also deletes the events that the oldest kept snapshot contains. Projections that have not read them never will.
    #[must_use]
    pub const fn delete_events_even_if_unread(mut self) -> Self {
        self.delete_events = DeleteEvents::All;
        self
    }

    pub(crate) const fn deletes(&self) -> DeleteEvents {
        self.delete_events
    }

    /// How many snapshots are kept, if not all.
    pub(crate) fn keeps(&self) -> Option<usize> {
        self.keep.map(|keep| keep.get() as usize) // at most `KEEP_MAX`
    }

    /// Whether storing the events `before + 1 ..= after` calls for a snapshot at `after`. A batch that steps over a
    /// multiple counts.
    #[must_use]
    pub fn is_due(&self, before: u64, after: u64) -> bool {
        self.every.is_some_and(|every| before / every < after / every)
    }

    /// Whether a replay that would take so long calls for a snapshot.
    #[must_use]
    pub fn is_too_slow(&self, replay: Duration) -> bool {
        self.replay_max.is_some_and(|max| replay > max)
    }

    /// What to delete after a snapshot was stored: the last of `known`, which are the numbers of those that are there, in
    /// order, as far as [`remember`](Self::remember) has kept them. Nothing, while there are fewer than are to be kept.
    #[must_use]
    pub fn after_snapshot(&self, known: &[u64]) -> RetentionStep {
        let oldest_kept = self.keeps().and_then(|keep| known.len().checked_sub(keep)).map(|at| known[at]);
        RetentionStep {
            delete_snapshots_to: oldest_kept.map(|oldest| oldest.saturating_sub(1)).filter(|&seq| seq > 0),
            delete_events_to: oldest_kept.filter(|_| self.delete_events != DeleteEvents::No),
        }
    }

    /// Adds a snapshot that was stored, or recovered from, to `known`, and forgets what no decision needs. One stored again
    /// under the number of the last has taken its place, and is one.
    pub fn remember(&self, known: &mut Vec<u64>, seq_nr: u64) {
        if known.last() == Some(&seq_nr) {
            return;
        }
        known.push(seq_nr);
        let needed = self.keeps().unwrap_or(1);
        known.drain(..known.len().saturating_sub(needed));
    }
}

/// Snapshots that can be kept, if not all are.
const KEEP_MAX: u64 = 64;

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
        assert!(!retention.is_due(0, 1_000_000) && !retention.is_too_slow(Duration::MAX));
        assert_eq!(retention.after_snapshot(&[1_000, 2_000, 3_000]), RetentionStep::default());
        assert!(!Retention::snapshot_every(0).is_due(0, 1_000_000));
    }

    #[test]
    fn the_number_kept_is_within_bounds() {
        assert_eq!(Retention::snapshot_when_asked().keep_snapshots(0).keeps(), Some(1));
        assert_eq!(Retention::snapshot_when_asked().keep_snapshots(1_000).keeps(), Some(64));
    }

    #[test]
    fn a_snapshot_saved_again_counts_once() {
        let retention = Retention::snapshot_when_asked().delete_events_even_if_unread();
        let mut known = vec![90];
        (0..3).for_each(|_| retention.remember(&mut known, 100));
        assert_eq!(known, [90, 100]);
        assert_eq!(retention.after_snapshot(&known).delete_events_to, Some(90));
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
            let retention = Retention::snapshot_every(every).keep_snapshots(keep).delete_events_even_if_unread();
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
    }
}
