//! The actor that runs on this thread.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tracing::error;

use super::scoped::{self, Scoped};
use super::{After, Hint};
use crate::panic_text::panic_text;

thread_local! {
    static CURRENT: Scoped<Hint> = const { Scoped::new() };
}

/// Shows `f` the actor that runs on this thread now.
pub(crate) fn current<R>(f: impl FnOnce(Option<&Hint>) -> R) -> R {
    Scoped::with(&CURRENT, f)
}

/// Runs `hint` as the current actor and says what became of it.
#[inline]
pub(super) fn run(hint: Hint) -> (Hint, After) {
    let in_turn = in_turn();
    let after = catch_unwind(AssertUnwindSafe(|| in_turn.run(&hint)));
    let after = after.unwrap_or_else(|panic| in_turn.panicked(&hint, panic));
    (hint, after)
}

/// For actors that this thread runs one after the other.
#[inline]
pub(super) fn in_turn() -> InTurn {
    InTurn(Scoped::in_turn(&CURRENT))
}

pub(super) struct InTurn(scoped::InTurn<Hint>);

impl InTurn {
    /// Runs `hint` as the current actor and says what became of it. When this unwinds, [`panicked`](InTurn::panicked) says it.
    #[inline(always)]
    pub(super) fn run(&self, hint: &Hint) -> After {
        self.0.show(hint, || hint.run())
    }

    /// What became of an actor whose run has unwound. A panic that comes out of this too is logged: the actor's word still
    /// says that it runs, so it never runs again, but the carrier lives.
    #[cold]
    pub(super) fn panicked(&self, hint: &Hint, panic: Box<dyn Any + Send>) -> After {
        let go_on = || self.0.show(hint, || hint.panicked(panic));
        catch_unwind(AssertUnwindSafe(go_on)).unwrap_or_else(|panic| {
            note(hint.uid(), &*panic);
            After::Ended
        })
    }
}

#[cold]
pub(super) fn note(uid: u64, panic: &(dyn Any + Send)) {
    error!(
        uid,
        panic = panic_text(panic),
        "a panic left the run of an actor, which runs no more: a defect of the engine"
    );
}
