//! All nodes leave and come back, one after the other, while a client sends orders.

use crate::{line, net::Net, partitions::settle, rig::Rig};
use anyhow::ensure;
use std::{path::Path, time::Duration};

const NODES: usize = 4;
const CLIENT: usize = 4;
/// How long it may take to leave.
const LEFT_WITHIN: Duration = Duration::from_secs(60);

/// Goes through all nodes so many times.
///
/// # Errors
/// The first thing that must not be. What all nodes said is in `folder` then.
pub(crate) fn run(name: String, rounds: u32, folder: &Path) -> anyhow::Result<()> {
    let mut rig = Rig::new(Net::new(name, NODES)?, Some(CLIENT), folder)?;
    settle(&mut rig)?;
    for round in 1..=rounds {
        for number in (1..=NODES).filter(|number| *number != CLIENT) {
            rig.listen(Duration::from_secs(3))?;
            let begun = line::now();
            rig.leave(number);
            while !rig.ended().contains(&number) {
                ensure!(line::now() < begun + LEFT_WITHIN, "node {number} has not left within {LEFT_WITHIN:?}");
                rig.listen(Duration::from_millis(50))?;
            }
            let left = line::now();
            rig.judge.mark();
            settle(&mut rig)?;
            rig.judge.check_orders()?;
            println!(
                "restart {round} of node {number}: left after {:.1} s, all well {:.1} s later; {}",
                (left - begun).as_secs_f64(),
                (line::now() - left).as_secs_f64(),
                rig.judge.gone().join(", ")
            );
            rig.judge.forget();
        }
    }
    // What is on its way now need not have arrived, and is not counted.
    rig.listen(Duration::from_secs(32))?;
    rig.judge.check_orders()?;
    println!("{}", rig.judge.orders);
    Ok(())
}
