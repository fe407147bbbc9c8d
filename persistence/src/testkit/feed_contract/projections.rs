//! What holds of [`ProjectionStore`](crate::ProjectionStore)s.

use super::FeedSubject;
use crate::{AppendError, Offset, ParkedEvent, PersistenceId, Position, ProjectionFence, ProjectionId, Selection};

fn at(ordering: u64) -> Offset {
    Offset::of_ordering(ordering)
}

fn projection(group: &str, source: &str) -> ProjectionId {
    ProjectionId { group: group.into(), source: source.into() }
}

pub(super) async fn offsets_never_go_back_and_the_last_claim_has_them(subject: &dyn FeedSubject) {
    let store = subject.projections();
    let mail = projection("mail", "cart");
    let first = store.take_over(mail.clone()).await.expect("claim");
    assert_eq!(
        (first.offset, &first.fence.projection),
        (Offset::START, &mail),
        "a new consumer starts at the beginning"
    );
    store.save_offset(first.fence.clone(), at(20)).await.expect("saved");
    store.save_offset(first.fence.clone(), at(10)).await.expect("no error");
    let other = store.take_over(projection("bill", "cart")).await.expect("claim");
    assert_eq!(other.offset, Offset::START, "groups know nothing of each other");
    let second = store.take_over(mail.clone()).await.expect("claim");
    assert_eq!(second.offset, at(20), "a lower offset changes nothing");
    let refused = store.save_offset(first.fence.clone(), at(30)).await;
    assert!(matches!(refused, Err(AppendError::Stale { .. })), "an older instance: {refused:?}");
    let refused = store.park(first.fence.clone(), parked(&mail, 25, "late")).await;
    assert!(matches!(refused, Err(AppendError::Stale { .. })), "an older instance: {refused:?}");
    let refused = store.unpark(first.fence, at(25)).await;
    assert!(matches!(refused, Err(AppendError::Stale { .. })), "an older instance: {refused:?}");
    store.save_offset(second.fence, at(40)).await.expect("saved");
    assert_eq!(store.take_over(mail).await.expect("claim").offset, at(40));
}

/// Offsets of a feed with generations, and of one that is moved from one to the other.
pub(super) async fn offsets_are_kept_whole(subject: &dyn FeedSubject) {
    let store = subject.projections();
    let whole = projection("whole", "cart");
    let fence = store.take_over(whole.clone()).await.expect("claim").fence;
    let places = [at(90), Offset::new(1, 7, 3), Offset::new(1, 8, 1), Offset::new(2, 1, 1)];
    for place in places {
        store.save_offset(fence.clone(), place).await.expect("saved");
        assert_eq!(store.positions(Selection::of(&whole)).await.expect("positions")[0].offset, place);
    }
    for place in places {
        store.save_offset(fence.clone(), place).await.expect("no error");
    }
    assert_eq!(store.take_over(whole.clone()).await.expect("claim").offset, places[3], "earlier ones change nothing");
    let fence = store.take_over(whole.clone()).await.expect("claim").fence;
    for offset in places {
        let event = ParkedEvent { offset, ..parked(&whole, 1, "whole") };
        store.park(fence.clone(), event).await.expect("parked");
    }
    let listed = store.parked(Selection::of(&whole), Some((whole.clone(), places[1])), 9).await.expect("a list");
    assert_eq!(listed.iter().map(|event| event.offset).collect::<Vec<_>>(), places[2..]);
    store.unpark(fence, places[2]).await.expect("unparked");
    let one = Selection { offset: Some(places[3]), ..Selection::of(&whole) };
    assert_eq!(store.drop_parked(one).await, Ok(1));
    assert_eq!(store.drop_parked(Selection::of(&whole)).await, Ok(2), "the others");
}

pub(super) async fn an_offset_can_be_set_back_by_who_has_it(subject: &dyn FeedSubject) {
    let store = subject.projections();
    let reset = projection("reset", "cart");
    let first = store.take_over(reset.clone()).await.expect("claim").fence;
    store.save_offset(first.clone(), at(50)).await.expect("saved");
    store.set_offset(first.clone(), at(10)).await.expect("set");
    let second = store.take_over(reset.clone()).await.expect("claim");
    assert_eq!(second.offset, at(10), "set back");
    let refused = store.set_offset(first, at(0)).await;
    assert!(matches!(refused, Err(AppendError::Stale { .. })), "an older instance: {refused:?}");
    store.set_offset(second.fence.clone(), at(70)).await.expect("set");
    store.save_offset(second.fence, at(60)).await.expect("no error");
    let third = store.take_over(reset.clone()).await.expect("claim");
    assert_eq!(third.offset, at(70), "and forward");
    let other = projection("reset", "other");
    let of_other = store.take_over(other.clone()).await.expect("claim").fence;
    for offset in [20, 30, 40] {
        store.park(third.fence.clone(), parked(&reset, offset, "no")).await.expect("parked");
        store.park(of_other.clone(), parked(&other, offset, "no")).await.expect("parked");
    }
    let refused = store.set_offset(before(&third.fence), at(0)).await;
    assert!(matches!(refused, Err(AppendError::Stale { .. })), "an older instance: {refused:?}");
    assert_eq!(store.parked_count(Selection::of(&reset)).await, Ok(3), "which forgets nothing");
    store.set_offset(third.fence, at(30)).await.expect("set");
    let left = store.parked(Selection::of(&reset), None, 9).await.expect("a list");
    assert_eq!(left, [parked(&reset, 20, "no"), parked(&reset, 30, "no")], "what is handled again is parked no more");
    assert_eq!(store.parked_count(Selection::of(&other)).await, Ok(3), "of others it is");
    for projection in [reset, other] {
        store.drop_parked(Selection::of(&projection)).await.expect("dropped");
    }
}

