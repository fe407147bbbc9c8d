//! Feeds and projection stores behind a breaker, for whoever follows a store that fails; see [`Guarded`].

use crate::{
    AppendError, BoxFuture, Changes, Claimed, EventFeed, FeedPage, FeedQuery, Guarded, JournalError, Offset,
    ParkedEvent, PersistenceId, Position, ProjectionFence, ProjectionId, ProjectionStore, ReplayLimit, Selection,
};
use std::sync::Arc;

impl<E: Send + 'static, T: EventFeed<E>> EventFeed<E> for Guarded<T> {
    fn page(
        &self,
        query: FeedQuery,
        after: Offset,
        limit: ReplayLimit,
    ) -> BoxFuture<'static, Result<FeedPage<E>, JournalError>> {
        self.read(|store| store.page(query, after, limit))
    }

    fn offset_of(&self, id: PersistenceId, seq_nr: u64) -> BoxFuture<'static, Result<Option<Offset>, JournalError>> {
        self.read(|store| store.offset_of(id, seq_nr))
    }

    fn changes(&self) -> Changes {
        self.unguarded().changes()
    }
}

impl<T: ProjectionStore> ProjectionStore for Guarded<T> {
    fn take_over(&self, projection: ProjectionId) -> BoxFuture<'static, Result<Claimed, AppendError>> {
        self.write(|store| store.take_over(projection))
    }

    fn save_offset(&self, fence: ProjectionFence, offset: Offset) -> BoxFuture<'static, Result<(), AppendError>> {
        self.write(|store| store.save_offset(fence, offset))
    }

    fn set_offset(&self, fence: ProjectionFence, offset: Offset) -> BoxFuture<'static, Result<(), AppendError>> {
        self.write(|store| store.set_offset(fence, offset))
    }

    fn set_paused(&self, projection: ProjectionId, paused: bool) -> BoxFuture<'static, Result<(), AppendError>> {
        self.write(|store| store.set_paused(projection, paused))
    }

    fn positions(&self, selection: Selection) -> BoxFuture<'static, Result<Vec<Position>, JournalError>> {
        self.read(|store| store.positions(selection))
    }

    fn park(&self, fence: ProjectionFence, event: ParkedEvent) -> BoxFuture<'static, Result<(), AppendError>> {
        self.write(|store| store.park(fence, event))
    }

    fn unpark(&self, fence: ProjectionFence, offset: Offset) -> BoxFuture<'static, Result<(), AppendError>> {
        self.write(|store| store.unpark(fence, offset))
    }

    fn parked(
        &self,
        selection: Selection,
        after: Option<(ProjectionId, Offset)>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<ParkedEvent>, JournalError>> {
        self.read(|store| store.parked(selection, after, limit))
    }

    fn to_replay(
        &self,
        selection: Selection,
        after: Option<(ProjectionId, Offset)>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<ParkedEvent>, JournalError>> {
        self.read(|store| store.to_replay(selection, after, limit))
    }

    fn parked_count(&self, selection: Selection) -> BoxFuture<'static, Result<u64, JournalError>> {
        self.read(|store| store.parked_count(selection))
    }

    fn replay_parked(&self, selection: Selection) -> BoxFuture<'static, Result<u64, AppendError>> {
        self.write(|store| store.replay_parked(selection))
    }

    fn drop_parked(&self, selection: Selection) -> BoxFuture<'static, Result<u64, AppendError>> {
        self.write(|store| store.drop_parked(selection))
    }
}

impl<E: 'static, T: EventFeed<E> + ?Sized> EventFeed<E> for Arc<T> {
    fn page(
        &self,
        query: FeedQuery,
        after: Offset,
        limit: ReplayLimit,
    ) -> BoxFuture<'static, Result<FeedPage<E>, JournalError>> {
        (**self).page(query, after, limit)
    }

    fn offset_of(&self, id: PersistenceId, seq_nr: u64) -> BoxFuture<'static, Result<Option<Offset>, JournalError>> {
        (**self).offset_of(id, seq_nr)
    }

    fn changes(&self) -> Changes {
        (**self).changes()
    }
}

impl<T: ProjectionStore + ?Sized> ProjectionStore for Arc<T> {
    fn take_over(&self, projection: ProjectionId) -> BoxFuture<'static, Result<Claimed, AppendError>> {
        (**self).take_over(projection)
    }

    fn save_offset(&self, fence: ProjectionFence, offset: Offset) -> BoxFuture<'static, Result<(), AppendError>> {
        (**self).save_offset(fence, offset)
    }

    fn set_offset(&self, fence: ProjectionFence, offset: Offset) -> BoxFuture<'static, Result<(), AppendError>> {
        (**self).set_offset(fence, offset)
    }

    fn set_paused(&self, projection: ProjectionId, paused: bool) -> BoxFuture<'static, Result<(), AppendError>> {
        (**self).set_paused(projection, paused)
    }

    fn positions(&self, selection: Selection) -> BoxFuture<'static, Result<Vec<Position>, JournalError>> {
        (**self).positions(selection)
    }

    fn park(&self, fence: ProjectionFence, event: ParkedEvent) -> BoxFuture<'static, Result<(), AppendError>> {
        (**self).park(fence, event)
    }

    fn unpark(&self, fence: ProjectionFence, offset: Offset) -> BoxFuture<'static, Result<(), AppendError>> {
        (**self).unpark(fence, offset)
    }

    fn parked(
        &self,
        selection: Selection,
        after: Option<(ProjectionId, Offset)>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<ParkedEvent>, JournalError>> {
        (**self).parked(selection, after, limit)
    }

    fn to_replay(
        &self,
        selection: Selection,
        after: Option<(ProjectionId, Offset)>,
        limit: usize,
    ) -> BoxFuture<'static, Result<Vec<ParkedEvent>, JournalError>> {
        (**self).to_replay(selection, after, limit)
    }

    fn parked_count(&self, selection: Selection) -> BoxFuture<'static, Result<u64, JournalError>> {
        (**self).parked_count(selection)
    }

    fn replay_parked(&self, selection: Selection) -> BoxFuture<'static, Result<u64, AppendError>> {
        (**self).replay_parked(selection)
    }

    fn drop_parked(&self, selection: Selection) -> BoxFuture<'static, Result<u64, AppendError>> {
        (**self).drop_parked(selection)
    }
}
