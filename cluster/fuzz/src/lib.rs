//! What all fuzzers share: an input may only take memory in proportion to what it is.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

/// Bytes that any input may take: what a node is made of before it hears anything, and its buffers.
const AT_ALL: usize = 512 * 1024;
/// Bytes that each byte of an input may take beyond that.
const EACH: usize = 256;

/// Bytes that are allocated, and the most since [`bounded`] began. There is one thread.
static LIVE: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

struct Counting;

fn more(bytes: usize) {
    let live = LIVE.fetch_add(bytes, Relaxed) + bytes;
    MOST.fetch_max(live, Relaxed);
}

// SAFETY: the system's allocator does all; what is counted changes nothing of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        more(layout.size());
        // SAFETY: the caller keeps the contract, which is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        more(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Both may be there for a moment.
        more(size);
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(place, layout, size) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Has `takes` take `data`.
///
/// # Panics
/// It did, or took more memory than such an input may.
pub fn bounded(data: &[u8], takes: fn(&[u8])) {
    let before = LIVE.load(Relaxed);
    MOST.store(before, Relaxed);
    takes(data);
    let most = MOST.load(Relaxed) - before;
    assert!(most <= AT_ALL + EACH * data.len(), "{} bytes took {most} bytes of memory", data.len());
}
