//! Everything that can be wrong with a store is named by a check, and only that.

use super::{check, closed_with_everything, exported, put};
use crate::store::Entity;
use persistence::{
    FeedQuery, Offset, ParkedEvent, ProjectionId, ProjectionStore, ReplayLimit, SqliteOptions, SqliteStore, StateFeed,
    admin::{AdminError, Progress, SqliteAdmin, SqliteImport, StoreImport, Subject},
};
use std::{fs, path::Path};
use tokio::sync::mpsc;

async fn findings_after(sql: &str) -> Vec<String> {
    let folder = closed_with_everything().await;
    change(folder.path(), sql);
    let (findings, _) = check(folder.path()).await.unwrap();
    findings.iter().map(ToString::to_string).collect()
}

fn change(folder: &Path, sql: &str) {
    let db = rusqlite::Connection::open(folder.join("store.db")).unwrap();
    db.execute_batch(sql).unwrap();
}

#[tokio::test]
async fn a_sound_store_has_no_findings() {
    let folder = closed_with_everything().await;
    let (findings, totals) = check(folder.path()).await.unwrap();
    assert_eq!(findings, []);
    assert_eq!((totals.entities, totals.events, totals.snapshots, totals.states), (4, 7, 2, 2));
    assert_eq!((totals.owners, totals.projections, totals.parked), (6, 1, 2));
}

/// Readers of states are at numbers that no event has: sound, in the store itself, in a copy and in what is imported.
#[tokio::test]
async fn readers_of_states_are_no_damage() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path(), SqliteOptions::default()).unwrap();
    let mut entity = Entity::claim(&store, "one event").await;
    entity.append(&store, &["1"]).await.unwrap();
    for name in ["a", "b", "c"] {
        put(&store, name, 0, "a state").await;
    }
    let query = FeedQuery::of("value");
    let reader = ProjectionId::of_states("reader", &query);
    let page = StateFeed::page(&store, query, Offset::START, ReplayLimit::default()).await.unwrap();
    let claimed = store.take_over(reader.clone()).await.unwrap();
    store.save_offset(claimed.fence.clone(), page.read_to).await.unwrap();
    let first = &page.states[0];
    let parked = ParkedEvent {
        projection: reader.clone(),
        offset: first.offset,
        id: first.id.clone(),
        seq_nr: first.stored.revision,
        attempts: 8,
        reason: "it fails".into(),
        time_ms: 17,
        replay: false,
    };
    store.park(claimed.fence, parked).await.unwrap();
    store.close().await;

    assert_eq!(check(folder.path()).await.unwrap().0, []);
    let admin = SqliteAdmin::open(folder.path()).unwrap();
    let (sender, _findings) = mpsc::channel(64);
    let copy = admin.backup(folder.path().join("copy.db"), Progress::default(), Some(sender)).await.unwrap();
    assert_eq!(copy.unwrap().parked, 1);
    let (other, records) = (tempfile::tempdir().unwrap(), exported(&admin).await.unwrap());
    let mut import = Box::new(SqliteImport::begin(other.path()).unwrap());
    import.take(records).await.unwrap();
    let (sender, _findings) = mpsc::channel(64);
    import.finish(Progress::default(), sender).await.unwrap();

    for (sql, expected) in [
        ("UPDATE projection SET position = 4", "is at offset 4, but none above 3 was ever given out"),
        ("UPDATE parked SET persistence_id = 'value|b'", "says it is value|b #1, but another state is there"),
    ] {
        change(other.path(), sql);
        let found = check(other.path()).await.unwrap().0;
        assert!(found.iter().any(|it| it.to_string().contains(expected)), "{sql}: {found:#?}");
    }
}

/// Events that were deleted without a snapshot may be meant so: told, and a copy is made all the same.
#[tokio::test]
async fn a_warning_is_no_damage() {
    let folder = closed_with_everything().await;
    change(folder.path(), "DELETE FROM snapshot");
    let (found, _) = check(folder.path()).await.unwrap();
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].warning && found[0].to_string().starts_with("warning: entity test|kept: events up to 4"));
    let (sender, mut findings) = mpsc::channel(64);
    let copy = folder.path().join("copy.db");
    let admin = SqliteAdmin::open(folder.path()).unwrap();
    admin.backup(copy.clone(), Progress::default(), Some(sender)).await.unwrap();
    assert!(findings.recv().await.unwrap().warning && copy.exists());
    let mut import = Box::new(SqliteImport::begin(folder.path().join("other")).unwrap());
    import.take(exported(&admin).await.unwrap()).await.unwrap();
    let (sender, mut findings) = mpsc::channel(64);
    import.finish(Progress::default(), sender).await.unwrap();
    assert!(findings.recv().await.unwrap().warning);
}

