//! What holds of [`EventFeed`](crate::EventFeed)s.

use super::{ALL, FeedSubject};
use crate::{
    Append, AppendError, FeedEvent, FeedPage, FeedQuery, FenceScope, Journal, JournalError, LiveEvents, LiveFeed,
    Offset, PersistenceId, RawEvent, ReplayLimit, SLICES,
};
use bytes::Bytes;
use futures_util::future::{join, join_all};
use std::{collections::HashMap, sync::Arc};

async fn prepare(journal: &Arc<dyn Journal<RawEvent>>, kind: &str, entity: &str, texts: &[&str]) -> Append<RawEvent> {
    let id = PersistenceId::of(kind, entity);
    let fence = journal.claim(FenceScope::Entity(id.clone())).await.expect("claim");
    let event = |text: &&str| RawEvent {
        manifest: "text/1".into(),
        payload: Bytes::copy_from_slice(text.as_bytes()),
        meta: None,
    };
    Append {
        expected_seq: journal.highest_seq(id.clone()).await.expect("highest") + 1,
        id,
        fence,
        batch_id: rand::random(),
        events: texts.iter().map(event).collect(),
        tags: Vec::new(),
        time_ms: 1_234,
    }
}

pub(super) async fn append(journal: &Arc<dyn Journal<RawEvent>>, kind: &str, entity: &str, texts: &[&str]) {
    journal.append(prepare(journal, kind, entity, texts).await).await.expect("append");
}

async fn page(subject: &dyn FeedSubject, query: &FeedQuery, after: Offset, limit: ReplayLimit) -> FeedPage<RawEvent> {
    subject.feed().page(query.clone(), after, limit).await.expect("a page")
}

/// All events of a type, in one page.
pub(super) async fn page_of(subject: &dyn FeedSubject, kind: &str) -> FeedPage<RawEvent> {
    page(subject, &FeedQuery::of(kind), Offset::START, ALL).await
}

/// Reads page by page, as readers do, until the end.
async fn all(subject: &dyn FeedSubject, query: &FeedQuery, limit: ReplayLimit) -> Vec<FeedEvent<RawEvent>> {
    let (mut read, mut after) = (Vec::new(), Offset::START);
    loop {
        let next = page(subject, query, after, limit).await;
        assert!(next.events.iter().all(|event| event.offset > after), "nothing twice");
        assert!(next.events.iter().all(|event| event.offset <= next.read_to), "read to the last one at least");
        assert!(next.read_to > after || next.read_to == next.end, "every page but the last leads on");
        after = next.read_to;
        read.extend(next.events);
        if next.read_to == next.end {
            return read;
        }
    }
}

fn text(event: &FeedEvent<RawEvent>) -> String {
    String::from_utf8_lossy(&event.stored.event.payload).into_owned()
}

fn texts(events: &[FeedEvent<RawEvent>]) -> Vec<String> {
    events.iter().map(text).collect()
}

pub(super) async fn an_empty_feed_is_at_its_end(subject: &dyn FeedSubject) {
    let found = page_of(subject, "cart").await;
    assert_eq!(found, FeedPage { events: Vec::new(), read_to: Offset::START, end: Offset::START });
    // Whichever of the two this store may have given out.
    let (plain, whole) = (Offset::of_ordering(7), Offset::new(1, 7, 7));
    let foreign = Err(JournalError::ForeignOffset { offset: plain });
    let later = if subject.feed().page(FeedQuery::of("cart"), plain, ALL).await == foreign { whole } else { plain };
    let found = page(subject, &FeedQuery::of("cart"), later, ALL).await;
    assert_eq!((found.read_to, found.end), (later, later), "a place past the end is not gone back from");
    assert_eq!(page_of(subject, "with|separator").await.events, [], "no id has such a type");
}

