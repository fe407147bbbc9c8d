//! Tests of the persistence crate, one module a subject.

mod crash;
mod damage;
mod journal_contract;
mod opening;
mod store;
