//! What every [`StateStore`] must do, as one suite.

mod faults;

use crate::{
    AppendError, BoxFuture, DeleteState, Fence, FenceScope, PersistenceId, PutState, RawState, SLICES, StateStore,
    StoredState,
};
use bytes::Bytes;
use futures_util::future::join_all;
use std::{any::Any, sync::Arc};

/// A state store under test.
pub trait StateSubject: Send {
    /// The store.
    fn states(&self) -> Arc<dyn StateStore<RawState>>;

    /// Closes it and opens it again; answers `false`, having done nothing, when it does not outlive that.
    fn restart(&mut self) -> BoxFuture<'_, bool>;

    /// Holds up every write of `id` until the answer is dropped; `None` where nothing can. As
    /// [`Subject::block`](super::Subject::block).
    fn block(&mut self, id: PersistenceId) -> BoxFuture<'_, Option<Box<dyn Any + Send>>> {
        drop(id);
        Box::pin(async { None })
    }

    /// Has the disk full from now on, or not any more; `false` where there is none.
    fn set_full(&mut self, full: bool) -> BoxFuture<'_, bool> {
        let _ = full;
        Box::pin(async { false })
    }

    /// Damages the row of `id` as it lies in the store, behind the store's back; twice is as never. `false` where nobody
    /// can.
    fn damage(&mut self, id: PersistenceId, damage: StateDamage) -> BoxFuture<'_, bool> {
        let _ = (id, damage);
        Box::pin(async { false })
    }
}

/// What is changed in a row, so that the same change again takes it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateDamage {
    /// A bit of this byte of the state.
    Payload(usize),
    /// A bit of this byte of what lies beside it, or of a deletion's marker.
    Meta(usize),
    /// The name of the state's format.
    Manifest,
    /// A bit of the revision.
    Revision,
    /// A bit of its writer's epoch.
    Epoch,
    /// A bit of the time.
    Time,
    /// A bit of the write's own id.
    BatchId,
    /// A bit of the checksum.
    Checksum,
}

/// Runs the whole suite against `subject`, which must be empty.
///
/// # Panics
/// With the promise that was broken.
pub async fn state_contract(subject: &mut dyn StateSubject) {
    let states = States(subject.states());
    an_unknown_entity_has_no_state(&states).await;
    the_last_state_comes_back(&states).await;
    large_states_come_back(&states).await;
    a_used_or_early_revision_conflicts(&states).await;
    a_deletion_keeps_the_revision(&states).await;
    a_deletion_of_nothing_counts(&states).await;
    a_retry_of_the_last_write_succeeds(&states).await;
    a_retry_of_a_deletion_succeeds(&states).await;
    each_claim_shuts_out_the_ones_before(&states).await;
    claims_of_shard_and_entity_shut_each_other_out(&states).await;
    a_fence_covers_its_own_entities(&states).await;
    a_refusal_does_not_fail_its_neighbours(&states).await;
    one_of_many_writers_wins_each_revision(&states).await;
    claims_under_load_leave_one_state(&states).await;
    faults::a_blocked_entity_holds_others_up_no_longer_than_itself(subject).await;
    faults::a_full_disk_refuses_writes_and_is_read_from(subject).await;
    faults::whatever_is_damaged_is_noticed(subject).await;
    everything_survives_a_restart(subject).await;
}

struct States(Arc<dyn StateStore<RawState>>);

/// An entity with the right to write to it.
struct Owned {
    id: PersistenceId,
    fence: Fence,
}

async fn an_unknown_entity_has_no_state(states: &States) {
    assert_eq!(states.0.load(PersistenceId::of("contract", "unknown")).await, Ok(None), "an unknown entity");
    let owned = states.claim("never-written").await;
    assert_eq!(states.0.load(owned.id).await, Ok(None), "a claim stores no state");
}

async fn the_last_state_comes_back(states: &States) {
    let owned = states.claim("last").await;
    assert_eq!(states.put(&owned, 0, "one").await, Ok(1), "the first revision is 1");
    assert_eq!(states.put(&owned, 1, "two").await, Ok(2), "each write adds one");
    let expected = StoredState {
        revision: 2,
        epoch: owned.fence.epoch,
        time_ms: 4_321,
        state: Some(RawState { meta: Some(Bytes::from_static(b"beside")), ..raw("two") }),
        marker: None,
    };
    assert_eq!(states.0.load(owned.id.clone()).await, Ok(Some(expected)), "byte for byte, with manifest and meta");

    let other = RawState { manifest: "other/2".into(), payload: Bytes::new(), meta: None };
    let put = PutState { state: other.clone(), ..owned.put(2, "") };
    assert_eq!(states.0.upsert(put).await, Ok(3));
    let stored = states.0.load(owned.id.clone()).await.expect("load").expect("stored");
    assert_eq!(stored.state, Some(other), "an empty state is a state, and nothing of the one before is left");
}

