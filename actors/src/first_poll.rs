//! [`Room`]: memory in which futures begin. Most handlers are done at their first poll, and then the next one begins in the
//! same place; one that is suspended takes its place with it.
//!
//! # Invariant
//! What a room has comes from [`memory`], which allocates as `Box` does, and belongs to the room. A future lies in it from the
//! moment it is written until it is dropped in place, or until the memory has become the box it lies in.

#![allow(
    unsafe_code,
    reason = "a future may not move once it was polled, and boxing each would cost an allocation a message"
)]

use std::alloc::Layout;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::ptr::{self, NonNull};
use std::task::{Context, Poll};

use crate::actor::Handled;
use crate::discard;
use crate::memory;

/// A handler that awaits something.
pub(crate) type Suspended = Pin<Box<dyn Future<Output = Handled> + Send>>;

/// The same before its lifetime is forgotten.
type Short<'a> = Pin<Box<dyn Future<Output = Handled> + Send + 'a>>;

/// A future that is large enough to be kept memory: see [`memory`].
#[repr(align(8))]
struct Padded<F>(F);

impl<F: Future> Future for Padded<F> {
    type Output = F::Output;

    #[inline(always)]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // SAFETY: it is pinned where this is, and moved out of nowhere.
        unsafe { self.map_unchecked_mut(|padded| &mut padded.0) }.poll(cx)
    }
}

/// Memory for the first poll of one future of a type after the other.
pub(crate) struct Room<F> {
    place: Option<NonNull<Padded<F>>>,
    suspended: Option<Suspended>,
}

impl<F> Room<F> {
    const LAYOUT: Layout = Layout::new::<Padded<F>>();

    #[inline(always)]
    fn take() -> NonNull<Padded<F>> {
        if Self::LAYOUT.size() == 0 { NonNull::dangling() } else { memory::take_at_hand(Self::LAYOUT).cast() }
    }
}

impl<F> Drop for Room<F> {
    #[inline(always)]
    fn drop(&mut self) {
        if Self::LAYOUT.size() > 0
            && let Some(place) = self.place
        {
            // SAFETY: taken with this layout, and nothing lies in it.
            unsafe { memory::put_at_hand(place.cast(), Self::LAYOUT) }
        }
    }
}

/// Drops the future where it lies when its poll panics. A second panic, of its destructor, would end the process.
struct InPlace<F>(*mut F);

impl<F> Drop for InPlace<F> {
    #[cold]
    fn drop(&mut self) {
        // SAFETY: whoever makes this has written a future there, and forgets this when it drops that itself.
        discard::caught(|| unsafe { ptr::drop_in_place(self.0) });
    }
}

impl<'a, F: Future<Output = Handled> + Send + 'a> Room<F> {
    /// Takes no memory yet.
    #[inline(always)]
    pub(crate) const fn new() -> Self {
        Self { place: None, suspended: None }
    }

    /// Polls the future that `make` returns for the first time. One that is pending is [`suspended`](Self::suspended).
    ///
    /// # Safety
    /// What the future has borrowed stays where it is, and is touched by nobody else, until the future is dropped.
    #[inline(always)]
    pub(crate) unsafe fn poll(&mut self, make: impl FnOnce() -> F, cx: &mut Context<'_>) -> Poll<Handled> {
        let place = self.place.get_or_insert_with(Self::take).as_ptr();
        // SAFETY: of the right layout, and nothing lies in it.
        unsafe { place.write(Padded(make())) };
        let future = InPlace(place);
        // SAFETY: just written, and it stays there until it is dropped.
        match unsafe { Pin::new_unchecked(&mut *place) }.poll(cx) {
            Poll::Ready(outcome) => {
                mem::forget(future);
                // SAFETY: written above, and dropped nowhere else.
                unsafe { ptr::drop_in_place(place) }
                Poll::Ready(outcome)
            }
            Poll::Pending => {
                mem::forget(future);
                self.place = None;
                // SAFETY: allocated as a box would be, with the future in it, and given up by this just now.
                let boxed: Short<'a> =
                    Box::into_pin(unsafe { Box::from_raw(place) } as Box<dyn Future<Output = Handled> + Send + 'a>);
                // SAFETY: only the lifetime changes, and the caller vouches for that.
                self.suspended = Some(unsafe { mem::transmute::<Short<'a>, Suspended>(boxed) });
                Poll::Pending
            }
        }
    }

    /// What is pending, after [`poll`](Self::poll) has said that something is.
    pub(crate) fn suspended(&mut self) -> Option<Suspended> {
        self.suspended.take()
    }
}
