//! The state word: the position of the next free slot, and who is to run the consumer. Pure arithmetic.
//!
//! | bits | what |
//! |---|---|
//! | 11.. | position of the next free slot, counted from [`START`] |
//! | 0..11 | flags |
//!
//! Invariant: at most one of [`ASLEEP`], [`LISTENING`], [`AWAITING`] is set. None of them: somebody has the right to run the
//! consumer, and runs it or is about to. [`NOTIFIED`] is set only then.

/// Waits for anything: messages, internal items, wakers.
pub(super) const ASLEEP: u64 = 1;
/// Waits for internal items and wakers; messages stay where they are.
pub(super) const LISTENING: u64 = 1 << 1;
/// Waits for wakers alone.
pub(super) const AWAITING: u64 = 1 << 2;
/// How large the block is in which the slot of this position lies: see [`slots`].
pub(super) const CLASS: u64 = 3 << CLASS_SHIFT;
const CLASS_SHIFT: u32 = 3;
/// Any of the three: the consumer is parked.
pub(super) const PARKED: u64 = ASLEEP | LISTENING | AWAITING;
/// Something besides messages came since somebody has had the right to run the consumer.
pub(super) const NOTIFIED: u64 = 1 << 5;
/// Messages and notices are refused for good.
pub(super) const CLOSED: u64 = 1 << 6;
/// Room is set aside or waited for: who wants some takes the lock.
pub(super) const CROWDED: u64 = 1 << 7;
/// Whoever took the last slot of a block is linking the next one.
pub(super) const LINKING: u64 = 1 << 8;
/// Messages are refused for good; notices are not, while the consumer comes to its end.
pub(super) const SHUT: u64 = 1 << 9;
/// The message that ended the sleep lies, or is about to lie, in a place of its own, and may have been taken from there. Set by
/// the exchange that takes [`ASLEEP`] away, and cleared by the consumer.
pub(super) const WAKING: u64 = 1 << WAKING_SHIFT;
const WAKING_SHIFT: u32 = 10;
/// Either of the two ways to refuse messages.
pub(super) const REFUSING: u64 = CLOSED | SHUT;

/// What a push has to look after.
pub(super) const HINDERS: u64 = REFUSING | CROWDED | LINKING;

const SHIFT: u32 = 11;
/// One position.
pub(super) const ONE: u64 = 1 << SHIFT;

/// Classes of blocks: the first one, a small one, a large one and a huge one. An actor that gets a message now and then stays
/// small, and only where messages pile up are there fewer seams. A checker gets to the seams sooner.
pub(super) const FIRST: u64 = 0;
pub(super) const SMALL: u64 = 1;
pub(super) const LARGE: u64 = 2;
pub(super) const HUGE: u64 = 3;

/// Slots of a block of that class: 4, 16, 64, 256.
#[inline(always)]
pub(super) const fn slots(class: u64) -> u64 {
    if cfg!(any(actors_loom, actors_shuttle)) { 1 << class } else { 4 << (2 * class) }
}

/// The class of a block of so many slots.
pub(super) const fn class_of(slots: u64) -> u64 {
    let doublings = slots.trailing_zeros() as u64;
    if cfg!(any(actors_loom, actors_shuttle)) { doublings } else { doublings / 2 - 1 }
}

/// So many messages are a pile, for which a large block is begun.
pub(super) const PILE: u64 = if cfg!(any(actors_loom, actors_shuttle)) { 2 } else { 4 };

/// The position of the first slot. Every block begins at a multiple of its size.
pub(super) const START: u64 = slots(LARGE) - slots(FIRST);

#[inline(always)]
pub(super) const fn position(word: u64) -> u64 {
    word >> SHIFT
}

/// The position, and one more while the message that ended the sleep counts.
#[inline(always)]
pub(super) const fn occupied(word: u64) -> u64 {
    position(word) + (word >> WAKING_SHIFT & 1)
}

