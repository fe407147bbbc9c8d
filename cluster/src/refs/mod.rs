//! References to actors of other nodes, and what is behind them: messages, answers, ends, room.
//!
//! [`Refs`] joins the actors of one system to [`Remote`]: [`ActorRef`]s and [`actors::ReplyTo`]s may be in messages that travel,
//! and whoever gets one of them there uses it as if its actor were here.
//!
//! # What is where
//! - [`frame`] and [`blob`]: bytes. [`packing`]: what is set while a message is written or read.
//! - [`exports`]: actors of this node that others can name. [`stub`]: actors of others. [`peer`]: one life of another node.
//! - [`slots`]: asks that wait for an answer. [`watching`] and [`watch`]: ends. [`window`] and [`rows`]: room for `send`.
//!
//! # Order
//! What one task tells and sends to one actor goes over one lane and arrives in that order. Answers and notices of ends go over
//! the ordinary one. Signals overtake messages, a notice of an end what was said before it only if that takes seconds.
//!
//! # Bounds
//! Actors others can name: `EXPORTS_MAX`; asks that wait, per node: `SLOTS_MAX`; messages to a node that was not met yet:
//! `WAITING_MAX`; messages of `send` on their way to one actor: `WINDOW`. Other messages are bounded by the lane's queue.

mod blob;
mod exports;
mod frame;
mod packing;
mod peer;
mod receive;
mod rows;
mod shared;
mod slots;
mod stub;
#[cfg(test)]
mod tests;
mod watch;
mod watching;
mod window;

use crate::{
    member::UniqueAddress,
    remote::{
        door::{Receiver, Remote},
        transport::Lane,
        wire::Registry,
    },
    seams::Seams,
};
use actors::{
    ActorRef, ActorSystem,
    remote::{AnyActorRef, Handle, RefPlace, RemoteActor, WeakStandIn},
};
use blob::RefBlob;
use frame::{NAME_MAX, To};
use shared::Shared;
use std::{
    any::{TypeId, type_name},
    fmt,
    sync::Arc,
};
use xxhash_rust::xxh3::xxh3_64;

/// How references to other nodes are used.
#[derive(Clone, Debug, Default)]
pub(crate) struct Settings {
    /// Paths, such as `/user/images` with all below it, whose actors get large messages: those go over a lane of their own.
    pub(crate) large: Vec<Arc<str>>,
}

impl Settings {
    fn lane_of(&self, path: &str) -> Lane {
        let below = |prefix: &Arc<str>| {
            path.strip_prefix(&**prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if self.large.iter().any(below) { Lane::Large } else { Lane::Ordinary }
    }
}

/// See the module's documentation. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Refs(Arc<Shared>);

/// Why an actor cannot be called so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NameError {
    #[error("{0:?} is no name for an actor: it has 1 to {NAME_MAX} bytes")]
    NoName(String),
    #[error("there is no room for another well-known actor")]
    Full,
    #[error(
        "{0} is not registered: implement `cluster::WireMessage` for it and register it with `ClusterConfig::message`"
    )]
    NotRegistered(&'static str),
}

impl Refs {
    /// For the actors of `system` on the node `me`; to be [connected](Self::connect) before anything passes.
    pub(crate) fn new(
        system: &ActorSystem,
        me: UniqueAddress,
        registry: Registry,
        seams: Seams,
        settings: Settings,
    ) -> Self {
        Self(Shared::new(system, me, registry, seams, settings))
    }

    /// As [`new`](Self::new) and [`connect`](Self::connect), where `remote` knows its receivers already, or learns of them later.
    pub(crate) fn start(system: &ActorSystem, remote: &Arc<dyn Remote>, registry: Registry, seams: Seams) -> Self {
        let refs = Self::new(system, remote.me().clone(), registry, seams, Settings::default());
        refs.connect(remote);
        refs
    }

    /// Sends through `remote` from now on, which is not kept: once it is gone, actors elsewhere count as stopped. Called once.
    pub(crate) fn connect(&self, remote: &Arc<dyn Remote>) {
        if self.0.remote.set(Arc::downgrade(remote)).is_ok() {
            self.0.seams.ordinary.spawn(Box::pin(watch::keep_time(Arc::downgrade(&self.0))));
        }
    }

    /// Takes what comes over [`Channel::Actors`](crate::remote::door::Channel::Actors).
    pub(crate) fn receiver(&self) -> Arc<dyn Receiver> {
        self.0.clone()
    }

    /// That life is no member any more, and never will be: its actors have ended.
    pub(crate) fn life_ended(&self, node: &UniqueAddress) {
        self.0.life_ended(node);
    }

    /// `actor` is found by this name from other nodes, until it ends. Whoever was called so before is found no more, except by
    /// references to itself.
    ///
    /// # Errors
    /// It is no name, there are too many, or the messages do not travel.
    pub(crate) fn name<M: Send + 'static>(&self, name: &str, actor: &ActorRef<M>) -> Result<(), NameError> {
        self.check_name::<M>(name)?;
        let id = self.0.exports.export(&AnyActorRef::of(actor)).map_err(|_| NameError::Full)?;
        self.0.exports.name(name, id).then_some(()).ok_or(NameError::Full)
    }

    /// Whoever is called `name` on `node`, at each message anew: nobody need be there yet. Two are equal if both are the same.
    ///
    /// What nobody is there for is dropped there, and asks end with `Stopped`; the reference itself ends with the life of the
    /// node. Watched, it ends for that watch with whoever is there then, at once if nobody is.
    ///
    /// # Errors
    /// It is no name, or the messages do not travel; or more nodes are known than may be.
    pub(crate) fn named<M: Send + 'static>(&self, node: &UniqueAddress, name: &str) -> Result<ActorRef<M>, NameError> {
        self.check_name::<M>(name)?;
        let text = format!("/{name}");
        // Above all numbers of actors, which are counted.
        let uid = xxh3_64(name.as_bytes()) | 1 << 63;
        let blob = RefBlob { node: node.clone(), to: To::Name(name), system_uid: node.uid, uid, text: &text };
        let mut place = Named(None);
        self.0.put(&blob, TypeId::of::<M>(), &mut place).map_err(|_| NameError::Full)?;
        place.0.ok_or(NameError::Full)
    }

    fn check_name<M: Send + 'static>(&self, name: &str) -> Result<(), NameError> {
        if name.is_empty() || name.len() > NAME_MAX {
            return Err(NameError::NoName(name.to_owned()));
        }
        self.0.check(TypeId::of::<M>(), type_name::<M>()).map_err(|_| NameError::NotRegistered(type_name::<M>()))
    }
}

impl fmt::Debug for Refs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Refs").field(&self.0.me).finish()
    }
}

/// Where a reference goes that is named by hand.
struct Named<M: Send + 'static>(Option<ActorRef<M>>);

impl<M: Send + 'static> RefPlace for Named<M> {
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

    fn elsewhere(
        &mut self,
        system: &ActorSystem,
        path: actors::ActorPath,
        remote: Arc<dyn RemoteActor>,
    ) -> WeakStandIn {
        let (actor, weak) = actors::remote::stand_in(system, path, remote);
        self.0 = Some(actor);
        weak
    }

    fn stopped(&mut self, system: &ActorSystem, path: actors::ActorPath) {
        self.0 = Some(actors::remote::stopped(system, path));
    }
}
