//! What every [`Journal`] and [`SnapshotStore`] must do, as one suite.
//!
//! Which line of the contract is checked where. What needs a process or a disk to be ended has a harness of its own, which a
//! backend of its own plugs into:
//!
//! | a store must keep | checked by |
//! |---|---|
//! | bounds and limits of a replay | `pages_keep_bounds_and_limits` |
//! | order, numbers without holes | `batches_come_back_whole_and_in_order`, `claims_under_load_leave_one_history` |
//! | atomic batches | `a_refused_batch_leaves_nothing`; in a crash: [`crash_rounds`](super::crash_rounds) ("torn") |
//! | a used number conflicts | `a_used_or_early_number_conflicts`; revisions: [`state_contract`](super::state_contract) |
//! | a stale epoch is refused: events, snapshots, deletions | `each_claim_shuts_out_the_ones_before`, `claims_of_shard_and_entity_shut_each_other_out`, `everything_survives_a_restart` |
//! | a stale epoch is refused: states, their deletion | [`state_contract`](super::state_contract) |
//! | the highest number outlives deletion and restart | `deleted_events_are_gone_and_their_numbers_used`, `everything_survives_a_restart` |
//! | large payloads | `large_payloads_come_back` |
//! | an empty journal | `an_unknown_entity_is_empty` |
//! | of concurrent writers of one id exactly one wins each number | `one_of_many_writers_wins_each_number`, `claims_under_load_leave_one_history` |
//! | writers of different ids do not wait for a blocked one | `writers_of_different_entities_all_succeed`, `a_blocked_entity_holds_others_up_no_longer_than_itself`; states: [`state_contract`](super::state_contract) |
//! | a retry with the same batch id succeeds, also after a restart | `a_retry_of_a_stored_batch_succeeds`, `everything_survives_a_restart` |
//! | `kill -9` at any moment, and a retry after it | [`crash_rounds`](super::crash_rounds) |
//! | an owner in another process that was stopped changes nothing | [`take_overs`](super::take_overs) |
//! | a full disk | `a_full_disk_refuses_whole_batches_and_is_read_from`; states: [`state_contract`](super::state_contract) |
//! | a damaged tail | `each_byte_of_the_last_event_is_covered`; states: [`state_contract`](super::state_contract); the file itself, byte by byte, is a backend's own affair |
//! | a failing disk, failed syncs | [`FaultyVfs`](super::FaultyVfs) for SQLite |
//! | power loss | [`Tape::after_power_loss`](super::Tape::after_power_loss) for SQLite |

use crate::{
    Append, AppendError, BoxFuture, Fence, FenceScope, Journal, JournalError, PersistenceId, RawEvent, RawSnapshot,
    Recovery, ReplayLimit, SnapshotStore, Stored,
};
use bytes::Bytes;
use futures_util::{
    FutureExt, StreamExt,
    future::{Either, join_all},
    stream::FuturesUnordered,
};
use std::{any::Any, sync::Arc};

/// A store under test.
pub trait Subject: Send {
    /// The journal.
    fn journal(&self) -> Arc<dyn Journal<RawEvent>>;

    /// The snapshot store beside it.
    fn snapshots(&self) -> Arc<dyn SnapshotStore<RawSnapshot>>;

    /// Closes both and opens them again; answers `false`, having done nothing, when they do not outlive that.
    fn restart(&mut self) -> BoxFuture<'_, bool>;

    /// Holds up every write of `id` until the answer is dropped; `None` where nothing can, as with one writer thread that
    /// waits for nobody. Where writes share a connection, some others wait with it; a quarter of them must not.
    fn block(&mut self, id: PersistenceId) -> BoxFuture<'_, Option<Box<dyn Any + Send>>> {
        drop(id);
        Box::pin(async { None })
    }

    /// Has the disk full from now on, or not any more; `false` where there is none.
    fn set_full(&mut self, full: bool) -> BoxFuture<'_, bool> {
        let _ = full;
        Box::pin(async { false })
    }

    /// Flips one bit of the byte `at` of the payload of an event as it lies in the store, behind the store's back; twice is
    /// as never. `false` where nobody can.
    fn damage(&mut self, id: PersistenceId, seq_nr: u64, at: usize) -> BoxFuture<'_, bool> {
        let _ = (id, seq_nr, at);
        Box::pin(async { false })
    }
}

