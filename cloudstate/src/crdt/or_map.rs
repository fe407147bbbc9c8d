//! A map with nested values: an addition or an update beats a concurrent removal.

use std::borrow::Cow;
use std::collections::BTreeMap;

use super::codec::MAX_DEPTH;
use super::dot_map::DotMap;
use super::{Crdt, Dot, Element, Kind, KindMismatch, ReplicaId};

/// An observed-remove map with values of any kind.
///
/// An entry consists of *parts*, each under a dot: normally one for every replica that has written to it, with that replica's
/// share of the nested value (its slots of a counter, the elements it added) and what it knew to be removed or overwritten.
/// The entry's value is the parts merged. From this follows:
///
/// - Updating an entry puts the replica's part under a new dot. A removal takes away the dots it has seen, so a concurrent
///   update survives: the entry stays, with the updating replica's part alone.
/// - After a removal that saw everything a new entry of the same key starts empty, and no late delta of the old one comes
///   back into it. (That is why a part cannot just be merged into what is there: dots, also those inside nested sets and
///   maps, are drawn from one sequence per replica and map, and never used twice.)
/// - If replicas concurrently give a key values of different kinds, the kind of the part with the highest dot (number, then
///   replica) is the entry's kind for everybody, and parts of other kinds are not seen; the next update drops them.
///
/// The delta of an update holds the replica's whole part of that one entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrMap(pub(super) DotMap<Crdt>);

/// An entry could not be updated. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// The entry has a value of another kind: remove it first.
    #[error("map entry: {0}")]
    Kind(#[from] KindMismatch),
    /// Too many maps in each other.
    #[error("a map entry would be nested deeper than {MAX_DEPTH} levels; use fewer levels of maps")]
    TooDeep,
}

impl OrMap {
    /// Changes the entry of a key, which is created with an empty value of this kind if it is not there.
    ///
    /// `change` gets the entry's value, mutates it in the name of the same replica, and returns the mutator's delta (several
    /// merged into one, or an empty one to merely create the entry). An error of it leaves the map as it was.
    pub fn update<E: From<MapError>>(
        &mut self,
        replica: ReplicaId,
        key: &Element,
        kind: Kind,
        change: impl FnOnce(&mut Crdt) -> Result<Crdt, E>,
    ) -> Result<OrMap, E> {
        let mut whole = self.get(key).map_or_else(|| Crdt::new(kind), Cow::into_owned);
        if whole.kind() != kind {
            return Err(MapError::Kind(KindMismatch { expected: whole.kind(), found: kind }).into());
        }
        // A nested dot that a former entry of this key has used must not be used again.
        whole.raise(replica, self.0.context.highest(replica));
        let nested = change(&mut whole)?;
        whole.merge(&nested).map_err(MapError::Kind)?;
        let mut part = nested;
        for (dot, own) in self.0.entries.get(key).into_iter().flatten() {
            if dot.replica == replica && own.kind() == kind {
                part.join(own);
            }
        }
        part.learn_removals(&whole);
        if part.depth() >= MAX_DEPTH {
            return Err(MapError::TooDeep.into());
        }
        let above = whole.highest(replica);
        let supersede = |dot: &Dot, old: &Crdt| dot.replica == replica || old.kind() != kind;
        Ok(OrMap(self.0.put(replica, key.clone(), part, above, supersede)))
    }

    /// Removes an entry. The delta is empty if it is not there.
    pub fn remove(&mut self, key: &Element) -> OrMap {
        OrMap(self.0.remove(key))
    }

    /// Removes all entries.
    pub fn clear(&mut self) -> OrMap {
        OrMap(self.0.clear())
    }

    /// The value of an entry.
    pub fn get(&self, key: &Element) -> Option<Cow<'_, Crdt>> {
        self.0.entries.get(key).map(merged)
    }

    /// The entries, by ascending key.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = (&Element, Cow<'_, Crdt>)> {
        self.0.entries.iter().map(|(key, parts)| (key, merged(parts)))
    }

    /// The keys, ascending.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &Element> {
        self.0.entries.keys()
    }

    /// Whether there is an entry.
    pub fn contains_key(&self, key: &Element) -> bool {
        self.0.entries.contains_key(key)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.0.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.entries.is_empty()
    }

    /// Takes in what another copy knows.
    pub fn merge(&mut self, other: &OrMap) {
        self.0.merge(&other.0);
    }

    /// Parts may say of each other's elements that they are removed, in words that pruning takes away. So the parts of an
    /// entry that mentions the removed replica become one, of `into`.
    pub(super) fn prune(&mut self, removed: ReplicaId, into: ReplicaId) {
        let concerned: Vec<Element> = self
            .0
            .entries
            .iter()
            .filter(|(_, parts)| parts.iter().any(|(dot, part)| dot.replica == removed || part.mentions(removed)))
            .map(|(key, _)| key.clone())
            .collect();
        for key in concerned {
            let mut whole = merged(&self.0.entries[&key]).into_owned();
            whole.raise(into, self.0.context.highest(into));
            whole.prune(removed, into);
            let above = whole.highest(into);
            self.0.put(into, key, whole, above, |_, _| true);
        }
        self.0.context.forget(removed);
    }

    pub(super) fn forget(&mut self, removed: ReplicaId) {
        self.0.forget(removed);
    }

    pub(super) fn mentions(&self, replica: ReplicaId) -> bool {
        self.0.mentions(replica)
    }

    pub(super) fn depth(&self) -> usize {
        1 + self.0.entries.values().flat_map(BTreeMap::values).map(Crdt::depth).max().unwrap_or(0)
    }
}

/// The value of an entry: the parts of the winning kind in one.
fn merged(parts: &BTreeMap<Dot, Crdt>) -> Cow<'_, Crdt> {
    let (first, winner) = parts.iter().max_by_key(|(dot, _)| (dot.counter, dot.replica)).expect("an entry has a part");
    let mut value = Cow::Borrowed(winner);
    for (dot, part) in parts {
        if dot != first && part.kind() == winner.kind() {
            value.to_mut().join(part);
        }
    }
    value
}
