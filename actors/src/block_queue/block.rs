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
//! - The word says too of which class that block is; a link, and `Tail::spent`, say it of the block they lead to
//!   ([`Marked`]).
//! - The consumer alone moves the [`Cursor`], and frees or hands back the blocks behind it. `Tail::spent` owns what lies in
//!   it; taking a block out of it is an exchange.
//! - `Tail::first` is owned by the tail until the cursor is attached, and never read after that.
//!
//! Between claim and `ready` no foreign code runs and nothing can unwind.

use std::alloc::Layout;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};

use super::word::{self, FIRST, HUGE, LARGE, LINKING, START, slots};
use crate::memory::PIECE_MAX;
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
    /// The largest class of block: none that memory is not kept for, since a queue that is idle keeps the block it is at.
    const LARGEST: u64 =
        if size_of::<Self>() + size_of::<Slot<T>>() * slots(HUGE) as usize <= PIECE_MAX { HUGE } else { LARGE };

    fn layout(class: u64) -> Layout {
        let slots = Layout::array::<Slot<T>>(slots(class) as usize).expect("a message is far smaller than memory");
        let (layout, first) = Layout::new::<Self>().extend(slots).expect("a message is far smaller than memory");
        debug_assert_eq!(first, size_of::<Self>());
        layout
    }

    fn allocate(class: u64) -> *mut Self {
        // SAFETY: the layout has a size (the link); link, cells and flags are initialised before anybody sees them.
        unsafe {
            let block = memory::take(Self::layout(class)).cast::<Self>().as_ptr();
            (&raw mut (*block).next).write(AtomicPtr::new(ptr::null_mut()));
            for offset in 0..slots(class) {
                let slot = Self::slot(block, offset);
                (&raw mut (*slot).value).write(UnsafeCell::new(MaybeUninit::uninit()));
                (&raw mut (*slot).ready).write(AtomicU8::new(EMPTY));
            }
            block
        }
    }

    /// # Safety
    /// A block of that class that is the caller's alone, every value taken out.
    unsafe fn recycle(this: *mut Self, class: u64) {
        // SAFETY: the caller's alone; offsets are in bounds.
        unsafe {
            (*this).next.store(ptr::null_mut(), Ordering::Relaxed);
            for offset in 0..slots(class) {
                (*Self::slot(this, offset)).ready.store(EMPTY, Ordering::Relaxed);
            }
        }
    }

    /// # Safety
    /// Allocated as one of this class, and nobody uses it any more.
    unsafe fn free(this: *mut Self, class: u64) {
        // SAFETY: as the caller says.
        unsafe { memory::give(NonNull::new_unchecked(this.cast()), Self::layout(class)) }
    }

    /// # Safety
    /// The block is alive and has more than `offset` slots.
    #[inline(always)]
    unsafe fn slot(this: *mut Self, offset: u64) -> *mut Slot<T> {
        // SAFETY: the slots follow the header, which is as aligned as they are; in bounds, says the caller.
        unsafe { this.add(1).cast::<Slot<T>>().add(offset as usize) }
    }
}

/// A block, and in the pointer's lowest bits its class; null is none. Never the first block.
struct Marked<T>(*mut Block<T>);

impl<T> Marked<T> {
    const CLASS: usize = 3;
    /// Set for the larger two classes.
    const IS_LARGE: usize = 2;

    fn of(block: *mut Block<T>, class: u64) -> Self {
        Self(block.map_addr(|address| address | class as usize))
    }

    fn class(&self) -> u64 {
        (self.0.addr() & Self::CLASS) as u64
    }

    fn block(&self) -> *mut Block<T> {
        self.0.map_addr(|address| address & !Self::CLASS)
    }

    /// # Safety
    /// The block is the caller's alone, and nothing lies in it.
    unsafe fn free(self) {
        if !self.0.is_null() {
            // SAFETY: as the caller says.
            unsafe { Block::free(self.block(), self.class()) }
        }
    }
}

/// A block made ready ahead of the claim that needs it.
struct Spare<T> {
    block: *mut Block<T>,
    class: u64,
}

impl<T> Spare<T> {
    #[cold]
    fn prepare(&mut self, class: u64, spent: &AtomicPtr<Block<T>>) {
        if !self.block.is_null() && self.class == class {
            return;
        }
        self.free();
        let mut block = ptr::null_mut();
        let seen = Marked(spent.load(Ordering::Relaxed));
        if !seen.0.is_null() && seen.class() == class {
            let taken = Marked(spent.swap(ptr::null_mut(), Ordering::Acquire));
            if taken.0.is_null() || taken.class() == class {
                block = taken.block();
            } else {
                // SAFETY: the exchange made this one ours alone.
                unsafe { taken.free() }
            }
        }
        if block.is_null() {
            block = Block::allocate(class);
        } else {
            // SAFETY: the exchange made this one ours alone.
            unsafe { Block::recycle(block, class) }
        }
        *self = Self { block, class };
    }

