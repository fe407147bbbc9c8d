//! The actor that runs on this thread, and running one inside another.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use tracing::error;

use super::scoped::Scoped;
use super::{After, Hint, Runnable};
use crate::panic_text::panic_text;

/// Actors running inside each other on one thread: an asker that runs whom it asks, and so on.
const DEPTH: u32 = 8;

thread_local! {
    static CURRENT: Scoped<Hint> = const { Scoped::new() };
    static INLINE: Cell<u32> = const { Cell::new(0) };
}

/// Shows `f` the actor that runs on this thread now, the innermost one if several run inside each other.
pub(crate) fn current<R>(f: impl FnOnce(Option<&Arc<dyn Runnable>>) -> R) -> R {
    Scoped::with(&CURRENT, f)
}

/// Runs `hint` as the current actor and says what became of it. A panic that comes out of it, which none may, is logged:
/// its word still says that it runs, so it never runs again, but the carrier lives.
#[inline]
pub(super) fn run(hint: Hint, uid: u64) -> (Hint, After) {
    let run = || Scoped::set(&CURRENT, &hint, || hint.run(&hint));
    let after = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        note(uid, &*panic);
        After::Parked
    });
    (hint, after)
}

#[cold]
fn note(uid: u64, panic: &(dyn Any + Send)) {
    error!(
        uid,
        panic = panic_text(panic),
        "a panic left the run of an actor, which runs no more: a defect of the engine"
    );
}

/// As [`run`], inside what runs on this thread already, past the hint that is out. `None` when that is too deep.
pub(super) fn run_nested(hint: &Hint) -> Option<After> {
    struct Up;
    impl Drop for Up {
        fn drop(&mut self) {
            INLINE.set(INLINE.get() - 1);
        }
    }
    if INLINE.get() >= DEPTH {
        return None;
    }
    INLINE.set(INLINE.get() + 1);
    let _up = Up;
    let run = || Scoped::set(&CURRENT, hint, || hint.run_past_hint(hint));
    Some(catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        note(hint.uid(), &*panic);
        After::Parked
    }))
}
