//! [`ReplySlot`]: where one answer waits for one asker.
//!
//! # Invariant
//! The state word says whose the two cells are. `EMPTY`: the waker is the asker's, nobody writes the outcome. `WAITING`:
//! the waker is in place and whoever fills the slot may take it. `FILLING`: both are the filler's. `READY`: the outcome
//! is there and the asker's. `OVER`: the asker is gone or has its answer; nobody touches either cell any more except the
//! slot's own destructor. The timer is the asker's always. There is one asker (`&mut` of the one [`Ask`](crate::Ask)); any number may try to fill, and the
//! first to move the word to `FILLING` is the one.

#![allow(
    unsafe_code,
    reason = "two cells handed back and forth by a state word; the invariant above says by which rules"
)]

#[cfg(all(test, actors_loom))]
mod loom_models;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::ask::AskError;
use crate::clock::Sleep;
use crate::sync::atomic::{AtomicU8, Ordering};
use crate::sync::{Backoff, UnsafeCell, hint};

const EMPTY: u8 = 0;
const WAITING: u8 = 1;
const FILLING: u8 = 2;
const READY: u8 = 3;
const OVER: u8 = 4;

/// Looks at a slot that is being filled before the asker gives way.
const SPINS: u32 = if cfg!(any(actors_loom, actors_shuttle)) { 1 } else { 64 };

/// See the module's documentation. The one allocation of an ask.
pub(crate) struct ReplySlot<T> {
    state: AtomicU8,
    outcome: UnsafeCell<Option<Result<T, AskError>>>,
    waker: UnsafeCell<Option<Waker>>,
    /// Ends the wait. The asker's, always; here because it is large and must not move.
    timer: UnsafeCell<Option<Sleep>>,
}

// SAFETY: by the invariant each cell is touched by one thread at a time, and the state word's release and acquire lie
// between one thread and the next; values and wakers are sent, never shared.
unsafe impl<T: Send> Sync for ReplySlot<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for ReplySlot<T> {}

impl<T> ReplySlot<T> {
    /// Made where it stays: it is large, and most of it is never used.
    #[inline]
    pub(crate) fn new() -> Arc<Self> {
        let mut slot = Arc::<Self>::new_uninit();
        let place = Arc::get_mut(&mut slot).expect("nobody else knows it yet").as_mut_ptr();
        // SAFETY: every field is written, once, before anybody sees the slot.
        unsafe {
            (&raw mut (*place).state).write(AtomicU8::new(EMPTY));
            (&raw mut (*place).outcome).write(UnsafeCell::new(None));
            (&raw mut (*place).waker).write(UnsafeCell::new(None));
            (&raw mut (*place).timer).write(UnsafeCell::new(None));
            slot.assume_init()
        }
    }

    /// Gives the answer, unless there is one or nobody waits.
    pub(crate) fn fill(&self, outcome: Result<T, AskError>) {
        let mut now = self.state.load(Ordering::Relaxed);
        loop {
            if now != EMPTY && now != WAITING {
                return;
            }
            match self.state.compare_exchange(now, FILLING, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => break,
                Err(other) => now = other,
            }
        }
        // SAFETY: this thread has moved the word to `FILLING`, so both cells are its own.
        let waker = unsafe {
            self.outcome.with_mut(|cell| *cell = Some(outcome));
            if now == WAITING { self.waker.with_mut(|cell| (*cell).take()) } else { None }
        };
        self.state.store(READY, Ordering::Release);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The answer, or `cx` is woken when it comes. Called by the asker alone. `NoReply` once it was taken.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<Result<T, AskError>> {
        let mut spins = 0;
        loop {
            match self.state.load(Ordering::Acquire) {
                EMPTY => {
                    // SAFETY: while the word is `EMPTY` the waker is the asker's, and it leaves that state by the
                    // asker's own exchange below or for `FILLING`, in which the filler does not touch the waker because
                    // it came from `EMPTY`.
                    unsafe {
                        self.waker.with_mut(|cell| match &mut *cell {
                            Some(waker) if waker.will_wake(cx.waker()) => {}
                            cell => *cell = Some(cx.waker().clone()),
                        });
                    }
                    let waiting = self.state.compare_exchange(EMPTY, WAITING, Ordering::AcqRel, Ordering::Relaxed);
                    if waiting.is_ok() {
                        return Poll::Pending;
                    }
                }
                // Polled again: takes the waker back first.
                WAITING => {
                    let _ = self.state.compare_exchange(WAITING, EMPTY, Ordering::AcqRel, Ordering::Relaxed);
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
                    self.state.store(OVER, Ordering::Relaxed);
                    // SAFETY: `READY` is left by the asker alone, so the outcome is its own.
                    let outcome = unsafe { self.outcome.with_mut(|cell| (*cell).take()) };
                    return Poll::Ready(outcome.unwrap_or(Err(AskError::NoReply)));
                }
                _ => return Poll::Ready(Err(AskError::NoReply)),
            }
        }
    }

    /// The answer if it is there; otherwise none is taken from now on. Called by the asker alone.
    pub(crate) fn give_up(&self) -> Option<Result<T, AskError>> {
        let mut backoff = Backoff::default();
        loop {
            let now = self.state.load(Ordering::Acquire);
            match now {
                EMPTY | WAITING => {
                    if self.state.compare_exchange(now, OVER, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                        // SAFETY: fillers leave the slot alone from now on, so the waker is the asker's.
                        let waker = unsafe { self.waker.with_mut(|cell| (*cell).take()) };
                        drop(waker);
                        return None;
                    }
                }
                FILLING => backoff.wait(),
                READY => {
                    self.state.store(OVER, Ordering::Relaxed);
                    // SAFETY: as in `poll`.
                    return unsafe { self.outcome.with_mut(|cell| (*cell).take()) };
                }
                _ => return None,
            }
        }
    }

    /// Waits for the end of the wait, which `start` names at the first call. Called by the asker alone.
    pub(crate) fn poll_timer(&self, start: impl FnOnce() -> Sleep, cx: &mut Context<'_>) -> Poll<()> {
        // SAFETY: the timer is the asker's alone. It is never moved: it lies in the slot, which is behind an `Arc` for
        // good, and is replaced only by being dropped.
        unsafe {
            self.timer.with_mut(|cell| {
                let timer = (*cell).get_or_insert_with(start);
                Pin::new_unchecked(timer).poll(cx)
            })
        }
    }

    /// Ends the timer. Called by the asker alone.
    pub(crate) fn stop_timer(&self) {
        // SAFETY: as in `poll_timer`.
        unsafe { self.timer.with_mut(|cell| *cell = None) }
    }

    /// Whether nobody waits for the answer any more.
    pub(crate) fn is_over(&self) -> bool {
        self.state.load(Ordering::Acquire) == OVER
    }

    /// Whether the asker can go on.
    pub(crate) fn is_answered(&self) -> bool {
        !matches!(self.state.load(Ordering::Acquire), EMPTY | WAITING)
    }
}
