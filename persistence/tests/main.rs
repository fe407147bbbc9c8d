//! Tests of the persistence crate, one module a subject.

mod journal_contract;
