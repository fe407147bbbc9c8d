//! Random histories: replicas that change their copies and sometimes hear of each other's.

use std::collections::BTreeSet;

use cloudstate::crdt::{Clock, Crdt, Element, Kind, MapError, OrMap, ReplicaId};
use proptest::prelude::*;

pub(super) const A: ReplicaId = ReplicaId(1);
pub(super) const B: ReplicaId = ReplicaId(2);
pub(super) const C: ReplicaId = ReplicaId(3);
pub(super) const REPLICAS: [ReplicaId; 3] = [A, B, C];

pub(super) const KINDS: [Kind; 8] =
    [Kind::GCounter, Kind::PnCounter, Kind::GSet, Kind::OrSet, Kind::LwwRegister, Kind::Flag, Kind::OrMap, Kind::Vote];

pub(super) fn element(number: u8) -> Element {
    Element::new("type.googleapis.com/fruit", vec![number])
}

/// What a replica does to its copy; which parts count depends on the type.
#[derive(Clone, Copy, Debug)]
pub(super) struct Action {
    pub(super) verb: u16,
    pub(super) key: u8,
    pub(super) amount: i64,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    Change { replica: usize, action: Action },
    Sync { from: usize, to: usize },
}

pub(super) fn action() -> impl Strategy<Value = Action> {
    (0..1_000_u16, 0..64_u8, -5..6_i64).prop_map(|(verb, key, amount)| Action { verb, key, amount })
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..3_usize, action()).prop_map(|(replica, action)| Step::Change { replica, action }),
        2 => (0..3_usize, 0..3_usize).prop_map(|(from, to)| Step::Sync { from, to }),
    ];
    prop::collection::vec(step, 1..24)
}

pub(super) fn kind() -> impl Strategy<Value = Kind> {
    // Sets and maps have more to get wrong.
    prop_oneof![4 => prop::sample::select(KINDS.to_vec()), 1 => Just(Kind::OrSet), 3 => Just(Kind::OrMap)]
}

/// How an action reads as one on a set or map: what becomes of which key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Edit {
    Put(u8),
    Remove(u8),
    Clear,
}

impl Action {
    pub(super) fn edit(self) -> Edit {
        match self.verb % 8 {
            0..=4 => Edit::Put(self.key % 4),
            5 | 6 => Edit::Remove(self.key % 4),
            _ => Edit::Clear,
        }
    }

    fn nested(self) -> Action {
        Action { verb: self.verb / 8, key: self.key / 4, amount: self.amount }
    }

    /// Does it, and gives the delta.
    pub(super) fn apply(self, copy: &mut Crdt, replica: ReplicaId) -> Crdt {
        let odd = self.verb % 2 == 1;
        match copy {
            Crdt::GCounter(counter) => counter.increment(replica, self.amount.unsigned_abs()).unwrap().into(),
            Crdt::PnCounter(counter) => counter.change(replica, self.amount).unwrap().into(),
            Crdt::GSet(set) => set.add(element(self.key % 4)).into(),
            Crdt::OrSet(set) => match self.edit() {
                Edit::Put(key) => set.add(replica, element(key)),
                Edit::Remove(key) => set.remove(&element(key)),
                Edit::Clear => set.clear(),
            }
            .into(),
            Crdt::LwwRegister(register) => {
                let clock = [
                    Clock::Default,
                    Clock::Reverse,
                    Clock::Custom(self.amount),
                    Clock::CustomAutoIncrement(self.amount),
                ];
                let clock = clock[usize::from(self.verb % 4)];
                register.set(replica, element(self.key), clock, self.amount.unsigned_abs()).into_delta().into()
            }
            Crdt::Flag(flag) if odd => flag.enable().into(),
            Crdt::Flag(_) => Crdt::new(Kind::Flag),
            Crdt::Vote(vote) => vote.vote(replica, odd).into(),
            Crdt::OrMap(map) => self.edit_map(map, replica).into(),
        }
    }