#[inline(always)]
pub(super) const fn word(position: u64, flags: u64) -> u64 {
    position << SHIFT | flags
}

/// Slots of the block in which the slot of `word` lies.
#[inline(always)]
pub(super) const fn capacity(word: u64) -> u64 {
    slots((word & CLASS) >> CLASS_SHIFT)
}

/// The word, with a slot in a block of that class.
#[inline(always)]
pub(super) const fn with_class(word: u64, class: u64) -> u64 {
    word & !CLASS | class << CLASS_SHIFT
}

/// Where the slot of a position lies in its block of so many slots.
#[inline(always)]
pub(super) const fn offset(position: u64, capacity: u64) -> u64 {
    position & (capacity - 1)
}

/// The class of the block that begins at `position`, when so many messages wait before it.
pub(super) fn next_class(position: u64, waiting: impl FnOnce() -> u64) -> u64 {
    if !position.is_multiple_of(slots(LARGE)) {
        return SMALL;
    }
    match waiting() {
        pile if pile >= slots(LARGE) && position.is_multiple_of(slots(HUGE)) => HUGE,
        PILE.. => LARGE,
        _ => SMALL,
    }
}

/// The word after a push into the slot it names, and whether the right to run the consumer comes with it.
#[inline(always)]
pub(super) const fn pushed(word: u64) -> (u64, bool) {
    ((word + ONE) & !ASLEEP, word & ASLEEP != 0)
}

/// The word after a message has ended the sleep of `word`, for which there is a place of its own.
#[inline(always)]
pub(super) const fn woken(word: u64) -> u64 {
    word & !ASLEEP | WAKING
}

/// The word after something besides messages has come, and whether the right to run the consumer comes with it: if that
/// is parked in one of the ways of `wakes`. One that runs is told.
pub(super) const fn notified(word: u64, wakes: u64) -> (u64, bool) {
    if word & wakes != 0 {
        (word & !PARKED, true)
    } else if word & PARKED == 0 {
        (word | NOTIFIED, false)
    } else {
        (word, false)
    }
}

#[cfg(all(test, not(any(actors_loom, actors_shuttle))))]
mod tests {
    use super::*;

    /// Through blocks of all sizes, with piles now and then.
    #[test]
    fn every_position_has_a_slot_of_its_own() {
        for piles_every in 1..5 {
            let (mut begin, mut flags, mut seen) = (START, 0, [0; 4]);
            for at in START..START + 20 * slots(HUGE) {
                let slots = capacity(word(at, flags));
                assert_eq!(offset(at, slots), at - begin, "position {at} in a block of {slots}");
                if offset(at + 1, slots) == 0 {
                    begin = at + 1;
                    let pile = if begin / 64 % piles_every == 0 { begin / 64 * 7 % 130 } else { 0 };
                    let class = next_class(begin, || pile);
                    assert_eq!(class_of(super::slots(class)), class);
                    seen[class as usize] += 1;
                    flags = with_class(0, class);
                }
            }
            assert!(seen[1..].iter().all(|&blocks| blocks > 0), "{seen:?}");
        }
    }

    #[test]
    fn a_push_wakes_only_a_consumer_that_waits_for_messages() {
        for flags in [0, LISTENING, AWAITING, NOTIFIED, CLOSED] {
            assert_eq!(pushed(word(7, flags)), (word(8, flags), false));
        }
        assert_eq!(pushed(word(7, ASLEEP)), (word(8, 0), true));
    }

    #[test]
    fn a_notice_is_kept_only_for_a_consumer_that_runs() {
        assert_eq!(notified(word(7, 0), ASLEEP), (word(7, NOTIFIED), false));
        assert_eq!(notified(word(7, AWAITING), ASLEEP | LISTENING), (word(7, AWAITING), false));
        assert_eq!(notified(word(7, AWAITING), ASLEEP | AWAITING), (word(7, 0), true));
    }
}
