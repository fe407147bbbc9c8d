//! What every [`EventFeed`] and [`ProjectionStore`] must do, as one suite.

use crate::{
    Append, AppendError, BoxFuture, EventFeed, FeedPage, FenceScope, Journal, LiveFeed, ParkedEvent, PersistenceId,
    ProjectionId, ProjectionStore, RawEvent, ReplayLimit, Selection,
};
use bytes::Bytes;
use futures_util::future::{join, join_all};
use std::{collections::HashMap, sync::Arc};

/// A store under test.
pub trait FeedSubject: Send {
    /// The journal.
    fn journal(&self) -> Arc<dyn Journal<RawEvent>>;

    /// Its feed.
    fn feed(&self) -> Arc<dyn EventFeed<RawEvent>>;

    /// The offsets beside it.
    fn projections(&self) -> Arc<dyn ProjectionStore>;

    /// Closes all and opens them again; answers `false`, having done nothing, when they do not outlive that.
    fn restart(&mut self) -> BoxFuture<'_, bool>;
}

/// Runs the whole suite against `subject`, which must be empty.
///
/// # Panics
/// With the promise that was broken.
pub async fn feed_contract(subject: &mut dyn FeedSubject) {
    an_empty_feed_is_at_its_end(subject).await;
    events_come_by_type_in_commit_order(subject).await;
    pages_keep_limits_and_lose_nothing_between_them(subject).await;
    deleted_events_are_passed_over(subject).await;
    a_live_reader_sees_every_event_of_many_writers_once(subject).await;
    offsets_never_go_back_and_the_last_claim_has_them(subject).await;
    parked_events_are_listed_replayed_and_dropped(subject).await;
    all_of_it_survives_a_restart(subject).await;
}

const ALL: ReplayLimit = ReplayLimit { events: usize::MAX, bytes: usize::MAX };

async fn append(journal: &Arc<dyn Journal<RawEvent>>, kind: &str, entity: &str, texts: &[&str]) {
    let id = PersistenceId::of(kind, entity);
    let fence = journal.claim(FenceScope::Entity(id.clone())).await.expect("claim");
    let event = |text: &&str| RawEvent {
        manifest: "text/1".into(),
        payload: Bytes::copy_from_slice(text.as_bytes()),
        meta: None,
    };
    let append = Append {
        expected_seq: journal.highest_seq(id.clone()).await.expect("highest") + 1,
        id,
        fence,
        batch_id: rand::random(),
        events: texts.iter().map(event).collect(),
        tags: Vec::new(),
        time_ms: 1_234,
    };
    journal.append(append).await.expect("append");
}

async fn page(subject: &dyn FeedSubject, kind: &str, after: u64, limit: ReplayLimit) -> FeedPage<RawEvent> {
    subject.feed().page(kind.into(), after, limit).await.expect("a page")
}

fn texts(page: &FeedPage<RawEvent>) -> Vec<String> {
    page.events.iter().map(|event| String::from_utf8_lossy(&event.stored.event.payload).into_owned()).collect()
}

async fn an_empty_feed_is_at_its_end(subject: &dyn FeedSubject) {
    let found = page(subject, "cart", 0, ALL).await;
    assert_eq!(found, FeedPage { events: Vec::new(), read_to: 0, end: 0 });
    let found = page(subject, "cart", 7, ALL).await;
    assert_eq!((found.read_to, found.end), (7, 7), "a place past the end is not gone back from");
    assert_eq!(page(subject, "with|separator", 0, ALL).await.events, [], "no id has such a type");
}

async fn events_come_by_type_in_commit_order(subject: &dyn FeedSubject) {
    let journal = subject.journal();
    append(&journal, "cart", "a", &["a1", "a2"]).await;
    append(&journal, "user", "a", &["u1"]).await;
    append(&journal, "cart", "b|c", &["b1"]).await;
    append(&journal, "cart", "a", &["a3"]).await;
    let carts = page(subject, "cart", 0, ALL).await;
    assert_eq!(texts(&carts), ["a1", "a2", "b1", "a3"]);
    let places: Vec<_> = carts.events.iter().map(|event| (event.id.as_str(), event.stored.seq_nr)).collect();
    assert_eq!(places, [("cart|a", 1), ("cart|a", 2), ("cart|b|c", 1), ("cart|a", 3)]);
    assert!(carts.events.is_sorted_by(|a, b| a.offset < b.offset), "offsets grow");
    assert_eq!(carts.read_to, carts.end, "read to the end");
    let stored = &carts.events[0].stored;
    assert_eq!((stored.time_ms, &*stored.event.manifest), (1_234, "text/1"), "the event as it was stored");
    let users = page(subject, "user", 0, ALL).await;
    assert_eq!(texts(&users), ["u1"]);
    assert_eq!(users.end, carts.end, "one count of offsets for the whole store");
    assert_eq!(texts(&page(subject, "cart", carts.events[1].offset, ALL).await), ["b1", "a3"], "after an offset");
    assert_eq!(page(subject, "cart", carts.end, ALL).await.events, [], "after the end");
}

