//! [`SnapshotSearch`]: which snapshot to start from when some cannot be read. Pure.

use crate::JournalError;

/// Snapshots that may be unreadable before recovery falls back to all events.
const TRIED: usize = 8;

/// The search for the newest snapshot that can be read: each that cannot leads to the one before it, and when too
/// many are, to none. Then all events are to be replayed, and if they were deleted, [`Recovery`](crate::Recovery)
/// notices.
///
/// ```
/// use persistence::{JournalError, PersistenceId, SnapshotSearch};
///
/// let mut search = SnapshotSearch::default();
/// assert_eq!(search.max_seq(), Some(u64::MAX), "the newest first");
/// let (id, manifest, reason) = (PersistenceId::of("wallet", "ada"), "wallet.State/9".into(), "unknown".into());
/// search.unreadable(&JournalError::Undecodable { id, seq_nr: 100, manifest, reason });
/// assert_eq!(search.max_seq(), Some(99), "then the newest before it");
/// ```
#[derive(Clone, Debug)]
pub struct SnapshotSearch {
    max_seq: Option<u64>,
    tries_left: usize,
}

impl Default for SnapshotSearch {
    fn default() -> Self {
        Self { max_seq: Some(u64::MAX), tries_left: TRIED }
    }
}

impl SnapshotSearch {
    /// What to ask [`SnapshotStore::load`](crate::SnapshotStore::load) for next; `None` when the search has ended
    /// without a snapshot.
    #[must_use]
    pub fn max_seq(&self) -> Option<u64> {
        self.max_seq.filter(|_| self.tries_left > 0)
    }

    /// The store has answered with `error`, which is [permanent](JournalError::is_permanent).
    pub fn unreadable(&mut self, error: &JournalError) {
        self.tries_left = self.tries_left.saturating_sub(1);
        self.max_seq = match (error, self.max_seq) {
            (JournalError::Damaged { seq_nr, .. } | JournalError::Undecodable { seq_nr, .. }, Some(asked)) => {
                seq_nr.checked_sub(1).filter(|&below| below < asked)
            }
            _ => None,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PersistenceId;

    fn damaged(seq_nr: u64) -> JournalError {
        let (place, reason) = (String::new(), String::new());
        JournalError::Damaged { id: PersistenceId::of("wallet", "ada"), seq_nr, place, reason }
    }

    #[test]
    fn it_ends_at_the_beginning_or_when_too_many_are_damaged() {
        let mut search = SnapshotSearch::default();
        search.unreadable(&damaged(0));
        assert_eq!(search.max_seq(), None, "there is nothing before it");
        let mut search = SnapshotSearch::default();
        for seq_nr in (1..=TRIED as u64).rev() {
            assert!(search.max_seq().is_some_and(|max| max >= seq_nr));
            search.unreadable(&damaged(seq_nr + 10));
        }
        assert_eq!(search.max_seq(), None);
    }

    #[test]
    fn it_never_asks_for_the_same_again() {
        let mut search = SnapshotSearch::default();
        search.unreadable(&damaged(10));
        search.unreadable(&damaged(10));
        assert_eq!(search.max_seq(), None, "a store that names another one than was asked for is not believed");
    }
}
