//! [`Known`]: what a writer need not look up again. Pure.
//!
//! Who wrote an entity's last event under a fence that still holds knows its number: every claim that touches the entity, of
//! itself or of its shard, changes the shard's row, and a writer locks that row before it writes. So a write goes without a
//! look at the entity and its journal if the shard's epochs are those that were seen under the lock of the last one.
//! Whatever else happens, such as a connection that was lost or a write that failed, what was known is forgotten.

use crate::{Append, Fence, FenceScope, PersistenceId, RawEvent};
use std::collections::HashMap;

/// Entities noted before the older half of what is known is forgotten: some megabytes.
const YOUNG_MAX: usize = 32_768;

/// The epochs in a shard's row, all of which grow with each claim of the shard or of an entity of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ShardEpochs {
    pub(crate) shard: i64,
    pub(crate) entity_max: i64,
}

/// The last events of the entities written last.
#[derive(Debug, Default)]
pub(crate) struct Known {
    young: HashMap<PersistenceId, Last>,
    old: HashMap<PersistenceId, Last>,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    seq_nr: u64,
    epoch: u64,
    of_shard: bool,
    shard: ShardEpochs,
}

impl Known {
    /// What the shard's epochs must be for `append` to be the next after what is there; `None` when that is not known.
    pub(crate) fn expects(&self, append: &Append<RawEvent>) -> Option<ShardEpochs> {
        let last = self.young.get(&append.id).or_else(|| self.old.get(&append.id))?;
        let is_next = append.expected_seq == last.seq_nr.saturating_add(1);
        let is_same = append.fence.epoch == last.epoch && is_of_shard(&append.fence) == last.of_shard;
        (is_next && is_same && append.fence.covers(&append.id)).then_some(last.shard)
    }

    /// `append` is stored, and the epochs were these under the lock it was written with.
    pub(crate) fn wrote(&mut self, append: &Append<RawEvent>, shard: ShardEpochs) {
        let last =
            Last { seq_nr: append.last_seq(), epoch: append.fence.epoch, of_shard: is_of_shard(&append.fence), shard };
        if let Some(known) = self.young.get_mut(&append.id) {
            *known = last;
            return;
        }
        if self.young.len() >= YOUNG_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(append.id.clone(), last);
    }

    /// Something else may be true of it now.
    pub(crate) fn forget(&mut self, id: &PersistenceId) {
        self.young.remove(id);
        self.old.remove(id);
    }

    /// Something else may be true of all.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

fn is_of_shard(fence: &Fence) -> bool {
    matches!(fence.scope, FenceScope::Shard { .. })
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCHS: ShardEpochs = ShardEpochs { shard: 2, entity_max: 5 };

    fn append(entity: &str, expected_seq: u64, epoch: u64) -> Append<RawEvent> {
        let id = PersistenceId::of("p", entity);
        let fence = Fence { scope: FenceScope::Entity(id.clone()), epoch };
        let events = vec![RawEvent { manifest: "m".into(), payload: "x".into(), meta: None }; 2];
        Append { id, expected_seq, fence, batch_id: 1, events, tags: Vec::new(), time_ms: 0 }
    }

    #[test]
    fn only_the_very_next_write_under_the_same_fence_goes_without_a_look() {
        let mut known = Known::default();
        assert_eq!(known.expects(&append("a", 1, 5)), None);
        known.wrote(&append("a", 1, 5), EPOCHS);
        assert_eq!(known.expects(&append("a", 3, 5)), Some(EPOCHS));
        for (expected_seq, epoch) in [(1, 5), (2, 5), (4, 5), (3, 4), (3, 6)] {
            assert_eq!(known.expects(&append("a", expected_seq, epoch)), None, "{expected_seq} under {epoch}");
        }
        let of_shard = Append {
            fence: Fence { scope: FenceScope::shard_of(&append("a", 3, 5).id), epoch: 5 },
            ..append("a", 3, 5)
        };
        assert_eq!(known.expects(&of_shard), None);
        let of_other = Append { fence: append("b", 3, 5).fence, ..append("a", 3, 5) };
        assert_eq!(known.expects(&of_other), None);
        known.forget(&append("a", 3, 5).id);
        assert_eq!(known.expects(&append("a", 3, 5)), None);
    }

    #[test]
    fn who_writes_stays_known_and_what_is_known_is_bounded() {
        let mut known = Known::default();
        for n in 0..5 * YOUNG_MAX as u64 {
            known.wrote(&append(&format!("once {n}"), 1, 5), EPOCHS);
            if n.is_multiple_of(1_000) {
                let busy = append("busy", 1 + 2 * (n / 1_000), 5);
                assert!(n == 0 || known.expects(&busy).is_some(), "{n}");
                known.wrote(&busy, EPOCHS);
            }
        }
        assert!(known.young.len() + known.old.len() <= 2 * YOUNG_MAX);
        assert_eq!(known.expects(&append("once 0", 3, 5)), None);
        known.clear();
        assert_eq!(known.young.len() + known.old.len(), 0);
    }
}
