//! Tests of the cloudstate crate, one module a subject.

#![allow(clippy::disallowed_methods, reason = "real processes and sockets take real time")]

mod actions;
mod admin;
mod breaker;
mod cart_client;
mod chaos;
mod child;
mod cli;
mod cluster_command;
mod config;
mod crdt_entities;
mod crdt_types;
mod demo;
mod discovery;
mod drain;
mod event_sourced;
mod eventing;
mod eventing_on_postgres;
mod front_seam;
mod frontend_grpc;
mod frontend_http;
mod frontend_web;
mod idempotency;
mod limits;
mod metrics_on_port;
mod postgres;
mod postgres_refusals;
mod process;
mod proto_text;
mod reflection;
mod replicator;
mod router;
mod scripted;
mod scripted_action;
mod sdk_functions;
mod soak;
mod spec;
mod storage;
mod store_command;
mod store_on_postgres;
mod tck;
mod value_entities;
