//! Events of entities whose last ones are known, as columns: what
//! [`APPEND_KNOWN`](super::statements::APPEND_KNOWN) and [`APPEND_ONE`](super::statements::APPEND_ONE) take.

use super::{
    columns::{BatchId, array_literal, checksum, clamped},
    known::ShardEpochs,
    session::Parameter,
};
use crate::{Append, RawEvent};
use std::collections::HashMap;

/// A shard: entity type and number.
type Shard<'a> = (&'a str, i32);

/// Events, and the shards they are of, in the order they came in. Columns that nothing is in stay empty.
#[derive(Default)]
pub(crate) struct KnownAppends<'a> {
    places: HashMap<Shard<'a>, usize>,
    shards: Vec<(Shard<'a>, ShardEpochs)>,
    event_places: Vec<usize>,
    ids: Vec<&'a str>,
    seq_nrs: Vec<i64>,
    types: Vec<&'a str>,
    epochs: Vec<i64>,
    epochs_of_shards: bool, // that is, all of them
    batch_ids: Vec<Option<BatchId>>,
    time_ms: Vec<i64>,
    manifests: Vec<&'a str>,
    payloads: Vec<&'a [u8]>,
    metas: Vec<Option<&'a [u8]>>,
    crcs: Vec<i64>,
    tags: Vec<Option<String>>,
}

/// The shards of [`KnownAppends`], in the order in which everybody locks them.
pub(crate) struct ShardsInOrder<'a> {
    slots: Vec<i32>,     // of each shard in the order they came in, counted from 1
    types: Vec<&'a str>, // the only one, or of each shard
    numbers: Vec<i32>,
    epochs: Vec<i64>,
    entity_maxes: Vec<i64>,
    event_slots: Vec<i32>,
}

const NO_EPOCHS: &Vec<i64> = &Vec::new();
const NO_TYPES: &Vec<&str> = &Vec::new();

