//! Tests of the cloudstate crate, one module a subject.

mod admin;
mod child;
mod cli;
mod config;
mod demo;
