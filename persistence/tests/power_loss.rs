//! Power loss at any moment: what was synced stays, of the rest any part may be there, torn at sectors.

use crate::store::{Entity, recover};
use persistence::{
    Append, Durability, Journal, PersistenceId, RawEvent, SqliteOptions, SqliteStore,
    testkit::{Change, FaultyVfs, Files, Tape},
};
use rand::{Rng, SeedableRng, rngs::StdRng};
use std::{collections::BTreeSet, ops::Range, time::Duration};
use tempfile::TempDir;

const ENTITIES: usize = 3;

/// An acknowledgement: how much the disk had been asked to do by then, whose event, which number.
struct Acknowledged {
    after: usize,
    entity: usize,
    highest: u64,
}

struct Recording {
    tape: Tape,
    opened: usize, // length of the tape when the store was open
    acknowledged: Vec<Acknowledged>,
    last: Append<RawEvent>,
}

fn options(disk: FaultyVfs, durability: Durability) -> SqliteOptions {
    SqliteOptions { vfs: Some(disk.name().into()), checkpoint_pages: 25, durability, ..SqliteOptions::default() }
}

/// Who only looks needs no syncs.
fn looking() -> SqliteOptions {
    SqliteOptions { durability: Durability::Os, ..SqliteOptions::default() }
}

/// Writes to three entities, with checkpoints in between, and records what the disk saw and when what was acknowledged.
async fn record(disk: FaultyVfs, durability: Durability) -> Recording {
    let folder = tempfile::tempdir().unwrap();
    disk.record();
    let store = SqliteStore::open(folder.path(), options(disk, durability)).unwrap();
    let opened = disk.recorded();
    let mut entities = Vec::new();
    for entity in 0..ENTITIES {
        entities.push(Entity::claim(&store, &entity.to_string()).await);
    }
    let (mut acknowledged, mut last) = (Vec::new(), None);
    for turn in 0..150_usize {
        let index = turn % ENTITIES;
        let entity = &mut entities[index];
        let texts: Vec<_> = (1..=1 + turn as u64 % 4).map(|next| text(index, entity.highest + next)).collect();
        let batch = entity.batch(&texts);
        entity.highest = store.append(batch.clone()).await.unwrap();
        last = Some(batch);
        acknowledged.push(Acknowledged { after: disk.recorded(), entity: index, highest: entity.highest });
    }
    let tape = disk.take_tape();
    store.close().await;
    Recording { tape, opened, acknowledged, last: last.unwrap() }
}

impl Recording {
    /// The highest acknowledged number of each entity when `moment` operations were done.
    fn promised(&self, moment: usize) -> [u64; ENTITIES] {
        let mut promised = [0; ENTITIES];
        for ack in self.acknowledged.iter().take_while(|ack| ack.after <= moment) {
            promised[ack.entity] = ack.highest;
        }
        promised
    }
}

fn folder_with(files: &Files) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    files.write_to(folder.path()).unwrap();
    folder
}

/// What is found for each entity; every event must be one that was written.
async fn found(store: &SqliteStore) -> [u64; ENTITIES] {
    let mut highest = [0; ENTITIES];
    for (entity, highest) in highest.iter_mut().enumerate() {
        let id = PersistenceId::of("test", &entity.to_string());
        let recovered = recover(store, &id).await.unwrap();
        for (seq_nr, found) in &recovered.events {
            assert_eq!(*found, text(entity, *seq_nr), "an event nobody wrote");
        }
        *highest = recovered.highest;
    }
    highest
}

/// Opens what is left in `files`; answers how many acknowledged events are missing.
async fn lost(files: &Files, promised: [u64; ENTITIES]) -> u64 {
    let folder = folder_with(files);
    let store = SqliteStore::open(folder.path(), looking()).unwrap();
    let found = found(&store).await;
    store.close().await;
    let intact: String = rusqlite::Connection::open(folder.path().join("store.db"))
        .unwrap()
        .query_row("PRAGMA integrity_check", (), |row| row.get(0))
        .unwrap();
    assert_eq!(intact, "ok");
    promised.iter().zip(found).map(|(promised, found)| promised.saturating_sub(found)).sum()
}

