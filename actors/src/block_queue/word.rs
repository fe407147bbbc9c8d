//! The state word: the position of the next free slot, and who is to run the consumer. Pure arithmetic.
//!
//! | bits | what |
//! |---|---|
//! | 10.. | position of the next free slot, counted from [`START`] |
//! | 0..10 | flags |
//!
//! Invariant: at most one of [`ASLEEP`], [`LISTENING`], [`AWAITING`], [`RUNNABLE`] is set. None of them: somebody runs the
//! consumer. [`NOTIFIED`] is set only while somebody does.

/// Waits for anything: messages, internal items, wakers.
pub(super) const ASLEEP: u64 = 1;
/// Waits for internal items and wakers; messages stay where they are.
pub(super) const LISTENING: u64 = 1 << 1;
/// Waits for wakers alone.
pub(super) const AWAITING: u64 = 1 << 2;
/// There is something to do and nobody does it.
pub(super) const RUNNABLE: u64 = 1 << 3;
/// A hint lies in a run queue.
pub(super) const QUEUED: u64 = 1 << 4;
/// Something besides messages came during this run.
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

/// The word after a push into the slot it names, and whether a hint must be put into a run queue.
#[inline(always)]
pub(super) const fn pushed(word: u64) -> (u64, bool) {
    let next = word + ONE;
    if next & ASLEEP == 0 { (next, false) } else { runnable(next) }
}

/// The word after `flags` have been looked for and something besides messages has come: the waiting consumer becomes
/// runnable; a running one is told.
pub(super) const fn notified(word: u64, wakes: u64) -> (u64, bool) {
    if word & wakes != 0 {
        runnable(word)
    } else if word & (ASLEEP | LISTENING | AWAITING | RUNNABLE) == 0 {
        (word | NOTIFIED, false)
    } else {
        (word, false)
    }
}

/// The word once nobody runs the consumer and somebody should, and whether a hint must be put into a run queue.
pub(super) const fn runnable(word: u64) -> (u64, bool) {
    let next = word & !(ASLEEP | LISTENING | AWAITING | NOTIFIED) | RUNNABLE | QUEUED;
    (next, word & QUEUED == 0)
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
        for flags in [0, LISTENING, AWAITING, RUNNABLE | QUEUED, NOTIFIED, CLOSED] {
            assert_eq!(pushed(word(7, flags)), (word(8, flags), false));
        }
        assert_eq!(pushed(word(7, ASLEEP)), (word(8, RUNNABLE | QUEUED), true));
        assert_eq!(pushed(word(7, ASLEEP | QUEUED)), (word(8, RUNNABLE | QUEUED), false), "one hint is enough");
    }

    #[test]
    fn a_notice_is_kept_only_for_a_consumer_that_runs() {
        assert_eq!(notified(word(7, 0), ASLEEP), (word(7, NOTIFIED), false));
        assert_eq!(notified(word(7, AWAITING), ASLEEP | LISTENING), (word(7, AWAITING), false));
        assert_eq!(notified(word(7, AWAITING), ASLEEP | AWAITING), (word(7, RUNNABLE | QUEUED), true));
        assert_eq!(notified(word(7, RUNNABLE), ASLEEP | AWAITING), (word(7, RUNNABLE), false));
    }
}