pub(super) async fn they_come_by_type_in_commit_order(subject: &dyn FeedSubject) {
    let journal = subject.journal();
    append(&journal, "cart", "a", &["a1", "a2"]).await;
    append(&journal, "user", "a", &["u1"]).await;
    append(&journal, "cart", "b|c", &["b1"]).await;
    append(&journal, "cart", "a", &["a3"]).await;
    let carts = page_of(subject, "cart").await;
    assert_eq!(texts(&carts.events), ["a1", "a2", "b1", "a3"]);
    let places: Vec<_> = carts.events.iter().map(|event| (event.id.as_str(), event.stored.seq_nr)).collect();
    assert_eq!(places, [("cart|a", 1), ("cart|a", 2), ("cart|b|c", 1), ("cart|a", 3)]);
    assert!(carts.events.is_sorted_by(|a, b| a.offset < b.offset), "offsets grow");
    assert_eq!(carts.read_to, carts.end, "read to the end");
    let stored = &carts.events[0].stored;
    assert_eq!((stored.time_ms, &*stored.event.manifest), (1_234, "text/1"), "the event as it was stored");
    let users = page_of(subject, "user").await;
    assert_eq!(texts(&users.events), ["u1"]);
    assert_eq!(users.end, carts.end, "one order for the whole store");
    for event in &carts.events {
        let found = subject.feed().offset_of(event.id.clone(), event.stored.seq_nr).await;
        assert_eq!(found, Ok(Some(event.offset)), "the place of {} {}", event.id, event.stored.seq_nr);
    }
    for (entity, number) in [("a", 4), ("none", 1)] {
        let found = subject.feed().offset_of(PersistenceId::of("cart", entity), number).await;
        assert_eq!(found, Ok(None), "an event that there is not");
    }
    let behind = page(subject, &FeedQuery::of("cart"), carts.events[1].offset, ALL).await;
    assert_eq!(texts(&behind.events), ["b1", "a3"], "after an offset");
    assert_eq!(page(subject, &FeedQuery::of("cart"), carts.end, ALL).await.events, [], "after the end");
}

/// Limits that cut pages in different places.
const LIMITS: [(ReplayLimit, usize); 3] = [
    (ReplayLimit { events: 3, bytes: usize::MAX }, 3),
    (ReplayLimit { events: 100, bytes: 4 }, 2),
    (ReplayLimit { events: 0, bytes: 0 }, 1),
];

pub(super) async fn pages_keep_limits_and_lose_nothing_between_them(subject: &dyn FeedSubject) {
    let journal = subject.journal();
    let written: Vec<String> = (0..20).map(|number| format!("{number:02}")).collect();
    for pair in written.chunks(2) {
        append(&journal, "paged", &pair[0], &[&pair[0], &pair[1]]).await;
        append(&journal, "between", "x", &["x"]).await;
    }
    for (limit, most) in LIMITS {
        let first = page(subject, &FeedQuery::of("paged"), Offset::START, limit).await;
        assert!(first.events.len() <= most, "{limit:?} gave {}", first.events.len());
        assert_eq!(texts(&all(subject, &FeedQuery::of("paged"), limit).await), written, "pages within {limit:?}");
    }
}

pub(super) async fn deleted_ones_are_passed_over(subject: &dyn FeedSubject) {
    let journal = subject.journal();
    let mut tagged = prepare(&journal, "deleted", "a", &["1", "2", "3"]).await;
    tagged.tags = vec![vec!["gone".into()]; 3];
    journal.append(tagged).await.expect("append");
    let id = PersistenceId::of("deleted", "a");
    let fence = journal.claim(FenceScope::Entity(id.clone())).await.expect("claim");
    journal.delete_to(id, 2, fence).await.expect("deletion");
    for query in [FeedQuery::of("deleted"), FeedQuery::of("deleted").tag("gone")] {
        let found = page(subject, &query, Offset::START, ALL).await;
        assert_eq!(texts(&found.events), ["3"]);
        assert_eq!(found.read_to, found.end, "nothing is waited for in their place");
        for number in [0, 1, 2, 3] {
            let next = subject.feed().offset_of(found.events[0].id.clone(), number).await;
            assert_eq!(next, Ok(Some(found.events[0].offset)), "the next one stands for a deleted one");
        }
    }
}

