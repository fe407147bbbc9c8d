//! [`Injector`]: what threads that are no carriers have brought, in the order in which they did.
//!
//! It goes by the chunk: who brings and who takes hold the lock for as long as it takes to move one pointer, now and then to
//! make room for more chunks. The memory of chunks goes back with the next one that is taken, so that it does not become free on other threads
//! than it was asked for, where an allocator may have both wait for each other.

use std::collections::VecDeque;
use std::mem;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::{Acquire, Release};

use parking_lot::Mutex;

use super::Hint;

/// Hints that are taken at once.
const CHUNK: usize = 32;
/// Room for so many full chunks is kept when there are none.
const FULL_MAX: usize = 1024;
/// Empty chunks that are kept.
const SPARE: usize = 64;

pub(super) struct Injector {
    chunks: Mutex<Chunks>,
    /// How many wait, as last written with the lock in hand. Who looks whether there are any before it sleeps does so behind
    /// a fence, as who brings one does before it looks who sleeps.
    waiting: AtomicUsize,
}

#[derive(Default)]
struct Chunks {
    full: VecDeque<Vec<Hint>>,
    last: Vec<Hint>,
    spare: Vec<Vec<Hint>>,
}

impl Injector {
    pub(super) fn new() -> Self {
        Self { chunks: Mutex::default(), waiting: AtomicUsize::new(0) }
    }

    pub(super) fn push(&self, hint: Hint) {
        let mut chunks = self.chunks.lock();
        let chunks = &mut *chunks;
        if chunks.last.len() >= CHUNK {
            let next = chunks.spare.pop().unwrap_or_default();
            chunks.full.push_back(mem::replace(&mut chunks.last, next));
        }
        if chunks.last.capacity() == 0 {
            chunks.last.reserve_exact(CHUNK);
        }
        chunks.last.push(hint);
        self.waiting.store(self.waiting.load(Acquire) + 1, Release);
    }

    /// Puts those that wait for longest into `into`, which is empty: a chunk of them, or all if there are fewer.
    pub(super) fn take(&self, into: &mut Vec<Hint>) {
        debug_assert!(into.is_empty());
        if self.is_empty() {
            return;
        }
        let mut chunks = self.chunks.lock();
        let mut taken = match chunks.full.pop_front() {
            Some(first) => first,
            None => mem::take(&mut chunks.last),
        };
        self.waiting.store(self.waiting.load(Acquire) - taken.len(), Release);
        mem::swap(into, &mut taken);
        let mut empty = taken;
        if chunks.last.capacity() == 0 {
            chunks.last = mem::take(&mut empty);
        } else if empty.capacity() > 0 && chunks.spare.len() < SPARE {
            chunks.spare.push(mem::take(&mut empty));
        }
        let wide = chunks.full.is_empty() && chunks.full.capacity() > FULL_MAX;
        let wide = if wide { mem::take(&mut chunks.full) } else { VecDeque::new() };
        drop(chunks);
        drop((empty, wide)); // what many needed is not kept for none
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.load(Acquire)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(all(test, not(any(actors_loom, actors_shuttle))))]
mod tests {
    use super::super::tests::numbered;
    use super::*;

    #[test]
    fn they_go_in_the_order_in_which_they_came() {
        let injector = Injector::new();
        let mut chunk = Vec::new();
        injector.take(&mut chunk);
        assert!(chunk.is_empty());

        let mut brought = 0..;
        let mut taken = 0..;
        for round in 1..100 {
            brought.by_ref().take(round).for_each(|uid| injector.push(numbered(uid)));
            assert_eq!(injector.len(), round);
            while !injector.is_empty() {
                let before = injector.len();
                injector.take(&mut chunk);
                assert_eq!(injector.len() + chunk.len(), before);
                assert_eq!(chunk.len(), before.min(CHUNK));
                assert!(chunk.drain(..).map(|hint| hint.uid()).eq(taken.by_ref().take(before.min(CHUNK))));
            }
        }
    }

    #[test]
    fn chunks_are_used_again() {
        let injector = Injector::new();
        let mut chunk = Vec::new();
        for _ in 0..3 {
            (0..10 * CHUNK as u64).for_each(|uid| injector.push(numbered(uid)));
            while !injector.is_empty() {
                injector.take(&mut chunk);
                chunk.clear();
            }
        }
        let chunks = injector.chunks.lock();
        let held = chunks.spare.len() + usize::from(chunks.last.capacity() > 0) + usize::from(chunk.capacity() > 0);
        assert!(held <= 11, "{held} chunks: as many as waited at once, and the one in hand");
    }
}
