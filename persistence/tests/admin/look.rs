//! What is there, while somebody writes.

use super::{check, closed_with_everything, exported, with_everything};
use crate::store::Entity;
use persistence::{
    FeedQuery, Offset, PersistenceId, ProjectionId, ProjectionStore, ReplayLimit, SqliteOptions, SqliteStore,
    admin::{AdminError, EntityQuery, Progress, SqliteAdmin, StoreAdmin},
};
use std::{fs, path::Path};

fn id(text: &str) -> PersistenceId {
    PersistenceId::parse(text).unwrap()
}

fn all() -> EntityQuery {
    EntityQuery { entity_type: None, prefix: String::new(), after: None, limit: 100 }
}

#[tokio::test]
async fn info_counts_what_is_left_beside_the_one_who_writes() {
    let folder = tempfile::tempdir().unwrap();
    let store = with_everything(folder.path()).await;
    let admin = SqliteAdmin::open(folder.path()).unwrap();
    let info = admin.info().await.unwrap();
    assert_eq!((info.backend, info.generation, info.writer), ("sqlite", 0, Some(std::process::id())));
    assert_eq!((info.entities, info.events, info.snapshots, info.states), (4, 7, 2, 1));
    assert_eq!(info.highest_offset, Offset::of_ordering(11));
    let types: Vec<_> = info.types.iter().map(|it| (it.entity_type.as_str(), it.entities, it.events)).collect();
    assert_eq!(types, [("test", 2, 7), ("value", 2, 0)]);
    let [reader] = &info.projections[..] else { panic!("{:?}", info.projections) };
    assert_eq!(
        (reader.offset, reader.behind, reader.behind_more, reader.parked),
        (Offset::of_ordering(3), Some(4), false, 2)
    );
    assert!(info.sizes.database > 0 && info.sizes.log > 0, "{:?}", info.sizes);

    // What is committed later is in the next answer.
    Entity::claim(&store, "plain").await.append(&store, &["sixth"]).await.unwrap();
    assert_eq!(admin.info().await.unwrap().events, 8);
    store.close().await;
    assert_eq!(admin.info().await.unwrap().writer, None);
}

/// Readers of slices, of a tag, of states, and one of another store: each is behind by what it has yet to read.
#[tokio::test]
async fn every_reader_is_behind_by_what_it_reads() {
    let folder = tempfile::tempdir().unwrap();
    let store = with_everything(folder.path()).await;
    let (plain, kept) = (id("test|plain").slice(), id("test|kept").slice());
    assert_ne!(plain, kept);
    let (events, states) = (FeedQuery::of("test"), FeedQuery::of("value"));
    let at = Offset::of_ordering;
    let readers = [
        (ProjectionId::of_events("a slice", &events.clone().slices(plain..=plain)), at(3), Some(2)),
        (ProjectionId::of_events("another slice", &events.clone().slices(kept..=kept)), at(3), Some(2)),
        (ProjectionId::of_events("a tag", &events.clone().tag("red")), at(2), Some(1)),
        (ProjectionId::of_events("a rarer tag", &events.clone().tag("blue")), at(0), Some(1)),
        (ProjectionId::of_events("no such tag", &events.tag("black")), at(0), Some(0)),
        (ProjectionId::of_states("states", &states), at(1), Some(1)),
        (ProjectionId::of_states("states of a tag", &states.clone().tag("green")), at(0), Some(2)),
        (ProjectionId::of_states("states, all read", &states), at(3), Some(0)),
        (ProjectionId { group: "elsewhere".into(), source: "test|1-2|topics".into() }, at(9), None),
        (ProjectionId { group: "of another store".into(), source: "test".into() }, Offset::new(1, 2, 3), None),
    ];
    for (reader, offset, _) in &readers {
        let claimed = store.take_over(reader.clone()).await.unwrap();
        store.save_offset(claimed.fence, *offset).await.unwrap();
    }
    let info = SqliteAdmin::open(folder.path()).unwrap().info().await.unwrap();
    for (reader, _, behind) in readers {
        let found =
            info.projections.iter().find(|it| *it.group == *reader.group && *it.source == *reader.source).unwrap();
        assert_eq!(found.behind, behind, "{found:?}");
        assert_eq!(found.behind_since_ms.is_some(), behind.is_some_and(|behind| behind > 0), "{found:?}");
    }
    store.close().await;
}

