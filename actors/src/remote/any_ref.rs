//! [`AnyActorRef`]: an actor of this system, whatever its messages are.

use std::any::{Any, TypeId, type_name};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::link::AskLink;
use super::stand_in::RemoteActor;
use crate::actor_ref::{ActorRef, TryTellError};
use crate::audience::Terminated;
use crate::clock::Tick;
use crate::envelope::Question;
use crate::event_stream::DeadLetterReason;
use crate::path::ActorPath;
use crate::system::ActorSystem;

/// A reference without the type of its messages: for tables of actors that others can name. Cheap to clone.
#[derive(Clone)]
pub struct AnyActorRef(Arc<dyn Erased>);

/// Why a message that came from elsewhere was not taken. It is in there.
pub enum Undelivered {
    /// The mailbox is full.
    Full(Box<dyn Any + Send>),
    /// The actor has stopped for good.
    Stopped(Box<dyn Any + Send>),
    /// The actor takes messages of another type.
    OtherType(Box<dyn Any + Send>),
}

impl fmt::Debug for Undelivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full",
            Self::Stopped(_) => "Stopped",
            Self::OtherType(_) => "OtherType",
        })
    }
}

impl AnyActorRef {
    /// Of `actor`. One allocation.
    pub fn of<M: Send + 'static>(actor: &ActorRef<M>) -> Self {
        Self(Arc::new(actor.clone()))
    }

    /// The reference, if its messages are of this type.
    pub fn actor_ref<M: Send + 'static>(&self) -> Option<ActorRef<M>> {
        self.0.as_any().downcast_ref::<ActorRef<M>>().cloned()
    }

    /// Which incarnation this names.
    pub fn path(&self) -> &ActorPath {
        self.0.path()
    }

    /// Tells this incarnation from all others: the number of its system, and below it its own.
    pub fn key(&self) -> u128 {
        self.path().key()
    }

    /// The type of its messages.
    pub fn message_type(&self) -> (TypeId, &'static str) {
        self.0.message_type()
    }

    /// What stands behind it, where it is an actor elsewhere.
    pub fn remote(&self) -> Option<&Arc<dyn RemoteActor>> {
        self.0.remote()
    }

    /// As [`remote`](Self::remote), and also for a reference to a part of that actor's protocol.
    pub fn behind(&self) -> Option<&Arc<dyn RemoteActor>> {
        self.0.behind()
    }

    /// Tells references to parts of one actor's protocol from each other, and from that to the whole, which has none: the same
    /// for clones, and for no other as long as any of them is there.
    pub fn part(&self) -> Option<usize> {
        self.0.part()
    }

    /// As [`ActorRef::terminated`].
    pub fn terminated(&self) -> Terminated {
        self.0.terminated()
    }

    /// As [`ActorRef::try_tell`]. `deadline`: until when whoever asked waits, by the clock of the actor's system; `link` says
    /// that itself, where the ask was made in the handling of a message. Allocates nothing but for a link, unless the message
    /// comes back.
    ///
    /// # Errors
    /// The message comes back.
    pub fn try_tell<M: Send + 'static>(
        &self,
        message: M,
        deadline: Option<Tick>,
        link: Option<&AskLink>,
    ) -> Result<(), Undelivered> {
        let Some(actor) = self.0.as_any().downcast_ref::<ActorRef<M>>() else {
            return Err(Undelivered::OtherType(Box::new(message)));
        };
        let question = match link {
            Some(link) => Some(Question::Link(link.link().clone())),
            None => deadline.map(Question::Until),
        };
        actor.try_tell_linked(message, question).map_err(|refused| match refused {
            TryTellError::Full(message) => Undelivered::Full(Box::new(message)),
            TryTellError::Stopped(message) => Undelivered::Stopped(Box::new(message)),
        })
    }

    /// As [`ActorRef::send`]; a message of another type is dropped. Cancel safe, and then the message is gone.
    ///
    /// # Errors
    /// The message comes back once the actor has stopped.
    pub fn send(&self, message: Box<dyn Any + Send>) -> Delivery<'_> {
        self.0.send(message)
    }

    /// Makes a dead letter of a message that came from elsewhere and could not be read.
    pub fn unread(&self, reason: DeadLetterReason) {
        self.0.unread(reason);
    }

    /// Makes a dead letter of a message that came from elsewhere; asks in it end.
    pub fn undelivered(&self, message: Box<dyn Any + Send>, reason: DeadLetterReason) {
        self.0.undelivered(message, reason);
    }
}

/// The wait for room.
pub type Delivery<'a> = Pin<Box<dyn Future<Output = Result<(), Undelivered>> + Send + 'a>>;

impl fmt::Debug for AnyActorRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AnyActorRef").field(self.path()).finish()
    }
}

trait Erased: Send + Sync {
    fn as_any(&self) -> &dyn Any;
    fn path(&self) -> &ActorPath;
    fn message_type(&self) -> (TypeId, &'static str);
    fn remote(&self) -> Option<&Arc<dyn RemoteActor>>;
    fn behind(&self) -> Option<&Arc<dyn RemoteActor>>;
    fn part(&self) -> Option<usize>;
    fn terminated(&self) -> Terminated;
    fn send(&self, message: Box<dyn Any + Send>) -> Delivery<'_>;
    fn undelivered(&self, message: Box<dyn Any + Send>, reason: DeadLetterReason);
    fn unread(&self, reason: DeadLetterReason);
}

/// Makes a dead letter of a message that came from elsewhere, for an actor that is not found. `path` says which.
pub fn not_found(system: &ActorSystem, path: &ActorPath) {
    system.event_stream().dead_letter(path, "a message from another node", DeadLetterReason::Stopped);
}

impl<M: Send + 'static> Erased for ActorRef<M> {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn path(&self) -> &ActorPath {
        Self::path(self)
    }

    fn message_type(&self) -> (TypeId, &'static str) {
        (TypeId::of::<M>(), type_name::<M>())
    }

    fn remote(&self) -> Option<&Arc<dyn RemoteActor>> {
        self.as_stand_in().map(|stand_in| stand_in.remote())
    }

    fn behind(&self) -> Option<&Arc<dyn RemoteActor>> {
        self.control().head().elsewhere()?.remote.as_ref()
    }

    fn part(&self) -> Option<usize> {
        self.recipient_address()
    }

    fn terminated(&self) -> Terminated {
        Self::terminated(self)
    }

    fn send(&self, message: Box<dyn Any + Send>) -> Delivery<'_> {
        Box::pin(async move {
            let message = *message.downcast::<M>().map_err(Undelivered::OtherType)?;
            let sent = Self::send(self, message).await;
            sent.map_err(|stopped| Undelivered::Stopped(Box::new(stopped.0)))
        })
    }

    fn undelivered(&self, message: Box<dyn Any + Send>, reason: DeadLetterReason) {
        if let Ok(message) = message.downcast::<M>() {
            Self::undelivered(self, reason, *message);
        }
    }

    fn unread(&self, reason: DeadLetterReason) {
        self.control().head().dead_letter::<M>(reason);
    }
}
