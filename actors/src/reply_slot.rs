//! Where one answer waits for one asker: a *slot*, held by an [`Asker`], by whoever may answer ([`Filler`]) and perhaps by
//! the chain of asks ([`Circle`]).
//!
//! # Invariant
//! A slot lives in [`memory`] from [`pair`] until its last holder lets go, and whoever that is frees it. The state word has
//! the number of holders and a phase, which says whose the two cells are.
//!
//! | phase | the waker | the outcome |
//! |---|---|---|
//! | `EMPTY` | the asker's | of the one that may answer, if there is one only; nobody's otherwise |
//! | `WAITING` | in place, for who leaves this phase | as above |
//! | `FILLING` | the filler's | the filler's |
//! | `READY` | nobody's | the asker's |
//! | `CIRCLE` | of who left `WAITING` for it, nobody's otherwise | as above |
//! | `OVER` | the asker's | as above |
//!
//! A slot begins `EMPTY`. The asker goes to and fro between that and `WAITING`, and leaves them for `OVER`; others leave them
//! once: of any number that may answer, the first to get to `FILLING` or `READY` has. Nothing but the number of holders
//! changes in the last three phases. In the first three the asker is one of the holders: it ends them before it goes. What is
//! nobody's goes with the slot. There is one asker, and the timer is its alone.

#![allow(
    unsafe_code,
    reason = "two cells handed back and forth by a state word, which counts their holders too; the invariant above says by \
              which rules"
)]

#[cfg(all(test, actors_loom))]
mod loom_models;

use std::alloc::Layout;
use std::future::Future;
use std::marker::PhantomData;
use std::mem;
use std::pin::Pin;
use std::ptr::{self, NonNull};
use std::task::{Context, Poll, Waker};

use crate::ask::AskError;
use crate::clock::Sleep;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Backoff, UnsafeCell, hint, memory};

const EMPTY: usize = 0;
const WAITING: usize = 1;
const FILLING: usize = 2;
const READY: usize = 3;
const CIRCLE: usize = 4;
const OVER: usize = 5;

const PHASE: usize = 7;
/// One holder. There cannot be more than fit: each takes the memory of two pointers.
const HOLDER: usize = 8;

fn is_open(state: usize) -> bool {
    matches!(state & PHASE, EMPTY | WAITING)
}

/// Looks at a slot that is being filled before the asker gives way.
const SPINS: u32 = if cfg!(any(actors_loom, actors_shuttle)) { 1 } else { 64 };

/// What an ask from outside needs of memory.
#[repr(C)]
struct Slot<T> {
    head: Head,
    outcome: UnsafeCell<Option<Result<T, AskError>>>,
}

/// What is the same whatever is asked for.
struct Head {
    state: AtomicUsize,
    free: unsafe fn(NonNull<Head>),
    waker: UnsafeCell<Option<Waker>>,
    /// Ends the wait. Here because it is large and must not move.
    timer: UnsafeCell<Option<Sleep>>,
}

/// One that counts.
struct Hold(NonNull<Head>);

// SAFETY: by the invariant each cell is touched by one thread at a time, and the state word's release and acquire lie
// between one thread and the next. What a slot is for is `Send`: see `pair`.
unsafe impl Send for Hold {}
// SAFETY: as above.
unsafe impl Sync for Hold {}

impl Hold {
    #[inline(always)]
    fn head(&self) -> &Head {
        // SAFETY: alive while it is held.
        unsafe { self.0.as_ref() }
    }

    #[inline(always)]
    fn state(&self) -> &AtomicUsize {
        &self.head().state
    }

    /// Whether there is no answer yet and the asker is there.
    fn is_open(&self) -> bool {
        is_open(self.state().load(Ordering::Acquire))
    }

    #[inline(always)]
    fn is_last(&self) -> bool {
        self.state().load(Ordering::Acquire) < 2 * HOLDER
    }

    /// Goes to `phase` if the asker has no answer yet, and says which phase that was.
    fn leave(&self, phase: usize) -> Option<usize> {
        let mut now = self.state().load(Ordering::Relaxed);
        while is_open(now) {
            let next = now - (now & PHASE) + phase;
            match self.state().compare_exchange_weak(now, next, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Some(now & PHASE),
                Err(other) => now = other,
            }
        }
        None
    }

