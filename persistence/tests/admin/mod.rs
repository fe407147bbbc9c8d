//! A store seen from outside: questions, checks, copies.

mod copies;
mod damage;
mod look;
mod postgres;
mod sql;

use crate::store::Entity;
use bytes::Bytes;
use persistence::{
    AppendError, DeleteState, Fence, FenceScope, Offset, ParkedEvent, PersistenceId, ProjectionId, ProjectionStore,
    PutState, RawState, SqliteOptions, SqliteStore, StateStore,
    admin::{AdminError, Finding, Progress, Record, SqliteAdmin, StoreAdmin, Totals},
};
use std::path::Path;
use tempfile::TempDir;
use tokio::sync::mpsc;

/// A store with some of everything: `test|plain` with five events, two of them tagged; `test|kept` with four of six events
/// deleted and snapshots at 4 and 5; `value|set` and `value|gone` with a state and a deleted one; a shard that was claimed;
/// a consumer with two parked events.
async fn with_everything(folder: &Path) -> SqliteStore {
    let store = SqliteStore::open(folder, SqliteOptions::default()).unwrap();
    let mut plain = Entity::claim(&store, "plain").await;
    plain.append(&store, &["first"]).await.unwrap();
    let mut tagged = plain.batch(&["second", "third"]);
    tagged.tags = vec![vec!["red".into()], vec!["blue".into(), "red".into()]];
    tagged.events[1].meta = Some(Bytes::from_static(&[0, 1, 255]));
    plain.highest = persistence::Journal::append(&store, tagged).await.unwrap();
    let mut kept = Entity::claim(&store, "kept").await;
    kept.append(&store, &["1", "2", "3", "4", "5", "6"]).await.unwrap();
    kept.save(&store, 4, "state at 4").await.unwrap();
    kept.save(&store, 5, "state at 5").await.unwrap();
    kept.delete_to(&store, 4).await.unwrap();
    plain.append(&store, &["fourth", "fifth"]).await.unwrap();
    let set = put(&store, "set", 0, "a state").await;
    let gone = put(&store, "gone", 0, "a state that goes").await;
    delete(&store, &gone).await;
    assert_eq!(set.epoch, 1);
    StateStore::claim_all(&store, "value".into(), 7..9).await.unwrap();
    let reader = ProjectionId { group: "reader".into(), source: "test".into() };
    let claimed = store.take_over(reader.clone()).await.unwrap();
    store.save_offset(claimed.fence.clone(), Offset::of_ordering(3)).await.unwrap();
    for (offset, seq_nr) in [(1, 1), (3, 3)] {
        let parked = ParkedEvent {
            projection: reader.clone(),
            offset: Offset::of_ordering(offset),
            id: PersistenceId::of("test", "plain"),
            seq_nr,
            attempts: 8,
            reason: "it\nfails".into(),
            time_ms: 17,
            replay: false,
        };
        store.park(claimed.fence.clone(), parked).await.unwrap();
    }
    store
}

async fn put(store: &SqliteStore, name: &str, expected_revision: u64, text: &str) -> Fence {
    let id = PersistenceId::of("value", name);
    let fence = StateStore::claim(store, FenceScope::Entity(id.clone())).await.unwrap();
    let state = RawState { manifest: "text/1".into(), payload: text.as_bytes().to_vec().into(), meta: None };
    let put = PutState {
        id,
        expected_revision,
        fence: fence.clone(),
        batch_id: rand::random(),
        time_ms: 18,
        state,
        tag: Some("green".into()),
    };
    store.upsert(put).await.unwrap();
    fence
}

async fn delete(store: &SqliteStore, fence: &Fence) {
    let FenceScope::Entity(id) = fence.scope.clone() else { panic!("{fence:?}") };
    let marker = Some(Bytes::from_static(b"why"));
    let (fence, batch_id) = (fence.clone(), rand::random());
    StateStore::delete(store, DeleteState { id, expected_revision: 1, fence, batch_id, time_ms: 19, marker })
        .await
        .unwrap();
}

/// A closed store with some of everything.
async fn closed_with_everything() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    with_everything(folder.path()).await.close().await;
    folder
}

async fn check(path: &Path) -> Result<(Vec<Finding>, Totals), AdminError> {
    let admin = SqliteAdmin::open(path)?;
    let (sender, findings) = mpsc::channel(1);
    let (totals, all) = tokio::join!(admin.check(Progress::default(), sender), collected(findings));
    Ok((all, totals?))
}

async fn exported(admin: &impl StoreAdmin) -> Result<Vec<Record>, AdminError> {
    let (sender, batches) = mpsc::channel(1);
    let (totals, batches) = tokio::join!(admin.export(Progress::default(), sender), collected(batches));
    let all = batches.concat();
    let mut counted = Totals::default();
    all.iter().for_each(|record| counted.count(record));
    assert_eq!(totals?, counted);
    Ok(all)
}

/// All that is sent.
async fn collected<T>(mut sent: mpsc::Receiver<T>) -> Vec<T> {
    let mut all = Vec::new();
    while let Some(one) = sent.recv().await {
        all.push(one);
    }
    all
}

/// Whether a writer that was shut out before is shut out now.
fn is_stale(written: &Result<(), AppendError>) -> bool {
    matches!(written, Err(AppendError::Stale { .. }))
}