impl<'a> KnownAppends<'a> {
    /// With what the epochs of its shard must be; answers the shard's place. `None` if another one of the batch needs others.
    pub(crate) fn push(&mut self, append: &'a Append<RawEvent>, expected: ShardEpochs) -> Option<usize> {
        let shard = (append.id.entity_type(), i32::from(append.id.slice()));
        let shards = &mut self.shards;
        let place = *self.places.entry(shard).or_insert_with(|| {
            shards.push((shard, expected));
            shards.len() - 1
        });
        if self.shards[place].1 != expected {
            return None;
        }
        let epoch = clamped(append.fence.epoch);
        self.epochs_of_shards = epoch == expected.shard && (self.epochs_of_shards || self.ids.is_empty());
        for (event, n) in append.events.iter().zip(0_i32..) {
            if let Some(tags) = append.tags.get(n as usize).filter(|tags| !tags.is_empty()) {
                put(&mut self.tags, self.ids.len(), array_literal(tags));
            }
            if let Some(meta) = event.meta.as_deref() {
                put(&mut self.metas, self.ids.len(), meta);
            }
            self.event_places.push(place);
            self.ids.push(append.id.as_str());
            self.seq_nrs.push(clamped(append.expected_seq).saturating_add(i64::from(n)));
            self.types.push(shard.0);
            self.epochs.push(epoch);
            self.batch_ids.push((n == 0).then_some(BatchId(append.batch_id)));
            self.time_ms.push(clamped(append.time_ms));
            self.manifests.push(&event.manifest);
            self.payloads.push(&event.payload);
            self.crcs.push(checksum(append, event, n));
        }
        Some(place)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// What [`APPEND_ONE`](super::statements::APPEND_ONE) takes, if there is one event only.
    pub(crate) fn one<'b>(&'b self, generation: &'b i32) -> Option<Vec<Parameter<'b>>> {
        let [place] = *self.event_places else { return None };
        let ((entity_type, number), expected) = self.shards.get(place)?;
        let mut all: Vec<Parameter<'b>> = vec![entity_type, number, &expected.shard, &expected.entity_max, generation];
        all.extend([&self.ids[0] as Parameter<'b>, &self.seq_nrs[0], &self.epochs[0], &self.batch_ids[0]]);
        all.extend([&self.time_ms[0] as Parameter<'b>, &self.manifests[0], &self.payloads[0]]);
        all.push(self.metas.first().map_or(&None::<&[u8]> as Parameter<'b>, |meta| meta));
        all.push(&self.crcs[0]);
        all.push(self.tags.first().map_or(&None::<String> as Parameter<'b>, |tags| tags));
        Some(all)
    }

    pub(crate) fn shards(&self) -> impl Iterator<Item = Shard<'a>> {
        self.shards.iter().map(|(shard, _)| *shard)
    }

    pub(crate) fn in_order(&self) -> ShardsInOrder<'a> {
        let mut order: Vec<usize> = (0..self.shards.len()).collect();
        order.sort_unstable_by_key(|place| self.shards[*place].0); // bytes, as the server's collation "C"
        let mut slots = vec![0; order.len()];
        for (place, slot) in order.iter().zip(1_i32..) {
            slots[*place] = slot;
        }
        let mut types: Vec<&str> = order.iter().map(|place| self.shards[*place].0.0).collect();
        if types.first() == types.last() {
            types.truncate(1);
        }
        ShardsInOrder {
            types,
            numbers: order.iter().map(|place| self.shards[*place].0.1).collect(),
            epochs: order.iter().map(|place| self.shards[*place].1.shard).collect(),
            entity_maxes: order.iter().map(|place| self.shards[*place].1.entity_max).collect(),
            event_slots: self.event_places.iter().map(|place| slots[*place]).collect(),
            slots,
        }
    }

    /// What [`APPEND_KNOWN`](super::statements::APPEND_KNOWN) takes.
    pub(crate) fn parameters<'b>(&'b self, shards: &'b ShardsInOrder<'a>, generation: &'b i32) -> Vec<Parameter<'b>> {
        let ShardsInOrder { types, numbers, epochs, entity_maxes, event_slots, .. } = shards;
        let event_types = if types.first() == types.last() { NO_TYPES } else { &self.types };
        let event_epochs = if self.epochs_of_shards { NO_EPOCHS } else { &self.epochs };
        let mut all: Vec<Parameter<'b>> = vec![types, numbers, epochs, entity_maxes, generation];
        all.extend([event_slots as Parameter<'b>, &self.seq_nrs, event_epochs, &self.time_ms, &self.crcs]);
        all.extend([&self.ids as Parameter<'b>, event_types, &self.batch_ids, &self.manifests, &self.payloads]);
        all.extend([&self.metas as Parameter<'b>, &self.tags]);
        all
    }
}

impl ShardsInOrder<'_> {
    /// The slot of each shard in the order they came in, counted from 0.
    pub(crate) fn slots(&self) -> impl Iterator<Item = usize> {
        self.slots.iter().map(|slot| *slot as usize - 1)
    }

    /// The epochs expected of the shard in a slot.
    pub(crate) fn expected(&self, slot: usize) -> ShardEpochs {
        ShardEpochs { shard: self.epochs[slot], entity_max: self.entity_maxes[slot] }
    }
}

/// At a place behind all others that something is in.
fn put<T>(column: &mut Vec<Option<T>>, place: usize, value: T) {
    column.resize_with(place, || None);
    column.push(Some(value));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Fence, FenceScope, PersistenceId};
    use std::sync::Arc;

    fn append(entity_type: &str, entity: usize, epoch: u64) -> Append<RawEvent> {
        let id = PersistenceId::of(entity_type, &entity.to_string());
        let fence = Fence { scope: FenceScope::Entity(id.clone()), epoch };
        let event = |tail: &str| RawEvent { manifest: "m".into(), payload: tail.to_owned().into(), meta: None };
        let tags = vec![Vec::new(), vec![Arc::from("t")]];
        Append { id, expected_seq: 3, fence, batch_id: 1, events: vec![event("x"), event("y")], tags, time_ms: 0 }
    }

    /// Whatever order they come in, so that two transactions never wait for each other.
    #[test]
    fn shards_are_locked_in_the_order_of_type_and_number() {
        let appends: Vec<_> = (0..50).map(|n| append(["b", "a", "ab"][n % 3], n, 1)).collect();
        let mut known = KnownAppends::default();
        let expected = |append: &Append<RawEvent>| ShardEpochs { shard: i64::from(append.id.slice()), entity_max: 1 };
        let places: Vec<usize> = appends.iter().map(|append| known.push(append, expected(append)).unwrap()).collect();
        let shards = known.in_order();
        let order: Vec<Shard<'_>> = shards.types.iter().copied().zip(shards.numbers.iter().copied()).collect();
        assert!(order.is_sorted() && order.len() == known.shards.len(), "{order:?}");
        let slots: Vec<usize> = shards.slots().collect();
        for (n, (append, place)) in appends.iter().zip(places).enumerate() {
            assert_eq!(order[slots[place]], (append.id.entity_type(), i32::from(append.id.slice())));
            assert_eq!(shards.expected(slots[place]), expected(append));
            assert_eq!(shards.event_slots[2 * n..][..2], [slots[place] as i32 + 1; 2], "both events");
        }
        assert_eq!((known.metas.len(), known.tags[..2].to_vec()), (0, vec![None, Some("{\"t\"}".to_owned())]));
        assert!(!known.epochs_of_shards);
    }

    #[test]
    fn what_all_have_in_common_is_sent_once() {
        let (one, two) = (append("a", 1, 5), append("a", 2, 5));
        let mut known = KnownAppends::default();
        for append in [&one, &two] {
            known.push(append, ShardEpochs { shard: 5, entity_max: 0 }).unwrap();
        }
        assert!(known.epochs_of_shards && known.in_order().types == ["a"]);
        let other = append("a", 1, 6);
        assert_eq!(known.push(&other, ShardEpochs { shard: 6, entity_max: 0 }), None, "another epoch is expected");
    }
}
