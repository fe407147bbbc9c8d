//! Wakers collected under a lock and woken without it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

const MOST: usize = 16;

pub(super) struct Wakers {
    list: [Option<Waker>; MOST],
    count: usize,
}

impl Wakers {
    pub(super) fn new() -> Self {
        Self { list: [const { None }; MOST], count: 0 }
    }

    pub(super) fn is_full(&self) -> bool {
        self.count == MOST
    }

    pub(super) fn push(&mut self, waker: Waker) {
        self.list[self.count] = Some(waker);
        self.count += 1;
    }

    /// A waker that panics wakes nobody; it is not let at the one who made room, nor does it keep the others asleep.
    pub(super) fn wake(&mut self) {
        for waker in self.list[..self.count].iter_mut().filter_map(Option::take) {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| waker.wake())) {
                std::mem::forget(panic); // its destructor might panic too
            }
        }
        self.count = 0;
    }
}
