//! Room: bounds, permits, and who waits for room.
//!
//! A push compares its position with `limit`, and that is all while the queue is not full: only who finds it so looks at
//! what the consumer has taken, and raises `limit`. Everything else that takes or gives room is rare and happens under one
//! lock, with [`CROWDED`] set in the state word, so that pushes which did not take the lock fail at their exchange.
//!
//! Invariants:
//!
//! - `base` = [`START`] + bound + notices ever accepted; `taken` = counted messages taken, as published. Both only grow, and
//!   `limit` never exceeds their sum, the position from which messages are refused.
//! - `CROWDED` is set while room is set aside or somebody waits; then positions move only under the lock, and
//!   `occupied + reserved` never exceeds that sum (and the bound once more, for adapted messages). Occupied is the position,
//!   and one more while the message that ended the sleep counts.
//! - No grant is lost. Who comes to wait sets `CROWDED` and then looks at `taken`; the consumer publishes `taken` and then
//!   looks at the word, at the latest in the exchange that parks it. Both are exchanges of one word: the later one sees what
//!   came before the other. A run that ends because the actor had its share looks without one: what it misses the next run
//!   sees, which is queued already.
//! - Wakers are cloned, woken and dropped without the lock.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use super::stamp::{Kind, Note};
use super::wakers::Wakers;
use super::word::{self, CLOSED, CROWDED, REFUSING, START};
use super::{Queue, Refusal, Room, Wake};
use crate::sync::atomic::Ordering;
use crate::sync::{Mutex, MutexGuard};

/// So many that the bound is no bound.
const UNBOUNDED: u64 = 1 << 60;

/// What is kept under the lock.
pub(super) struct Crowd {
    reserved: u64,
    next: u64,
    /// In order of `number`.
    waiting: VecDeque<Waiting>,
}

struct Waiting {
    number: u64,
    waker: Waker,
}

impl Crowd {
    const fn new() -> Self {
        Self { reserved: 0, next: 0, waiting: VecDeque::new() }
    }
}

pub(super) const fn bound(capacity: usize) -> u64 {
    if capacity as u64 > UNBOUNDED { UNBOUNDED } else { capacity as u64 }
}

pub(super) const fn first_limit(capacity: usize) -> u64 {
    START + bound(capacity)
}

