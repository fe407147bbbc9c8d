//! For libraries that connect systems: references to actors elsewhere, and references inside of messages.
//!
//! Whoever only uses actors needs nothing of this: a reference to an actor elsewhere is an [`ActorRef`](crate::ActorRef) like
//! any other.
//!
//! - [`stand_in`] makes a reference to an actor elsewhere of a [`RemoteActor`], which says how to reach it.
//! - [`AnyActorRef`] is an actor of this system whatever its messages are: to be found again and told what came from elsewhere.
//! - [`AskLink`] is the ask behind a message that an actor may await in a handler, so that circles are seen across systems.
//! - With the feature `serde`, `ActorRef` and [`ReplyTo`](crate::ReplyTo) can be written into messages and read out of them,
//!   inside of `pack` and `unpack` alone, by a context that says how.
//!
//! # Ordering
//! A stand-in adds nothing to the order in which its [`RemoteActor`] is called: that is the one in which one task's `tell`,
//! `try_tell`, `ask` and `send` return.

mod any_ref;
#[cfg(feature = "serde")]
mod context;
mod link;
mod parcel;
#[cfg(feature = "serde")]
mod reply;
mod stand_in;

pub use any_ref::{AnyActorRef, Delivery, Undelivered, not_found};
#[cfg(feature = "serde")]
pub use context::{ContextError, Gone, Packing, RefPlace, Unpacking, pack, unpack};
pub use link::{AskLink, WeakAskLink};
pub use parcel::{Message, Parcel};
#[cfg(feature = "serde")]
pub use reply::{RemoteReply, ReplySink, Writing};
pub use stand_in::{Handle, Refused, RemoteActor, Room, Stopped, WeakStandIn, path, stand_in, stopped};

pub(crate) use stand_in::{Elsewhere, StandIn, audience_changed};
