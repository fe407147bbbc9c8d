//! What holds of [`StateFeed`](crate::StateFeed)s.

use super::{ALL, FeedSubject};
use crate::{
    DeleteState, FeedQuery, FenceScope, Offset, PersistenceId, PutState, RawState, ReplayLimit, SLICES, StateChange,
    StatePage, StateStore,
};
use bytes::Bytes;
use futures_util::future::{join, join_all};
use std::{collections::HashMap, sync::Arc};

async fn revision(states: &Arc<dyn StateStore<RawState>>, id: &PersistenceId) -> u64 {
    states.load(id.clone()).await.expect("load").map_or(0, |stored| stored.revision)
}

async fn put(states: &Arc<dyn StateStore<RawState>>, kind: &str, entity: &str, text: &str, tag: Option<&str>) {
    let id = PersistenceId::of(kind, entity);
    let fence = states.claim(FenceScope::Entity(id.clone())).await.expect("claim");
    let payload = Bytes::copy_from_slice(text.as_bytes());
    let put = PutState {
        expected_revision: revision(states, &id).await,
        id,
        fence,
        batch_id: rand::random(),
        time_ms: 4_321,
        state: RawState { manifest: "text/1".into(), payload, meta: None },
        tag: tag.map(Arc::from),
    };
    states.upsert(put).await.expect("put");
}

async fn delete(states: &Arc<dyn StateStore<RawState>>, kind: &str, entity: &str) {
    delete_with(states, kind, entity, None).await;
}

async fn delete_with(states: &Arc<dyn StateStore<RawState>>, kind: &str, entity: &str, marker: Option<Bytes>) {
    let id = PersistenceId::of(kind, entity);
    let fence = states.claim(FenceScope::Entity(id.clone())).await.expect("claim");
    let expected_revision = revision(states, &id).await;
    let delete = DeleteState { id, expected_revision, fence, batch_id: rand::random(), time_ms: 4_321, marker };
    states.delete(delete).await.expect("delete");
}

async fn page(subject: &dyn FeedSubject, query: &FeedQuery, after: Offset, limit: ReplayLimit) -> StatePage<RawState> {
    subject.state_feed().page(query.clone(), after, limit).await.expect("a page")
}

/// All states of a type, in one page.
pub(super) async fn page_of(subject: &dyn FeedSubject, kind: &str) -> StatePage<RawState> {
    page(subject, &FeedQuery::of(kind), Offset::START, ALL).await
}

/// Reads page by page, as readers do, until the end.
async fn all(subject: &dyn FeedSubject, query: &FeedQuery, limit: ReplayLimit) -> Vec<StateChange<RawState>> {
    let (mut read, mut after) = (Vec::new(), Offset::START);
    loop {
        let next = page(subject, query, after, limit).await;
        assert!(next.states.iter().all(|state| state.offset > after && state.offset <= next.read_to));
        assert!(next.read_to > after || next.read_to == next.end, "every page but the last leads on");
        after = next.read_to;
        read.extend(next.states);
        if next.read_to == next.end {
            return read;
        }
    }
}

fn text(change: &StateChange<RawState>) -> Option<String> {
    let state = change.stored.state.as_ref();
    state.map(|state| String::from_utf8_lossy(&state.payload).into_owned())
}

