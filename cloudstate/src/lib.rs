//! The CloudState sidecar as a library.

pub mod admin;
pub mod call;
pub mod child;
pub mod cli;
pub mod cluster_command;
mod components;
pub mod config;
pub mod crdt;
pub mod demo;
pub mod discovery;
pub mod entity;
pub mod eventing;
pub mod frontend;
pub mod idempotency;
pub mod ingress;
pub mod listen;
pub mod proxy;
pub mod replicator;
pub mod router;
pub mod spec;
pub mod store;
pub mod store_command;
pub mod tck;
pub mod telemetry;
pub mod user_function;
