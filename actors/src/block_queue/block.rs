//! The memory of the message lane: a chain of blocks of slots, and the only code that reads and writes it.
//!
//! Invariants, on which every `unsafe` here rests:
//!
//! - A slot is claimed by one successful exchange of the state word, which names its position, and is written once, by who
//!   claimed it. `ready` is stored (release) as the last access a claimant makes to a block.
//! - While the word stands at a position of a block and [`LINKING`](super::word::LINKING) is clear, `Tail::block` is that
//!   block. Who loads the word, then the block, and then exchanges that very word has therefore the right block: positions
//!   never return.
//! - Who claims the last slot of a block links the next one before it makes its slot ready. So once every slot of a block
//!   has been seen ready (acquire), nobody but the consumer knows the block, and the next one is linked.
//! - The word says too how many slots that block has; a link, and `Tail::spent`, say it of the block they lead to
//!   ([`Marked`]).
//! - The consumer alone moves the [`Cursor`], and frees or hands back the blocks behind it. `Tail::spent` owns what lies in
//!   it; taking a block out of it is an exchange.
//! - `Tail::first` is owned by the tail until the cursor is attached, and never read after that.
//!
//! Between claim and `ready` no foreign code runs and nothing can unwind.

use std::alloc::Layout;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};

use super::word::{self, FIRST, FULL, LARGE, LINKING, SMALL, START};
use crate::sync::atomic::{AtomicPtr, AtomicU8, AtomicU64, Ordering};
use crate::sync::{Backoff, UnsafeCell, memory};

/// What came of a push.
pub(super) struct Pushed {
    /// A hint must be put into a run queue.
    pub(super) wakes: bool,
    /// It took the last slot of a block.
    pub(super) filled: bool,
}

/// What a slot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// Takes room.
    Counted = 1,
    /// Takes none.
    Free = 2,
}

const EMPTY: u8 = 0;

struct Slot<T> {
    value: UnsafeCell<MaybeUninit<T>>,
    /// `EMPTY`, or a [`Kind`].
    ready: AtomicU8,
}

/// Followed by its slots.
struct Block<T> {
    /// A [`Marked`].
    next: AtomicPtr<Block<T>>,
    _slots: [Slot<T>; 0],
}

impl<T> Block<T> {
    fn layout(capacity: u64) -> Layout {
        let slots = Layout::array::<Slot<T>>(capacity as usize).expect("a message is far smaller than memory");
        let (layout, first) = Layout::new::<Self>().extend(slots).expect("a message is far smaller than memory");
        debug_assert_eq!(first, size_of::<Self>());
        layout
    }

    fn allocate(capacity: u64) -> *mut Self {
        // SAFETY: the layout has a size (the link); link, cells and flags are initialised before anybody sees them.
        unsafe {
            let block = memory::take(Self::layout(capacity)).cast::<Self>().as_ptr();
            (&raw mut (*block).next).write(AtomicPtr::new(ptr::null_mut()));
            for offset in 0..capacity {
                let slot = Self::slot(block, offset);
                (&raw mut (*slot).value).write(UnsafeCell::new(MaybeUninit::uninit()));
                (&raw mut (*slot).ready).write(AtomicU8::new(EMPTY));
            }
            block
        }
    }

    /// # Safety
    /// A block of so many slots that is the caller's alone, every value taken out.
    unsafe fn recycle(this: *mut Self, capacity: u64) {
        // SAFETY: the caller's alone; offsets are in bounds.
        unsafe {
            (*this).next.store(ptr::null_mut(), Ordering::Relaxed);
            for offset in 0..capacity {
                (*Self::slot(this, offset)).ready.store(EMPTY, Ordering::Relaxed);
            }
        }
    }

    /// # Safety
    /// Allocated with this capacity, and nobody uses it any more.
    unsafe fn free(this: *mut Self, capacity: u64) {
        // SAFETY: as the caller says.
        unsafe { memory::give(NonNull::new_unchecked(this.cast()), Self::layout(capacity)) }
    }

    /// # Safety
    /// The block is alive and has more than `offset` slots.
    #[inline(always)]
    unsafe fn slot(this: *mut Self, offset: u64) -> *mut Slot<T> {
        // SAFETY: the slots follow the header, which is as aligned as they are; in bounds, says the caller.
        unsafe { this.add(1).cast::<Slot<T>>().add(offset as usize) }
    }
}

/// A block, small or large, and in the pointer's lowest bit which of the two; null is none. Never the first block.
struct Marked<T>(*mut Block<T>);

impl<T> Marked<T> {
    const IS_LARGE: usize = 1;

    fn of(block: *mut Block<T>, capacity: u64) -> Self {
        Self(if capacity == FULL { block.map_addr(|address| address | Self::IS_LARGE) } else { block })
    }

    fn capacity(&self) -> u64 {
        if self.0.addr() & Self::IS_LARGE != 0 { FULL } else { SMALL }
    }

    fn block(&self) -> *mut Block<T> {
        self.0.map_addr(|address| address & !Self::IS_LARGE)
    }