/// Entity, revision and text of each.
fn told(states: &[StateChange<RawState>]) -> Vec<(&str, u64, Option<String>)> {
    states.iter().map(|change| (change.id.entity_id(), change.stored.revision, text(change))).collect()
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

pub(super) async fn an_empty_feed_is_at_its_end(subject: &dyn FeedSubject) {
    let found = page_of(subject, "cart").await;
    assert_eq!(found, StatePage { states: Vec::new(), read_to: Offset::START, end: Offset::START });
}

pub(super) async fn the_latest_of_each_comes_in_the_order_of_writes(subject: &dyn FeedSubject) {
    let states = subject.states();
    put(&states, "cart", "a", "a1", None).await;
    put(&states, "user", "a", "u1", None).await;
    put(&states, "cart", "b", "b1", None).await;
    let first = page_of(subject, "cart").await;
    assert_eq!(told(&first.states), [("a", 1, some("a1")), ("b", 1, some("b1"))]);
    assert_eq!(first.read_to, first.end);
    put(&states, "cart", "a", "a2", None).await;
    put(&states, "cart", "c", "c1", None).await;
    delete(&states, "cart", "c").await;
    let all = page_of(subject, "cart").await;
    let latest = [("b", 1, some("b1")), ("a", 2, some("a2")), ("c", 2, None)];
    assert_eq!(told(&all.states), latest, "each at the place of its last write, deletions too");
    assert!(all.states.is_sorted_by(|a, b| a.offset < b.offset), "offsets grow");
    let stored = states.load(all.states[1].id.clone()).await.expect("load").expect("stored");
    assert_eq!(all.states[1].stored, stored, "what is loaded");
    for change in &all.states {
        let found = subject.state_feed().last_offset(change.id.clone()).await;
        assert_eq!(found, Ok(Some(change.offset)), "the place of the last write of {}", change.id);
    }
    assert_eq!(subject.state_feed().last_offset(PersistenceId::of("cart", "never")).await, Ok(None));
    let since = page(subject, &FeedQuery::of("cart"), first.read_to, ALL).await;
    assert_eq!(told(&since.states), latest[1..], "who read before is told what changed since");
    assert_eq!(page(subject, &FeedQuery::of("cart"), all.end, ALL).await.states, [], "after the end");
}

pub(super) async fn pages_keep_limits_and_lose_nothing_between_them(subject: &dyn FeedSubject) {
    let states = subject.states();
    for number in 0..10 {
        put(&states, "paged", &number.to_string(), "x", None).await;
        put(&states, "between", "x", "x", None).await;
    }
    for number in [3, 7] {
        put(&states, "paged", &number.to_string(), "y", None).await;
    }
    let expected = ["0", "1", "2", "4", "5", "6", "8", "9", "3", "7"];
    for events in [1, 3, 100] {
        let limit = ReplayLimit { events, bytes: usize::MAX };
        let first = page(subject, &FeedQuery::of("paged"), Offset::START, limit).await;
        assert!(first.states.len() <= events, "{limit:?} gave {}", first.states.len());
        let read = all(subject, &FeedQuery::of("paged"), limit).await;
        assert_eq!(read.iter().map(|state| state.id.entity_id()).collect::<Vec<_>>(), expected, "within {limit:?}");
    }
}

/// What a deletion leaves weighs as much as a state would, wherever a page is cut.
pub(super) async fn large_markers_hide_nothing_behind_them(subject: &dyn FeedSubject) {
    const LIMIT: ReplayLimit = ReplayLimit { events: usize::MAX, bytes: 1 << 20 };
    let states = subject.states();
    for entity in ["a", "b"] {
        put(&states, "marked", entity, "x", None).await;
        delete_with(&states, "marked", entity, Some(Bytes::from(vec![7; 600_000]))).await;
    }
    for entity in ["c", "d"] {
        put(&states, "marked", entity, "x", None).await;
    }
    let first = page(subject, &FeedQuery::of("marked"), Offset::START, LIMIT).await;
    let told = first.states.len();
    assert!(told == 2 || told == 4, "markers count towards a page, where bytes do: it has {told}");
    let read = all(subject, &FeedQuery::of("marked"), LIMIT).await;
    assert_eq!(read.iter().map(|state| state.id.entity_id()).collect::<Vec<_>>(), ["a", "b", "c", "d"]);
}

pub(super) async fn slices_and_tags_select(subject: &dyn FeedSubject) {
    let states = subject.states();
    for number in 0..12 {
        let tag = ["red", "blue"][number % 2];
        put(&states, "chosen", &number.to_string(), "x", Some(tag)).await;
    }
    let query = || FeedQuery::of("chosen");
    let whole = all(subject, &query(), ALL).await;
    let mut parts = all(subject, &query().slices(0..=499), ALL).await;
    parts.extend(all(subject, &query().slices(500..=SLICES - 1), ALL).await);
    parts.sort_by_key(|state| state.offset);
    assert_eq!(parts, whole, "two parts are the whole");
    let red = all(subject, &query().tag("red"), ALL).await;
    assert_eq!(told(&red).iter().map(|told| told.0).collect::<Vec<_>>(), ["0", "2", "4", "6", "8", "10"]);
    delete(&states, "chosen", "4").await;
    put(&states, "chosen", "6", "y", Some("blue")).await;
    put(&states, "chosen", "8", "y", None).await;
    let red = all(subject, &query().tag("red"), ALL).await;
    let told_red = told(&red);
    assert_eq!(
        told_red.iter().map(|told| told.0).collect::<Vec<_>>(),
        ["0", "2", "10", "4"],
        "a state has its last tag"
    );
    assert_eq!(told_red[3], ("4", 2, None), "a deletion is told to those who read by its tag");
}

/// Writers at once; a reader that has been there from the start ends with everybody's last state.
pub(super) async fn a_live_reader_sees_the_latest_of_many_writers(subject: &dyn FeedSubject) {
    const WRITERS: usize = 6;
    const EACH: u64 = 5;
    let (states, feed) = (subject.states(), subject.state_feed());
    let write = |writer: usize| {
        let states = &states;
        async move {
            for number in 1..=EACH {
                put(states, "live", &writer.to_string(), &number.to_string(), None).await;
                tokio::task::yield_now().await;
            }
        }
    };
    let read = async {
        let mut changes = feed.changes();
        let mut seen: HashMap<PersistenceId, u64> = HashMap::new();
        let mut after = Offset::START;
        while seen.len() < WRITERS || seen.values().any(|revision| *revision < EACH) {
            changes.mark();
            let limit = ReplayLimit { events: 3, bytes: usize::MAX };
            let page = feed.page(FeedQuery::of("live"), after, limit).await.expect("a page");
            for change in page.states {
                let before = seen.insert(change.id, change.stored.revision).unwrap_or(0);
                assert!(change.stored.revision > before, "revisions of one entity grow");
            }
            if page.read_to == after {
                changes.changed().await;
            }
            after = page.read_to;
        }
    };
    join(read, join_all((0..WRITERS).map(write))).await;
}
