//! Why values are being dropped: the reason travels to destructors that have to report it.

use std::cell::{Cell, RefCell};
#[cfg(feature = "serde")]
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};

use tracing::error;

use crate::ask::AskError;
use crate::panic_text::panic_text;

thread_local! {
    static REASON: Cell<Option<AskError>> = const { Cell::new(None) };
}

/// Drops `value`; asks inside it fail with `reason` instead of `NoReply`.
pub(crate) fn because<T>(reason: AskError, value: T) {
    struct Reset(Option<AskError>);
    impl Drop for Reset {
        fn drop(&mut self) {
            REASON.set(self.0);
        }
    }
    let _reset = Reset(REASON.replace(Some(reason)));
    drop(value);
}

thread_local! {
    /// Addresses whose `ReplyTo` is dropped because it went elsewhere.
    static GONE: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

/// Does what drops a message that went elsewhere, with the `ReplyTo`s of these addresses: their asks stay open.
#[cfg(feature = "serde")]
pub(crate) fn gone(addresses: Vec<usize>, drop: impl FnOnce()) {
    struct Back(Vec<usize>);
    impl Drop for Back {
        fn drop(&mut self) {
            GONE.with_borrow_mut(|gone| mem::swap(gone, &mut self.0));
        }
    }
    let _back = Back(GONE.replace(addresses));
    drop();
}

/// Whether the `ReplyTo` of this address went elsewhere, and the one that is dropped now only stayed behind.
pub(crate) fn is_gone(address: usize) -> bool {
    GONE.with_borrow(|gone| !gone.is_empty() && gone.contains(&address))
}

/// Does what drops values of a user's or runs a bystander's code: a panic in it must not take the supervision tree along.
pub(crate) fn caught(drop: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(drop)) {
        error!(panic = panic_text(&*panic), "panicked beside an actor's own work");
        // What a panic carries may panic in its turn when it is dropped.
        if let Err(again) = catch_unwind(AssertUnwindSafe(move || std::mem::drop(panic))) {
            std::mem::forget(again);
        }
    }
}

/// Drops all of them, whichever of their destructors panic.
pub(crate) fn each_caught<T>(values: impl IntoIterator<Item = T>) {
    values.into_iter().for_each(|value| caught(|| drop(value)));
}

/// As [`each_caught`]; asks inside them fail with `reason`.
pub(crate) fn each_caught_because<T>(reason: AskError, values: impl IntoIterator<Item = T>) {
    values.into_iter().for_each(|value| caught(|| because(reason, value)));
}

/// What an ask ends with whose `ReplyTo` is dropped now.
pub(crate) fn reason() -> AskError {
    REASON.get().unwrap_or(AskError::NoReply)
}
