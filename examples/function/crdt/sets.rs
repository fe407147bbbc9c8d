//! Sets.

use std::collections::BTreeSet;

use proto::Any;
use proto::cloudstate::crdt::crdt_delta::Delta;
use proto::cloudstate::crdt::{GSetDelta, OrSetDelta};

use super::element::Element;

/// A set that only grows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GSet {
    elements: BTreeSet<Element>,
    added: BTreeSet<Element>,
}

impl GSet {
    /// Its elements, in the order of their bytes.
    pub fn iter(&self) -> impl Iterator<Item = Any> {
        self.elements.iter().map(Any::from)
    }

    /// Adds `element` if it is not there.
    pub fn add(&mut self, element: Any) {
        let element = Element::from(element);
        if self.elements.insert(element.clone()) {
            self.added.insert(element);
        }
    }

    pub(super) fn apply(&mut self, delta: GSetDelta) {
        self.elements.extend(delta.added.into_iter().map(Element::from));
    }

    pub(super) fn changes(&self) -> Option<Delta> {
        (!self.added.is_empty()).then(|| Delta::Gset(GSetDelta { added: anys(&self.added) }))
    }

    pub(super) fn state(&self) -> Delta {
        Delta::Gset(GSetDelta { added: anys(&self.elements) })
    }

    pub(super) fn settle(&mut self) {
        self.added.clear();
    }
}

/// A set whose elements can be removed; where one node removes what another adds, it stays.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ORSet {
    elements: BTreeSet<Element>,
    cleared: bool,
    removed: BTreeSet<Element>,
    added: BTreeSet<Element>,
}

impl ORSet {
    /// Its elements, in the order of their bytes.
    pub fn iter(&self) -> impl Iterator<Item = Any> {
        self.elements.iter().map(Any::from)
    }

    /// Adds `element` if it is not there.
    pub fn add(&mut self, element: Any) {
        let element = Element::from(element);
        // What was removed a moment ago is still there for everybody else: then nothing has happened.
        if self.elements.insert(element.clone()) && !self.removed.remove(&element) {
            self.added.insert(element);
        }
    }

    /// Removes `element` if it is there.
    pub fn remove(&mut self, element: Any) {
        let element = Element::from(element);
        // What was added a moment ago nobody else knows of: then nothing has happened.
        if self.elements.remove(&element) && !self.added.remove(&element) {
            self.removed.insert(element);
        }
    }

    /// Removes everything that is there.
    pub fn clear(&mut self) {
        if !self.elements.is_empty() {
            self.elements.clear();
            self.removed.clear();
            self.added.clear();
            self.cleared = true;
        }
    }

    pub(super) fn apply(&mut self, delta: OrSetDelta) {
        if delta.cleared {
            self.elements.clear();
        }
        for element in delta.removed {
            self.elements.remove(&element.into());
        }
        self.elements.extend(delta.added.into_iter().map(Element::from));
    }

    pub(super) fn changes(&self) -> Option<Delta> {
        (self.cleared || !self.removed.is_empty() || !self.added.is_empty()).then(|| {
            Delta::Orset(OrSetDelta { cleared: self.cleared, removed: anys(&self.removed), added: anys(&self.added) })
        })
    }

    pub(super) fn state(&self) -> Delta {
        Delta::Orset(OrSetDelta { added: anys(&self.elements), ..OrSetDelta::default() })
    }

    pub(super) fn settle(&mut self) {
        self.cleared = false;
        self.removed.clear();
        self.added.clear();
    }
}

fn anys(elements: &BTreeSet<Element>) -> Vec<Any> {
    elements.iter().map(Any::from).collect()
}