impl<T, I> Queue<T, I> {
    fn crowd(&self) -> MutexGuard<'_, Crowd> {
        self.crowd.get_or_init(|| Mutex::new(Crowd::new())).lock()
    }

    /// Whether a message at `position` finds room, if none is set aside.
    #[inline(always)]
    pub(super) fn has_room(&self, position: u64, room: Room) -> bool {
        let more = if room == Room::Adapted { bound(self.capacity) } else { 0 };
        position < self.tail.limit.load(Ordering::Relaxed) + more || self.has_more_room(position, more)
    }

    #[cold]
    fn has_more_room(&self, position: u64, more: u64) -> bool {
        let limit = self.exact_limit();
        let found = position < limit + more;
        if found {
            self.tail.limit.fetch_max(limit, Ordering::Relaxed);
        }
        found
    }

    /// The position from which ordinary messages are refused.
    pub(super) fn exact_limit(&self) -> u64 {
        self.base.load(Ordering::Acquire) + self.taken.load(Ordering::Acquire)
    }

    /// As [`Queue::push`], while room is set aside or waited for.
    #[cold]
    pub(super) fn push_crowded(&self, value: T, note: Note, room: Room) -> Result<Wake, (Refusal, T)> {
        let crowd = self.crowd();
        let pushed = self.tail.insert(
            (value, note),
            Kind::Counted,
            |position| self.waiting(position),
            |at| {
                if at & REFUSING != 0 {
                    Err(Refusal::Stopped)
                } else if self.has_room(word::occupied(at) + crowd.reserved, room) {
                    Ok(at)
                } else {
                    Err(Refusal::Full)
                }
            },
        );
        drop(crowd);
        pushed.map(|pushed| Wake::new(pushed.wakes))
    }

    /// A notice moves position and limit by one, so it counts for nothing; both in one step, as far as anybody can tell.
    #[cold]
    pub(super) fn push_uncounted(&self, value: T) -> Result<Wake, (Refusal, T)> {
        let crowd = self.crowd();
        self.tail.word.fetch_or(CROWDED, Ordering::AcqRel);
        self.base.fetch_add(1, Ordering::AcqRel);
        let keep = crowd.keeps_crowded(0);
        let pushed = self.tail.insert(
            (value, Note::NONE),
            Kind::Free,
            |position| self.waiting(position),
            |at| {
                if at & CLOSED != 0 { Err(Refusal::Stopped) } else { Ok(at & !CROWDED | keep) }
            },
        );
        drop(crowd);
        pushed.map(|pushed| Wake::new(pushed.wakes))
    }

    /// Sets room for one message aside; [`Permit::push`] cannot fail for want of it. Does not wait behind those who wait,
    /// nor overtake them: room they have been granted is no room.
    ///
    /// # Errors
    /// `Full`, `Stopped`.
    pub(crate) fn try_reserve(&self, room: Room) -> Result<Permit<'_, T, I>, Refusal> {
        if self.is_closed() {
            return Err(Refusal::Stopped);
        }
        if self.is_unbounded() || matches!(room, Room::Unbounded) {
            return Ok(Permit { queue: self, room, counted: false });
        }
        let mut crowd = self.crowd();
        let at = self.tail.word.fetch_or(CROWDED, Ordering::AcqRel);
        let taken = self.try_take(&mut crowd, at, room);
        self.settle(&crowd);
        taken.map(|()| Permit { queue: self, room, counted: true })
    }

    /// Waits, first come first served, until there is room. Dropping the future gives up the place in line, or the room.
    ///
    /// # Errors
    /// No message is ever taken again.
    pub(crate) fn reserve(&self) -> Reserve<'_, T, I> {
        Reserve { queue: self, place: Place::New }
    }

    /// With the lock held and `CROWDED` set, which `at` was found at.
    fn try_take(&self, crowd: &mut Crowd, at: u64, room: Room) -> Result<(), Refusal> {
        if at & REFUSING != 0 {
            Err(Refusal::Stopped)
        } else if self.has_room(word::occupied(at) + crowd.reserved, room) {
            crowd.reserved += 1;
            Ok(())
        } else {
            Err(Refusal::Full)
        }
    }

    /// Gives what room there is to those who wait for it, in order, and lets pushes do without the lock again if nobody
    /// waits any more. `returned`: places of permits that were not used.
    #[cold]
    pub(super) fn grant(&self, returned: u64) {
        let mut wakers = Wakers::new();
        let mut returned = returned;
        loop {
            let mut crowd = self.crowd();
            crowd.reserved -= std::mem::take(&mut returned);
            let more = self.grant_some(&mut crowd, &mut wakers);
            self.settle(&crowd);
            drop(crowd);
            wakers.wake();
            if !more {
                return;
            }
        }
    }

    /// True if `wakers` is full and there may be more to grant.
    fn grant_some(&self, crowd: &mut Crowd, wakers: &mut Wakers) -> bool {
        while !crowd.waiting.is_empty() {
            if wakers.is_full() {
                return true;
            }
            let at = self.tail.word.load(Ordering::Acquire);
            if self.try_take(crowd, at, Room::Ordinary).is_err() {
                return false;
            }
            if let Some(first) = crowd.waiting.pop_front() {
                wakers.push(first.waker);
            }
        }
        false
    }

    /// With the lock held: lets pushes do without it if nothing calls for it any more.
    fn settle(&self, crowd: &Crowd) {
        if crowd.keeps_crowded(0) == 0 {
            self.tail.word.fetch_and(!CROWDED, Ordering::AcqRel);
        }
    }

    /// Tells that the consumer has taken `counted` more messages. Who waits may learn of it only from the next exchange.
    #[inline(always)]
    pub(super) fn publish(&self, counted: u64) {
        // The consumer alone writes it.
        self.taken.store(self.taken.load(Ordering::Relaxed) + counted, Ordering::Release);
    }

    /// After messages have come to be refused for good: so is who waits.
    pub(super) fn refuse_waiting(&self) {
        let Some(crowd) = self.crowd.get() else { return };
        let waiting = std::mem::take(&mut crowd.lock().waiting);
        let mut wakers = Wakers::new();
        for waiting in waiting {
            if wakers.is_full() {
                wakers.wake();
            }
            wakers.push(waiting.waker);
        }
        wakers.wake();
    }
}

impl Crowd {
    /// `CROWDED`, if it stays called for once `used` permits are used.
    fn keeps_crowded(&self, used: u64) -> u64 {
        if self.reserved > used || !self.waiting.is_empty() { CROWDED } else { 0 }
    }

    fn find(&self, number: u64) -> Option<usize> {
        self.waiting.binary_search_by_key(&number, |waiting| waiting.number).ok()
    }
}

