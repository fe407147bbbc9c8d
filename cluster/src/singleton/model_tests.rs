//! Random cuts, crashes, restarts and departures: at most one instance serves at any time, and one does in the end.

use super::{
    HostChoice,
    manager::{Effect, Input, Manager},
    message::SingletonMessage,
    model::{Model, member},
};
use crate::member::MemberStatus::Up;
use crate::membership::node::{
    Command, NodeSettings,
    network::{Net, address},
};
use actors::Tick;
use rand::RngExt;
use std::time::Duration;

const SEEDS: u64 = 40;

fn up(seed: u64, nodes: usize, choice: HostChoice) -> Model {
    let mut model = Model::new(Net::up(seed, nodes), choice);
    assert!(model.run_until(10, |model| model.hosts().len() == 1).is_some(), "seed {seed}\n{}", model.trace());
    model
}

/// All that had agreed on the last term are gone at once, and the clock was set back, so the next one is lower. One is left
/// that had heard of the last, and would not follow.
#[test]
fn an_instance_in_a_term_that_is_too_low_begins_again_in_a_higher_one() {
    let at = |seconds| Tick::START + Duration::from_secs(seconds);
    let all = |uids: [u64; 3], removed| Input::Members {
        members: uids.map(|uid| member(uid, Up, Some(uid))).into(),
        removed,
    };
    let says = |from, message| Input::Message { from, message };
    let mut other = Manager::new(3, "one", HostChoice::Oldest);
    other.step(all([1, 2, 3], vec![]), at(0));
    other.step(says(1, SingletonMessage::Hosting { term: 90 }), at(0));
    let effects = other.step(says(2, SingletonMessage::Hosting { term: 50 }), at(1));
    assert_eq!(effects, [], "nobody knows that the other one is over");
    other.step(all([2, 3, 4], vec![(1, at(2))]), at(2));
    let effects = other.step(says(2, SingletonMessage::Hosting { term: 50 }), at(3));
    let over = SingletonMessage::Over { term: 90 };
    assert_eq!(effects, [Effect::Send { to: 2, message: over.clone() }]);

    // Who gives it the right to host says which term was the last, and not whose: that one may run.
    let mut told = Manager::new(3, "one", HostChoice::Oldest);
    told.step(all([1, 2, 3], vec![]), at(0));
    told.step(says(1, SingletonMessage::Hosting { term: 40 }), at(0));
    told.step(says(2, SingletonMessage::Give { passed: 1, wait_ms: 0, term: 60 }), at(0));
    told.step(all([2, 3, 4], vec![(1, at(2))]), at(2));
    assert_eq!(told.step(says(2, SingletonMessage::Hosting { term: 50 }), at(3)), []);

    let mut host = Manager::new(2, "one", HostChoice::Oldest);
    host.step(all([2, 3, 4], vec![]), at(2));
    host.step(Input::HostUntil(Some(at(100))), at(2));
    host.step(Input::Term(50), at(2));
    assert_eq!(host.runs(), Some(50));
    assert_eq!(host.step(says(3, over), at(3)), [Effect::Stop]);
    let effects = host.step(Input::Stopped, at(4));
    assert!(effects.contains(&Effect::GetTerm { floor: 91 }), "{effects:?}");
}

#[test]
fn it_moves_when_its_host_leaves() {
    for seed in 0..20 {
        let mut model = up(seed, 4, HostChoice::Oldest);
        let old = model.hosts()[0];
        model.net.command(old, Command::Leave(address(old)));
        let took = model.run_until(20, |model| model.hosts().first().is_some_and(|host| *host != old));
        assert!(took.is_some_and(|took| took < 9_000), "seed {seed}: {took:?}\n{}", model.trace());
        assert_eq!(model.starts.len(), 2, "seed {seed}\n{}", model.trace());
        model.run(30);
        assert_eq!((model.starts.len(), model.stuck), (2, 0), "seed {seed}: it stays\n{}", model.trace());
    }
}

#[test]
fn it_starts_elsewhere_once_its_host_has_certainly_stopped() {
    for seed in 0..20 {
        let mut model = up(seed, 5, HostChoice::Oldest);
        let old = model.hosts()[0];
        model.net.crash(old);
        let took = model.run_until(60, |model| !model.hosts().is_empty());
        // Noticed, stable for so long, and as long again until it is certain.
        assert!(took.is_some_and(|took| (14_000..30_000).contains(&took)), "seed {seed}: {took:?}\n{}", model.trace());
    }
}