/// The fence of the instance before.
fn before(fence: &ProjectionFence) -> ProjectionFence {
    ProjectionFence { epoch: fence.epoch - 1, ..fence.clone() }
}

pub(super) async fn a_pause_is_remembered(subject: &dyn FeedSubject) {
    let store = subject.projections();
    let (known, new) = (projection("pause", "cart"), projection("pause", "other"));
    let claimed = store.take_over(known.clone()).await.expect("claim");
    assert!(!claimed.paused, "a consumer runs unless told otherwise");
    store.save_offset(claimed.fence.clone(), at(5)).await.expect("saved");
    for projection in [&known, &new] {
        store.set_paused(projection.clone(), true).await.expect("paused");
    }
    let position = |projection: &ProjectionId, offset, epoch| {
        let projection = projection.clone();
        Position { projection, offset, epoch, paused: true }
    };
    let of_group = Selection { group: Some("pause".into()), ..Selection::default() };
    let listed = store.positions(of_group.clone()).await.expect("positions");
    assert_eq!(listed, [position(&known, at(5), 1), position(&new, Offset::START, 0)], "by group and source");
    store.save_offset(claimed.fence, at(6)).await.expect("a pause takes nobody's offset away");
    assert!(store.take_over(known.clone()).await.expect("claim").paused, "the next instance is told");
    assert!(store.take_over(new.clone()).await.expect("claim").paused, "one that never was too");
    store.set_paused(known.clone(), false).await.expect("resumed");
    let listed = store.positions(Selection::of(&known)).await.expect("positions");
    assert_eq!(listed, [Position { paused: false, ..position(&known, at(6), 2) }]);
    assert_eq!(store.positions(Selection { source: Some("none".into()), ..of_group }).await, Ok(Vec::new()));
}

fn parked(projection: &ProjectionId, offset: u64, reason: &str) -> ParkedEvent {
    ParkedEvent {
        projection: projection.clone(),
        offset: at(offset),
        id: PersistenceId::of(&projection.source, "a|b"),
        seq_nr: offset + 1,
        attempts: 5,
        reason: reason.to_owned(),
        time_ms: 77,
        replay: false,
    }
}

pub(super) async fn parked_events_are_listed_replayed_and_dropped(subject: &dyn FeedSubject) {
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
    assert_eq!(list(Selection::default(), Some((mail.clone(), at(1))), 100).await, all[2..], "after one of them");
    assert_eq!(list(Selection::of(&bill), None, 100).await, all[..1], "of one consumer");
    let one = Selection { offset: Some(at(2)), ..Selection::of(&mail) };
    assert_eq!(store.to_replay(Selection::default(), None, 9).await, Ok(Vec::new()), "nobody asked");
    assert_eq!(store.replay_parked(one.clone()).await, Ok(1));
    let asked = [ParkedEvent { replay: true, ..parked(&mail, 2, "first") }];
    assert_eq!(list(one.clone(), None, 9).await, asked);
    assert_eq!(store.to_replay(Selection::default(), None, 9).await.expect("a list"), asked);
    assert_eq!(store.to_replay(Selection::of(&mail), Some((mail.clone(), at(1))), 1).await.expect("a list"), asked);
    assert_eq!(store.to_replay(Selection::of(&mail), Some((mail.clone(), at(2))), 9).await, Ok(Vec::new()));
    assert_eq!(store.to_replay(Selection::of(&bill), None, 9).await, Ok(Vec::new()), "of another consumer");
    for (selection, count) in [(Selection::default(), 4), (Selection::of(&mail), 3), (one.clone(), 1)] {
        assert_eq!(store.parked_count(selection).await, Ok(count));
    }
    store.park(of_mail.clone(), parked(&mail, 2, "again")).await.expect("parked");
    assert_eq!(list(one.clone(), None, 9).await, [parked(&mail, 2, "again")], "parked anew, not asked for any more");
    store.unpark(of_mail.clone(), at(2)).await.expect("unparked");
    store.unpark(of_mail, at(2)).await.expect("nothing to do");
    assert_eq!(list(one.clone(), None, 9).await, []);
    assert_eq!(store.replay_parked(one).await, Ok(0), "no such event");
    assert_eq!(store.drop_parked(Selection::of(&mail)).await, Ok(2));
    assert_eq!(list(Selection { source: Some("cart".into()), ..Selection::default() }, None, 9).await, all[..1]);
}