#[tokio::test]
async fn acknowledged_events_survive_power_loss() {
    let recording = record(FaultyVfs::register("power-loss"), Durability::Fsync).await;
    let mut random = StdRng::seed_from_u64(0x10_57);
    let mut moments: BTreeSet<_> =
        (0..30).map(|_| random.random_range(recording.opened..=recording.tape.ops().len())).collect();
    // The moments right after an answer are where a reply that came too early shows.
    moments.extend(recording.acknowledged.iter().step_by(8).map(|ack| ack.after));
    for moment in moments {
        let left = recording.tape.after_power_loss(&Files::default(), moment, &mut random);
        assert_eq!(lost(&left, recording.promised(moment)).await, 0, "power lost after {moment} operations");
    }
}

/// The proof that the test above can fail: without syncs the same power loss takes acknowledged events, and says so in
/// the level's documentation. What is left is whole even then.
#[tokio::test]
async fn without_syncs_power_loss_takes_acknowledged_events() {
    let recording = record(FaultyVfs::register("power-loss-os"), Durability::Os).await;
    let mut random = StdRng::seed_from_u64(0x10_57);
    let mut missing = 0;
    for ack in recording.acknowledged.iter().step_by(10) {
        let left = recording.tape.after_power_loss(&Files::default(), ack.after, &mut random);
        missing += lost(&left, recording.promised(ack.after)).await;
    }
    assert!(missing > 0, "nothing was lost without syncs: the simulated power loss is none");
}

/// And again, while the store comes back: recovery loses nothing either, however often it is cut short.
#[tokio::test]
async fn power_loss_during_recovery_takes_nothing() {
    let recording = record(FaultyVfs::register("power-loss-first"), Durability::Fsync).await;
    let again = FaultyVfs::register("power-loss-again");
    let mut random = StdRng::seed_from_u64(0xa9a1);
    for _ in 0..5 {
        let moment = random.random_range(recording.opened..=recording.tape.ops().len());
        let mut promised = recording.promised(moment);
        let mut left = recording.tape.after_power_loss(&Files::default(), moment, &mut random);
        for _ in 0..3 {
            let folder = folder_with(&left);
            again.record();
            let store = SqliteStore::open(folder.path(), options(again, Durability::Fsync)).unwrap();
            let mut entity = Entity::claim(&store, "0").await;
            let next = text(0, entity.highest + 1);
            entity.append(&store, &[next]).await.unwrap();
            let done = again.recorded();
            let tape = again.take_tape();
            store.close().await;
            let moment = random.random_range(0..=done);
            left = tape.after_power_loss(&left, moment, &mut random);
            if moment == done {
                promised[0] = entity.highest;
            }
            assert_eq!(lost(&left, promised).await, 0, "after {moment} operations of recovery");
        }
    }
}

/// A process is killed between writing a batch and its sync, and the next one finds the batch. From then on it counts:
/// somebody may have read it, or sent it again and been told that it is stored. So it must be durable first.
#[tokio::test]
async fn what_a_killed_process_left_is_durable_before_anybody_hears_of_it() {
    let recording = record(FaultyVfs::register("killed"), Durability::Fsync).await;
    let ops = recording.tape.ops();
    let written = ops.iter().rposition(|op| op.file == "store.db-wal" && op.change == Change::Sync).unwrap();
    let folder = folder_with(&recording.tape.after_kill(&Files::default(), written));

    let next = FaultyVfs::register("killed-next");
    next.record();
    let store = SqliteStore::open(folder.path(), options(next, Durability::Fsync)).unwrap();
    let seen = found(&store).await;
    assert_eq!(seen, recording.promised(usize::MAX), "the kernel kept what the killed process wrote");
    store.append(recording.last.clone()).await.expect("a retry of a batch that is there");
    let tape = recording.tape.followed_by(written, &next.take_tape());
    store.close().await;

    let mut random = StdRng::seed_from_u64(0x6111);
    for _ in 0..20 {
        let left = tape.after_power_loss(&Files::default(), tape.ops().len(), &mut random);
        assert_eq!(lost(&left, seen).await, 0, "what was read, and acknowledged, is gone");
    }
}

/// Two entities, of which one's pages are in the database file and the other's in the log, and a batch of the first that
/// is written while syncs fail.
struct FailedSync {
    _folder: TempDir,
    store: SqliteStore,
    batch: Append<RawEvent>,
    failing_from: usize,
    acknowledged: [u64; 2],
}

