//! What is stored, across entities: [`EventFeed`] and [`StateFeed`] in the order of commits, [`EntityIds`].

mod coded;
mod feed_query;
mod live;
mod live_ids;
mod memory;
#[cfg(feature = "postgres")]
pub(crate) mod postgres;
mod sqlite;

pub use feed_query::FeedQuery;
pub use live::{Changes, LiveEvents, LiveFeed};
pub use live_ids::LiveIds;
pub(crate) use sqlite::{ids, offset_of, page, state_offset, state_page};

use crate::{BoxFuture, JournalError, Offset, PersistenceId, ReplayLimit, Stored, StoredState};
use std::sync::Arc;

/// The events of all entities of a type, for whoever follows them.
///
/// # Promises of every implementation
/// - **Commit order.** Offsets grow in the order in which batches became visible, so nothing ever appears behind a place
///   that was read: a reader that goes on after [`FeedPage::read_to`] misses nothing and sees nothing twice.
/// - Events of one entity come in the order of their sequence numbers. Deleted events are skipped.
/// - An offset belongs to the store, not to the query: offsets of different types, slices and tags can be compared, and
///   the offset of one event is the same in every query that finds it.
///
/// # Errors
/// [`JournalError::ForeignOffset`] for an offset that this store cannot have given out.
pub trait EventFeed<E>: Send + Sync + 'static {
    /// The events that `query` asks for after `after`, [`Offset::START`] for all.
    ///
    /// A page without events is no sign of the end: only [`FeedPage::read_to`] at [`FeedPage::end`] is.
    fn page(
        &self,
        query: FeedQuery,
        after: Offset,
        limit: ReplayLimit,
    ) -> BoxFuture<'static, Result<FeedPage<E>, JournalError>>;

    /// Where the event of `id` with this number is, or the next one after it that is not deleted; `None` when there is
    /// none. Whoever was told of a write by number can wait for a reader to reach this place.
    fn offset_of(&self, id: PersistenceId, seq_nr: u64) -> BoxFuture<'static, Result<Option<Offset>, JournalError>>;

    /// Wakes whoever waits for further events.
    fn changes(&self) -> Changes;
}

/// One page of a feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedPage<E> {
    /// The events, in commit order.
    pub events: Vec<FeedEvent<E>>,
    /// Every event of the query up to this offset is in this page or an earlier one. Ask for the next page after it.
    pub read_to: Offset,
    /// The highest offset in the store when the page was read, or where the page began if that is higher; the end of the
    /// feed was reached when `read_to` is that. A later page may tell a lower one: rows of deleted events are removed some
    /// time after the deletion, those at the end too. No offset is given out a second time.
    pub end: Offset,
}

/// One event of a feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedEvent<E> {
    /// Its place in commit order.
    pub offset: Offset,
    /// Whose event it is.
    pub id: PersistenceId,
    /// The event.
    pub stored: Stored<E>,
}

/// The last states of all entities of a type, in the order in which they were stored.
///
/// # Promises of every implementation
/// - Each state is found at the place of its last write. One that was written again in the meantime is found only there:
///   readers see every entity's latest state sooner or later, and not all that were before it. Never count them.
/// - A deletion is told, as a state that is [`None`]; it keeps the tag of the state that was deleted.
/// - Revisions of one entity grow.
/// - A reader that goes on after [`StatePage::read_to`] misses nothing.
/// - Offsets are those of states: they have nothing to do with those of events.
///
/// # Errors
/// [`JournalError::ForeignOffset`] for an offset that this store cannot have given out.
pub trait StateFeed<S>: Send + Sync + 'static {
    /// The states that `query` asks for and that were stored after `after`, [`Offset::START`] for all.
    ///
    /// [`ReplayLimit::events`] bounds the states. A page without any is no sign of the end: only [`StatePage::read_to`]
    /// at [`StatePage::end`] is.
    fn page(
        &self,
        query: FeedQuery,
        after: Offset,
        limit: ReplayLimit,
    ) -> BoxFuture<'static, Result<StatePage<S>, JournalError>>;

    /// Where the last write of `id` is, a deletion too; `None` when there is none. Older ones have no place any more.
    fn last_offset(&self, id: PersistenceId) -> BoxFuture<'static, Result<Option<Offset>, JournalError>>;

    /// Wakes whoever waits for further states.
    fn changes(&self) -> Changes;
}

/// One page of states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatePage<S> {
    /// The states, in the order of their last writes.
    pub states: Vec<StateChange<S>>,
    /// Every state of the query that was last written up to this offset is in this page or an earlier one.
    pub read_to: Offset,
    /// The highest offset in the store when the page was read, or where the page began if that is higher; the end of the
    /// feed was reached when `read_to` is that.
    pub end: Offset,
}

/// The last write of one entity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateChange<S> {
    /// Its place in the order of writes.
    pub offset: Offset,
    /// Whose state it is.
    pub id: PersistenceId,
    /// What is stored now.
    pub stored: StoredState<S>,
}

/// Which entities there are.
pub trait EntityIds: Send + Sync + 'static {
    /// At most `limit` ids after `after`, in the order of their texts, of one type or of all.
    ///
    /// An id is listed from its first event or state on and for ever: deletions take its data away, not its sequence
    /// number or revision. One that was only claimed is not. What is added while pages are read may or may not be found:
    /// who has to hear of all reads [`LiveIds`].
    fn ids(
        &self,
        entity_type: Option<Arc<str>>,
        after: Option<PersistenceId>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<PersistenceId>, JournalError>>;

    /// Wakes whoever waits for further ids.
    fn id_changes(&self) -> Changes;
}
