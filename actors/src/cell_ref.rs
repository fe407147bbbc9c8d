//! [`CellRef`]: a counted pointer to an actor's cell. [`ControlRef`]: the same, whatever the messages are.
//!
//! # Invariant
//! What a `CellRef<M>` or a `ControlRef` points to begins with a [`Cell<M>`], and its header says so:
//! [`Runnable::control`](crate::scheduler::Runnable::control) of it is [`CellRef::control_of`] of that very `M`. Both are
//! made only by [`CellRef::new`] and from each other.

#![allow(unsafe_code, reason = "an actor is one allocation, of which those who know it see the first part")]

use std::any::TypeId;
use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr;

use crate::block_queue::Wake;
use crate::cell::{Cell, Control};
use crate::prefetch;
use crate::scheduler::{Hint, Runnable};

/// Says that a type begins with the cell of an actor.
///
/// # Safety
/// It is `repr(C)`, begins with a `Cell<Self::Message>` whose header was made for `Self`, and its
/// [`Runnable::control`](crate::scheduler::Runnable::control) is [`CellRef::control_of`] of that message type.
pub(crate) unsafe trait Begins: Runnable {
    type Message: Send + 'static;
}

/// See the module's documentation.
#[repr(transparent)]
pub(crate) struct CellRef<M>(Hint, PhantomData<fn(M) -> M>);

impl<M: Send + 'static> CellRef<M> {
    #[inline(always)]
    pub(crate) fn new<T: Begins<Message = M>>(make: impl FnOnce() -> T) -> Self {
        Self(Hint::new(make), PhantomData)
    }

    /// For [`Runnable::control`](crate::scheduler::Runnable::control).
    pub(crate) fn control_of(hint: &Hint) -> Option<&(dyn Control + 'static)> {
        Some(Self::of(hint))
    }

    /// What `hint` points to has this very function, or a waker of this very type, or it would not be called with it.
    pub(crate) fn of(hint: &Hint) -> &Self {
        // SAFETY: both are one pointer, to what begins with a `Cell<M>`: see the top of the file.
        unsafe { &*ptr::from_ref(hint).cast() }
    }

    #[inline(always)]
    pub(crate) fn hint(&self) -> &Hint {
        &self.0
    }

    /// The right to run the actor, if `wake` says that it is the caller's now. To be asked once for each.
    #[inline(always)]
    pub(crate) fn right(&self, wake: Wake) -> Option<Hint> {
        match wake {
            Wake::No => None,
            // SAFETY: besides those who hold it an actor has one holder as long as it has not ended: the right to run it.
            // While it is parked nobody has that; who ends the sleep gets it, and that is what `wake` says.
            Wake::Schedule => Some(unsafe { self.0.same() }),
        }
    }
}

impl<M> CellRef<M> {
    /// Has the processor bring the actor here, which may have run on another one, while the caller does something else.
    #[inline(always)]
    pub(crate) fn fetch(&self) {
        // Lines of a cell with small messages, and of what comes after it in a small actor.
        for line in 0..6 {
            prefetch::to_write(self.0.as_ptr().cast::<u8>().wrapping_add(64 * line));
        }
    }
}

impl<M> Deref for CellRef<M> {
    type Target = Cell<M>;

    #[inline(always)]
    fn deref(&self) -> &Cell<M> {
        // SAFETY: alive as long as this, and it begins with a `Cell<M>`.
        unsafe { &*self.0.as_ptr().cast() }
    }
}

impl<M> Clone for CellRef<M> {
    #[inline(always)]
    fn clone(&self) -> Self {
        Self(self.0.clone(), PhantomData)
    }
}

/// See the module's documentation.
#[derive(Clone, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct ControlRef(Hint);

impl ControlRef {
    /// The actor behind a hint, where there is one.
    pub(crate) fn of(hint: Hint) -> Option<Self> {
        hint.control().is_some().then(|| Self(hint))
    }

    pub(crate) fn hint(&self) -> &Hint {
        &self.0
    }

    pub(crate) fn into_hint(self) -> Hint {
        self.0
    }

    /// The cell, if its messages are of this type.
    pub(crate) fn downcast<M: Send + 'static>(&self) -> Option<CellRef<M>> {
        (self.message_type() == TypeId::of::<M>()).then(|| CellRef::of(&self.0).clone())
    }
}

impl Deref for ControlRef {
    type Target = dyn Control;

    #[inline]
    fn deref(&self) -> &(dyn Control + 'static) {
        self.0.control().expect("made of actors alone")
    }
}

impl<M: Send + 'static> From<CellRef<M>> for ControlRef {
    fn from(cell: CellRef<M>) -> Self {
        Self(cell.0)
    }
}
