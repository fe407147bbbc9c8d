//! An unbounded multi-producer single-consumer queue of blocks whose tail word
//! doubles as the scheduling state of the actor that owns it.
//!
//! The word holds the position of the next free slot and two flags. `ASLEEP`
//! says that the consumer has seen the queue empty and will not look again
//! until it is scheduled; the push that finds the flag set clears it in the
//! very compare-and-swap that claims the slot, and is thereby the one that has
//! to schedule the consumer. A push is one atomic read-modify-write plus one
//! release store, a pop is one acquire load, going to sleep is one
//! compare-and-swap.
//!
//! A producer preempted between claiming a slot and filling it holds up the
//! consumer, which then spins briefly and yields ([`Park::Busy`]).

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering::*};

const ASLEEP: u64 = 1;
const CLOSED: u64 = 2;
const FLAGS: u64 = ASLEEP | CLOSED;
const OFFSET_SHIFT: u32 = 2;
const OFFSET_ONE: u64 = 1 << OFFSET_SHIFT;
const OFFSET_MASK: u64 = 0xFF;
const BLOCK_SHIFT: u32 = 10;

/// Slots in the `block`-th block: few at first, so that an actor that gets a
/// message now and then stays small.
#[inline]
fn capacity(block: u64) -> u64 {
    match block {
        0 => 4,
        1 => 16,
        _ => FULL,
    }
}

const FULL: u64 = 62;

#[inline]
fn word(block: u64, offset: u64) -> u64 {
    block << BLOCK_SHIFT | offset << OFFSET_SHIFT
}

struct Slot<T> {
    value: UnsafeCell<MaybeUninit<T>>,
    ready: AtomicBool,
}

/// Followed by its slots.
struct Block<T> {
    next: AtomicPtr<Block<T>>,
    _slots: PhantomData<Slot<T>>,
}

impl<T> Block<T> {
    fn layout(capacity: u64) -> (Layout, usize) {
        let slots = Layout::array::<Slot<T>>(capacity as usize).expect("small");
        Layout::new::<Self>().extend(slots).expect("small")
    }

    fn allocate(capacity: u64) -> *mut Self {
        let (layout, _) = Self::layout(capacity);
        // SAFETY: the layout has a size; a block is initialised by its link
        // and its ready flags.
        unsafe {
            let block = alloc(layout).cast::<Self>();
            if block.is_null() {
                handle_alloc_error(layout);
            }
            Self::reset(block, capacity);
            block
        }
    }

    /// # Safety
    /// The block must be the caller's alone.
    unsafe fn reset(this: *mut Self, capacity: u64) {
        // SAFETY: in bounds.
        unsafe {
            (&raw mut (*this).next).write(AtomicPtr::new(ptr::null_mut()));
            for i in 0..capacity {
                let slot = Self::slot(this, i);
                (&raw mut (*slot).ready).write(AtomicBool::new(false));
            }
        }
    }

    /// # Safety
    /// Nothing may use the block any more.
    unsafe fn free(this: *mut Self, capacity: u64) {
        // SAFETY: allocated with this layout.
        unsafe { dealloc(this.cast(), Self::layout(capacity).0) }
    }

    /// # Safety
    /// The block must be alive and have more than `offset` slots.
    #[inline]
    unsafe fn slot(this: *mut Self, offset: u64) -> *mut Slot<T> {
        let first = const {
            // The offset `layout` computes, for any capacity.
            let align = align_of::<Slot<T>>();
            size_of::<Block<T>>().next_multiple_of(align)
        };
        // SAFETY: in bounds, says the caller.
        unsafe { this.cast::<u8>().add(first).cast::<Slot<T>>().add(offset as usize) }
    }
}

/// A block allocated ahead of the claim that needs it, with its number.
struct Spare<T>(*mut Block<T>, u64);

impl<T> Spare<T> {
    #[cold]
    fn prepare(&mut self, index: u64, used: &AtomicPtr<Block<T>>) {
        if self.0.is_null() || self.1 != index {
            self.free();
            let capacity = capacity(index);
            let mut block = ptr::null_mut();
            if capacity == FULL && !used.load(Relaxed).is_null() {
                block = used.swap(ptr::null_mut(), AcqRel);
            }
            if block.is_null() {
                block = Block::allocate(capacity);
            } else {
                // SAFETY: the swap made it ours alone.
                unsafe { Block::reset(block, capacity) };
            }
            *self = Spare(block, index);
        }
    }

    fn take(&mut self) -> *mut Block<T> {
        std::mem::replace(&mut self.0, ptr::null_mut())
    }

    fn free(&mut self) {
        let block = self.take();
        if !block.is_null() {
            // SAFETY: never published.
            unsafe { Block::free(block, capacity(self.1)) };
        }
    }
}

impl<T> Drop for Spare<T> {
    fn drop(&mut self) {
        self.free();
    }
}

/// The producers' end.
pub struct Tail<T> {
    word: AtomicU64,
    block: AtomicPtr<Block<T>>,
    /// The first block, for the consumer to find.
    first: AtomicPtr<Block<T>>,
    /// A full-size block the consumer is through with.
    used: AtomicPtr<Block<T>>,
}

// SAFETY: the queue hands every value from one thread to one other.
unsafe impl<T: Send> Send for Tail<T> {}
unsafe impl<T: Send> Sync for Tail<T> {}

