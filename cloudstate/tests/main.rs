//! Tests of the cloudstate crate, one module a subject.

mod admin;
mod config;
mod demo;
