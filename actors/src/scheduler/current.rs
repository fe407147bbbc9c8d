//! The actor that runs on this thread, and running one inside another.

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

/// Runs `hint` as the current actor and returns it if it is to be put back. A panic that comes out of it, which none may,
/// is logged and the hint is given up: its word still says that it runs, so it never runs again, but the carrier lives.
#[inline]
pub(super) fn run(hint: Hint, uid: u64) -> Option<Hint> {
    run_as(hint, uid, |hint| hint.run(hint))
}

#[inline]
fn run_as(hint: Hint, uid: u64, how: impl FnOnce(&Hint) -> After) -> Option<Hint> {
    let run = || match Scoped::set(&CURRENT, &hint, || how(&hint)) {
        After::Again => Some(hint),
        After::Parked => {
            // Perhaps the last that knew the actor: its parts may panic too.
            drop(hint);
            None
        }
    };
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        error!(
            uid,
            panic = panic_text(&*panic),
            "a panic left the run of an actor, which runs no more: a defect of the engine"
        );
        None
    })
}

/// As [`run`], inside what runs on this thread already.
///
/// # Errors
/// The hint, when that is too deep.
pub(super) fn run_nested(hint: Hint) -> Result<Option<Hint>, Hint> {
    struct Up;
    impl Drop for Up {
        fn drop(&mut self) {
            INLINE.set(INLINE.get() - 1);
        }
    }
    if INLINE.get() >= DEPTH {
        return Err(hint);
    }
    INLINE.set(INLINE.get() + 1);
    let _up = Up;
    let uid = hint.uid();
    Ok(run_as(hint, uid, |hint| hint.run_past_hint(hint)))
}
