//! What a projection reads: [`Envelope`], [`ProjectionSource`], and how a source is named.

use super::ProjectionId;
use crate::{
    BoxFuture, Changes, EventFeed, FeedEvent, FeedQuery, Journal, JournalError, Offset, PersistenceId, ReplayLimit,
    SLICES, StateChange, StateFeed, StateStore,
};
use futures_util::FutureExt;
use std::{ops::RangeInclusive, sync::Arc};

/// What a projection handles one by one: an event, or the last state of an entity.
pub trait Envelope: Send + Sync + 'static {
    /// Its place in the feed.
    fn offset(&self) -> Offset;
    /// Whose it is.
    fn id(&self) -> &PersistenceId;
    /// Its sequence number, or the revision.
    fn number(&self) -> u64;
    /// Wall clock of its writer, ms since 1970.
    fn time_ms(&self) -> u64;
}

impl<E: Send + Sync + 'static> Envelope for FeedEvent<E> {
    fn offset(&self) -> Offset {
        self.offset
    }

    fn id(&self) -> &PersistenceId {
        &self.id
    }

    fn number(&self) -> u64 {
        self.stored.seq_nr
    }

    fn time_ms(&self) -> u64 {
        self.stored.time_ms
    }
}

impl<S: Send + Sync + 'static> Envelope for StateChange<S> {
    fn offset(&self) -> Offset {
        self.offset
    }

    fn id(&self) -> &PersistenceId {
        &self.id
    }

    fn number(&self) -> u64 {
        self.stored.revision
    }

    fn time_ms(&self) -> u64 {
        self.stored.time_ms
    }
}

/// One page of what a projection reads, as [`FeedPage`](crate::FeedPage) and [`StatePage`](crate::StatePage) are.
pub(crate) struct Page<I> {
    pub(crate) items: Vec<I>,
    pub(crate) read_to: Offset,
    pub(crate) end: Offset,
}

/// A feed with what a projection needs beside it.
pub(crate) trait ProjectionSource<I>: Send + Sync + 'static {
    fn page(&self, query: FeedQuery, after: Offset, limit: ReplayLimit) -> Read<Page<I>>;
    fn changes(&self) -> Changes;
    /// Where the item with this number is, or the next one of its entity.
    fn offset_of(&self, id: PersistenceId, number: u64) -> Read<Option<Offset>>;
    /// The item itself, for one more try; it is at `offset`.
    fn look_up(&self, id: PersistenceId, number: u64, offset: Offset) -> Read<Option<I>>;
}

pub(crate) type Read<T> = BoxFuture<'static, Result<T, JournalError>>;

pub(crate) struct Events<E> {
    pub(crate) feed: Arc<dyn EventFeed<E>>,
    pub(crate) journal: Arc<dyn Journal<E>>,
}

impl<E: Send + Sync + 'static> ProjectionSource<FeedEvent<E>> for Events<E> {
    fn page(&self, query: FeedQuery, after: Offset, limit: ReplayLimit) -> Read<Page<FeedEvent<E>>> {
        let page = self.feed.page(query, after, limit);
        async move { page.await.map(|page| Page { items: page.events, read_to: page.read_to, end: page.end }) }.boxed()
    }

    fn changes(&self) -> Changes {
        self.feed.changes()
    }

    /// One that was stored and is deleted, as are all after it, is behind whoever waits for it: nobody can handle it any more.
    fn offset_of(&self, id: PersistenceId, number: u64) -> Read<Option<Offset>> {
        let (feed, journal) = (Arc::clone(&self.feed), Arc::clone(&self.journal));
        async move {
            let found = feed.offset_of(id.clone(), number).await?;
            if found.is_some() || journal.highest_seq(id.clone()).await? < number {
                return Ok(found);
            }
            // It may have come between the two looks.
            Ok(Some(feed.offset_of(id, number).await?.unwrap_or(Offset::START)))
        }
        .boxed()
    }

    fn look_up(&self, id: PersistenceId, number: u64, offset: Offset) -> Read<Option<FeedEvent<E>>> {
        let found = self.journal.replay(id.clone(), number, number, ReplayLimit::default());
        async move { Ok(found.await?.into_iter().next().map(|stored| FeedEvent { offset, id, stored })) }.boxed()
    }
}

