//! [`Lineage`]: under whom an actor was spawned, and in which system.
//!
//! # Invariant
//! Every actor knows its system, and actors come and go on all threads: to count each of them would have all threads write to
//! one cache line. So the system is counted by those alone whose parent is a guardian. All others have it through their
//! parent, whom they hold for as long as they exist, and whose own lineage never changes.

#![allow(unsafe_code, reason = "the system is held by the parent, which is not something a reference can say")]

use std::mem::ManuallyDrop;
use std::ptr;

use crate::cell::Parent;
use crate::system::ActorSystem;

#[repr(C)]
pub(crate) struct Lineage {
    /// The actor's own, if its parent is a guardian; else that of its parent, once more and not counted.
    system: ManuallyDrop<ActorSystem>,
    parent: Parent,
}

impl Lineage {
    /// `system`: that of `parent`. It is not looked at where the parent is an actor.
    pub(crate) fn new(system: &ActorSystem, parent: Parent) -> Self {
        let system = match &parent {
            Parent::Guardian(_) => system.clone(),
            // SAFETY: `parent` goes into the same value, holds the parent, and with it its lineage, which holds the system or
            // holds by its own parent who does. Here it is never dropped: see below.
            Parent::Actor(parent) => unsafe { ptr::read(parent.head().system()) },
        };
        Self { system: ManuallyDrop::new(system), parent }
    }

    #[inline(always)]
    pub(crate) fn system(&self) -> &ActorSystem {
        &self.system
    }

    #[inline(always)]
    pub(crate) fn parent(&self) -> &Parent {
        &self.parent
    }
}

impl Drop for Lineage {
    fn drop(&mut self) {
        if let Parent::Guardian(_) = self.parent {
            // SAFETY: it was cloned for this value, and nobody sees it after this.
            unsafe { ManuallyDrop::drop(&mut self.system) }
        }
    }
}
