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
        Self::in_turn(key).show(value, f)
    }

    /// For one value after the other.
    #[inline]
    pub(super) fn in_turn(key: &'static LocalKey<Self>) -> InTurn<T> {
        InTurn { key, outer: key.with(|scoped| scoped.0.get()) }
    }

    /// The value lent out by the innermost [`set`](Scoped::set) this thread is in.
    #[inline]
    pub(super) fn with<R>(key: &'static LocalKey<Self>, f: impl FnOnce(Option<&T>) -> R) -> R {
        let value = key.with(|scoped| scoped.0.get());
        // SAFETY: null, or set by a call of `show` further up this very stack, which borrows the value until it returns
        // or unwinds and puts the former pointer back first. `f` ends before that and cannot keep the reference, whose
        // lifetime it does not know.
        f(unsafe { value.as_ref() })
    }
}

/// See [`Scoped::in_turn`]. Not `Send`, as `outer` is not: it is of the thread it was made on.
pub(super) struct InTurn<T: 'static> {
    key: &'static LocalKey<Scoped<T>>,
    /// What was shown when this was made, and is shown again after each value.
    outer: *const T,
}

impl<T> InTurn<T> {
    /// As [`Scoped::set`].
    #[inline(always)]
    pub(super) fn show<R>(&self, value: &T, f: impl FnOnce() -> R) -> R {
        struct Restore<'a, T: 'static>(&'a InTurn<T>);
        impl<T> Drop for Restore<'_, T> {
            #[inline(always)]
            fn drop(&mut self) {
                self.0.key.with(|scoped| scoped.0.set(self.0.outer));
            }
        }
        self.key.with(|scoped| scoped.0.set(value));
        let _restore = Restore(self);
        f()
    }
}
