//! The state word: the position of the next free slot, and who is to run the consumer. Pure arithmetic.
//!
//! | bits | what |
//! |---|---|
//! | 10.. | position of the next free slot, counted from [`START`] |
//! | 0..10 | flags |
//!
//! Invariant: at most one of [`ASLEEP`], [`LISTENING`], [`AWAITING`] is set. None of them: somebody has the right to run the
//! consumer, and runs it or is about to. [`NOTIFIED`] is set only then.

/// Waits for anything: messages, internal items, wakers.
pub(super) const ASLEEP: u64 = 1;
/// Waits for internal items and wakers; messages stay where they are.
pub(super) const LISTENING: u64 = 1 << 1;
/// Waits for wakers alone.
pub(super) const AWAITING: u64 = 1 << 2;
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
/// Either of the two ways to refuse messages.
pub(super) const REFUSING: u64 = CLOSED | SHUT;

const SHIFT: u32 = 10;
/// One position.
pub(super) const ONE: u64 = 1 << SHIFT;

/// Slots of the first block, of the second, and of every further one: few at first, so that an actor which gets a message
/// now and then stays small. A checker gets to the seams sooner.
pub(super) const FIRST: u64 = if cfg!(any(actors_loom, actors_shuttle)) { 1 } else { 4 };
pub(super) const SECOND: u64 = if cfg!(any(actors_loom, actors_shuttle)) { 2 } else { 16 };
pub(super) const FULL: u64 = if cfg!(any(actors_loom, actors_shuttle)) { 2 } else { 64 };

/// Full blocks begin here and at every multiple of their size.
const FULL_FROM: u64 = (FIRST + SECOND).next_multiple_of(FULL);
const SECOND_FROM: u64 = FULL_FROM - SECOND;
/// The position of the first slot.
pub(super) const START: u64 = SECOND_FROM - FIRST;

const _: () = assert!(FULL.is_power_of_two() && FULL <= u8::MAX as u64);

#[inline(always)]
pub(super) const fn position(word: u64) -> u64 {
    word >> SHIFT
}

#[inline(always)]
pub(super) const fn word(position: u64, flags: u64) -> u64 {
    position << SHIFT | flags
}

/// Where in its block the slot of a position lies.
#[inline(always)]
pub(super) const fn offset(position: u64) -> u64 {
    if position >= FULL_FROM {
        position % FULL
    } else if position >= SECOND_FROM {
        position - SECOND_FROM
    } else {
        position - START
    }
}

/// Whether a block begins at `position`.
#[inline(always)]
pub(super) const fn begins_block(position: u64) -> bool {
    position.is_multiple_of(FULL) || position == SECOND_FROM || position == START
}

/// Slots of the block that begins at `position`.
#[inline(always)]
pub(super) const fn capacity(position: u64) -> u64 {
    if position >= FULL_FROM {
        FULL
    } else if position >= SECOND_FROM {
        SECOND
    } else {
        FIRST
    }
}

/// The word after a push into the slot it names, and whether the right to run the consumer comes with it.
#[inline(always)]
pub(super) const fn pushed(word: u64) -> (u64, bool) {
    ((word + ONE) & !ASLEEP, word & ASLEEP != 0)
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

    #[test]
    fn every_position_has_a_slot_of_its_own() {
        let (mut begin, mut block) = (START, 0);
        for at in START..START + 10 * FULL {
            if begins_block(at) {
                block += u64::from(at != START);
                begin = at;
            }
            assert_eq!(offset(at), at - begin);
            assert!(offset(at) < capacity(begin), "position {at} of block {block}");
            assert_eq!(capacity(begin), [FIRST, SECOND].get(block as usize).copied().unwrap_or(FULL));
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
