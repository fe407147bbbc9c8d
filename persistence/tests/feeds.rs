//! Every store keeps the contract of feeds and offsets.

use persistence::{
    Append, BoxFuture, Changes, Durability, EntityIds, EventFeed, FeedPage, FeedQuery, FenceScope, InMemoryJournal,
    InMemoryProjections, InMemoryStateStore, Journal, JournalError, LiveFeed, Offset, PersistenceId, ProjectionId,
    ProjectionStore, RawEvent, RawState, ReplayLimit, SqliteOptions, SqliteStore, StateFeed, StateStore,
    testkit::{FeedSubject, feed_contract},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tempfile::TempDir;

struct InMemory(InMemoryJournal<RawEvent>, InMemoryStateStore<RawState>, InMemoryProjections);

impl FeedSubject for InMemory {
    fn journal(&self) -> Arc<dyn Journal<RawEvent>> {
        Arc::new(self.0.clone())
    }

    fn feed(&self) -> Arc<dyn EventFeed<RawEvent>> {
        Arc::new(self.0.clone())
    }

    fn states(&self) -> Arc<dyn StateStore<RawState>> {
        Arc::new(self.1.clone())
    }

    fn state_feed(&self) -> Arc<dyn StateFeed<RawState>> {
        Arc::new(self.1.clone())
    }

    fn ids(&self) -> Arc<dyn EntityIds> {
        Arc::new(self.0.clone())
    }

    fn state_ids(&self) -> Arc<dyn EntityIds> {
        Arc::new(self.1.clone())
    }

    fn projections(&self) -> Arc<dyn ProjectionStore> {
        Arc::new(self.2.clone())
    }

    fn restart(&mut self) -> BoxFuture<'_, bool> {
        Box::pin(async { false })
    }
}

struct Sqlite {
    folder: TempDir,
    options: SqliteOptions,
    store: SqliteStore,
}

impl Sqlite {
    fn new(options: SqliteOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(folder.path(), options.clone()).unwrap();
        Self { folder, options, store }
    }
}

impl FeedSubject for Sqlite {
    fn journal(&self) -> Arc<dyn Journal<RawEvent>> {
        Arc::new(self.store.clone())
    }

    fn feed(&self) -> Arc<dyn EventFeed<RawEvent>> {
        Arc::new(self.store.clone())
    }

    fn states(&self) -> Arc<dyn StateStore<RawState>> {
        Arc::new(self.store.clone())
    }

    fn state_feed(&self) -> Arc<dyn StateFeed<RawState>> {
        Arc::new(self.store.clone())
    }

    fn ids(&self) -> Arc<dyn EntityIds> {
        Arc::new(self.store.clone())
    }

    fn state_ids(&self) -> Arc<dyn EntityIds> {
        Arc::new(self.store.clone())
    }

    fn projections(&self) -> Arc<dyn ProjectionStore> {
        Arc::new(self.store.clone())
    }

    fn restart(&mut self) -> BoxFuture<'_, bool> {
        Box::pin(async {
            self.store.close().await;
            self.store = SqliteStore::open(self.folder.path(), self.options.clone()).unwrap();
            true
        })
    }
}

#[tokio::test]
async fn in_memory() {
    let journal = InMemoryJournal::raw();
    let states = journal.states();
    feed_contract(&mut InMemory(journal, states, InMemoryProjections::default())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite() {
    feed_contract(&mut Sqlite::new(SqliteOptions::default())).await;
}

#[tokio::test]
async fn sqlite_with_the_smallest_settings() {
    feed_contract(&mut Sqlite::new(SqliteOptions {
        batch_requests: 1,
        readers: 1,
        checkpoint_pages: 1,
        durability: Durability::Os,
        ..SqliteOptions::default()
    }))
    .await;
}

/// A feed at whose end an event is stored just after it was read.
struct Late {
    journal: InMemoryJournal<RawEvent>,
    stored: AtomicBool,
}

impl EventFeed<RawEvent> for Late {
    fn page(
        &self,
        query: FeedQuery,
        after: Offset,
        limit: ReplayLimit,
    ) -> BoxFuture<'static, Result<FeedPage<RawEvent>, JournalError>> {
        let page = self.journal.page(query, after, limit);
        let (journal, first) = (self.journal.clone(), !self.stored.swap(true, Ordering::SeqCst));
        Box::pin(async move {
            let page = page.await;
            if first {
                append(&journal, "late", 1).await;
            }
            page
        })
    }

    fn offset_of(&self, id: PersistenceId, seq_nr: u64) -> BoxFuture<'static, Result<Option<Offset>, JournalError>> {
        self.journal.offset_of(id, seq_nr)
    }

    fn changes(&self) -> Changes {
        self.journal.changes()
    }
}

