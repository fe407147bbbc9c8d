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
//! - The word says too of which class that block is; a link, `Tail::block` and `Tail::spent` say it of the block they lead to,
//!   and in which lap that is ([`Marked`]). All slots of a block that is spent were filled in its lap.
//! - The consumer alone moves the [`Cursor`], and frees or hands back the blocks behind it. `Tail::spent` owns what lies in
//!   it; taking a block out of it is an exchange.
//! - Before the cursor has come to a block, what lies in `Tail::spent` is the first one; it comes to it once something was
//!   accepted there.
//!
//! Between claim and `ready` no foreign code runs and nothing can unwind.

use std::alloc::Layout;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};

use super::stamp::{Kind, Lap, Note, Stamp};
use super::word::{self, ASLEEP, FIRST, HUGE, LARGE, LINKING, START, WAKING, slots};
use crate::memory::PIECE_MAX;
use crate::prefetch;
use crate::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use crate::sync::{Backoff, UnsafeCell, memory};

/// What came of a push.
pub(super) struct Pushed {
    /// A hint must be put into a run queue.
    pub(super) wakes: bool,
    /// It took the last slot of a block.
    pub(super) filled: bool,
}

/// With a smaller bound the message that ends a sleep goes where all others go: in a place of its own it counts until the
/// consumer parks or makes room for who waits, though it was taken, which is one more that was taken and not told of.
const SMALL_BOUND: u64 = if cfg!(any(actors_loom, actors_shuttle)) { 2 } else { 16 };

/// The lap of that place, which is emptied each time.
const WAKING_LAP: Lap = Lap(false);

/// How far ahead of the slot that is filled, in bytes, the next ones are brought here.
const AHEAD: usize = 256;

struct Slot<T> {
    /// A [`Stamp`].
    ready: AtomicU64,
    value: UnsafeCell<MaybeUninit<T>>,
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
                (&raw mut (*slot).ready).write(AtomicU64::new(Stamp::EMPTY.0));
                (&raw mut (*slot).value).write(UnsafeCell::new(MaybeUninit::uninit()));
            }
            block
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

/// A block, and in the pointer's lowest bits its class and its lap; null is none.
struct Marked<T>(*mut Block<T>);

impl<T> Clone for Marked<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Marked<T> {}

impl<T> Marked<T> {
    const NONE: Self = Self(ptr::null_mut());
    const CLASS: usize = 3;
    /// Set for the larger two classes.
    const IS_LARGE: usize = 2;
    const LAP: usize = 4;
    const BITS: usize = Self::CLASS | Self::LAP;
    const _ROOM: () = assert!(align_of::<Block<T>>() > Self::BITS);

    fn of(block: *mut Block<T>, class: u64, lap: Lap) -> Self {
        let () = Self::_ROOM;
        Self(block.map_addr(|address| address | class as usize | if lap.0 { Self::LAP } else { 0 }))
    }

    fn new(class: u64) -> Self {
        Self::of(Block::allocate(class), class, Lap(false))
    }

    fn is_none(self) -> bool {
        self.0.is_null()
    }

    fn class(self) -> u64 {
        (self.0.addr() & Self::CLASS) as u64
    }

    #[inline(always)]
    fn lap(self) -> Lap {
        Lap(self.0.addr() & Self::LAP != 0)
    }

    /// The block in its next lap.
    fn turned(self) -> Self {
        Self(self.0.map_addr(|address| address ^ Self::LAP))
    }

    #[inline(always)]
    fn block(self) -> *mut Block<T> {
        self.0.map_addr(|address| address & !Self::BITS)
    }

    /// # Safety
    /// The block is the caller's alone, and nothing lies in it.
    unsafe fn free(self) {
        if !self.is_none() {
            // SAFETY: as the caller says.
            unsafe { Block::free(self.block(), self.class()) }
        }
    }
}

/// A block made ready ahead of the claim that needs it.
struct Spare<T>(Marked<T>);

