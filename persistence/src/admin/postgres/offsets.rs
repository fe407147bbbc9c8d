//! [`Offsets`]: where the places of another store go in one on PostgreSQL. Pure.

use crate::{Offset, admin::AdminError, projection::parse_source};

/// Offsets of another store on PostgreSQL are kept, so that every consumer of it, here or elsewhere, goes on where it was;
/// what is written from now on is of a generation of its own, and so behind all of them. A store that only counts has its
/// numbers in the generation and the transaction of the import.
#[derive(Debug)]
pub(super) struct Offsets {
    own: Offset, // of this import: generation and transaction
    highest: Offset,
    events: Offset,
    states: Offset,
}

impl Offsets {
    pub(super) fn new(generation: u32, tx: u64) -> Self {
        let own = Offset::new(generation, tx, 0);
        Self { own, highest: Offset::START, events: Offset::START, states: Offset::START }
    }

    /// Notes the highest offset ever given out.
    pub(super) fn begin(&mut self, highest: Offset) -> Result<(), AdminError> {
        if highest.generation() >= i32::MAX.unsigned_abs() {
            return Err(AdminError::Import(format!("places: there is no generation behind that of {highest}")));
        }
        self.highest = highest;
        Ok(())
    }

    /// Of what is written when the import is over.
    pub(super) fn generation(&self) -> u32 {
        if self.counts() { self.own.generation() } else { self.own.generation().max(self.highest.generation() + 1) }
    }

    /// Whether the other store only counts.
    pub(super) fn counts(&self) -> bool {
        self.highest.is_plain()
    }

    /// Where the event at `offset` goes; they come in order.
    pub(super) fn event(&mut self, offset: Offset) -> Result<Offset, AdminError> {
        self.check("event", self.events, offset)?;
        self.events = offset;
        Ok(self.here(offset))
    }

    /// Where the state at `offset` goes; they come in order.
    pub(super) fn state(&mut self, offset: Offset) -> Result<Offset, AdminError> {
        self.check("state", self.states, offset)?;
        self.states = offset;
        Ok(self.here(offset))
    }

    /// Where a consumer of `source` goes on that was at `offset`. One of a third store is of another kind than those of the
    /// store that was exported, or its source is none of a store, and stays what it is.
    pub(super) fn of(&self, source: &str, offset: Offset) -> Offset {
        if parse_source(source).is_some() { self.here(offset) } else { offset }
    }

    fn here(&self, offset: Offset) -> Offset {
        if self.counts() && offset.is_plain() && offset != Offset::START {
            return Offset::new(self.own.generation(), self.own.tx(), offset.ordering());
        }
        offset
    }

    /// The highest number that must not be given out again.
    pub(super) fn end(&self) -> u64 {
        if self.counts() { self.highest.ordering() } else { 0 }
    }

    fn check(&self, what: &str, before: Offset, offset: Offset) -> Result<(), AdminError> {
        let wrong = |reason: &str| Err(AdminError::Import(format!("{what} at offset {offset} {reason}")));
        if offset == Offset::START {
            return wrong("has none that can be: they begin above 0");
        }
        if offset.is_plain() != self.counts() || offset.generation() > self.highest.generation() {
            return wrong("is of another kind than those that `places` tells of");
        }
        if offset <= before {
            return wrong("does not come in the order of offsets");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_a_store_that_only_counts_are_kept_in_the_imports_transaction() {
        let mut offsets = Offsets::new(1, 700);
        offsets.begin(Offset::of_ordering(9)).unwrap();
        assert_eq!(offsets.event(Offset::of_ordering(3)).unwrap(), Offset::new(1, 700, 3));
        assert_eq!(offsets.state(Offset::of_ordering(1)).unwrap(), Offset::new(1, 700, 1), "an order of their own");
        assert_eq!(offsets.of("cart", Offset::of_ordering(5)), Offset::new(1, 700, 5));
        assert_eq!(offsets.of("cart|0-9|topics", Offset::of_ordering(5)), Offset::of_ordering(5));
        for kept in [Offset::START, Offset::new(2, 3, 4)] {
            assert_eq!(offsets.of("cart", kept), kept);
        }
        assert_eq!((offsets.generation(), offsets.end()), (1, 9));
    }

    #[test]
    fn places_of_another_server_stay_and_what_comes_is_behind_them() {
        let mut offsets = Offsets::new(1, 700);
        offsets.begin(Offset::new(4, 0, 0)).unwrap();
        for at in [Offset::new(1, 9_000, 17), Offset::new(4, 20, 1)] {
            assert_eq!(offsets.event(at).unwrap(), at);
            assert_eq!(offsets.of("cart", at), at);
        }
        assert_eq!(offsets.of("cart", Offset::of_ordering(5)), Offset::of_ordering(5), "a third store's");
        assert_eq!((offsets.generation(), offsets.end()), (5, 0));
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let mut offsets = Offsets::new(1, 700);
        offsets.begin(Offset::new(2, 0, 0)).unwrap();
        let at = Offset::new(2, 5, 5);
        offsets.event(at).unwrap();
        for wrong in [at, Offset::new(2, 5, 4), Offset::new(3, 1, 1), Offset::of_ordering(9), Offset::START] {
            assert!(matches!(offsets.event(wrong), Err(AdminError::Import(_))), "{wrong}");
        }
        assert!(offsets.begin(Offset::new(i32::MAX as u32, 0, 0)).is_err());
        offsets.begin(Offset::of_ordering(3)).unwrap();
        assert!(offsets.event(Offset::new(1, 1, 1)).is_err());
    }
}
