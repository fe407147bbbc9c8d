//! A user function with all model services of the conformance suite.
//!
//! The suite tests proxies with it, and it with the suite: what each service does is told by the
//! requests, which list what is to happen, step by step. There is a module a kind; each is the logic
//! alone, the protocol's side is in [`function`](crate::function).

mod action;
mod crdt;
mod crdt_data;
mod event_sourced;
mod eventing;
mod value_entity;

use crate::function::Function;

/// All services, to be served.
pub fn function() -> Function {
    let mut function = Function::new("tck-function", proto::model::FILE_DESCRIPTOR_SET);
    for serve in [action::serve, event_sourced::serve, value_entity::serve, crdt::serve, eventing::serve] {
        function = serve(function);
    }
    function
}
