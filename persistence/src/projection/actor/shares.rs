//! Taking the offset over, and what instances with other shares of the slices have left.

use crate::{
    AppendError, JournalError, Offset,
    projection::{
        Claimed, ParkedEvent, ProjectionFence, ProjectionId, ProjectionStore, Selection, source::overlap, state::Start,
    },
};
use futures_util::future::try_join_all;
use std::{collections::BTreeSet, ops::RangeInclusive};

/// Parked items read, or moved, at a time.
const PAGE: usize = 64;

/// What is known once the offset is ours.
pub(super) struct Beginning {
    pub(super) claimed: Claimed,
    /// Slices that other instances have handled up to an offset.
    ahead: Vec<(RangeInclusive<u16>, Offset)>,
    /// Parked behind our offset.
    parked: BTreeSet<Offset>,
    parked_count: u64,
}

impl Beginning {
    /// From where on there is anything to do: all slices are handled up to there by somebody.
    pub(super) fn start(self, slices: &RangeInclusive<u16>) -> Start {
        let Self { claimed: Claimed { offset, paused, .. }, ahead, parked, parked_count } = self;
        let everywhere = slices.clone().map(|slice| {
            let by_others = ahead.iter().filter(|(slices, _)| slices.contains(&slice)).map(|(_, offset)| *offset);
            by_others.max().unwrap_or(offset)
        });
        let offset = everywhere.min().unwrap_or(offset).max(offset);
        Start { offset, paused, ahead, parked, parked_count: parked_count as usize }
    }
}

/// Takes the offset over, and those of instances that read some of the same slices: what they have handled is not handled
/// again, and what they have parked in our slices is parked by us from now on.
pub(super) async fn begin(store: &dyn ProjectionStore, ours: &ProjectionId) -> Result<Beginning, String> {
    begun(store, ours).await.map_err(|error| error.to_string())
}

async fn begun(store: &dyn ProjectionStore, ours: &ProjectionId) -> Result<Beginning, AppendError> {
    let claimed = store.take_over(ours.clone()).await?;
    let mut ahead = Vec::new();
    for row in store.positions(group_of(ours)).await.map_err(unread)? {
        let Some(slices) = overlap(ours, &row.projection) else { continue };
        // From here on they park, forget and handle nothing more.
        let theirs = store.take_over(row.projection).await?;
        adopt(store, &claimed.fence, &theirs.fence.projection, &slices).await?;
        if theirs.offset > claimed.offset {
            ahead.push((slices, theirs.offset));
        }
    }
    let (mut parked, mut after) = (BTreeSet::new(), Some((ours.clone(), claimed.offset)));
    while after.is_some() {
        let page = store.parked(Selection::of(ours), after, PAGE).await.map_err(unread)?;
        parked.extend(page.iter().map(|event| event.offset));
        after = next_of(&page);
    }
    let parked_count = store.parked_count(Selection::of(ours)).await.map_err(unread)?;
    Ok(Beginning { claimed, ahead, parked, parked_count })
}

/// Parked items of `slices` become ours. Each is ours before it is theirs no more; an end in between is made good for by
/// whoever begins next.
async fn adopt(
    store: &dyn ProjectionStore,
    fence: &ProjectionFence,
    theirs: &ProjectionId,
    slices: &RangeInclusive<u16>,
) -> Result<(), AppendError> {
    let (ours, mut after) = (&fence.projection, None);
    loop {
        let page = store.parked(Selection::of(theirs), after, PAGE).await.map_err(unread)?;
        after = next_of(&page);
        let of_slices = page.into_iter().filter(|event| slices.contains(&event.id.slice()));
        let moves = of_slices.map(|event| async move {
            let (offset, replay) = (event.offset, event.replay);
            store.park(fence.clone(), ParkedEvent { projection: ours.clone(), ..event }).await?;
            if replay {
                store.replay_parked(Selection::one(ours, offset)).await?;
            }
            store.drop_parked(Selection::one(theirs, offset)).await
        });
        try_join_all(moves).await?;
        if after.is_none() {
            return Ok(());
        }
    }
}

/// Where the page after this one begins, if there may be one.
fn next_of(page: &[ParkedEvent]) -> Option<(ProjectionId, Offset)> {
    page.last().filter(|_| page.len() == PAGE).map(|last| (last.projection.clone(), last.offset))
}

/// What instances with other shares have handled is to be handled again too: else the next life would pass over it.
/// Before our own offset, so that an end in between leaves things as they were.
pub(super) async fn forget_others(
    store: &dyn ProjectionStore,
    ours: &ProjectionId,
    offset: Offset,
) -> Result<(), AppendError> {
    let rows = store.positions(group_of(ours)).await.map_err(unread)?;
    for row in rows.into_iter().filter(|row| row.offset > offset && overlap(ours, &row.projection).is_some()) {
        let other = row.projection.clone();
        let fence = store.take_over(row.projection).await?.fence;
        store.set_offset(fence, offset).await.map_err(|error| match error {
            // Theirs was taken over meanwhile, not ours.
            AppendError::Stale { .. } => AppendError::Unavailable { reason: format!("{other} was started meanwhile") },
            error => error,
        })?;
    }
    Ok(())
}

fn group_of(projection: &ProjectionId) -> Selection {
    Selection { group: Some(projection.group.clone()), ..Selection::default() }
}

fn unread(error: JournalError) -> AppendError {
    AppendError::Unavailable { reason: error.to_string() }
}