async fn pages_keep_limits_and_lose_nothing_between_them(subject: &dyn FeedSubject) {
    let journal = subject.journal();
    let written: Vec<String> = (0..20).map(|number| format!("{number:02}")).collect();
    for pair in written.chunks(2) {
        append(&journal, "paged", &pair[0], &[&pair[0], &pair[1]]).await;
        append(&journal, "between", "x", &["x"]).await;
    }
    for (limit, most) in [
        (ReplayLimit { events: 3, bytes: usize::MAX }, 3),
        (ReplayLimit { events: 100, bytes: 4 }, 2),
        (ReplayLimit { events: 0, bytes: 0 }, 1),
    ] {
        let (mut read, mut after) = (Vec::new(), 0);
        loop {
            let next = page(subject, "paged", after, limit).await;
            assert!(next.events.len() <= most, "{limit:?} gave {}", next.events.len());
            read.extend(texts(&next));
            assert!(next.read_to > after || next.read_to == next.end, "every page but the last leads on");
            after = next.read_to;
            if next.read_to == next.end {
                break;
            }
        }
        assert_eq!(read, written, "pages within {limit:?}");
    }
}

async fn deleted_events_are_passed_over(subject: &dyn FeedSubject) {
    let journal = subject.journal();
    append(&journal, "deleted", "a", &["1", "2", "3"]).await;
    let id = PersistenceId::of("deleted", "a");
    let fence = journal.claim(FenceScope::Entity(id.clone())).await.expect("claim");
    journal.delete_to(id, 2, fence).await.expect("deletion");
    let found = page(subject, "deleted", 0, ALL).await;
    assert_eq!(texts(&found), ["3"]);
    assert_eq!(found.read_to, found.end, "nothing is waited for in their place");
}

/// Writers of several types at once; a reader that has been there from the start follows one of them.
async fn a_live_reader_sees_every_event_of_many_writers_once(subject: &dyn FeedSubject) {
    const WRITERS: usize = 8;
    const EACH: usize = 6;
    let journal = subject.journal();
    let start = page(subject, "live", 0, ALL).await.end;
    let mut live = LiveFeed::new(subject.feed(), "live".into(), start, ReplayLimit { events: 5, bytes: usize::MAX });
    let write = |writer: usize| {
        let journal = &journal;
        async move {
            for number in 0..EACH {
                append(journal, "live", &writer.to_string(), &[&number.to_string()]).await;
                append(journal, "other", &writer.to_string(), &["noise"]).await;
                tokio::task::yield_now().await;
            }
        }
    };
    let read = async {
        let mut seen: HashMap<String, Vec<String>> = HashMap::new();
        let mut last = start;
        while seen.values().map(Vec::len).sum::<usize>() < WRITERS * EACH {
            let next = live.next().await.expect("a page");
            for (event, text) in next.events.iter().zip(texts(&next)) {
                assert!(event.offset > last, "offset {} after {last}", event.offset);
                last = event.offset;
                seen.entry(event.id.entity_id().to_owned()).or_default().push(text);
            }
        }
        seen
    };
    let (seen, _) = join(read, join_all((0..WRITERS).map(write))).await;
    let expected: Vec<String> = (0..EACH).map(|number| number.to_string()).collect();
    for (writer, events) in seen {
        assert_eq!(events, expected, "events of entity {writer}, each once and in order");
    }
}

fn projection(group: &str, source: &str) -> ProjectionId {
    ProjectionId { group: group.into(), source: source.into() }
}