    /// # Safety
    /// The block is the caller's alone, and nothing lies in it.
    unsafe fn free(self) {
        if !self.0.is_null() {
            // SAFETY: as the caller says.
            unsafe { Block::free(self.block(), self.capacity()) }
        }
    }
}

/// A block made ready ahead of the claim that needs it.
struct Spare<T> {
    block: *mut Block<T>,
    capacity: u64,
}

impl<T> Spare<T> {
    #[cold]
    fn prepare(&mut self, capacity: u64, spent: &AtomicPtr<Block<T>>) {
        if !self.block.is_null() && self.capacity == capacity {
            return;
        }
        self.free();
        let mut block = ptr::null_mut();
        let seen = Marked(spent.load(Ordering::Relaxed));
        if !seen.0.is_null() && seen.capacity() == capacity {
            let taken = Marked(spent.swap(ptr::null_mut(), Ordering::Acquire));
            if taken.0.is_null() || taken.capacity() == capacity {
                block = taken.block();
            } else {
                // SAFETY: the exchange made this one ours alone.
                unsafe { taken.free() }
            }
        }
        if block.is_null() {
            block = Block::allocate(capacity);
        } else {
            // SAFETY: the exchange made this one ours alone.
            unsafe { Block::recycle(block, capacity) }
        }
        *self = Self { block, capacity };
    }

    fn free(&mut self) {
        let block = std::mem::replace(&mut self.block, ptr::null_mut());
        if !block.is_null() {
            // SAFETY: never shown to anybody.
            unsafe { Block::free(block, self.capacity) }
        }
    }
}

impl<T> Drop for Spare<T> {
    fn drop(&mut self) {
        self.free();
    }
}

/// The producers' end.
#[repr(C)]
pub(super) struct Tail<T> {
    pub(super) word: AtomicU64,
    block: AtomicPtr<Block<T>>,
    /// A block the consumer is through with, a [`Marked`].
    spent: AtomicPtr<Block<T>>,
    first: AtomicPtr<Block<T>>,
}

/// The consumer's end.
pub(super) struct Cursor<T> {
    block: *mut Block<T>,
    /// Of the next value.
    position: u64,
    /// Slots of `block`, and how many of them were not taken yet.
    capacity: u8,
    left: u8,
    attached: bool,
    /// The receiver's: counted messages taken since the last publication, and how many make one due. Here because there is
    /// room.
    pub(super) unpublished: u8,
    pub(super) batch: u8,
}

