//! [`Nobody`]: a cell without an actor, for references that lead nowhere.

#![allow(unsafe_code, reason = "it begins with a cell, as every actor does, and says so")]

use crate::block_queue::Queue;
use crate::cell::{Cell, Control, Head};
use crate::cell_ref::{Begins, CellRef};
use crate::own::{Own, Owner};
use crate::scheduler::{After, Header, Hint, Runnable};

#[repr(C)]
pub(crate) struct Nobody<M> {
    cell: Cell<M>,
}

// SAFETY: it begins with a cell, which begins with the header made for this type below.
unsafe impl<M: Send + 'static> Runnable for Nobody<M> {
    fn run(&self, _this: &Hint) -> After {
        After::Ended
    }

    fn type_name() -> &'static str {
        ""
    }

    fn control(this: &Hint) -> Option<&(dyn Control + 'static)> {
        CellRef::<M>::control_of(this)
    }
}

// SAFETY: as above, and that is what `control` is.
unsafe impl<M: Send + 'static> Begins for Nobody<M> {
    type Message = M;
}

impl<M: Send + 'static> Nobody<M> {
    pub(crate) fn header(uid: u64) -> Header {
        Header::of::<Self>(uid, 1)
    }

    /// A cell that takes messages and never handles them. `head` has a header made here.
    pub(crate) fn cell(head: Head, capacity: usize) -> CellRef<M> {
        CellRef::new(|| Self { cell: Cell::new(head, Own::new(), Queue::new(capacity)) })
    }

    /// A cell of an actor that has ended before it began.
    pub(crate) fn stillborn(head: Head) -> CellRef<M> {
        let cell = Self::cell(head, 0);
        Owner::of_nobody().end(&cell);
        cell.head().end(None);
        cell
    }
}