impl<T> Spare<T> {
    #[cold]
    fn prepare(&mut self, class: u64, spent: &AtomicPtr<Block<T>>) {
        if !self.0.is_none() && self.0.class() == class {
            return;
        }
        self.free();
        let seen = Marked(spent.load(Ordering::Relaxed));
        if !seen.is_none() && seen.class() == class {
            let taken = Marked(spent.swap(ptr::null_mut(), Ordering::Acquire));
            if !taken.is_none() && taken.class() == class {
                self.0 = taken.turned();
                if cfg!(debug_assertions) {
                    // SAFETY: the exchange made it ours alone. For who asserts that there is a next one.
                    unsafe { (*taken.block()).next.store(ptr::null_mut(), Ordering::Relaxed) }
                }
                return;
            }
            // SAFETY: the exchange made this one ours alone.
            unsafe { taken.free() }
        }
        self.0 = Marked::new(class);
    }

    fn take(&mut self) -> Marked<T> {
        std::mem::replace(&mut self.0, Marked::NONE)
    }

    fn free(&mut self) {
        // SAFETY: not shown to anybody, at least not in this lap.
        unsafe { self.take().free() }
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
    /// A [`Marked`], as in `spent`.
    block: AtomicPtr<Block<T>>,
    /// See `room`. Here because each push looks at it: what the consumer writes at each message lies a line away.
    pub(super) limit: AtomicU64,
    /// For the message that ends the consumer's sleep.
    waking: Slot<T>,
    /// A block the consumer is through with; before it has seen any, the first one.
    spent: AtomicPtr<Block<T>>,
}

/// A slot that is to be filled next, before anything else is done: the consumer waits for it.
#[must_use]
pub(crate) struct Claim<'a, T> {
    slot: *mut Slot<T>,
    lap: Lap,
    wakes: bool,
    tail: PhantomData<&'a Tail<T>>,
}

impl<T> Claim<'_, T> {
    /// Whether it wakes.
    #[inline(always)]
    pub(super) fn fill(self, value: T, kind: Kind, note: Note) -> bool {
        // SAFETY: an exchange gave the slot to this, which goes by filling it.
        unsafe {
            (*self.slot).value.with_mut(|cell| (*cell).write(value));
            (*self.slot).ready.store(Stamp::new(kind, self.lap, note).0, Ordering::Release);
        }
        self.wakes
    }
}

/// The consumer's end.
pub(super) struct Cursor<T> {
    block: *mut Block<T>,
    /// Of the next value.
    position: u64,
    /// Slots of `block`, none before there is one, and how many of them were not taken yet.
    capacity: u16,
    left: u16,
    lap: Lap,
    /// [`Tail::waking`] may hold a message.
    pub(super) waking: bool,
    /// The receiver's: counted messages taken since the last publication, and how many make one due. Here because there is
    /// room.
    pub(super) unpublished: u8,
    pub(super) batch: u8,
}

impl<T> Tail<T> {
    /// Where the last field lies that every push looks at.
    #[cfg(test)]
    pub(super) const LOOKED_AT: usize = std::mem::offset_of!(Self, limit);

