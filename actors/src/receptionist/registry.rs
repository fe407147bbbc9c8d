//! [`Registry`]: who is registered where, by owner. Pure.
//!
//! Invariant: only the owner of a slot changes it and raises its version; the slots of others are replaced as a whole by
//! a higher version, or removed as a whole. So what two nodes know of a slot can differ in age only.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Owners remembered as removed, so that what was on its way from them does not bring them back.
const REMOVED_MAX: usize = 4_096;

/// Registered values `V` with ids `I` under keys `K`.
pub(super) struct Registry<K, I, V> {
    own: u64,
    slots: BTreeMap<u64, Slot<K, I, V>>,
    /// Under which keys an id is in the own slot.
    own_keys: BTreeMap<I, BTreeSet<K>>,
    removed: VecDeque<u64>,
    unreachable: BTreeSet<u64>,
}

pub(super) type Entries<K, I, V> = BTreeMap<K, BTreeMap<I, V>>;

struct Slot<K, I, V> {
    version: u64,
    entries: Entries<K, I, V>,
}

impl<K: Ord + Clone, I: Ord + Clone, V: Clone> Registry<K, I, V> {
    /// Nothing is registered; `own` is whose slot this node writes.
    pub(super) fn new(own: u64) -> Self {
        Self {
            own,
            slots: BTreeMap::new(),
            own_keys: BTreeMap::new(),
            removed: VecDeque::new(),
            unreachable: BTreeSet::new(),
        }
    }

    /// `false` when it was registered already.
    pub(super) fn register(&mut self, key: &K, id: &I, value: V) -> bool {
        if !self.own_keys.entry(id.clone()).or_default().insert(key.clone()) {
            return false;
        }
        let slot = self.slots.entry(self.own).or_insert_with(|| Slot { version: 0, entries: BTreeMap::new() });
        slot.entries.entry(key.clone()).or_default().insert(id.clone(), value);
        slot.version += 1;
        true
    }

    /// What was registered, if it was.
    pub(super) fn deregister(&mut self, key: &K, id: &I) -> Option<V> {
        let slot = self.slots.get_mut(&self.own)?;
        let value = slot.remove(key, id)?;
        slot.version += 1;
        if let Some(keys) = self.own_keys.get_mut(id) {
            keys.remove(key);
            if keys.is_empty() {
                self.own_keys.remove(id);
            }
        }
        Some(value)
    }

    /// Takes `id` off all own lists and returns their keys.
    pub(super) fn ended(&mut self, id: &I) -> BTreeSet<K> {
        let keys = self.own_keys.remove(id).unwrap_or_default();
        if let Some(slot) = self.slots.get_mut(&self.own).filter(|_| !keys.is_empty()) {
            slot.version += 1;
            for key in &keys {
                slot.remove(key, id);
            }
        }
        keys
    }

    /// Whether `id` is on any own list.
    pub(super) fn has_own(&self, id: &I) -> bool {
        self.own_keys.contains_key(id)
    }

    /// Version and values of the own slot, by key and then by id.
    pub(super) fn own_values(&self) -> (u64, Vec<V>) {
        let slot = self.slots.get(&self.own);
        slot.map_or((0, Vec::new()), |slot| {
            (slot.version, slot.entries.values().flat_map(BTreeMap::values).cloned().collect())
        })
    }

    /// Takes what another owner says of itself and returns the keys whose lists changed.
    pub(super) fn install(&mut self, owner: u64, version: u64, entries: Entries<K, I, V>) -> BTreeSet<K> {
        let is_news = self.slots.get(&owner).is_none_or(|slot| slot.version < version);
        if owner == self.own || self.removed.contains(&owner) || !is_news {
            return BTreeSet::new();
        }
        let before = self.slots.remove(&owner).map(|slot| slot.entries).unwrap_or_default();
        let keys: BTreeSet<&K> = before.keys().chain(entries.keys()).collect();
        let ids = |entries: &Entries<K, I, V>, key| entries.get(key).map(|ids| ids.keys().cloned().collect::<Vec<I>>());
        let changed = keys.into_iter().filter(|key| ids(&before, *key) != ids(&entries, *key)).cloned().collect();
        self.slots.insert(owner, Slot { version, entries });
        changed
    }

    /// Forgets an owner for good and returns the keys whose lists changed.
    pub(super) fn remove_owner(&mut self, owner: u64) -> BTreeSet<K> {
        if owner == self.own {
            return BTreeSet::new();
        }
        self.unreachable.remove(&owner);
        if !self.removed.contains(&owner) {
            self.removed.push_back(owner);
            if self.removed.len() > REMOVED_MAX {
                self.removed.pop_front();
            }
        }
        let slot = self.slots.remove(&owner);
        slot.map(|slot| slot.entries.into_keys().collect()).unwrap_or_default()
    }

    /// Returns the keys whose lists changed.
    pub(super) fn set_reachable(&mut self, owner: u64, reachable: bool) -> BTreeSet<K> {
        if owner == self.own || self.removed.contains(&owner) {
            return BTreeSet::new();
        }
        let changed = if reachable { self.unreachable.remove(&owner) } else { self.unreachable.insert(owner) };
        let slot = self.slots.get(&owner).filter(|_| changed);
        slot.map(|slot| slot.entries.keys().cloned().collect()).unwrap_or_default()
    }

