//! Rounds of cuts, crashes and suspensions that end well.

use crate::{
    judge::Counts,
    line,
    net::{Loss, Net, Way},
    rig::Rig,
};
use anyhow::{Context, bail};
use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};
use std::{fmt, path::Path, time::Duration};

const NODES: usize = 3;
/// How long it may take after a fault has ended until all is well again.
const SETTLED_WITHIN: Duration = Duration::from_secs(120);

/// What is done to the nodes.
#[derive(Clone, Debug)]
enum Fault {
    Unplug(Vec<usize>),
    Cut(Vec<Way>, Loss),
    Kill(Vec<usize>),
    Suspend(usize),
    /// One is cut off while another is killed.
    UnplugAndKill(usize, usize),
    /// One that is cut off again and again, as many times.
    Flap(usize, u32),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unplug(nodes) => write!(f, "unplug {nodes:?}"),
            Self::Cut(ways, loss) => write!(f, "cut {ways:?}, {loss:?}"),
            Self::Kill(nodes) => write!(f, "kill {nodes:?}"),
            Self::Suspend(node) => write!(f, "suspend {node}"),
            Self::UnplugAndKill(cut, killed) => write!(f, "unplug {cut} and kill {killed}"),
            Self::Flap(node, times) => write!(f, "unplug {node} {times} times"),
        }
    }
}

/// Draws what is done, and for how long.
fn draw(rng: &mut ChaCha8Rng) -> (Fault, Duration) {
    let one = rng.random_range(1..=NODES);
    let other = (one + rng.random_range(0..NODES - 1)) % NODES + 1;
    let third = 6 - one - other;
    let loss = if rng.random_bool(0.5) { Loss::Silent } else { Loss::Route };
    let fault = match rng.random_range(0..12) {
        0 | 1 => Fault::Unplug(vec![one]),
        2 => Fault::Unplug(vec![one, other]),
        3 => Fault::Cut(vec![(one, other)], loss),
        4 => Fault::Cut(vec![(one, other), (other, one)], loss),
        5 => Fault::Cut(vec![(one, other), (one, third)], loss),
        6 => Fault::Cut(vec![(other, one), (third, one)], loss),
        7 => Fault::Kill(vec![one]),
        8 => Fault::Kill(vec![one, other]),
        9 => Fault::Suspend(one),
        10 => Fault::UnplugAndKill(one, other),
        _ => Fault::Flap(one, rng.random_range(2..6)),
    };
    let millis = if rng.random_bool(0.4) { rng.random_range(300..6000) } else { rng.random_range(18_000..32_000) };
    (fault, Duration::from_millis(millis))
}

/// Does `rounds` rounds in a network of that name, drawn from `seed`.
///
/// # Errors
/// The first thing that must not be. What all nodes said is in `folder` then.
pub(crate) fn run(name: String, rounds: u32, seed: u64, folder: &Path) -> anyhow::Result<Counts> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut rig = Rig::new(Net::new(name.clone(), NODES)?, None, folder)?;
    let begun = line::now();
    settle(&mut rig).context("at the beginning")?;
    println!("{name}: three nodes are up after {:.1} s", (line::now() - begun).as_secs_f64());
    for round in 1..=rounds {
        let (fault, lasts) = draw(&mut rng);
        let what = format!("{name}, round {round}, seed {seed}: {fault} for {:.1} s", lasts.as_secs_f64());
        rig.note(&what);
        let begun = line::now();
        inflict(&mut rig, &fault, lasts).with_context(|| what.clone())?;
        rig.net.heal()?;
        rig.resume()?;
        rig.note("healed");
        rig.judge.mark();
        let healed = line::now();
        settle(&mut rig).with_context(|| what.clone())?;
        let now = line::now();
        println!(
            "{what}; well again {:.1} s after it, round {:.1} s; gone: {:?}",
            (now - healed).as_secs_f64(),
            (now - begun).as_secs_f64(),
            rig.judge.gone()
        );
        rig.judge.forget();
    }
    Ok(rig.judge.counts)
}

fn inflict(rig: &mut Rig, fault: &Fault, lasts: Duration) -> anyhow::Result<()> {
    match fault {
        Fault::Unplug(nodes) => nodes.iter().try_for_each(|node| rig.net.unplug(*node))?,
        Fault::Cut(ways, loss) => ways.iter().try_for_each(|way| rig.net.cut(*way, *loss))?,
        Fault::Kill(nodes) => nodes.iter().try_for_each(|node| rig.kill(*node))?,
        Fault::Suspend(node) => rig.suspend(*node, true)?,
        Fault::UnplugAndKill(cut, killed) => {
            rig.net.unplug(*cut)?;
            rig.kill(*killed)?;
        }
        Fault::Flap(node, times) => {
            for _ in 0..*times {
                rig.net.unplug(*node)?;
                rig.listen(lasts / (2 * times))?;
                rig.net.heal()?;
                rig.listen(lasts / (2 * times))?;
            }
            return Ok(());
        }
    }
    rig.listen(lasts)
}

/// Starts what does not run until all is well, and has it stay so for a while.
pub(crate) fn settle(rig: &mut Rig) -> anyhow::Result<()> {
    let until = line::now() + SETTLED_WITHIN;
    let mut well = 0;
    while well < 8 {
        for number in rig.ended() {
            rig.start(number)?;
        }
        rig.listen(Duration::from_millis(250))?;
        rig.judge.check_terms()?;
        match rig.judge.settled(rig.nodes()) {
            Ok(()) => well += 1,
            Err(_) if line::now() < until => well = 0,
            Err(what) => bail!("not within {SETTLED_WITHIN:?}: {what}"),
        }
    }
    Ok(())
}