/// Runs the whole suite against `subject`, which must be empty.
///
/// # Panics
/// With the promise that was broken.
pub async fn contract(subject: &mut dyn Subject) {
    let stores = Stores::of(subject);
    an_unknown_entity_is_empty(&stores).await;
    batches_come_back_whole_and_in_order(&stores).await;
    pages_keep_bounds_and_limits(&stores).await;
    large_payloads_come_back(&stores).await;
    a_used_or_early_number_conflicts(&stores).await;
    a_refused_batch_leaves_nothing(&stores).await;
    a_retry_of_a_stored_batch_succeeds(&stores).await;
    each_claim_shuts_out_the_ones_before(&stores).await;
    claims_of_shard_and_entity_shut_each_other_out(&stores).await;
    a_fence_covers_its_own_entities(&stores).await;
    one_of_many_writers_wins_each_number(&stores).await;
    writers_of_different_entities_all_succeed(&stores).await;
    claims_under_load_leave_one_history(&stores).await;
    a_blocked_entity_holds_others_up_no_longer_than_itself(subject).await;
    events_vanish_from_the_front_only(&stores).await;
    deleted_events_are_gone_and_their_numbers_used(&stores).await;
    the_newest_snapshot_not_above_is_found(&stores).await;
    a_snapshot_ahead_of_the_journal_is_refused(&stores).await;
    a_full_disk_refuses_whole_batches_and_is_read_from(subject).await;
    each_byte_of_the_last_event_is_covered(subject).await;
    everything_survives_a_restart(subject).await;
}

struct Stores {
    journal: Arc<dyn Journal<RawEvent>>,
    snapshots: Arc<dyn SnapshotStore<RawSnapshot>>,
}

/// An entity with the right to write to it.
struct Owned {
    id: PersistenceId,
    fence: Fence,
}

const ALL: ReplayLimit = ReplayLimit { events: usize::MAX, bytes: usize::MAX };

async fn an_unknown_entity_is_empty(stores: &Stores) {
    let id = PersistenceId::of("contract", "unknown");
    assert_eq!(stores.journal.highest_seq(id.clone()).await, Ok(0), "highest number of an unknown entity");
    assert_eq!(stores.texts(&id, 1, u64::MAX, ALL).await, [""; 0], "events of an unknown entity");
    assert_eq!(stores.snapshots.load(id.clone(), u64::MAX).await, Ok(None), "snapshot of an unknown entity");
    let owned = stores.claim("never-written").await;
    assert_eq!(stores.journal.delete_to(owned.id.clone(), 9, owned.fence.clone()).await, Ok(()), "deleting nothing");
    assert_eq!(stores.snapshots.delete(owned.id.clone(), 9, owned.fence).await, Ok(()), "deleting no snapshot");
    assert_eq!(stores.journal.highest_seq(owned.id).await, Ok(0), "a claim or deletion uses no number");
}

async fn batches_come_back_whole_and_in_order(stores: &Stores) {
    let owned = stores.claim("order").await;
    let mut append = owned.append(1, &["a", "b", "c"]);
    append.events[1].meta = Some(Bytes::from_static(b"beside"));
    append.events[2].manifest = "other/2".into();
    append.tags = vec![vec!["blue".into(), "green".into()]; append.events.len()];
    let written = append.events.clone();
    assert_eq!(stores.journal.append(append).await, Ok(3), "a batch answers its last number");
    assert_eq!(stores.append(&owned, 4, &["d"]).await, Ok(4));
    let read = stores.events(&owned.id, 1, u64::MAX, ALL).await;
    assert_eq!(read.iter().map(|stored| stored.seq_nr).collect::<Vec<_>>(), [1, 2, 3, 4], "numbers without holes");
    let events: Vec<_> = read.iter().take(3).map(|stored| stored.event.clone()).collect();
    assert_eq!(events, written, "manifest, payload and meta come back byte for byte");
    assert!(read.iter().all(|stored| stored.epoch == owned.fence.epoch && stored.time_ms == 1_234), "{read:?}");
}