    pub(super) fn new(flags: u64, limit: u64) -> Self {
        Self {
            word: AtomicU64::new(word::word(START, flags)),
            block: AtomicPtr::new(ptr::null_mut()),
            limit: AtomicU64::new(limit),
            waking: Slot { ready: AtomicU64::new(Stamp::EMPTY.0), value: UnsafeCell::new(MaybeUninit::uninit()) },
            spent: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// Puts `value` into the next slot if `admit` agrees, which is given the state word and returns it with other flags if
    /// need be; it may be asked more than once. `waiting` says how many lie before a position.
    #[inline(always)]
    pub(super) fn insert<E>(
        &self,
        (value, note): (T, Note),
        kind: Kind,
        waiting: impl Fn(u64) -> u64,
        mut admit: impl FnMut(u64) -> Result<u64, E>,
    ) -> Result<Pushed, (E, T)> {
        let mut at = self.word.load(Ordering::Acquire);
        let mut spare = Spare(Marked::NONE);
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
            let mut marked = Marked(self.block.load(Ordering::Acquire));
            if marked.is_none() {
                marked = Marked(self.install_first());
            }
            let block = marked.block();
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
                        let linked = spare.take().0;
                        self.block.store(linked, Ordering::Release);
                        self.word.fetch_and(!LINKING, Ordering::AcqRel);
                        (*block).next.store(linked, Ordering::Release);
                    }
                    let slot = Block::slot(block, word::offset(position, capacity));
                    (*slot).value.with_mut(|cell| (*cell).write(value));
                    (*slot).ready.store(Stamp::new(kind, marked.lap(), note).0, Ordering::Release);
                    return Ok(Pushed { wakes, filled: last });
                },
                Err(now) => at = now,
            }
        }
    }

    /// Has the processor bring the next slot here, which may have been used on another one.
    #[inline(always)]
    pub(super) fn fetch(&self) {
        let at = self.word.load(Ordering::Relaxed);
        if at & ASLEEP != 0 {
            return; // the slot lies beside the word
        }
        let block = Marked(self.block.load(Ordering::Relaxed)).block();
        let offset = word::offset(word::position(at), word::capacity(at)) as usize;
        prefetch::to_write(block.cast::<u8>().wrapping_add(size_of::<Block<T>>() + offset * size_of::<Slot<T>>()));
    }

    /// Takes the next slot, if nothing [hinders](word::HINDERS) it, the slot is not the last of its block and lies before
    /// the limit, and nobody else comes at the same moment. What [`insert`](Self::insert) does in two steps: a message is
    /// large, and moved there at once in the second.
    #[inline(always)]
    pub(super) fn claim(&self, waking: bool) -> Option<Claim<'_, T>> {
        // Others want it too: it shall come here once, not first to be read and then to be written.
        prefetch::to_write((&raw const self.word).cast());
        let at = self.word.load(Ordering::Acquire);
        let limit = self.limit.load(Ordering::Relaxed);
        if at & word::HINDERS != 0 {
            return None;
        }
        if waking && at & ASLEEP != 0 && word::position(at) + SMALL_BOUND <= limit {
            self.word.compare_exchange(at, word::woken(at), Ordering::AcqRel, Ordering::Relaxed).ok()?;
            return Some(Claim {
                slot: (&raw const self.waking).cast_mut(),
                lap: WAKING_LAP,
                wakes: true,
                tail: PhantomData,
            });
        }
        let (position, capacity) = (word::position(at), word::capacity(at));
        let offset = word::offset(position, capacity);
        let marked = Marked(self.block.load(Ordering::Acquire));
        if word::occupied(at) >= limit || offset + 1 == capacity || marked.is_none() {
            return None;
        }
        let (next, wakes) = word::pushed(at);
        self.word.compare_exchange(at, next, Ordering::AcqRel, Ordering::Relaxed).ok()?;
        // SAFETY: as in `insert`.
        let slot = unsafe { Block::slot(marked.block(), offset) };
        // The block was the consumer's before, perhaps on another processor; each exchange waits for what was written before.
        prefetch::to_write(slot.cast::<u8>().wrapping_add(AHEAD));
        Some(Claim { slot, lap: marked.lap(), wakes, tail: PhantomData })
    }

    /// It goes to where the consumer finds it before it goes to `block`, so whoever finds a message finds the block it lies in.
    #[cold]
    fn install_first(&self) -> *mut Block<T> {
        let mine = Marked::new(FIRST);
        let (acquired, release) = (Ordering::Acquire, Ordering::AcqRel);
        let first = match self.spent.compare_exchange(ptr::null_mut(), mine.0, release, acquired) {
            Ok(_) => mine.0,
            Err(theirs) => {
                // SAFETY: never shown to anybody.
                unsafe { mine.free() }
                theirs
            }
        };
        match self.block.compare_exchange(ptr::null_mut(), first, release, acquired) {
            Ok(_) => first,
            // Too late. What lies there is the first one still, or one that is spent and lies where it may; a first one of
            // this thread's own is one too many, and stays like one that is spent.
            Err(now) => now,
        }
    }

    /// The next value, if it is there.
    ///
    /// # Safety
    /// `cursor` is this tail's, as in every method that takes one.
    #[inline(always)]
    pub(super) unsafe fn take(&self, cursor: &mut Cursor<T>) -> Option<T> {
        // SAFETY: as the caller says. What lies there is the caller's, and read once.
        unsafe { self.find(cursor).map(|(place, ..)| place.read()) }
    }

    /// As [`take`](Self::take), leaving the value where it lies: it is the caller's, who may read it once, before anything
    /// else is done with the cursor or the tail is dropped.
    ///
    /// # Safety
    /// See `take`.
    #[inline(always)]
    pub(super) unsafe fn find(&self, cursor: &mut Cursor<T>) -> Option<(NonNull<T>, Kind, Note)> {
        if cursor.left == 0 {
            self.advance(cursor)?;
        }
        // SAFETY: the cursor's block is alive and `position` is one of its slots; a slot that is ready holds a value, and
        // the cursor moves past it. The block stays until the cursor leaves it.
        unsafe {
            let slot = Block::slot(cursor.block, (cursor.capacity - cursor.left).into());
            let (kind, note) = Stamp((*slot).ready.load(Ordering::Acquire)).read(cursor.lap)?;
            cursor.position += 1;
            cursor.left -= 1;
            Some(((*slot).value.with(|cell| NonNull::new_unchecked(cell.cast_mut().cast())), kind, note))
        }
    }

    #[cold]
    fn advance(&self, cursor: &mut Cursor<T>) -> Option<()> {
        if cursor.is_attached() {
            if cursor.block.is_null() {
                return None; // closed and emptied
            }
            let through = cursor.block;
            // SAFETY: every slot of the block has been taken, so the next block is linked and nobody else knows this one.
            let next = Marked(unsafe { (*through).next.load(Ordering::Acquire) });
            debug_assert!(!next.is_none());
            let through = Marked::of(through, word::class_of(cursor.capacity.into()), cursor.lap);
            if through.class() == FIRST {
                // SAFETY: as above.
                unsafe { through.free() }
            } else {
                // SAFETY: the exchange makes the one before the caller's alone, and what is spent is empty.
                unsafe { Marked(self.spent.swap(through.0, Ordering::AcqRel)).free() }
            }
            cursor.begin(next);
        } else {
            // Only once there is something in it: then `block` is set too, so nobody takes another one for the first.
            if word::position(self.word.load(Ordering::Acquire)) == START {
                return None;
            }
            cursor.begin(Marked(self.spent.swap(ptr::null_mut(), Ordering::AcqRel)));
        }
        Some(())
    }

    /// The message that ended the sleep, if one did and was not taken, and its note. It is there, as the right to run the
    /// consumer came from who put it there.
    #[inline(always)]
    pub(super) fn find_waking(&self, cursor: &mut Cursor<T>) -> Option<(NonNull<T>, Note)> {
        cursor.waking = false;
        let (_, note) = Stamp(self.waking.ready.load(Ordering::Acquire)).read(WAKING_LAP)?;
        // Nobody writes there before the consumer has parked.
        self.waking.ready.store(Stamp::EMPTY.0, Ordering::Relaxed);
        // SAFETY: a slot that is ready holds a value.
        Some((unsafe { self.waking.value.with(|cell| NonNull::new_unchecked(cell.cast_mut().cast())) }, note))
    }

    /// Whether such a message lies there.
    pub(super) fn has_waking(&self, at: u64) -> bool {
        at & WAKING != 0 && self.waking.ready.load(Ordering::Relaxed) != Stamp::EMPTY.0
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
        let last = Marked::of(cursor.block, word::class_of(cursor.capacity.into()), cursor.lap);
        // SAFETY: all accepted values have been taken, so nobody but the consumer uses the last block, and it is the
        // block of the cursor's position.
        unsafe { last.free() }
        cursor.block = ptr::null_mut();
        cursor.left = 0;
        self.free_spent();
    }

    /// What is still owned once the last value has been taken and [`Tail::release`] is done: what a push brought that came too
    /// late.
    pub(super) fn drop_rest(&mut self) {
        self.free_spent();
    }
}

impl<T> Cursor<T> {
    pub(super) fn new(batch: u8) -> Self {
        let (block, lap) = (ptr::null_mut(), Lap(false));
        Self { block, position: START, capacity: 0, left: 0, lap, waking: true, unpublished: 0, batch }
    }

    /// Whether it has been at a block.
    fn is_attached(&self) -> bool {
        self.capacity != 0
    }

    /// Goes on to the first slot of a block.
    fn begin(&mut self, next: Marked<T>) {
        (self.block, self.lap) = (next.block(), next.lap());
        self.capacity = slots(next.class()) as u16;
        self.left = self.capacity;
    }

    /// Whether the message that ended the sleep of `at` was not taken.
    #[inline(always)]
    pub(super) fn awaits_waking(&self, at: u64) -> bool {
        self.waking && at & WAKING != 0
    }

    /// Where the next value will be.
    #[inline(always)]
    pub(super) fn position(&self) -> u64 {
        self.position
    }
}
