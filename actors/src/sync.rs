//! What the lock-free parts are made of: the real thing, or a model checker's version of it.
//!
//! `--cfg actors_loom` and `--cfg actors_shuttle` swap every atomic, lock, cell and thread below for one whose
//! interleavings the checker chooses. Lock-free code takes these from here and from nowhere else.

#![allow(unused_imports)] // each build takes what it needs

#[cfg(not(any(actors_loom, actors_shuttle)))]
mod imp {
    pub(crate) use crate::memory;
    pub(crate) use parking_lot::{Mutex, MutexGuard};
    pub(crate) use std::sync::{Arc, Weak, atomic};
    pub(crate) use std::{hint, thread};
}

#[cfg(actors_loom)]
mod imp {
    pub(crate) use super::unpoisoned::Mutex;
    pub(super) use loom::alloc::{alloc, dealloc};
    pub(crate) use loom::sync::{Arc, MutexGuard, atomic};
    pub(crate) use loom::{hint, thread};
}

#[cfg(actors_shuttle)]
mod imp {
    pub(crate) use super::unpoisoned::Mutex;
    pub(crate) use shuttle::sync::{Arc, MutexGuard, Weak, atomic};
    pub(crate) use shuttle::{hint, thread};
    pub(super) use std::alloc::{alloc, dealloc};
}

pub(crate) use imp::*;

/// As [`crate::memory`], with nothing kept: a checker is to see each piece come and go.
#[cfg(any(actors_loom, actors_shuttle))]
#[allow(unsafe_code)]
pub(crate) mod memory {
    use std::alloc::{Layout, handle_alloc_error};
    use std::ptr::NonNull;

    pub(crate) fn take(layout: Layout) -> NonNull<u8> {
        // SAFETY: nobody takes a piece of size zero.
        NonNull::new(unsafe { super::imp::alloc(layout) }).unwrap_or_else(|| handle_alloc_error(layout))
    }

    /// # Safety
    /// As [`crate::memory::give`].
    pub(crate) unsafe fn give(piece: NonNull<u8>, layout: Layout) {
        // SAFETY: as the caller says.
        unsafe { super::imp::dealloc(piece.as_ptr(), layout) }
    }
}

/// The checkers' locks follow `std`; ours have no poison.
#[cfg(any(actors_loom, actors_shuttle))]
mod unpoisoned {
    #[cfg(actors_loom)]
    use loom::sync as checked;
    #[cfg(actors_shuttle)]
    use shuttle::sync as checked;

    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(checked::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(checked::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> checked::MutexGuard<'_, T> {
            match self.0.lock() {
                Ok(guard) => guard,
                Err(poisoned) => poisoned.into_inner(),
            }
        }
    }
}

/// A cell whose contents are reached through a raw pointer, so that a checker can watch who does so at once.
#[cfg(actors_loom)]
pub(crate) use loom::cell::UnsafeCell;

/// A cell whose contents are reached through a raw pointer, so that a checker can watch who does so at once.
#[cfg(not(actors_loom))]
#[derive(Debug, Default)]
#[repr(transparent)]
pub(crate) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(actors_loom))]
impl<T> UnsafeCell<T> {
    #[inline(always)]
    pub(crate) const fn new(value: T) -> Self {
        Self(std::cell::UnsafeCell::new(value))
    }

    #[inline(always)]
    pub(crate) fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        f(self.0.get())
    }

    #[inline(always)]
    pub(crate) fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }
}

/// Waits for a step another thread is in the middle of: spins a little, then gives the processor away.
#[derive(Debug, Default)]
pub(crate) struct Backoff(u32);

impl Backoff {
    #[cold]
    pub(crate) fn wait(&mut self) {
        const SPINS: u32 = if cfg!(any(actors_loom, actors_shuttle)) { 0 } else { 64 };
        if self.0 < SPINS {
            self.0 += 1;
            hint::spin_loop();
        } else {
            thread::yield_now();
        }
    }
}