async fn fail_a_sync(disk: FaultyVfs, turns: usize) -> FailedSync {
    let folder = tempfile::tempdir().unwrap();
    disk.record();
    let store = SqliteStore::open(folder.path(), options(disk, Durability::Fsync)).unwrap();
    let mut entities = [Entity::claim(&store, "0").await, Entity::claim(&store, "1").await];
    let batch = |entities: &[Entity; 2], entity: usize| {
        let from = entities[entity].highest + 1;
        entities[entity].batch(&(from..from + 40).map(|next| text(entity, next)).collect::<Vec<_>>())
    };
    for turn in 0..turns {
        let entity = usize::from(turn >= 5);
        entities[entity].highest = store.append(batch(&entities, entity)).await.unwrap();
    }
    // A refusal writes nothing; when it is answered, the checkpoint after the last commit is over.
    store.append(Append { expected_seq: 1, ..batch(&entities, 0) }).await.unwrap_err();
    let (failing_from, batch) = (disk.recorded(), batch(&entities, 0));
    disk.set_failing_syncs(true);
    let error = store.append(batch.clone()).await.unwrap_err();
    assert!(!error.is_certain(), "{error:?}");
    let acknowledged = [entities[0].highest, entities[1].highest];
    FailedSync { _folder: folder, store, batch, failing_from, acknowledged }
}

/// A sync fails, and what it was for may never reach the disk, whatever later syncs say. The store comes back from that
/// without losing anything or mixing old pages with new ones, though the power go at any moment meanwhile.
#[tokio::test]
async fn power_loss_after_a_failed_sync_takes_nothing() {
    let disk = FaultyVfs::register("sync-then-power");
    let mut random = StdRng::seed_from_u64(0xbad5);
    for turns in [10, 12] {
        let FailedSync { _folder, store, batch, failing_from, acknowledged: [first, second] } =
            fail_a_sync(disk, turns).await;
        disk.set_failing_syncs(false);
        let open_again = async {
            while store.append(batch.clone()).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        let opened = tokio::time::timeout(Duration::from_secs(60), open_again).await;
        opened.expect("the store is not open again a minute after the last failed sync");
        let settled = disk.recorded();
        assert_eq!(disk.syncs_after_failure(), 0, "a sync that failed was tried again");
        let tape = disk.take_tape();
        store.close().await;
        for moment in some_of(failing_from..settled, &mut random).into_iter().chain([settled; 3]) {
            let left = tape.after_power_loss(&Files::default(), moment, &mut random);
            let promised = if moment == settled { first + 40 } else { first };
            assert_eq!(lost(&left, [promised, second, 0]).await, 0, "{moment} of {settled} operations");
        }
    }
}

/// The same when the process ends with the failed sync: the next one finds a log that reads well and is not on the disk.
#[tokio::test]
async fn a_log_whose_sync_failed_is_not_trusted_by_the_next_process() {
    let (disk, next) = (FaultyVfs::register("sync-then-kill"), FaultyVfs::register("sync-then-kill-next"));
    let mut random = StdRng::seed_from_u64(0xbad6);
    for turns in [10, 12] {
        let FailedSync { _folder, store, failing_from, acknowledged: [first, second], .. } =
            fail_a_sync(disk, turns).await;
        let tape = disk.take_tape();
        disk.set_failing_syncs(false);
        store.close().await;
        let failed =
            failing_from + tape.ops()[failing_from..].iter().position(|op| op.change == Change::SyncFailed).unwrap();
        let folder = folder_with(&tape.after_kill(&Files::default(), failed + 1));

        next.record();
        let store = SqliteStore::open(folder.path(), options(next, Durability::Fsync)).unwrap();
        let mut entity = Entity::claim(&store, "1").await;
        for _ in 0..6 {
            let from = entity.highest + 1;
            let texts: Vec<_> = (from..from + 40).map(|next| text(1, next)).collect();
            entity.append(&store, &texts).await.unwrap();
        }
        let tape = tape.followed_by(failed + 1, &next.take_tape());
        store.close().await;
        for moment in some_of(failed + 1..tape.ops().len(), &mut random) {
            let left = tape.after_power_loss(&Files::default(), moment, &mut random);
            assert_eq!(lost(&left, [first, second, 0]).await, 0, "{moment} of {} operations", tape.ops().len());
        }
    }
}

fn some_of(moments: Range<usize>, random: &mut StdRng) -> BTreeSet<usize> {
    (0..12).map(|_| random.random_range(moments.clone())).collect()
}

fn text(entity: usize, seq_nr: u64) -> String {
    format!("event {seq_nr} of {entity}")
}
