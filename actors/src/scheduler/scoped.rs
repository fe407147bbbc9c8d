//! [`Scoped`]: what a thread lends to everything it calls.
#![allow(unsafe_code, reason = "an owned value in a thread-local would cost a reference count or a move at every run")]

use std::cell::Cell;
use std::ptr::null;
use std::thread::LocalKey;

/// The contents of a thread-local that lends out a value for the length of a call; nested calls hide the outer value.
pub(super) struct Scoped<T>(Cell<*const T>);

impl<T> Scoped<T> {
    pub(super) const fn new() -> Self {
        Self(Cell::new(null()))
    }

    /// Runs `f` while `value` is what [`with`](Scoped::with) shows on this thread.
    #[inline]
    pub(super) fn set<R>(key: &'static LocalKey<Self>, value: &T, f: impl FnOnce() -> R) -> R {
        struct Restore<T: 'static>(&'static LocalKey<Scoped<T>>, *const T);
        impl<T> Drop for Restore<T> {
            fn drop(&mut self) {
                self.0.with(|scoped| scoped.0.set(self.1));
            }
        }
        let outer = key.with(|scoped| scoped.0.replace(value));
        let _restore = Restore(key, outer);
        f()
    }

    /// The value lent out by the innermost [`set`](Scoped::set) this thread is in.
    #[inline]
    pub(super) fn with<R>(key: &'static LocalKey<Self>, f: impl FnOnce(Option<&T>) -> R) -> R {
        let value = key.with(|scoped| scoped.0.get());
        // SAFETY: null, or set by a call of `set` further up this very stack, which borrows the value until it returns
        // or unwinds and puts the former pointer back first. `f` ends before that and cannot keep the reference, whose
        // lifetime it does not know.
        f(unsafe { value.as_ref() })
    }
}
