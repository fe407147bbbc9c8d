//! [`StashBuffer`]: messages held back until the state to serve them is there.

use std::collections::VecDeque;
use std::fmt;

use crate::actor_ref::ActorRef;
use crate::ask_chain::Turn;
use crate::cell::Head;
use crate::context::ActorContext;
use crate::envelope::Question;
use crate::event_stream::DeadLetterReason;
use crate::trace::{self, Origin};

/// Messages an actor holds back, in order, at most as many as it was made for.
///
/// What [`ActorContext::stash`](crate::ActorContext::stash) holds back remembers until when somebody waits for its answer.
///
/// A stash that is dropped, with the state of a life that failed for instance, takes its messages along; each is counted
/// as a dead letter. [`ActorContext::unstash_all`](crate::ActorContext::unstash_all) brings them back.
pub struct StashBuffer<M> {
    messages: VecDeque<Stashed<M>>,
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
        self.try_stash(message).map_err(|message| self.refused(message))
    }

    /// Holds `message` back, or returns it when as many as allowed are held.
    ///
    /// # Errors
    /// The message itself.
    pub fn try_stash(&mut self, message: M) -> Result<(), M> {
        self.hold(message, || None)
    }

    fn hold(&mut self, message: M, behind: impl FnOnce() -> Option<Box<Behind>>) -> Result<(), M> {
        if self.messages.len() >= self.capacity {
            return Err(message);
        }
        self.messages.push_back(Stashed { message, behind: behind() });
        Ok(())
    }

    fn refused(&self, message: M) -> StashFull {
        count_dropped::<M>(1, DeadLetterReason::StashFull);
        drop(message);
        StashFull { capacity: self.capacity }
    }

    /// How many are held.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(crate) fn take(&mut self) -> VecDeque<Stashed<M>> {
        std::mem::take(&mut self.messages)
    }
}

/// A message that was held back.
pub(crate) struct Stashed<M> {
    pub(crate) message: M,
    pub(crate) behind: Option<Box<Behind>>,
}

impl<M> Stashed<M> {
    pub(crate) fn alone(message: M) -> Self {
        Self { message, behind: None }
    }
}

/// What is behind a message besides the message.
pub(crate) struct Behind {
    pub(crate) question: Option<Question>,
    pub(crate) origin: Option<Box<Origin>>,
}

impl Behind {
    /// Of the message that `head` has in hand.
    fn message_of(head: &Head) -> Option<Box<Self>> {
        let question = head.question();
        let origin = head.tracer().and_then(|_| trace::here()).map(Box::new);
        (question.is_some() || origin.is_some()).then(|| Box::new(Self { question, origin }))
    }
}

impl<M: Send + 'static> ActorContext<M> {
    /// Holds `message`, which is the one in hand, back in `stash` together with what is behind it: once it was brought back,
    /// [`deadline`](ActorContext::deadline) says until when its asker waits, an ask made for it ends then, and if that moment
    /// has passed it is not handled but becomes a dead letter of reason [`Expired`](DeadLetterReason::Expired). A trace goes on
    /// too. [`StashBuffer::stash`] holds any message back, and nothing but the message.
    ///
    /// # Errors
    /// As [`StashBuffer::stash`].
    pub fn stash(&self, stash: &mut StashBuffer<M>, message: M) -> Result<(), StashFull> {
        let held = stash.hold(message, || Behind::message_of(self.head()));
        held.map_err(|message| stash.refused(message))
    }

    /// Tells `message` to `target` in place of this actor: who asked the message in hand now waits for `target`. So
    /// [`deadline`](ActorContext::deadline) holds there too, a question whose time is over is not handled there, and an ask
    /// that goes in a circle is found. The answer goes straight to the asker, by the `ReplyTo` in the message.
    ///
    /// Where nobody asked, and in another system, it is [`tell`](ActorRef::tell).
    pub fn forward<N: Send + 'static>(&self, target: &ActorRef<N>, message: N) {
        let question = self.head().question();
        // A moment of this system's clock says nothing to another.
        target.tell_linked(message, question.filter(|_| target.system().clock().is(self.clock())));
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
