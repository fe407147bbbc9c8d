//! [`Room`]: memory in which futures begin. Most handlers are done at their first poll, and then the next one begins in the
//! same place; one that is suspended takes its place with it.
//!
//! # Invariant
//! [`Memory`] comes from [`memory`], which allocates it as `Box` does, and belongs to its holder. A future lies
//! in it from the moment it is written until it is dropped in place, or until the memory has become the box it lies in.

#![allow(
    unsafe_code,
    reason = "a future may not move once it was polled, and boxing each would cost an allocation a message"
)]

use std::alloc::Layout;
use std::future::Future;
use std::mem::{self, ManuallyDrop};
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

struct Memory {
    place: NonNull<u8>,
    layout: Layout,
}

impl Memory {
    /// Layouts are of sizes above zero.
    #[inline]
    fn new(layout: Layout) -> Self {
        Self { place: memory::take(layout), layout }
    }
}

impl Drop for Memory {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: taken with this layout, and nothing lies in it.
        unsafe { memory::give(self.place, self.layout) }
    }
}

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

/// Memory for the first poll of one future after the other.
#[derive(Default)]
pub(crate) struct Room(Option<Memory>);

/// Drops the future where it lies when its poll panics. A second panic, of its destructor, would end the process.
struct InPlace<F>(*mut F);

impl<F> Drop for InPlace<F> {
    #[cold]
    fn drop(&mut self) {
        // SAFETY: whoever makes this has written a future there, and forgets this when it drops that itself.
        discard::caught(|| unsafe { ptr::drop_in_place(self.0) });
    }
}

/// As [`InPlace`], for a future in a box.
struct Boxed<'a>(ManuallyDrop<Short<'a>>);

impl Drop for Boxed<'_> {
    #[cold]
    fn drop(&mut self) {
        // SAFETY: whoever takes the future out does not drop this.
        discard::caught(|| unsafe { ManuallyDrop::drop(&mut self.0) });
    }
}

impl Room {
    /// Polls the future that `make` returns for the first time. What it comes to, or the future itself.
    ///
    /// # Safety
    /// What the future has borrowed stays where it is, and is touched by nobody else, until the future is dropped.
    #[inline(always)]
    pub(crate) unsafe fn poll<'a, F>(
        &mut self,
        make: impl FnOnce() -> F,
        cx: &mut Context<'_>,
    ) -> Result<Handled, Suspended>
    where
        F: Future<Output = Handled> + Send + 'a,
    {
        if size_of::<F>() == 0 {
            // SAFETY: as the caller says.
            return unsafe { Self::poll_boxed(Box::pin(make()), cx) };
        }
        let layout = Layout::new::<Padded<F>>();
        let memory = match self.0.take() {
            Some(memory) if memory.layout == layout => memory,
            _ => Memory::new(layout),
        };
        let place = memory.place.as_ptr().cast::<Padded<F>>();
        // SAFETY: of the right layout, and nothing lies in it.
        unsafe { place.write(Padded(make())) };
        let future = InPlace(place);
        // SAFETY: just written, and it stays there until it is dropped.
        match unsafe { Pin::new_unchecked(&mut *place) }.poll(cx) {
            Poll::Ready(outcome) => {
                mem::forget(future);
                // SAFETY: written above, and dropped nowhere else. `memory` goes too should this panic.
                unsafe { ptr::drop_in_place(place) }
                self.0 = Some(memory);
                Ok(outcome)
            }
            Poll::Pending => {
                mem::forget(future);
                let _memory = ManuallyDrop::new(memory);
                // SAFETY: allocated as a box would be, with the future in it.
                let boxed: Short<'a> =
                    Box::into_pin(unsafe { Box::from_raw(place) } as Box<dyn Future<Output = Handled> + Send + 'a>);
                // SAFETY: only the lifetime changes, and the caller vouches for that.
                Err(unsafe { mem::transmute::<Short<'a>, Suspended>(boxed) })
            }
        }
    }

    /// # Safety
    /// As [`poll`](Room::poll).
    unsafe fn poll_boxed<'a>(future: Short<'a>, cx: &mut Context<'_>) -> Result<Handled, Suspended> {
        let mut future = Boxed(ManuallyDrop::new(future));
        let polled = future.0.as_mut().poll(cx);
        let mut future = ManuallyDrop::new(future);
        // SAFETY: it is dropped nowhere else, for what held it is not.
        let future = unsafe { ManuallyDrop::take(&mut future.0) };
        match polled {
            Poll::Ready(outcome) => Ok(outcome),
            // SAFETY: only the lifetime changes, and the caller vouches for that.
            Poll::Pending => Err(unsafe { mem::transmute::<Short<'a>, Suspended>(future) }),
        }
    }
}
