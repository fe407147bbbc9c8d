//! Whose end is waited for, by whom: [`Watching`] on the side of those who wait, [`Watched`] on the other.

use actors::{Tick, remote::Handle};
use std::collections::{BTreeMap, BTreeSet};

/// Actors of one life whose end is waited for here. By the number of the watch, which is used once.
#[derive(Default)]
pub(super) struct Watching {
    waits: BTreeMap<u64, Wait>,
    /// All that actors said before these ends has come; the notices have not.
    flushed: BTreeSet<u64>,
}

struct Wait {
    actor: Handle,
    /// It has ended; what it said before may still be on its way, until then.
    ending: Option<Tick>,
}

/// Ends whose notice has not come are remembered so far.
const FLUSHED_MAX: usize = 4096;

impl Watching {
    pub(super) fn insert(&mut self, number: u64, actor: Handle) {
        self.waits.insert(number, Wait { actor, ending: None });
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<Handle> {
        self.waits.remove(&number).map(|wait| wait.actor)
    }

    /// What stands for an actor there that is kept because its end is waited for.
    pub(super) fn find(&self, mut is: impl FnMut(&Handle) -> bool) -> Option<Handle> {
        self.waits.values().map(|wait| &wait.actor).find(|actor| is(actor)).cloned()
    }

    /// The actor has ended. It is returned if all it said before is here; else wait for [`flushed`](Self::flushed), and until
    /// `until` at the latest.
    pub(super) fn terminated(&mut self, number: u64, until: Tick) -> Option<Handle> {
        if self.flushed.remove(&number) {
            return self.remove(number);
        }
        if let Some(wait) = self.waits.get_mut(&number) {
            wait.ending.get_or_insert(until);
        }
        None
    }

    /// All that the actor said before its end is here.
    pub(super) fn flushed(&mut self, number: u64) -> Option<Handle> {
        match self.waits.get(&number) {
            Some(Wait { ending: Some(_), .. }) => self.remove(number),
            Some(_) => {
                self.flushed.insert(number);
                if self.flushed.len() > FLUSHED_MAX {
                    self.flushed.pop_first();
                }
                None
            }
            None => None,
        }
    }

    /// Those for whom nothing more is waited for at `now`, and when to look again.
    pub(super) fn late(&mut self, now: Tick) -> (Vec<Handle>, Option<Tick>) {
        let late = self.waits.extract_if(.., |_, wait| wait.ending.is_some_and(|until| until <= now));
        let late = late.map(|(_, wait)| wait.actor).collect();
        (late, self.waits.values().filter_map(|wait| wait.ending).min())
    }

    /// All of them: the life is over.
    pub(super) fn take_all(&mut self) -> Vec<Handle> {
        self.flushed.clear();
        std::mem::take(&mut self.waits).into_values().map(|wait| wait.actor).collect()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.waits.len()
    }
}

/// Actors of this node whose end one other life waits for.
#[derive(Default)]
pub(super) struct Watched {
    /// By the number of the watch.
    ids: BTreeMap<u64, u64>,
    /// The other way round.
    watches: BTreeMap<u64, BTreeSet<u64>>,
}

/// Watches of one life.
pub(super) const WATCHED_MAX: usize = 1 << 20;

impl Watched {
    /// `false`: there is no room for another.
    pub(super) fn insert(&mut self, number: u64, id: u64) -> bool {
        if self.ids.len() >= WATCHED_MAX {
            return false;
        }
        self.ids.insert(number, id);
        self.watches.entry(id).or_default().insert(number);
        true
    }

    pub(super) fn remove(&mut self, number: u64) {
        let Some(id) = self.ids.remove(&number) else { return };
        if let Some(numbers) = self.watches.get_mut(&id) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.watches.remove(&id);
            }
        }
    }

    /// The actor has ended: the watches that end with it.
    pub(super) fn ended(&mut self, id: u64) -> BTreeSet<u64> {
        let numbers = self.watches.remove(&id).unwrap_or_default();
        self.ids.retain(|number, _| !numbers.contains(number));
        numbers
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }
}
