//! Receptionists that lose each other's messages list the same in the end.

use super::{
    message::{Entry, Life, Told, pieces},
    state::{Effect, State},
};
use crate::member::UniqueAddress;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn life(n: u64) -> UniqueAddress {
    UniqueAddress { address: format!("node-{n}:1").parse().unwrap(), uid: n }
}

fn entries(many: usize, mark: u64) -> Vec<Entry> {
    let entry = |n: usize| {
        let actor = exported(n as u64, mark);
        Entry { key: format!("key-{n}"), actor }
    };
    (0..many).map(entry).collect()
}

/// An actor that is only a number here.
fn exported(id: u64, mark: u64) -> crate::refs::Exported {
    crate::refs::Exported::of(&"x".repeat(500), id, mark)
}

/// What a node lists, by owner: version and entries.
type Lists = BTreeMap<u64, (u64, Vec<Entry>)>;

struct Net {
    nodes: Vec<(State, Lists)>,
    under_way: Vec<(usize, Told)>,
}

impl Net {
    fn new(many: u64) -> Self {
        let mut nodes: Vec<_> = (1..=many).map(|n| (State::new(life(n)), Lists::new())).collect();
        let members: BTreeMap<_, _> = (1..=many).map(|n| (life(n), true)).collect();
        nodes.iter_mut().for_each(|(state, _)| state.members(&members, &mut Vec::new()));
        Self { nodes, under_way: Vec::new() }
    }

    fn carry_out(&mut self, at: usize, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send { to, message } => self.under_way.push((to.uid as usize - 1, message)),
                Effect::Install { owner, version, entries, .. } => {
                    let before = self.nodes[at].1.insert(owner, (version, entries));
                    assert!(
                        before.is_none_or(|(before, _)| before < version),
                        "a version is listed once, and none older"
                    );
                }
                Effect::Remove { owner } => drop(self.nodes[at].1.remove(&owner)),
                Effect::Reachable { .. } => {}
            }
        }
    }

    fn spread(&mut self) {
        for at in 0..self.nodes.len() {
            let mut effects = Vec::new();
            self.nodes[at].0.spread(&mut effects);
            self.carry_out(at, effects);
        }
    }

    /// Delivers what is under way, as `fate` says: lost, twice, or once.
    fn deliver(&mut self, mut fate: impl FnMut() -> u8) {
        while let Some((at, told)) = self.under_way.pop() {
            for _ in 0..match fate() % 4 {
                0 => 0,
                1 => 2,
                _ => 1,
            } {
                let mut effects = Vec::new();
                self.nodes[at].0.told(told.clone(), &mut effects);
                self.carry_out(at, effects);
            }
        }
    }
}

proptest! {
    #[test]
    fn all_list_the_newest_of_each_once_messages_pass(
        changes in proptest::collection::vec((0_usize..3, 0_usize..400), 1..8),
        fates in proptest::collection::vec(any::<u8>(), 64),
    ) {
        let mut net = Net::new(3);
        let mut fates = fates.into_iter().cycle();
        let mut newest = BTreeMap::new();
        for (version, (at, many)) in (1..).zip(changes) {
            let own = entries(many, version);
            net.nodes[at].0.own(at as u64 + 1, version, pieces(own.clone()));
            newest.insert(at as u64 + 1, (version, own));
            net.spread();
            net.deliver(|| fates.next().unwrap());
        }
        for _ in 0..2 {
            net.spread();
            net.deliver(|| 2);
        }
        for (at, (state, lists)) in net.nodes.iter().enumerate() {
            let mut others = newest.clone();
            others.remove(&(at as u64 + 1));
            prop_assert_eq!(lists, &others);
            prop_assert!(!state.lacks());
        }
    }
}

#[test]
fn who_is_no_member_is_not_heard_and_what_is_for_another_life_neither() {
    let mut state = State::new(life(1));
    let part = |to, entries: Vec<Entry>| {
        let mut other = State::new(life(2));
        other.own(2, 1, pieces(entries));
        other.member(&life(1), true, &mut Vec::new());
        let mut out = Vec::new();
        other.spread(&mut out);
        let Some(Effect::Send { message: Told::Part(part), .. }) = out.pop() else { panic!("it sends a part") };
        Told::Part(super::message::Part { to, ..part })
    };
    let mut out = Vec::new();
    state.told(part(1, entries(1, 1)), &mut out);
    assert_eq!(out, [], "a stranger");
    state.member(&life(2), true, &mut out);
    state.told(part(9, entries(1, 1)), &mut out);
    assert_eq!(out, [], "for another life at this address");
    state.told(part(1, entries(1, 1)), &mut out);
    let have = Told::Have { from: Life::from(&life(1)), to: 2, version: 1 };
    assert_eq!(out.last(), Some(&Effect::Send { to: life(2), message: have }));
    out.clear();
    state.removed(&life(2), &mut out);
    assert_eq!(out, [Effect::Remove { owner: 2 }]);
    out.clear();
    state.told(part(1, entries(1, 1)), &mut out);
    assert_eq!(out, [], "what it said before it was removed");
}
