//! References to actors of other nodes, and what is behind them: messages, answers, ends, room.
//!
//! [`Refs`] joins the actors of one system to [`Remote`]: [`ActorRef`]s and [`actors::ReplyTo`]s may be in messages that travel,
//! and whoever gets one of them there uses it as if its actor were here.
//!
//! # What is where
//! - [`frame`] and [`blob`]: bytes. [`packing`]: what is set while a message is written or read.
//! - [`exports`]: actors of this node that others can name. [`stub`]: actors of others. [`peer`]: one life of another node.
//! - [`dropped`]: what got to nobody. [`slots`]: asks that wait for an answer. [`circles`]: those that wait for each other. [`watching`] and [`watch`]: ends. [`window`] and [`rows`]: room for `send`.
//!
//! # Order
//! What one task tells and sends to one actor goes over one lane and arrives in that order. Answers and notices of ends go over
//! the ordinary one. Signals overtake messages, a notice of an end what was said before it only if that takes seconds.
//!
//! # Bounds
//! Actors others can name: `EXPORTS_MAX`; asks that wait, per node: `SLOTS_MAX`; messages to a node that was not met yet:
//! `WAITING_MAX`; messages of `send` on their way to one actor: `WINDOW`. Other messages are bounded by the lane's queue.

mod blob;
mod circles;
mod dropped;
mod exports;
mod frame;
mod home;
mod packing;
mod peer;
mod peers;
mod place;
mod receive;
mod rows;
mod shared;
mod slots;
mod stub;
#[cfg(test)]
pub(crate) mod tests;
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
use actors::{ActorRef, ActorSystem, Registration, remote::AnyActorRef};
use blob::RefBlob;
use frame::{NAME_MAX, To};
pub(crate) use place::Found;
use serde::{Deserialize, Serialize};
use shared::Shared;
use std::{
    any::{TypeId, type_name},
    fmt,
    sync::Arc,
};
use stub::Stub;
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

/// An actor that others can find.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Exported {
    /// The type of its messages, as it is called on the wire.
    pub(crate) message: String,
    id: u64,
    system_uid: u64,
    uid: u64,
    pub(crate) path: String,
}

#[cfg(test)]
impl Exported {
    /// One that leads nowhere.
    pub(crate) fn of(path: &str, id: u64, mark: u64) -> Self {
        Self { message: "test".to_owned(), id, system_uid: mark, uid: id, path: path.to_owned() }
    }
}

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

    /// Sends through `remote` from now on, which is not kept: once it is gone, actors elsewhere count as stopped. Called once.
    pub(crate) fn connect(&self, remote: &Arc<dyn Remote>) {
        if self.0.remote.set(Arc::downgrade(remote)).is_ok() {
            self.0.seams.ordinary.spawn(Box::pin(watch::keep_time(Arc::downgrade(&self.0))));
        }
    }

    /// Its process has ended: nobody is told, and those that stand for actors elsewhere are kept by no watch any more.
    pub(crate) fn crash(&self) {
        for peer in self.0.peers.all() {
            let watched = peer.watching.lock().take_all();
            drop(watched); // outside the lock
        }
    }

    /// Which life of which node this is.
    pub(crate) fn me(&self) -> &UniqueAddress {
        &self.0.me
    }

    /// How many messages and answers got to nobody so far, by reason.
    pub(crate) fn dropped(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.drops.iter()
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
        let uid = named_uid(name);
        let blob = RefBlob { node: node.clone(), to: To::Name(name), system_uid: node.uid, uid, text: &text };
        let mut place = Found(None);
        self.0.put(&blob, TypeId::of::<M>(), &mut place).map_err(|_| NameError::Full)?;
        place.0.ok_or(NameError::Full)
    }

    /// The life of another node that `actor` is of; none: it is of this one.
    pub(crate) fn node_of<M: Send + 'static>(actor: &ActorRef<M>) -> Option<UniqueAddress> {
        AnyActorRef::of(actor).behind().and_then(Stub::of).map(|stub| stub.peer.node.clone())
    }

    /// Whether the messages of `registration` travel.
    pub(crate) fn travels(&self, registration: &Registration) -> bool {
        self.0.registry.registered(registration).is_some()
    }

    /// How others find the actor behind `registration`, if its messages travel and there is room for it.
    pub(crate) fn export(&self, registration: &Registration) -> Option<Exported> {
        let (message, actor) = self.0.registry.registered(registration)?;
        let id = self.0.exports.export(&actor).ok()?;
        let path = actor.path();
        Some(Exported {
            message: message.to_string(),
            id,
            system_uid: path.system_uid(),
            uid: path.uid(),
            path: path.as_str().to_owned(),
        })
    }

    /// What another node has [exported](Self::export), registered under `key`; none if its messages do not travel to here.
    pub(crate) fn registration(&self, node: &UniqueAddress, key: &str, exported: &Exported) -> Option<Registration> {
        let Exported { message, id, system_uid, uid, path } = exported;
        let blob =
            RefBlob { node: node.clone(), to: To::Id(*id), system_uid: *system_uid, uid: *uid, text: path.as_str() };
        self.0.registry.register(message, key, &mut |place| {
            let message_type = place.message_type().0;
            self.0.put(&blob, message_type, place).is_ok()
        })
    }

    pub(crate) fn check_name<M: Send + 'static>(&self, name: &str) -> Result<(), NameError> {
        if name.is_empty() || name.len() > NAME_MAX {
            return Err(NameError::NoName(name.to_owned()));
        }
        self.0.check(TypeId::of::<M>(), type_name::<M>()).map_err(|_| NameError::NotRegistered(type_name::<M>()))
    }
}

/// The number that stands for a well-known actor: above all numbers of actors, which are counted.
fn named_uid(name: &str) -> u64 {
    xxh3_64(name.as_bytes()) | 1 << 63
}

impl fmt::Debug for Refs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Refs").field(&self.0.me).finish()
    }
}