    /// # Safety
    /// The waker is the caller's, by the invariant.
    unsafe fn take_waker(&self) -> Option<Waker> {
        // SAFETY: as the caller says.
        self.head().waker.with_mut(|cell| unsafe { (*cell).take() })
    }

    /// # Safety
    /// The outcome is the caller's, by the invariant, and the slot is for a `T`.
    unsafe fn outcome<T, R>(&self, look: impl FnOnce(&mut Option<Result<T, AskError>>) -> R) -> R {
        // SAFETY: as the caller says; a `Slot` begins with its head, and the pointer is that of the whole.
        unsafe { self.0.cast::<Slot<T>>().as_ref().outcome.with_mut(|cell| look(&mut *cell)) }
    }
}

impl Clone for Hold {
    fn clone(&self) -> Self {
        self.state().fetch_add(HOLDER, Ordering::Relaxed);
        Self(self.0)
    }
}

impl Drop for Hold {
    #[inline]
    fn drop(&mut self) {
        if self.is_last() || self.state().fetch_sub(HOLDER, Ordering::AcqRel) < 2 * HOLDER {
            // SAFETY: nobody else holds it.
            unsafe { (self.head().free)(self.0) }
        }
    }
}

/// A slot for the answer to one ask.
#[inline]
pub(crate) fn pair<T: Send + 'static>() -> (Filler<T>, Asker<T>) {
    let slot = memory::take(Layout::new::<Slot<T>>()).cast::<Slot<T>>();
    let place = slot.as_ptr();
    // SAFETY: of that layout. Written where it stays, field by field: it is large, and most of it is never used.
    unsafe {
        (&raw mut (*place).head.state).write(AtomicUsize::new(EMPTY + 2 * HOLDER));
        (&raw mut (*place).head.free).write(free::<T>);
        (&raw mut (*place).head.waker).write(UnsafeCell::new(None));
        (&raw mut (*place).head.timer).write(UnsafeCell::new(None));
        (&raw mut (*place).outcome).write(UnsafeCell::new(None));
    }
    let head = slot.cast::<Head>();
    (Filler { hold: Hold(head), of: PhantomData }, Asker { hold: Hold(head), of: PhantomData })
}

/// # Safety
/// Of a `Slot<T>` that [`pair`] made, and that nobody holds any more.
unsafe fn free<T>(head: NonNull<Head>) {
    struct GiveBack<T>(NonNull<Slot<T>>);
    impl<T> Drop for GiveBack<T> {
        fn drop(&mut self) {
            // SAFETY: taken with this layout, and dropped already, if with a panic.
            unsafe { memory::give(self.0.cast(), Layout::new::<Slot<T>>()) }
        }
    }
    let slot = GiveBack(head.cast::<Slot<T>>());
    #[cfg(actors_loom)]
    // SAFETY: as the caller says. The checker looks at who touches a cell, not at who drops it.
    unsafe {
        let slot = slot.0.as_ref();
        slot.head.waker.with_mut(|_| ());
        slot.head.timer.with_mut(|_| ());
        slot.outcome.with_mut(|_| ());
    }
    // SAFETY: as the caller says.
    unsafe { ptr::drop_in_place(slot.0.as_ptr()) }
}

/// Whoever may answer. Dropped it leaves the asker waiting.
pub(crate) struct Filler<T> {
    hold: Hold,
    of: PhantomData<fn(T) -> T>,
}

impl<T> Filler<T> {
    /// Gives the answer, unless there is one or nobody waits.
    #[inline(always)]
    pub(crate) fn answer(self, answer: T) {
        // Made where it stays: moved there as a whole it would be read in pieces that are not those it was written in, and the
        // processor would wait.
        self.fill_with(|cell| *cell = Some(Ok(answer)));
    }

    /// Gives the outcome, unless there is one or nobody waits.
    pub(crate) fn fill(self, outcome: Result<T, AskError>) {
        self.fill_with(|cell| *cell = Some(outcome));
    }

