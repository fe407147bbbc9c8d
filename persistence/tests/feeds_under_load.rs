//! Feeds under load: many writers, some commits slow. No reader misses an event, sees one twice, or sees two of an entity
//! in the wrong order.

use persistence::{
    Append, EventFeed, FeedQuery, FenceScope, InMemoryJournal, Journal, LiveFeed, Offset, PersistenceId, RawEvent,
    ReplayLimit, SqliteOptions, SqliteStore, slice_ranges,
};
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

const WRITERS: u64 = 16;
const ENTITIES_EACH: u64 = 32;
const BATCH: u64 = 8;

/// Batches of which one is slow: so much payload that its commit takes far longer than the others'.
const SLOW_EVERY: u64 = 97;
const SLOW_BYTES: usize = 2 << 20;

/// Far more than any of it takes.
const TIME: Duration = Duration::from_secs(3_600);

/// How many events the long form stores.
pub(crate) const MANY: u64 = 1_024_000;

fn entity(writer: u64, number: u64) -> PersistenceId {
    PersistenceId::of("load", &format!("{writer}-{number}"))
}

/// Batches of all entities in turn; every other event of one is tagged.
async fn write(journal: Arc<dyn Journal<RawEvent>>, writer: u64, events: u64) {
    let mut fences = Vec::new();
    for number in 0..ENTITIES_EACH {
        fences.push(journal.claim(FenceScope::Entity(entity(writer, number))).await.unwrap());
    }
    for batch in 0..events / BATCH {
        let number = batch % ENTITIES_EACH;
        let expected_seq = batch / ENTITIES_EACH * BATCH + 1;
        let slow = batch % SLOW_EVERY == writer;
        let event = |seq_nr: u64| {
            let bytes = if slow && seq_nr == expected_seq { SLOW_BYTES } else { 64 };
            RawEvent { manifest: "load/1".into(), payload: vec![seq_nr as u8; bytes].into(), meta: None }
        };
        let append = Append {
            id: entity(writer, number),
            expected_seq,
            fence: fences[number as usize].clone(),
            batch_id: rand::random(),
            events: (expected_seq..expected_seq + BATCH).map(event).collect(),
            tags: (expected_seq..expected_seq + BATCH)
                .map(|seq_nr| if seq_nr % 2 == 0 { vec!["even".into()] } else { Vec::new() })
                .collect(),
            time_ms: seq_time(expected_seq),
        };
        journal.append(append).await.unwrap();
        if batch % 16 == 0 {
            // Somebody else writes too: what is passed over must not hide anything.
            tokio::task::yield_now().await;
        }
    }
}

fn seq_time(seq_nr: u64) -> u64 {
    1_000_000 - seq_nr % 1_000 // not in order, as clocks are
}

/// Reads until `events` were seen; each entity's numbers grow by `step`, from `first` on.
async fn follow(feed: Arc<dyn EventFeed<RawEvent>>, query: FeedQuery, events: u64, (first, step): (u64, u64)) -> u64 {
    let limit = ReplayLimit { events: 1_000, bytes: 1 << 20 };
    let mut live = LiveFeed::new(feed, query, Offset::START, limit);
    let mut next: HashMap<PersistenceId, u64> = HashMap::new();
    let (mut last, mut seen, mut pages) = (Offset::START, 0, 0);
    while seen < events {
        let page = live.next().await.unwrap();
        pages += 1;
        for event in page.events {
            assert!(event.offset > last && event.offset <= page.read_to, "{} after {last}", event.offset);
            last = event.offset;
            let expected = next.entry(event.id.clone()).or_insert(first);
            assert_eq!(event.stored.seq_nr, *expected, "the next event of {}", event.id);
            *expected += step;
            seen += 1;
        }
        assert!(page.read_to <= page.end);
        last = last.max(page.read_to);
    }
    assert_eq!(seen, events);
    pages
}

/// How many of `events` each writer stores are in `query`'s slices.
fn in_slices(query: &FeedQuery, events: u64) -> u64 {
    let all = (0..WRITERS).flat_map(|writer| (0..ENTITIES_EACH).map(move |number| (writer, number)));
    let mine = all.filter(|(writer, number)| query.slices.contains(&entity(*writer, *number).slice()));
    let batches = events / BATCH;
    mine.map(|(_, number)| (batches / ENTITIES_EACH + u64::from(number < batches % ENTITIES_EACH)) * BATCH).sum()
}

/// `events` in all, by sixteen writers, while four readers follow: one all, two half of the slices, one a tag.
#[expect(clippy::print_stdout, reason = "the figures of the long form")]
pub(crate) async fn under_load(
    journal: Arc<dyn Journal<RawEvent>>,
    feed: Arc<dyn EventFeed<RawEvent>>,
    events: u64,
    store: &str,
) {
    let each = events / WRITERS / BATCH * BATCH;
    let all = each * WRITERS;
    let began = std::time::SystemTime::now();
    let mut readers = vec![
        tokio::spawn(follow(Arc::clone(&feed), FeedQuery::of("load"), all, (1, 1))),
        tokio::spawn(follow(Arc::clone(&feed), FeedQuery::of("load").tag("even"), all / 2, (2, 2))),
    ];
    for slices in slice_ranges(2) {
        let query = FeedQuery::of("load").slices(slices);
        let mine = in_slices(&query, each);
        readers.push(tokio::spawn(follow(Arc::clone(&feed), query, mine, (1, 1))));
    }
    let noise = Arc::new(AtomicU64::new(0));
    let writers: Vec<_> = (0..WRITERS).map(|writer| tokio::spawn(write(Arc::clone(&journal), writer, each))).collect();
    let others = tokio::spawn(other_types(journal, Arc::clone(&noise)));
    for writer in writers {
        writer.await.unwrap();
    }
    others.abort();
    let mut pages = Vec::new();
    for reader in readers {
        let read = tokio::time::timeout(TIME, reader).await.expect("an event is missed");
        pages.push(read.unwrap());
    }
    let seconds = began.elapsed().unwrap_or_default().as_secs_f64();
    println!(
        "{store}: {all} events by {WRITERS} writers in {seconds:.1} s ({:.0}/s), and {} of another type; 4 readers saw \
         each of theirs once and in order, in {pages:?} pages",
        all as f64 / seconds,
        noise.load(Ordering::Relaxed),
    );
}

/// Events that no reader asks for.
async fn other_types(journal: Arc<dyn Journal<RawEvent>>, written: Arc<AtomicU64>) {
    let id = PersistenceId::of("other", "a");
    let fence = journal.claim(FenceScope::Entity(id.clone())).await.unwrap();
    for seq_nr in 1.. {
        let event = RawEvent { manifest: "other/1".into(), payload: bytes::Bytes::new(), meta: None };
        let (id, fence, tags) = (id.clone(), fence.clone(), vec![vec!["even".into()]]);
        let append = Append { id, expected_seq: seq_nr, fence, batch_id: 1, events: vec![event], tags, time_ms: 0 };
        journal.append(append).await.unwrap();
        written.store(seq_nr, Ordering::Relaxed);
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_memory() {
    let journal = InMemoryJournal::raw();
    under_load(Arc::new(journal.clone()), Arc::new(journal), 20_000, "in memory").await;
}

async fn on_sqlite(events: u64) {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(folder.path(), SqliteOptions::default()).unwrap();
    under_load(Arc::new(store.clone()), Arc::new(store.clone()), events, "SQLite").await;
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite() {
    on_sqlite(10_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes: part of the long tests"]
async fn a_million_on_sqlite() {
    on_sqlite(MANY).await;
}
