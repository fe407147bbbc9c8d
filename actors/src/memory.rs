//! Memory that is kept for the next piece of the same layout: cells of actors, blocks of mailboxes, places in which handlers
//! begin, slots of asks. They come and go by the million, often on another thread than the one that asked for them, and two
//! threads that give memory back to a general allocator at once may wait for each other there.
//!
//! A thread has one piece *at hand*, the last one that was needed for a moment only, and it keeps two *stacks* of a layout on
//! its [`Shelf`]: it takes from and gives to one of them, and when that is empty or full the other one's turn comes. What more
//! there is goes to the *depot*, stack by stack, where other threads find it: so where one thread makes and another ends, both
//! meet once a stack. (Magazines and depots: Bonwick and Adams, "Magazines and Vmem", USENIX 2001.)
//!
//! # Invariant
//! A piece was allocated with its layout by the global allocator, as `Box` does, and belongs to whoever took it until that one
//! gives it back. The pieces of a [`Stack`] are all of one layout, which whoever has the stack knows, and nobody else's; the
//! first word of each is the address of the next.

#![allow(unsafe_code, reason = "pieces of memory go without a type from who gives them back to who takes them")]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::{Cell, RefCell};
use std::hint::black_box;
use std::mem;
use std::ptr::NonNull;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use parking_lot::Mutex;

/// Shelves of a thread; layouts of one shelf take turns there.
const SHELVES: usize = 64;
/// Bins of the depot. Layouts of one bin lie side by side.
const BINS: usize = 256;
/// As much lies in a stack at most, where a piece is not larger.
const STACK_BYTES: usize = 8 << 10;
/// Larger pieces are not kept.
pub(crate) const PIECE_MAX: usize = 16 << 10;
/// As much is asked of the allocator ahead.
const AHEAD: usize = 48 << 10;
/// As much lies in the depot at most, all layouts together.
const DEPOT_BYTES: usize = 4 << 20;

/// Whether pieces of this layout are kept: none that is too large, and none that has no room for an address.
fn is_kept(layout: Layout) -> bool {
    (size_of::<Link>()..=PIECE_MAX).contains(&layout.size()) && layout.align() >= align_of::<Link>()
}

fn shelf_of(layout: Layout) -> usize {
    layout.size() / 8 % SHELVES
}

type Link = Option<NonNull<u8>>;

/// Pieces of one layout.
#[derive(Default)]
struct Stack {
    top: Link,
    pieces: usize,
}

// SAFETY: it owns its pieces, which are memory and nothing else.
unsafe impl Send for Stack {}

impl Stack {
    const EMPTY: Self = Self { top: None, pieces: 0 };

    #[inline(always)]
    fn pop(&mut self) -> Link {
        let piece = self.top?;
        // SAFETY: the first word of a piece in a stack is the address of the next.
        self.top = unsafe { piece.cast::<Link>().read() };
        self.pieces -= 1;
        Some(piece)
    }

    /// # Safety
    /// `piece` is of the stack's layout, which is kept; it is the caller's, and not used any more.
    #[inline(always)]
    unsafe fn push(&mut self, piece: NonNull<u8>) {
        // SAFETY: it has room for an address, and lies well for one; nobody else uses it.
        unsafe { piece.cast::<Link>().write(self.top) }
        self.top = Some(piece);
        self.pieces += 1;
    }

    #[inline(always)]
    fn is_full(&self, layout: Layout) -> bool {
        self.pieces > 0 && (self.pieces + 1) * layout.size() > STACK_BYTES
    }

    /// Gives all of it to the allocator. `layout`: that of its pieces.
    #[cold]
    fn free(mut self, layout: Layout) {
        while let Some(piece) = self.pop() {
            // SAFETY: it was given back, and is of that layout.
            unsafe { dealloc(piece.as_ptr(), layout) }
        }
    }
}

struct Shelf {
    /// Meaningless while nothing lies there.
    layout: Layout,
    /// Where pieces come from and go to.
    front: Stack,
    /// Empty, or full, or what `front` was before.
    back: Stack,
}