    fn free(&mut self) {
        let block = std::mem::replace(&mut self.block, ptr::null_mut());
        if !block.is_null() {
            // SAFETY: never shown to anybody.
            unsafe { Block::free(block, self.class) }
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

/// A slot that is to be filled next, before anything else is done: the consumer waits for it.
#[must_use]
pub(crate) struct Claim<'a, T> {
    slot: *mut Slot<T>,
    wakes: bool,
    tail: PhantomData<&'a Tail<T>>,
}

impl<T> Claim<'_, T> {
    /// Whether it wakes.
    #[inline(always)]
    pub(super) fn fill(self, value: T, kind: Kind) -> bool {
        // SAFETY: an exchange gave the slot to this, which goes by filling it.
        unsafe {
            (*self.slot).value.with_mut(|cell| (*cell).write(value));
            (*self.slot).ready.store(kind as u8, Ordering::Release);
        }
        self.wakes
    }
}

/// The consumer's end.
pub(super) struct Cursor<T> {
    block: *mut Block<T>,
    /// Of the next value.
    position: u64,
    /// Slots of `block`, and how many of them were not taken yet.
    capacity: u16,
    left: u16,
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
    /// need be; it may be asked more than once. `waiting` says how many lie before a position.
    #[inline(always)]
    pub(super) fn insert<E>(
        &self,
        value: T,
        kind: Kind,
        waiting: impl Fn(u64) -> u64,
        mut admit: impl FnMut(u64) -> Result<u64, E>,
    ) -> Result<Pushed, (E, T)> {
        let mut at = self.word.load(Ordering::Acquire);
        let mut spare = Spare { block: ptr::null_mut(), class: FIRST };
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
                let class = word::next_class(position + 1, || waiting(position + 1)).min(Block::<T>::LARGEST);
                next = word::with_class(next, class) | LINKING;
                spare.prepare(class, &self.spent);
            }
            match self.word.compare_exchange_weak(at, next, Ordering::AcqRel, Ordering::Acquire) {
                // SAFETY: the exchange gave this thread the slot, and `block` is the block of that position: see the top
                // of the file. It stays alive until this thread has made its slot ready.
                Ok(_) => unsafe {
                    if last {
                        let linked = std::mem::replace(&mut spare.block, ptr::null_mut());
                        self.block.store(linked, Ordering::Release);
                        self.word.fetch_and(!LINKING, Ordering::AcqRel);
                        (*block).next.store(Marked::of(linked, spare.class).0, Ordering::Release);
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

    /// Takes the next slot, if nothing [hinders](word::HINDERS) it, the slot is not the last of its block and lies before
    /// `limit`, and nobody else comes at the same moment. What [`insert`](Self::insert) does in two steps: a message is
    /// large, and moved there at once in the second.
    #[inline(always)]
    pub(super) fn claim(&self, limit: u64) -> Option<Claim<'_, T>> {
        let at = self.word.load(Ordering::Acquire);
        let (position, capacity) = (word::position(at), word::capacity(at));
        let offset = word::offset(position, capacity);
        let block = self.block.load(Ordering::Acquire);
        if at & word::HINDERS != 0 || position >= limit || offset + 1 == capacity || block.is_null() {
            return None;
        }
        let (next, wakes) = word::pushed(at);
        self.word.compare_exchange(at, next, Ordering::AcqRel, Ordering::Relaxed).ok()?;
        // SAFETY: as in `insert`.
        let slot = unsafe { Block::slot(block, offset) };
        Some(Claim { slot, wakes, tail: PhantomData })
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
        // SAFETY: as the caller says. What lies there is the caller's, and read once.
        unsafe { self.find(cursor).map(|(place, kind)| (place.read(), kind)) }
    }

    /// As [`take`](Self::take), leaving the value where it lies: it is the caller's, who may read it once, before anything
    /// else is done with the cursor or the tail is dropped.
    ///
    /// # Safety
    /// See `take`.
    #[inline(always)]
    pub(super) unsafe fn find(&self, cursor: &mut Cursor<T>) -> Option<(NonNull<T>, Kind)> {
        if cursor.left == 0 {
            self.advance(cursor)?;
        }
        // SAFETY: the cursor's block is alive and `position` is one of its slots; a slot that is ready holds a value, and
        // the cursor moves past it. The block stays until the cursor leaves it.
        unsafe {
            let slot = Block::slot(cursor.block, (cursor.capacity - cursor.left).into());
            let kind = match (*slot).ready.load(Ordering::Acquire) {
                EMPTY => return None,
                ready if ready == Kind::Counted as u8 => Kind::Counted,
                _ => Kind::Free,
            };
            cursor.position += 1;
            cursor.left -= 1;
            Some(((*slot).value.with(|cell| NonNull::new_unchecked(cell.cast_mut().cast())), kind))
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
            let class = word::class_of(cursor.capacity.into());
            if class == FIRST {
                // SAFETY: as above.
                unsafe { Block::free(through, FIRST) }
            } else {
                let through = Marked::of(through, class);
                // SAFETY: the exchange makes the one before the caller's alone, and what is spent is empty.
                unsafe { Marked(self.spent.swap(through.0, Ordering::AcqRel)).free() }
            }
            (cursor.block, cursor.capacity) = (next.block(), slots(next.class()) as u16);
        } else {
            let first = self.first.load(Ordering::Acquire);
            if first.is_null() {
                return None;
            }
            cursor.attached = true;
            (cursor.block, cursor.capacity) = (first, slots(FIRST) as u16);
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
        let class = word::class_of(cursor.capacity.into());
        // SAFETY: all accepted values have been taken, so nobody but the consumer uses the last block, and it is the
        // block of the cursor's position.
        unsafe { Block::free(cursor.block, class) }
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