    fn edit_map(self, map: &mut OrMap, replica: ReplicaId) -> OrMap {
        let key = match self.edit() {
            Edit::Put(key) => key,
            Edit::Remove(key) => return map.remove(&element(key)),
            Edit::Clear => return map.clear(),
        };
        let nested = self.nested();
        let kind = match key {
            0 => Kind::OrSet,
            1 => Kind::GCounter,
            2 => Kind::OrMap,
            _ => KINDS[usize::from(nested.key % 8)],
        };
        let key = element(key);
        // A value of another type is replaced.
        let mut delta = OrMap::default();
        if map.get(&key).is_some_and(|value| value.kind() != kind) {
            delta = map.remove(&key);
        }
        let mut expected = String::new();
        let update = map.update(replica, &key, kind, |value| {
            let delta = nested.apply(value, replica);
            expected = visible(value, replica);
            Ok::<_, MapError>(delta)
        });
        delta.merge(&update.unwrap());
        let entry = map.get(&key).expect("it was updated");
        assert_eq!(visible(&entry, replica), expected, "the entry is what the update made of it");
        delta
    }
}

/// Everything that came up in a history.
pub(super) struct History {
    pub(super) copies: [Crdt; 3],
    pub(super) deltas: Vec<Crdt>,
    /// Every state of every copy, and every delta: all of these may meet somewhere.
    pub(super) seen: Vec<Crdt>,
    /// Per change: who, what, and which earlier changes its replica knew.
    pub(super) events: Vec<(ReplicaId, Action, BTreeSet<usize>)>,
    pub(super) known: [BTreeSet<usize>; 3],
}

impl History {
    pub(super) fn new(kind: Kind) -> Self {
        let copies = [Crdt::new(kind), Crdt::new(kind), Crdt::new(kind)];
        Self { copies, deltas: vec![], seen: vec![Crdt::new(kind)], events: vec![], known: Default::default() }
    }

    pub(super) fn run(kind: Kind, steps: &[Step]) -> Self {
        let mut history = Self::new(kind);
        for step in steps {
            history.step(*step);
        }
        history
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Change { replica, action } => {
                let before = self.copies[replica].clone();
                let delta = action.apply(&mut self.copies[replica], REPLICAS[replica]);
                let after = &self.copies[replica];
                assert_eq!(*after, merged(&before, &delta), "a change is the merge of its delta");
                self.seen.extend([after.clone(), delta.clone()]);
                self.deltas.push(delta);
                self.events.push((REPLICAS[replica], action, self.known[replica].clone()));
                self.known[replica].insert(self.events.len() - 1);
            }
            Step::Sync { from, to } => {
                let sent = self.copies[from].clone();
                self.copies[to].merge(&sent).unwrap();
                self.seen.push(self.copies[to].clone());
                let known = self.known[from].clone();
                self.known[to].extend(known);
            }
        }
    }

    /// What all copies together know.
    pub(super) fn everything(&self) -> Crdt {
        self.copies.iter().skip(1).fold(self.copies[0].clone(), |all, copy| merged(&all, copy))
    }

    /// By the definition of an observed-remove set: the keys of which some addition is unknown to all removals.
    pub(super) fn keys_by_definition(&self, known: &BTreeSet<usize>) -> BTreeSet<u8> {
        let removed = |key: u8, addition: usize| {
            known.iter().any(|&event| {
                let (_, action, knew) = &self.events[event];
                let removes = match action.edit() {
                    Edit::Remove(removed) => removed == key,
                    Edit::Clear => true,
                    Edit::Put(_) => false,
                };
                removes && knew.contains(&addition)
            })
        };
        let additions = known.iter().filter_map(|&event| match self.events[event].1.edit() {
            Edit::Put(key) => Some((key, event)),
            _ => None,
        });
        additions.filter(|&(key, event)| !removed(key, event)).map(|(key, _)| key).collect()
    }
}

pub(super) fn merged(left: &Crdt, right: &Crdt) -> Crdt {
    let mut merged = left.clone();
    merged.merge(right).unwrap();
    merged
}

/// What a user sees of a value, without what only merging needs; of votes those of one replica.
pub(super) fn visible(value: &Crdt, voter: ReplicaId) -> String {
    match value {
        Crdt::GCounter(counter) => counter.value().to_string(),
        Crdt::PnCounter(counter) => counter.value().to_string(),
        Crdt::GSet(set) => format!("{:?}", set.elements().collect::<Vec<_>>()),
        Crdt::OrSet(set) => format!("{:?}", set.elements().collect::<Vec<_>>()),
        Crdt::LwwRegister(register) => format!("{:?}", register.value()),
        Crdt::Flag(flag) => flag.is_enabled().to_string(),
        Crdt::Vote(vote) => vote.of(voter).to_string(),
        Crdt::OrMap(map) => {
            let entries = map.entries().map(|(key, value)| (key, value.kind(), visible(&value, voter)));
            format!("{:?}", entries.collect::<Vec<_>>())
        }
    }
}