async fn pages_keep_bounds_and_limits(stores: &Stores) {
    let owned = stores.claim("pages").await;
    stores.append(&owned, 1, &["11", "22", "33", "44", "55"]).await.expect("append");
    let page = |from, to, events, bytes| stores.texts(&owned.id, from, to, ReplayLimit { events, bytes });
    assert_eq!(page(2, 4, 100, 1000).await, ["22", "33", "44"], "both bounds are inclusive");
    assert_eq!(page(4, 3, 100, 1000).await, [""; 0], "an empty range");
    assert_eq!(page(6, u64::MAX, 100, 1000).await, [""; 0], "past the end");
    assert_eq!(page(0, 1, 100, 1000).await, ["11"], "from below the first");
    assert_eq!(page(1, 5, 2, 1000).await, ["11", "22"], "at most as many events as asked for");
    assert_eq!(page(3, 5, 100, 4).await, ["33", "44"], "not past the byte limit");
    assert_eq!(page(3, 5, 0, 0).await, ["33"], "one event at least, else no reader gets on");
}

async fn large_payloads_come_back(stores: &Stores) {
    let owned = stores.claim("large").await;
    let payload: Vec<u8> = (0..3_000_000_u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
    let mut append = owned.append(1, &["", "after"]);
    append.events[0].payload = payload.clone().into();
    assert_eq!(stores.journal.append(append).await, Ok(2));
    let read = stores.events(&owned.id, 1, 2, ALL).await;
    assert!(read[0].event.payload == payload, "3 MB come back byte for byte");
    assert_eq!(read[1].event.payload, "after");
}

async fn a_used_or_early_number_conflicts(stores: &Stores) {
    let owned = stores.claim("conflict").await;
    stores.append(&owned, 1, &["a", "b"]).await.expect("append");
    for expected in [0, 1, 2, 4, u64::MAX] {
        let refused = stores.append(&owned, expected, &["x", "y"]).await;
        assert_eq!(refused, Err(AppendError::Conflict { expected, highest: 2 }));
    }
    assert_eq!(stores.texts(&owned.id, 1, u64::MAX, ALL).await, ["a", "b"], "a conflict changes nothing");
}

async fn a_refused_batch_leaves_nothing(stores: &Stores) {
    let owned = stores.claim("refused").await;
    let empty = stores.append(&owned, 1, &[]).await;
    assert!(matches!(empty, Err(AppendError::Rejected { .. })), "an empty batch: {empty:?}");
    stores.append(&owned, 1, &["a"]).await.expect("append");
    // In the middle of batches that succeed, so that a group commit has both.
    let neighbour = stores.claim("refused-neighbour").await;
    let (before, refused, after) = futures_util::join!(
        stores.append(&neighbour, 1, &["1"]),
        stores.append(&owned, 1, &["x", "y", "z"]),
        stores.append(&neighbour, 2, &["2"]),
    );
    assert_eq!((before, after), (Ok(1), Ok(2)), "a refusal does not fail its neighbours");
    assert!(matches!(refused, Err(AppendError::Conflict { .. })), "{refused:?}");
    assert_eq!(stores.texts(&owned.id, 1, u64::MAX, ALL).await, ["a"]);
    assert_eq!(stores.journal.highest_seq(owned.id.clone()).await, Ok(1));
}

async fn a_retry_of_a_stored_batch_succeeds(stores: &Stores) {
    let owned = stores.claim("retry").await;
    let batch = owned.append(1, &["a", "b"]);
    assert_eq!(stores.journal.append(batch.clone()).await, Ok(2));
    assert_eq!(stores.journal.append(batch.clone()).await, Ok(2), "the same batch again");
    stores.append(&owned, 3, &["c"]).await.expect("append");
    assert_eq!(stores.journal.append(batch.clone()).await, Ok(2), "even when others follow it");
    let inside = Append { expected_seq: 2, ..batch.clone() };
    let refused = stores.journal.append(inside).await;
    assert!(matches!(refused, Err(AppendError::Conflict { .. })), "the batch id elsewhere: {refused:?}");
    let successor = stores.claim("retry").await;
    assert_eq!(stores.journal.append(batch).await, Ok(2), "what is stored is stored, whoever owns the entity now");
    assert_eq!(stores.texts(&successor.id, 1, u64::MAX, ALL).await, ["a", "b", "c"], "nothing is stored twice");
}

async fn each_claim_shuts_out_the_ones_before(stores: &Stores) {
    let old = stores.claim("fence").await;
    stores.append(&old, 1, &["a", "b"]).await.expect("append");
    stores.save(&old, 1, "one").await.expect("save");
    let new = stores.claim("fence").await;
    assert_eq!(new.fence.epoch, old.fence.epoch + 1, "a claim raises the epoch by one");
    let stale = AppendError::Stale { held: old.fence.epoch, current: new.fence.epoch };
    assert_eq!(stores.append(&old, 3, &["x"]).await, Err(stale.clone()), "events");
    assert_eq!(stores.save(&old, 2, "x").await, Err(stale.clone()), "snapshots");
    let delete = stores.journal.delete_to(old.id.clone(), 2, old.fence.clone()).await;
    assert_eq!(delete, Err(stale.clone()), "deletion of events");
    let delete = stores.snapshots.delete(old.id.clone(), 2, old.fence.clone()).await;
    assert_eq!(delete, Err(stale), "deletion of snapshots");
    let forged = Owned { id: new.id.clone(), fence: Fence { epoch: new.fence.epoch + 1, ..new.fence.clone() } };
    let refused = stores.append(&forged, 3, &["x"]).await;
    assert!(matches!(refused, Err(AppendError::Stale { .. })), "an epoch nobody was granted: {refused:?}");
    assert_eq!(stores.texts(&new.id, 1, u64::MAX, ALL).await, ["a", "b"], "stale writes leave nothing");
    assert_eq!(stores.snapshot(&new.id, 9).await, Some((1, "one".into())));
    assert_eq!(stores.append(&new, 3, &["c"]).await, Ok(3), "the owner goes on");
}

async fn claims_of_shard_and_entity_shut_each_other_out(stores: &Stores) {
    let entity = stores.claim("both").await;
    stores.append(&entity, 1, &["a"]).await.expect("append");
    let fence = stores.journal.claim(FenceScope::shard_of(&entity.id)).await.expect("claim");
    let shard = Owned { id: entity.id.clone(), fence };
    assert!(shard.fence.epoch > entity.fence.epoch, "epochs never decrease along a log, whatever the scope");
    let refused = stores.append(&entity, 2, &["x"]).await;
    assert!(matches!(refused, Err(AppendError::Stale { .. })), "{refused:?}");
    assert_eq!(stores.append(&shard, 2, &["b"]).await, Ok(2));

    let all = stores.journal.claim_all("contract".into(), 0..crate::SLICES).await.expect("claim all");
    assert_eq!(all.len(), usize::from(crate::SLICES), "one fence per shard");
    let refused = stores.append(&shard, 3, &["x"]).await;
    assert!(matches!(refused, Err(AppendError::Stale { .. })), "{refused:?}");
    let fence = all[usize::from(entity.id.slice())].clone();
    assert!(fence.covers(&entity.id), "fences come in the order of the shards");
    assert_eq!(stores.append(&Owned { id: entity.id.clone(), fence: fence.clone() }, 3, &["c"]).await, Ok(3));

    let again = stores.claim("both").await;
    assert!(again.fence.epoch > fence.epoch, "the entity's claim is above its shard's");
    assert_eq!(stores.append(&again, 4, &["d"]).await, Ok(4));
}

async fn a_fence_covers_its_own_entities(stores: &Stores) {
    let owned = stores.claim("own").await;
    let foreign = Owned { id: PersistenceId::of("contract", "foreign"), fence: owned.fence.clone() };
    let refused = stores.append(&foreign, 1, &["x"]).await;
    assert!(matches!(refused, Err(AppendError::Rejected { .. })), "another entity's fence: {refused:?}");
    assert_eq!(stores.journal.highest_seq(foreign.id).await, Ok(0));
}

async fn one_of_many_writers_wins_each_number(stores: &Stores) {
    let owned = stores.claim("race").await;
    for seq_nr in 1..=20 {
        let names: Vec<String> = (0..16).map(|writer| format!("{seq_nr}-{writer}")).collect();
        let appends = names.iter().map(|name| stores.journal.append(owned.append(seq_nr, &[name])));
        let outcomes = join_all(appends).await;
        let winners: Vec<_> = (0..16).filter(|&writer| outcomes[writer].is_ok()).collect();
        assert_eq!(winners.len(), 1, "number {seq_nr}: {outcomes:?}");
        let stored = stores.texts(&owned.id, seq_nr, seq_nr, ALL).await;
        assert_eq!(stored, [names[winners[0]].as_str()], "the one that was told so is the one stored");
    }
}

async fn writers_of_different_entities_all_succeed(stores: &Stores) {
    let owned = join_all((0..64).map(|n| stores.claim_owned(format!("many-{n}")))).await;
    for seq_nr in 1..=10 {
        let outcomes = join_all(owned.iter().map(|owned| stores.append(owned, seq_nr, &["x"]))).await;
        assert!(outcomes.iter().all(|outcome| *outcome == Ok(seq_nr)), "{outcomes:?}");
    }
}

/// Owners take the log from each other while others still write: each does what an owner does, claim, read, write.
async fn claims_under_load_leave_one_history(stores: &Stores) {
    let contend = async |contender: u32| {
        let mut written = Vec::new();
        for round in 0..25 {
            let owned = stores.claim("contended").await;
            let highest = stores.journal.highest_seq(owned.id.clone()).await.expect("highest");
            let text = format!("{contender}-{round}");
            match stores.append(&owned, highest + 1, &[&text]).await {
                Ok(seq_nr) => written.push((seq_nr, owned.fence.epoch, text)),
                Err(AppendError::Stale { .. }) => {}
                Err(other) => panic!("fence, then read: only a later claim can come between, not {other:?}"),
            }
        }
        written
    };
    let mut written: Vec<_> = join_all((0..8).map(contend)).await.concat();
    written.sort();
    let id = PersistenceId::of("contract", "contended");
    let mut recovery = Recovery::new(id.clone());
    let mut found = Vec::new();
    for stored in stores.events(&id, 1, u64::MAX, ALL).await {
        recovery.event(stored.seq_nr, stored.epoch).expect("one history");
        let text = String::from_utf8(stored.event.payload.to_vec()).expect("text");
        found.push((stored.seq_nr, stored.epoch, text));
    }
    assert_eq!(found, written, "what is stored is what was acknowledged, each with its writer's epoch");
    assert!(!written.is_empty(), "nobody ever got to write");
}

/// No lock of the whole store: while one entity waits, most others go on; and it is written once it may be.
async fn a_blocked_entity_holds_others_up_no_longer_than_itself(subject: &mut dyn Subject) {
    let stores = Stores::of(subject);
    let blocked = stores.claim("blocked").await;
    let others = join_all((0..64).map(|n| stores.claim_owned(format!("unblocked-{n}")))).await;
    let Some(block) = subject.block(blocked.id.clone()).await else { return };
    let mut waits = stores.append(&blocked, 1, &["a"]).boxed();
    let mut others: FuturesUnordered<_> = others.iter().map(|owned| stores.append(owned, 1, &["x"])).collect();
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

/// A reader beside a deletion sees the log from some number on, never with a hole.
async fn events_vanish_from_the_front_only(stores: &Stores) {
    let owned = stores.claim("vanish").await;
    let texts: Vec<String> = (1..=2_400).map(|n| n.to_string()).collect();
    stores.append(&owned, 1, &texts.iter().map(String::as_str).collect::<Vec<_>>()).await.expect("append");
    let delete = async {
        for seq in (300..=2_100).step_by(300) {
            stores.journal.delete_to(owned.id.clone(), seq, owned.fence.clone()).await.expect("delete");
        }
    };
    let read = async {
        for _ in 0..20 {
            let numbers: Vec<u64> =
                stores.events(&owned.id, 1, u64::MAX, ALL).await.iter().map(|stored| stored.seq_nr).collect();
            let first = numbers[0];
            assert!(first % 300 == 1, "the log begins at {first}, in the middle of a deletion");
            assert_eq!(numbers, (first..=2_400).collect::<Vec<_>>());
        }
    };
    futures_util::join!(delete, read);
    assert_eq!(stores.texts(&owned.id, 1, 2_101, ALL).await, ["2101"]);
}

async fn deleted_events_are_gone_and_their_numbers_used(stores: &Stores) {
    let owned = stores.claim("delete").await;
    let texts: Vec<String> = (1..=1_300).map(|n| n.to_string()).collect();
    stores.append(&owned, 1, &texts.iter().map(String::as_str).collect::<Vec<_>>()).await.expect("append");
    let delete = |seq| stores.journal.delete_to(owned.id.clone(), seq, owned.fence.clone());
    assert_eq!(delete(1_298).await, Ok(()));
    assert_eq!(stores.texts(&owned.id, 1, u64::MAX, ALL).await, ["1299", "1300"], "deleted events are gone at once");
    assert_eq!(delete(7).await, Ok(()), "deleting again is nothing new");
    assert_eq!(delete(u64::MAX).await, Ok(()), "more than there are");
    assert_eq!(stores.texts(&owned.id, 1, u64::MAX, ALL).await, [""; 0]);
    assert_eq!(stores.journal.highest_seq(owned.id.clone()).await, Ok(1_300), "deletion frees no number");
    let reused = stores.append(&owned, 1, &["x"]).await;
    assert_eq!(reused, Err(AppendError::Conflict { expected: 1, highest: 1_300 }));
    assert_eq!(stores.append(&owned, 1_301, &["next"]).await, Ok(1_301));
    assert_eq!(stores.texts(&owned.id, 1, u64::MAX, ALL).await, ["next"], "later events are not affected");
}

async fn the_newest_snapshot_not_above_is_found(stores: &Stores) {
    let owned = stores.claim("snapshots").await;
    stores.append(&owned, 1, &["a", "b", "c", "d", "e"]).await.expect("append");
    for (seq_nr, text) in [(2, "two"), (4, "four"), (5, "five"), (4, "four again")] {
        assert_eq!(stores.save(&owned, seq_nr, text).await, Ok(()));
    }
    let newest = stores.snapshots.load(owned.id.clone(), u64::MAX).await.expect("load").expect("a snapshot");
    assert_eq!((newest.seq_nr, newest.epoch, newest.time_ms), (5, owned.fence.epoch, 5_678));
    assert_eq!(newest.snapshot, raw_snapshot("five"), "manifest, payload and meta come back byte for byte");
    assert_eq!(stores.snapshot(&owned.id, 4).await, Some((4, "four again".into())), "saving again replaces");
    assert_eq!(stores.snapshot(&owned.id, 3).await, Some((2, "two".into())));
    assert_eq!(stores.snapshot(&owned.id, 1).await, None);
    let delete = |seq| stores.snapshots.delete(owned.id.clone(), seq, owned.fence.clone());
    assert_eq!(delete(4).await, Ok(()));
    assert_eq!(delete(4).await, Ok(()), "deleting again is nothing new");
    assert_eq!(stores.snapshot(&owned.id, 4).await, None);
    assert_eq!(stores.snapshot(&owned.id, u64::MAX).await, Some((5, "five".into())));
    assert_eq!(stores.texts(&owned.id, 1, 1, ALL).await, ["a"], "events are not affected");
}

async fn a_snapshot_ahead_of_the_journal_is_refused(stores: &Stores) {
    let owned = stores.claim("ahead").await;
    stores.append(&owned, 1, &["a"]).await.expect("append");
    let refused = stores.save(&owned, 2, "x").await;
    assert!(matches!(refused, Err(AppendError::Rejected { .. })), "{refused:?}");
    assert_eq!(stores.snapshot(&owned.id, u64::MAX).await, None);
}

async fn a_full_disk_refuses_whole_batches_and_is_read_from(subject: &mut dyn Subject) {
    let stores = Stores::of(subject);
    let owned = stores.claim("full-disk").await;
    stores.append(&owned, 1, &["a"]).await.expect("append");
    if !subject.set_full(true).await {
        return;
    }
    let batch = owned.append(2, &["b", "c"]);
    for _ in 0..3 {
        let refused = stores.journal.append(batch.clone()).await;
        assert!(
            matches!(refused, Err(AppendError::Unavailable { .. })),
            "it is certain that nothing was stored: {refused:?}"
        );
        let refused = stores.save(&owned, 1, "one").await;
        assert!(matches!(refused, Err(AppendError::Unavailable { .. })), "{refused:?}");
        assert_eq!(
            stores.texts(&owned.id, 1, u64::MAX, ALL).await,
            ["a"],
            "reading goes on, and of the batch is nothing"
        );
    }
    assert!(subject.set_full(false).await);
    assert_eq!(stores.journal.append(batch).await, Ok(3), "the same batch, once there is room");
    assert_eq!(stores.save(&owned, 3, "three").await, Ok(()));
    assert_eq!(stores.texts(&owned.id, 1, u64::MAX, ALL).await, ["a", "b", "c"]);
}

async fn each_byte_of_the_last_event_is_covered(subject: &mut dyn Subject) {
    const LAST: &str = "the last one, byte by byte";
    let stores = Stores::of(subject);
    let owned = stores.claim("damaged").await;
    stores.append(&owned, 1, &["first", "second", LAST]).await.expect("append");
    for at in 0..LAST.len() {
        if !subject.damage(owned.id.clone(), 3, at).await {
            return;
        }
        let read = stores.journal.replay(owned.id.clone(), 3, 3, ALL).await;
        assert!(matches!(&read, Err(JournalError::Damaged { seq_nr: 3, .. })), "byte {at}: {read:?}");
        assert_eq!(stores.texts(&owned.id, 1, 2, ALL).await, ["first", "second"], "what comes before it can be read");
        assert!(subject.damage(owned.id.clone(), 3, at).await);
        assert_eq!(stores.texts(&owned.id, 1, 3, ALL).await, ["first", "second", LAST], "byte {at} is as it was");
    }
}

async fn everything_survives_a_restart(subject: &mut dyn Subject) {
    let stores = Stores::of(subject);
    let owned = stores.claim("restart").await;
    let batch = owned.append(1, &["a", "b", "c"]);
    stores.journal.append(batch.clone()).await.expect("append");
    stores.save(&owned, 2, "two").await.expect("save");
    stores.journal.delete_to(owned.id.clone(), 2, owned.fence.clone()).await.expect("delete");
    let retried = stores.claim("restart-retried").await;
    let unheard = retried.append(1, &["a", "b"]);
    stores.journal.append(unheard.clone()).await.expect("append");
    let emptied = stores.claim("restart-emptied").await;
    stores.append(&emptied, 1, &["a", "b"]).await.expect("append");
    stores.journal.delete_to(emptied.id.clone(), 2, emptied.fence.clone()).await.expect("delete");
    drop(stores);
    if !subject.restart().await {
        return;
    }
    let stores = Stores::of(subject);
    assert_eq!(stores.texts(&owned.id, 1, u64::MAX, ALL).await, ["c"], "events, without the deleted ones");
    assert_eq!(stores.snapshot(&owned.id, u64::MAX).await, Some((2, "two".into())));
    assert_eq!(stores.journal.highest_seq(owned.id.clone()).await, Ok(3));
    assert_eq!(stores.journal.highest_seq(emptied.id.clone()).await, Ok(2), "with all events deleted too");
    let reused = stores.append(&emptied, 1, &["x"]).await;
    assert_eq!(reused, Err(AppendError::Conflict { expected: 1, highest: 2 }), "used numbers stay used");
    assert_eq!(stores.append(&emptied, 3, &["next"]).await, Ok(3));
    assert_eq!(stores.journal.append(unheard.clone()).await, Ok(2), "a retry of a batch stored before the restart");
    let owner = stores.claim("restart-retried").await;
    assert_eq!(stores.journal.append(unheard).await, Ok(2), "whoever owns the entity by now");
    assert_eq!(stores.texts(&owner.id, 1, u64::MAX, ALL).await, ["a", "b"], "nothing is stored twice");
    let late = Append { expected_seq: 3, batch_id: 77, ..batch };
    let refused = stores.journal.append(late).await;
    assert!(matches!(refused, Err(AppendError::Conflict { .. })), "{refused:?}");
    let successor = stores.claim("restart").await;
    assert_eq!(successor.fence.epoch, owned.fence.epoch + 1, "epochs");
    let events = stores.append(&owned, 4, &["x"]).await.map(drop);
    let snapshot = stores.save(&owned, 3, "x").await;
    let deletion = stores.journal.delete_to(owned.id.clone(), 3, owned.fence.clone()).await;
    let of_snapshots = stores.snapshots.delete(owned.id.clone(), 9, owned.fence.clone()).await;
    for stale in [events, snapshot, deletion, of_snapshots] {
        assert!(matches!(stale, Err(AppendError::Stale { .. })), "{stale:?}");
    }
    assert_eq!(stores.texts(&owned.id, 1, u64::MAX, ALL).await, ["c"]);
    assert_eq!(stores.snapshot(&owned.id, u64::MAX).await, Some((2, "two".into())));
    assert_eq!(stores.append(&successor, 4, &["d"]).await, Ok(4));
}

impl Stores {
    fn of(subject: &dyn Subject) -> Self {
        Self { journal: subject.journal(), snapshots: subject.snapshots() }
    }

    async fn claim(&self, name: &str) -> Owned {
        self.claim_owned(name.to_owned()).await
    }

    async fn claim_owned(&self, name: String) -> Owned {
        let id = PersistenceId::of("contract", &name);
        let fence = self.journal.claim(FenceScope::Entity(id.clone())).await.expect("claim");
        assert!(fence.covers(&id), "a claim answers a fence for what was claimed");
        Owned { id, fence }
    }

    async fn append(&self, owned: &Owned, expected_seq: u64, texts: &[&str]) -> Result<u64, AppendError> {
        self.journal.append(owned.append(expected_seq, texts)).await
    }

    async fn save(&self, owned: &Owned, seq_nr: u64, text: &str) -> Result<(), AppendError> {
        self.snapshots.save(owned.id.clone(), seq_nr, owned.fence.clone(), 5_678, raw_snapshot(text)).await
    }

    async fn snapshot(&self, id: &PersistenceId, max_seq: u64) -> Option<(u64, String)> {
        let found = self.snapshots.load(id.clone(), max_seq).await.expect("load")?;
        Some((found.seq_nr, String::from_utf8(found.snapshot.payload.to_vec()).expect("text")))
    }

    async fn events(&self, id: &PersistenceId, from: u64, to: u64, limit: ReplayLimit) -> Vec<Stored<RawEvent>> {
        self.journal.replay(id.clone(), from, to, limit).await.expect("replay")
    }

    async fn texts(&self, id: &PersistenceId, from: u64, to: u64, limit: ReplayLimit) -> Vec<String> {
        let events = self.events(id, from, to, limit).await;
        events.iter().map(|stored| String::from_utf8(stored.event.payload.to_vec()).expect("text")).collect()
    }
}

impl Owned {
    fn append(&self, expected_seq: u64, texts: &[&str]) -> Append<RawEvent> {
        let event = |text: &&str| RawEvent {
            manifest: "text/1".into(),
            payload: Bytes::copy_from_slice(text.as_bytes()),
            meta: None,
        };
        Append {
            id: self.id.clone(),
            expected_seq,
            fence: self.fence.clone(),
            batch_id: rand::random(),
            events: texts.iter().map(event).collect(),
            tags: Vec::new(),
            time_ms: 1_234,
        }
    }
}

fn raw_snapshot(text: &str) -> RawSnapshot {
    RawSnapshot {
        manifest: "text-state/1".into(),
        payload: Bytes::copy_from_slice(text.as_bytes()),
        meta: Some(Bytes::from_static(b"meta")),
    }
}