/// The moment between reading to the end and waiting for more: what is stored then is not missed.
#[tokio::test]
async fn an_event_stored_between_reading_and_waiting_is_seen() {
    let late = Late { journal: InMemoryJournal::raw(), stored: AtomicBool::new(false) };
    let mut live = LiveFeed::new(Arc::new(late), FeedQuery::of("late"), Offset::START, ReplayLimit::default());
    let page = tokio::time::timeout(Duration::from_secs(10), live.next()).await.expect("the event is missed").unwrap();
    assert_eq!((page.events.len(), page.read_to), (1, Offset::of_ordering(1)));
}

async fn append(journal: &impl Journal<RawEvent>, kind: &str, count: usize) {
    let id = PersistenceId::of(kind, "a");
    let fence = journal.claim(FenceScope::Entity(id.clone())).await.unwrap();
    let event = RawEvent { manifest: "e".into(), payload: bytes::Bytes::new(), meta: None };
    let events = vec![event; count];
    let append = Append { id, expected_seq: 1, fence, batch_id: 1, events, tags: Vec::new(), time_ms: 0 };
    journal.append(append).await.unwrap();
}

/// Many rows of other types cost a page each so many rows, as many as it may hold, and lead on all the same.
#[tokio::test]
async fn a_rare_type_is_found_behind_many_events_of_another() {
    let subject = Sqlite::new(SqliteOptions::default());
    let store = &subject.store;
    append(store, "common", 20_500).await;
    append(store, "rare", 1).await;
    let page = |after, events| {
        let limit = ReplayLimit { events, bytes: usize::MAX };
        EventFeed::page(store, FeedQuery::of("rare"), after, limit)
    };
    let end = Offset::of_ordering(20_501);
    for (events, scanned) in [(1, 1_000), (5_000, 5_000), (usize::MAX, 20_000)] {
        let first = page(Offset::START, events).await.unwrap();
        assert_eq!((first.events.len(), first.read_to, first.end), (0, Offset::of_ordering(scanned), end));
    }
    let second = page(Offset::of_ordering(20_000), 1).await.unwrap();
    assert_eq!((second.events.len(), second.read_to), (1, end));
}

/// An offset that no store that counts has given out is refused, instead of a reader that waits for ever.
#[tokio::test]
async fn an_offset_of_another_kind_of_store_is_refused() {
    let (memory, sqlite) = (InMemoryJournal::raw(), Sqlite::new(SqliteOptions::default()));
    let foreign = Offset::new(1, 7345, 17);
    for feed in [&memory as &dyn EventFeed<RawEvent>, &sqlite.store] {
        let error = feed.page(FeedQuery::of("cart"), foreign, ReplayLimit::default()).await.unwrap_err();
        assert_eq!(error, JournalError::ForeignOffset { offset: foreign });
        assert!(error.is_permanent() && error.to_string().contains("offset 1.7345.17"), "{error}");
    }
}

/// A store written before there were offsets is taken over as it is.
#[tokio::test]
async fn a_store_without_the_tables_is_given_them() {
    let mut subject = Sqlite::new(SqliteOptions::default());
    subject.store.close().await;
    let db = rusqlite::Connection::open(subject.folder.path().join("store.db")).unwrap();
    db.execute_batch("DROP TABLE projection; DROP TABLE parked; DROP TABLE IF EXISTS state").unwrap();
    db.execute("UPDATE meta SET value = 1 WHERE key = 'schema_version'", ()).unwrap();
    drop(db);
    subject.store = SqliteStore::open(subject.folder.path(), SqliteOptions::default()).unwrap();
    let projection = ProjectionId { group: "mail".into(), source: "cart".into() };
    assert_eq!(ProjectionStore::take_over(&subject.store, projection).await.unwrap().offset, Offset::START);
}
