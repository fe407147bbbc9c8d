//! What holds of [`EntityIds`].

use super::{FeedSubject, events::append};
use crate::{DeleteState, EntityIds, FenceScope, LiveIds, PersistenceId, PutState, RawState};
use actors::Clock;
use bytes::Bytes;
use futures_util::future::join;
use std::{collections::BTreeSet, sync::Arc};

async fn of_type(ids: &Arc<dyn EntityIds>, kind: &str, after: Option<PersistenceId>, limit: usize) -> Vec<String> {
    let found = ids.ids(Some(kind.into()), after, limit).await.expect("ids");
    assert!(found.iter().all(|id| id.entity_type() == kind), "only of type {kind}: {found:?}");
    found.iter().map(|id| id.entity_id().to_owned()).collect()
}

pub(super) async fn of_an_empty_store_there_are_none(subject: &dyn FeedSubject) {
    assert_eq!(subject.ids().ids(None, None, 10).await, Ok(Vec::new()));
    assert_eq!(of_type(&subject.ids(), "cart", None, 10).await, [""; 0]);
}

pub(super) async fn they_come_in_order_and_by_type(subject: &dyn FeedSubject) {
    let (journal, ids) = (subject.journal(), subject.ids());
    for entity in ["b", "a|x", "", "ä", "a", "B"] {
        append(&journal, "id", entity, &["1"]).await;
    }
    append(&journal, "id2", "c", &["1"]).await;
    append(&journal, "i", "d", &["1"]).await;
    let claimed = PersistenceId::of("id", "claimed");
    journal.claim(FenceScope::Entity(claimed)).await.expect("claim");
    let expected = ["", "B", "a", "a|x", "b", "ä"];
    assert_eq!(of_type(&ids, "id", None, 100).await, expected, "by the bytes of their texts; none without an event");
    assert_eq!(of_type(&ids, "id", None, 2).await, expected[..2], "by pages");
    let after = |entity| Some(PersistenceId::of("id", entity));
    assert_eq!(of_type(&ids, "id", after("B"), 2).await, expected[2..4], "after one of them");
    assert_eq!(of_type(&ids, "id", after("aa"), 100).await, expected[3..], "after one that there is not");
    assert_eq!(of_type(&ids, "id", after("ä"), 100).await, [""; 0], "after the last");
    assert_eq!(of_type(&ids, "none", None, 100).await, [""; 0]);

    let all = ids.ids(None, None, usize::MAX).await.expect("ids");
    assert!(all.is_sorted_by(|a, b| a.as_str() < b.as_str()), "each once, in order");
    let (mut paged, mut last) = (Vec::new(), None);
    loop {
        let page = ids.ids(None, last, 7).await.expect("ids");
        last = page.last().cloned();
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, all, "pages are the whole");

    let id = PersistenceId::of("id", "a");
    let fence = journal.claim(FenceScope::Entity(id.clone())).await.expect("claim");
    journal.delete_to(id, 1, fence).await.expect("deletion");
    assert_eq!(of_type(&ids, "id", None, 100).await, expected, "one whose events are deleted stays known");

    let states = subject.states();
    let id = PersistenceId::of("id-state", "s");
    let fence = states.claim(FenceScope::Entity(id.clone())).await.expect("claim");
    let delete = DeleteState { id, expected_revision: 0, fence, batch_id: 1, time_ms: 0, marker: None };
    states.delete(delete).await.expect("delete");
    assert_eq!(of_type(&subject.state_ids(), "id-state", None, 100).await, ["s"], "one that has a revision too");
}

/// Ids that are there and ids that come while others come, whatever becomes of their events; and those of states.
pub(super) async fn a_live_reader_misses_none(subject: &dyn FeedSubject) {
    const NEW: u32 = 40;
    let journal = subject.journal();
    for entity in ["there", "claimed first"] {
        let id = PersistenceId::of("live-id", entity);
        journal.claim(FenceScope::Entity(id)).await.expect("claim");
    }
    append(&journal, "live-id", "there", &["1"]).await;
    let mut live = LiveIds::new(subject.ids(), Some("live-id".into()), Clock::tokio()).pages_of(7);
    let first = live.next().await.expect("ids");
    assert_eq!(first, [PersistenceId::of("live-id", "there")], "what is there, and none without an event");
    let write = async {
        append(&journal, "live-id-of-others", "x", &["1"]).await;
        append(&journal, "live-id", "claimed first", &["1"]).await;
        for n in 0..NEW {
            let entity = format!("new {n}");
            append(&journal, "live-id", &entity, &["1", "2"]).await;
            let id = PersistenceId::of("live-id", &entity);
            let fence = journal.claim(FenceScope::Entity(id.clone())).await.expect("claim");
            journal.delete_to(id, 2, fence).await.expect("deletion");
        }
    };
    let read = async {
        let mut found = BTreeSet::new();
        while found.len() < NEW as usize + 1 {
            let page = live.next().await.expect("ids");
            assert!(!page.is_empty() && page.is_sorted(), "{page:?}");
            assert!(page.iter().all(|id| id.entity_type() == "live-id"), "only of its type: {page:?}");
            for id in page {
                assert!(found.insert(id.clone()), "{id} is remembered");
            }
        }
        found
    };
    let (found, ()) = join(read, write).await;
    assert!(found.contains(&PersistenceId::of("live-id", "claimed first")), "from its first event on");

    let (states, id) = (subject.states(), PersistenceId::of("live-id-state", "s"));
    let mut live = LiveIds::new(subject.state_ids(), Some("live-id-state".into()), Clock::tokio());
    let write = async {
        let fence = states.claim(FenceScope::Entity(id.clone())).await.expect("claim");
        let state = RawState { manifest: "text/1".into(), payload: Bytes::new(), meta: None };
        let (id, tag) = (id.clone(), None);
        let put = PutState { id, expected_revision: 0, fence, batch_id: 1, time_ms: 0, state, tag };
        states.upsert(put).await.expect("put");
    };
    let (found, ()) = join(live.next(), write).await;
    assert_eq!(found.expect("ids"), [id], "a state is a life too");
}