    #[inline(always)]
    fn fill_with(self, write: impl FnOnce(&mut Option<Result<T, AskError>>)) {
        let Self { hold, .. } = self;
        let alone = EMPTY + 2 * HOLDER;
        let mut outcome = None;
        if hold.state().load(Ordering::Relaxed) == alone {
            // SAFETY: the phase is `EMPTY`, so the asker is a holder, and there is no other but this, which is the one that
            // may answer. Nobody can come to be another: the outcome is its own until it makes it `READY`.
            unsafe { hold.outcome(write) };
            if hold.state().compare_exchange(alone, READY + HOLDER, Ordering::Release, Ordering::Relaxed).is_ok() {
                mem::forget(hold); // no longer counted
                return;
            }
            // SAFETY: as above.
            unsafe { hold.outcome(|cell| outcome = cell.take()) };
        } else {
            write(&mut outcome);
        }
        if let Some(outcome) = outcome {
            Self::fill_among_others(hold, outcome);
        }
    }

    #[inline(never)]
    fn fill_among_others(hold: Hold, outcome: Result<T, AskError>) {
        let Some(phase) = hold.leave(FILLING) else {
            return; // the outcome is dropped, and then the slot perhaps
        };
        // SAFETY: this thread has moved the word to `FILLING`, so both cells are its own, and there is a waker if the
        // asker waited.
        let waker = unsafe {
            hold.outcome(|cell| *cell = Some(outcome));
            if phase == WAITING { hold.take_waker() } else { None }
        };
        // The asker stays as long as it is `FILLING`, so this is not the last.
        let before = hold.state().fetch_sub(HOLDER + FILLING - READY, Ordering::Release);
        debug_assert!(before >= 2 * HOLDER && before & PHASE == FILLING);
        mem::forget(hold);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Whether nobody waits for the answer any more.
    pub(crate) fn is_closed(&self) -> bool {
        !self.hold.is_open()
    }

    /// Tells this slot from all others that are there.
    pub(crate) fn address(&self) -> usize {
        self.hold.0.addr().get()
    }
}

/// Another that may answer.
impl<T> Clone for Filler<T> {
    fn clone(&self) -> Self {
        Self { hold: self.hold.clone(), of: PhantomData }
    }
}

/// An ask as the chain of asks knows it: it can be told that it went in a circle.
#[derive(Clone)]
pub(crate) struct Circle(Hold);

impl Circle {
    /// Ends the ask with [`AskError::Cycle`], if it has no answer yet.
    pub(crate) fn fail(&self) {
        if self.0.leave(CIRCLE) == Some(WAITING) {
            // SAFETY: this thread has left `WAITING`.
            let waker = unsafe { self.0.take_waker() };
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }

    /// Whether the asker can go on.
    pub(crate) fn is_answered(&self) -> bool {
        !self.0.is_open()
    }
}

/// Whoever waits for the answer.
pub(crate) struct Asker<T> {
    hold: Hold,
    of: PhantomData<fn(T) -> T>,
}

impl<T> Asker<T> {
    /// The answer, or `cx` is woken when it comes. `NoReply` once it was taken or given up; `Cycle` stays.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, AskError>> {
        let mut spins = 0;
        loop {
            let now = self.hold.state().load(Ordering::Acquire);
            match now & PHASE {
                EMPTY => {
                    // SAFETY: while the phase is `EMPTY` the waker is the asker's, and who leaves it does not touch it.
                    unsafe {
                        self.hold.head().waker.with_mut(|cell| match &mut *cell {
                            Some(waker) if waker.will_wake(cx.waker()) => {}
                            cell => *cell = Some(cx.waker().clone()),
                        });
                    }
                    if self.goes(now, WAITING) {
                        return Poll::Pending;
                    }
                }
                // Polled again: takes the waker back first.
                WAITING => {
                    self.goes(now, EMPTY);
                }
                FILLING => {
                    // The answer is a moment away, unless the filler lost its processor in that very moment.
                    spins += 1;
                    if spins > SPINS {
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                    hint::spin_loop();
                }
                READY => {
                    // SAFETY: `READY`, so the outcome is the asker's.
                    let outcome = unsafe { self.hold.outcome(Option::take) };
                    // Part by part: as a whole it is moved in pieces that are not those it was written in, which takes longer.
                    return Poll::Ready(match outcome {
                        Some(Ok(answer)) => Ok(answer),
                        Some(Err(error)) => Err(error),
                        None => Err(AskError::NoReply),
                    });
                }
                CIRCLE => return Poll::Ready(Err(AskError::Cycle)),
                _ => return Poll::Ready(Err(AskError::NoReply)),
            }
        }
    }

