//! Backups and exports: everything as it was, of one moment, in an empty place, or nothing.

use super::{check, closed_with_everything, exported, is_stale, with_everything};
use crate::store::{Entity, recover};
use persistence::{
    Fence, FenceScope, Journal, Offset, PersistenceId, ProjectionId, ProjectionStore, SqliteOptions, SqliteStore,
    admin::{AdminError, Progress, ProjectionRecord, Record, SqliteAdmin, SqliteImport, StoreImport, Totals},
};
use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};
use tokio::sync::mpsc;

fn open(folder: &Path) -> SqliteStore {
    SqliteStore::open(folder, SqliteOptions::default()).unwrap()
}

async fn backup(admin: &SqliteAdmin, to: &Path) -> Result<Option<Totals>, AdminError> {
    let (sender, _findings) = mpsc::channel(64);
    admin.backup(to.to_owned(), Progress::default(), Some(sender)).await
}

async fn import(folder: &Path, records: Vec<Record>) -> Result<Totals, AdminError> {
    let mut import = Box::new(SqliteImport::begin(folder)?);
    // In pieces, as they would come.
    for batch in records.chunks(3) {
        import.take(batch.to_vec()).await?;
    }
    let (sender, _findings) = mpsc::channel(64);
    import.finish(Progress::default(), sender).await
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// A writer appends without a pause, snapshots included, while the store is copied. Each copy is a prefix of its history:
/// whole, sound, and with everything that was acknowledged before the copy began.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_beside_a_writer_is_a_prefix() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let (acknowledged, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let writer = tokio::spawn({
        let (store, acknowledged, stop) = (store.clone(), Arc::clone(&acknowledged), Arc::clone(&stop));
        async move {
            let mut entity = Entity::claim(&store, "busy").await;
            while !stop.load(Ordering::SeqCst) {
                let filler = "x".repeat(3_000);
                let number = entity.highest + 1;
                entity.append(&store, &[format!("{number} {filler}"), filler]).await.unwrap();
                acknowledged.store(entity.highest, Ordering::SeqCst);
            }
            entity.id
        }
    });
    while acknowledged.load(Ordering::SeqCst) < 200 {
        tokio::task::yield_now().await;
    }
    let copies = tempfile::tempdir().unwrap();
    let mut found = Vec::new();
    for round in 0..5 {
        let admin = SqliteAdmin::open(folder.path()).unwrap();
        let target = copies.path().join(format!("{round}")).join("store.db");
        fs::create_dir(target.parent().unwrap()).unwrap();
        let before = acknowledged.load(Ordering::SeqCst);
        let totals = backup(&admin, &target).await.unwrap().unwrap();
        let after = acknowledged.load(Ordering::SeqCst) + 2; // a batch may be stored and not yet acknowledged
        assert!((before..=after).contains(&totals.events), "{before} <= {} <= {after}", totals.events);
        found.push((round, totals.events, after > before + 2));
    }
    stop.store(true, Ordering::SeqCst);
    let id = writer.await.unwrap();
    assert!(found.iter().any(|(.., wrote)| *wrote), "something was written meanwhile: {found:?}");
    for (round, events, _) in found {
        let copy = open(&copies.path().join(format!("{round}")));
        let recovered = recover(&copy, &id).await.unwrap();
        assert_eq!(recovered.events.len() as u64, events);
        let whole =
            recovered.events.iter().filter(|(number, text)| number % 2 == 1 && text.starts_with(&format!("{number} ")));
        assert_eq!(whole.count() as u64, events / 2, "batches are whole");
        copy.close().await;
    }
    store.close().await;
}

