//! The protocol's side of a user function: what an SDK does, small enough to be read.
//!
//! A user function is a gRPC server next to its sidecar. The sidecar asks it once what it serves
//! ([`Function`] answers that), then opens a stream for every active entity and sends commands on
//! it. There is a module for each kind of service:
//!
//! | kind | what the function writes | what it keeps |
//! |---|---|---|
//! | [`event_sourced`] | [`event_sourced::EventSourced`] | state, rebuilt from its events |
//! | [`value_entity`] | [`value_entity::ValueEntity`] | nothing: it is handed the value |
//! | [`crdt`] | [`crdt::Crdt`] | a replicated value it changes in place |
//! | [`action`] | [`action::Action`] | nothing |
//!
//! The logic in these traits does no I/O. What is received and sent for it is decided by a session
//! of each kind, a plain state machine, and [`stream`] alone touches the connection.

pub mod action;
pub mod answer;
pub mod crdt;
pub mod event_sourced;
pub mod stream;
pub mod value_entity;

mod payload;
mod run;
mod server;

pub use answer::{Answer, call, effect};
pub use payload::{Refused, json, pack, primitive_string, unpack, unpack_json, unpack_primitive_string};
pub use run::run;
pub use server::{Function, Served};
