//! [`Slot`]: the next hint of one carrier, put and taken by the carrier, taken by another only when the carrier is stuck.
#![allow(unsafe_code, reason = "a hint is two words wide, so it cannot be swapped as an atomic")]

use std::cell::Cell;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use crate::sync::atomic::AtomicU8;
use crate::sync::{Arc, UnsafeCell};

const EMPTY: u8 = 0;
const FULL: u8 = 1;
/// Another carrier is about to take the value out.
const TAKING: u8 = 2;

struct Shared<T> {
    state: AtomicU8,
    value: UnsafeCell<MaybeUninit<T>>,
}

// SAFETY: the value moves between threads and is never looked at by two.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above; `state` says who may touch the value: the owner unless it is TAKING, and the one that made it TAKING.
unsafe impl<T: Send> Sync for Shared<T> {}

/// The owner's end: there is one, and it is not `Sync`.
pub(super) struct Slot<T> {
    shared: Arc<Shared<T>>,
    one_thread: PhantomData<Cell<()>>,
}

/// Everybody else's end.
pub(super) struct Thief<T>(Arc<Shared<T>>);

impl<T> Slot<T> {
    pub(super) fn new() -> (Self, Thief<T>) {
        let shared = Arc::new(Shared { state: AtomicU8::new(EMPTY), value: UnsafeCell::new(MaybeUninit::uninit()) });
        (Self { shared: shared.clone(), one_thread: PhantomData }, Thief(shared))
    }

    /// Whether it holds nothing, for its owner.
    pub(super) fn is_empty(&self) -> bool {
        self.shared.state.load(Relaxed) != FULL
    }

    /// Puts `value` in. Returns what was in it, or `value` itself while a thief is at it.
    pub(super) fn put(&self, value: T) -> Option<T> {
        let shared = &*self.shared;
        match shared.state.load(Acquire) {
            EMPTY => {
                shared.fill(value);
                None
            }
            FULL => match self.take() {
                Some(old) => {
                    shared.fill(value);
                    Some(old)
                }
                None => Some(value),
            },
            _ => Some(value),
        }
    }

    /// Takes the value out.
    pub(super) fn take(&self) -> Option<T> {
        let shared = &*self.shared;
        if shared.state.load(Relaxed) != FULL || shared.state.compare_exchange(FULL, EMPTY, Acquire, Relaxed).is_err() {
            return None;
        }
        // SAFETY: it was FULL, so the value is there; it is EMPTY now, and only the owner, which is here, fills it again.
        Some(shared.value.with_mut(|value| unsafe { (*value).assume_init_read() }))
    }
}

impl<T> Thief<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.state.load(Acquire) != FULL
    }

    /// Takes the value out, from any thread.
    pub(super) fn steal(&self) -> Option<T> {
        let shared = &*self.0;
        shared.state.compare_exchange(FULL, TAKING, Acquire, Relaxed).ok()?;
        // SAFETY: it was FULL, so the value is there; while it is TAKING nobody else touches it.
        let value = shared.value.with_mut(|value| unsafe { (*value).assume_init_read() });
        shared.state.store(EMPTY, Release);
        Some(value)
    }
}

impl<T> Shared<T> {
    /// For the owner, which has seen it EMPTY.
    fn fill(&self, value: T) {
        // SAFETY: EMPTY: only the owner goes on from there, and whoever emptied it has finished (acquired by the caller).
        self.value.with_mut(|slot| unsafe { (*slot).write(value) });
        self.state.store(FULL, Release);
    }
}

impl<T> Drop for Shared<T> {
    fn drop(&mut self) {
        if self.state.load(Acquire) == FULL {
            // SAFETY: FULL, and nobody else has it any more.
            self.value.with_mut(|value| unsafe { (*value).assume_init_drop() });
        }
    }
}

#[cfg(all(test, actors_loom))]
mod loom_tests {
    use loom::sync::Arc;
    use loom::thread;

    use super::Slot;

    /// Each value comes out exactly once, whoever takes it, and none is left.
    #[test]
    fn loom_a_value_comes_out_once() {
        loom::model(|| {
            let (slot, thief) = Slot::new();
            let values: Vec<_> = (0..3).map(|_| Arc::new(())).collect();
            let given: Vec<_> = values.clone();
            let stolen = thread::spawn(move || [thief.steal(), thief.steal()].into_iter().flatten().count());
            let mut out = 0;
            for value in given {
                out += usize::from(slot.put(value).is_some());
            }
            out += usize::from(slot.take().is_some());
            out += stolen.join().expect("no panic");
            let left = !slot.is_empty();
            assert_eq!(out + usize::from(left), 3);
            drop(slot);
            assert!(values.iter().all(|value| Arc::strong_count(value) == 1));
        });
    }
}
