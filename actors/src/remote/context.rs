//! How references are written into messages and read out of them: by what [`pack`] and [`unpack`] are given.
//!
//! # Invariant
//! What is kept in [`CURRENT`] is a reference that outlives the call of [`pack`] or [`unpack`] that put it there: the guard puts
//! the one before back on each way out.

#![allow(unsafe_code, reason = "a reference that lives as long as a call is kept for that call")]

use std::any::{TypeId, type_name};
use std::cell::{Cell, RefCell};
use std::fmt;
use std::mem;
use std::sync::Arc;

use serde::de::{Error as _, Visitor};
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};

use super::any_ref::AnyActorRef;
use super::reply::{RemotePort, RemoteReply, ReplySink, Sink};
use super::stand_in::{RemoteActor, WeakStandIn, stand_in, stopped};
use crate::actor_ref::ActorRef;
use crate::ask::ReplyTo;
use crate::discard;
use crate::path::ActorPath;
use crate::port::Ported;
use crate::system::ActorSystem;

/// Writes references into one message.
pub trait Packing {
    /// Appends to `out` what stands for `actor`, at most 2,000 bytes.
    ///
    /// # Errors
    /// It cannot be named elsewhere; the text says why and what to do.
    fn actor(&self, actor: &AnyActorRef, out: &mut Vec<u8>) -> Result<(), ContextError>;

    /// The number under which an answer finds `sink`. A sink that is dropped without a call leaves its ask as it is.
    ///
    /// # Errors
    /// There is no room for another.
    fn reply(&self, sink: Box<dyn ReplySink>) -> Result<u64, ContextError>;
}

/// Reads references out of one message.
pub trait Unpacking {
    /// Puts the actor for which `packed` stands into `place`, by one of its methods.
    ///
    /// # Errors
    /// `packed` is nothing that [`Packing::actor`] writes, or messages of that type do not travel; the text says why.
    fn actor(&self, packed: &[u8], place: &mut dyn RefPlace) -> Result<(), ContextError>;

    /// Where an answer under this number goes.
    ///
    /// # Errors
    /// There is no such number.
    fn reply(&self, number: u64) -> Result<Arc<dyn RemoteReply>, ContextError>;
}

/// Where a reference goes that is read out of a message.
pub trait RefPlace {
    /// The type of the messages it has to take.
    fn message_type(&self) -> (TypeId, &'static str);
    /// An actor of this system. `false` if its messages are of another type.
    fn here(&mut self, actor: &AnyActorRef) -> bool;
    /// An actor elsewhere to which there are references. `false` if there are none any more, or of another type.
    fn known(&mut self, actor: &WeakStandIn) -> bool;
    /// An actor elsewhere to which there may be no reference, and that is kept for its end. `None` as [`known`](Self::known).
    fn watched(&mut self, actor: &super::Handle) -> Option<WeakStandIn>;
    /// An actor elsewhere: as [`stand_in`].
    fn elsewhere(&mut self, system: &ActorSystem, path: ActorPath, remote: Arc<dyn RemoteActor>) -> WeakStandIn;
    /// As [`stopped`].
    fn stopped(&mut self, system: &ActorSystem, path: ActorPath);
}

/// Why a reference could not be written or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ContextError(String);

impl ContextError {
    /// With a text that names the type and says what to do.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}

/// Which [`ReplyTo`]s were written into a message: they are dropped with it, and their asks stay open.
#[derive(Debug, Default)]
#[must_use = "the asks in the message end with `NoReply` unless it is dropped with this"]
pub struct Gone(Vec<usize>);

impl Gone {
    /// Drops `message`; asks whose `ReplyTo` went with it stay open.
    pub fn drop<M>(self, message: M) {
        self.among(|| mem::drop(message));
    }