impl<T> Tail<T> {
    pub(super) fn new(flags: u64) -> Self {
        Self {
            word: AtomicU64::new(word::word(START, flags)),
            block: AtomicPtr::new(ptr::null_mut()),
            spent: AtomicPtr::new(ptr::null_mut()),
            first: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Puts `value` into the next slot if `admit` agrees, which is given the state word and returns it with other flags if
    /// need be; it may be asked more than once. `piles` says whether many lie before a position.
    #[inline(always)]
    pub(super) fn insert<E>(
        &self,
        value: T,
        kind: Kind,
        piles: impl Fn(u64) -> bool,
        mut admit: impl FnMut(u64) -> Result<u64, E>,
    ) -> Result<Pushed, (E, T)> {
        let mut at = self.word.load(Ordering::Acquire);
        let mut spare = Spare { block: ptr::null_mut(), capacity: 0 };
        let mut backoff = Backoff::default();
        loop {
            let admitted = match admit(at) {
                Ok(word) => word,
                Err(refusal) => return Err((refusal, value)),
            };
            if at & LINKING != 0 {
                backoff.wait();
                at = self.word.load(Ordering::Acquire);
                continue;
            }
            let position = word::position(at);
            let mut block = self.block.load(Ordering::Acquire);
            if block.is_null() {
                block = self.install_first();
            }
            let (mut next, wakes) = word::pushed(admitted);
            let capacity = word::capacity(at);
            let last = word::offset(position + 1, capacity) == 0;
            if last {
                let large = word::may_be_large(position + 1) && piles(position + 1);
                next = next & !LARGE | LINKING | if large { LARGE } else { 0 };
                spare.prepare(word::capacity(next), &self.spent);
            }
            match self.word.compare_exchange_weak(at, next, Ordering::AcqRel, Ordering::Acquire) {
                // SAFETY: the exchange gave this thread the slot, and `block` is the block of that position: see the top
                // of the file. It stays alive until this thread has made its slot ready.
                Ok(_) => unsafe {
                    if last {
                        let linked = std::mem::replace(&mut spare.block, ptr::null_mut());
                        self.block.store(linked, Ordering::Release);
                        self.word.fetch_and(!LINKING, Ordering::AcqRel);
                        (*block).next.store(Marked::of(linked, spare.capacity).0, Ordering::Release);
                    }
                    let slot = Block::slot(block, word::offset(position, capacity));
                    (*slot).value.with_mut(|cell| (*cell).write(value));
                    (*slot).ready.store(kind as u8, Ordering::Release);
                    return Ok(Pushed { wakes, filled: last });
                },
                Err(now) => at = now,
            }
        }
    }

    /// `first` is set before `block`, so whoever finds a message finds the block it lies in.
    #[cold]
    fn install_first(&self) -> *mut Block<T> {
        let mine = Block::allocate(FIRST);
        let (acquired, release) = (Ordering::Acquire, Ordering::AcqRel);
        let first = match self.first.compare_exchange(ptr::null_mut(), mine, release, acquired) {
            Ok(_) => mine,
            Err(theirs) => {
                // SAFETY: never shown to anybody.
                unsafe { Block::free(mine, FIRST) }
                theirs
            }
        };
        match self.block.compare_exchange(ptr::null_mut(), first, release, acquired) {
            Ok(_) => first,
            Err(now) => now,
        }
    }

    /// The next value, if it is there.
    ///
    /// # Safety
    /// `cursor` is this tail's, as in every method that takes one.
    #[inline(always)]
    pub(super) unsafe fn take(&self, cursor: &mut Cursor<T>) -> Option<(T, Kind)> {
        if cursor.left == 0 {
            self.advance(cursor)?;
        }
        // SAFETY: the cursor's block is alive and `position` is one of its slots; a slot that is ready holds a value, and
        // the cursor moves past it.
        unsafe {
            let slot = Block::slot(cursor.block, (cursor.capacity - cursor.left).into());
            let kind = match (*slot).ready.load(Ordering::Acquire) {
                EMPTY => return None,
                ready if ready == Kind::Counted as u8 => Kind::Counted,
                _ => Kind::Free,
            };
            cursor.position += 1;
            cursor.left -= 1;
            Some(((*slot).value.with(|cell| (*cell).assume_init_read()), kind))
        }
    }

    #[cold]
    fn advance(&self, cursor: &mut Cursor<T>) -> Option<()> {
        if cursor.attached {
            if cursor.block.is_null() {
                return None; // closed and emptied
            }
            let through = cursor.block;
            // SAFETY: every slot of the block has been taken, so the next block is linked and nobody else knows this one.
            let next = Marked(unsafe { (*through).next.load(Ordering::Acquire) });
            debug_assert!(!next.0.is_null());
            if u64::from(cursor.capacity) == FIRST {
                // SAFETY: as above.
                unsafe { Block::free(through, FIRST) }
            } else {
                let through = Marked::of(through, cursor.capacity.into());
                // SAFETY: the exchange makes the one before the caller's alone, and what is spent is empty.
                unsafe { Marked(self.spent.swap(through.0, Ordering::AcqRel)).free() }
            }
            (cursor.block, cursor.capacity) = (next.block(), next.capacity() as u8);
        } else {
            let first = self.first.load(Ordering::Acquire);
            if first.is_null() {
                return None;
            }
            cursor.attached = true;
            (cursor.block, cursor.capacity) = (first, FIRST as u8);
        }
        cursor.left = cursor.capacity;
        Some(())
    }

    /// Gives back what an idle queue need not keep: a small block is kept, for who gets message after message, one at a time.
    #[inline(always)]
    pub(super) fn trim(&self) {
        if self.spent.load(Ordering::Relaxed).addr() & Marked::<T>::IS_LARGE != 0 {
            self.free_spent();
        }
    }

    fn free_spent(&self) {
        // SAFETY: the exchange makes it the caller's alone, and what is spent is empty.
        unsafe { Marked(self.spent.swap(ptr::null_mut(), Ordering::AcqRel)).free() }
    }

    /// Frees the blocks of a queue that takes no more messages and has been emptied.
    ///
    /// # Safety
    /// Every push from now on is refused, and every value that was accepted has been taken through `cursor`.
    pub(super) unsafe fn release(&self, cursor: &mut Cursor<T>) {
        if cursor.left == 0 && self.advance(cursor).is_none() {
            return self.free_spent();
        }
        // Not null: a push that comes too late, and fails at the word, must not install a first block.
        self.block.store(ptr::without_provenance_mut(align_of::<Block<T>>()), Ordering::Release);
        let capacity = cursor.capacity.into();
        // SAFETY: all accepted values have been taken, so nobody but the consumer uses the last block, and it is the
        // block of the cursor's position.
        unsafe { Block::free(cursor.block, capacity) }
        cursor.block = ptr::null_mut();
        cursor.left = 0;
        self.free_spent();
    }

    /// What is still owned once the last value has been taken and [`Tail::release`] is done.
    pub(super) fn drop_first(&mut self, cursor: &Cursor<T>) {
        if !cursor.attached {
            let first = self.first.load(Ordering::Acquire);
            if !first.is_null() {
                // SAFETY: the tail owns it until a cursor is attached; nobody else is here.
                unsafe { Block::free(first, FIRST) }
            }
        }
    }
}

impl<T> Cursor<T> {
    pub(super) fn new(batch: u8) -> Self {
        Self { block: ptr::null_mut(), position: START, capacity: 0, left: 0, attached: false, unpublished: 0, batch }
    }

    /// Where the next value will be.
    #[inline(always)]
    pub(super) fn position(&self) -> u64 {
        self.position
    }
}