/// What a thread keeps.
struct Here {
    /// One piece, for who gives it back soon.
    at_hand: Cell<Option<(NonNull<u8>, Layout)>>,
    /// Bytes that the allocator was asked for [ahead](ask_ahead) and did not have to give yet.
    ahead: Cell<usize>,
    shelves: RefCell<[Shelf; SHELVES]>,
}

impl Drop for Here {
    fn drop(&mut self) {
        if let Some((piece, layout)) = self.at_hand.take() {
            // SAFETY: whoever put it there gave it back.
            unsafe { dealloc(piece.as_ptr(), layout) }
        }
    }
}

thread_local! {
    static HERE: Here = const {
        let shelves = RefCell::new([const { Shelf::EMPTY }; SHELVES]);
        Here { at_hand: Cell::new(None), ahead: Cell::new(0), shelves }
    };
}

impl Shelf {
    const EMPTY: Self = Self { layout: Layout::new::<()>(), front: Stack::EMPTY, back: Stack::EMPTY };

    #[inline(always)]
    fn take(&mut self, layout: Layout) -> Link {
        if self.layout == layout
            && let Some(piece) = self.front.pop()
        {
            return Some(piece);
        }
        self.fetch(layout)
    }

    #[cold]
    fn fetch(&mut self, layout: Layout) -> Link {
        if !is_kept(layout) {
            return None;
        }
        if self.layout != layout {
            let full = DEPOT.take(layout)?;
            self.clear(layout);
            self.front = full;
        } else if self.back.pieces > 0 {
            mem::swap(&mut self.front, &mut self.back);
        } else {
            self.front = DEPOT.take(layout)?;
        }
        self.front.pop()
    }

    /// # Safety
    /// `piece` is of this layout; it is the caller's, and not used any more.
    #[inline(always)]
    unsafe fn put(&mut self, piece: NonNull<u8>, layout: Layout) {
        if self.layout != layout || self.front.is_full(layout) {
            self.make_room(layout);
        }
        // SAFETY: as the caller says; what lies here is of that layout now.
        unsafe { self.front.push(piece) }
    }

    #[cold]
    fn make_room(&mut self, layout: Layout) {
        if self.layout != layout {
            return self.clear(layout);
        }
        mem::swap(&mut self.front, &mut self.back);
        if self.front.is_full(layout) {
            DEPOT.put(mem::take(&mut self.front), layout);
        }
    }

    /// Makes it the shelf of another layout.
    fn clear(&mut self, next: Layout) {
        let layout = mem::replace(&mut self.layout, next);
        for stack in [mem::take(&mut self.front), mem::take(&mut self.back)] {
            if stack.is_full(layout) {
                DEPOT.put(stack, layout);
            } else {
                stack.free(layout);
            }
        }
    }
}

impl Drop for Shelf {
    fn drop(&mut self) {
        self.clear(Layout::new::<()>());
    }
}

/// What threads have left over.
struct Depot {
    bins: [Bin; BINS],
    /// All that lies there, or is about to.
    bytes: AtomicUsize,
    /// Where to look next for what nobody may need any more.
    hand: AtomicUsize,
}

struct Bin {
    /// How many lie there, for those who only look.
    stacks: AtomicUsize,
    /// By layout. One that was there once stays listed: there are as many as types that are used.
    full: Mutex<Vec<(Layout, Vec<Stack>)>>,
}

static DEPOT: Depot = Depot::new();

impl Depot {
    const fn new() -> Self {
        let bins = [const { Bin { stacks: AtomicUsize::new(0), full: Mutex::new(Vec::new()) } }; BINS];
        Self { bins, bytes: AtomicUsize::new(0), hand: AtomicUsize::new(0) }
    }

    fn bin(&self, layout: Layout) -> &Bin {
        &self.bins[layout.size() / 8 % BINS]
    }

