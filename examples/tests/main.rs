//! The example programs, and the user functions of this package behind our sidecar.

#![allow(clippy::disallowed_methods, reason = "real sockets take real time")]

mod arrangement;
mod chat;
#[path = "../dining_philosophers.rs"]
#[allow(dead_code, reason = "its tests are run here, its `main` as a process")]
mod dining_philosophers;
mod programs;
#[path = "../rate_limiter.rs"]
#[allow(dead_code, reason = "as above")]
mod rate_limiter;
mod seams;
mod sim;
mod tck_function;
mod three_nodes;
mod wallet_server;
