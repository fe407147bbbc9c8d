//! Counters: one number per replica, so that nobody overwrites another's share.

use std::collections::BTreeMap;

use super::ReplicaId;

/// A replica's share of a counter would not fit into 64 bits. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the counter cannot be changed by {amount}: this node's share is {share} and would exceed 64 bits")]
pub struct CounterOverflow {
    /// The replica's share before.
    pub share: u64,
    /// By how much it was to grow.
    pub amount: u64,
}

/// A counter that only grows. The value is the sum of the replicas' shares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GCounter {
    /// Without zeros.
    pub(super) shares: BTreeMap<ReplicaId, u64>,
}

impl GCounter {
    /// Adds to the replica's share. Amounts are unsigned: anything up to `u64::MAX`.
    pub fn increment(&mut self, replica: ReplicaId, amount: u64) -> Result<GCounter, CounterOverflow> {
        let share = self.shares.get(&replica).copied().unwrap_or(0);
        let grown = share.checked_add(amount).ok_or(CounterOverflow { share, amount })?;
        let mut delta = GCounter::default();
        if amount > 0 {
            self.shares.insert(replica, grown);
            delta.shares.insert(replica, grown);
        }
        Ok(delta)
    }

    /// The sum. Wider than a share, since several replicas may have counted far.
    pub fn value(&self) -> u128 {
        self.shares.values().map(|&share| u128::from(share)).sum()
    }

    /// Takes in what another copy knows: per replica the higher share.
    pub fn merge(&mut self, other: &GCounter) {
        merge_highest(&mut self.shares, &other.shares);
    }

    pub(super) fn prune(&mut self, removed: ReplicaId, into: ReplicaId) {
        let Some(&share) = self.shares.get(&removed) else { return };
        let target = self.shares.get(&into).copied().unwrap_or(0);
        if let Some(sum) = target.checked_add(share) {
            self.shares.remove(&removed);
            self.shares.insert(into, sum);
        }
    }

    pub(super) fn forget(&mut self, removed: ReplicaId) {
        self.shares.remove(&removed);
    }

    pub(super) fn mentions(&self, replica: ReplicaId) -> bool {
        self.shares.contains_key(&replica)
    }
}

/// A counter that goes both ways: what was added less what was taken away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PnCounter {
    pub(super) added: GCounter,
    pub(super) taken: GCounter,
}

impl PnCounter {
    /// Adds to, or takes away from, the counter in the name of the replica.
    pub fn change(&mut self, replica: ReplicaId, change: i64) -> Result<PnCounter, CounterOverflow> {
        let amount = change.unsigned_abs();
        Ok(if change >= 0 {
            PnCounter { added: self.added.increment(replica, amount)?, taken: GCounter::default() }
        } else {
            PnCounter { added: GCounter::default(), taken: self.taken.increment(replica, amount)? }
        })
    }

    /// The value. Wider than a change, since changes add up.
    pub fn value(&self) -> i128 {
        // Each sum is below 2^64 times the number of replicas, far from the end of an i128.
        self.added.value() as i128 - self.taken.value() as i128
    }

    /// Takes in what another copy knows.
    pub fn merge(&mut self, other: &PnCounter) {
        self.added.merge(&other.added);
        self.taken.merge(&other.taken);
    }

    pub(super) fn prune(&mut self, removed: ReplicaId, into: ReplicaId) {
        self.added.prune(removed, into);
        self.taken.prune(removed, into);
    }

    pub(super) fn forget(&mut self, removed: ReplicaId) {
        self.added.forget(removed);
        self.taken.forget(removed);
    }

    pub(super) fn mentions(&self, replica: ReplicaId) -> bool {
        self.added.mentions(replica) || self.taken.mentions(replica)
    }
}

/// Per replica the higher number.
pub(super) fn merge_highest(mine: &mut BTreeMap<ReplicaId, u64>, theirs: &BTreeMap<ReplicaId, u64>) {
    for (replica, &theirs) in theirs {
        let mine = mine.entry(*replica).or_insert(theirs);
        *mine = theirs.max(*mine);
    }
}