    fn take(&self, layout: Layout) -> Option<Stack> {
        let bin = self.bin(layout);
        if bin.stacks.load(Relaxed) == 0 {
            return None;
        }
        let stack = bin.take(|of| of == layout)?.1;
        self.bytes.fetch_sub(stack.pieces * layout.size(), Relaxed);
        Some(stack)
    }

    /// For who needs it next. When much lies here something else goes to the allocator for that, or this. `layout`: that of
    /// its pieces.
    fn put(&self, stack: Stack, layout: Layout) {
        let bytes = stack.pieces * layout.size();
        self.bytes.fetch_add(bytes, Relaxed);
        while self.bytes.load(Relaxed) > DEPOT_BYTES {
            if !self.make_room(layout) {
                self.bytes.fetch_sub(bytes, Relaxed);
                return stack.free(layout);
            }
        }
        let bin = self.bin(layout);
        let mut full = bin.full.lock();
        match full.iter_mut().find(|(of, _)| *of == layout) {
            Some((_, stacks)) => stacks.push(stack),
            None => full.push((layout, vec![stack])),
        }
        bin.stacks.fetch_add(1, Relaxed);
    }

    /// Frees a stack of another layout, of each in turn. False: there is none.
    #[cold]
    fn make_room(&self, layout: Layout) -> bool {
        let hand = self.hand.load(Relaxed);
        for bin in (0..BINS).map(|step| (hand + step) % BINS) {
            if self.bins[bin].stacks.load(Relaxed) > 0
                && let Some((of, stack)) = self.bins[bin].take(|of| of != layout)
            {
                self.hand.store(bin + 1, Relaxed);
                self.bytes.fetch_sub(stack.pieces * of.size(), Relaxed);
                stack.free(of);
                return true;
            }
        }
        false
    }
}

impl Bin {
    /// One of a layout that is wanted.
    fn take(&self, wanted: impl Fn(Layout) -> bool) -> Option<(Layout, Stack)> {
        let mut full = self.full.lock();
        let taken =
            full.iter_mut().filter(|(of, _)| wanted(*of)).find_map(|(of, stacks)| Some((*of, stacks.pop()?)))?;
        self.stacks.fetch_sub(1, Relaxed);
        Some(taken)
    }
}

/// A piece of memory, with nothing in it. `layout` is not of size zero.
#[inline(always)]
pub(crate) fn take(layout: Layout) -> NonNull<u8> {
    let kept = HERE.try_with(|here| here.shelves.borrow_mut()[shelf_of(layout)].take(layout));
    kept.ok().flatten().unwrap_or_else(|| allocate(layout))
}

#[cold]
fn allocate(layout: Layout) -> NonNull<u8> {
    debug_assert!(layout.size() > 0);
    ask_ahead(layout.size());
    // SAFETY: not of size zero.
    let piece = unsafe { alloc(layout) };
    NonNull::new(piece).unwrap_or_else(|| handle_alloc_error(layout))
}

/// The allocator of glibc makes the heap of a thread larger by just what is asked for, rounded up to a page, with a system
/// call each time: a quarter of what it takes to make an actor. A large piece that is given back at once makes it larger by
/// more.
fn ask_ahead(size: usize) {
    if cfg!(not(all(target_os = "linux", target_env = "gnu"))) || size >= AHEAD {
        return;
    }
    let _ = HERE.try_with(|here| {
        let ahead = here.ahead.get();
        here.ahead.set(ahead.saturating_sub(size));
        if ahead < size {
            let layout = Layout::new::<[u64; AHEAD / 8]>();
            // SAFETY: not of size zero, and given back as it was taken.
            unsafe {
                let piece = black_box(alloc(layout)); // a pair of which nothing is used may be left out
                if !piece.is_null() {
                    dealloc(piece, layout);
                }
            }
            here.ahead.set(AHEAD);
        }
    });
}

