//! A set that only grows.

use std::collections::BTreeSet;

use super::{Element, ReplicaId};

/// A set to which elements can only be added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GSet {
    pub(super) elements: BTreeSet<Element>,
}

impl GSet {
    /// Adds an element. The delta is empty if it was there.
    pub fn add(&mut self, element: Element) -> GSet {
        let mut delta = GSet::default();
        if self.elements.insert(element.clone()) {
            delta.elements.insert(element);
        }
        delta
    }

    /// The elements, ascending.
    pub fn elements(&self) -> impl ExactSizeIterator<Item = &Element> {
        self.elements.iter()
    }

    /// Whether the element is there.
    pub fn contains(&self, element: &Element) -> bool {
        self.elements.contains(element)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.elements.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.elements.is_empty()
    }

    /// Takes in what another copy knows.
    pub fn merge(&mut self, other: &GSet) {
        for element in &other.elements {
            if !self.elements.contains(element) {
                self.elements.insert(element.clone());
            }
        }
    }

    pub(super) fn prune(&mut self, _removed: ReplicaId, _into: ReplicaId) {}

    pub(super) fn forget(&mut self, _removed: ReplicaId) {}

    pub(super) fn mentions(&self, _replica: ReplicaId) -> bool {
        false
    }
}
