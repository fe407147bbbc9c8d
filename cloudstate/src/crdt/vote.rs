//! A vote: every replica says yes or no and may change its mind.

use std::collections::{BTreeMap, BTreeSet};

use super::ReplicaId;
use super::counter::merge_highest;

/// A vote of the replicas. Each counts how often it changed its mind: odd is yes. Who has not voted says no.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vote {
    /// Without zeros.
    pub(super) turns: BTreeMap<ReplicaId, u64>,
}

/// The outcome of a [`Vote`] among the members at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// How many members say yes.
    pub votes_for: usize,
    /// How many members there are.
    pub total_voters: usize,
    /// What the replica that asks says.
    pub self_vote: bool,
}

impl Vote {
    /// Sets the replica's vote. The delta is empty if that was its vote already.
    pub fn vote(&mut self, replica: ReplicaId, yes: bool) -> Vote {
        let mut delta = Vote::default();
        if self.of(replica) != yes {
            let turns = self.turns.entry(replica).or_insert(0);
            *turns += 1;
            delta.turns.insert(replica, *turns);
        }
        delta
    }

    /// What a replica says.
    pub fn of(&self, replica: ReplicaId) -> bool {
        self.turns.get(&replica).is_some_and(|turns| turns % 2 == 1)
    }

    /// Counts the votes of the current members; others' do not count.
    pub fn tally(&self, own: ReplicaId, members: &BTreeSet<ReplicaId>) -> Tally {
        Tally {
            votes_for: members.iter().filter(|member| self.of(**member)).count(),
            total_voters: members.len(),
            self_vote: self.of(own),
        }
    }

    /// Takes in what another copy knows: per replica its later vote.
    pub fn merge(&mut self, other: &Vote) {
        merge_highest(&mut self.turns, &other.turns);
    }

    pub(super) fn prune(&mut self, removed: ReplicaId, _into: ReplicaId) {
        self.forget(removed);
    }

    pub(super) fn forget(&mut self, removed: ReplicaId) {
        self.turns.remove(&removed);
    }

    pub(super) fn mentions(&self, replica: ReplicaId) -> bool {
        self.turns.contains_key(&replica)
    }
}