impl<T> Tail<T> {
    pub fn new(asleep: bool) -> Self {
        Tail {
            word: AtomicU64::new(if asleep { ASLEEP } else { 0 }),
            block: AtomicPtr::new(ptr::null_mut()),
            first: AtomicPtr::new(ptr::null_mut()),
            used: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// True when the consumer was asleep and has to be scheduled.
    #[inline]
    #[must_use]
    pub fn push(&self, value: T) -> bool {
        let mut at = self.word.load(Acquire);
        let mut spare = Spare(ptr::null_mut(), 0);
        loop {
            let index = at >> BLOCK_SHIFT;
            let offset = at >> OFFSET_SHIFT & OFFSET_MASK;
            let capacity = capacity(index);
            if offset == capacity {
                // Another producer is linking the next block.
                std::hint::spin_loop();
                at = self.word.load(Acquire);
                continue;
            }
            let mut block = self.block.load(Acquire);
            if block.is_null() {
                block = self.install_first();
            }
            let last = offset + 1 == capacity;
            if last {
                spare.prepare(index + 1, &self.used);
            }
            let next = (at & !ASLEEP) + OFFSET_ONE;
            match self.word.compare_exchange_weak(at, next, AcqRel, Acquire) {
                // SAFETY: the exchange gave this thread the slot, and as the
                // word had not moved since it was loaded, `block` is the block
                // it speaks of. The consumer frees a block only after every
                // slot has become ready and the next block has been linked.
                Ok(_) => unsafe {
                    let slot = Block::slot(block, offset);
                    if last {
                        let linked = spare.take();
                        self.block.store(linked, Release);
                        self.word.store(word(index + 1, 0), Release);
                        (*block).next.store(linked, Release);
                    }
                    (*slot).value.get().write(MaybeUninit::new(value));
                    (*slot).ready.store(true, Release);
                    return at & ASLEEP != 0;
                },
                Err(now) => at = now,
            }
        }
    }

    #[cold]
    fn install_first(&self) -> *mut Block<T> {
        let block = Block::allocate(capacity(0));
        match self.block.compare_exchange(ptr::null_mut(), block, AcqRel, Acquire) {
            Ok(_) => {
                self.first.store(block, Release);
                block
            }
            Err(other) => {
                // SAFETY: never published.
                unsafe { Block::free(block, capacity(0)) };
                other
            }
        }
    }

    /// No push may follow. True when the consumer was asleep and now belongs
    /// to the caller.
    #[must_use]
    pub fn close(&self) -> bool {
        self.word.fetch_or(CLOSED, AcqRel) & ASLEEP != 0
    }
}

/// What came of an attempt to go to sleep.
#[derive(PartialEq, Eq)]
pub enum Park {
    /// The next push schedules the consumer.
    Asleep,
    /// A message is on its way.
    Busy,
    /// Empty, and no message can ever come.
    Closed,
}

/// The consumer's end.
pub struct Head<T> {
    block: *mut Block<T>,
    index: u64,
    offset: u64,
}

// SAFETY: see `Tail`.
unsafe impl<T: Send> Send for Head<T> {}

impl<T> Head<T> {
    pub fn new() -> Self {
        Head { block: ptr::null_mut(), index: 0, offset: 0 }
    }

    /// # Safety
    /// `tail` must be this head's tail, and only one thread may be here.
    #[inline]
    pub unsafe fn pop(&mut self, tail: &Tail<T>) -> Option<T> {
        // SAFETY: blocks are linked before they are used and freed only here.
        unsafe {
            if self.offset == capacity(self.index) || self.block.is_null() {
                self.advance(tail)?;
            }
            let slot = Block::slot(self.block, self.offset);
            if !(*slot).ready.load(Acquire) {
                return None;
            }
            self.offset += 1;
            Some((*slot).value.get().read().assume_init())
        }
    }

    #[cold]
    unsafe fn advance(&mut self, tail: &Tail<T>) -> Option<()> {
        // SAFETY: as for `pop`.
        unsafe {
            if self.block.is_null() {
                let first = tail.first.load(Acquire);
                if first.is_null() {
                    return None;
                }
                self.block = first;
                return Some(());
            }
            let next = (*self.block).next.load(Acquire);
            if next.is_null() {
                return None;
            }
            let mut through = self.block;
            if capacity(self.index) == FULL {
                through = tail.used.swap(through, AcqRel);
            }
            if !through.is_null() {
                Block::free(through, capacity(self.index));
            }
            self.block = next;
            self.index += 1;
            self.offset = 0;
            Some(())
        }
    }

    /// Goes to sleep if the queue is empty.
    ///
    /// # Safety
    /// As for [`Head::pop`].
    pub unsafe fn park(&mut self, tail: &Tail<T>) -> Park {
        if self.offset == capacity(self.index) {
            // SAFETY: passed on.
            if unsafe { self.advance(tail) }.is_none() {
                return Park::Busy;
            }
        }
        let at = word(self.index, self.offset);
        match tail.word.compare_exchange(at, at | ASLEEP, AcqRel, Acquire) {
            Ok(_) => Park::Asleep,
            Err(now) if now & !ASLEEP == at | CLOSED => Park::Closed,
            Err(now) => {
                debug_assert!(now & FLAGS & ASLEEP == 0);
                Park::Busy
            }
        }
    }

    /// Frees the blocks and drops what is in them.
    ///
    /// # Safety
    /// As for [`Head::pop`], and no push may be going on.
    pub unsafe fn clear(&mut self, tail: &Tail<T>) {
        // SAFETY: passed on.
        unsafe {
            while self.pop(tail).is_some() {}
            if !self.block.is_null() {
                Block::free(self.block, capacity(self.index));
                self.block = ptr::null_mut();
            }
            let used = tail.used.swap(ptr::null_mut(), AcqRel);
            if !used.is_null() {
                Block::free(used, FULL);
            }
        }
    }
}
