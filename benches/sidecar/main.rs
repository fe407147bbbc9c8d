//! The sidecar as a whole process: calls a second, latency, processor time, syncs and memory, beside floors that promise less.
//!
//! `cargo bench -p benches --bench sidecar -- --help` lists the flags. Everything is started as a process of its own on
//! free loopback ports: the sidecar itself, and from this binary the load, the user function, the relay and a plain server.
//! What is asserted is that every acknowledged call is in its cart, never a time.

#![allow(
    clippy::disallowed_methods,
    missing_docs,
    unreachable_pub,
    clippy::print_stdout,
    reason = "a program whose table is for the terminal"
)]

mod args;
mod build;
mod caller;
mod cart;
mod contestant;
mod entity_stream;
mod function;
mod http_get;
mod kinds;
mod load;
mod plain;
mod proc_stat;
mod process;
mod record;
mod relay;
mod report;
mod role;
mod rounds;
mod rows;

use std::process::ExitCode;

use crate::args::Args;

fn main() -> anyhow::Result<ExitCode> {
    if role::is_asked_for() {
        return role::play();
    }
    let Some(args) = Args::parse() else {
        return Ok(ExitCode::SUCCESS);
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(rounds::run(&args))
}
