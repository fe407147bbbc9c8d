//! [`Pending`]: which of the waiting writes go into one transaction. Pure.
//!
//! A transaction changes the data of an entity once at most, because its statements see the tables as they were before
//! them; and claims have transactions of their own, because they lock what writes share. What has to wait for that keeps
//! its place before everything that came later for the same shard.

use super::request::{Work, WriteRequest};
use crate::{FenceScope, PersistenceId};
use std::collections::{HashSet, VecDeque};

/// Writes in the order in which they came.
#[derive(Default)]
pub(crate) struct Pending(VecDeque<WriteRequest>);

/// What a transaction does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Claims, of one scope for each shard; or one request with many scopes.
    Claims,
    /// Writes under fences, one for each entity.
    Fenced,
    /// One request about consumers.
    Alone,
}

/// Bounds of a transaction. It holds one request at least.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchLimit {
    pub(crate) requests: usize,
    pub(crate) bytes: usize,
}

/// A shard of an entity type, by a hash: that two may be taken for one costs a little waiting, nothing else.
type Slot = (u32, u16);

impl Pending {
    pub(crate) fn push(&mut self, request: WriteRequest) {
        self.0.push_back(request);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Takes the requests of the next transaction, in order; `None` when nothing waits.
    pub(crate) fn next(&mut self, limit: BatchLimit) -> Option<(Kind, Vec<WriteRequest>)> {
        let first = self.0.pop_front()?;
        let kind = kind(&first.work);
        let mut picked = Picked::default();
        picked.note(&first.work);
        let mut alone = goes_alone(&first.work);
        let mut bytes = first.work.weight();
        let mut batch = vec![first];
        let mut left = VecDeque::with_capacity(self.0.len());
        while let Some(request) = self.0.pop_front() {
            let full = alone || batch.len() >= limit.requests || bytes >= limit.bytes;
            if full {
                left.push_back(request);
                break;
            }
            if kind == self::kind(&request.work) && !goes_alone(&request.work) && picked.has_room_for(&request.work) {
                picked.note(&request.work);
                bytes += request.work.weight();
                batch.push(request);
            } else {
                picked.block(&request.work);
                // So that it does not wait for ever behind small ones.
                alone |= goes_alone(&request.work);
                left.push_back(request);
            }
        }
        left.append(&mut self.0);
        self.0 = left;
        Some((kind, batch))
    }
}

/// What the requests looked at so far have to do with.
#[derive(Default)]
struct Picked {
    entities: HashSet<PersistenceId>, // written by the batch
    slots: HashSet<Slot>,             // claimed by the batch
    blocked: HashSet<Slot>,           // of those left behind
}

impl Picked {
    fn note(&mut self, work: &Work) {
        match work {
            Work::Claim(scopes) => self.slots.extend(scopes.iter().map(slot)),
            work => self.entities.extend(work.subject().map(|(id, _)| id.clone())),
        }
    }

    fn block(&mut self, work: &Work) {
        match work {
            Work::Claim(scopes) => self.blocked.extend(scopes.iter().map(slot)),
            work => self.blocked.extend(work.subject().map(|(id, _)| slot_of(id))),
        }
    }

    fn has_room_for(&self, work: &Work) -> bool {
        match work {
            Work::Claim(scopes) => {
                scopes.iter().map(slot).all(|slot| !self.slots.contains(&slot) && !self.blocked.contains(&slot))
            }
            work => {
                work.subject().is_none_or(|(id, _)| !self.entities.contains(id) && !self.blocked.contains(&slot_of(id)))
            }
        }
    }
}

fn kind(work: &Work) -> Kind {
    match work {
        Work::Claim(_) => Kind::Claims,
        Work::Projection(_) => Kind::Alone,
        _ => Kind::Fenced,
    }
}

/// Whether it has a transaction to itself: many scopes, or a consumer's.
fn goes_alone(work: &Work) -> bool {
    matches!(work, Work::Projection(_)) || matches!(work, Work::Claim(scopes) if scopes.len() != 1)
}

fn slot(scope: &FenceScope) -> Slot {
    match scope {
        FenceScope::Entity(id) => slot_of(id),
        FenceScope::Shard { entity_type, shard } => (crc32c::crc32c(entity_type.as_bytes()), *shard),
    }
}

fn slot_of(id: &PersistenceId) -> Slot {
    (crc32c::crc32c(id.entity_type().as_bytes()), id.slice())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Append, Fence, RawEvent, postgres::request::Backlog};
    use proptest::prelude::*;
    use std::sync::{Arc, atomic::AtomicUsize};
    use tokio::sync::oneshot;

    const LIMIT: BatchLimit = BatchLimit { requests: 4, bytes: 1 << 20 };

