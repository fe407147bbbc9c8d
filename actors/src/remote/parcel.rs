//! [`Parcel`]: one message on its way to an actor elsewhere.

use std::any::{Any, TypeId, type_name};
use std::fmt;

use super::any_ref::AnyActorRef;
use super::link::AskLink;
use super::stand_in::Refused;
use crate::actor_ref::TryTellError;
use crate::ask::AskError;
use crate::cell::Control;
use crate::clock::Tick;
use crate::discard;
use crate::envelope::Question;
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
    pub(super) question: Option<Question>,
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
        self.question.as_ref().map(Question::deadline)
    }

    /// The ask behind it, if an actor made it in the handling of a message and may await it there.
    pub fn link(&self) -> Option<AskLink> {
        match &self.question {
            Some(Question::Link(link)) => Some(AskLink::new(link.clone())),
            _ => None,
        }
    }

    /// The actor it is for.
    pub fn to(&self) -> super::Handle {
        (self.handle)()
    }

    /// Takes the message out, to be sent later. One allocation.
    pub fn take(self) -> Message {
        Message(self.slot.take())
    }

    /// Tells it to an actor of this system. One whose messages are of another type gets none, and it is a dead letter.
    ///
    /// # Errors
    /// As [`ActorRef::try_tell`](crate::ActorRef::try_tell); it is still in here.
    pub fn forward(self, actor: &AnyActorRef) -> Result<(), Refused> {
        if let Some(Question::Link(link)) = &self.question {
            link.went_to(actor.key());
        }
        self.slot.forward(self.to, actor, self.question)
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

    /// The message itself.
    pub fn into_any(self) -> Box<dyn Any + Send> {
        self.0.into_any()
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
    fn forward(&mut self, to: &dyn Control, actor: &AnyActorRef, question: Option<Question>) -> Result<(), Refused>;
}

/// A message that is made when it is needed.
pub(super) struct Unmade<F, M> {
    pub(super) make: F,
    pub(super) made: Option<M>,
}

impl<F: FnMut() -> M, M> Unmade<F, M> {
    fn made(&mut self) -> &mut Option<M> {
        if self.made.is_none() {
            self.made = Some((self.make)());
        }
        &mut self.made
    }
}

impl<F: FnMut() -> M, M: Send + 'static> Slot for Unmade<F, M> {
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

    fn forward(&mut self, to: &dyn Control, actor: &AnyActorRef, question: Option<Question>) -> Result<(), Refused> {
        let Some(actor) = actor.actor_ref::<M>() else {
            self.undelivered(to, DeadLetterReason::Unsendable);
            return Ok(());
        };
        let message = self.made().take().expect("it was just made");
        actor.try_tell_linked(message, question).map_err(|refused| {
            let (refused, message) = match refused {
                TryTellError::Full(message) => (Refused::Full, message),
                TryTellError::Stopped(message) => (Refused::Stopped, message),
            };
            self.made = Some(message);
            refused
        })
    }
}

pub(super) trait Kept: Send {
    fn as_any(&self) -> &dyn Any;
    fn into_any(self: Box<Self>) -> Box<dyn Any + Send>;
    fn message_type(&self) -> (TypeId, &'static str);
    fn undelivered(self: Box<Self>, to: &dyn Control, reason: DeadLetterReason);
}

struct Whole<M>(M);

impl<M: Send + 'static> Kept for Whole<M> {
    fn as_any(&self) -> &dyn Any {
        &self.0
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any + Send> {
        Box::new(self.0)
    }

    fn message_type(&self) -> (TypeId, &'static str) {
        (TypeId::of::<M>(), type_name::<M>())
    }

    fn undelivered(self: Box<Self>, to: &dyn Control, reason: DeadLetterReason) {
        to.head().dead_letter::<M>(reason);
        discard::because(reason.ask_error(), self);
    }
}
