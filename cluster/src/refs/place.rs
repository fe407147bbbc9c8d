//! [`Found`]: where a reference goes that is not read out of a message.

use actors::{
    ActorPath, ActorRef, ActorSystem,
    remote::{AnyActorRef, Handle, RefPlace, RemoteActor, WeakStandIn, stand_in, stopped},
};
use std::{
    any::{TypeId, type_name},
    sync::Arc,
};

/// Holds the reference, once it is found.
pub(crate) struct Found<M: Send + 'static>(pub(crate) Option<ActorRef<M>>);

impl<M: Send + 'static> RefPlace for Found<M> {
    fn message_type(&self) -> (TypeId, &'static str) {
        (TypeId::of::<M>(), type_name::<M>())
    }

    fn here(&mut self, actor: &AnyActorRef) -> bool {
        self.0 = actor.actor_ref();
        self.0.is_some()
    }

    fn known(&mut self, actor: &WeakStandIn) -> bool {
        self.0 = actor.upgrade();
        self.0.is_some()
    }

    fn watched(&mut self, actor: &Handle) -> Option<WeakStandIn> {
        self.0 = actor.actor_ref();
        self.0.as_ref().and_then(WeakStandIn::of)
    }

    fn elsewhere(&mut self, system: &ActorSystem, path: ActorPath, remote: Arc<dyn RemoteActor>) -> WeakStandIn {
        let (actor, weak) = stand_in(system, path, remote);
        self.0 = Some(actor);
        weak
    }

    fn stopped(&mut self, system: &ActorSystem, path: ActorPath) {
        self.0 = Some(stopped(system, path));
    }
}
