//! The mailbox's machinery: a queue of blocks for messages, a lane for what the runtime itself sends, and in one word with
//! the queue's position the answer to who is to run the consumer.
//!
//! Invariants:
//!
//! - A consumer that is parked and has something to look at does not stay parked: whoever brings it (a message, an internal
//!   item, a waker) takes the mark of sleep away in the same exchange in which it becomes visible, or leaves a mark that
//!   keeps the consumer from parking. Exactly one such exchange returns [`Wake::Schedule`].
//! - At most one runs the consumer. The right to do so is one thing, which passes from hand to hand, and with it all that was
//!   done before: whoever makes the queue has it, parking gives it up, and the one exchange that ends the sleep gives it to
//!   whoever made it.
//! - Messages accepted and not taken, and room set aside, never exceed the bound; adapted messages may use as much again.
//!   Notices of ends count for nothing. While the consumer runs, up to an eighth of the bound and never more than 32
//!   messages may be taken and not told of yet.
//! - A push is one exchange and one release store; a pop one acquire load; to park, one exchange.
//! - A message whose push ends the sleep may lie in a place of its own, and comes before all that lie in blocks. Who then gets
//!   the right finds it there.
//! - No foreign code (destructors, wakers) runs while a slot is claimed and not ready, or under the lock.
//!
//! What is where: `word` and `stamp` the arithmetic, `block` the memory, `lane` the internal lane, `room` bounds and who waits,
//! `receiver` the consumer's end.

#[allow(unsafe_code)]
mod block;
#[allow(unsafe_code)]
mod lane;
#[cfg(all(test, actors_loom))]
mod loom_models;
#[allow(unsafe_code)]
mod receiver;
mod room;
mod stamp;
#[cfg(all(test, not(any(actors_loom, actors_shuttle))))]
mod tests;
mod wakers;
mod word;

pub(crate) use receiver::{For, Lying, Park, Receiver};
pub(crate) use room::Permit;
#[cfg(test)]
use room::Reserve;

pub(crate) use block::Claim;
use block::Tail;
use lane::Lane;
use receiver::Own;
use room::Crowd;
use stamp::Kind;
pub(crate) use stamp::Note;
use word::{ASLEEP, AWAITING, CLOSED, CROWDED, LISTENING, REFUSING, SHUT};

use crate::lazy::Lazy;
use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, UnsafeCell};

/// Whether the caller has the right to run the consumer now, which it has to use or to hand on: put a hint into a run
/// queue.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    No,
    Schedule,
}

impl Wake {
    #[inline(always)]
    fn new(wakes: bool) -> Self {
        if wakes { Self::Schedule } else { Self::No }
    }
}

/// What a consumer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Posture {
    /// Waits for anything.
    Asleep,
    /// Waits for internal items and wakers.
    Listening,
    /// Waits for wakers alone: a handler has to go on first.
    Awaiting,
    /// Somebody has the right to run it.
    Runnable,
    /// Somebody runs it; for the queue the same.
    Running,
}

/// Which room a message may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    Ordinary,
    /// Twice the bound: a full mailbox must not keep an actor from the answers it waits for.
    Adapted,
    /// Notices of ends: never refused for want of room, and they take none.
    Unbounded,
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    Full,
    Stopped,
}

/// The shared part. What the consumer writes at each message never shares a cache line with what producers look at. What is
/// looked at seldom comes first: it keeps the word away from what lies before the queue, which the consumer looks at.
#[repr(C)]
pub(crate) struct Queue<T, I> {
    /// See `room`.
    base: AtomicU64,
    capacity: usize,
    tail: Tail<T>,
    crowd: Lazy<Mutex<Crowd>>,
    lane: Lane<I>,
    taken: AtomicU64,
    own: UnsafeCell<Own<T, I>>,
}

impl<T, I> Queue<T, I> {
    /// A queue for `capacity` messages, `usize::MAX` for any number. Whoever makes it has the right to run its consumer.
    pub(crate) fn new(capacity: usize) -> Self {
        Self::with(capacity, 0)
    }

    /// As [`new`](Queue::new), with a consumer that is parked and waits for anything: whoever brings something first has the
    /// right to run it.
    pub(crate) fn asleep(capacity: usize) -> Self {
        Self::with(capacity, ASLEEP)
    }

    fn with(capacity: usize, flags: u64) -> Self {
        Self {
            tail: Tail::new(flags, room::first_limit(capacity)),
            base: AtomicU64::new(room::first_limit(capacity)),
            capacity,
            crowd: Lazy::new(),
            lane: Lane::new(),
            taken: AtomicU64::new(0),
            own: UnsafeCell::new(Own::new(capacity)),
        }
    }

    /// Accepts `value`, behind all that was accepted before.
    ///
    /// # Errors
    /// The value comes back: `Full`, or `Stopped` for good.
    #[inline]
    pub(crate) fn push(&self, value: T, room: Room) -> Result<Wake, (Refusal, T)> {
        self.push_noted(value, Note::NONE, room)
    }

    /// As [`push`](Queue::push), with a note, which those that count for nothing have none of.
    #[inline]
    pub(crate) fn push_noted(&self, value: T, note: Note, room: Room) -> Result<Wake, (Refusal, T)> {
        let value = match room {
            Room::Unbounded => return self.push_uncounted(value),
            Room::Adapted => value,
            Room::Ordinary => match self.claim_waking() {
                Some(claim) => return Ok(claim.counted(value, note)),
                None => value,
            },
        };
        self.push_counted(value, note, room).map(|(wake, _)| wake)
    }

