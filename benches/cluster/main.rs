//! What messages between nodes cost, each figure beside its floor in the same run; and what being a member costs.
//!
//! `cargo bench -p benches --bench cluster -- --help` lists the flags. Parts: *tell* (small messages a second from one node
//! to another over loopback), *ask* (one question after another), *join* (until all nodes of a process see each other) and
//! *idle* (a second of a member that does nothing, simulated).

#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    missing_docs,
    unreachable_pub,
    unsafe_code,
    reason = "a program whose tables are for the terminal"
)]

mod args;
mod ask;
mod floor;
mod idle;
mod join;
mod messages;
mod pair;
mod tell;
mod usage;

use args::{Args, Part};

fn main() -> anyhow::Result<()> {
    let args = Args::parse()?;
    for part in &args.parts {
        match part {
            Part::Tell => tell::compare(&args)?,
            Part::Ask => ask::compare(&args)?,
            Part::Join => join::measure(&args)?,
            Part::Idle => idle::measure(&args)?,
        }
    }
    Ok(())
}

/// The middle one.
fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of.get(of.len() / 2).copied().unwrap_or(f64::NAN)
}