pub(crate) struct States<S> {
    pub(crate) feed: Arc<dyn StateFeed<S>>,
    pub(crate) store: Arc<dyn StateStore<S>>,
}

impl<S: Send + Sync + 'static> ProjectionSource<StateChange<S>> for States<S> {
    fn page(&self, query: FeedQuery, after: Offset, limit: ReplayLimit) -> Read<Page<StateChange<S>>> {
        let page = self.feed.page(query, after, limit);
        async move { page.await.map(|page| Page { items: page.states, read_to: page.read_to, end: page.end }) }.boxed()
    }

    fn changes(&self) -> Changes {
        self.feed.changes()
    }

    /// States have no place of their own in the past: whoever has seen the last write has seen every one before it.
    fn offset_of(&self, id: PersistenceId, _: u64) -> Read<Option<Offset>> {
        self.feed.last_offset(id)
    }

    /// The state of today stands for the one that was parked.
    fn look_up(&self, id: PersistenceId, _: u64, offset: Offset) -> Read<Option<StateChange<S>>> {
        let found = self.store.load(id.clone());
        async move { Ok(found.await?.map(|stored| StateChange { offset, id, stored })) }.boxed()
    }
}

/// What kind of feed an offset belongs to; part of a source's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FeedKind {
    Events,
    States,
}

impl ProjectionId {
    /// The projection `group` of the events that `query` asks for. All slices without a tag are named by the type alone.
    #[must_use]
    pub fn of_events(group: impl Into<Arc<str>>, query: &FeedQuery) -> Self {
        Self { group: group.into(), source: source_of(query, FeedKind::Events) }
    }

    /// The projection `group` of the states that `query` asks for.
    #[must_use]
    pub fn of_states(group: impl Into<Arc<str>>, query: &FeedQuery) -> Self {
        Self { group: group.into(), source: source_of(query, FeedKind::States) }
    }

    /// What the source asks for, if it reads events: whoever deletes events should look whether somebody needs them.
    /// `None` for a reader of states.
    #[must_use]
    pub fn events_read(&self) -> Option<FeedQuery> {
        parse(&self.source).filter(|(_, kind)| *kind == FeedKind::Events).map(|(query, _)| query)
    }
}

/// `type`, or `type|first-last`, or `type|first-last|kind`, or `type|first-last|kind|tag`: no type contains a `|`.
fn source_of(query: &FeedQuery, kind: FeedKind) -> Arc<str> {
    let FeedQuery { entity_type, slices, tag } = query;
    let (first, last) = (slices.start(), slices.end());
    let kind_name = match kind {
        FeedKind::Events => "events",
        FeedKind::States => "states",
    };
    match (kind, tag) {
        (FeedKind::Events, None) if query.is_all_slices() => Arc::clone(entity_type),
        (FeedKind::Events, None) => format!("{entity_type}|{first}-{last}").into(),
        (_, None) => format!("{entity_type}|{first}-{last}|{kind_name}").into(),
        (_, Some(tag)) => format!("{entity_type}|{first}-{last}|{kind_name}|{tag}").into(),
    }
}

pub(crate) fn parse(source: &str) -> Option<(FeedQuery, FeedKind)> {
    let mut parts = source.splitn(4, '|');
    let query = FeedQuery::of(parts.next()?);
    let Some(slices) = parts.next() else { return Some((query, FeedKind::Events)) };
    let (first, last) = slices.split_once('-')?;
    let query = query.slices(first.parse().ok()?..=last.parse().ok()?);
    let kind = match parts.next() {
        None | Some("events") => FeedKind::Events,
        Some("states") => FeedKind::States,
        Some(_) => return None,
    };
    Some((FeedQuery { tag: parts.next().map(Arc::from), ..query }, kind))
}