#[test]
fn the_side_that_goes_on_hosts_it() {
    for seed in 0..20 {
        let mut model = up(seed, 5, HostChoice::Oldest);
        let old = model.hosts()[0];
        let other = (old + 1) % 5;
        let rest: Vec<usize> = (0..5).filter(|at| *at != old && *at != other).collect();
        model.net.cut(&[old, other], &rest);
        model.run(60);
        assert!(model.hosts().first().is_some_and(|host| rest.contains(host)), "seed {seed}\n{}", model.trace());
    }
}

#[test]
fn newcomers_do_not_move_it() {
    for choice in [HostChoice::Oldest, HostChoice::Spread] {
        for seed in 0..10 {
            let mut model = up(seed, 3, choice);
            let host = model.hosts();
            (3..8).for_each(|at| model.net.start(at, &[0, 1]));
            model.run(40);
            assert_eq!((model.hosts(), model.starts.len()), (host, 1), "seed {seed}\n{}", model.trace());
        }
    }
}

#[test]
fn a_rolling_restart_moves_it_and_never_doubles_it() {
    for choice in [HostChoice::Oldest, HostChoice::Spread] {
        for seed in 0..10 {
            let mut model = up(seed, 3, choice);
            for at in 0..3 {
                model.net.command(at, Command::Leave(address(at)));
                let gone = model.run_until(40, |model| !model.net.process(at).running);
                assert!(gone.is_some(), "seed {seed}\n{}", model.trace());
                let others: Vec<usize> = (0..3).filter(|other| *other != at).collect();
                model.net.start(at, &others);
                let again = model.run_until(40, |model| {
                    model.hosts().len() == 1 && (0..3).all(|at| Net::hosts(model.net.process(at), model.net.now))
                });
                assert!(again.is_some(), "seed {seed}\n{}", model.trace());
            }
            assert_eq!(model.stuck, 0, "seed {seed}\n{}", model.trace());
        }
    }
}

fn chaos(seed: u64, choice: HostChoice) -> usize {
    let nodes = 3 + (seed % 4) as usize;
    let mut model = Model::new(Net::up_with(seed, nodes, NodeSettings::default()), choice);
    model.net.loss = model.net.rng.random_range(0..15);
    model.stops_within = model.net.rng.random_range(1..12_000);
    for _ in 0..model.net.rng.random_range(2..8) {
        let at = model.net.rng.random_range(0..nodes);
        match model.net.rng.random_range(0..10) {
            0..=3 => {
                model.net.heal();
                let sides: u32 = model.net.rng.random_range(1..(1 << nodes) - 1);
                let (here, there): (Vec<usize>, Vec<usize>) = (0..nodes).partition(|at| sides & (1 << at) != 0);
                model.net.cut(&here, &there);
            }
            4 => model.net.heal(),
            5 => model.net.crash(at),
            6 => restart(&mut model, at, nodes),
            7 | 8 if model.net.process(at).running => model.net.command(at, Command::Leave(address(at))),
            9 => {
                model.net.broken_links.insert((at, (at + 1) % nodes));
            }
            _ => {}
        }
        let seconds = model.net.rng.random_range(1..25);
        model.run(seconds);
    }
    model.net.heal();
    model.net.loss = 0;
    (0..nodes).for_each(|at| restart(&mut model, at, nodes));
    let hosted = model.run_until(90, |model| model.hosts().len() == 1).is_some();
    let may: Vec<usize> = model.net.running().filter(|one| Net::hosts(one, model.net.now)).map(|one| one.at).collect();
    assert!(hosted || may.is_empty(), "seed {seed}: {may:?} may host, and nobody does\n{}", model.trace());
    model.starts.len()
}

fn restart(model: &mut Model, at: usize, nodes: usize) {
    if !model.net.process(at).running {
        let others: Vec<usize> = (0..nodes).filter(|other| *other != at).collect();
        model.net.start(at, &others);
    }
}

#[test]
fn the_oldest_is_the_only_host_whatever_happens() {
    let starts: usize = (0..SEEDS).map(|seed| chaos(seed, HostChoice::Oldest)).sum();
    assert!(starts > SEEDS as usize, "only {starts} starts");
}

#[test]
fn a_spread_one_has_one_host_whatever_happens() {
    let starts: usize = (SEEDS..SEEDS * 2).map(|seed| chaos(seed, HostChoice::Spread)).sum();
    assert!(starts > SEEDS as usize, "only {starts} starts");
}
