//! Who is alive, as far as this node can tell: [`Swim`] drives foca's state machine, without sockets, tasks or a clock.
//!
//! What it says is no verdict. Who is [unreachable](News::Unreachable) may be back in a moment; who belongs to the cluster
//! is up to the [table](super::table).
//!
//! # Who owns what
//! One task, on a thread of its own, owns the socket and this: what users do must never delay it. In each turn it hands in
//! all that has arrived and then lets time pass: [`Swim::turn`].

pub(crate) mod codec;
mod contacts;
pub(crate) mod driver;
pub(crate) mod health;
mod hints;
pub(crate) mod identity;
pub(crate) mod seal;
pub(crate) mod settings;
mod timers;

#[cfg(test)]
mod codec_tests;
#[cfg(test)]
mod net;
#[cfg(test)]
mod tests;

pub(crate) use self::{
    driver::{Effects, News, Swim},
    identity::Identity,
    seal::{Dropped, KeyRing},
    settings::{InvalidSettings, SEEDS_MAX, Settings},
};
