//! [`Lazy`]: one word that becomes a box when it is first needed.
//!
//! # Invariant
//! The pointer is null, or that of a box this owns; it is set once and never changes again before the drop.

#![allow(unsafe_code, reason = "`OnceLock<Box<T>>` is two words, and an idle actor would hold three of them")]

use std::marker::PhantomData;
use std::ptr;

use crate::sync::atomic::{AtomicPtr, Ordering};

/// See the module's documentation. Loads and the exchange that sets it are sequentially consistent.
pub(crate) struct Lazy<T> {
    boxed: AtomicPtr<T>,
    owns: PhantomData<Box<T>>,
}

// SAFETY: it hands out shared references, and drops the value wherever it is dropped itself.
unsafe impl<T: Send> Send for Lazy<T> {}
// SAFETY: as above; whoever comes first makes the value for all.
unsafe impl<T: Send + Sync> Sync for Lazy<T> {}

impl<T> Lazy<T> {
    pub(crate) fn new() -> Self {
        Self { boxed: AtomicPtr::new(ptr::null_mut()), owns: PhantomData }
    }

    /// One that is there from the beginning.
    pub(crate) fn of(value: T) -> Self {
        Self { boxed: AtomicPtr::new(Box::into_raw(Box::new(value))), owns: PhantomData }
    }

    #[inline]
    pub(crate) fn get(&self) -> Option<&T> {
        // SAFETY: null or a box of ours, which lives as long as this.
        unsafe { self.boxed.load(Ordering::SeqCst).as_ref() }
    }

    /// The value; made by `make` if nobody has needed it before.
    pub(crate) fn get_or_init(&self, make: impl FnOnce() -> T) -> &T {
        match self.get() {
            Some(value) => value,
            None => self.init(make()),
        }
    }

    #[cold]
    fn init(&self, value: T) -> &T {
        let mine = Box::into_raw(Box::new(value));
        let set = self.boxed.compare_exchange(ptr::null_mut(), mine, Ordering::SeqCst, Ordering::SeqCst);
        match set {
            // SAFETY: ours from now on, and it lives as long as this.
            Ok(_) => unsafe { &*mine },
            Err(theirs) => {
                // SAFETY: made above, and never shown to anybody.
                drop(unsafe { Box::from_raw(mine) });
                // SAFETY: not null, so a box of ours.
                unsafe { &*theirs }
            }
        }
    }
}

impl<T> Drop for Lazy<T> {
    fn drop(&mut self) {
        let boxed = self.boxed.load(Ordering::SeqCst);
        if !boxed.is_null() {
            // SAFETY: a box of ours, and nobody else is here.
            drop(unsafe { Box::from_raw(boxed) });
        }
    }
}
