//! [`Lineage`]: under whom an actor was spawned, and in which system.
//!
//! # Invariant
//! Every actor knows its system, and actors come and go on all threads: to count each of them would have all threads write to
//! one cache line. So the system is counted by those alone whose parent is a guardian. All others have it through their
//! parent, whom they hold for as long as they exist, and whose own lineage never changes.

#![allow(unsafe_code, reason = "the system is held by the parent, which is not something a reference can say")]

use std::mem::ManuallyDrop;
use std::ptr::{self, NonNull};
use std::sync::Arc;

use crate::cell::Parent;
use crate::cell_ref::ControlRef;
use crate::envelope::Place;
use crate::guardian::Guardian;
use crate::path::ActorPath;
use crate::scheduler::Hint;
use crate::system::ActorSystem;

#[repr(C)]
pub(crate) struct Lineage {
    /// The actor's own, if its parent is a guardian; else that of its parent, once more and not counted.
    system: ManuallyDrop<ActorSystem>,
    /// Of an actor; or of a guardian, with [`GUARDIAN`] added. Counted.
    parent: NonNull<u8>,
}

/// Neither an actor nor a guardian lies at an odd address.
const GUARDIAN: usize = 1;
const _ALIGNED: () = assert!(align_of::<Guardian>() > GUARDIAN && align_of::<crate::scheduler::Header>() > GUARDIAN);

const _SHARED: () = {
    const fn is_shared<T: Send + Sync>() {}
    is_shared::<Parent>();
    is_shared::<ActorSystem>();
};

// SAFETY: it is a `Parent` in fewer bytes, and that is `Send`, as the system is.
unsafe impl Send for Lineage {}
// SAFETY: as above, `Sync`.
unsafe impl Sync for Lineage {}

/// Who an actor was spawned by.
pub(crate) enum ParentRef<'a> {
    Actor(&'a ControlRef),
    Guardian(&'a Guardian),
}

impl<'a> ParentRef<'a> {
    pub(crate) fn path(self) -> &'a ActorPath {
        match self {
            Self::Actor(actor) => actor.head().path(),
            Self::Guardian(guardian) => guardian.own_path(),
        }
    }

    pub(crate) fn child_ended(self, place: Place) {
        match self {
            Self::Actor(actor) => actor.child_ended(place),
            Self::Guardian(guardian) => guardian.child_ended(place),
        }
    }
}

impl Lineage {
    /// `system`: that of `parent`. It is not looked at where the parent is an actor.
    pub(crate) fn new(system: &ActorSystem, parent: Parent) -> Self {
        let (system, parent) = match parent {
            Parent::Guardian(guardian) => {
                let guardian = Arc::into_raw(guardian).cast::<u8>().map_addr(|address| address | GUARDIAN);
                // SAFETY: it was not null, and is no less so with a bit set.
                (system.clone(), unsafe { NonNull::new_unchecked(guardian.cast_mut()) })
            }
            Parent::Actor(parent) => {
                // SAFETY: `parent` goes into the same value, holds the parent, and with it its lineage, which holds the system
                // or holds by its own parent who does. Here it is never dropped: see below.
                let system = unsafe { ptr::read(parent.head().system()) };
                (system, parent.into_hint().into_raw().cast())
            }
        };
        Self { system: ManuallyDrop::new(system), parent }
    }

    #[inline(always)]
    pub(crate) fn system(&self) -> &ActorSystem {
        &self.system
    }

    fn guardian(&self) -> Option<*const Guardian> {
        let parent = self.parent.as_ptr();
        (parent.addr() & GUARDIAN != 0).then(|| parent.map_addr(|address| address & !GUARDIAN).cast_const().cast())
    }

    pub(crate) fn parent(&self) -> ParentRef<'_> {
        match self.guardian() {
            // SAFETY: that of an `Arc` this holds.
            Some(guardian) => ParentRef::Guardian(unsafe { &*guardian }),
            // SAFETY: a `ControlRef` is a hint, a hint is that pointer, and it was made of one whose count is here.
            None => ParentRef::Actor(unsafe { &*(&raw const self.parent).cast::<ControlRef>() }),
        }
    }
}

impl Drop for Lineage {
    fn drop(&mut self) {
        match self.guardian() {
            // SAFETY: it came out of an `Arc` and goes back once; the system was cloned for this value. Nobody sees either after
            // this.
            Some(guardian) => unsafe {
                drop(Arc::from_raw(guardian));
                ManuallyDrop::drop(&mut self.system);
            },
            // SAFETY: it came out of a hint and goes back once.
            None => drop(unsafe { Hint::from_raw(self.parent.cast()) }),
        }
    }
}