async fn offsets_never_go_back_and_the_last_claim_has_them(subject: &dyn FeedSubject) {
    let store = subject.projections();
    let mail = projection("mail", "cart");
    let first = store.take_over(mail.clone()).await.expect("claim");
    assert_eq!((first.offset, &first.fence.projection), (0, &mail), "a new consumer starts at the beginning");
    store.save_offset(first.fence.clone(), 20).await.expect("saved");
    store.save_offset(first.fence.clone(), 10).await.expect("no error");
    let other = store.take_over(projection("bill", "cart")).await.expect("claim");
    assert_eq!(other.offset, 0, "groups know nothing of each other");
    let second = store.take_over(mail.clone()).await.expect("claim");
    assert_eq!(second.offset, 20, "a lower offset changes nothing");
    let refused = store.save_offset(first.fence.clone(), 30).await;
    assert!(matches!(refused, Err(AppendError::Stale { .. })), "an older instance: {refused:?}");
    let refused = store.park(first.fence.clone(), parked(&mail, 25, "late")).await;
    assert!(matches!(refused, Err(AppendError::Stale { .. })), "an older instance: {refused:?}");
    let refused = store.unpark(first.fence, 25).await;
    assert!(matches!(refused, Err(AppendError::Stale { .. })), "an older instance: {refused:?}");
    store.save_offset(second.fence, 40).await.expect("saved");
    assert_eq!(store.take_over(mail).await.expect("claim").offset, 40);
}

fn parked(projection: &ProjectionId, offset: u64, reason: &str) -> ParkedEvent {
    ParkedEvent {
        projection: projection.clone(),
        offset,
        id: PersistenceId::of(&projection.source, "a|b"),
        seq_nr: offset + 1,
        attempts: 5,
        reason: reason.to_owned(),
        time_ms: 77,
        replay: false,
    }
}

async fn parked_events_are_listed_replayed_and_dropped(subject: &dyn FeedSubject) {
    let store = subject.projections();
    let (mail, bill) = (projection("p-mail", "cart"), projection("p-bill", "cart"));
    let of_mail = store.take_over(mail.clone()).await.expect("claim").fence;
    let of_bill = store.take_over(bill.clone()).await.expect("claim").fence;
    for offset in [3, 1, 2] {
        store.park(of_mail.clone(), parked(&mail, offset, "first")).await.expect("parked");
    }
    store.park(of_bill.clone(), parked(&bill, 2, "first")).await.expect("parked");
    let list = |selection: Selection, after, limit| {
        let listed = store.parked(selection, after, limit);
        async { listed.await.expect("a list") }
    };
    let all =
        [parked(&bill, 2, "first"), parked(&mail, 1, "first"), parked(&mail, 2, "first"), parked(&mail, 3, "first")];
    assert_eq!(list(Selection::default(), None, 100).await, all);
    assert_eq!(list(Selection::default(), None, 2).await, all[..2], "by pages");
    assert_eq!(list(Selection::default(), Some((mail.clone(), 1)), 100).await, all[2..], "after one of them");
    assert_eq!(list(Selection::of(&bill), None, 100).await, all[..1], "of one consumer");
    let one = Selection { offset: Some(2), ..Selection::of(&mail) };
    assert_eq!(store.replay_parked(one.clone()).await, Ok(1));
    assert_eq!(list(one.clone(), None, 9).await, [ParkedEvent { replay: true, ..parked(&mail, 2, "first") }]);
    store.park(of_mail.clone(), parked(&mail, 2, "again")).await.expect("parked");
    assert_eq!(list(one.clone(), None, 9).await, [parked(&mail, 2, "again")], "parked anew, not asked for any more");
    store.unpark(of_mail.clone(), 2).await.expect("unparked");
    store.unpark(of_mail, 2).await.expect("nothing to do");
    assert_eq!(list(one.clone(), None, 9).await, []);
    assert_eq!(store.replay_parked(one).await, Ok(0), "no such event");
    assert_eq!(store.drop_parked(Selection::of(&mail)).await, Ok(2));
    assert_eq!(list(Selection { source: Some("cart".into()), ..Selection::default() }, None, 9).await, all[..1]);
}

async fn all_of_it_survives_a_restart(subject: &mut dyn FeedSubject) {
    let before = (page(subject, "cart", 0, ALL).await, page(subject, "live", 0, ALL).await);
    let kept = subject.projections().parked(Selection::default(), None, 100).await.expect("a list");
    if !subject.restart().await {
        return;
    }
    let after = (page(subject, "cart", 0, ALL).await, page(subject, "live", 0, ALL).await);
    assert_eq!(after, before, "the feed");
    assert_eq!(subject.projections().parked(Selection::default(), None, 100).await.expect("a list"), kept);
    let claimed = subject.projections().take_over(projection("mail", "cart")).await.expect("claim");
    assert_eq!(claimed.offset, 40, "the offset");
    append(&subject.journal(), "cart", "a", &["a4"]).await;
    let next = page(subject, "cart", before.0.end, ALL).await;
    assert_eq!(texts(&next), ["a4"], "numbers go on behind the old end");
}
