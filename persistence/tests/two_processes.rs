//! Two processes on one SQLite store: the lock keeps the second out; where somebody removed it, the epochs still hold.

use crate::store::{Entity, recover};
use persistence::{AppendError, Journal, OpenError, SqliteOptions, SqliteStore};
use std::fs;

/// What the writer remembers of epochs and numbers is dropped when another has written: it is asked of the database.
#[tokio::test]
async fn a_store_whose_lock_was_removed_still_refuses_the_older_owner() {
    let folder = tempfile::tempdir().unwrap();
    let first = SqliteStore::open(folder.path(), SqliteOptions::default()).unwrap();
    let mut old = Entity::claim(&first, "taken").await;
    old.append(&first, &["one"]).await.unwrap();
    let kept_out = SqliteStore::open(folder.path(), SqliteOptions::default()).map(drop);
    assert!(matches!(kept_out, Err(OpenError::InUse { .. })), "{kept_out:?}");

    fs::remove_file(folder.path().join("store.lock")).unwrap();
    let second = SqliteStore::open(folder.path(), SqliteOptions::default()).unwrap();
    let mut new = Entity::claim(&second, "taken").await;
    assert_eq!(new.highest, 1, "fence, then read");
    new.append(&second, &["two"]).await.unwrap();
    let stale = AppendError::Stale { held: old.fence.epoch, current: new.fence.epoch };
    assert_eq!(old.append(&first, &["x"]).await, Err(stale.clone()), "a number that is taken");
    old.highest = 2;
    assert_eq!(old.append(&first, &["x"]).await, Err(stale.clone()), "a number that is free");
    assert_eq!(first.delete_to(old.id.clone(), 2, old.fence.clone()).await, Err(stale));

    // And back: the one that took over is late in its turn.
    let mut again = Entity::claim(&first, "taken").await;
    again.append(&first, &["three"]).await.unwrap();
    new.highest = 3;
    assert!(matches!(new.append(&second, &["x"]).await, Err(AppendError::Stale { .. })));
    let texts: Vec<_> = recover(&second, &again.id).await.unwrap().events.into_iter().map(|(_, text)| text).collect();
    assert_eq!(texts, ["one", "two", "three"]);
    first.close().await;
    second.close().await;
}
