//! Tests of the actors crate, one module a subject.

mod guide;