#[tokio::test]
async fn a_backup_holds_everything_and_can_be_restored_and_written_to() {
    let folder = tempfile::tempdir().unwrap();
    let store = with_everything(folder.path()).await;
    let before = exported(&SqliteAdmin::open(folder.path()).unwrap()).await.unwrap();
    let file = folder.path().join("monday.db");
    let totals = backup(&SqliteAdmin::open(folder.path()).unwrap(), &file).await.unwrap().unwrap();
    assert_eq!(totals.events, 7);
    let plain = Entity::claim(&store, "plain").await;
    store.close().await;

    let restored = folder.path().join("restored");
    let mut import = Box::new(SqliteImport::begin(&restored).unwrap());
    import.copy(&SqliteAdmin::open(&file).unwrap(), Progress::default()).await.unwrap();
    assert!(!restored.join("store.db").exists(), "not before it was checked");
    let (sender, _findings) = mpsc::channel(64);
    import.finish(Progress::default(), sender).await.unwrap();
    assert_eq!(names(&restored), ["store.db", "store.lock"]);
    assert_eq!(exported(&SqliteAdmin::open(&restored).unwrap()).await.unwrap(), before);
    assert!(!names(folder.path()).iter().any(|name| name.starts_with("monday.db-")), "nothing beside the backup");

    let store = open(&restored);
    let mut late = Entity { fence: Fence { scope: plain.fence.scope.clone(), epoch: 1 }, ..plain };
    late.highest = 5;
    late.append(&store, &["still the owner, as in the backup"]).await.unwrap();
    store.close().await;
}

#[tokio::test]
async fn an_import_is_the_store_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = with_everything(folder.path()).await;
    // Twice claimed: the first owner of the entity and of the shard are shut out.
    let id = PersistenceId::of("test", "plain");
    let late = Entity { id: id.clone(), fence: store.claim(FenceScope::Entity(id.clone())).await.unwrap(), highest: 5 };
    store.claim(FenceScope::Entity(id.clone())).await.unwrap();
    let records = exported(&SqliteAdmin::open(folder.path()).unwrap()).await.unwrap();
    store.close().await;

    let other = tempfile::tempdir().unwrap();
    let totals = import(other.path(), records.clone()).await.unwrap();
    assert_eq!((totals.events, totals.parked), (7, 2));
    assert_eq!(names(other.path()), ["store.db", "store.lock"]);
    assert_eq!(exported(&SqliteAdmin::open(other.path()).unwrap()).await.unwrap(), records);
    assert_eq!(check(other.path()).await.unwrap().0, []);

    let store = open(other.path());
    let mut late = late;
    assert!(is_stale(&late.append(&store, &["too late"]).await), "shut out before, shut out now");
    let mut next = Entity::claim(&store, "plain").await;
    assert_eq!(next.fence.epoch, late.fence.epoch + 2);
    next.append(&store, &["sixth"]).await.unwrap();
    let claimed = store.take_over(ProjectionId { group: "reader".into(), source: "test".into() }).await.unwrap();
    assert_eq!((claimed.offset, claimed.fence.epoch), (Offset::of_ordering(3), 2));
    let info = SqliteAdmin::open(other.path()).unwrap();
    assert_eq!(exported(&info).await.unwrap().len(), records.len() + 1);
    store.close().await;
}

/// The newest events of all are deleted: their places are not given out again, or consumers would pass over what takes them.
#[tokio::test]
async fn places_of_deleted_events_are_not_given_out_again() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path());
    let mut entity = Entity::claim(&store, "short").await;
    entity.append(&store, &["1", "2", "3"]).await.unwrap();
    entity.save(&store, 3, "all").await.unwrap();
    entity.delete_to(&store, 3).await.unwrap();
    let records = exported(&SqliteAdmin::open(folder.path()).unwrap()).await.unwrap();
    store.close().await;
    let other = tempfile::tempdir().unwrap();
    import(other.path(), records).await.unwrap();
    let store = open(other.path());
    let mut entity = Entity::claim(&store, "short").await;
    assert_eq!(entity.highest, 3, "nor are sequence numbers");
    entity.append(&store, &["4"]).await.unwrap();
    let records = exported(&SqliteAdmin::open(other.path()).unwrap()).await.unwrap();
    let offsets: Vec<_> =
        records.iter().filter_map(|it| if let Record::Event(it) = it { Some(it.offset) } else { None }).collect();
    assert_eq!(offsets, [Offset::of_ordering(4)]);
    store.close().await;
}

