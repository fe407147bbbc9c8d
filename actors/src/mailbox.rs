//! [`Mailbox`]: how many messages may wait for an actor.

use std::num::NonZeroUsize;

/// How many messages may wait for an actor.
///
/// Room is not set aside in advance: the bound is a fuse against runaway memory, not a reservation. Answers, timers and
/// signals do not compete for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mailbox {
    bound: Option<NonZeroUsize>,
}

impl Mailbox {
    /// Messages that may wait by default.
    pub const DEFAULT_CAPACITY: usize = 65_536;

    /// At most `capacity` messages wait.
    ///
    /// # Panics
    /// When `capacity` is zero: such an actor could never be told anything.
    pub const fn bounded(capacity: usize) -> Self {
        match NonZeroUsize::new(capacity) {
            Some(bound) => Self { bound: Some(bound) },
            None => panic!("mailbox capacity must be at least 1"),
        }
    }

    /// Any number of messages wait. Say beside it why the senders cannot run away.
    pub const fn unbounded() -> Self {
        Self { bound: None }
    }

    pub(crate) fn capacity(self) -> usize {
        self.bound.map_or(usize::MAX, NonZeroUsize::get)
    }
}

impl Default for Mailbox {
    fn default() -> Self {
        Self::bounded(Self::DEFAULT_CAPACITY)
    }
}
