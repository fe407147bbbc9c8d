//! [`Bound`]: a value that is known to stay on its thread, though its type may move.
//!
//! # Invariant
//! The value inside is touched on the thread that made it and nowhere else: each access checks that, and a value whose
//! shell is dropped elsewhere is leaked instead of dropped. So moving the shell is sound whatever is inside. That the
//! check never fails is the pinned actor's doing; see the module above.

use std::fmt;
use std::future::Future;
use std::mem::ManuallyDrop;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::thread::{self, ThreadId};

use tracing::error;

pub(super) struct Bound<T> {
    value: ManuallyDrop<T>,
    thread: ThreadId,
}

// SAFETY: by the invariant above no other thread than the one that made it reaches the value.
unsafe impl<T> Send for Bound<T> {}

impl<T> Bound<T> {
    pub(super) fn new(value: T) -> Self {
        Self { value: ManuallyDrop::new(value), thread: thread::current().id() }
    }

    fn is_here(&self) -> bool {
        thread::current().id() == self.thread
    }

    /// The value.
    ///
    /// # Panics
    /// On another thread than that which made it.
    pub(super) fn here(&mut self) -> &mut T {
        assert!(self.is_here(), "a local actor was run on another thread than its own");
        &mut self.value
    }
}

/// A future that is polled and dropped where it was made. Boxed: one that had to be leaked stays in memory, as a pinned
/// value must that is not dropped.
pub(super) type BoundFuture<F> = Bound<Pin<Box<F>>>;

impl<F: Future> Future for BoundFuture<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        Pin::get_mut(self).here().as_mut().poll(cx)
    }
}

impl<T> Drop for Bound<T> {
    fn drop(&mut self) {
        if self.is_here() {
            // SAFETY: dropped once, here, and not used afterwards.
            unsafe { ManuallyDrop::drop(&mut self.value) }
        } else {
            error!("the state of a local actor was let go of on another thread than its own and stays in memory");
        }
    }
}

impl<T> fmt::Debug for Bound<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bound")
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    #[test]
    fn elsewhere_a_value_is_neither_shown_nor_dropped() {
        let value = Rc::new(7);
        let mut bound = Bound::new(value.clone());
        assert_eq!(**bound.here(), 7);
        let elsewhere = thread::spawn(move || {
            let shown = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| **bound.here()));
            drop(bound);
            shown.is_err()
        });
        assert!(elsewhere.join().expect("the panic was caught"));
        assert_eq!(Rc::strong_count(&value), 2);
        drop(Bound::new(value.clone()));
        assert_eq!(Rc::strong_count(&value), 2, "here it is dropped");
    }
}
