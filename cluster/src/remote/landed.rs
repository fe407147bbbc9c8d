//! [`Landed`]: a message from another node that was read, and is with nobody yet.

use actors::{
    Tick,
    remote::{AnyActorRef, AskLink, Undelivered},
};
use std::any::Any;

/// A message whose type only its reader knows: so it needs no room of its own on its way to the actor.
pub(crate) trait Landed {
    /// As [`AnyActorRef::try_tell`].
    fn tell(&mut self, actor: &AnyActorRef, deadline: Option<Tick>, link: Option<&AskLink>) -> Result<(), Undelivered>;

    /// To be kept.
    fn boxed(&mut self) -> Box<dyn Any + Send>;
}

/// Until one of the methods is called.
pub(super) struct Here<M>(pub(super) Option<M>);

impl<M> Here<M> {
    fn take(&mut self) -> M {
        self.0.take().expect("who was handed it takes it once")
    }
}

impl<M: Send + 'static> Landed for Here<M> {
    fn tell(&mut self, actor: &AnyActorRef, deadline: Option<Tick>, link: Option<&AskLink>) -> Result<(), Undelivered> {
        actor.try_tell(self.take(), deadline, link)
    }

    fn boxed(&mut self) -> Box<dyn Any + Send> {
        Box::new(self.take())
    }
}