async fn large_states_come_back(states: &States) {
    let owned = states.claim("large").await;
    let payload: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
    let mut put = owned.put(0, "");
    put.state.payload = payload.clone().into();
    assert_eq!(states.0.upsert(put).await, Ok(1));
    let stored = states.0.load(owned.id).await.expect("load").expect("stored");
    assert!(stored.state.is_some_and(|state| state.payload == payload), "3 MB come back byte for byte");
}

async fn a_used_or_early_revision_conflicts(states: &States) {
    let owned = states.claim("conflict").await;
    states.put(&owned, 0, "one").await.expect("put");
    states.put(&owned, 1, "two").await.expect("put");
    for expected in [0, 1, 3, u64::MAX] {
        let conflict = AppendError::Conflict { expected: expected.saturating_add(1), highest: 2 };
        assert_eq!(states.put(&owned, expected, "x").await, Err(conflict.clone()), "a state over {expected}");
        assert_eq!(states.delete(&owned, expected).await, Err(conflict), "a deletion over {expected}");
    }
    assert_eq!(states.text(&owned).await, Some((2, Some("two".into()))), "a conflict changes nothing");
    let unknown = states.claim("conflict-unknown").await;
    let refused = states.put(&unknown, 1, "x").await;
    assert_eq!(refused, Err(AppendError::Conflict { expected: 2, highest: 0 }), "where nothing is stored");
    assert_eq!(states.text(&unknown).await, None);
}

async fn a_deletion_keeps_the_revision(states: &States) {
    let owned = states.claim("delete").await;
    states.put(&owned, 0, "one").await.expect("put");
    states.put(&owned, 1, "two").await.expect("put");
    assert_eq!(states.delete(&owned, 2).await, Ok(3), "a deletion is a revision");
    let marker = Some(Bytes::from_static(b"left"));
    let left = StoredState { revision: 3, epoch: owned.fence.epoch, time_ms: 4_321, state: None, marker };
    assert_eq!(
        states.0.load(owned.id.clone()).await,
        Ok(Some(left)),
        "the revision outlives the state, with its marker"
    );
    let begun_again = states.put(&owned, 0, "x").await;
    assert_eq!(begun_again, Err(AppendError::Conflict { expected: 1, highest: 3 }), "no writer begins again at 1");
    assert_eq!(states.put(&owned, 3, "four").await, Ok(4), "the next state goes on from there");
    assert_eq!(states.text(&owned).await, Some((4, Some("four".into()))));
}

async fn a_deletion_of_nothing_counts(states: &States) {
    let owned = states.claim("delete-nothing").await;
    assert_eq!(states.delete(&owned, 0).await, Ok(1), "of an entity never written");
    assert_eq!(states.delete(&owned, 1).await, Ok(2), "of a deleted one");
    assert_eq!(states.text(&owned).await, Some((2, None)));
    assert_eq!(states.put(&owned, 2, "three").await, Ok(3));
}

async fn a_retry_of_the_last_write_succeeds(states: &States) {
    let owned = states.claim("retry").await;
    let put = owned.put(0, "one");
    assert_eq!(states.0.upsert(put.clone()).await, Ok(1));
    assert_eq!(states.0.upsert(put.clone()).await, Ok(1), "the same write again");
    let elsewhere = PutState { expected_revision: 1, ..put.clone() };
    assert_eq!(states.0.upsert(elsewhere).await, Ok(2), "the batch id at another revision is another write");
    let refused = states.0.upsert(put).await;
    assert_eq!(refused, Err(AppendError::Conflict { expected: 1, highest: 2 }), "a write that others follow");
    let last = owned.put(2, "three");
    assert_eq!(states.0.upsert(last.clone()).await, Ok(3));
    states.claim("retry").await;
    assert_eq!(states.0.upsert(last).await, Ok(3), "what is stored is stored, whoever owns the entity now");
    assert_eq!(states.text(&owned).await, Some((3, Some("three".into()))));
}

async fn a_retry_of_a_deletion_succeeds(states: &States) {
    let owned = states.claim("retry-delete").await;
    states.put(&owned, 0, "one").await.expect("put");
    let delete = owned.delete(1);
    assert_eq!(states.0.delete(delete.clone()).await, Ok(2));
    assert_eq!(states.0.delete(delete.clone()).await, Ok(2), "the same deletion again");
    let other = PutState { batch_id: delete.batch_id, ..owned.put(1, "x") };
    let refused = states.0.upsert(other).await;
    assert!(matches!(refused, Err(AppendError::Conflict { .. })), "a state is not a retry of a deletion: {refused:?}");
    assert_eq!(states.text(&owned).await, Some((2, None)));
}

