//! The values on this node.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::RwLock;
use tokio::sync::watch;

use super::{Counts, TooManyKeys};
use crate::crdt::{Crdt, KindMismatch};

/// What is at a key.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// Nothing yet: somebody waits for it, or an update is under way.
    Absent,
    Value(Arc<Crdt>),
    Deleted,
    /// The slot has been taken out of the table; look the key up again.
    Retired,
}

/// One key: its content, under a lock of its own, and those who follow it.
pub(super) type Slot = watch::Sender<Content>;

/// The key was deleted.
pub(super) struct Gone;

/// Why a change was not made.
pub(super) enum Unfit<E> {
    Deleted,
    Modify(E),
    Kind(KindMismatch),
    TooManyKeys(TooManyKeys),
}

/// Locks are taken in this order: the table, then a slot.
pub(super) struct Store {
    slots: RwLock<HashMap<Arc<str>, Arc<Slot>>>,
    limit: usize,
    /// Keys with a value or deleted: what the limit is about.
    taken: AtomicUsize,
    deleted: AtomicUsize,
}

impl Store {
    pub(super) fn new(limit: usize) -> Self {
        Self { slots: RwLock::default(), limit, taken: AtomicUsize::new(0), deleted: AtomicUsize::new(0) }
    }

    pub(super) fn get(&self, key: &str) -> Result<Option<Arc<Crdt>>, Gone> {
        // The table is let go before waiting for the slot.
        let slot = self.slots.read().get(key).map(Arc::clone);
        match slot.map(|slot| slot.borrow().clone()) {
            Some(Content::Value(value)) => Ok(Some(value)),
            Some(Content::Deleted) => Err(Gone),
            Some(Content::Absent | Content::Retired) | None => Ok(None),
        }
    }

    /// Merges what `modify` returns into the value. Gives the value after that, and what was merged.
    pub(super) fn merge<E>(
        &self,
        key: &str,
        modify: impl FnOnce(Option<&Crdt>) -> Result<Crdt, E>,
    ) -> Result<(Arc<Crdt>, Arc<Crdt>), Unfit<E>> {
        let mut modify = Some(modify);
        self.change(key, |content| {
            let current = match content {
                Content::Value(value) => Some(&**value),
                Content::Absent => None,
                Content::Deleted => return (false, Some(Err(Unfit::Deleted))),
                Content::Retired => return (false, None),
            };
            let Some(modify) = modify.take() else { return (false, None) };
            let delta = match modify(current) {
                Ok(delta) => Arc::new(delta),
                Err(error) => return (false, Some(Err(Unfit::Modify(error)))),
            };
            let next = match current {
                Some(current) => {
                    let mut next = current.clone();
                    if let Err(mismatch) = next.merge(&delta) {
                        return (false, Some(Err(Unfit::Kind(mismatch))));
                    }
                    // Nobody needs to hear of a change that is none.
                    (next != *current).then(|| Arc::new(next))
                }
                None => match self.take_one() {
                    Ok(()) => Some(Arc::clone(&delta)),
                    Err(full) => return (false, Some(Err(Unfit::TooManyKeys(full)))),
                },
            };
            let changed = next.is_some();
            if let Some(next) = next {
                *content = Content::Value(next);
            }
            let Content::Value(value) = content else { unreachable!("there was a value, or one was put there") };
            (changed, Some(Ok((Arc::clone(value), delta))))
        })
    }

    pub(super) fn delete(&self, key: &str) -> Result<(), TooManyKeys> {
        self.change(key, |content| {
            match content {
                Content::Deleted => return (false, Some(Ok(()))),
                Content::Retired => return (false, None),
                Content::Value(_) => {}
                Content::Absent => {
                    if let Err(full) = self.take_one() {
                        return (false, Some(Err(full)));
                    }
                }
            }
            self.deleted.fetch_add(1, Ordering::Relaxed);
            *content = Content::Deleted;
            (true, Some(Ok(())))
        })
    }

    /// Runs `step` on the content of a key, alone. It says whether there is something to notice, and the result unless the
    /// slot was retired.
    fn change<R>(&self, key: &str, mut step: impl FnMut(&mut Content) -> (bool, Option<R>)) -> R {
        loop {
            let slot = self.slot(key);
            let mut result = None;
            slot.send_if_modified(|content| {
                let (changed, outcome) = step(content);
                result = outcome;
                changed
            });
            if matches!(*slot.borrow(), Content::Absent) {
                self.release(key);
            }
            if let Some(result) = result {
                return result;
            }
        }
    }

    /// The slot of a key, a new one if need be.
    fn slot(&self, key: &str) -> Arc<Slot> {
        if let Some(slot) = self.slots.read().get(key) {
            return Arc::clone(slot);
        }
        let mut slots = self.slots.write();
        Arc::clone(slots.entry(Arc::from(key)).or_insert_with(|| Arc::new(Slot::new(Content::Absent))))
    }

    /// Follows the slot of a key. It stays in the table until [`Store::release`].
    pub(super) fn follow(&self, key: &str) -> watch::Receiver<Content> {
        // No slot is retired while the table is locked.
        let mut slots = self.slots.write();
        let slot = slots.entry(Arc::from(key)).or_insert_with(|| Arc::new(Slot::new(Content::Absent)));
        let mut receiver = slot.subscribe();
        // What is there is news to the one who comes.
        receiver.mark_changed();
        receiver
    }

    /// Takes the slot of a key out of the table if there is nothing in it and nobody follows it.
    pub(super) fn release(&self, key: &str) {
        let mut slots = self.slots.write();
        let Some(slot) = slots.get(key) else { return };
        let retired = slot.receiver_count() == 0
            && slot.send_if_modified(|content| {
                let empty = matches!(content, Content::Absent);
                if empty {
                    *content = Content::Retired;
                }
                empty
            });
        if retired {
            slots.remove(key);
        }
    }

    fn take_one(&self) -> Result<(), TooManyKeys> {
        let more = |taken| (taken < self.limit).then_some(taken + 1);
        let taken = self.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.map(drop).map_err(|_| TooManyKeys { limit: self.limit })
    }

    pub(super) fn counts(&self) -> Counts {
        let deleted = self.deleted.load(Ordering::Relaxed);
        Counts { keys: self.taken.load(Ordering::Relaxed).saturating_sub(deleted), deleted }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crdt::Kind;
    use crate::replicator::Subscription;

    #[test]
    fn nothing_stays_of_keys_that_were_only_looked_at() {
        let store = Arc::new(Store::new(1));
        let fail = |key: &str| store.merge(key, |_| Err::<Crdt, _>("no")).is_err();
        assert!(store.get("a").is_ok_and(|value| value.is_none()));
        assert!(fail("a"));
        let (first, second) = (Subscription::new(Arc::clone(&store), "a"), Subscription::new(Arc::clone(&store), "a"));
        drop(first);
        assert!(fail("a"));
        assert_eq!(store.slots.read().len(), 1, "the second still follows");
        drop(second);
        assert_eq!(store.slots.read().len(), 0);

        assert!(store.merge("a", |_| Ok::<_, &str>(Crdt::new(Kind::Flag))).is_ok());
        assert!(store.delete("b").is_err(), "no room");
        drop(Subscription::new(Arc::clone(&store), "a"));
        assert_eq!(store.slots.read().len(), 1, "what has a value stays");
    }
}
