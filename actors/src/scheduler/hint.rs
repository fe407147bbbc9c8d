//! [`Hint`]: a counted pointer, one word wide, to something a carrier can run.
//!
//! # Invariant
//! A hint points to a live `T: Runnable` that was put into [`memory`] by [`Hint::new`] and whose [`Header`] names `T`'s own
//! [`Code`]; it stands for one of the `holders` counted there. Whoever gives the last one up frees it. The pointer is the one
//! the memory came with, so it may be used for all of `T`, whatever type it passes through in between.

#![allow(
    unsafe_code,
    reason = "an `Arc<dyn …>` is two words wide, and of an actor there is one for each message type too"
)]

use std::alloc::Layout;
use std::any::{Any, type_name};
use std::fmt;
use std::mem::{self, ManuallyDrop};
use std::ptr::{self, NonNull};

use super::{After, current};
use crate::cell::Control;
use crate::discard;
use crate::memory;
use crate::sync::atomic::{AtomicUsize, Ordering, fence};

/// What a carrier runs: an actor.
///
/// # Safety
/// The type is `repr(C)` and begins with a [`Header`] made by [`Header::of`] for this very type.
pub(crate) unsafe trait Runnable: Send + Sync + Sized + 'static {
    /// Runs the actor for a while; `this` is the hint itself, to be cloned where it is needed.
    fn run(&self, this: &Hint) -> After;

    /// That has unwound: goes on from there. Must not unwind.
    fn panicked(&self, this: &Hint, panic: Box<dyn Any + Send>) -> After {
        current::note(this.uid(), &*panic);
        After::Ended
    }

    /// The name of the type, for people.
    fn type_name() -> &'static str {
        type_name::<Self>()
    }

    /// The actor, where there is one.
    fn control(this: &Hint) -> Option<&(dyn Control + 'static)> {
        let _ = this;
        None
    }

    /// Nobody will run it: there is no carrier any more. May let go of what it is, and so run destructors of users: not to be
    /// called under a lock.
    fn adrift(this: Hint) {
        drop(this);
    }

    /// Lets go of all it has, for whoever has the right to run it.
    fn let_go(&self) {}
}

/// What everything that can be run begins with.
#[repr(C)]
pub(crate) struct Header {
    code: &'static Code,
    holders: AtomicUsize,
    /// Tells it from all others; never 0.
    uid: u64,
}

struct Code {
    run: fn(&Hint) -> After,
    panicked: fn(&Hint, Box<dyn Any + Send>) -> After,
    control: for<'a> fn(&'a Hint) -> Option<&'a (dyn Control + 'static)>,
    adrift: fn(Hint),
    let_go: fn(&Hint),
    type_name: fn() -> &'static str,
    free: unsafe fn(NonNull<Header>),
}

struct Of<T>(T);

impl<T: Runnable> Of<T> {
    const CODE: Code = Code {
        // SAFETY: the code is that of a hint's own type: see the top of the file.
        run: |hint| unsafe { hint.0.cast::<T>().as_ref() }.run(hint),
        // SAFETY: as above.
        panicked: |hint, panic| unsafe { hint.0.cast::<T>().as_ref() }.panicked(hint, panic),
        adrift: T::adrift,
        type_name: T::type_name,
        // SAFETY: as above.
        let_go: |hint| unsafe { hint.0.cast::<T>().as_ref() }.let_go(),
        control: T::control,
        // SAFETY: called once, by who gave the last hint up; put there by `Hint::new`.
        free: |header| unsafe { free(header.cast::<T>()) },
    };
}

/// # Safety
/// What [`Hint::new`] made, and not used any more.
unsafe fn free<T>(runnable: NonNull<T>) {
    struct GiveBack<T>(NonNull<T>);
    impl<T> Drop for GiveBack<T> {
        fn drop(&mut self) {
            // SAFETY: taken with this layout, and dropped already, if with a panic.
            unsafe { memory::give(self.0.cast(), Layout::new::<T>()) }
        }
    }
    let _give_back = GiveBack(runnable);
    // SAFETY: as the caller says.
    unsafe { ptr::drop_in_place(runnable.as_ptr()) }
}

