//! Cluster membership, remoting and the tools on top of them.
//!
//! This crate holds only its guide for now. It will bring nodes together over SWIM, carry messages
//! between their actors in order over TCP, decide who survives a split, and offer singletons, a
//! receptionist and topics. It depends on `actors` and on the internal wire in `proto`, and knows
//! nothing of entities or journals: what it must remember it keeps through its own `Lease` trait.