/// Takes a piece back: for the next one on this thread, for another thread, or for the allocator.
///
/// # Safety
/// Of [`take`], or as `Box` allocates, with this layout. Nothing lies in it, and it is not used any more.
#[inline(always)]
pub(crate) unsafe fn give(piece: NonNull<u8>, layout: Layout) {
    // SAFETY: as the caller says.
    let put = |here: &Here| unsafe { here.shelves.borrow_mut()[shelf_of(layout)].put(piece, layout) };
    if !is_kept(layout) || HERE.try_with(put).is_err() {
        // SAFETY: as the caller says.
        unsafe { dealloc(piece.as_ptr(), layout) }
    }
}

/// As [`take`], for a piece that goes to [`put_at_hand`] soon.
#[inline(always)]
pub(crate) fn take_at_hand(layout: Layout) -> NonNull<u8> {
    let at_hand = HERE.try_with(|here| match here.at_hand.get() {
        Some((piece, of)) if of == layout => {
            here.at_hand.set(None);
            Some(piece)
        }
        _ => None,
    });
    at_hand.ok().flatten().unwrap_or_else(|| take_another(layout))
}

#[cold]
fn take_another(layout: Layout) -> NonNull<u8> {
    take(layout)
}

/// As [`give`], for the next one who takes such a piece on this thread, if that comes before a piece of another layout.
///
/// # Safety
/// As `give`.
#[inline(always)]
pub(crate) unsafe fn put_at_hand(piece: NonNull<u8>, layout: Layout) {
    let put = HERE.try_with(|here| is_kept(layout).then(|| here.at_hand.replace(Some((piece, layout)))));
    let left = match put {
        Ok(Some(before)) => before,
        _ => Some((piece, layout)),
    };
    if let Some((piece, layout)) = left {
        // SAFETY: as the caller says, or said who put that one there.
        unsafe { give_another(piece, layout) }
    }
}

/// # Safety
/// As [`give`].
#[cold]
unsafe fn give_another(piece: NonNull<u8>, layout: Layout) {
    // SAFETY: as the caller says.
    unsafe { give(piece, layout) }
}

#[cfg(all(test, not(any(actors_loom, actors_shuttle))))]
mod tests {
    use std::collections::BTreeSet;
    use std::iter;
    use std::thread;

    use super::*;

    fn give_all(pieces: impl IntoIterator<Item = usize>, layout: Layout) {
        // SAFETY: of that layout, and empty.
        pieces.into_iter().for_each(|piece| unsafe { give(NonNull::new(piece as *mut u8).unwrap(), layout) });
    }

    fn stacks_of(layout: Layout) -> usize {
        DEPOT.bin(layout).full.lock().iter().find(|(of, _)| *of == layout).map_or(0, |(_, stacks)| stacks.len())
    }

    fn take_some(count: usize, layout: Layout) -> BTreeSet<usize> {
        (0..count).map(|_| take(layout).as_ptr().expose_provenance()).collect()
    }

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
    fn what_is_too_large_or_too_small_is_not_kept() {
        for layout in [Layout::new::<[u64; 5_000]>(), Layout::new::<u32>(), Layout::new::<[u8; 64]>()] {
            let piece = take(layout);
            // SAFETY: of that layout, and empty.
            unsafe { give(piece, layout) }
            HERE.with(|here| assert_ne!(here.shelves.borrow()[shelf_of(layout)].layout, layout));
        }
    }

    #[test]
    fn one_piece_is_at_hand_and_makes_room_for_another_layout() {
        let layouts = [Layout::new::<[u64; 21]>(), Layout::new::<[u64; 23]>()];
        let first = take_at_hand(layouts[0]);
        // SAFETY: of that layout, and empty; so below.
        unsafe { put_at_hand(first, layouts[0]) }
        assert_eq!(take_at_hand(layouts[0]), first);
        // SAFETY: as above.
        unsafe { put_at_hand(first, layouts[0]) }
        let second = take_at_hand(layouts[1]);
        assert_ne!(second, first, "of another layout");
        // SAFETY: as above.
        unsafe { put_at_hand(second, layouts[1]) }
        assert_eq!(take_at_hand(layouts[1]), second, "the last one is at hand");
        assert_eq!(take(layouts[0]), first, "the one before is on its shelf");

        let large = Layout::new::<[u64; 5_000]>();
        let piece = take_at_hand(large);
        // SAFETY: as above.
        unsafe {
            put_at_hand(second, layouts[1]);
            put_at_hand(piece, large);
        }
        assert_eq!(HERE.with(|here| here.at_hand.get()), Some((second, layouts[1])), "what is too large is not kept");
        assert_eq!(take_at_hand(layouts[1]), second);
        // SAFETY: as above.
        unsafe {
            give(first, layouts[0]);
            give(second, layouts[1]);
        }
    }

