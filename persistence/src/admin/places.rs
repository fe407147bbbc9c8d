//! [`Places`]: where the events and states of another store go in one that only counts. Pure.

use super::AdminError;
use crate::{Offset, projection::FeedKind};
use std::collections::BTreeMap;

/// Offsets of a store that counts as well are kept, so that whoever noted one finds the same event there. Others are
/// numbered anew in their order, and what consumers noted is translated. What a consumer noted of a third store stays as
/// it is: it is of another kind than those of the store that was exported.
#[derive(Debug, Default)]
pub(crate) struct Places {
    events: Order,
    states: Order,
    highest: Offset,
}

/// Where an offset went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The place of the event or state there, or else of the last one before it.
    pub(crate) offset: Offset,
    /// Whether there is one, as far as can be told.
    pub(crate) exact: bool,
}

#[derive(Debug, Default)]
struct Order {
    last: Option<Offset>,
    number: u64,
    wanted: BTreeMap<Offset, Option<Place>>,
}

impl Places {
    /// Notes the highest offset ever given out.
    pub(crate) fn begin(&mut self, highest: Offset) {
        self.highest = highest;
    }

    /// Has `offset` of a reader of `kind` translated; to be called before the first event.
    pub(crate) fn want(&mut self, kind: FeedKind, offset: Offset) {
        self.order(kind).wanted.insert(offset, None);
    }

    /// The number for the event at `offset`; they come in order.
    pub(crate) fn event(&mut self, offset: Offset) -> Result<u64, AdminError> {
        self.events.next("event", offset)
    }

    /// The number for the state at `offset`; they come in order.
    pub(crate) fn state(&mut self, offset: Offset) -> Result<u64, AdminError> {
        self.states.next("state", offset)
    }

    /// Where an offset went that was wanted; to be called after the last event and state.
    pub(crate) fn of(&mut self, kind: FeedKind, offset: Offset) -> Place {
        if self.highest.is_plain() || offset.is_plain() {
            return Place { offset, exact: true };
        }
        let order = self.order(kind);
        let found = order.wanted.get(&offset).copied().flatten();
        found.unwrap_or(Place { offset: Offset::of_ordering(order.number), exact: false })
    }

    fn order(&mut self, kind: FeedKind) -> &mut Order {
        match kind {
            FeedKind::Events => &mut self.events,
            FeedKind::States => &mut self.states,
        }
    }

    /// The highest number that must not be given out again.
    pub(crate) fn end(&self) -> u64 {
        let announced = if self.highest.is_plain() { self.highest.ordering() } else { 0 };
        self.events.number.max(announced)
    }
}

impl Order {
    fn next(&mut self, what: &str, offset: Offset) -> Result<u64, AdminError> {
        let wrong = |reason: &str| Err(AdminError::Import(format!("{what} at offset {offset} {reason}")));
        if offset == Offset::START {
            return wrong("has none that can be: they begin above 0");
        }
        if self.last.is_some_and(|last| last >= offset) {
            return wrong("does not come in the order of offsets");
        }
        if self.last.is_some_and(|last| last.is_plain() && !offset.is_plain()) {
            return wrong("follows one of another kind");
        }
        let (last, before) = (self.last.unwrap_or(Offset::START), self.number);
        self.last = Some(offset);
        self.number = if offset.is_plain() { offset.ordering() } else { before + 1 };
        for (&wanted, place) in self.wanted.range_mut(last..=offset).filter(|(_, place)| place.is_none()) {
            let exact = wanted == offset;
            *place = Some(Place { offset: Offset::of_ordering(if exact { self.number } else { before }), exact });
        }
        Ok(self.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_that_only_count_stay_what_they_are() {
        let mut places = Places::default();
        places.begin(Offset::of_ordering(9));
        places.want(FeedKind::Events, Offset::of_ordering(5));
        assert_eq!([3, 7].map(|at| places.event(Offset::of_ordering(at)).unwrap()), [3, 7]);
        for kept in [Offset::of_ordering(5), Offset::new(1, 2, 3)] {
            places.want(FeedKind::Events, kept);
            assert_eq!(places.of(FeedKind::Events, kept), Place { offset: kept, exact: true });
        }
        assert_eq!(places.end(), 9, "the deleted tail is not numbered again");
    }

    #[test]
    fn others_are_numbered_in_their_order_and_consumers_stay_between_the_same_events() {
        let at = |tx| Offset::new(1, tx, 900 - tx);
        let mut places = Places::default();
        places.begin(at(50));
        for tx in [5, 10, 15, 20, 40] {
            places.want(FeedKind::Events, at(tx));
        }
        let numbers = [10, 20, 30].map(|tx| places.event(at(tx)).unwrap());
        assert_eq!(numbers, [1, 2, 3]);
        let found = [5, 10, 15, 20, 40].map(|tx| places.of(FeedKind::Events, at(tx)));
        assert_eq!(found.map(|place| place.offset.ordering()), [0, 1, 1, 2, 3]);
        assert_eq!(found.map(|place| place.exact), [false, true, false, true, false]);
        assert!(found.iter().all(|place| place.offset.is_plain()));
        let third_store = Offset::of_ordering(77);
        assert_eq!(places.of(FeedKind::Events, third_store), Place { offset: third_store, exact: true });
        assert_eq!(places.end(), 3);
    }

    #[test]
    fn readers_of_states_are_translated_by_states() {
        let at = |tx| Offset::new(1, tx, 1);
        let mut places = Places::default();
        places.begin(at(50));
        places.want(FeedKind::States, at(20));
        places.want(FeedKind::Events, at(20));
        assert_eq!([5, 10, 20].map(|tx| places.event(at(tx)).unwrap()), [1, 2, 3]);
        assert_eq!([20, 30].map(|tx| places.state(at(tx)).unwrap()), [1, 2]);
        let found = [FeedKind::States, FeedKind::Events].map(|kind| places.of(kind, at(20)).offset.ordering());
        assert_eq!(found, [1, 3]);
    }

    #[test]
    fn what_is_out_of_order_is_refused() {
        let mut places = Places::default();
        places.event(Offset::of_ordering(4)).unwrap();
        for wrong in [Offset::of_ordering(4), Offset::of_ordering(2), Offset::new(1, 2, 3)] {
            assert!(matches!(places.event(wrong), Err(AdminError::Import(_))), "{wrong}");
        }
        assert!(places.event(Offset::START).is_err());
        assert_eq!(places.state(Offset::of_ordering(4)).unwrap(), 4, "states have an order of their own");
    }
}
