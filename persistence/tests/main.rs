//! Tests of the persistence crate, one module a subject.
