//! [`Outside`]: where threads that are no carriers put hints. The last one of each thread waits where that thread can take it
//! back: who asks an actor and waits for the answer may then run it itself.

use std::cell::Cell;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Acquire, Relaxed, SeqCst};

use super::Hint;
use super::slot::Place;
use crate::sync::atomic::AtomicU64;

/// Places, shared by all threads there are.
const PLACES: usize = 32;

thread_local! {
    /// Which place this thread uses.
    static MINE: Cell<usize> = const { Cell::new(usize::MAX) };
}

#[repr(align(128))]
struct Padded(Place<Hint>);

pub(super) struct Outside {
    places: [Padded; PLACES],
    /// Places ever used, one bit each.
    used: AtomicU64,
}

impl Outside {
    pub(super) fn new() -> Self {
        Self { places: std::array::from_fn(|_| Padded(Place::new())), used: AtomicU64::new(0) }
    }

    #[inline]
    fn mine() -> usize {
        let mine = MINE.get();
        if mine != usize::MAX { mine } else { Self::choose() }
    }

    #[cold]
    fn choose() -> usize {
        static THREADS: AtomicUsize = AtomicUsize::new(0);
        let mine = THREADS.fetch_add(1, Relaxed) % PLACES;
        MINE.set(mine);
        mine
    }

    /// Puts `hint` into this thread's place, by a sequentially consistent exchange, and returns what was there.
    #[inline]
    pub(super) fn put(&self, hint: Hint) -> Option<Hint> {
        let mine = Self::mine();
        // In the one order that the exchange is in too, for who looks there before it sleeps.
        if self.used.load(SeqCst) & (1 << mine) == 0 {
            self.used.fetch_or(1 << mine, SeqCst);
        }
        self.places[mine].0.swap(hint)
    }

    /// Takes `hint` out of the place it is in: that of this thread, or perhaps that of another which scheduled the actor.
    pub(super) fn take_back(&self, hint: &Hint) -> Option<Hint> {
        let address = hint.as_ptr().cast();
        let mine = self.places[Self::mine()].0.take_if(address);
        mine.or_else(|| self.in_use().find_map(|place| place.take_if(address)))
    }

    /// One that waits in any of the places; those from `first` on come before the others, so that each has its turn.
    pub(super) fn take(&self, first: u32) -> Option<Hint> {
        let used = self.used.load(Acquire);
        let later = used & (u64::MAX << (first as usize % PLACES));
        self.those(later).chain(self.those(used & !later)).find_map(Place::take)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.in_use().all(Place::is_empty)
    }

    fn in_use(&self) -> impl Iterator<Item = &Place<Hint>> {
        self.those(self.used.load(Acquire))
    }

    /// The places of these bits.
    fn those(&self, bits: u64) -> impl Iterator<Item = &Place<Hint>> {
        let mut bits = bits;
        std::iter::from_fn(move || {
            let next = (bits != 0).then(|| bits.trailing_zeros() as usize);
            bits &= bits.wrapping_sub(1);
            next
        })
        .map(|place| &self.places[place].0)
    }
}
