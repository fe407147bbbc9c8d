//! [`ChildRef`]: a supervised child, whichever incarnation of it runs now.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::actor_ref::{ActorRef, Stopped, TryTellError};
use crate::ask::{AskError, ReplyTo};

/// A child of a [`Supervisor`](super::Supervisor), whichever incarnation of it runs now. Cheap to clone.
///
/// An [`ActorRef`] names one incarnation and leads to dead letters after its end. A `ChildRef` follows the child through
/// restarts of its group. Made by [`ChildSpec::child_ref`](super::ChildSpec::child_ref), or before any supervisor exists
/// by [`ChildRef::new`] and [`ChildSpec::referred_by`](super::ChildSpec::referred_by); the latter follows the child through
/// a restart of its supervisor too.
///
/// There is no `tell`: between two incarnations nobody is there whose dead letter it could be. Keeps nothing alive.
pub struct ChildRef<M>(Arc<watch::Sender<Place<M>>>);

/// Who is in a child's place.
enum Place<M> {
    /// Nobody yet, or nobody just now.
    Vacant,
    Taken(ActorRef<M>),
    /// Nobody, and nobody is going to be.
    Over,
}

impl<M: Send + 'static> ChildRef<M> {
    /// Refers to nobody until a [`ChildSpec`](super::ChildSpec) takes it.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Place::Vacant)))
    }

    /// The incarnation that runs now; `None` while its group restarts, before the first start and after the last end.
    pub fn current(&self) -> Option<ActorRef<M>> {
        match &*self.0.borrow() {
            Place::Taken(child) => Some(child.clone()),
            Place::Vacant | Place::Over => None,
        }
    }

    /// The incarnation that runs now, or the next, waiting for it as long as it takes. Cancel safe.
    ///
    /// # Errors
    /// [`ChildOver`] when there is not going to be one: it has ended for good or its supervisor has.
    pub async fn ready(&self) -> Result<ActorRef<M>, ChildOver> {
        let mut place = self.0.subscribe();
        let settled = place.wait_for(|place| !matches!(place, Place::Vacant)).await;
        match settled.as_deref() {
            Ok(Place::Taken(child)) => Ok(child.clone()),
            // The sender lives in `self`, so it is not gone.
            Ok(Place::Over | Place::Vacant) | Err(_) => Err(ChildOver),
        }
    }

    /// As [`ActorRef::try_tell`] to the incarnation that runs now.
    ///
    /// # Errors
    /// As there; `Stopped` when none runs now.
    pub fn try_tell(&self, message: M) -> Result<(), TryTellError<M>> {
        match self.current() {
            Some(child) => child.try_tell(message),
            None => Err(TryTellError::Stopped(message)),
        }
    }

    /// As [`ActorRef::send`], and waits for the next incarnation when none runs now. A message that an incarnation had
    /// accepted and not handled when it ended is gone, as with every actor. Cancel safe in the same way.
    ///
    /// # Errors
    /// [`Stopped`] returns the message when there is not going to be another incarnation.
    pub async fn send(&self, message: M) -> Result<(), Stopped<M>> {
        let mut message = message;
        let mut refused_by = None;
        loop {
            let Ok(child) = self.next_after(refused_by.as_ref()).await else { return Err(Stopped(message)) };
            match child.send(message).await {
                Ok(()) => return Ok(()),
                Err(Stopped(returned)) => message = returned,
            }
            refused_by = Some(child);
        }
    }

    /// An incarnation other than `refused_by`, whose end its supervisor may not know of yet.
    async fn next_after(&self, refused_by: Option<&ActorRef<M>>) -> Result<ActorRef<M>, ChildOver> {
        let mut place = self.0.subscribe();
        let settled = place.wait_for(|place| match place {
            Place::Vacant => false,
            Place::Taken(child) => Some(child) != refused_by,
            Place::Over => true,
        });
        match settled.await.as_deref() {
            Ok(Place::Taken(child)) => Ok(child.clone()),
            Ok(Place::Over | Place::Vacant) | Err(_) => Err(ChildOver),
        }
    }

    /// As [`ActorRef::ask`] to the incarnation that runs now. Cancel safe in the same way.
    ///
    /// # Errors
    /// As there; `Stopped` when none runs now.
    pub async fn ask<T: Send + 'static>(
        &self,
        make: impl FnOnce(ReplyTo<T>) -> M,
        within: Duration,
    ) -> Result<T, AskError> {
        match self.current() {
            Some(child) => child.ask(make, within).await,
            None => Err(AskError::Stopped),
        }
    }

    pub(super) fn taken_by(&self, child: ActorRef<M>) {
        self.put(Place::Taken(child));
    }

    pub(super) fn vacate(&self) {
        self.put(Place::Vacant);
    }

    pub(super) fn close(&self) {
        self.put(Place::Over);
    }

    fn put(&self, place: Place<M>) {
        drop(self.0.send_replace(place)); // what was there is dropped outside the lock
    }
}

impl<M: Send + 'static> Default for ChildRef<M> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M> Clone for ChildRef<M> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<M: Send + 'static> fmt::Debug for ChildRef<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.0.borrow() {
            Place::Vacant => f.write_str("ChildRef(vacant)"),
            Place::Taken(child) => f.debug_tuple("ChildRef").field(child).finish(),
            Place::Over => f.write_str("ChildRef(over)"),
        }
    }
}

/// There is not going to be another incarnation of that child.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the child has ended for good, or its supervisor has")]
pub struct ChildOver;

/// A [`ChildRef`] whose message type is not known here; what a supervisor answers to a look-up by name.
#[derive(Clone)]
pub struct AnyChildRef(Arc<dyn Any + Send + Sync>);

impl AnyChildRef {
    pub(super) fn new<M: Send + 'static>(child: ChildRef<M>) -> Self {
        Self(Arc::new(child))
    }

    /// The reference, if the child's messages are of type `M`.
    pub fn typed<M: Send + 'static>(&self) -> Option<ChildRef<M>> {
        self.0.downcast_ref::<ChildRef<M>>().cloned()
    }
}

impl fmt::Debug for AnyChildRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AnyChildRef").finish_non_exhaustive()
    }
}
