//! Full and failing disks: what is certain is said, what is not is called unknown, and reading goes on.

use crate::store::{Entity, recover, soon, until_it_syncs, when_reopened};
use futures_util::FutureExt;
use persistence::{
    AppendError, FenceScope, Journal, JournalError, ReplayLimit, SqliteOptions, SqliteStore, testkit::FaultyVfs,
};
use std::{
    future::poll_fn,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tempfile::TempDir;
use tokio::task::JoinHandle;

fn open_on(disk: FaultyVfs) -> (TempDir, SqliteStore) {
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteOptions { vfs: Some(disk.name().into()), ..SqliteOptions::default() };
    let store = SqliteStore::open(folder.path(), options).unwrap();
    (folder, store)
}

async fn texts(store: &SqliteStore, entity: &Entity) -> Vec<String> {
    recover(store, &entity.id).await.unwrap().events.into_iter().map(|(_, text)| text).collect()
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_serves_reads() {
    let disk = FaultyVfs::register("disk-full");
    let (_folder, store) = open_on(disk);
    let mut entity = Entity::claim(&store, "full").await;
    entity.append(&store, &["a"]).await.unwrap();

    disk.set_full(true);
    for _ in 0..3 {
        let error = entity.append(&store, &["x"]).await.unwrap_err();
        assert!(matches!(error, AppendError::Unavailable { .. }), "{error:?}");
        assert!(error.to_string().contains("no room for the database"), "{error}");
        assert_eq!(texts(&store, &entity).await, ["a"], "reading goes on, and nothing of the batch is there");
    }
    disk.set_full(false);
    entity.append(&store, &["b"]).await.expect("service resumes when there is room again");
    assert_eq!(texts(&store, &entity).await, ["a", "b"]);
    store.close().await;
}

/// The same through the limit that anybody can set, and across a restart.
#[tokio::test]
async fn a_store_at_its_size_limit_is_a_full_disk() {
    let folder = tempfile::tempdir().unwrap();
    let limited = SqliteOptions { pages_max: NonZeroU32::new(60), ..SqliteOptions::default() };
    let store = SqliteStore::open(folder.path(), limited).unwrap();
    let mut entity = Entity::claim(&store, "limit").await;
    let text = "x".repeat(3_000);
    let error = loop {
        if let Err(error) = entity.append(&store, &[&text, &text]).await {
            break error;
        }
        assert!(entity.highest < 200, "the limit is never reached");
    };
    assert!(matches!(error, AppendError::Unavailable { .. }), "{error:?}");
    assert_eq!(store.highest_seq(entity.id.clone()).await.unwrap(), entity.highest, "half a batch was stored");
    assert_eq!(texts(&store, &entity).await.len() as u64, entity.highest);
    store.close().await;

    let store = SqliteStore::open(folder.path(), SqliteOptions::default()).unwrap();
    entity = Entity::claim(&store, "limit").await;
    entity.append(&store, &[&text, &text]).await.unwrap();
    assert_eq!(texts(&store, &entity).await.len() as u64, entity.highest);
    store.close().await;
}

/// After a failed sync nobody can say what is on the disk: unknown, then reopened. The same batch sent again settles it.
#[tokio::test]
async fn a_failed_sync_is_unknown_and_a_retry_settles_it() {
    let disk = FaultyVfs::register("sync-fails");
    let (_folder, store) = open_on(disk);
    let mut entity = Entity::claim(&store, "sync").await;
    entity.append(&store, &["a"]).await.unwrap();

    let batch = entity.batch(&["b", "c"]);
    disk.set_failing_syncs(true);
    let error = store.append(batch.clone()).await.unwrap_err();
    assert!(matches!(error, AppendError::Unknown { .. }), "{error:?}");
    // As long as the disk fails, neither writes nor reads may claim anything.
    let error = store.append(batch.clone()).await.unwrap_err();
    assert!(matches!(error, AppendError::Unavailable { .. }), "{error:?}");
    let read = store.replay(entity.id.clone(), 1, 9, ReplayLimit::default()).await;
    assert!(matches!(read, Err(JournalError::Unavailable { .. })), "{read:?}");

    disk.set_failing_syncs(false);
    assert_eq!(when_reopened(|| store.append(batch.clone())).await, Ok(3), "the same batch again");
    assert_eq!(texts(&store, &entity).await, ["a", "b", "c"], "once each");
    entity.highest = 3;
    entity.append(&store, &["d"]).await.unwrap();
    store.close().await;
}

/// Somebody looks at the store from outside and takes his time: the store comes back from a failed sync all the same. What
/// was not there then does not come back either, though the process be killed before anything else is written.
#[tokio::test]
async fn a_look_from_outside_does_not_keep_a_store_closed() {
    let disk = FaultyVfs::register("sync-fails-beside-a-look");
    let (folder, store) = open_on(disk);
    let mut entity = Entity::claim(&store, "looked at").await;
    entity.append(&store, &["a"]).await.unwrap();
    let outside = rusqlite::Connection::open(folder.path().join("store.db")).unwrap();
    outside.execute_batch("BEGIN; SELECT count(*) FROM journal").unwrap();

    disk.set_failing_syncs(true);
    let lost = entity.batch(&["lost"]);
    assert!(matches!(store.append(lost).await, Err(AppendError::Unknown { .. })));
    disk.set_failing_syncs(false);
    let refusal = entity.batch(&["too early"]);
    let refusal = persistence::Append { expected_seq: 9, ..refusal };
    let refused = when_reopened(|| store.append(refusal.clone())).await;
    assert!(matches!(refused, Err(AppendError::Conflict { .. })), "{refused:?}");
    assert_eq!(texts(&store, &entity).await, ["a"], "it is not there");

    let killed = tempfile::tempdir().unwrap();
    for name in ["store.db", "store.db-wal"] {
        std::fs::copy(folder.path().join(name), killed.path().join(name)).unwrap();
    }
    let next = SqliteStore::open(killed.path(), SqliteOptions::default()).unwrap();
    assert_eq!(texts(&next, &entity).await, ["a"], "nor is it there later");
    next.close().await;

    entity.append(&store, &["b"]).await.unwrap();
    outside.execute_batch("COMMIT").unwrap();
    entity.append(&store, &["c"]).await.unwrap();
    assert_eq!(texts(&store, &entity).await, ["a", "b", "c"]);
    store.close().await;
}

/// Reads come back by themselves, even if nobody writes.
#[tokio::test]
async fn a_store_reopens_without_being_asked() {
    let disk = FaultyVfs::register("reopens");
    let (_folder, store) = open_on(disk);
    let mut entity = Entity::claim(&store, "reopens").await;
    entity.append(&store, &["a"]).await.unwrap();
    disk.set_failing_syncs(true);
    entity.append(&store, &["b"]).await.unwrap_err();
    disk.set_failing_syncs(false);
    let read = async {
        loop {
            match store.highest_seq(entity.id.clone()).await {
                Err(JournalError::Unavailable { .. }) => tokio::time::sleep(Duration::from_millis(1)).await,
                answer => return answer.unwrap(),
            }
        }
    };
    assert!((1..=2).contains(&soon("the opening of the file", read).await));
    store.close().await;
}

#[tokio::test]
async fn a_failed_write_leaves_whole_batches() {
    let disk = FaultyVfs::register("write-fails");
    let (folder, store) = open_on(disk);
    let mut entity = Entity::claim(&store, "write").await;
    entity.append(&store, &["a"]).await.unwrap();
    for round in 0..5 {
        let batch = entity.batch(&[format!("{round}-1"), format!("{round}-2")]);
        disk.set_failing_writes(true);
        store.append(batch.clone()).await.unwrap_err();
        disk.set_failing_writes(false);
        entity.highest = when_reopened(|| store.append(batch.clone())).await.unwrap();
    }
    assert_eq!(entity.highest, 11, "each batch is there once");
    let before = texts(&store, &entity).await;
    store.close().await;
    let store = SqliteStore::open(folder.path(), SqliteOptions::default()).unwrap();
    assert_eq!(texts(&store, &entity).await, before);
    store.close().await;
}

/// `syncs()` is what an operator trusts: compared here with what the disk saw, checkpoints included.
#[tokio::test]
async fn syncs_are_counted_as_the_disk_sees_them() {
    let disk = FaultyVfs::register("counts");
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteOptions { vfs: Some(disk.name().into()), checkpoint_pages: 30, ..SqliteOptions::default() };
    let store = SqliteStore::open(folder.path(), options).unwrap();
    let before = disk.syncs();
    let mut entity = Entity::claim(&store, "counts").await;
    for _ in 0..200 {
        entity.append(&store, &["event"]).await.unwrap();
    }
    let text = "large".repeat(1_000);
    entity.append(&store, &[text]).await.unwrap();
    let reader = store.highest_seq(entity.id.clone()).await.unwrap();
    assert_eq!(reader, 201);
    store.close().await;
    let (counted, seen) = (store.syncs(), disk.syncs() - before);
    assert_eq!((store.batches(), store.events()), (202, 201));
    assert!(counted > 202, "there were checkpoints");
    assert!((counted - 3..=counted + 3).contains(&seen), "counted {counted}, the disk saw {seen}, closing included");
}

/// While one batch syncs the next one collects: 64 writers, two syncs. Refusals cost none.
#[tokio::test]
async fn writers_that_come_during_a_sync_share_the_next() {
    let disk = FaultyVfs::register("shared");
    let (_folder, store) = open_on(disk);
    let mut entities = Vec::new();
    for name in 0..64 {
        entities.push(Entity::claim(&store, &format!("shared-{name}")).await);
    }
    let before = (disk.syncs(), store.syncs());
    disk.hold_syncs();
    let mut appends = vec![store.append(entities[0].batch(&["first"]))];
    until_it_syncs(disk, before.0).await;
    assert!((&mut appends[0]).now_or_never().is_none(), "acknowledged before its sync");
    appends.extend(entities[1..].iter().map(|entity| store.append(entity.batch(&["event"]))));
    disk.release_syncs();
    for outcome in futures_util::future::join_all(appends).await {
        assert_eq!(outcome, Ok(1));
    }
    assert_eq!((disk.syncs() - before.0, store.syncs() - before.1), (2, 2));

    store.append(entities[0].batch(&["a number that is taken"])).await.unwrap_err();
    assert_eq!(disk.syncs() - before.0, 2, "a refusal touches no disk");
    store.close().await;
}

/// What waits is bounded, in requests and in bytes; the refused write is certainly not stored.
#[tokio::test]
async fn a_full_queue_refuses() {
    let disk = FaultyVfs::register("queue");
    for (limit, reason) in [("requests", "queue_requests"), ("bytes", "queue_bytes")] {
        let folder = tempfile::tempdir().unwrap();
        let mut options = SqliteOptions { vfs: Some(disk.name().into()), ..SqliteOptions::default() };
        if limit == "requests" {
            options.queue_requests = 4
        } else {
            options.queue_bytes = 40
        }
        let store = SqliteStore::open(folder.path(), options).unwrap();
        let mut entity = Entity::claim(&store, "queue").await;
        let before = disk.syncs();
        disk.hold_syncs();
        let mut waiting = vec![store.append(entity.batch(&["ten bytes!"]))];
        until_it_syncs(disk, before).await;
        for _ in 0..8 {
            entity.highest += 1;
            waiting.push(store.append(entity.batch(&["ten bytes!"])));
        }
        disk.release_syncs();
        let outcomes = futures_util::future::join_all(waiting).await;
        let stored = outcomes.iter().take_while(|outcome| outcome.is_ok()).count() as u64;
        assert_eq!(stored, if limit == "requests" { 5 } else { 4 }, "{limit}: {outcomes:?}");
        for outcome in &outcomes[stored as usize..] {
            assert!(
                matches!(outcome, Err(AppendError::Overloaded { reason: why }) if why.contains(reason)),
                "{outcome:?}"
            );
        }
        assert_eq!(recover(&store, &entity.id).await.unwrap().highest, stored);
        entity.highest = stored;
        entity.append(&store, &["room again"]).await.unwrap();
        store.close().await;
    }
}

/// A request of the largest kind fills the queue all by itself; what weighs nothing still gets through behind it.
#[tokio::test]
async fn a_store_with_a_full_queue_can_be_closed() {
    let disk = FaultyVfs::register("close-full");
    let folder = tempfile::tempdir().unwrap();
    let options = SqliteOptions { vfs: Some(disk.name().into()), queue_bytes: 40, ..SqliteOptions::default() };
    let store = SqliteStore::open(folder.path(), options).unwrap();
    let entity = Entity::claim(&store, "close-full").await;
    let before = disk.syncs();
    disk.hold_syncs();
    let append = store.append(entity.batch(&["a batch that is larger than the whole queue may be"]));
    until_it_syncs(disk, before).await;
    let claim = store.claim(FenceScope::Entity(entity.id.clone()));
    let close = begin_to_close(&store).await;
    let behind = store.claim(FenceScope::Entity(entity.id.clone()));
    disk.release_syncs();
    let all = async { futures_util::join!(append, claim, behind, close) };
    let (appended, claimed, behind, closed) = soon("the end of the store", all).await;
    assert_eq!(appended, Ok(1));
    assert_eq!(claimed.expect("a claim holds no bytes").epoch, entity.fence.epoch + 1);
    let refused = behind.expect_err("the request to close was in the full queue before it");
    assert!(matches!(refused, JournalError::Unavailable { .. }), "{refused:?}");
    closed.unwrap();
}

/// Who comes after the request to close is certainly not stored, and is told so.
#[tokio::test]
async fn a_write_behind_the_close_is_certainly_not_stored() {
    let disk = FaultyVfs::register("close-behind");
    let (folder, store) = open_on(disk);
    let mut entity = Entity::claim(&store, "behind").await;
    let before = disk.syncs();
    disk.hold_syncs();
    let mut appends = vec![store.append(entity.batch(&["1"]))];
    until_it_syncs(disk, before).await;
    let mut write_on = |writes| {
        for _ in 0..writes {
            entity.highest += 1;
            appends.push(store.append(entity.batch(&["next"])));
        }
    };
    write_on(19);
    let close = begin_to_close(&store).await;
    write_on(20);
    disk.release_syncs();
    let outcomes = soon("the end of the store", futures_util::future::join_all(appends)).await;
    let stored = outcomes.iter().take_while(|outcome| outcome.is_ok()).count();
    assert_eq!(stored, 20, "all that came before the request to close: {outcomes:?}");
    for outcome in &outcomes[stored..] {
        assert!(matches!(outcome, Err(AppendError::Unavailable { .. })), "{outcome:?}");
    }
    close.await.unwrap();
    let store = SqliteStore::open(folder.path(), SqliteOptions::default()).unwrap();
    assert_eq!(store.highest_seq(entity.id).await, Ok(stored as u64));
    store.close().await;
}

/// Asks `store` to close, and is back once that request waits for the writer: then it has been woken by the end of the
/// readers, and waits for nothing else before.
async fn begin_to_close(store: &SqliteStore) -> JoinHandle<()> {
    let (store, polls) = (store.clone(), Arc::new(AtomicUsize::new(0)));
    let mut close = Box::pin(async move { store.close().await });
    let counted = Arc::clone(&polls);
    let closing = tokio::spawn(poll_fn(move |cx| {
        let polled = close.as_mut().poll(cx);
        counted.fetch_add(1, Ordering::SeqCst);
        polled
    }));
    let asked = async {
        while polls.load(Ordering::SeqCst) < 2 {
            tokio::task::yield_now().await;
        }
    };
    soon("the request to close", asked).await;
    closing
}