/// What another instance's row says about slices of ours: that everything in them up to its offset is done.
///
/// `None` when it reads something else, or none of our slices.
pub(crate) fn overlap(ours: &ProjectionId, other: &ProjectionId) -> Option<RangeInclusive<u16>> {
    if ours.group != other.group || ours.source == other.source {
        return None;
    }
    let ((ours, our_kind), (other, other_kind)) = (parse(&ours.source)?, parse(&other.source)?);
    if ours.entity_type != other.entity_type || ours.tag != other.tag || our_kind != other_kind {
        return None;
    }
    let first = *ours.slices.start().max(other.slices.start());
    let last = *ours.slices.end().min(other.slices.end());
    (first <= last).then_some(first..=last)
}

/// Divides all slices into as equal ranges as can be.
///
/// # Panics
/// When `parts` is 0 or more than there are slices.
#[must_use]
pub fn slice_ranges(parts: u16) -> Vec<RangeInclusive<u16>> {
    shares_of(&(0..=SLICES - 1), parts)
}

/// Divides some slices into as equal ranges as can be. Panics as [`slice_ranges`] does.
pub(crate) fn shares_of(slices: &RangeInclusive<u16>, parts: u16) -> Vec<RangeInclusive<u16>> {
    let (first, count) = (*slices.start(), slices.len() as u32);
    assert!((1..=count).contains(&u32::from(parts)), "{parts} parts of {count} slices: choose 1 to {count}");
    let bound = |part: u16| first + (u32::from(part) * count / u32::from(parts)) as u16;
    (0..parts).map(|part| bound(part)..=bound(part + 1) - 1).collect()
}

/// Whether `projection` reads what `id` writes.
pub(crate) fn reads(projection: &ProjectionId, id: &PersistenceId) -> bool {
    parse(&projection.source)
        .is_some_and(|(query, _)| *query.entity_type == *id.entity_type() && query.slices.contains(&id.slice()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_named_and_read_back() {
        let all = FeedQuery::of("cart");
        for (query, kind, name) in [
            (all.clone(), FeedKind::Events, "cart"),
            (all.clone().slices(0..=511), FeedKind::Events, "cart|0-511"),
            (all.clone().tag("a|b"), FeedKind::Events, "cart|0-1023|events|a|b"),
            (all.clone(), FeedKind::States, "cart|0-1023|states"),
            (all.clone().slices(3..=3).tag(""), FeedKind::States, "cart|3-3|states|"),
        ] {
            assert_eq!(&*source_of(&query, kind), name);
            assert_eq!(parse(name), Some((query, kind)), "{name}");
        }
        for name in ["cart|", "cart|a-b", "cart|1-2|other"] {
            assert_eq!(parse(name), None, "{name}");
        }
    }

    #[test]
    fn rows_overlap_where_they_read_the_same() {
        let id = |group: &str, source: &str| ProjectionId { group: group.into(), source: source.into() };
        let ours = id("g", "cart|256-511");
        assert_eq!(overlap(&ours, &id("g", "cart")), Some(256..=511));
        assert_eq!(overlap(&ours, &id("g", "cart|500-600")), Some(500..=511));
        for other in ["cart|256-511", "cart|512-1023", "user", "cart|0-1023|states", "cart|0-1023|events|t"] {
            assert_eq!(overlap(&ours, &id("g", other)), None, "{other}");
        }
        assert_eq!(overlap(&ours, &id("h", "cart")), None);
    }

    #[test]
    fn ranges_cover_all_slices_once() {
        for parts in [1, 2, 3, 7, 1024] {
            let all: Vec<u16> = slice_ranges(parts).into_iter().flatten().collect();
            assert_eq!(all, (0..SLICES).collect::<Vec<_>>(), "{parts} parts");
        }
    }
}