/// However the slices are divided, each event is in exactly one part, at the place it has in the whole.
pub(super) async fn slices_share_them_out(subject: &dyn FeedSubject) {
    let journal = subject.journal();
    for number in 0..24 {
        append(&journal, "sliced", &number.to_string(), &["1", "2"]).await;
    }
    let whole = page_of(subject, "sliced").await.events;
    assert_eq!(whole.len(), 48);
    for parts in [2, 3, 7] {
        let mut merged = Vec::new();
        for part in 0..parts {
            let (first, last) = (part * SLICES / parts, (part + 1) * SLICES / parts - 1);
            let found = all(subject, &FeedQuery::of("sliced").slices(first..=last), LIMITS[0].0).await;
            assert!(found.iter().all(|event| (first..=last).contains(&event.id.slice())), "slices {first} to {last}");
            merged.extend(found);
        }
        merged.sort_by_key(|event| event.offset);
        assert_eq!(merged, whole, "{parts} parts");
    }
    let slice = whole[0].id.slice();
    let one = all(subject, &FeedQuery::of("sliced").slices(slice..=slice), ALL).await;
    assert!(one.contains(&whole[0]) && one.iter().all(|event| event.id.slice() == slice), "a single slice");
    #[expect(clippy::reversed_empty_ranges, reason = "an empty one is what is tried")]
    let none = page(subject, &FeedQuery::of("sliced").slices(9..=3), Offset::START, ALL).await;
    assert_eq!((none.events, none.read_to), (Vec::new(), none.end), "no slice, no event, and no waiting");
}

pub(super) async fn each_is_found_by_its_own_tags(subject: &dyn FeedSubject) {
    let journal = subject.journal();
    let with = |kind: &'static str, entity: &'static str, events: &'static [(&str, &[&str])]| {
        let journal = &journal;
        async move {
            let names: Vec<&str> = events.iter().map(|(name, _)| *name).collect();
            let mut batch = prepare(journal, kind, entity, &names).await;
            let tags = |tags: &&[&str]| tags.iter().map(|tag| Arc::from(*tag)).collect();
            batch.tags = events.iter().map(|(_, of)| tags(of)).collect();
            journal.append(batch).await.expect("append");
        }
    };
    with("tagged", "a", &[("a1", &["red"]), ("a2", &[]), ("a3", &["red", "blue"]), ("a4", &["blue", "blue"])]).await;
    append(&journal, "tagged", "a", &["a5"]).await;
    with("other", "a", &[("x1", &["red"])]).await;
    with("tagged", "b", &[("b1", &["blue"]), ("b2", &["red"])]).await;
    let whole = page_of(subject, "tagged").await.events;
    assert_eq!(texts(&whole), ["a1", "a2", "a3", "a4", "a5", "b1", "b2"], "tags keep nothing from the others");
    for (tag, expected) in [("red", vec!["a1", "a3", "b2"]), ("blue", vec!["a3", "a4", "b1"]), ("green", vec![])] {
        let query = FeedQuery::of("tagged").tag(tag);
        for (limit, _) in LIMITS {
            let found = all(subject, &query, limit).await;
            assert_eq!(texts(&found), expected, "{tag} in pages within {limit:?}");
            assert!(found.iter().all(|event| whole.contains(event)), "the same events at the same places");
        }
        let slice = whole[0].id.slice();
        let of_a: Vec<_> = expected.iter().filter(|text| text.starts_with('a')).collect();
        let found = all(subject, &query.slices(slice..=slice), ALL).await;
        assert_eq!(texts(&found).iter().collect::<Vec<_>>(), of_a, "{tag} in the slice of one entity");
    }
    assert_eq!(texts(&all(subject, &FeedQuery::of("other").tag("red"), ALL).await), ["x1"], "tags are shared by types");
}

pub(super) async fn tags_that_do_not_fit_the_batch_are_refused(subject: &dyn FeedSubject) {
    let journal = subject.journal();
    for count in [1, 3] {
        let mut batch = prepare(&journal, "misfit", "a", &["1", "2"]).await;
        batch.tags = vec![vec!["t".into()]; count];
        let refused = journal.append(batch).await;
        assert!(matches!(refused, Err(AppendError::Rejected { .. })), "tags of {count} for 2 events: {refused:?}");
    }
    assert_eq!(page_of(subject, "misfit").await.events, [], "a refused batch leaves nothing");
}

