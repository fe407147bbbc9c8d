//! [`ProjectionGuard`]: no event is deleted that a projection has not read.

use super::RetentionGuard;
use crate::{BoxFuture, EventFeed, JournalError, Offset, PersistenceId, ProjectionId, ProjectionStore, Selection};
use futures_util::FutureExt;
use std::sync::Arc;

/// Lets events go that all of some named projections have handled.
///
/// A projection that never ran needs all of them, and so does one whose name is misspelt. Of a parked event, and those
/// after it, the entity keeps all until it was handled or given up. Give it to
/// [`EventSourcedBehavior::needed_by`](crate::EventSourcedBehavior::needed_by).
pub struct ProjectionGuard<E> {
    feed: Arc<dyn EventFeed<E>>,
    store: Arc<dyn ProjectionStore>,
    projections: Arc<[ProjectionId]>,
}

/// Parked events looked through at a time, and how often.
const PARKED_PAGE: usize = 500;
const PARKED_PAGES: usize = 20;

impl<E: Send + 'static> ProjectionGuard<E> {
    /// `projections` read `feed` and keep their offsets in `store`.
    pub fn new(
        feed: Arc<dyn EventFeed<E>>,
        store: Arc<dyn ProjectionStore>,
        projections: impl IntoIterator<Item = ProjectionId>,
    ) -> Self {
        Self { feed, store, projections: projections.into_iter().collect() }
    }
}

impl<E: Send + 'static> RetentionGuard for ProjectionGuard<E> {
    fn read_to(&self, id: PersistenceId, up_to: u64) -> BoxFuture<'static, Result<u64, JournalError>> {
        let (feed, store) = (Arc::clone(&self.feed), Arc::clone(&self.store));
        let projections = Arc::clone(&self.projections);
        async move {
            let mut read_to = up_to;
            for projection in projections.iter() {
                let positions = store.positions(Selection::of(projection)).await?;
                let Some(position) = positions.into_iter().find(|it| it.projection == *projection) else {
                    return Ok(0);
                };
                read_to = handled(&*feed, &id, read_to, position.offset).await?;
                read_to = before_parked(&*store, &id, read_to, projection).await?;
                if read_to == 0 {
                    break;
                }
            }
            Ok(read_to)
        }
        .boxed()
    }
}

/// The highest number not above `up_to` of an event that is not behind `offset`: places grow with numbers.
async fn handled<E: 'static>(
    feed: &dyn EventFeed<E>,
    id: &PersistenceId,
    up_to: u64,
    offset: Offset,
) -> Result<u64, JournalError> {
    let (mut read, mut unread) = (0, up_to + 1);
    let mut at = up_to; // most often all are read
    while read + 1 < unread {
        match feed.offset_of(id.clone(), at).await? {
            Some(place) if place > offset => unread = at,
            // Or deleted: then nobody can need it.
            _ => read = at,
        }
        at = read + (unread - read) / 2;
    }
    Ok(read)
}

async fn before_parked(
    store: &dyn ProjectionStore,
    id: &PersistenceId,
    up_to: u64,
    projection: &ProjectionId,
) -> Result<u64, JournalError> {
    let (mut read_to, mut after) = (up_to, None);
    for _ in 0..PARKED_PAGES {
        let page = store.parked(Selection::of(projection), after.take(), PARKED_PAGE).await?;
        let own = page.iter().filter(|parked| parked.id == *id).map(|parked| parked.seq_nr - 1);
        read_to = own.min().map_or(read_to, |before| read_to.min(before));
        match page.last() {
            Some(last) if page.len() == PARKED_PAGE => after = Some((last.projection.clone(), last.offset)),
            _ => return Ok(read_to),
        }
    }
    Ok(0) // too many to look through: who parks so many needs a person first
}
