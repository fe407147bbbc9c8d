//! [`StashBuffer`]: messages held back until the state to serve them is there.

use std::collections::VecDeque;
use std::fmt;

use crate::ask_chain::Turn;
use crate::event_stream::DeadLetterReason;

/// Messages an actor holds back, in order, at most as many as it was made for.
///
/// A stash that is dropped, with the state of a life that failed for instance, takes its messages along; each is counted
/// as a dead letter. [`ActorContext::unstash_all`](crate::ActorContext::unstash_all) brings them back.
pub struct StashBuffer<M> {
    messages: VecDeque<M>,
    capacity: usize,
}

impl<M> StashBuffer<M> {
    /// A stash for at most `capacity` messages. Room is not set aside in advance.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { messages: VecDeque::new(), capacity }
    }

    /// Holds `message` back.
    ///
    /// # Errors
    /// [`StashFull`] when as many as allowed are held; `message` is dropped and counted as a dead letter, and an asker learns so.
    pub fn stash(&mut self, message: M) -> Result<(), StashFull> {
        self.try_stash(message).map_err(|_| {
            count_dropped::<M>(1, DeadLetterReason::StashFull);
            StashFull { capacity: self.capacity }
        })
    }

    /// Holds `message` back, or returns it when as many as allowed are held.
    ///
    /// # Errors
    /// The message itself.
    pub fn try_stash(&mut self, message: M) -> Result<(), M> {
        if self.messages.len() >= self.capacity {
            return Err(message);
        }
        self.messages.push_back(message);
        Ok(())
    }

    /// How many are held.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(crate) fn take(&mut self) -> VecDeque<M> {
        std::mem::take(&mut self.messages)
    }
}

impl<M> Drop for StashBuffer<M> {
    fn drop(&mut self) {
        count_dropped::<M>(self.messages.len(), DeadLetterReason::StashDropped);
    }
}

/// A stash is part of an actor's state, so whoever drops from it runs in that actor's turn.
fn count_dropped<M>(count: usize, reason: DeadLetterReason) {
    if count > 0
        && let Some(turn) = Turn::current()
    {
        turn.dead_letters::<M>(count, reason);
    }
}

impl<M> fmt::Debug for StashBuffer<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StashBuffer").field("len", &self.messages.len()).field("capacity", &self.capacity).finish()
    }
}

/// A stash holds as many messages as it may. The message was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("stash is full ({capacity} messages); raise its capacity or answer early messages with an error")]
pub struct StashFull {
    /// How many it may hold.
    pub capacity: usize,
}
