//! What the set and the map have in common: keys that stand on dots.

use std::collections::BTreeMap;

use super::{CausalContext, Crdt, Dot, Element, ReplicaId};

/// What is kept under a dot: nothing for a set, a nested value for a map.
pub(super) trait Payload: Clone + PartialEq {
    fn join(&mut self, other: &Self);
    fn forget(&mut self, removed: ReplicaId);
    fn mentions(&self, replica: ReplicaId) -> bool;
}

impl Payload for () {
    fn join(&mut self, (): &Self) {}

    fn forget(&mut self, _removed: ReplicaId) {}

    fn mentions(&self, _replica: ReplicaId) -> bool {
        false
    }
}

impl Payload for Crdt {
    fn join(&mut self, other: &Self) {
        if self != other {
            Crdt::join(self, other);
        }
    }

    fn forget(&mut self, removed: ReplicaId) {
        Crdt::forget(self, removed);
    }

    fn mentions(&self, replica: ReplicaId) -> bool {
        Crdt::mentions(self, replica)
    }
}

/// Keys with the dots that hold them there. A key without dots is absent; a dot that is in the context and under no key was
/// removed. All dots under keys are in the context, each under one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DotMap<V> {
    pub(super) entries: BTreeMap<Element, BTreeMap<Dot, V>>,
    pub(super) context: CausalContext,
}

impl<V> Default for DotMap<V> {
    fn default() -> Self {
        Self { entries: BTreeMap::new(), context: CausalContext::default() }
    }
}

impl<V: Payload> DotMap<V> {
    /// Puts the value under a new dot of the replica, with a number greater than `above`, in place of those dots of the key
    /// that `supersede` names. Gives the delta.
    pub(super) fn put(
        &mut self,
        replica: ReplicaId,
        key: Element,
        value: V,
        above: u64,
        supersede: impl Fn(&Dot, &V) -> bool,
    ) -> DotMap<V> {
        let highest = self.context.highest(replica);
        let dot = Dot { replica, counter: highest.max(above) + 1 };
        let mut delta = DotMap::default();
        // Numbers that were skipped are seen, too: nothing will ever be under them, and the context stays one range.
        delta.context.insert_range(replica, highest + 1, dot.counter);
        let dots = self.entries.entry(key.clone()).or_default();
        dots.retain(|old, value| {
            let gone = supersede(old, value);
            if gone {
                delta.context.insert(*old);
            }
            !gone
        });
        dots.insert(dot, value.clone());
        delta.entries.insert(key, BTreeMap::from([(dot, value)]));
        self.context.union(&delta.context);
        delta
    }

    /// Removes what was observed of the key. The delta is empty if that is nothing.
    pub(super) fn remove(&mut self, key: &Element) -> DotMap<V> {
        let mut delta = DotMap::default();
        for dot in self.entries.remove(key).unwrap_or_default().into_keys() {
            delta.context.insert(dot);
        }
        delta
    }

    /// Removes everything that was observed.
    pub(super) fn clear(&mut self) -> DotMap<V> {
        self.entries.clear();
        self.clone()
    }

    pub(super) fn merge(&mut self, other: &DotMap<V>) {
        self.entries.retain(|key, dots| {
            let theirs = other.entries.get(key);
            dots.retain(|dot, value| match theirs.and_then(|theirs| theirs.get(dot)) {
                Some(theirs) => {
                    value.join(theirs);
                    true
                }
                None => !other.context.contains(dot),
            });
            !dots.is_empty()
        });
        for (key, dots) in &other.entries {
            for (dot, value) in dots {
                // One that was seen is either there, and joined above, or was removed.
                if !self.context.contains(dot) {
                    self.entries.entry(key.clone()).or_default().insert(*dot, value.clone());
                }
            }
        }
        self.context.union(&other.context);
    }

    /// Takes over from a fuller copy what was removed there.
    pub(super) fn learn_removals(&mut self, whole: &DotMap<V>) {
        let mut removed = whole.context.clone();
        for dot in whole.entries.values().flat_map(BTreeMap::keys) {
            removed.remove(dot);
        }
        self.merge(&DotMap { entries: BTreeMap::new(), context: removed });
    }

    pub(super) fn forget(&mut self, removed: ReplicaId) {
        self.entries.retain(|_, dots| {
            dots.retain(|dot, value| {
                value.forget(removed);
                dot.replica != removed
            });
            !dots.is_empty()
        });
        self.context.forget(removed);
    }

    pub(super) fn mentions(&self, replica: ReplicaId) -> bool {
        self.context.mentions(replica)
            || self.entries.values().flat_map(BTreeMap::values).any(|value| value.mentions(replica))
    }
}
