//! The consumer's end.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::ptr::NonNull;

use super::Queue;
use super::block::Cursor;
use super::lane::Taken;
use super::stamp::{Kind, Note};
use super::word::{self, ASLEEP, AWAITING, CLOSED, CROWDED, LISTENING, NOTIFIED, PARKED, WAKING};
use crate::sync::Backoff;
use crate::sync::atomic::Ordering;

/// Pops between two looks at who waits for room, at most: a bound is told in time, and the line producers read stays quiet.
const BATCH: usize = 32;

/// What the consumer alone reads and writes.
pub(super) struct Own<T, I> {
    pub(super) cursor: Cursor<T>,
    internal: Taken<I>,
}

impl<T, I> Own<T, I> {
    pub(super) fn new(capacity: usize) -> Self {
        let batch = (capacity / 8).clamp(1, BATCH) as u8;
        Self { cursor: Cursor::new(batch), internal: Taken::new() }
    }
}

/// What the consumer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum For {
    /// Anything: a message, an internal item, a waker.
    Messages,
    /// An internal item or a waker; messages stay where they are.
    Internal,
    /// A waker alone: a handler has to go on first.
    Waker,
}

/// What came of an attempt to park.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Park {
    /// The right is gone.
    Parked,
    /// Something has come, or a push is in the middle of it: look again at all one waits for.
    Busy,
}

/// The right to consume; a queue has one. What the consumer knows lies in the queue itself.
pub(crate) struct Receiver<T, I>(PhantomData<fn() -> (T, I)>);

impl<T, I> Receiver<T, I> {
    /// # Safety
    /// One per queue, given that queue in every call, and called only by who has the right to run the consumer: since
    /// `Queue::new` or an answer of [`Wake::Schedule`](super::Wake::Schedule), and until `park` returned `Parked` or it was
    /// handed on. (`close` and `end` may also be called by somebody who otherwise knows that nobody has it or will.)
    pub(crate) const unsafe fn new() -> Self {
        Self(PhantomData)
    }

    #[inline(always)]
    fn with<R>(&mut self, queue: &Queue<T, I>, f: impl FnOnce(&mut Own<T, I>) -> R) -> R {
        // SAFETY: the caller has the right (see `new`), and no `f` below calls foreign code while it has the borrow.
        queue.own.with_mut(|own| f(unsafe { &mut *own }))
    }

    /// Whether there is something the runtime itself sent; one load when there is nothing.
    #[inline(always)]
    pub(crate) fn has_internal(&mut self, queue: &Queue<T, I>) -> bool {
        self.with(queue, |own| !own.internal.is_empty()) || queue.lane.has_some()
    }

    /// The next of what the runtime itself sent.
    #[inline]
    pub(crate) fn next_internal(&mut self, queue: &Queue<T, I>) -> Option<I> {
        self.with(queue, |own| {
            if own.internal.is_empty() && queue.lane.has_some() {
                queue.lane.take(&mut own.internal);
            }
            own.internal.pop()
        })
    }

    /// Puts what was taken from the internal lane back, before all else.
    pub(crate) fn put_back_internal(&mut self, queue: &Queue<T, I>, items: VecDeque<I>) {
        self.with(queue, |own| own.internal.put_back(items));
    }

    #[cfg(test)]
    pub(crate) fn pop(&mut self, queue: &Queue<T, I>) -> Option<T> {
        self.pop_in_place(queue).map(|(value, _)| value.take())
    }

