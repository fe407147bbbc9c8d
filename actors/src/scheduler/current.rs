//! The actor that runs on this thread.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tracing::error;

use super::scoped::Scoped;
use super::{After, Hint};
use crate::panic_text::panic_text;

thread_local! {
    static CURRENT: Scoped<Hint> = const { Scoped::new() };
}

/// Shows `f` the actor that runs on this thread now.
pub(crate) fn current<R>(f: impl FnOnce(Option<&Hint>) -> R) -> R {
    Scoped::with(&CURRENT, f)
}

/// Runs `hint` as the current actor and says what became of it. A panic that comes out of it, which none may, is logged:
/// its word still says that it runs, so it never runs again, but the carrier lives.
#[inline]
pub(super) fn run(hint: Hint, uid: u64) -> (Hint, After) {
    let run = || Scoped::set(&CURRENT, &hint, || hint.run());
    let after = catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        note(uid, &*panic);
        After::Ended
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
