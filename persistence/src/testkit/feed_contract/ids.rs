//! What holds of [`EntityIds`].

use super::{FeedSubject, events::append};
use crate::{DeleteState, EntityIds, FenceScope, PersistenceId};
use std::sync::Arc;

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
