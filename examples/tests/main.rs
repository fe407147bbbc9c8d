//! The user functions of this package behind our sidecar, both in this process.

#![allow(clippy::disallowed_methods, reason = "real sockets take real time")]

mod arrangement;
mod chat;
mod tck_function;
