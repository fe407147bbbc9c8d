//! Why values are being dropped: the reason travels to destructors that have to report it.

use std::cell::Cell;

use crate::ask::AskError;

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

/// What an ask ends with whose `ReplyTo` is dropped now.
pub(crate) fn reason() -> AskError {
    REASON.get().unwrap_or(AskError::NoReply)
}
