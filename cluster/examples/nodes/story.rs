//! Does what a story says: the same that the simulator does, as far as real processes can.
//!
//! What the simulator calls n0 is node 1 here.

use crate::{
    line,
    net::Net,
    partitions::settle,
    rig::Rig,
    switch::{Carried, Switch},
};
use anyhow::{Context, bail, ensure};
use cluster::testkit::{
    NetFaults,
    chaos::{Fault, Plan, story::StoryLine},
};
use std::{path::Path, time::Duration};

/// How long what a client ordered last may take.
const ORDERS_END_WITHIN: Duration = Duration::from_secs(32);

/// Does what the story in `file` says, in a network of that name, and demands that all is well again after it.
///
/// Where members only leave and come back there is a client as well, whose orders must not get lost.
///
/// # Errors
/// The first line that is none of a story or that real processes cannot do; the first thing that must not be. What all
/// nodes said is in `folder` then.
pub(crate) fn run(name: String, file: &Path, folder: &Path) -> anyhow::Result<()> {
    let of = || file.display().to_string();
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let plan = Plan::read(&text, fits).with_context(of)?;
    ensure!((3..=9).contains(&plan.nodes), "{}: nodes {}: real processes are 3 to 9", file.display(), plan.nodes);
    let in_good_order = plan.faults.iter().all(|planned| matches!(planned.fault, Fault::Leave(_) | Fault::Start(_)));
    let client = in_good_order.then_some(plan.nodes + 1);

    let switch = Switch::start(plan.seed);
    let net = Net::switched(name, client.unwrap_or(plan.nodes), switch.clone())?;
    let mut rig = Rig::new(net, client, folder)?;
    settle(&mut rig).context("at the beginning")?;
    let before = switch.carried();
    trouble(&mut rig, &switch, &plan).with_context(of)?;
    // Before all is healed: what was to be done was done.
    let carried = switch.carried();
    switch.set_faults(NetFaults { delay_ms: (0, 0), ..NetFaults::NONE });
    switch.heal();
    rig.resume()?;
    rig.note("healed");
    rig.judge.mark();
    let healed = line::now();
    settle(&mut rig).with_context(of)?;
    println!(
        "{}: well again {:.1} s after {:.1} s of trouble; gone: {:?}\n  {}\n  {carried}",
        file.display(),
        (line::now() - healed).as_secs_f64(),
        plan.chaos.as_secs_f64(),
        rig.judge.gone(),
        rig.judge.counts,
    );
    if client.is_some() {
        rig.listen(ORDERS_END_WITHIN)?;
        rig.judge.check_orders()?;
        println!("  {}", rig.judge.orders);
    }
    happened(&plan, before, carried).with_context(of)
}

/// What only a simulator can do is refused.
fn fits(line: StoryLine<'_>) -> Result<(), String> {
    let what = match line {
        StoryLine::Setting("seed" | "nodes" | "trouble" | "delay" | "loss" | "duplicates") => return Ok(()),
        StoryLine::Setting(name) => name.to_owned(),
        StoryLine::Fault(
            Fault::Cut(..)
            | Fault::Heal(..)
            | Fault::Split(_)
            | Fault::HealAll
            | Fault::Stall(..)
            | Fault::Reset(..)
            | Fault::Kill { .. }
            | Fault::Start(_)
            | Fault::Pause(..)
            | Fault::Leave(_),
        ) => return Ok(()),
        StoryLine::Fault(fault) => fault.to_string(),
    };
    Err(format!("`{what}` is nothing that real processes can be made to do: leave it to `cargo sim --story`"))
}

enum Deed<'a> {
    Fault(&'a Fault),
    /// It stood still.
    GoesOn(usize),
}

fn trouble(rig: &mut Rig, switch: &Switch, plan: &Plan) -> anyhow::Result<()> {
    let mut deeds = Vec::new();
    for planned in &plan.faults {
        deeds.push((planned.at_ms, Deed::Fault(&planned.fault)));
        if let Fault::Pause(node, ms) = planned.fault {
            deeds.push((planned.at_ms + ms, Deed::GoesOn(node)));
        }
    }
    deeds.sort_by_key(|(at_ms, _)| *at_ms);
    switch.set_faults(plan.net.clone());
    let began = line::now();
    for (at_ms, deed) in deeds {
        let at = Duration::from_millis(at_ms);
        if at >= plan.chaos {
            break;
        }
        rig.listen((began + at).saturating_sub(line::now()))?;
        match deed {
            Deed::Fault(fault) => inflict(rig, switch, fault).with_context(|| format!("{at_ms} ms  {fault}"))?,
            Deed::GoesOn(node) => rig.suspend(node + 1, false)?,
        }
    }
    rig.listen((began + plan.chaos).saturating_sub(line::now()))
}

fn inflict(rig: &mut Rig, switch: &Switch, fault: &Fault) -> anyhow::Result<()> {
    rig.note(&fault.to_string());
    match *fault {
        Fault::Cut(from, to) => switch.cut((from + 1, to + 1), true),
        Fault::Heal(from, to) => switch.cut((from + 1, to + 1), false),
        Fault::Split(ref sides) => {
            for from in 0..sides.len() {
                let others = (0..sides.len()).filter(|to| sides[*to] != sides[from]);
                others.for_each(|to| switch.cut((from + 1, to + 1), true));
            }
        }
        Fault::HealAll => switch.heal(),
        Fault::Stall(from, to, stalled) => switch.stall((from + 1, to + 1), stalled),
        Fault::Reset(one, two) => switch.reset(one + 1, two + 1),
        Fault::Kill { node, power_off: false } => rig.kill(node + 1)?,
        Fault::Kill { node, power_off: true } => rig.power_off(node + 1)?,
        Fault::Start(node) if rig.ended().contains(&(node + 1)) => rig.start(node + 1)?,
        Fault::Start(_) => {}
        Fault::Pause(node, _) => rig.suspend(node + 1, true)?,
        Fault::Leave(node) => rig.leave(node + 1),
        _ => bail!("real processes cannot do that"),
    }
    Ok(())
}

/// Trouble that nobody notices proves nothing: what the story says must be seen in what the switch carried.
fn happened(plan: &Plan, before: Carried, carried: Carried) -> anyhow::Result<()> {
    let any = |is: fn(&Fault) -> bool| plan.faults.iter().any(|planned| is(&planned.fault));
    let offered = carried.offered - before.offered;
    for (what, rate, count) in
        [("loss", plan.net.loss, carried.lost), ("duplicates", plan.net.duplicates, carried.doubled)]
    {
        let wanted = offered * u64::from(rate) / 1000;
        let near = wanted < 100 || (wanted / 4..=wanted * 2).contains(&count);
        ensure!(near, "{what} {rate} of 1000: of {offered} packets that is {wanted}, and it were {count}");
    }
    for (what, wanted, count) in [
        ("cut", any(|fault| matches!(fault, Fault::Cut(..) | Fault::Split(_))), carried.cut),
        ("stand still", any(|fault| matches!(fault, Fault::Stall(..))), carried.held),
        ("break", any(|fault| matches!(fault, Fault::Reset(..))), carried.broken),
    ] {
        ensure!(!wanted || count > 0, "`{what}` had no effect: no packet was concerned");
    }
    Ok(())
}