#[tokio::test]
async fn entities_come_in_pages_by_type_and_prefix() {
    let folder = closed_with_everything().await;
    let admin = SqliteAdmin::open(folder.path()).unwrap();
    let list = |query: EntityQuery| {
        let admin = admin.clone();
        async move { admin.entities(query).await.unwrap().iter().map(|it| it.id.to_string()).collect::<Vec<_>>() }
    };
    assert_eq!(list(all()).await, ["test|kept", "test|plain", "value|gone", "value|set"]);
    assert_eq!(list(EntityQuery { limit: 2, ..all() }).await, ["test|kept", "test|plain"]);
    assert_eq!(list(EntityQuery { after: Some(id("test|plain")), ..all() }).await, ["value|gone", "value|set"]);
    assert_eq!(list(EntityQuery { entity_type: Some("value".into()), ..all() }).await, ["value|gone", "value|set"]);
    let of_type = EntityQuery { entity_type: Some("test".into()), prefix: "k".into(), ..all() };
    assert_eq!(list(of_type).await, ["test|kept"]);
    assert_eq!(list(EntityQuery { prefix: "te".into(), ..all() }).await, ["test|kept", "test|plain"]);
    assert_eq!(list(EntityQuery { entity_type: Some("tes".into()), ..all() }).await, [""; 0], "a type is no prefix");

    let kept = &admin.entities(all()).await.unwrap()[0];
    assert_eq!((kept.highest_seq, kept.deleted_to, kept.snapshot_seq, kept.revision), (6, 4, Some(5), None));
}

#[tokio::test]
async fn one_entity_is_shown_with_all_that_is_stored_of_it() {
    let folder = closed_with_everything().await;
    let admin = SqliteAdmin::open(folder.path()).unwrap();
    let kept = admin.head(id("test|kept")).await.unwrap().unwrap();
    assert_eq!((kept.highest_seq, kept.deleted_to, kept.epoch, kept.shard_epoch), (6, 4, 1, 0));
    assert_eq!(kept.snapshots.iter().map(|it| it.seq_nr).collect::<Vec<_>>(), [5, 4]);
    assert_eq!(admin.snapshot(id("test|kept")).await.unwrap().unwrap().payload, "state at 5");
    let seq_nrs = |from, to, events| {
        let admin = admin.clone();
        async move {
            let limit = ReplayLimit { events, ..ReplayLimit::default() };
            let page = admin.events(id("test|kept"), from, to, limit).await.unwrap();
            page.iter().map(|it| it.seq_nr).collect::<Vec<_>>()
        }
    };
    assert_eq!(
        (seq_nrs(1, 99, 9).await, seq_nrs(6, 6, 9).await, seq_nrs(1, 99, 1).await),
        (vec![5, 6], vec![6], vec![5])
    );

    let third = admin.events(id("test|plain"), 3, 3, ReplayLimit::default()).await.unwrap().remove(0);
    assert_eq!(
        (third.tags, third.meta.as_deref(), third.batch_id),
        (vec!["blue".into(), "red".into()], Some(&[0, 1, 255][..]), None)
    );
    let second = admin.events(id("test|plain"), 2, 2, ReplayLimit::default()).await.unwrap().remove(0);
    assert!(second.batch_id.is_some(), "a batch begins here");

    let set = admin.state(id("value|set")).await.unwrap().unwrap();
    assert_eq!((set.revision, set.payload.as_deref(), set.tag.as_deref()), (1, Some(&b"a state"[..]), Some("green")));
    let gone = admin.state(id("value|gone")).await.unwrap().unwrap();
    assert_eq!((gone.revision, gone.payload, gone.meta.as_deref()), (2, None, Some(&b"why"[..])));
    assert_eq!(admin.head(id("value|gone")).await.unwrap().unwrap().state.unwrap().bytes, None);
    assert_eq!(admin.head(id("value|never")).await.unwrap(), None);
}