/// Room for one message.
#[must_use]
pub(crate) struct Permit<'a, T, I> {
    queue: &'a Queue<T, I>,
    room: Room,
    /// Whether it holds a place among `reserved`.
    counted: bool,
}

impl<T, I> Permit<'_, T, I> {
    /// # Errors
    /// The consumer has closed the queue meanwhile.
    pub(crate) fn push(self, value: T) -> Result<Wake, T> {
        self.push_noted(value, Note::NONE)
    }

    /// As [`push`](Permit::push), with a note.
    pub(crate) fn push_noted(self, value: T, note: Note) -> Result<Wake, T> {
        let (queue, room, counted) = (self.queue, self.room, self.counted);
        std::mem::forget(self);
        if !counted {
            return queue.push_noted(value, note, room).map_err(|(_, value)| value);
        }
        let mut crowd = queue.crowd();
        let keep = crowd.keeps_crowded(1);
        let pushed = queue.tail.insert(
            (value, note),
            Kind::Counted,
            |position| queue.waiting(position),
            |at| if at & REFUSING != 0 { Err(()) } else { Ok(at & !CROWDED | keep) },
        );
        crowd.reserved -= 1;
        drop(crowd);
        pushed.map(|pushed| Wake::new(pushed.wakes)).map_err(|((), value)| value)
    }
}

impl<T, I> Drop for Permit<'_, T, I> {
    fn drop(&mut self) {
        if self.counted {
            self.queue.grant(1);
        }
    }
}

/// Waits for room; see [`Queue::reserve`].
#[must_use]
pub(crate) struct Reserve<'a, T, I> {
    queue: &'a Queue<T, I>,
    place: Place,
}

enum Place {
    New,
    /// In line, or granted and not told yet.
    Number(u64),
    Done,
}

impl<'a, T, I> Future for Reserve<'a, T, I> {
    type Output = Result<Permit<'a, T, I>, ()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let queue = self.queue;
        let polled = match self.place {
            Place::New => match queue.line_up(cx.waker()) {
                Lined::Granted => Poll::Ready(Ok(())),
                Lined::Refused => Poll::Ready(Err(())),
                Lined::Up(number) => {
                    self.place = Place::Number(number);
                    Poll::Pending
                }
            },
            Place::Number(number) => queue.ask_again(number, cx.waker()),
            Place::Done => Poll::Ready(Err(())),
        };
        polled.map(|room| {
            self.place = Place::Done;
            room.map(|()| Permit { queue, room: Room::Ordinary, counted: !queue.is_unbounded() })
        })
    }
}

enum Lined {
    Up(u64),
    Granted,
    Refused,
}

impl<T, I> Queue<T, I> {
    fn line_up(&self, waker: &Waker) -> Lined {
        if self.is_unbounded() {
            return if self.is_closed() { Lined::Refused } else { Lined::Granted };
        }
        let waker = waker.clone();
        let mut crowd = self.crowd();
        let at = self.tail.word.fetch_or(CROWDED, Ordering::AcqRel);
        if at & REFUSING != 0 {
            return Lined::Refused;
        }
        if crowd.waiting.is_empty() && self.try_take(&mut crowd, at, Room::Ordinary).is_ok() {
            drop(crowd); // the waker goes after the lock
            return Lined::Granted;
        }
        let number = crowd.next;
        crowd.next += 1;
        crowd.waiting.push_back(Waiting { number, waker });
        Lined::Up(number)
    }

    fn ask_again(&self, number: u64, waker: &Waker) -> Poll<Result<(), ()>> {
        let mut waker = waker.clone();
        let mut crowd = self.crowd();
        if let Some(index) = crowd.find(number) {
            std::mem::swap(&mut crowd.waiting[index].waker, &mut waker);
            drop(crowd); // the old waker goes after the lock
            return Poll::Pending;
        }
        Poll::Ready(if self.is_closed() { Err(()) } else { Ok(()) })
    }

    fn leave_line(&self, number: u64) {
        let mut crowd = self.crowd();
        if let Some(index) = crowd.find(number) {
            let left = crowd.waiting.remove(index);
            self.settle(&crowd);
            drop(crowd);
            drop(left);
        } else {
            drop(crowd);
            if !self.is_closed() {
                self.grant(1);
            }
        }
    }
}

impl<T, I> Drop for Reserve<'_, T, I> {
    fn drop(&mut self) {
        if let Place::Number(number) = self.place {
            self.queue.leave_line(number);
        }
    }
}
