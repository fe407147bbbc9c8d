//! Random cuts, crashes, restarts, joins and departures. What holds at each step is checked by the network; after it is
//! quiet, all that are left agree.

use super::{
    Command,
    network::{Net, Process, address},
};
use crate::{member::MemberStatus, membership::table::MemberTable};
use rand::RngExt;

const SEEDS: u64 = 320;

fn divide(net: &mut Net, nodes: usize) {
    let sides: u32 = net.rng.random_range(1..(1 << nodes) - 1);
    let (here, there): (Vec<usize>, Vec<usize>) = (0..nodes).partition(|at| sides & (1 << at) != 0);
    net.cut(&here, &there);
}

/// A seed of its own is nobody: only the first of all begins a cluster.
fn restart(net: &mut Net, at: usize, nodes: usize) {
    if !net.process(at).running {
        let others: Vec<usize> = (0..nodes).filter(|other| *other != at).collect();
        net.start(at, &others);
    }
}

fn members(net: &Net) -> impl Iterator<Item = &Process> {
    net.running().filter(|process| process.node.table().members().count() > 0)
}

/// A member that has not the table of the first, or is not done.
fn in_disagreement(net: &Net) -> Option<(String, &MemberTable)> {
    let first = members(net).next()?.node.table().digest();
    let disagrees = |process: &&Process| {
        let table = process.node.table();
        table.digest() != first
            || !table.is_converged()
            || !table.unreachable().is_empty()
            || table.members().any(|member| member.status != MemberStatus::Up)
            || table.members().count() != net.running().count()
            || !Net::hosts(process, net.now)
    };
    members(net).find(disagrees).map(|process| (process.id.to_string(), process.node.table()))
}

fn run(seed: u64) -> (usize, usize) {
    let nodes = 3 + (seed % 4) as usize;
    let mut net = Net::up(seed, nodes);
    net.loss = net.rng.random_range(0..10);
    let mut divisions = 0;
    for _ in 0..net.rng.random_range(2..8) {
        let at = net.rng.random_range(0..nodes);
        match net.rng.random_range(0..10) {
            0..=3 => {
                net.heal();
                divide(&mut net, nodes);
                divisions += 1;
            }
            4 => net.heal(),
            5 => net.crash(at),
            6 => restart(&mut net, at, nodes),
            7 if net.process(at).running => net.command(at, Command::Leave(address(at))),
            8 => {
                net.broken_links.insert((at, (at + 1) % nodes));
            }
            _ => {}
        }
        let seconds = net.rng.random_range(1..25);
        net.run(seconds);
    }
    net.heal();
    net.loss = 0;
    (0..nodes).for_each(|at| restart(&mut net, at, nodes));
    let agreed = net.run_until(75, |net| in_disagreement(net).is_none());
    assert!(agreed, "seed {seed}: {:?}", in_disagreement(&net));
    (divisions, members(&net).count())
}

/// In a few parts, so that they run side by side.
fn part(part: u64) {
    let runs: Vec<(usize, usize)> = (0..SEEDS).filter(|seed| seed % 4 == part).map(run).collect();
    assert!(runs.iter().map(|(divisions, _)| divisions).sum::<usize>() > 50, "there were too few cuts");
    let survived = runs.iter().filter(|(_, members)| *members > 0).count();
    assert!(survived * 2 > runs.len(), "only {survived} of {} clusters are left", runs.len());
}

/// `CHAOS_SEEDS=5000..8000 cargo test -p cluster --lib chaos -- --ignored`
#[test]
#[allow(clippy::disallowed_methods, reason = "which seeds is up to whoever runs it")]
#[ignore = "takes minutes: part of the long tests"]
fn many_more_seeds() {
    let wanted = std::env::var("CHAOS_SEEDS").unwrap_or_else(|_| "320..3320".into());
    let bound = |text: &str| text.parse::<u64>().expect("CHAOS_SEEDS: FROM..TO, two numbers");
    let (from, to) = wanted.split_once("..").expect("CHAOS_SEEDS: FROM..TO, two numbers");
    let (from, to) = (bound(from), bound(to));
    let failed_of = |half: u64| -> Vec<u64> {
        let seeds = (from..to).filter(|seed| seed % 2 == half);
        seeds.filter(|seed| std::panic::catch_unwind(|| run(*seed)).is_err()).collect()
    };
    let failed = std::thread::scope(|scope| {
        let halves = [0, 1].map(|half| scope.spawn(move || failed_of(half)));
        halves.map(|half| half.join().unwrap()).concat()
    });
    assert!(failed.is_empty(), "of the seeds {wanted} these fail: {failed:?}");
}

#[test]
fn three_nodes_agree_after_whatever_happened() {
    part(0);
}

#[test]
fn four_nodes_agree_after_whatever_happened() {
    part(1);
}

#[test]
fn five_nodes_agree_after_whatever_happened() {
    part(2);
}

#[test]
fn six_nodes_agree_after_whatever_happened() {
    part(3);
}
