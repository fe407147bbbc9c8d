//! [`Slot`]: the next hint of one carrier, put and taken by the carrier, taken by another only when the carrier is stuck.
#![allow(unsafe_code, reason = "what is in the slot is a pointer whose owner changes by an exchange")]

use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};

use super::hint::{Header, Hint};
use crate::sync::Arc;
use crate::sync::atomic::{AtomicPtr, Ordering};

/// What can be in a slot: a pointer that owns what it points to.
///
/// # Safety
/// `from_word` of what `into_word` returned is the value again.
pub(super) unsafe trait Word: Send {
    fn into_word(self) -> NonNull<()>;
    /// # Safety
    /// Of [`into_word`](Word::into_word), once.
    unsafe fn from_word(word: NonNull<()>) -> Self;
}

// SAFETY: a hint is that pointer.
unsafe impl Word for Hint {
    #[inline(always)]
    fn into_word(self) -> NonNull<()> {
        self.into_raw().cast()
    }

    #[inline(always)]
    unsafe fn from_word(word: NonNull<()>) -> Self {
        // SAFETY: as the caller says.
        unsafe { Self::from_raw(word.cast::<Header>()) }
    }
}

/// One value or none. Whoever exchanges the pointer for another owns what it pointed to.
pub(super) struct Place<T: Word> {
    word: AtomicPtr<()>,
    value: PhantomData<T>,
}

impl<T: Word> Place<T> {
    pub(super) fn new() -> Self {
        Self { word: AtomicPtr::new(ptr::null_mut()), value: PhantomData }
    }

    #[inline(always)]
    fn own(word: *mut ()) -> Option<T> {
        // SAFETY: an exchange took it out, so it is the caller's, once.
        NonNull::new(word).map(|word| unsafe { T::from_word(word) })
    }

    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.word.load(Ordering::Acquire).is_null()
    }

    /// Puts `value` in, from any thread; returns what was there. In the order of all such exchanges.
    #[inline(always)]
    pub(super) fn swap(&self, value: T) -> Option<T> {
        Self::own(self.word.swap(value.into_word().as_ptr(), Ordering::SeqCst))
    }

    /// Takes the value out, from any thread.
    #[inline(always)]
    pub(super) fn take(&self) -> Option<T> {
        if self.word.load(Ordering::Relaxed).is_null() {
            return None;
        }
        Self::own(self.word.swap(ptr::null_mut(), Ordering::AcqRel))
    }

    /// Takes the value out if it is the one at `address`.
    #[inline(always)]
    pub(super) fn take_if(&self, address: *const ()) -> Option<T> {
        let address = address.cast_mut();
        if self.word.load(Ordering::Relaxed) != address {
            return None;
        }
        let taken = self.word.compare_exchange(address, ptr::null_mut(), Ordering::AcqRel, Ordering::Relaxed);
        taken.ok().and_then(Self::own)
    }
}

impl<T: Word> Drop for Place<T> {
    fn drop(&mut self) {
        drop(self.take());
    }
}

/// The owner's end: there is one, and it is not `Sync`.
pub(super) struct Slot<T: Word> {
    place: Arc<Place<T>>,
    one_thread: PhantomData<Cell<()>>,
}

/// Everybody else's end.
pub(super) struct Thief<T: Word>(Arc<Place<T>>);

impl<T: Word> Slot<T> {
    pub(super) fn new() -> (Self, Thief<T>) {
        let place = Arc::new(Place::new());
        (Self { place: place.clone(), one_thread: PhantomData }, Thief(place))
    }

    /// Whether it holds nothing, for its owner.
    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.place.word.load(Ordering::Relaxed).is_null()
    }

    /// Puts `value` in. Returns what was in it.
    #[inline(always)]
    pub(super) fn put(&self, value: T) -> Option<T> {
        if self.is_empty() {
            // The owner alone fills it, so it stays empty until this store.
            self.place.word.store(value.into_word().as_ptr(), Ordering::Release);
            return None;
        }
        self.place.swap(value)
    }

    /// Takes the value out.
    #[inline(always)]
    pub(super) fn take(&self) -> Option<T> {
        self.place.take()
    }
}

impl<T: Word> Thief<T> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes the value out, from any thread.
    pub(super) fn steal(&self) -> Option<T> {
        self.0.take()
    }
}

#[cfg(all(test, actors_loom))]
mod loom_tests {
    use loom::sync::Arc;
    use loom::thread;

    use std::ptr::NonNull;

    use super::{Slot, Word};

    // SAFETY: the pointer is the box.
    unsafe impl Word for Box<Arc<()>> {
        fn into_word(self) -> NonNull<()> {
            NonNull::from(Box::leak(self)).cast()
        }

        unsafe fn from_word(word: NonNull<()>) -> Self {
            // SAFETY: as the caller says.
            unsafe { Box::from_raw(word.cast::<Arc<()>>().as_ptr()) }
        }
    }

    /// Each value comes out exactly once, whoever takes it, and none is left.
    #[test]
    fn loom_a_value_comes_out_once() {
        loom::model(|| {
            let (slot, thief) = Slot::new();
            let values: Vec<_> = (0..3).map(|_| Arc::new(())).collect();
            let given: Vec<_> = values.iter().map(|value| Box::new(value.clone())).collect();
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