async fn each_claim_shuts_out_the_ones_before(states: &States) {
    let old = states.claim("fence").await;
    states.put(&old, 0, "one").await.expect("put");
    let new = states.claim("fence").await;
    assert_eq!(new.fence.epoch, old.fence.epoch + 1, "a claim raises the epoch by one");
    let stale = AppendError::Stale { held: old.fence.epoch, current: new.fence.epoch };
    assert_eq!(states.put(&old, 1, "x").await, Err(stale.clone()), "states");
    assert_eq!(states.delete(&old, 1).await, Err(stale), "deletions");
    let forged = Owned { id: new.id.clone(), fence: Fence { epoch: new.fence.epoch + 1, ..new.fence.clone() } };
    let refused = states.put(&forged, 1, "x").await;
    assert!(matches!(refused, Err(AppendError::Stale { .. })), "an epoch nobody was granted: {refused:?}");
    assert_eq!(states.text(&new).await, Some((1, Some("one".into()))), "stale writes leave nothing");
    assert_eq!(states.put(&new, 1, "two").await, Ok(2), "the owner goes on");
}

async fn claims_of_shard_and_entity_shut_each_other_out(states: &States) {
    let entity = states.claim("both").await;
    states.put(&entity, 0, "one").await.expect("put");
    let all = states.0.claim_all("contract".into(), 0..SLICES).await.expect("claim all");
    assert_eq!(all.len(), usize::from(SLICES), "one fence per shard");
    let fence = all[usize::from(entity.id.slice())].clone();
    assert!(fence.covers(&entity.id), "fences come in the order of the shards");
    let shard = Owned { id: entity.id.clone(), fence };
    let refused = states.put(&entity, 1, "x").await;
    assert!(matches!(refused, Err(AppendError::Stale { .. })), "{refused:?}");
    assert_eq!(states.put(&shard, 1, "two").await, Ok(2));

    let unclaimed = PersistenceId::of("contract", "of-the-shard");
    let fence = all[usize::from(unclaimed.slice())].clone();
    let of_shard = Owned { id: unclaimed, fence };
    assert_eq!(states.put(&of_shard, 0, "one").await, Ok(1), "a shard's fence needs no claim of the entity");

    let again = states.claim("both").await;
    let refused = states.delete(&shard, 2).await;
    assert!(matches!(refused, Err(AppendError::Stale { .. })), "{refused:?}");
    assert_eq!(states.delete(&again, 2).await, Ok(3));
}

async fn a_fence_covers_its_own_entities(states: &States) {
    let owned = states.claim("own").await;
    let foreign = Owned { id: PersistenceId::of("contract", "foreign"), fence: owned.fence.clone() };
    for refused in [states.put(&foreign, 0, "x").await, states.delete(&foreign, 0).await] {
        assert!(matches!(refused, Err(AppendError::Rejected { .. })), "another entity's fence: {refused:?}");
    }
    assert_eq!(states.text(&foreign).await, None);
}

async fn a_refusal_does_not_fail_its_neighbours(states: &States) {
    let (owned, neighbour) = (states.claim("refused").await, states.claim("refused-neighbour").await);
    // In the middle of writes that succeed, so that a group commit has both.
    let (before, refused, after) = futures_util::join!(
        states.put(&neighbour, 0, "one"),
        states.put(&owned, 7, "x"),
        states.put(&neighbour, 1, "two"),
    );
    assert_eq!((before, after), (Ok(1), Ok(2)));
    assert!(matches!(refused, Err(AppendError::Conflict { .. })), "{refused:?}");
    assert_eq!(states.text(&owned).await, None);
}

async fn one_of_many_writers_wins_each_revision(states: &States) {
    let owned = states.claim("race").await;
    for revision in 0..20 {
        let names: Vec<String> = (0..16).map(|writer| format!("{revision}-{writer}")).collect();
        let outcomes = join_all(names.iter().map(|name| states.put(&owned, revision, name))).await;
        let winners: Vec<_> = (0..16).filter(|&writer| outcomes[writer].is_ok()).collect();
        assert_eq!(winners.len(), 1, "revision {revision}: {outcomes:?}");
        let stored = states.text(&owned).await;
        assert_eq!(stored, Some((revision + 1, Some(names[winners[0]].clone()))), "the one that was told so");
    }
}