    #[test]
    fn a_thread_finds_what_another_one_has_left_over() {
        // A layout that nobody else here has, so that all of it is this test's.
        let layout = Layout::from_size_align(8 * 377, 32).unwrap();
        let a_stack = STACK_BYTES / layout.size();
        let mine = take_some(5 * a_stack, layout);
        let given = mine.clone();
        thread::spawn(move || give_all(given, layout)).join().unwrap();
        assert_eq!(stacks_of(layout), 5, "what the thread had left over, and what it kept when it ended");

        let again = take_some(5 * a_stack, layout);
        assert_eq!(again, mine);
        assert_eq!(stacks_of(layout), 0);
        give_all(again, layout);
    }

    #[test]
    fn two_stacks_and_no_more_stay_with_a_thread() {
        let layout = Layout::from_size_align(8 * 411, 32).unwrap();
        let a_stack = STACK_BYTES / layout.size();
        give_all(take_some(20 * a_stack, layout), layout);
        let kept = HERE.with(|here| {
            let shelves = here.shelves.borrow();
            let shelf = &shelves[shelf_of(layout)];
            shelf.front.pieces + shelf.back.pieces
        });
        assert_eq!(kept, 2 * a_stack);
        // At the edge between two stacks nothing goes to the depot and back.
        let before = stacks_of(layout);
        for _ in 0..100 {
            give_all(take_some(a_stack + 1, layout), layout);
        }
        assert_eq!(stacks_of(layout), before);
    }

    /// A stack of one piece.
    fn stack(layout: Layout) -> Stack {
        let mut stack = Stack::EMPTY;
        // SAFETY: of that layout, and empty.
        unsafe { stack.push(allocate(layout)) }
        stack
    }

    fn empty(depot: &Depot, layout: Layout) -> usize {
        iter::from_fn(|| depot.take(layout)).map(|stack| stack.free(layout)).count()
    }

    #[test]
    fn the_depot_is_not_filled_without_end_and_has_room_for_whoever_comes_next() {
        for words in [[499, 331], [331, 499]] {
            let [old, new] = words.map(|words| Layout::from_size_align(8 * words, 32).unwrap());
            let depot = Depot::new();
            (0..2 * DEPOT_BYTES / old.size()).for_each(|_| depot.put(stack(old), old));
            assert_eq!(depot.bytes.load(Relaxed), DEPOT_BYTES / old.size() * old.size());

            (0..100).for_each(|_| depot.put(stack(new), new));
            assert!(depot.bytes.load(Relaxed) <= DEPOT_BYTES, "{words:?}");
            assert_eq!(empty(&depot, new), 100, "{words:?}");
            assert!(empty(&depot, old) >= DEPOT_BYTES / old.size() - 200, "{words:?}");
            assert_eq!(depot.bytes.load(Relaxed), 0);
        }
    }

    #[test]
    fn layouts_of_one_bin_lie_side_by_side() {
        let [small, large] = [100, 100 + BINS].map(|words| Layout::from_size_align(8 * words, 8).unwrap());
        let depot = Depot::new();
        for layout in [small, large, small] {
            depot.put(stack(layout), layout);
        }
        assert_eq!((empty(&depot, large), empty(&depot, small), empty(&depot, small)), (1, 2, 0));
    }
}
