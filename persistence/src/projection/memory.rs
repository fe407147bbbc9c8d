//! [`InMemoryProjections`]: offsets that live as long as the process, as the journal beside them does.

use super::{Claimed, ParkedEvent, Position, ProjectionFence, ProjectionId, ProjectionStore, Selection};
use crate::{AppendError, BoxFuture, JournalError, Offset};
use futures_util::FutureExt;
use parking_lot::Mutex;
use std::{collections::BTreeMap, future::ready, ops::Bound, sync::Arc};

/// Keeps offsets and parked events in memory. Clones share their contents.
#[derive(Clone, Default)]
pub struct InMemoryProjections(Arc<Mutex<Contents>>);

#[derive(Default)]
struct Contents {
    positions: BTreeMap<ProjectionId, Row>,
    parked: BTreeMap<(ProjectionId, Offset), ParkedEvent>,
}

#[derive(Default)]
struct Row {
    epoch: u64,
    offset: Offset,
    paused: bool,
}

impl InMemoryProjections {
    fn fenced<T>(
        &self,
        fence: &ProjectionFence,
        write: impl FnOnce(&mut Contents) -> T,
    ) -> BoxFuture<'static, Result<T, AppendError>>
    where
        T: Send + 'static,
    {
        let mut contents = self.0.lock();
        let current = contents.positions.get(&fence.projection).map_or(0, |position| position.epoch);
        if current != fence.epoch {
            return ready(Err(AppendError::Stale { held: fence.epoch, current })).boxed();
        }
        ready(Ok(write(&mut contents))).boxed()
    }

    fn listed(
        &self,
        selection: &Selection,
        after: Option<(ProjectionId, Offset)>,
        limit: usize,
        wanted: fn(&ParkedEvent) -> bool,
    ) -> BoxFuture<'static, Result<Vec<ParkedEvent>, JournalError>> {
        let contents = self.0.lock();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let selected = contents.parked.range((from, Bound::Unbounded));
        let selected =
            selected.filter(|((projection, offset), event)| selection.takes(projection, *offset) && wanted(event));
        ready(Ok(selected.take(limit).map(|(_, event)| event.clone()).collect())).boxed()
    }
}

impl ProjectionStore for InMemoryProjections {
    fn take_over(&self, projection: ProjectionId) -> BoxFuture<'static, Result<Claimed, AppendError>> {
        let mut contents = self.0.lock();
        let position = contents.positions.entry(projection.clone()).or_default();
        position.epoch += 1;
        let fence = ProjectionFence { projection, epoch: position.epoch };
        ready(Ok(Claimed { fence, offset: position.offset, paused: position.paused })).boxed()
    }

    fn save_offset(&self, fence: ProjectionFence, offset: Offset) -> BoxFuture<'static, Result<(), AppendError>> {
        self.fenced(&fence, |contents| {
            if let Some(position) = contents.positions.get_mut(&fence.projection) {
                position.offset = position.offset.max(offset);
            }
        })
    }

    fn set_offset(&self, fence: ProjectionFence, offset: Offset) -> BoxFuture<'static, Result<(), AppendError>> {
        self.fenced(&fence, |contents| {
            if let Some(position) = contents.positions.get_mut(&fence.projection) {
                position.offset = offset;
            }
            contents.parked.retain(|(projection, place), _| *projection != fence.projection || *place <= offset);
        })
    }

    fn set_paused(&self, projection: ProjectionId, paused: bool) -> BoxFuture<'static, Result<(), AppendError>> {
        self.0.lock().positions.entry(projection).or_default().paused = paused;
        ready(Ok(())).boxed()
    }

    fn positions(&self, selection: Selection) -> BoxFuture<'static, Result<Vec<Position>, JournalError>> {
        let contents = self.0.lock();
        let selected = contents.positions.iter().filter(|(projection, _)| selection.takes_all_of(projection));
        let position = |(projection, row): (&ProjectionId, &Row)| {
            let Row { epoch, offset, paused } = *row;
            Position { projection: projection.clone(), offset, epoch, paused }
        };
        ready(Ok(selected.map(position).collect())).boxed()
    }

    fn park(&self, fence: ProjectionFence, event: ParkedEvent) -> BoxFuture<'static, Result<(), AppendError>> {
        self.fenced(&fence, |contents| {
            let key = (fence.projection.clone(), event.offset);
            contents.parked.insert(key, ParkedEvent { replay: false, ..event });
        })
    }

    fn unpark(&self, fence: ProjectionFence, offset: Offset) -> BoxFuture<'static, Result<(), AppendError>> {
        self.fenced(&fence, |contents| {
            contents.parked.remove(&(fence.projection.clone(), offset));
        })
    }

    fn parked(
        &self,
        selection: Selection,
        after: Option<(ProjectionId, Offset)>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<ParkedEvent>, JournalError>> {
        self.listed(&selection, after, limit, |_| true)
    }

    fn to_replay(
        &self,
        selection: Selection,
        after: Option<(ProjectionId, Offset)>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<ParkedEvent>, JournalError>> {
        self.listed(&selection, after, limit, |event| event.replay)
    }

    fn parked_count(&self, selection: Selection) -> BoxFuture<'static, Result<u64, JournalError>> {
        let contents = self.0.lock();
        let selected = contents.parked.keys().filter(|(projection, offset)| selection.takes(projection, *offset));
        ready(Ok(selected.count() as u64)).boxed()
    }

    fn replay_parked(&self, selection: Selection) -> BoxFuture<'static, Result<u64, AppendError>> {
        let mut contents = self.0.lock();
        let selected = contents.parked.iter_mut();
        let selected = selected.filter(|((projection, offset), _)| selection.takes(projection, *offset));
        ready(Ok(selected.map(|(_, event)| event.replay = true).count() as u64)).boxed()
    }

    fn drop_parked(&self, selection: Selection) -> BoxFuture<'static, Result<u64, AppendError>> {
        let mut contents = self.0.lock();
        let before = contents.parked.len();
        contents.parked.retain(|(projection, offset), _| !selection.takes(projection, *offset));
        ready(Ok((before - contents.parked.len()) as u64)).boxed()
    }
}