impl Header {
    /// For a `T` with this number, which is to be given to [`Hint::new`] and has so many holders then.
    pub(crate) fn of<T: Runnable>(uid: u64, holders: usize) -> Self {
        Self { code: &Of::<T>::CODE, holders: AtomicUsize::new(holders), uid }
    }

    pub(crate) fn uid(&self) -> u64 {
        self.uid
    }

    pub(crate) fn type_name(&self) -> &'static str {
        (self.code.type_name)()
    }
}

/// In a run queue: the right to run this actor, which is there once. Elsewhere: a hold on it.
#[repr(transparent)]
pub(crate) struct Hint(NonNull<Header>);

// SAFETY: whatever can be run is `Send` and `Sync`, and counting is atomic.
unsafe impl Send for Hint {}
// SAFETY: as above.
unsafe impl Sync for Hint {}

impl Hint {
    /// `make` is called once there is a place, so that what it returns need not be moved there.
    #[inline(always)]
    pub(crate) fn new<T: Runnable>(make: impl FnOnce() -> T) -> Self {
        let place = memory::take(Layout::new::<T>()).cast::<T>();
        // SAFETY: of that layout, and nothing lies in it.
        unsafe { place.write(make()) }
        Self(place.cast())
    }

    /// The pointer itself; the count that goes with it is the caller's.
    pub(crate) fn into_raw(self) -> NonNull<Header> {
        ManuallyDrop::new(self).0
    }

    /// # Safety
    /// Of [`into_raw`](Hint::into_raw), with the count that goes with it.
    pub(crate) const unsafe fn from_raw(raw: NonNull<Header>) -> Self {
        Self(raw)
    }

    /// Another one.
    ///
    /// # Safety
    /// For a count that nobody else gives up.
    #[inline(always)]
    pub(crate) const unsafe fn same(&self) -> Self {
        Self(self.0)
    }

    pub(crate) fn as_ptr(&self) -> *const Header {
        self.0.as_ptr()
    }

    #[inline(always)]
    fn header(&self) -> &Header {
        // SAFETY: alive as long as the hint.
        unsafe { self.0.as_ref() }
    }

    #[inline]
    pub(super) fn run(&self) -> After {
        (self.header().code.run)(self)
    }

    /// The run has unwound.
    #[cold]
    pub(super) fn panicked(&self, panic: Box<dyn Any + Send>) -> After {
        (self.header().code.panicked)(self, panic)
    }

    /// The run is over.
    #[inline(always)]
    pub(super) fn over(self, after: After) {
        if after == After::Parked {
            mem::forget(self); // whoever wakes it has that count
        } else {
            // Perhaps the last that knew the actor: its parts may panic.
            discard::caught(|| drop(self));
        }
    }

    /// Nobody will run it.
    pub(super) fn adrift(self) {
        (self.header().code.adrift)(self);
    }

    /// Lets go of all the actor has, for whoever has the right to run it, and of that right.
    pub(crate) fn let_go_of(self) {
        (self.header().code.let_go)(&self);
        discard::caught(|| drop(self));
    }

    /// The actor, where there is one.
    #[inline]
    pub(crate) fn control(&self) -> Option<&(dyn Control + 'static)> {
        (self.header().code.control)(self)
    }

    /// Tells it from all others; never 0.
    #[inline]
    pub(crate) fn uid(&self) -> u64 {
        self.header().uid
    }

    /// How many hold it.
    #[cfg(test)]
    pub(crate) fn holders(&self) -> usize {
        self.header().holders.load(Ordering::Acquire)
    }
}

impl Clone for Hint {
    #[inline]
    fn clone(&self) -> Self {
        // More than fit would take the memory of more pointers than there can be.
        self.header().holders.fetch_add(1, Ordering::Relaxed);
        Self(self.0)
    }
}

impl Drop for Hint {
    #[inline]
    fn drop(&mut self) {
        let header = self.header();
        if header.holders.fetch_sub(1, Ordering::Release) == 1 {
            fence(Ordering::Acquire);
            // SAFETY: that was the last, so nobody knows it any more.
            unsafe { (header.code.free)(self.0) }
        }
    }
}

impl PartialEq for Hint {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}

impl Eq for Hint {}

impl fmt::Debug for Hint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Hint").field(&self.uid()).finish()
    }
}