/// What another kind of store exported: places are numbered anew, and consumers go on behind the same event.
#[tokio::test]
async fn offsets_of_another_kind_of_store_are_translated() {
    let folder = closed_with_everything().await;
    let foreign = |offset: Offset| Offset::new(2, 1_000 + offset.ordering(), 7 * offset.ordering());
    let mut records = exported(&SqliteAdmin::open(folder.path()).unwrap()).await.unwrap();
    for record in &mut records {
        match record {
            Record::Places(places) => places.events = foreign(places.events),
            Record::Projection(projection) => projection.offset = foreign(projection.offset),
            Record::Parked(parked) => parked.offset = foreign(parked.offset),
            Record::Event(event) => event.offset = foreign(event.offset),
            Record::State(state) => state.offset = foreign(state.offset),
            _ => {}
        }
    }
    let caught_up = ProjectionRecord {
        group: "up to date".into(),
        source: "test".into(),
        epoch: 3,
        offset: foreign(Offset::of_ordering(99)),
        paused: true,
    };
    let at = records.iter().position(|it| matches!(it, Record::Parked(_))).unwrap();
    records.insert(at, Record::Projection(caught_up));
    let other = tempfile::tempdir().unwrap();
    import(other.path(), records).await.unwrap();
    let imported = exported(&SqliteAdmin::open(other.path()).unwrap()).await.unwrap();
    let events: Vec<_> = imported
        .iter()
        .filter_map(|it| if let Record::Event(it) = it { Some((it.offset.ordering(), it.seq_nr)) } else { None })
        .collect();
    assert_eq!(events, [(1, 1), (2, 2), (3, 3), (4, 5), (5, 6), (6, 4), (7, 5)], "in the order of commits");
    let consumers: Vec<_> = imported
        .iter()
        .filter_map(|it| match it {
            Record::Projection(it) => Some((it.group.as_str(), it.offset, it.paused)),
            Record::Parked(it) => Some(("parked", it.offset, it.replay)),
            _ => None,
        })
        .collect();
    let place = Offset::of_ordering;
    let expected = [
        ("reader", place(3), false),
        ("up to date", place(7), true),
        ("parked", place(1), false),
        ("parked", place(3), false),
    ];
    assert_eq!(consumers, expected);
}

#[tokio::test]
async fn a_place_that_is_not_empty_is_left_alone() {
    let folder = closed_with_everything().await;
    let before = fs::read(folder.path().join("store.db")).unwrap();
    let refused = SqliteImport::begin(folder.path()).err().unwrap();
    assert!(matches!(refused, AdminError::NotEmpty { .. }), "{refused}");
    assert!(refused.to_string().contains("holds store.db"), "{refused}");
    let admin = SqliteAdmin::open(folder.path()).unwrap();
    let refused = backup(&admin, &folder.path().join("store.lock")).await.unwrap_err();
    assert!(matches!(refused, AdminError::NotEmpty { .. }), "{refused}");
    assert_eq!(fs::read(folder.path().join("store.db")).unwrap(), before);

    let other = tempfile::tempdir().unwrap();
    fs::write(other.path().join("notes.txt"), "mine").unwrap();
    assert!(SqliteImport::begin(other.path()).err().unwrap().to_string().contains("notes.txt"));
    let taken = tempfile::tempdir().unwrap();
    let _first = SqliteImport::begin(taken.path()).unwrap();
    assert!(matches!(SqliteImport::begin(taken.path()), Err(AdminError::Open(_))), "one at a time");
}

