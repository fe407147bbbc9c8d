//! What the word of a slot says. Pure arithmetic.
//!
//! | bits | what |
//! |---|---|
//! | 3.. | a [`Note`] |
//! | 2 | the [`Lap`] its block was in |
//! | 0..2 | a [`Kind`]; zero: never filled |

/// What a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// Takes room.
    Counted = 1,
    /// Takes none.
    Free = 2,
}

/// A number that goes with a message, for whoever takes it: in the word that says the slot is filled there is room for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Note(u64);

impl Note {
    pub(crate) const NONE: Self = Self(0);
    /// A larger number than this one is made this one.
    pub(crate) const MAX: u64 = u64::MAX >> Stamp::NOTE;

    #[inline(always)]
    pub(crate) fn new(number: u64) -> Self {
        Self(number.min(Self::MAX))
    }

    #[inline(always)]
    pub(crate) fn number(self) -> u64 {
        self.0
    }
}

/// Says that a slot is filled, with what kind of message, and in which lap its block is. A block goes from the consumer back to
/// those who fill it; then its other lap begins, and what its slots say of the one before counts for nothing.
#[derive(Clone, Copy)]
pub(super) struct Stamp(pub(super) u64);

impl Stamp {
    /// No slot that is filled has it, in either lap.
    pub(super) const EMPTY: Self = Self(0);
    /// A [`Kind`].
    const KIND: u64 = 3;
    const LAP: u32 = 2;
    const NOTE: u32 = 3;

    #[inline(always)]
    pub(super) fn new(kind: Kind, lap: Lap, note: Note) -> Self {
        Self(kind as u64 | u64::from(lap.0) << Self::LAP | note.0 << Self::NOTE)
    }

    #[inline(always)]
    /// `None`: not filled in that lap.
    pub(super) fn read(self, lap: Lap) -> Option<(Kind, Note)> {
        let kind = match self.0 & Self::KIND {
            _ if self.0 >> Self::LAP & 1 != u64::from(lap.0) => return None,
            0 => return None,
            1 => Kind::Counted,
            _ => Kind::Free,
        };
        Some((kind, Note(self.0 >> Self::NOTE)))
    }
}

/// One of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lap(pub(super) bool);

#[cfg(all(test, not(any(actors_loom, actors_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_says_what_was_put_into_it_in_its_own_lap_alone() {
        for (kind, lap, number) in [(Kind::Counted, false, 0), (Kind::Free, true, 7), (Kind::Counted, true, Note::MAX)]
        {
            let stamp = Stamp::new(kind, Lap(lap), Note::new(number));
            assert_eq!(stamp.read(Lap(lap)), Some((kind, Note::new(number))));
            assert_eq!(stamp.read(Lap(!lap)), None);
        }
        assert_eq!([false, true].map(|lap| Stamp::EMPTY.read(Lap(lap))), [None, None]);
    }
}
