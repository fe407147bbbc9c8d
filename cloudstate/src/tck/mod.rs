//! The protocol's conformance suite: the `tck` subcommand, for those who write a proxy or an SDK.
//!
//! ```text
//! suite ──► proxy ──► interceptor (the suite) ──► user function with the model services
//!   └──────────────── model tests: directly ───────────────┘
//! ```
//!
//! [`engine`] is what the tests are made of, [`entity`] the notation of the three kinds of entity; beside them is a
//! module a kind with its groups of tests. [`run()`] runs them.

pub mod engine;
pub mod entity;
pub mod event_sourced;

mod action;
mod crdt;
mod discovery;
mod eventing;
mod reflection;
mod report;
mod suite;
mod value_entity;

pub use engine::{Arrangement, Part, StartError};
pub use report::{GroupReport, Outcome, Report, TestReport};
pub use suite::{Chosen, GROUPS, Group, Progress, Test, run};
