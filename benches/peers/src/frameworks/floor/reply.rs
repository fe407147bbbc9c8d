//! A one-shot reply whose cell comes from a thread-local pool, so that an ask
//! does not allocate.

use std::cell::{RefCell, UnsafeCell};
use std::future::Future;
use std::pin::Pin;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, Ordering::*};
use std::task::{Context, Poll, Waker};

const EMPTY: u8 = 0;
/// The asker waits and its waker is in place.
const WAITING: u8 = 1;
/// The replier is at work on the cell.
const LOCKED: u8 = 2;
const READY: u8 = 3;
/// The asker went away; the replier frees the cell.
const ABANDONED: u8 = 4;

struct Cell {
    state: AtomicU8,
    value: UnsafeCell<u64>,
    /// Kept from ask to ask: most askers ask again from the same task.
    waker: UnsafeCell<Option<Waker>>,
}

thread_local! {
    static POOL: RefCell<Vec<Box<Cell>>> = const { RefCell::new(Vec::new()) };
}

const POOL_MAX: usize = 256;

pub struct ReplyTo(NonNull<Cell>);

// SAFETY: the state hands the cell back and forth.
unsafe impl Send for ReplyTo {}

pub struct Reply(Option<NonNull<Cell>>);

// SAFETY: as above.
unsafe impl Send for Reply {}

pub fn pair() -> (ReplyTo, Reply) {
    let cell = POOL.with_borrow_mut(Vec::pop).unwrap_or_else(|| {
        Box::new(Cell { state: AtomicU8::new(EMPTY), value: UnsafeCell::new(0), waker: UnsafeCell::new(None) })
    });
    cell.state.store(EMPTY, Relaxed);
    let cell = NonNull::from(Box::leak(cell));
    (ReplyTo(cell), Reply(Some(cell)))
}

impl ReplyTo {
    pub fn send(self, value: u64) {
        let cell = self.0;
        std::mem::forget(self);
        // SAFETY: the cell lives until the asker sees `READY`, and what is in
        // it is the replier's from here to there.
        unsafe {
            let state = &cell.as_ref().state;
            *cell.as_ref().value.get() = value;
            match state.swap(LOCKED, AcqRel) {
                EMPTY => state.store(READY, Release),
                WAITING => {
                    if let Some(waker) = &*cell.as_ref().waker.get() {
                        waker.wake_by_ref();
                    }
                    state.store(READY, Release);
                }
                _ => drop(Box::from_raw(cell.as_ptr())),
            }
        }
    }
}

impl Future for Reply {
    type Output = u64;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<u64> {
        let cell = self.0.expect("not polled after completion");
        // SAFETY: while the state is `EMPTY` the waker is the asker's.
        unsafe {
            let state = &cell.as_ref().state;
            let mut now = state.load(Acquire);
            if now == EMPTY || now == WAITING {
                if now == WAITING {
                    // A spurious poll: take the waker back, if still possible.
                    now = match state.compare_exchange(WAITING, EMPTY, AcqRel, Acquire) {
                        Ok(_) => EMPTY,
                        Err(now) => now,
                    };
                }
                if now == EMPTY {
                    let slot = &mut *cell.as_ref().waker.get();
                    match slot {
                        Some(waker) if waker.will_wake(cx.waker()) => {}
                        _ => *slot = Some(cx.waker().clone()),
                    }
                    now = match state.compare_exchange(EMPTY, WAITING, AcqRel, Acquire) {
                        Ok(_) => return Poll::Pending,
                        Err(now) => now,
                    };
                }
            }
            if now != READY {
                // `LOCKED`: the value is a moment away.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.0 = None;
            let value = *cell.as_ref().value.get();
            let cell = Box::from_raw(cell.as_ptr());
            POOL.with_borrow_mut(|pool| {
                if pool.len() < POOL_MAX {
                    pool.push(cell);
                }
            });
            Poll::Ready(value)
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        let Some(cell) = self.0 else { return };
        // SAFETY: whoever comes second frees the cell.
        unsafe {
            loop {
                match cell.as_ref().state.load(Acquire) {
                    LOCKED => std::hint::spin_loop(),
                    READY => return drop(Box::from_raw(cell.as_ptr())),
                    now => {
                        let state = &cell.as_ref().state;
                        if state.compare_exchange(now, ABANDONED, AcqRel, Acquire).is_ok() {
                            return;
                        }
                    }
                }
            }
        }
    }
}

impl Drop for ReplyTo {
    fn drop(&mut self) {
        // A real runtime would tell the asker that no answer will come.
        std::process::abort();
    }
}
