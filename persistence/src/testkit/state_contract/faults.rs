//! What holds of states when disks are full, rows are damaged and writers are held up.

use super::{Owned, StateDamage, StateSubject, States};
use crate::{AppendError, JournalError};
use bytes::Bytes;
use futures_util::{
    FutureExt, StreamExt,
    future::{Either, join_all},
    stream::FuturesUnordered,
};

/// No lock of the whole store: while one entity waits, most others go on; and it is written once it may be.
pub(super) async fn a_blocked_entity_holds_others_up_no_longer_than_itself(subject: &mut dyn StateSubject) {
    let states = States(subject.states());
    let blocked = states.claim("blocked").await;
    let others: Vec<Owned> = join_all((0..64).map(|n| states.claim_named(format!("unblocked-{n}")))).await;
    let Some(block) = subject.block(blocked.id.clone()).await else { return };
    let mut waits = states.put(&blocked, 0, "one").boxed();
    let mut others: FuturesUnordered<_> = others.iter().map(|owned| states.put(owned, 0, "x")).collect();
    for done in 0..16 {
        let next = futures_util::future::select(&mut waits, others.next()).await;
        let Either::Right((outcome, _)) = next else { panic!("the blocked one was written, {done} others before it") };
        assert_eq!(outcome, Some(Ok(1)));
    }
    drop(block);
    assert_eq!(waits.await, Ok(1), "the blocked one, once it may");
    while let Some(outcome) = others.next().await {
        assert_eq!(outcome, Ok(1));
    }
}

/// States, their successors and deletions alike.
pub(super) async fn a_full_disk_refuses_writes_and_is_read_from(subject: &mut dyn StateSubject) {
    let states = States(subject.states());
    let (owned, new, gone) =
        (states.claim("full").await, states.claim("full-new").await, states.claim("full-gone").await);
    states.put(&owned, 0, "one").await.expect("put");
    states.put(&gone, 0, "one").await.expect("put");
    if !subject.set_full(true).await {
        return;
    }
    let (second, first, delete) = (owned.put(1, "two"), new.put(0, "one"), gone.delete(1));
    for _ in 0..3 {
        let refused = [
            states.0.upsert(second.clone()).await,
            states.0.upsert(first.clone()).await,
            states.0.delete(delete.clone()).await,
        ];
        for refused in refused {
            assert!(
                matches!(refused, Err(AppendError::Unavailable { .. })),
                "it is certain that nothing was stored: {refused:?}"
            );
        }
        assert_eq!(states.text(&owned).await, Some((1, Some("one".into()))), "reading goes on");
        assert_eq!(states.text(&new).await, None);
        assert_eq!(states.text(&gone).await, Some((1, Some("one".into()))));
    }
    assert!(subject.set_full(false).await);
    assert_eq!(states.0.upsert(second).await, Ok(2), "the same writes, once there is room");
    assert_eq!(states.0.upsert(first).await, Ok(1));
    assert_eq!(states.0.delete(delete).await, Ok(2));
    assert_eq!(states.text(&owned).await, Some((2, Some("two".into()))));
    assert_eq!(states.text(&gone).await, Some((2, None)));
}

/// Each byte of what the program stored and each column beside it, of a state and of what a deletion leaves.
pub(super) async fn whatever_is_damaged_is_noticed(subject: &mut dyn StateSubject) {
    const STATE: &str = "the state, byte by byte";
    let states = States(subject.states());
    let (owned, deleted) = (states.claim("damaged").await, states.claim("damaged-deleted").await);
    states.put(&owned, 0, "before").await.expect("put");
    let put = owned.put(1, STATE);
    let beside = put.state.meta.as_ref().map_or(0, Bytes::len);
    states.0.upsert(put).await.expect("put");
    states.put(&deleted, 0, "before").await.expect("put");
    states.delete(&deleted, 1).await.expect("delete");
    let columns = [
        StateDamage::Revision,
        StateDamage::Epoch,
        StateDamage::Time,
        StateDamage::BatchId,
        StateDamage::Manifest,
        StateDamage::Checksum,
    ];
    let all = columns
        .into_iter()
        .chain((0..STATE.len()).map(StateDamage::Payload))
        .chain((0..beside).map(StateDamage::Meta))
        .map(|damage| (&owned, damage));
    let of_deleted = columns
        .into_iter()
        .filter(|damage| *damage != StateDamage::Manifest) // it has none
        .chain((0..4).map(StateDamage::Meta))
        .map(|damage| (&deleted, damage));
    for (owned, damage) in all.chain(of_deleted) {
        let good = states.0.load(owned.id.clone()).await;
        assert!(matches!(good, Ok(Some(_))), "{good:?}");
        if !subject.damage(owned.id.clone(), damage).await {
            return;
        }
        let read = states.0.load(owned.id.clone()).await;
        assert!(matches!(&read, Err(JournalError::Damaged { id, .. }) if *id == owned.id), "{damage:?}: {read:?}");
        assert!(subject.damage(owned.id.clone(), damage).await);
        assert_eq!(states.0.load(owned.id.clone()).await, good, "{damage:?}, put back");
    }
}
