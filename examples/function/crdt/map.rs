//! A map of replicated values.

use std::collections::{BTreeMap, BTreeSet};

use proto::Any;
use proto::cloudstate::crdt::crdt_delta::Delta;
use proto::cloudstate::crdt::{CrdtDelta, OrMapDelta, OrMapEntryDelta};

use super::super::Refused;
use super::data::Data;
use super::element::Element;

/// A map whose values are replicated too; its entries come and go like the elements of an [`ORSet`](super::ORSet).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ORMap {
    entries: BTreeMap<Element, Data>,
    cleared: bool,
    removed: BTreeSet<Element>,
    added: BTreeSet<Element>,
}

impl ORMap {
    /// Its entries, in the order of their keys' bytes.
    pub fn iter(&self) -> impl Iterator<Item = (Any, &Data)> {
        self.entries.iter().map(|(key, value)| (Any::from(key), value))
    }

    /// The value at `key`, to be changed; one made by `new` if there is none.
    ///
    /// # Errors
    ///
    /// When `new` has one.
    pub fn entry(&mut self, key: Any, new: impl FnOnce() -> Result<Data, Refused>) -> Result<&mut Data, Refused> {
        use std::collections::btree_map::Entry;
        match self.entries.entry(key.into()) {
            Entry::Occupied(entry) => Ok(entry.into_mut()),
            Entry::Vacant(entry) => {
                let value = new()?;
                self.added.insert(entry.key().clone());
                Ok(entry.insert(value))
            }
        }
    }

    /// Removes the entry at `key` if there is one.
    pub fn remove(&mut self, key: Any) {
        let key = Element::from(key);
        // An entry added a moment ago nobody else knows of. One that replaced another stays in `removed` for that one.
        if self.entries.remove(&key).is_some() && !self.added.remove(&key) {
            self.removed.insert(key);
        }
    }

    /// Removes all entries that are there.
    pub fn clear(&mut self) {
        if !self.entries.is_empty() {
            self.entries.clear();
            self.removed.clear();
            self.added.clear();
            self.cleared = true;
        }
    }

    pub(super) fn apply(&mut self, delta: OrMapDelta) -> Result<(), Refused> {
        if delta.cleared {
            self.entries.clear();
        }
        for key in delta.removed {
            self.entries.remove(&key.into());
        }
        for (key, change) in keyed(delta.updated) {
            if let Some(value) = self.entries.get_mut(&key) {
                value.apply(change)?;
            }
        }
        for (key, state) in keyed(delta.added) {
            self.entries.insert(key, Data::received(state)?);
        }
        Ok(())
    }

    pub(super) fn changes(&self) -> Option<Delta> {
        let (mut added, mut updated) = (Vec::new(), Vec::new());
        for (key, value) in &self.entries {
            if self.added.contains(key) {
                added.push(entry(key, value.state()));
            } else if let Some(changes) = value.changes() {
                updated.push(entry(key, changes));
            }
        }
        let removed: Vec<_> = self.removed.iter().map(Any::from).collect();
        let changed = self.cleared || !(removed.is_empty() && updated.is_empty() && added.is_empty());
        changed.then_some(Delta::Ormap(OrMapDelta { cleared: self.cleared, removed, updated, added }))
    }

    pub(super) fn state(&self) -> Delta {
        let added = self.entries.iter().map(|(key, value)| entry(key, value.state())).collect();
        Delta::Ormap(OrMapDelta { added, ..OrMapDelta::default() })
    }

    pub(super) fn settle(&mut self) {
        self.cleared = false;
        self.removed.clear();
        self.added.clear();
        self.entries.values_mut().for_each(Data::settle);
    }
}

fn entry(key: &Element, delta: CrdtDelta) -> OrMapEntryDelta {
    OrMapEntryDelta { key: Some(key.into()), delta: Some(delta) }
}

fn keyed(entries: Vec<OrMapEntryDelta>) -> impl Iterator<Item = (Element, CrdtDelta)> {
    entries.into_iter().map(|entry| (entry.key.unwrap_or_default().into(), entry.delta.unwrap_or_default()))
}
