//! [`Registration`]: one actor under one key, whatever its messages are. [`Registrations`]: all those of one node.

use std::any::{Any, TypeId};
use std::fmt;
use std::sync::Arc;

use super::actor::ReceptionistMessage;
use super::key::{KeyId, ServiceKey};
use crate::actor_ref::ActorRef;
use crate::context::ActorContext;
use crate::path::ActorPath;

/// One actor under one key.
#[derive(Clone)]
pub struct Registration {
    pub(super) key: KeyId,
    pub(super) actor: Arc<dyn Registrant>,
}

impl Registration {
    /// `actor` under `key`.
    pub fn new<M: Send + 'static>(key: &ServiceKey<M>, actor: &ActorRef<M>) -> Self {
        Self { key: KeyId::of(key), actor: Arc::new(actor.clone()) }
    }

    /// The name of the key.
    pub fn key_name(&self) -> &str {
        &self.key.name
    }

    /// The type of its messages, for display.
    pub fn message_type(&self) -> &'static str {
        self.key.message_type
    }

    /// The type of its messages.
    pub fn message_type_id(&self) -> TypeId {
        self.key.message
    }

    /// Which actor.
    pub fn path(&self) -> &ActorPath {
        self.actor.path()
    }

    /// The actor, if `M` is the type of its messages.
    pub fn actor_ref<M: Send + 'static>(&self) -> Option<&ActorRef<M>> {
        self.actor.as_any().downcast_ref()
    }
}

impl PartialEq for Registration {
    fn eq(&self, other: &Self) -> bool {
        (&self.key, self.path()) == (&other.key, other.path())
    }
}

impl Eq for Registration {}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration").field("key", &self.key_name()).field("path", self.path()).finish()
    }
}

/// All that one node's actors have registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registrations {
    /// Whose they are: the [uid](crate::ActorSystem::uid) of its system.
    pub owner: u64,
    /// Grows with every change; the highest is right.
    pub version: u64,
    /// What there is, by key and then by path.
    pub entries: Vec<Registration>,
}

/// Any actor, as the receptionist needs it.
pub(crate) trait Registrant: Send + Sync {
    fn path(&self) -> &ActorPath;
    fn is_stopped(&self) -> bool;
    fn watch(&self, ctx: &mut ActorContext<ReceptionistMessage>);
    fn unwatch(&self, ctx: &mut ActorContext<ReceptionistMessage>);
    fn as_any(&self) -> &dyn Any;
}

impl<M: Send + 'static> Registrant for ActorRef<M> {
    fn path(&self) -> &ActorPath {
        ActorRef::path(self)
    }

    fn is_stopped(&self) -> bool {
        ActorRef::is_stopped(self)
    }

    fn watch(&self, ctx: &mut ActorContext<ReceptionistMessage>) {
        ctx.watch_with(self, ReceptionistMessage::Ended(self.path().clone()));
    }

    fn unwatch(&self, ctx: &mut ActorContext<ReceptionistMessage>) {
        ctx.unwatch(self);
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