    /// Who is registered under `key`, by id: those of reachable owners, and all.
    pub(super) fn list(&self, key: &K) -> (Vec<V>, Vec<V>) {
        let mut found: BTreeMap<&I, (bool, &V)> = BTreeMap::new();
        for (owner, slot) in &self.slots {
            let reachable = !self.unreachable.contains(owner);
            let of_key = slot.entries.get(key).into_iter().flatten();
            found.extend(of_key.map(|(id, value)| (id, (reachable, value))));
        }
        let reachable = found.values().filter(|(reachable, _)| *reachable).map(|(_, value)| (*value).clone());
        (reachable.collect(), found.values().map(|(_, value)| (*value).clone()).collect())
    }
}

impl<K: Ord, I: Ord, V> Slot<K, I, V> {
    fn remove(&mut self, key: &K, id: &I) -> Option<V> {
        let ids = self.entries.get_mut(key)?;
        let value = ids.remove(id);
        if ids.is_empty() {
            self.entries.remove(key);
        }
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: u64 = 1;
    const PEER: u64 = 2;

    type Letters = Registry<char, u32, u32>;

    fn entries(of: &[(char, u32)]) -> Entries<char, u32, u32> {
        let mut entries: Entries<char, u32, u32> = BTreeMap::new();
        for &(key, id) in of {
            entries.entry(key).or_default().insert(id, id);
        }
        entries
    }

    fn keys(keys: &str) -> BTreeSet<char> {
        keys.chars().collect()
    }

    #[test]
    fn every_change_of_the_own_slot_and_nothing_else_raises_its_version() {
        let mut registry = Letters::new(OWN);
        assert!(registry.register(&'a', &7, 7));
        assert!(!registry.register(&'a', &7, 7));
        assert!(registry.register(&'b', &7, 7));
        assert_eq!(registry.own_values(), (2, vec![7, 7]));
        assert_eq!(registry.deregister(&'a', &8), None);
        assert_eq!(registry.deregister(&'a', &7), Some(7));
        assert!(registry.has_own(&7));
        registry.install(PEER, 9, entries(&[('a', 1)]));
        assert_eq!(registry.own_values(), (3, vec![7]));
        assert_eq!(registry.ended(&7), keys("b"));
        assert_eq!(registry.ended(&7), keys(""));
        assert!(!registry.has_own(&7));
        assert_eq!(registry.own_values(), (4, vec![]));
    }

    #[test]
    fn of_two_versions_the_higher_stands_in_whatever_order_they_come() {
        let (older, newer) = (entries(&[('a', 1), ('b', 2)]), entries(&[('b', 2), ('c', 3)]));
        let mut registry = Letters::new(OWN);
        assert_eq!(registry.install(PEER, 1, older.clone()), keys("ab"));
        assert_eq!(registry.install(PEER, 2, newer.clone()), keys("ac"));
        let mut swapped = Letters::new(OWN);
        assert_eq!(swapped.install(PEER, 2, newer.clone()), keys("bc"));
        assert_eq!(swapped.install(PEER, 1, older), keys(""));
        assert_eq!(swapped.install(PEER, 2, newer), keys(""));
        for key in ['a', 'b', 'c'] {
            assert_eq!(registry.list(&key), swapped.list(&key));
        }
    }

    #[test]
    fn nobody_else_writes_the_own_slot() {
        let mut registry = Letters::new(OWN);
        registry.register(&'a', &7, 7);
        assert_eq!(registry.install(OWN, 100, entries(&[])), keys(""));
        assert_eq!(registry.remove_owner(OWN), keys(""));
        assert_eq!(registry.set_reachable(OWN, false), keys(""));
        assert_eq!(registry.list(&'a'), (vec![7], vec![7]));
    }

    #[test]
    fn a_removed_owner_goes_with_all_it_has_and_does_not_come_back() {
        let mut registry = Letters::new(OWN);
        registry.register(&'a', &7, 7);
        registry.install(PEER, 1, entries(&[('a', 1), ('b', 2)]));
        assert_eq!(registry.remove_owner(PEER), keys("ab"));
        assert_eq!(registry.install(PEER, 2, entries(&[('a', 1)])), keys(""), "was on its way");
        assert_eq!(registry.list(&'a'), (vec![7], vec![7]));
        assert_eq!(registry.install(PEER + 1, 1, entries(&[('a', 1)])), keys("a"), "the next run of that node");
    }

    #[test]
    fn those_out_of_reach_are_in_the_full_list_alone() {
        let mut registry = Letters::new(OWN);
        registry.register(&'a', &7, 7);
        assert_eq!(registry.set_reachable(PEER, false), keys(""));
        registry.install(PEER, 1, entries(&[('a', 1), ('b', 2)]));
        assert_eq!(registry.list(&'a'), (vec![7], vec![1, 7]));
        assert_eq!(registry.set_reachable(PEER, true), keys("ab"));
        assert_eq!(registry.set_reachable(PEER, true), keys(""));
        assert_eq!(registry.list(&'a'), (vec![1, 7], vec![1, 7]));
    }
}
