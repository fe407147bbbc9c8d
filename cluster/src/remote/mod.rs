//! Messages between nodes: in order and at most once per lane, system messages exactly once per life.
//!
//! [`associations`] decides what is queued, sent and dropped; [`handshake`] who is let in; [`system_messages`] what is sent
//! again; [`proof`] and [`tls`] who is a stranger; [`frame`] and [`wire`] are bytes. None of them does I/O: [`transport`] is the door to the network, [`tcp`] the
//! real one behind it, and [`connection`] carries handshakes and frames over what comes through. [`remoting`] carries out
//! what was decided; [`door`] is what the parts above see of it.

pub(crate) mod association;
pub(crate) mod associations;
pub(crate) mod connection;
pub(crate) mod door;
pub(crate) mod dropped;
pub(crate) mod frame;
pub(crate) mod frames;
pub(crate) mod handshake;
pub(crate) mod handshake_frame;
pub(crate) mod landed;
pub(crate) mod lane_queue;
pub(crate) mod lives;
pub(crate) mod message;
pub(crate) mod pack;
pub(crate) mod proof;
pub(crate) mod remoting;
mod rival;
pub(crate) mod system_messages;
pub(crate) mod tcp;
pub(crate) mod tls;
pub(crate) mod transport;
pub(crate) mod wire;

#[cfg(test)]
mod association_tests;
#[cfg(test)]
pub(crate) mod authority;
#[cfg(test)]
mod handshake_tests;
#[cfg(test)]
pub(crate) mod memory;
#[cfg(test)]
mod proof_tests;
#[cfg(test)]
mod smoke_tests;
#[cfg(test)]
mod wire_tests;
