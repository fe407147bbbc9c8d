//! [`Ledger`]: epochs and highest sequence numbers of the in-memory stores, apart from what they store.

use super::Append;
use crate::{AppendError, Fence, FenceScope, PersistenceId, fencing::Epochs};
use std::{collections::HashMap, ops::Range, sync::Arc};

/// Decides whether a write may happen. Journal and snapshot stores in memory share one.
#[derive(Default)]
pub(crate) struct Ledger {
    shards: HashMap<FenceScope, ShardEpochs>,
    entities: HashMap<PersistenceId, Entry>,
}

#[derive(Clone, Copy, Default)]
struct ShardEpochs {
    claimed: u64,
    entity_max: u64, // the highest epoch any entity of the shard was claimed with
}

#[derive(Clone, Copy, Default)]
struct Entry {
    epoch: u64,
    highest: u64,
}

impl Ledger {
    pub(crate) fn claim(&mut self, scope: FenceScope) -> Fence {
        let epoch = match &scope {
            FenceScope::Shard { .. } => {
                let shard = self.shards.entry(scope.clone()).or_default();
                shard.claimed = shard.claimed.max(shard.entity_max) + 1;
                shard.claimed
            }
            FenceScope::Entity(id) => {
                let shard = self.shards.entry(FenceScope::shard_of(id)).or_default();
                let entity = self.entities.entry(id.clone()).or_default();
                entity.epoch = entity.epoch.max(shard.claimed) + 1;
                shard.entity_max = shard.entity_max.max(entity.epoch);
                entity.epoch
            }
        };
        Fence { scope, epoch }
    }

    pub(crate) fn claim_all(&mut self, entity_type: &Arc<str>, shards: Range<u16>) -> Vec<Fence> {
        let scope = |shard| FenceScope::Shard { entity_type: Arc::clone(entity_type), shard };
        shards.map(|shard| self.claim(scope(shard))).collect()
    }

    pub(crate) fn check(&self, id: &PersistenceId, fence: &Fence) -> Result<(), AppendError> {
        if !fence.covers(id) {
            return Err(not_covered(id, fence));
        }
        let epochs = Epochs {
            entity: self.entities.get(id).map_or(0, |entry| entry.epoch),
            shard: self.shards.get(&FenceScope::shard_of(id)).map_or(0, |shard| shard.claimed),
        };
        epochs.check(fence).map_err(|current| AppendError::Stale { held: fence.epoch, current })
    }

    /// The highest sequence number once `append` is stored.
    pub(crate) fn check_sequence<E>(&self, append: &Append<E>) -> Result<u64, AppendError> {
        let highest = self.highest(&append.id);
        check_batch(append)?;
        if append.expected_seq != highest + 1 {
            return Err(AppendError::Conflict { expected: append.expected_seq, highest });
        }
        Ok(append.last_seq())
    }

    pub(crate) fn check_snapshot(&self, id: &PersistenceId, seq_nr: u64) -> Result<(), AppendError> {
        let highest = self.highest(id);
        if seq_nr > highest { Err(snapshot_ahead(seq_nr, highest)) } else { Ok(()) }
    }

    pub(crate) fn set_highest(&mut self, id: &PersistenceId, highest: u64) {
        self.entities.entry(id.clone()).or_default().highest = highest;
    }

    /// Those with an event, in no order.
    pub(crate) fn written(&self) -> Vec<PersistenceId> {
        let written = self.entities.iter().filter(|(_, entry)| entry.highest > 0);
        written.map(|(id, _)| id.clone()).collect()
    }

    pub(crate) fn highest(&self, id: &PersistenceId) -> u64 {
        self.entities.get(id).map_or(0, |entry| entry.highest)
    }
}

pub(crate) fn not_covered(id: &PersistenceId, fence: &Fence) -> AppendError {
    AppendError::Rejected { reason: format!("the fence for {:?} does not cover {id}", fence.scope) }
}

/// Refuses what no store can make sense of.
pub(crate) fn check_batch<E>(append: &Append<E>) -> Result<(), AppendError> {
    let (events, tags) = (append.events.len(), append.tags.len());
    if events == 0 {
        return Err(AppendError::Rejected { reason: "a batch needs at least one event".into() });
    }
    if tags != 0 && tags != events {
        let reason = format!("tags for {tags} events in a batch of {events}: give each event its own, or none at all");
        return Err(AppendError::Rejected { reason });
    }
    Ok(())
}

pub(crate) fn snapshot_ahead(seq_nr: u64, highest: u64) -> AppendError {
    AppendError::Rejected {
        reason: format!("snapshot of sequence number {seq_nr}, but the highest stored event is {highest}"),
    }
}