/// Whoever looks leaves no trace in the database, and does not keep the next writer out.
#[tokio::test]
async fn a_look_changes_nothing_and_locks_nobody_out() {
    let folder = closed_with_everything().await;
    let file = folder.path().join("store.db");
    let before = fs::read(&file).unwrap();
    let admin = SqliteAdmin::open(folder.path()).unwrap();
    admin.info().await.unwrap();
    check(folder.path()).await.unwrap();
    assert_eq!(fs::read(&file).unwrap(), before);
    let store = SqliteStore::open(folder.path(), SqliteOptions::default()).unwrap();
    Entity::claim(&store, "plain").await.append(&store, &["beside a reader"]).await.unwrap();
    assert_eq!(admin.info().await.unwrap().events, 8);
    store.close().await;
}

/// A copy of the files of a store that was killed: its last events are only in the log.
#[tokio::test]
async fn what_a_crash_left_in_the_log_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let store = with_everything(folder.path()).await;
    let killed = tempfile::tempdir().unwrap();
    for name in ["store.db", "store.db-wal"] {
        fs::copy(folder.path().join(name), killed.path().join(name)).unwrap();
    }
    store.close().await;
    let admin = SqliteAdmin::open(killed.path()).unwrap();
    assert_eq!(admin.info().await.unwrap().events, 7);
    assert_eq!(check(killed.path()).await.unwrap().0, []);
}

#[tokio::test]
async fn what_is_no_store_is_said_to_be_none() {
    let folder = tempfile::tempdir().unwrap();
    let refused = |path: &Path| SqliteAdmin::open(path).err().unwrap().to_string();
    assert!(refused(folder.path()).contains("there is no store in"));
    assert!(refused(&folder.path().join("nowhere")).contains("there is no store in"));
    let file = folder.path().join("store.db");
    fs::write(&file, "no database, but long enough to look like one, were it not for its first bytes, which are text")
        .unwrap();
    assert!(refused(folder.path()).contains("is not a SQLite database"));
    fs::write(&file, "").unwrap();
    assert!(matches!(SqliteAdmin::open(folder.path()), Err(AdminError::NoStore { .. })));
    fs::remove_file(&file).unwrap();
    let other = rusqlite::Connection::open(&file).unwrap();
    other.execute_batch("CREATE TABLE theirs(x)").unwrap();
    drop(other);
    assert!(refused(folder.path()).contains("database of another program"));
}

/// An older version's store cannot be read as it is, and reading must not upgrade it.
#[tokio::test]
async fn older_tables_are_refused_with_what_to_do() {
    let folder = closed_with_everything().await;
    let file = folder.path().join("store.db");
    let db = rusqlite::Connection::open(&file).unwrap();
    db.execute("UPDATE meta SET value = 1 WHERE key = 'schema_version'", ()).unwrap();
    drop(db);
    let refused = SqliteAdmin::open(folder.path()).err().unwrap();
    assert!(matches!(refused, AdminError::OlderSchema { found: 1, .. }), "{refused}");
}

#[tokio::test]
async fn a_task_that_is_cancelled_ends() {
    let folder = closed_with_everything().await;
    let admin = SqliteAdmin::open(folder.path()).unwrap();
    let progress = Progress::default();
    progress.cancel();
    let (sender, _findings) = tokio::sync::mpsc::channel(64);
    assert!(matches!(admin.check(progress.clone(), sender).await, Err(AdminError::Cancelled)));
    let target = folder.path().join("copy.db");
    assert!(matches!(admin.backup(target.clone(), progress, None).await, Err(AdminError::Cancelled)));
    let names = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(names.into_iter().all(|name| !name.to_string_lossy().starts_with("copy.db")));
    assert_eq!(exported(&admin).await.unwrap().len(), 1 + 6 + 1 + 2 + 4 + 7 + 2 + 2, "the next one is not");
}
