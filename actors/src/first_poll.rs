//! [`Room`]: memory in which futures begin. Most handlers are done at their first poll, and then the next one begins in the
//! same place; one that is suspended takes its place with it.
//!
//! # Invariant
//! [`Memory`] was allocated with its layout by the global allocator, as `Box` does, and belongs to its holder. A future lies
//! in it from the moment it is written until it is dropped in place, or until the memory has become the box it lies in.

#![allow(
    unsafe_code,
    reason = "a future may not move once it was polled, and boxing each would cost an allocation a message"
)]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::Cell;
use std::future::Future;
use std::mem::{self, ManuallyDrop};
use std::pin::Pin;
use std::ptr::{self, NonNull};
use std::task::{Context, Poll};

use crate::actor::Handled;
use crate::discard;

/// A handler that awaits something.
pub(crate) type Suspended = Pin<Box<dyn Future<Output = Handled> + Send>>;

/// The same before its lifetime is forgotten.
type Short<'a> = Pin<Box<dyn Future<Output = Handled> + Send + 'a>>;

/// Sizes of this step, and larger ones together, each have a place kept by a thread: an actor that begins, handles and ends
/// needs three.
const STEP: usize = 8;
const KEPT: usize = 128;
/// Larger ones are allocated anew for each run.
const KEPT_BYTES: usize = 8 << 10;

thread_local! {
    static MEMORIES: [Cell<Option<Memory>>; KEPT] = const { [const { Cell::new(None) }; KEPT] };
}

struct Memory {
    place: NonNull<u8>,
    layout: Layout,
}

impl Memory {
    /// Layouts are of sizes above zero.
    fn new(layout: Layout) -> Self {
        let index = Self::index(layout);
        let kept = MEMORIES.try_with(|kept| kept[index].take()).ok().flatten();
        kept.filter(|memory| memory.layout == layout).unwrap_or_else(|| Self::allocate(layout))
    }

    #[cold]
    fn allocate(layout: Layout) -> Self {
        // SAFETY: not of size zero.
        let place = unsafe { alloc(layout) };
        Self { place: NonNull::new(place).unwrap_or_else(|| handle_alloc_error(layout)), layout }
    }

    /// For the next one that begins on this thread.
    fn keep(self) {
        if self.layout.size() <= KEPT_BYTES {
            let index = Self::index(self.layout);
            let _ = MEMORIES.try_with(|kept| kept[index].set(Some(self)));
        }
    }

    fn index(layout: Layout) -> usize {
        (layout.size() / STEP).min(KEPT - 1)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout, and nothing lies in it.
        unsafe { dealloc(self.place.as_ptr(), self.layout) }
    }
}

/// Memory for the first poll of one future after the other.
#[derive(Default)]
pub(crate) struct Room(Option<Memory>);

impl Drop for Room {
    #[inline]
    fn drop(&mut self) {
        if let Some(memory) = self.0.take() {
            memory.keep();
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
        let layout = Layout::new::<F>();
        let memory = match self.0.take() {
            Some(memory) if memory.layout == layout => memory,
            other => {
                drop(Self(other));
                Memory::new(layout)
            }
        };
        let place = memory.place.as_ptr().cast::<F>();
        // SAFETY: of the right layout, and nothing lies in it.
        unsafe { place.write(make()) };
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
