//! [`ProjectionGuard`]: no event is deleted that a projection has not read.

use super::RetentionGuard;
use crate::{
    BoxFuture, EventFeed, JournalError, Offset, PersistenceId, ProjectionId, ProjectionStore, Selection,
    projection::overlap,
};
use futures_util::FutureExt;
use std::sync::Arc;

/// Lets events go that all of some named projections have handled.
///
/// A projection that never ran needs all of them, and so does one whose name is misspelt. Of a parked event, and those
/// after it, the entity keeps all until it was handled or given up. Give it to
/// [`EventSourcedBehavior::needed_by`](crate::EventSourcedBehavior::needed_by).
///
/// # Projections in several instances
/// Name the projection as it is before it is [divided](crate::Projection::divided): what each instance has handled counts
/// for its slices, however many of them there are, or were before. An instance that is named alone is asked about
/// entities of its own slices only.
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
            for projection in projections.iter().filter(|projection| !passes_by(projection, &id)) {
                // Before what is parked: an event is parked before the offset is behind it.
                let positions = store.positions(group_of(projection)).await?;
                let of_slice = positions.iter().filter(|row| is_read_by(projection, &row.projection, &id));
                let Some(offset) = of_slice.map(|row| row.offset).max() else { return Ok(0) };
                read_to = handled(&*feed, &id, read_to, offset).await?;
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

/// Whether `projection` is an instance that reads other slices of the entity's type.
fn passes_by(projection: &ProjectionId, id: &PersistenceId) -> bool {
    let reads = projection.events_read();
    reads.is_some_and(|query| *query.entity_type == *id.entity_type() && !query.slices.contains(&id.slice()))
}

/// Whether `instance` is `projection`, or one of its instances for the slice of `id`: what one has handled none of the
/// others, nor any later one, handles again.
fn is_read_by(projection: &ProjectionId, instance: &ProjectionId, id: &PersistenceId) -> bool {
    projection == instance || overlap(projection, instance).is_some_and(|slices| slices.contains(&id.slice()))
}

fn group_of(projection: &ProjectionId) -> Selection {
    Selection { group: Some(projection.group.clone()), ..Selection::default() }
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

/// The highest number not above `up_to` before every parked event.
///
/// A page is of one moment. What fills several may be moved meanwhile, from an instance to the one that has its slice
/// now, and to a page that was read before: so those are read once more.
async fn before_parked(
    store: &dyn ProjectionStore,
    id: &PersistenceId,
    up_to: u64,
    projection: &ProjectionId,
) -> Result<u64, JournalError> {
    let (mut read_to, mut after, mut again) = (up_to, None, true);
    for _ in 0..PARKED_PAGES {
        let is_first = after.is_none();
        let page = store.parked(group_of(projection), after.take(), PARKED_PAGE).await?;
        let own = page.iter().filter(|event| event.id == *id && is_read_by(projection, &event.projection, id));
        read_to = own.map(|event| event.seq_nr - 1).min().map_or(read_to, |before| read_to.min(before));
        match page.last() {
            Some(last) if page.len() == PARKED_PAGE => after = Some((last.projection.clone(), last.offset)),
            _ if again && !is_first => again = false, // from the first one on
            _ => return Ok(read_to),
        }
    }
    Ok(0) // too many to look through: who parks so many needs a person first
}
