//! Recovery as a pure state machine: it is shown what the store returned, and refuses a log that cannot be true.
//!
//! Nothing is repaired: a hole, a backward epoch or a missing tail means that the store or its fencing failed, and
//! guessing which history was meant would turn that failure into wrong answers.

use crate::PersistenceId;

/// Checks one entity's replay: snapshot first, then each event in order, then the highest sequence number.
///
/// ```
/// use persistence::{PersistenceId, Recovery};
///
/// let mut recovery = Recovery::new(PersistenceId::of("wallet", "ada"));
/// recovery.snapshot(Some((100, 3)));
/// assert_eq!(recovery.next_seq(), 101);
/// recovery.event(101, 3)?;
/// recovery.event(102, 4)?;
/// assert_eq!(recovery.finish(102)?.highest_seq, 102);
/// # Ok::<(), persistence::RecoveryError>(())
/// ```
#[derive(Debug)]
pub struct Recovery {
    id: PersistenceId,
    last_seq: u64,
    last_epoch: u64,
    events: u64,
}

/// What a recovery that passed all checks established.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The last sequence number used; the next event gets the one after it.
    pub highest_seq: u64,
    /// How many events were replayed.
    pub events: u64,
}

impl Recovery {
    /// Starts with the empty state of `id`.
    #[must_use]
    pub fn new(id: PersistenceId) -> Self {
        Self { id, last_seq: 0, last_epoch: 0, events: 0 }
    }

    /// The snapshot to start from, as (sequence number, epoch); call it before the first event.
    pub fn snapshot(&mut self, snapshot: Option<(u64, u64)>) {
        debug_assert_eq!(self.events, 0, "a snapshot comes before the events");
        (self.last_seq, self.last_epoch) = snapshot.unwrap_or((0, 0));
    }

    /// The sequence number the next event must have: where to go on reading.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.last_seq + 1
    }

    /// Accepts the next event of the replay; call it before applying the event.
    ///
    /// # Errors
    /// [`RecoveryError::Gap`], [`RecoveryError::EpochDecreased`]: the event must not be applied.
    pub fn event(&mut self, seq_nr: u64, epoch: u64) -> Result<(), RecoveryError> {
        if seq_nr != self.next_seq() {
            return Err(RecoveryError::Gap { id: self.id.clone(), expected: self.next_seq(), found: seq_nr });
        }
        if epoch < self.last_epoch {
            return Err(RecoveryError::EpochDecreased {
                id: self.id.clone(),
                seq_nr,
                from: self.last_epoch,
                to: epoch,
            });
        }
        self.last_seq = seq_nr;
        self.last_epoch = epoch;
        self.events += 1;
        Ok(())
    }

    /// Ends the replay; `highest` is what the journal reports.
    ///
    /// # Errors
    /// [`RecoveryError::Incomplete`] when the replay ended elsewhere.
    pub fn finish(self, highest: u64) -> Result<Recovered, RecoveryError> {
        if self.last_seq != highest {
            return Err(RecoveryError::Incomplete { id: self.id, replayed_to: self.last_seq, highest });
        }
        Ok(Recovered { highest_seq: highest, events: self.events })
    }
}

/// Why a log is not believed. Permanent: the same data gives the same answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecoveryError {
    /// An event is missing, doubled or out of order. Events deleted without a snapshot that contains them show as this.
    #[error("replay of {id}: expected sequence number {expected}, found {found}")]
    Gap {
        /// Whose log.
        id: PersistenceId,
        /// The number that had to come.
        expected: u64,
        /// The number that came.
        found: u64,
    },
    /// An older writer's event follows a newer one's: two writers were let in.
    #[error("replay of {id}: epoch falls from {from} to {to} at sequence number {seq_nr}")]
    EpochDecreased {
        /// Whose log.
        id: PersistenceId,
        /// Of the later event.
        seq_nr: u64,
        /// Epoch before it.
        from: u64,
        /// Its epoch.
        to: u64,
    },
    /// The replay ended before, or beyond, the highest sequence number the journal knows.
    #[error("replay of {id} ended at sequence number {replayed_to}, but the journal's highest is {highest}")]
    Incomplete {
        /// Whose log.
        id: PersistenceId,
        /// Where the replay ended.
        replayed_to: u64,
        /// What the journal reports.
        highest: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn recovery() -> Recovery {
        Recovery::new(PersistenceId::of("wallet", "ada"))
    }

    #[test]
    fn a_new_entity_recovers_to_nothing() {
        assert_eq!(recovery().finish(0), Ok(Recovered { highest_seq: 0, events: 0 }));
    }

    #[test]
    fn a_snapshot_beyond_the_journal_is_refused() {
        let mut recovery = recovery();
        recovery.snapshot(Some((10, 1)));
        assert!(matches!(recovery.finish(9), Err(RecoveryError::Incomplete { replayed_to: 10, highest: 9, .. })));
    }

    #[test]
    fn an_event_older_than_the_snapshots_writer_is_refused() {
        let mut recovery = recovery();
        recovery.snapshot(Some((10, 4)));
        assert!(matches!(recovery.event(11, 3), Err(RecoveryError::EpochDecreased { seq_nr: 11, from: 4, to: 3, .. })));
    }

    proptest! {
        #[test]
        fn any_true_log_is_accepted(start in 0_u64..50, epochs in proptest::collection::vec(0_u64..4, 0..60)) {
            let mut recovery = recovery();
            recovery.snapshot((start > 0).then_some((start, 1)));
            let mut epoch = 1;
            for step in &epochs {
                epoch += step;
                prop_assert_eq!(recovery.event(recovery.next_seq(), epoch), Ok(()));
            }
            let highest = start + epochs.len() as u64;
            prop_assert_eq!(recovery.finish(highest).map(|done| done.highest_seq), Ok(highest));
        }

        /// Dropping, doubling or swapping events anywhere is noticed, the missing tail included.
        #[test]
        fn any_damaged_log_is_refused(len in 2_u64..40, at in 0_usize..1000, kind in 0..3) {
            let mut log: Vec<u64> = (1..=len).collect();
            let at = at % (log.len() - 1);
            match kind {
                0 => drop(log.remove(at + 1)),
                1 => log.insert(at, log[at]),
                _ => log.swap(at, at + 1),
            }
            let mut recovery = recovery();
            let replay = log.iter().try_for_each(|&seq_nr| recovery.event(seq_nr, 1));
            prop_assert!(replay.and_then(|()| recovery.finish(len)).is_err(), "{:?}", log);
        }
    }
}