/// Owners take the state from each other while others still write: each does what an owner does, claim, read, write.
async fn claims_under_load_leave_one_state(states: &States) {
    let contend = async |contender: u32| {
        let mut written = Vec::new();
        for round in 0..25 {
            let owned = states.claim("contended").await;
            let revision = states.text(&owned).await.map_or(0, |(revision, _)| revision);
            let text = format!("{contender}-{round}");
            match states.put(&owned, revision, &text).await {
                Ok(revision) => written.push((revision, text)),
                Err(AppendError::Stale { .. }) => {}
                Err(other) => panic!("fence, then read: only a later claim can come between, not {other:?}"),
            }
        }
        written
    };
    let mut written: Vec<_> = join_all((0..8).map(contend)).await.concat();
    written.sort();
    let revisions: Vec<_> = written.iter().map(|(revision, _)| *revision).collect();
    assert_eq!(revisions, (1..=written.len() as u64).collect::<Vec<_>>(), "each revision was acknowledged once");
    let last = written.pop().map(|(revision, text)| (revision, Some(text)));
    assert!(last.is_some(), "nobody ever got to write");
    assert_eq!(states.text(&states.claim("contended").await).await, last, "the last acknowledged state is stored");
}

async fn everything_survives_a_restart(subject: &mut dyn StateSubject) {
    let states = States(subject.states());
    let (owned, deleted) = (states.claim("restart").await, states.claim("restart-deleted").await);
    let put = owned.put(0, "one");
    states.0.upsert(put.clone()).await.expect("put");
    states.put(&deleted, 0, "one").await.expect("put");
    states.delete(&deleted, 1).await.expect("delete");
    drop(states);
    if !subject.restart().await {
        return;
    }
    let states = States(subject.states());
    assert_eq!(states.text(&owned).await, Some((1, Some("one".into()))), "states");
    assert_eq!(states.text(&deleted).await, Some((2, None)), "deletions");
    assert_eq!(states.0.upsert(put).await, Ok(1), "batch ids");
    let begun_again = states.put(&deleted, 0, "x").await;
    assert_eq!(begun_again, Err(AppendError::Conflict { expected: 1, highest: 2 }), "used revisions stay used");
    let successor = states.claim("restart").await;
    assert_eq!(successor.fence.epoch, owned.fence.epoch + 1, "epochs");
    let stale = states.put(&owned, 1, "x").await;
    assert!(matches!(stale, Err(AppendError::Stale { .. })), "{stale:?}");
    assert_eq!(states.put(&successor, 1, "two").await, Ok(2));
}

impl States {
    async fn claim(&self, name: &str) -> Owned {
        self.claim_named(name.to_owned()).await
    }

    async fn claim_named(&self, name: String) -> Owned {
        let id = PersistenceId::of("contract", &name);
        let fence = self.0.claim(FenceScope::Entity(id.clone())).await.expect("claim");
        assert!(fence.covers(&id), "a claim answers a fence for what was claimed");
        Owned { id, fence }
    }

    async fn put(&self, owned: &Owned, expected_revision: u64, text: &str) -> Result<u64, AppendError> {
        self.0.upsert(owned.put(expected_revision, text)).await
    }

    async fn delete(&self, owned: &Owned, expected_revision: u64) -> Result<u64, AppendError> {
        self.0.delete(owned.delete(expected_revision)).await
    }

    /// Revision and text of the state; the text is `None` once deleted.
    async fn text(&self, owned: &Owned) -> Option<(u64, Option<String>)> {
        let stored = self.0.load(owned.id.clone()).await.expect("load")?;
        let text = stored.state.map(|state| String::from_utf8(state.payload.to_vec()).expect("text"));
        Some((stored.revision, text))
    }
}

impl Owned {
    fn put(&self, expected_revision: u64, text: &str) -> PutState<RawState> {
        let state = RawState { meta: Some(Bytes::from_static(b"beside")), ..raw(text) };
        let (id, fence) = (self.id.clone(), self.fence.clone());
        PutState { id, expected_revision, fence, batch_id: rand::random(), time_ms: 4_321, state, tag: None }
    }

    fn delete(&self, expected_revision: u64) -> DeleteState {
        let (id, fence) = (self.id.clone(), self.fence.clone());
        DeleteState {
            id,
            expected_revision,
            fence,
            batch_id: rand::random(),
            time_ms: 4_321,
            marker: Some(Bytes::from_static(b"left")),
        }
    }
}

fn raw(text: &str) -> RawState {
    RawState { manifest: "text-state/1".into(), payload: Bytes::copy_from_slice(text.as_bytes()), meta: None }
}
