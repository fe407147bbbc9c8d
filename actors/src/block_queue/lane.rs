//! The internal lane: what the runtime itself sends, unbounded and in order.
//!
//! A stack of boxed nodes that the consumer takes as a whole and turns round, so an idle lane is one null pointer, looking
//! at it is one load of a line that senders of messages do not write, and no lock is ever held.
//!
//! Invariant: a node is owned by whoever made it until the exchange that puts it on the stack, then by the stack, then by
//! who took the stack. Links are written only by the owner. `ENDED` is no node and never leaves the stack.

use std::collections::VecDeque;
use std::ptr;

use crate::sync::atomic::{AtomicPtr, Ordering};

struct Node<I> {
    item: I,
    next: *mut Node<I>,
}

/// The senders' side.
pub(super) struct Lane<I> {
    newest: AtomicPtr<Node<I>>,
}

/// Nodes the consumer owns, oldest first.
pub(super) struct Taken<I> {
    oldest: *mut Node<I>,
}

fn ended<I>() -> *mut Node<I> {
    ptr::without_provenance_mut(align_of::<Node<I>>())
}

impl<I> Lane<I> {
    pub(super) fn new() -> Self {
        Self { newest: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Whether the lane was empty, and the consumer therefore has to be told; the item comes back once the lane has ended.
    pub(super) fn push(&self, item: I) -> Result<bool, I> {
        let node = Box::into_raw(Box::new(Node { item, next: ptr::null_mut() }));
        let mut newest = self.newest.load(Ordering::Relaxed);
        loop {
            if newest == ended() {
                // SAFETY: never shown to anybody.
                return Err(unsafe { Box::from_raw(node) }.item);
            }
            // SAFETY: ours until the exchange.
            unsafe { (*node).next = newest }
            match self.newest.compare_exchange_weak(newest, node, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return Ok(newest.is_null()),
                Err(now) => newest = now,
            }
        }
    }

    #[inline(always)]
    pub(super) fn has_some(&self) -> bool {
        let newest = self.newest.load(Ordering::Relaxed);
        !newest.is_null() && newest != ended()
    }

    /// Appends all there is to `taken`, which must be empty.
    #[cold]
    pub(super) fn take(&self, taken: &mut Taken<I>) {
        debug_assert!(taken.oldest.is_null());
        let mut newest = self.newest.load(Ordering::Relaxed);
        if newest != ended() {
            // The consumer alone takes and ends, so what was no end is none now.
            newest = self.newest.swap(ptr::null_mut(), Ordering::AcqRel);
            taken.oldest = turned_round(newest);
        }
    }

    /// Refuses everything from now on, and returns what is there.
    pub(super) fn end(&self) -> Taken<I> {
        let newest = self.newest.swap(ended(), Ordering::AcqRel);
        Taken { oldest: if newest == ended() { ptr::null_mut() } else { turned_round(newest) } }
    }
}

fn turned_round<I>(mut newest: *mut Node<I>) -> *mut Node<I> {
    let mut oldest = ptr::null_mut();
    while !newest.is_null() {
        // SAFETY: the nodes were taken off the stack as a whole and are the caller's.
        unsafe {
            let older = (*newest).next;
            (*newest).next = oldest;
            (oldest, newest) = (newest, older);
        }
    }
    oldest
}

impl<I> Taken<I> {
    pub(super) fn new() -> Self {
        Self { oldest: ptr::null_mut() }
    }

    #[inline(always)]
    pub(super) fn is_empty(&self) -> bool {
        self.oldest.is_null()
    }

    #[inline(always)]
    pub(super) fn pop(&mut self) -> Option<I> {
        if self.oldest.is_null() {
            return None;
        }
        // SAFETY: the node is ours, and made by `Box`.
        let node = unsafe { Box::from_raw(self.oldest) };
        self.oldest = node.next;
        Some(node.item)
    }

    /// Puts `items` before all else, in their order.
    pub(super) fn put_back(&mut self, items: VecDeque<I>) {
        for item in items.into_iter().rev() {
            self.oldest = Box::into_raw(Box::new(Node { item, next: self.oldest }));
        }
    }
}

impl<I> Drop for Taken<I> {
    /// An item whose destructor panics does not keep the others from being dropped.
    fn drop(&mut self) {
        struct Rest<'a, I>(&'a mut Taken<I>);
        impl<I> Drop for Rest<'_, I> {
            fn drop(&mut self) {
                while let Some(item) = self.0.pop() {
                    drop(item);
                }
            }
        }
        while let Some(item) = self.pop() {
            let rest = Rest(self);
            drop(item);
            std::mem::forget(rest);
        }
    }
}

impl<I> Drop for Lane<I> {
    fn drop(&mut self) {
        drop(self.end());
    }
}
