//! Tests of the cloudstate crate, one module a subject.

mod config;