/// Each line breaks one thing, and says what has to be found, and how often.
#[tokio::test]
async fn whatever_is_broken_is_named() {
    let plain = "(SELECT pid FROM entity WHERE persistence_id = 'test|plain')";
    let kept = "(SELECT pid FROM entity WHERE persistence_id = 'test|kept')";
    let cases = [
        (
            format!("DELETE FROM journal WHERE pid = {plain} AND seq_nr = 4"),
            "event test|plain #5 (journal.ordering 11): event 4 is missing",
            1,
        ),
        (format!("DELETE FROM journal WHERE pid = {kept} AND seq_nr = 6"), "entity test|kept: event 6 is missing", 1),
        (
            format!("DELETE FROM journal WHERE pid = {kept} AND seq_nr = 5"),
            "event test|kept #6 (journal.ordering 9): event 5 is missing",
            1,
        ),
        (
            "UPDATE journal SET payload = x'00' WHERE ordering = 2".into(),
            "event test|plain #2 (journal.ordering 2): checksum does not match",
            1,
        ),
        (
            "UPDATE journal SET epoch = 0 WHERE ordering = 2".into(),
            "epoch falls from 1 to 0: two writers were let in",
            2,
        ),
        (
            "UPDATE journal SET epoch = 5 WHERE ordering = 11".into(),
            "entity test|plain: its last event has epoch 5, but only 1 was ever claimed",
            2,
        ),
        (
            "DELETE FROM manifest WHERE name = 'text-state/1'".into(),
            "snapshot test|kept #4 (snapshot.rowid 1): its manifest is missing",
            2,
        ),
        (format!("DELETE FROM entity WHERE pid = {plain}"), "its entity is missing", 5 + 2),
        (
            "DELETE FROM journal_tag WHERE ordering = 2; DELETE FROM tag WHERE name = 'blue'".into(),
            "tag number 2 (journal_tag.ordering 3): its name is missing",
            1,
        ),
        (
            "INSERT INTO journal_tag VALUES (1, 4711)".into(),
            "tag red (journal_tag.ordering 4711): the event it marks is missing",
            1,
        ),
        ("UPDATE snapshot SET seq_nr = 9 WHERE seq_nr = 5".into(), "snapshot test|kept #9 (snapshot.rowid 2)", 1),
        (
            "DELETE FROM snapshot".into(),
            "entity test|kept: events up to 4 are deleted and no snapshot holds what they did",
            1,
        ),
        (
            "UPDATE state SET payload = x'00' WHERE revision = 1".into(),
            "state value|set #1 (state.change 1): checksum does not match",
            1,
        ),
        (
            "UPDATE entity SET epoch = 0 WHERE persistence_id = 'value|set'".into(),
            "state value|set #1 (state.change 1): has epoch 1, but only 0 was ever claimed",
            1,
        ),
        (
            "UPDATE entity SET epoch = 7 WHERE persistence_id = 'value|set'".into(),
            "was claimed with epoch 7, but its shard knows of 1 at most",
            1,
        ),
        (
            "UPDATE entity SET slice = 1 WHERE persistence_id = 'value|set'".into(),
            "its slice is stored as 1, but is",
            2,
        ),
        (
            "UPDATE entity SET entity_type = 'other' WHERE persistence_id = 'test|plain'".into(),
            "its type is stored as \"other\"",
            2,
        ),
        (
            "UPDATE entity SET deleted_to = 99 WHERE persistence_id = 'test|kept'".into(),
            "events up to 99 are deleted, but the highest used is 6",
            2,
        ),
        (
            "UPDATE owner SET shard = 4000 WHERE entity_type = 'value' AND shard = 7".into(),
            "owner value: there is no shard 4000",
            1,
        ),
        (
            "UPDATE projection SET position = 12".into(),
            "projection reader of test: is at offset 12, but none above 11 was ever given out",
            1,
        ),
        (
            "UPDATE parked SET seq_nr = 2 WHERE position = 3".into(),
            "parked event reader of test (parked.position 3): says it is test|plain #2, but another event is there",
            1,
        ),
        ("DELETE FROM projection".into(), "parked event (parked.position 1): its consumer is missing", 2),
        ("INSERT INTO sweep VALUES (77)".into(), "entity (sweep.pid 77): is to have events removed, but is missing", 1),
    ];
    for (sql, expected, count) in cases {
        let found = findings_after(&sql).await;
        assert!(found.iter().any(|finding| finding.contains(expected)), "{sql}\nfound {found:#?}\nmissing {expected}");
        assert_eq!(found.len(), count, "{sql}\n{found:#?}");
    }
}

/// Events out of their order in the table, although each of them is there and whole.
#[tokio::test]
async fn commits_out_of_order_are_noticed() {
    let swap =
        "UPDATE journal SET ordering = 100 WHERE ordering = 10; UPDATE journal SET ordering = 10 WHERE ordering = 11;
                UPDATE journal SET ordering = 11 WHERE ordering = 100";
    let found = findings_after(swap).await;
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0].contains("#5 (journal.ordering 10): event 4 is missing"), "{found:#?}");
    assert!(found[1].contains("#4 (journal.ordering 11): comes after number 5 in commit order"), "{found:#?}");
}

/// A page of zeros somewhere in the file: named as far as it goes, and the rest is looked at all the same.
#[tokio::test]
async fn damaged_pages_are_findings_of_the_database() {
    let whole = closed_with_everything().await;
    let bytes = fs::read(whole.path().join("store.db")).unwrap();
    let mut silent = Vec::new();
    for page in 1..bytes.len() / 4096 {
        let folder = tempfile::tempdir().unwrap();
        let mut damaged = bytes.clone();
        damaged[page * 4096..(page + 1) * 4096].fill(0xAA);
        fs::write(folder.path().join("store.db"), damaged).unwrap();
        match check(folder.path()).await {
            Ok((findings, _)) if findings.is_empty() => silent.push(page),
            Ok((findings, _)) => {
                assert!(findings.iter().any(|it| it.subject == Subject::Database), "page {page}: {findings:#?}");
            }
            Err(AdminError::Failed { .. } | AdminError::Open(_)) => {}
            Err(other) => panic!("page {page}: {other}"),
        }
    }
    assert_eq!(silent, [0; 0], "pages that may be anything");
}

#[tokio::test]
async fn a_damaged_row_ends_an_export_and_is_named() {
    let folder = closed_with_everything().await;
    change(folder.path(), "UPDATE journal SET payload = x'00' WHERE ordering = 11");
    let error = exported(&SqliteAdmin::open(folder.path()).unwrap()).await.unwrap_err();
    let AdminError::Damaged(finding) = &error else { panic!("{error}") };
    assert_eq!((finding.of.as_str(), finding.seq_nr), ("test|plain", Some(5)));
}