    /// The next message, if it is there, and what was noted of it; one load when it is. It stays where it lies, for who looks
    /// before it takes: a message is large.
    #[inline(always)]
    pub(crate) fn pop_in_place<'a>(&'a mut self, queue: &'a Queue<T, I>) -> Option<(Lying<'a, T>, Note)> {
        debug_assert!(queue.is_running(), "only who has the right may look");
        let (value, publish) = self.with(queue, |own| {
            if own.cursor.waking
                && let Some((value, note)) = queue.tail.find_waking(&mut own.cursor)
            {
                return Some(((Lying { value, of: PhantomData }, note), false));
            }
            // SAFETY: the cursor is this queue's, and used next when the borrow of this receiver has ended.
            let (value, kind, note) = unsafe { queue.tail.find(&mut own.cursor) }?;
            own.cursor.unpublished += u8::from(kind == Kind::Counted);
            Some(((Lying { value, of: PhantomData }, note), own.cursor.unpublished >= own.cursor.batch))
        })?;
        if publish {
            self.publish_and_grant(queue);
        }
        Some(value)
    }

    /// Gives room to those who wait for it. That of the message that ended the sleep of `at` too, if it was taken.
    fn grant(&mut self, queue: &Queue<T, I>, at: u64) {
        if !self.with(queue, |own| own.cursor.awaits_waking(at)) {
            queue.tail.word.fetch_and(!WAKING, Ordering::AcqRel);
        }
        queue.grant(0);
    }

    #[cold]
    fn publish_and_grant(&mut self, queue: &Queue<T, I>) {
        self.publish(queue);
        let at = queue.tail.word.load(Ordering::Relaxed);
        if at & CROWDED != 0 {
            self.grant(queue, at);
        }
    }

    /// Whether everything accepted so far has been taken, pushes in the middle of it included.
    pub(crate) fn is_empty(&mut self, queue: &Queue<T, I>) -> bool {
        let at = queue.tail.word.load(Ordering::Acquire);
        self.with(queue, |own| own.cursor.position() == word::position(at) && !own.cursor.awaits_waking(at))
    }

    #[cfg(test)]
    /// Makes room of what has been taken. Parking and yielding do it too.
    pub(crate) fn flush(&mut self, queue: &Queue<T, I>) {
        self.publish_and_grant(queue);
    }

    #[inline(always)]
    fn publish(&mut self, queue: &Queue<T, I>) {
        let unpublished = self.with(queue, |own| std::mem::take(&mut own.cursor.unpublished));
        if unpublished > 0 {
            queue.publish(unpublished.into());
        }
    }

    /// Gives the right to run up until something comes.
    #[inline(always)]
    pub(crate) fn park(&mut self, queue: &Queue<T, I>, until: For) -> Park {
        debug_assert!(queue.is_running(), "only who has the right may give it up");
        self.publish(queue);
        queue.tail.trim();
        let (position, internal) = self.with(queue, |own| (own.cursor.position(), !own.internal.is_empty()));
        if until != For::Waker && (internal || queue.lane.has_some()) {
            return Park::Busy;
        }
        let flag = match until {
            For::Messages => ASLEEP,
            For::Internal => LISTENING,
            For::Waker => AWAITING,
        };
        let mut granted = false;
        let mut at = queue.tail.word.load(Ordering::Relaxed);
        loop {
            if at & NOTIFIED != 0 {
                queue.tail.word.fetch_and(!NOTIFIED, Ordering::AcqRel);
                return Park::Busy;
            }
            let waits = self.with(queue, |own| own.cursor.awaits_waking(at));
            if until == For::Messages && (word::position(at) != position || waits) {
                return Park::Busy;
            }
            if !granted && at & CROWDED != 0 {
                self.grant(queue, at);
                granted = true;
                at = queue.tail.word.load(Ordering::Relaxed);
                continue;
            }
            let next = if waits { at | flag } else { at & !WAKING | flag };
            let before =
                self.with(queue, |own| std::mem::replace(&mut own.cursor.waking, waits || until == For::Messages));
            match queue.tail.word.compare_exchange_weak(at, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Park::Parked,
                Err(now) => at = now,
            }
            self.with(queue, |own| own.cursor.waking = before);
        }
    }

    /// To be called before the right is handed on: makes room of what has been taken.
    pub(crate) fn yield_now(&mut self, queue: &Queue<T, I>) {
        debug_assert!(queue.is_running(), "only who has the right may give it up");
        self.publish_and_grant(queue);
    }

    /// Refuses messages from now on and returns those that were accepted and not taken, oldest first. Who waits for room is
    /// refused. The internal lane stays open.
    pub(crate) fn close(&mut self, queue: &Queue<T, I>) -> VecDeque<T> {
        let at = queue.tail.word.fetch_or(CLOSED, Ordering::AcqRel);
        let end = word::position(at);
        let messages = self.with(queue, |own| {
            let more = usize::from(own.cursor.awaits_waking(at));
            let mut messages = VecDeque::with_capacity((end - own.cursor.position()) as usize + more);
            let mut backoff = Backoff::default();
            if own.cursor.waking {
                // SAFETY: it is the caller's, and read once.
                messages.extend(queue.tail.find_waking(&mut own.cursor).map(|(value, _)| unsafe { value.read() }));
            }
            while own.cursor.position() < end {
                // SAFETY: the cursor is this queue's.
                match unsafe { queue.tail.take(&mut own.cursor) } {
                    Some(value) => messages.push_back(value),
                    None => backoff.wait(),
                }
            }
            // SAFETY: closed, and emptied just now.
            unsafe { queue.tail.release(&mut own.cursor) }
            own.cursor.unpublished = 0;
            messages
        });
        queue.refuse_waiting();
        messages
    }

    /// Refuses everything from now on and returns what was never taken, oldest first.
    pub(crate) fn end(&mut self, queue: &Queue<T, I>) -> (VecDeque<T>, VecDeque<I>) {
        let messages = self.close(queue);
        let items = self.with(queue, |own| {
            let mut rest = queue.lane.end();
            std::iter::from_fn(|| own.internal.pop()).chain(std::iter::from_fn(|| rest.pop())).collect()
        });
        (messages, items)
    }
}