    /// The answer if it is there; otherwise none is taken from now on.
    pub(crate) fn give_up(&mut self) -> Option<Result<T, AskError>> {
        let mut backoff = Backoff::default();
        loop {
            let now = self.hold.state().load(Ordering::Acquire);
            match now & PHASE {
                EMPTY | WAITING => {
                    if self.goes(now, OVER) {
                        // SAFETY: the asker has left the phase itself, so nobody else takes the waker.
                        let waker = unsafe { self.hold.take_waker() };
                        drop(waker);
                        return None;
                    }
                }
                FILLING => backoff.wait(),
                // SAFETY: as in `poll`.
                READY => return unsafe { self.hold.outcome(Option::take) },
                CIRCLE => return Some(Err(AskError::Cycle)),
                _ => return None,
            }
        }
    }

    /// From the state of `now` to another phase.
    fn goes(&self, now: usize, phase: usize) -> bool {
        let next = now - (now & PHASE) + phase;
        self.hold.state().compare_exchange(now, next, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Waits for the end of the wait, which `start` names at the first call.
    pub(crate) fn poll_timer(&mut self, start: impl FnOnce() -> Sleep, cx: &mut Context<'_>) -> Poll<()> {
        // SAFETY: the timer is the asker's alone. It is never moved: it lies in the slot, which stays where it is, and is
        // replaced only by being dropped.
        unsafe {
            self.hold.head().timer.with_mut(|cell| {
                let timer = (*cell).get_or_insert_with(start);
                Pin::new_unchecked(timer).poll(cx)
            })
        }
    }

    /// Whether the asker can go on.
    pub(crate) fn is_answered(&self) -> bool {
        !self.hold.is_open()
    }

    /// For the chain of asks.
    pub(crate) fn circle(&self) -> Circle {
        Circle(self.hold.clone())
    }
}

impl<T> Drop for Asker<T> {
    fn drop(&mut self) {
        if self.hold.is_last() {
            return; // all of it goes now
        }
        // Before anything of others' is dropped, which may panic.
        let late = self.give_up();
        // SAFETY: as in `poll_timer`.
        unsafe { self.hold.head().timer.with_mut(|cell| *cell = None) }
        drop(late);
    }
}

#[cfg(all(test, not(any(actors_loom, actors_shuttle))))]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;
    use std::task::{RawWaker, RawWakerVTable};

    use super::*;

    /// An answer that panics when it is dropped.
    struct Bomb {
        _traces: Arc<()>,
    }

    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }

    fn panics(work: impl FnOnce()) -> bool {
        catch_unwind(AssertUnwindSafe(work)).is_err()
    }

    #[test]
    fn an_answer_that_panics_as_it_is_dropped_leaves_nothing_behind() {
        let traces = Arc::new(());
        let (filler, asker) = pair();
        filler.fill(Ok(Bomb { _traces: traces.clone() }));
        assert!(panics(|| drop(asker)), "nobody took it");
        let (filler, asker) = pair();
        drop(asker);
        assert!(filler.is_closed());
        assert!(panics(|| filler.fill(Ok(Bomb { _traces: traces.clone() }))), "it came too late");
        let (filler, asker) = pair();
        let other = filler.clone();
        filler.fill(Ok(Bomb { _traces: traces.clone() }));
        assert!(panics(|| drop(asker)), "another might have answered");
        drop(other);
        assert_eq!(Arc::strong_count(&traces), 1);
    }

    #[test]
    fn an_asker_whose_waker_panics_is_gone_all_the_same() {
        const VTABLE: RawWakerVTable =
            RawWakerVTable::new(|data| RawWaker::new(data, &VTABLE), |_| {}, |_| {}, |_| panic!("dropped"));
        // SAFETY: it has no data.
        let waker = mem::ManuallyDrop::new(unsafe { Waker::from_raw(RawWaker::new(ptr::null(), &VTABLE)) });
        let (filler, mut asker) = pair();
        let other = filler.clone();
        assert!(asker.poll(&mut Context::from_waker(&waker)).is_pending());
        assert!(panics(|| drop(asker)));
        assert!(filler.is_closed() && other.is_closed(), "nobody takes it for the only one that may answer");
        let answer = Arc::new(());
        filler.fill(Ok(answer.clone()));
        other.fill(Ok(answer.clone()));
        assert_eq!(Arc::strong_count(&answer), 1);
    }

    #[test]
    fn a_reply_to_is_two_words() {
        assert_eq!(size_of::<crate::ReplyTo<String>>(), 2 * size_of::<usize>());
    }
}
