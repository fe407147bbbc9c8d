//! [`KeptSnapshots`]: which snapshots of an entity are in the store, and which of them may go. Pure.

use std::num::NonZeroUsize;

/// What one life of an entity knows of its snapshots.
#[derive(Debug, Default)]
pub struct KeptSnapshots {
    /// Numbers of snapshots that are certainly stored, in order.
    stored: Vec<u64>,
    /// Those before the first of them were looked for.
    looked_back: bool,
}

/// Older snapshots to look for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LookBack {
    /// With numbers up to this.
    pub up_to: u64,
    /// So many, the newest first.
    pub wanted: usize,
}

impl KeptSnapshots {
    /// The snapshot with this number is durable.
    pub fn saved(&mut self, number: u64) {
        if let Err(place) = self.stored.binary_search(&number) {
            self.stored.insert(place, number);
        }
    }

    /// What to look for before it is known what may go: once in a life, if ever.
    pub fn look_back(&self, keep: NonZeroUsize) -> Option<LookBack> {
        let wanted = keep.get().checked_sub(self.stored.len()).filter(|wanted| *wanted > 0 && !self.looked_back)?;
        let up_to = self.stored.first()?.checked_sub(1)?;
        Some(LookBack { up_to, wanted })
    }

    /// What was found when it was looked for.
    pub fn found(&mut self, older: Vec<u64>) {
        older.into_iter().for_each(|number| self.saved(number));
        self.looked_back = true;
    }

    /// All snapshots up to this number may go: as many as are kept are stored after it. `None` while there are fewer.
    pub fn superfluous(&mut self, keep: NonZeroUsize) -> Option<u64> {
        let older = self.stored.len().checked_sub(keep.get())?;
        self.stored.drain(..older);
        self.stored.first()?.checked_sub(1).filter(|last| *last > 0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn keep(count: usize) -> NonZeroUsize {
        NonZeroUsize::new(count).expect("not zero")
    }

    #[test]
    fn what_an_earlier_life_left_is_looked_for_once() {
        let mut kept = KeptSnapshots::default();
        assert_eq!((kept.look_back(keep(2)), kept.superfluous(keep(2))), (None, None), "before the first is durable");
        kept.saved(30);
        assert_eq!(kept.superfluous(keep(2)), None, "nothing goes while one is known");
        assert_eq!(kept.look_back(keep(2)), Some(LookBack { up_to: 29, wanted: 1 }));
        kept.found(vec![20]);
        assert_eq!((kept.look_back(keep(2)), kept.superfluous(keep(2))), (None, Some(19)));
        kept.saved(40);
        kept.saved(40);
        assert_eq!(kept.superfluous(keep(2)), Some(29), "one stored twice is one");
        assert_eq!(kept.look_back(keep(1)), None);
    }

    proptest! {
        /// Whichever saves fail, and in whatever order their ends are told: the newest that are durable stay, and no more
        /// than them once all have ended.
        #[test]
        fn the_newest_that_are_durable_stay(
            count in 1_usize..5,
            before in proptest::collection::btree_set(1_u64..100, 0..9),
            ends in Just((100_u64..120).collect::<Vec<_>>()).prop_shuffle(),
            durable in proptest::collection::vec(any::<bool>(), 20),
        ) {
            let mut store: BTreeSet<u64> = before;
            let mut kept = KeptSnapshots::default();
            for number in ends {
                if !durable[(number - 100) as usize] {
                    continue;
                }
                store.insert(number);
                let newest: Vec<_> = store.iter().rev().take(count).copied().collect();
                kept.saved(number);
                if let Some(LookBack { up_to, wanted }) = kept.look_back(keep(count)) {
                    kept.found(store.range(..=up_to).rev().take(wanted).copied().collect());
                }
                if let Some(last) = kept.superfluous(keep(count)) {
                    store.retain(|number| *number > last);
                }
                prop_assert!(newest.iter().all(|number| store.contains(number)));
            }
            if kept.looked_back || store.iter().any(|number| *number >= 100) {
                prop_assert!(store.len() <= count.max(1) , "{store:?}");
            }
        }
    }
}