    /// Tells requests apart: writes carry it as their batch id, claims of an entity in the order they were pushed.
    fn request(work: Work) -> WriteRequest {
        let backlog = Backlog::reserve(&Arc::new(AtomicUsize::new(0)), 0, 0).unwrap();
        WriteRequest { work, reply: oneshot::channel().0, attempts: 0, _backlog: backlog }
    }

    fn write(entity: &str, batch_id: u128) -> WriteRequest {
        let id = PersistenceId::of("p", entity);
        let fence = Fence { scope: FenceScope::Entity(id.clone()), epoch: 1 };
        let events = vec![RawEvent { manifest: "m".into(), payload: "x".into(), meta: None }];
        request(Work::Append(Append { id, expected_seq: 1, fence, batch_id, events, tags: Vec::new(), time_ms: 0 }))
    }

    fn claim(entity: &str) -> WriteRequest {
        request(Work::Claim(vec![FenceScope::Entity(PersistenceId::of("p", entity))]))
    }

    fn named(batch: &[WriteRequest]) -> Vec<String> {
        batch
            .iter()
            .map(|request| match &request.work {
                Work::Append(append) => format!("{}{}", append.id.entity_id(), append.batch_id),
                Work::Claim(scopes) if scopes.len() == 1 => "claim".into(),
                _ => "claims".into(),
            })
            .collect()
    }

    fn all(mut pending: Pending) -> Vec<(Kind, Vec<String>)> {
        std::iter::from_fn(|| pending.next(LIMIT)).map(|(kind, batch)| (kind, named(&batch))).collect()
    }

    fn of(requests: Vec<WriteRequest>) -> Pending {
        Pending(requests.into())
    }

    #[test]
    fn writes_of_one_entity_go_into_one_transaction_after_the_other() {
        let batches = all(of(vec![write("a", 1), write("a", 2), write("b", 3), write("a", 4)]));
        assert_eq!(batches, [(Kind::Fenced, vec!["a1".into(), "b3".into()]), fenced(&["a2"]), fenced(&["a4"])]);
    }

    #[test]
    fn a_claim_waits_for_the_writes_before_it_and_holds_back_those_behind() {
        let batches = all(of(vec![write("a", 1), claim("a"), write("a", 2), write("b", 3)]));
        assert_eq!(batches, [fenced(&["a1", "b3"]), (Kind::Claims, vec!["claim".into()]), fenced(&["a2"])]);
    }

    #[test]
    fn many_scopes_go_alone_and_are_not_overtaken_for_ever() {
        let scopes = (0..3).map(|shard| FenceScope::Shard { entity_type: "p".into(), shard }).collect();
        let batches = all(of(vec![write("a", 1), request(Work::Claim(scopes)), write("b", 2)]));
        assert_eq!(batches, [fenced(&["a1"]), (Kind::Claims, vec!["claims".into()]), fenced(&["b2"])]);
    }

    fn fenced(names: &[&str]) -> (Kind, Vec<String>) {
        (Kind::Fenced, names.iter().map(|name| (*name).to_owned()).collect())
    }

    proptest! {
        /// Whatever comes, each request goes exactly once, no batch has an entity twice, and none is overtaken by a later
        /// one for the same entity.
        #[test]
        fn order_per_entity_is_kept(inputs in proptest::collection::vec((0_u8..4, any::<bool>()), 0..40)) {
            let requests = inputs.iter().zip(0_u128..).map(|(&(entity, is_claim), n)| {
                if is_claim { claim(&entity.to_string()) } else { write(&entity.to_string(), n) }
            });
            let mut pending = of(requests.collect());
            let mut went: Vec<Vec<String>> = vec![Vec::new(); 4];
            while let Some((_, batch)) = pending.next(LIMIT) {
                prop_assert!(batch.len() <= LIMIT.requests);
                let mut seen = HashSet::new();
                for request in &batch {
                    let id = match &request.work {
                        Work::Append(append) => append.id.clone(),
                        Work::Claim(scopes) => match &scopes[0] {
                            FenceScope::Entity(id) => id.clone(),
                            FenceScope::Shard { .. } => unreachable!("none was made"),
                        },
                        _ => unreachable!("none was made"),
                    };
                    prop_assert!(seen.insert(id.clone()));
                    let entity: usize = id.entity_id().parse().unwrap();
                    went[entity].push(named(std::slice::from_ref(request)).remove(0));
                }
            }
            for (entity, went) in (0_u8..).zip(went) {
                let came = inputs.iter().zip(0_u128..).filter(|((of, _), _)| *of == entity);
                let came: Vec<String> = came
                    .map(|((_, is_claim), n)| if *is_claim { "claim".into() } else { format!("{entity}{n}") })
                    .collect();
                prop_assert_eq!(went, came);
            }
        }
    }
}