    pub(super) fn among(self, drop: impl FnOnce()) {
        if self.0.is_empty() {
            return drop();
        }
        discard::gone(self.0, drop);
    }
}

/// A message that is being written.
struct Letter<'a> {
    context: &'a dyn Packing,
    /// Addresses of the `ReplyTo`s in it.
    asks: RefCell<Vec<usize>>,
}

#[derive(Clone, Copy)]
enum Current {
    None,
    Packing(*const Letter<'static>),
    Unpacking(*const dyn Unpacking),
}

thread_local! {
    static CURRENT: Cell<Current> = const { Cell::new(Current::None) };
    /// For what stands for one reference.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

struct Back(Current);

impl Drop for Back {
    fn drop(&mut self) {
        CURRENT.set(self.0);
    }
}

/// Does `write`, and references that are serialised in it are written by `context`. Says which `ReplyTo`s those were.
pub fn pack<R>(context: &dyn Packing, write: impl FnOnce() -> R) -> (R, Gone) {
    let letter = Letter { context, asks: RefCell::default() };
    let written = {
        // It is used before this function returns: see the top of the file.
        let letter = (&raw const letter).cast::<Letter<'static>>();
        let _back = Back(CURRENT.replace(Current::Packing(letter)));
        write()
    };
    (written, Gone(letter.asks.into_inner()))
}

/// Does `read`, and references that are deserialised in it are read by `context`.
pub fn unpack<R>(context: &dyn Unpacking, read: impl FnOnce() -> R) -> R {
    // SAFETY: lifetimes alone differ, and it is used before this function returns: see the top of the file.
    let context = unsafe { mem::transmute::<*const (dyn Unpacking + '_), *const (dyn Unpacking + 'static)>(context) };
    let _back = Back(CURRENT.replace(Current::Unpacking(context)));
    read()
}

fn packing<R>(what: &str, with: impl FnOnce(&Letter<'_>) -> R) -> Result<R, ContextError> {
    match CURRENT.get() {
        // SAFETY: see the top of the file.
        Current::Packing(letter) => Ok(with(unsafe { &*letter })),
        _ => Err(ContextError(format!("a {what} can be written only while a message is sent to another node"))),
    }
}

fn unpacking<R>(what: &str, with: impl FnOnce(&dyn Unpacking) -> R) -> Result<R, ContextError> {
    match CURRENT.get() {
        // SAFETY: see the top of the file.
        Current::Unpacking(context) => Ok(with(unsafe { &*context })),
        _ => Err(ContextError(format!("a {what} can be read only while a message comes from another node"))),
    }
}

/// Inside of [`pack`] alone, and an error elsewhere. Whether its messages can travel is found out then.
impl<M: Send + 'static> Serialize for ActorRef<M> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = SCRATCH.take();
        out.clear();
        let written = packing("ActorRef", |letter| letter.context.actor(&AnyActorRef::of(self), &mut out));
        let done = match written {
            Ok(Ok(())) => serializer.serialize_bytes(&out),
            Ok(Err(error)) | Err(error) => Err(S::Error::custom(error)),
        };
        SCRATCH.set(out);
        done
    }
}

/// Inside of [`unpack`] alone, and an error elsewhere.
impl<'de, M: Send + 'static> Deserialize<'de> for ActorRef<M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(RefVisitor(Place(None)))
    }
}

struct RefVisitor<M>(Place<M>);

impl<M: Send + 'static> Visitor<'_> for RefVisitor<M> {
    type Value = ActorRef<M>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an ActorRef<{}>", type_name::<M>())
    }

    fn visit_bytes<E: serde::de::Error>(mut self, packed: &[u8]) -> Result<ActorRef<M>, E> {
        unpacking("ActorRef", |context| context.actor(packed, &mut self.0)).and_then(|read| read).map_err(E::custom)?;
        let other = || E::custom(format!("it leads to no ActorRef<{}>", type_name::<M>()));
        self.0.0.ok_or_else(other)
    }
}

struct Place<M>(Option<ActorRef<M>>);

impl<M: Send + 'static> RefPlace for Place<M> {
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

    fn watched(&mut self, actor: &super::Handle) -> Option<WeakStandIn> {
        self.0 = actor.actor_ref();
        self.0.as_ref().and_then(WeakStandIn::of)
    }

    fn elsewhere(&mut self, system: &ActorSystem, path: ActorPath, remote: Arc<dyn RemoteActor>) -> WeakStandIn {
        let (actor, weak) = stand_in::<M>(system, path, remote);
        self.0 = Some(actor);
        weak
    }

    fn stopped(&mut self, system: &ActorSystem, path: ActorPath) {
        self.0 = Some(stopped(system, path));
    }
}

/// Inside of [`pack`] alone, and an error elsewhere: the answer finds back to this one.
impl<T: DeserializeOwned + Send + 'static> Serialize for ReplyTo<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Some(address) = self.outlet().address() else { return serializer.serialize_none() };
        let sink = Box::new(Sink(self.outlet().clone()));
        let number = packing("ReplyTo", |letter| {
            let number = letter.context.reply(sink)?;
            letter.asks.borrow_mut().push(address);
            Ok(number)
        });
        let number = number.and_then(|number| number).map_err(S::Error::custom)?;
        serializer.serialize_some(&number)
    }
}

/// Inside of [`unpack`] alone, and an error elsewhere.
impl<'de, T: Serialize + Send + 'static> Deserialize<'de> for ReplyTo<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Some(number) = Option::<u64>::deserialize(deserializer)? else { return Ok(Self::ignore()) };
        let reply = unpacking("ReplyTo", |context| context.reply(number)).and_then(|reply| reply);
        Ok(Self::new(Ported::new(RemotePort(reply.map_err(D::Error::custom)?))))
    }
}
