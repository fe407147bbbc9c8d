//! [`Mailbox`]: how many messages may wait for an actor, and what becomes of the next one.

use std::num::NonZeroUsize;

/// How many messages may wait for an actor, and what becomes of a message when there is no room: it is refused, unless
/// [`drop_oldest`](Mailbox::drop_oldest) or [`drop_newest`](Mailbox::drop_newest) says otherwise. Bytes are bounded by
/// [`Props::mailbox_bytes`](crate::Props::mailbox_bytes).
///
/// Room is not set aside in advance: the bound is a fuse against runaway memory, not a reservation. Answers, timers and
/// signals do not compete for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mailbox {
    bound: Option<NonZeroUsize>,
    when_full: WhenFull,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WhenFull {
    Refuse,
    DropOldest,
    DropNewest,
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
            Some(bound) => Self { bound: Some(bound), when_full: WhenFull::Refuse },
            None => panic!("mailbox capacity must be at least 1"),
        }
    }

    /// Any number of messages wait. Say beside it why the senders cannot run away.
    pub const fn unbounded() -> Self {
        Self { bound: None, when_full: WhenFull::Refuse }
    }

    /// When there is no room the message that has waited longest goes, as a dead letter of reason
    /// [`Displaced`](crate::DeadLetterReason::Displaced): for news of which the latest counts. Nobody is refused, and
    /// [`send`](crate::ActorRef::send) does not wait. An ask that goes ends with [`AskError::Full`](crate::AskError::Full).
    ///
    /// All messages are alike here, adapted ones too: never for an actor that must not lose orders or answers. Costs a lock
    /// per message.
    #[must_use]
    pub const fn drop_oldest(mut self) -> Self {
        self.when_full = WhenFull::DropOldest;
        self
    }

    /// When there is no room the message that comes is dropped, as a dead letter of reason
    /// [`MailboxFull`](crate::DeadLetterReason::MailboxFull), however it was sent: [`try_tell`](crate::ActorRef::try_tell)
    /// does not return it, and [`send`](crate::ActorRef::send) does not wait. For senders that must never be held up, nor
    /// decide anything themselves. An ask ends with [`AskError::Full`](crate::AskError::Full). Costs a lock per message.
    #[must_use]
    pub const fn drop_newest(mut self) -> Self {
        self.when_full = WhenFull::DropNewest;
        self
    }

    pub(crate) fn when_full(self) -> WhenFull {
        self.when_full
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
