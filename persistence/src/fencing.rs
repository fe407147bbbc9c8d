//! Writer epochs: who claims last is the only one whose writes are taken.
//!
//! A claim comes *before* reading ("fence, then read"): after it no older writer can change what was read.

use crate::PersistenceId;
use std::sync::Arc;

/// The right to write within `scope`, obtained by [`Journal::claim`](crate::Journal::claim).
///
/// Cheap to clone. Loses its force with the next claim that touches the same entities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// What may be written.
    pub scope: FenceScope,
    /// Grows with each claim on the scope, from 1.
    pub epoch: u64,
}

/// What one claim covers.
///
/// Scopes overlap: an entity belongs to exactly one shard. Whoever claimed later, by either scope, wins.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum FenceScope {
    /// One entity.
    Entity(PersistenceId),
    /// All entities of a type whose [`slice`](PersistenceId::slice) is `shard`.
    Shard {
        /// Type of the entities, as in their ids.
        entity_type: Arc<str>,
        /// `0..SLICES`.
        shard: u16,
    },
}

impl Fence {
    /// Whether this fence speaks of `id` at all.
    #[must_use]
    pub fn covers(&self, id: &PersistenceId) -> bool {
        match &self.scope {
            FenceScope::Entity(own) => own == id,
            FenceScope::Shard { entity_type, shard } => **entity_type == *id.entity_type() && *shard == id.slice(),
        }
    }
}

impl FenceScope {
    /// The shard scope that covers `id`.
    #[must_use]
    pub fn shard_of(id: &PersistenceId) -> Self {
        Self::Shard { entity_type: id.entity_type().into(), shard: id.slice() }
    }
}

/// Epochs stored for one entity and for its shard, and whether a writer may still write: the one rule all stores share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Epochs {
    pub(crate) entity: u64,
    pub(crate) shard: u64,
}

impl Epochs {
    /// `Err(current)` when somebody claimed after `fence` was granted.
    pub(crate) fn check(self, fence: &Fence) -> Result<(), u64> {
        let own = match fence.scope {
            FenceScope::Entity(_) => self.entity,
            FenceScope::Shard { .. } => self.shard,
        };
        // The own row must match exactly: a fence never granted by this store (higher, or 0) is refused as well.
        if fence.epoch > 0 && own == fence.epoch && self.current() == fence.epoch {
            Ok(())
        } else {
            Err(self.current())
        }
    }

    /// The epoch a write must carry now.
    pub(crate) fn current(self) -> u64 {
        self.entity.max(self.shard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entity(epoch: u64) -> Fence {
        Fence { scope: FenceScope::Entity(PersistenceId::of("w", "1")), epoch }
    }

    fn shard(epoch: u64) -> Fence {
        Fence { scope: FenceScope::shard_of(&PersistenceId::of("w", "1")), epoch }
    }

    #[test]
    fn the_later_claim_wins_whatever_its_scope() {
        let entity_last = Epochs { entity: 3, shard: 2 };
        assert_eq!(entity_last.check(&entity(3)), Ok(()));
        assert_eq!(entity_last.check(&shard(2)), Err(3));

        let shard_last = Epochs { entity: 3, shard: 4 };
        assert_eq!(shard_last.check(&shard(4)), Ok(()));
        assert_eq!(shard_last.check(&entity(3)), Err(4));
    }

    #[test]
    fn an_epoch_this_store_never_granted_is_refused() {
        assert_eq!(Epochs { entity: 3, shard: 0 }.check(&entity(9)), Err(3));
        assert_eq!(Epochs { entity: 3, shard: 0 }.check(&shard(3)), Err(3));
        assert_eq!(Epochs::default().check(&entity(0)), Err(0), "epochs are granted from 1 on");
    }

    #[test]
    fn a_fence_covers_its_own_entities_only() {
        let other = PersistenceId::of("w", "2");
        assert!(entity(1).covers(&PersistenceId::of("w", "1")) && shard(1).covers(&PersistenceId::of("w", "1")));
        assert!(!entity(1).covers(&other));
        assert!(!shard(1).covers(&PersistenceId::of("v", "1")));
    }
}