    /// Has the processor bring here where the next message goes, while the caller does something else.
    #[inline(always)]
    pub(crate) fn fetch(&self) {
        self.tail.fetch();
    }

    /// A place for a counted message, as long as that takes a few instructions; [`push`](Queue::push) otherwise. To be
    /// [filled](Claim::counted) by the next statement.
    #[inline(always)]
    pub(crate) fn claim(&self) -> Option<Claim<'_, T>> {
        self.tail.claim(false)
    }

    /// As [`claim`](Queue::claim), and in the place of its own if that ends the consumer's sleep: for who brings one message and
    /// then waits for what comes of it. Who brings many is better off where the next ones go, too.
    #[inline(always)]
    pub(crate) fn claim_waking(&self) -> Option<Claim<'_, T>> {
        self.tail.claim(true)
    }

    /// As [`push`](Queue::push), for counted messages and with a note; says too whether messages pile up: it filled a block.
    #[inline]
    pub(crate) fn push_counted(&self, value: T, note: Note, room: Room) -> Result<(Wake, bool), (Refusal, T)> {
        let pushed = self.tail.insert(
            (value, note),
            Kind::Counted,
            |position| self.waiting(position),
            |at| {
                if at & (REFUSING | CROWDED) != 0 {
                    Err(if at & REFUSING != 0 { Some(Refusal::Stopped) } else { None })
                } else if self.has_room(word::occupied(at), room) {
                    Ok(at)
                } else {
                    Err(Some(Refusal::Full))
                }
            },
        );
        match pushed {
            Ok(pushed) => Ok((Wake::new(pushed.wakes), pushed.filled)),
            Err((Some(refusal), value)) => Err((refusal, value)),
            Err((None, value)) => self.push_crowded(value, note, room).map(|wake| (wake, false)),
        }
    }

    /// Hands something of the runtime's own to the consumer: wakes it unless it waits for wakers alone.
    ///
    /// # Errors
    /// The item comes back once the consumer has ended.
    pub(crate) fn push_internal(&self, item: I) -> Result<Wake, I> {
        // Who finds others on the lane need not tell of them: who put the first one there does.
        let tell = self.lane.push(item)?;
        Ok(if tell { self.update(|at| word::notified(at, ASLEEP | LISTENING)) } else { Wake::No })
    }

    /// A waker was woken: the consumer looks at everything again.
    pub(crate) fn notify(&self) -> Wake {
        self.update(|at| word::notified(at, ASLEEP | LISTENING | AWAITING))
    }

    /// Whether messages are refused for good.
    pub(crate) fn is_closed(&self) -> bool {
        self.tail.word.load(Ordering::Acquire) & REFUSING != 0
    }

    /// Refuses messages from now on, whoever calls it; notices are still taken, and what was accepted before waits for the
    /// consumer. Who waits for room is refused.
    pub(crate) fn shut(&self) {
        if self.tail.word.fetch_or(SHUT, Ordering::AcqRel) & REFUSING == 0 {
            self.refuse_waiting();
        }
    }

    /// What the consumer does, as it looks to somebody outside at this moment.
    pub(crate) fn posture(&self) -> Posture {
        let at = self.tail.word.load(Ordering::Acquire);
        let flags = [(ASLEEP, Posture::Asleep), (LISTENING, Posture::Listening), (AWAITING, Posture::Awaiting)];
        flags.into_iter().find_map(|(flag, posture)| (at & flag != 0).then_some(posture)).unwrap_or(Posture::Runnable)
    }

    /// How many messages wait, notices not counted; a moment later it may be another number.
    pub(crate) fn len(&self) -> usize {
        let limit = self.exact_limit();
        let at = self.tail.word.load(Ordering::Acquire);
        if at & CLOSED != 0 {
            return 0;
        }
        let waiting = (word::position(at) + room::bound(self.capacity)).saturating_sub(limit) as usize;
        waiting + usize::from(self.tail.has_waking(at))
    }

    /// How many messages wait before `position`.
    fn waiting(&self, position: u64) -> u64 {
        (position + room::bound(self.capacity)).saturating_sub(self.exact_limit())
    }

    /// Whether every counted message is refused: then they wait elsewhere, if the actor ever lived.
    pub(crate) fn takes_none(&self) -> bool {
        self.capacity == 0
    }

    fn is_unbounded(&self) -> bool {
        self.capacity == usize::MAX
    }

    #[inline(always)]
    fn update(&self, step: impl Fn(u64) -> (u64, bool)) -> Wake {
        let mut at = self.tail.word.load(Ordering::Relaxed);
        loop {
            // An exchange even where nothing changes: the consumer's next one has to see what came before.
            let (next, wakes) = step(at);
            match self.tail.word.compare_exchange_weak(at, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Wake::new(wakes),
                Err(now) => at = now,
            }
        }
    }
}

impl<T> Claim<'_, T> {
    #[inline(always)]
    pub(crate) fn counted(self, value: T, note: Note) -> Wake {
        Wake::new(self.fill(value, Kind::Counted, note))
    }
}
