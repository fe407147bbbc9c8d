//! Counters.

use proto::cloudstate::crdt::crdt_delta::Delta;
use proto::cloudstate::crdt::{GCounterDelta, PnCounterDelta};

/// A counter that only grows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GCounter {
    value: u64,
    added: u64,
}

impl GCounter {
    /// What all nodes have counted, as far as is known here.
    pub fn value(&self) -> u64 {
        self.value
    }

    /// Counts `by` more.
    pub fn increment(&mut self, by: u64) {
        self.value = self.value.saturating_add(by);
        self.added = self.added.saturating_add(by);
    }

    pub(super) fn apply(&mut self, delta: &GCounterDelta) {
        self.value = self.value.saturating_add(delta.increment);
    }

    pub(super) fn changes(&self) -> Option<Delta> {
        (self.added != 0).then_some(Delta::Gcounter(GCounterDelta { increment: self.added }))
    }

    pub(super) fn state(&self) -> Delta {
        Delta::Gcounter(GCounterDelta { increment: self.value })
    }

    pub(super) fn settle(&mut self) {
        self.added = 0;
    }
}

/// A counter that goes up and down.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PNCounter {
    value: i64,
    changed: i64,
}

impl PNCounter {
    /// The balance of all nodes, as far as is known here.
    pub fn value(&self) -> i64 {
        self.value
    }

    /// Adds `by`, which may be negative.
    pub fn change(&mut self, by: i64) {
        self.value = self.value.saturating_add(by);
        self.changed = self.changed.saturating_add(by);
    }

    pub(super) fn apply(&mut self, delta: &PnCounterDelta) {
        self.value = self.value.saturating_add(delta.change);
    }

    pub(super) fn changes(&self) -> Option<Delta> {
        (self.changed != 0).then_some(Delta::Pncounter(PnCounterDelta { change: self.changed }))
    }

    pub(super) fn state(&self) -> Delta {
        Delta::Pncounter(PnCounterDelta { change: self.value })
    }

    pub(super) fn settle(&mut self) {
        self.changed = 0;
    }
}