/// A message that was taken out of a queue and lies there still. Dropped, it is forgotten.
#[must_use]
pub(crate) struct Lying<'a, T> {
    value: NonNull<T>,
    /// Borrows the receiver, so that nothing else is taken before this is done with, and the queue.
    of: PhantomData<&'a mut T>,
}

impl<'a, T> Lying<'a, T> {
    #[inline(always)]
    pub(crate) fn look(&self) -> &T {
        // SAFETY: this is the value's only owner, and the block it lies in stays as it is while the receiver is borrowed.
        unsafe { self.value.as_ref() }
    }

    #[inline(always)]
    pub(crate) fn take(self) -> T {
        // SAFETY: as above, and this is the only one, so it is read once.
        unsafe { self.value.read() }
    }

    /// A part of it. The rest is forgotten.
    ///
    /// # Safety
    /// `part` lies within the value, and belongs to it alone.
    #[inline(always)]
    pub(crate) unsafe fn part<U>(self, part: NonNull<U>) -> Lying<'a, U> {
        Lying { value: part, of: PhantomData }
    }
}

impl<T, I> Queue<T, I> {
    #[inline(always)]
    fn is_running(&self) -> bool {
        // A checker has enough to do without this.
        cfg!(actors_loom) || self.tail.word.load(Ordering::Relaxed) & PARKED == 0
    }
}

// SAFETY: producers reach `own` never, and the consumer only while it has the right, which passes between threads by
// exchanges of the word; values go from one thread to one other.
unsafe impl<T: Send, I: Send> Send for Queue<T, I> {}
// SAFETY: as above.
unsafe impl<T: Send, I: Send> Sync for Queue<T, I> {}

impl<T, I> Drop for Queue<T, I> {
    fn drop(&mut self) {
        // SAFETY: nobody else is left, so nobody runs it.
        let mut receiver = unsafe { Receiver::new() };
        let left = receiver.end(self);
        self.tail.drop_rest();
        drop(left); // last, as destructors may panic
    }
}
