//! [`Parcel`]: one message on its way to an actor elsewhere.

use std::any::{Any, TypeId, type_name};
use std::fmt;

use crate::ask::AskError;
use crate::cell::Control;
use crate::clock::Tick;
use crate::discard;
use crate::event_stream::DeadLetterReason;

/// A message for an actor elsewhere, made when it is first looked at; see [`RemoteActor`](super::RemoteActor).
///
/// Dropped without having been looked at it was not sent. Otherwise one of [`take`](Parcel::take), [`gone`](Parcel::gone) and
/// [`undelivered`](Parcel::undelivered) says what became of it; dropped without any of them, asks in it end with
/// [`AskError::NoReply`].
pub struct Parcel<'a> {
    pub(super) slot: &'a mut (dyn Slot + 'a),
    pub(super) to: &'a dyn Control,
    pub(super) handle: &'a dyn Fn() -> super::Handle,
    pub(super) deadline: Option<Tick>,
}

/// A message, whatever its type, kept until it can be sent.
pub struct Message(pub(super) Box<dyn Kept>);

impl Parcel<'_> {
    /// The message.
    pub fn message(&mut self) -> &dyn Any {
        self.slot.look()
    }

    /// Its type.
    pub fn message_type(&self) -> (TypeId, &'static str) {
        self.slot.message_type()
    }

    /// Until when whoever asked waits for the answer, by the clock of the stand-in's system; none if it was not asked.
    pub fn deadline(&self) -> Option<Tick> {
        self.deadline
    }

    /// The actor it is for.
    pub fn to(&self) -> super::Handle {
        (self.handle)()
    }

    /// Takes the message out, to be sent later. One allocation.
    pub fn take(self) -> Message {
        Message(self.slot.take())
    }

    /// It was written, and is dropped here. Asks whose [`ReplyTo`](crate::ReplyTo) went with it stay open.
    #[cfg(feature = "serde")]
    pub fn gone(self, gone: super::Gone) {
        gone.among(|| self.slot.discard(None));
    }

    /// It cannot be delivered: a dead letter, and asks in it end.
    pub fn undelivered(self, reason: DeadLetterReason) {
        self.slot.undelivered(self.to, reason);
    }
}

impl Message {
    /// The message.
    pub fn as_any(&self) -> &dyn Any {
        self.0.as_any()
    }

    /// Its type.
    pub fn message_type(&self) -> (TypeId, &'static str) {
        self.0.message_type()
    }

    /// As [`Parcel::gone`].
    #[cfg(feature = "serde")]
    pub fn gone(self, gone: super::Gone) {
        gone.among(|| drop(self.0));
    }

    /// As [`Parcel::undelivered`].
    pub fn undelivered(self, to: &super::Handle, reason: DeadLetterReason) {
        self.0.undelivered(to.control(), reason);
    }
}

impl fmt::Debug for Parcel<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Parcel").field(&self.message_type().1).finish()
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Message").field(&self.message_type().1).finish()
    }
}

pub(super) trait Slot {
    fn look(&mut self) -> &dyn Any;
    fn message_type(&self) -> (TypeId, &'static str);
    fn take(&mut self) -> Box<dyn Kept>;
    fn discard(&mut self, reason: Option<AskError>);
    fn undelivered(&mut self, to: &dyn Control, reason: DeadLetterReason);
}

/// A message that is made when it is needed.
pub(super) struct Unmade<'a, M> {
    pub(super) make: &'a mut dyn FnMut() -> M,
    pub(super) made: Option<M>,
}

impl<M> Unmade<'_, M> {
    fn made(&mut self) -> &mut Option<M> {
        if self.made.is_none() {
            self.made = Some((self.make)());
        }
        &mut self.made
    }
}

impl<M: Send + 'static> Slot for Unmade<'_, M> {
    fn look(&mut self) -> &dyn Any {
        self.made().as_ref().expect("it was just made")
    }

    fn message_type(&self) -> (TypeId, &'static str) {
        (TypeId::of::<M>(), type_name::<M>())
    }

    fn take(&mut self) -> Box<dyn Kept> {
        Box::new(Whole(self.made().take().expect("it was just made")))
    }

    fn discard(&mut self, reason: Option<AskError>) {
        let message = self.made().take();
        match reason {
            Some(reason) => discard::because(reason, message),
            None => drop(message),
        }
    }

    fn undelivered(&mut self, to: &dyn Control, reason: DeadLetterReason) {
        to.head().dead_letter::<M>(reason);
        self.discard(Some(reason.ask_error()));
    }
}

pub(super) trait Kept: Send {
    fn as_any(&self) -> &dyn Any;
    fn message_type(&self) -> (TypeId, &'static str);
    fn undelivered(self: Box<Self>, to: &dyn Control, reason: DeadLetterReason);
}

struct Whole<M>(M);

impl<M: Send + 'static> Kept for Whole<M> {
    fn as_any(&self) -> &dyn Any {
        &self.0
    }

    fn message_type(&self) -> (TypeId, &'static str) {
        (TypeId::of::<M>(), type_name::<M>())
    }

    fn undelivered(self: Box<Self>, to: &dyn Control, reason: DeadLetterReason) {
        to.head().dead_letter::<M>(reason);
        discard::because(reason.ask_error(), self);
    }
}
