//! A flag that is enabled once and for all.

use super::ReplicaId;

/// Off at first; on for ever once any replica has enabled it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flag {
    pub(super) enabled: bool,
}

impl Flag {
    /// Switches it on. There is no way back.
    pub fn enable(&mut self) -> Flag {
        self.enabled = true;
        *self
    }

    /// Whether it is on.
    pub fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Takes in what another copy knows.
    pub fn merge(&mut self, other: &Flag) {
        self.enabled |= other.enabled;
    }

    pub(super) fn prune(&mut self, _removed: ReplicaId, _into: ReplicaId) {}

    pub(super) fn forget(&mut self, _removed: ReplicaId) {}

    pub(super) fn mentions(&self, _replica: ReplicaId) -> bool {
        false
    }
}