#[tokio::test]
async fn an_import_that_ends_early_leaves_nothing() {
    let folder = closed_with_everything().await;
    let records = exported(&SqliteAdmin::open(folder.path()).unwrap()).await.unwrap();
    let other = tempfile::tempdir().unwrap();
    let mut import = SqliteImport::begin(other.path()).unwrap();
    import.take(records[..9].to_vec()).await.unwrap();
    let [unfinished, lock] = &names(other.path())[..] else { panic!("{:?}", names(other.path())) };
    assert!(unfinished.starts_with("store.db.unfinished-") && lock == "store.lock", "{unfinished} {lock}");
    drop(import);
    assert_eq!(names(other.path()), [""; 0]);
    assert!(matches!(SqliteAdmin::open(other.path()), Err(AdminError::NoStore { .. })));
    // Folders that were made for it go too, and nothing else.
    let (inner, mine) = (other.path().join("a/b/c"), other.path().join("a/mine.txt"));
    let import = SqliteImport::begin(&inner).unwrap();
    fs::write(&mine, "put there meanwhile").unwrap();
    drop(import);
    assert_eq!(names(&other.path().join("a")), ["mine.txt"]);
    fs::remove_dir_all(other.path().join("a")).unwrap();
    // What one that was killed leaves is no hindrance, and gone afterwards.
    fs::write(other.path().join("store.db.unfinished-0123456789abcdef"), "half of it").unwrap();
    fs::write(other.path().join("store.lock"), "4711").unwrap();
    drop(SqliteImport::begin(other.path()).unwrap());
    assert_eq!(names(other.path()), ["store.lock"], "that was there before");
    self::import(other.path(), records).await.unwrap();
    assert_eq!(names(other.path()), ["store.db", "store.lock"]);
}

/// Two copies to one place at once: each has a file of its own, and the second to be complete is told that it is late.
#[tokio::test]
async fn copies_to_one_place_do_not_mix() {
    let folder = closed_with_everything().await;
    let admins = [SqliteAdmin::open(folder.path()).unwrap(), SqliteAdmin::open(folder.path()).unwrap()];
    let to = folder.path().join("copy.db");
    let (first, second) = tokio::join!(backup(&admins[0], &to), backup(&admins[1], &to));
    let refused = first.and(second).unwrap_err();
    assert!(matches!(refused, AdminError::NotEmpty { .. }), "{refused}");
    assert_eq!(check(&to).await.unwrap().0, []);
    assert!(names(folder.path()).iter().all(|name| !name.contains("unfinished")));
}

/// Whoever wants what is damaged back gets it.
#[tokio::test]
async fn a_copy_can_be_put_in_place_unchecked() {
    let folder = closed_with_everything().await;
    let db = rusqlite::Connection::open(folder.path().join("store.db")).unwrap();
    db.execute("DELETE FROM journal WHERE ordering = 2", ()).unwrap();
    drop(db);
    let other = folder.path().join("other");
    let mut import = SqliteImport::begin(&other).unwrap();
    import.copy(&SqliteAdmin::open(folder.path()).unwrap(), Progress::default()).await.unwrap();
    import.finish_unchecked().await.unwrap();
    assert_eq!(names(&other), ["store.db", "store.lock"]);
    assert!(!check(&other).await.unwrap().0.is_empty());
}

/// Each case changes the records in one way; the import says what is wrong, and there is no store.
#[tokio::test]
async fn records_that_make_no_sense_are_refused() {
    let folder = closed_with_everything().await;
    let records = exported(&SqliteAdmin::open(folder.path()).unwrap()).await.unwrap();
    let at = |kind: fn(&Record) -> bool| records.iter().position(kind).unwrap();
    let (entity, event) = (at(|it| matches!(it, Record::Entity(_))), at(|it| matches!(it, Record::Event(_))));
    let changed = |change: &dyn Fn(&mut Vec<Record>)| {
        let mut records = records.clone();
        change(&mut records);
        records
    };
    let cases: [(Vec<Record>, &str); 5] = [
        (changed(&|it| drop(it.remove(entity))), "comes before its entity"),
        (changed(&|it| it.insert(event, it[event].clone())), "does not come in the order of offsets"),
        (changed(&|it| it.insert(entity, it[entity].clone())), "is there twice"),
        (changed(&|it| drop(it.remove(event + 1))), "not sound: 1 findings"),
        (changed(&|it| it.retain(|record| !matches!(record, Record::Owner(_)))), "not sound"),
    ];
    for (records, reason) in cases {
        let other = tempfile::tempdir().unwrap();
        let refused = import(other.path(), records).await.unwrap_err().to_string();
        assert!(refused.contains(reason), "{refused}, not {reason}");
        assert_eq!(names(other.path()), [""; 0], "{reason}");
    }
}
