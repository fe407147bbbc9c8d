//! Memory that a thread keeps for the next piece of the same layout: cells of actors, blocks of mailboxes, places in which
//! handlers begin, slots of asks. They come and go by the million, often on another thread than the one that asked for them, and two
//! threads that give memory back to a general allocator at once may wait for each other there.
//!
//! # Invariant
//! A piece was allocated with its layout by the global allocator, as `Box` does, and belongs to whoever took it until that one
//! gives it back. What lies on a [`Shelf`] is all of that shelf's layout, and nobody else's.

#![allow(unsafe_code, reason = "pieces of memory go without a type from who gives them back to who takes them")]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::RefCell;
use std::ptr::NonNull;

/// Shelves of a thread; layouts of one shelf take turns there.
const SHELVES: usize = 64;
/// As much lies on a shelf at most.
const SHELF_BYTES: usize = 16 << 10;

struct Shelf {
    /// Meaningless while nothing lies there.
    layout: Layout,
    pieces: Vec<NonNull<u8>>,
}

thread_local! {
    static SHELVES_HERE: RefCell<[Shelf; SHELVES]> =
        const { RefCell::new([const { Shelf { layout: Layout::new::<()>(), pieces: Vec::new() } }; SHELVES]) };
}

impl Shelf {
    fn index(layout: Layout) -> usize {
        layout.size() / 8 % SHELVES
    }

    #[inline]
    fn take(&mut self, layout: Layout) -> Option<NonNull<u8>> {
        if self.layout == layout { self.pieces.pop() } else { None }
    }

    /// The piece, if it does not stay.
    #[inline]
    fn put(&mut self, piece: NonNull<u8>, layout: Layout) -> Option<NonNull<u8>> {
        if self.layout != layout {
            self.clear();
            self.layout = layout;
        }
        if (self.pieces.len() + 1) * layout.size() > SHELF_BYTES {
            return Some(piece);
        }
        self.pieces.push(piece);
        None
    }

    fn clear(&mut self) {
        for piece in self.pieces.drain(..) {
            // SAFETY: it was given back, and is of that layout.
            unsafe { dealloc(piece.as_ptr(), self.layout) }
        }
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        self.clear();
    }
}

/// A piece of memory, with nothing in it. `layout` is not of size zero.
#[inline]
pub(crate) fn take(layout: Layout) -> NonNull<u8> {
    let kept = SHELVES_HERE.try_with(|shelves| shelves.borrow_mut()[Shelf::index(layout)].take(layout));
    kept.ok().flatten().unwrap_or_else(|| allocate(layout))
}

#[cold]
fn allocate(layout: Layout) -> NonNull<u8> {
    debug_assert!(layout.size() > 0);
    // SAFETY: not of size zero.
    let piece = unsafe { alloc(layout) };
    NonNull::new(piece).unwrap_or_else(|| handle_alloc_error(layout))
}

/// Takes a piece back: for the next one on this thread, or for the allocator.
///
/// # Safety
/// Of [`take`], or as `Box` allocates, with this layout. Nothing lies in it, and it is not used any more.
#[inline]
pub(crate) unsafe fn give(piece: NonNull<u8>, layout: Layout) {
    let put = |shelves: &RefCell<[Shelf; SHELVES]>| shelves.borrow_mut()[Shelf::index(layout)].put(piece, layout);
    if let Some(piece) = SHELVES_HERE.try_with(put).unwrap_or(Some(piece)) {
        // SAFETY: as the caller says.
        unsafe { dealloc(piece.as_ptr(), layout) }
    }
}

#[cfg(all(test, not(any(actors_loom, actors_shuttle))))]
mod tests {
    use super::*;

    #[test]
    fn a_piece_comes_back_for_its_own_layout_only() {
        let layout = Layout::new::<[u64; 5]>();
        let piece = take(layout);
        // SAFETY: of that layout, and empty.
        unsafe { give(piece, layout) }
        let other = Layout::from_size_align(layout.size(), 64).unwrap();
        let apart = take(other);
        assert_ne!(apart, piece, "of another alignment");
        assert_eq!(take(layout), piece);
        // SAFETY: as above.
        unsafe {
            give(piece, layout);
            give(apart, other);
        }
    }

    #[test]
    fn a_shelf_is_not_filled_without_end() {
        let layout = Layout::new::<[u64; 100]>();
        let pieces: Vec<_> = (0..1_000).map(|_| take(layout)).collect();
        // SAFETY: of that layout, and empty.
        pieces.into_iter().for_each(|piece| unsafe { give(piece, layout) });
        let kept = SHELVES_HERE.with_borrow(|shelves| shelves[Shelf::index(layout)].pieces.len());
        assert_eq!(kept, SHELF_BYTES / layout.size());
    }
}
