//! What every feed, list of ids and [`ProjectionStore`] must do, as one suite.

mod events;
mod ids;
mod projections;
mod states;

use crate::{
    BoxFuture, EntityIds, EventFeed, Journal, ProjectionStore, RawEvent, RawState, ReplayLimit, Selection, StateFeed,
    StateStore,
};
use std::sync::Arc;

/// A store under test.
pub trait FeedSubject: Send {
    /// The journal.
    fn journal(&self) -> Arc<dyn Journal<RawEvent>>;

    /// Its feed.
    fn feed(&self) -> Arc<dyn EventFeed<RawEvent>>;

    /// The states.
    fn states(&self) -> Arc<dyn StateStore<RawState>>;

    /// Their feed.
    fn state_feed(&self) -> Arc<dyn StateFeed<RawState>>;

    /// The ids of those that have events.
    fn ids(&self) -> Arc<dyn EntityIds>;

    /// The ids of those that have states; the same as [`ids`](Self::ids) where one store keeps both.
    fn state_ids(&self) -> Arc<dyn EntityIds>;

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
    events::an_empty_feed_is_at_its_end(subject).await;
    states::an_empty_feed_is_at_its_end(subject).await;
    ids::of_an_empty_store_there_are_none(subject).await;
    events::they_come_by_type_in_commit_order(subject).await;
    events::pages_keep_limits_and_lose_nothing_between_them(subject).await;
    events::deleted_ones_are_passed_over(subject).await;
    events::slices_share_them_out(subject).await;
    events::each_is_found_by_its_own_tags(subject).await;
    events::tags_that_do_not_fit_the_batch_are_refused(subject).await;
    events::a_live_reader_sees_each_of_many_writers_once(subject).await;
    events::one_entity_is_followed_beyond_its_end(subject).await;
    states::the_latest_of_each_comes_in_the_order_of_writes(subject).await;
    states::pages_keep_limits_and_lose_nothing_between_them(subject).await;
    states::large_markers_hide_nothing_behind_them(subject).await;
    states::slices_and_tags_select(subject).await;
    states::a_live_reader_sees_the_latest_of_many_writers(subject).await;
    ids::they_come_in_order_and_by_type(subject).await;
    ids::a_live_reader_misses_none(subject).await;
    projections::offsets_never_go_back_and_the_last_claim_has_them(subject).await;
    projections::offsets_are_kept_whole(subject).await;
    projections::an_offset_can_be_set_back_by_who_has_it(subject).await;
    projections::a_pause_is_remembered(subject).await;
    projections::parked_events_are_listed_replayed_and_dropped(subject).await;
    all_of_it_survives_a_restart(subject).await;
}

const ALL: ReplayLimit = ReplayLimit { events: usize::MAX, bytes: usize::MAX };

async fn all_of_it_survives_a_restart(subject: &mut dyn FeedSubject) {
    // What was written last is deleted, and its rows may be removed at any time: then the end is before them.
    events::append(&subject.journal(), "last", "a", &["one that stays"]).await;
    let events = (events::page_of(subject, "cart").await, events::page_of(subject, "live").await);
    let states = states::page_of(subject, "cart").await;
    let ids = subject.ids().ids(None, None, usize::MAX).await.expect("ids");
    let parked = subject.projections().parked(Selection::default(), None, 100).await.expect("a list");
    let positions = subject.projections().positions(Selection::default()).await.expect("a list");
    if !subject.restart().await {
        return;
    }
    let after = (events::page_of(subject, "cart").await, events::page_of(subject, "live").await);
    assert_eq!(after, events, "the feed of events");
    assert_eq!(states::page_of(subject, "cart").await, states, "the feed of states");
    assert_eq!(subject.ids().ids(None, None, usize::MAX).await.expect("ids"), ids);
    assert_eq!(subject.projections().parked(Selection::default(), None, 100).await.expect("a list"), parked);
    assert_eq!(subject.projections().positions(Selection::default()).await.expect("a list"), positions, "offsets");
    events::the_order_goes_on_behind(subject, events.0.end).await;
}
