//! A set with removal: an addition beats a concurrent removal.

use super::dot_map::DotMap;
use super::{Element, ReplicaId};

/// An observed-remove set. A removal takes away the additions that the removing replica has seen, no others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrSet(pub(super) DotMap<()>);

impl OrSet {
    /// Adds an element. One that is there is added anew: it survives a removal that does not know this addition.
    pub fn add(&mut self, replica: ReplicaId, element: Element) -> OrSet {
        OrSet(self.0.put(replica, element, (), 0, |_, ()| true))
    }

    /// Removes an element. The delta is empty if it is not there.
    pub fn remove(&mut self, element: &Element) -> OrSet {
        OrSet(self.0.remove(element))
    }

    /// Removes all elements.
    pub fn clear(&mut self) -> OrSet {
        OrSet(self.0.clear())
    }

    /// The elements, ascending.
    pub fn elements(&self) -> impl ExactSizeIterator<Item = &Element> {
        self.0.entries.keys()
    }

    /// Whether the element is there.
    pub fn contains(&self, element: &Element) -> bool {
        self.0.entries.contains_key(element)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.entries.is_empty()
    }

    /// Takes in what another copy knows.
    pub fn merge(&mut self, other: &OrSet) {
        self.0.merge(&other.0);
    }

    pub(super) fn prune(&mut self, removed: ReplicaId, into: ReplicaId) {
        let held: Vec<Element> = self
            .0
            .entries
            .iter()
            .filter(|(_, dots)| dots.keys().any(|dot| dot.replica == removed))
            .map(|(element, _)| element.clone())
            .collect();
        for element in held {
            self.0.put(into, element, (), 0, |dot, ()| dot.replica == removed);
        }
        self.0.context.forget(removed);
    }

    pub(super) fn forget(&mut self, removed: ReplicaId) {
        self.0.forget(removed);
    }

    pub(super) fn mentions(&self, replica: ReplicaId) -> bool {
        self.0.mentions(replica)
    }
}
