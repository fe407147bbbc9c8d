//! Tests of the cloudstate crate, one module a subject.

mod admin;
mod child;
mod cli;
mod config;
mod demo;
mod front_seam;
mod frontend_grpc;
mod frontend_http;
mod frontend_web;
mod proto_text;
mod reflection;
mod spec;