/// Writers of several types at once; readers that have been there from the start follow one of them, and a part of it.
pub(super) async fn a_live_reader_sees_each_of_many_writers_once(subject: &dyn FeedSubject) {
    const WRITERS: usize = 8;
    const EACH: usize = 6;
    let journal = subject.journal();
    let start = page_of(subject, "live").await.end;
    let limit = ReplayLimit { events: 5, bytes: usize::MAX };
    let follow = |query: FeedQuery, until: usize| {
        let mut live = LiveFeed::new(subject.feed(), query, start, limit);
        async move {
            let mut seen: HashMap<String, Vec<String>> = HashMap::new();
            let mut last = start;
            while seen.values().map(Vec::len).sum::<usize>() < until {
                for event in live.next().await.expect("a page").events {
                    assert!(event.offset > last, "offset {} after {last}", event.offset);
                    last = event.offset;
                    seen.entry(event.id.entity_id().to_owned()).or_default().push(text(&event));
                }
            }
            seen
        }
    };
    let write = |writer: usize| {
        let journal = &journal;
        async move {
            for number in 0..EACH {
                let mut batch = prepare(journal, "live", &writer.to_string(), &[&number.to_string()]).await;
                batch.tags = if number % 2 == 0 { vec![vec!["even".into()]] } else { Vec::new() };
                journal.append(batch).await.expect("append");
                append(journal, "other", &writer.to_string(), &["noise"]).await;
                tokio::task::yield_now().await;
            }
        }
    };
    let readers = join(
        follow(FeedQuery::of("live"), WRITERS * EACH),
        follow(FeedQuery::of("live").tag("even"), WRITERS * EACH / 2),
    );
    let ((seen, even), _) = join(readers, join_all((0..WRITERS).map(write))).await;
    let expected: Vec<String> = (0..EACH).map(|number| number.to_string()).collect();
    for (writer, events) in seen {
        assert_eq!(events, expected, "events of entity {writer}, each once and in order");
    }
    for (writer, events) in even {
        let expected: Vec<_> = expected.iter().step_by(2).cloned().collect();
        assert_eq!(events, expected, "tagged events of entity {writer}, each once and in order");
    }
}

/// One entity is followed from a number on: what there is, then each event as it is stored, whatever else is.
pub(super) async fn one_entity_is_followed_beyond_its_end(subject: &dyn FeedSubject) {
    let journal = subject.journal();
    append(&journal, "followed", "a", &["1", "2", "3"]).await;
    append(&journal, "followed", "b", &["other"]).await;
    let (id, limit) = (PersistenceId::of("followed", "a"), ReplayLimit { events: 2, bytes: usize::MAX });
    let mut live = LiveEvents::new(subject.journal(), &*subject.feed(), id, 2, limit);
    let follow = async {
        let mut seen = Vec::new();
        while seen.len() < 5 {
            let page = live.next().await.expect("a page");
            assert!((1..=2).contains(&page.len()), "{} events in a page", page.len());
            seen.extend(page.into_iter().map(|stored| (stored.seq_nr, stored.event.payload)));
        }
        seen
    };
    let write = async {
        for number in ["4", "5", "6"] {
            append(&journal, "followed", "b", &["noise"]).await;
            append(&journal, "followed", "a", &[number]).await;
        }
    };
    let (seen, ()) = join(follow, write).await;
    let expected: Vec<(u64, Bytes)> = (2..=6).map(|number| (number, number.to_string().into())).collect();
    assert_eq!(seen, expected, "each once and in order");
}

/// After a restart: what is stored then lies behind what was there.
pub(super) async fn the_order_goes_on_behind(subject: &dyn FeedSubject, end: Offset) {
    append(&subject.journal(), "cart", "a", &["a4"]).await;
    let next = page(subject, &FeedQuery::of("cart"), end, ALL).await;
    assert_eq!(texts(&next.events), ["a4"], "offsets go on behind the old end");
}
