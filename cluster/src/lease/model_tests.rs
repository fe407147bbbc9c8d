//! Owners with clocks of their own and a store that answers late, twice as late, or never: at most one of them holds the
//! lease at any time, and tokens grow with each grant.

use super::{
    LeaseOwner, LeaseRecord, LeaseSettings, Stored, Swapped, Version,
    state::{Answer, Effect, Input, LeaseState},
};
use actors::Tick;
use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

const SEEDS: u64 = 400;
/// Milliseconds.
const RUN: u64 = 400_000;

/// One process. Its clock has an offset and a rate.
struct Owner {
    state: LeaseState,
    offset: u64,
    /// Thousandths.
    rate: u64,
    paused_until: u64,
    /// What the driver knows: the token, and until when by this clock.
    held: Option<(u64, Tick)>,
    operation: u64,
    waiting: BTreeSet<u64>,
    crashed: bool,
}

impl Owner {
    fn clock(&self, now: u64) -> Tick {
        Tick::START + Duration::from_millis(self.offset + now * self.rate / 1000)
    }

    fn holds(&self, now: u64) -> Option<u64> {
        self.held.filter(|(_, until)| !self.crashed && self.clock(now) < *until).map(|(token, _)| token)
    }
}

enum Due {
    /// Takes effect in the store.
    Apply {
        owner: usize,
        operation: u64,
        swap: Option<(Option<Version>, LeaseRecord)>,
    },
    Answer {
        owner: usize,
        operation: u64,
        input: Input,
    },
}

struct World {
    now: u64,
    rng: ChaCha8Rng,
    owners: Vec<Owner>,
    record: Option<(LeaseRecord, u64, u64)>,
    has_clock: bool,
    due: BTreeMap<(u64, u64), Due>,
    next: u64,
    grants: Vec<u64>,
    next_id: u64,
    forced: u64,
    seed: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let owner = |at: usize, rng: &mut ChaCha8Rng| Owner {
            state: LeaseState::new(LeaseOwner::from_stored(format!("n{at}")), LeaseSettings::default()),
            offset: rng.random_range(0..1_000_000),
            rate: rng.random_range(981..1020),
            paused_until: 0,
            held: None,
            operation: 0,
            waiting: BTreeSet::new(),
            crashed: false,
        };
        let owners = (0..3).map(|at| owner(at, &mut rng)).collect();
        let has_clock = rng.random();
        let due = BTreeMap::new();
        Self { now: 0, rng, owners, record: None, has_clock, due, next: 0, grants: vec![], next_id: 0, forced: 0, seed }
    }

    fn later(&mut self, after: u64, due: Due) {
        self.next += 1;
        self.due.insert((self.now + after, self.next), due);
    }

    fn step(&mut self, at: usize, input: Input) {
        let now = self.owners[at].clock(self.now);
        for effect in self.owners[at].state.step(input, now) {
            match effect {
                Effect::Read => self.operate(at, None),
                Effect::Swap { expected, record } => self.operate(at, Some((expected, record))),
                Effect::Held { token, until } => {
                    if self.owners[at].held.is_none_or(|(held, _)| held != token) {
                        self.grants.push(token);
                    }
                    self.owners[at].held = Some((token, until));
                }
                Effect::NotHeld(_) => self.owners[at].held = None,
                Effect::Answer { id, answer } => {
                    assert!(self.owners[at].waiting.remove(&id), "seed {}: answered twice", self.seed);
                    if let Answer::Granted(token) = answer {
                        assert_eq!(self.owners[at].held.map(|(held, _)| held), Some(token), "seed {}", self.seed);
                    }
                }
            }
        }
    }

    /// It may take effect after whoever asked has given up, or never.
    fn operate(&mut self, at: usize, swap: Option<(Option<Version>, LeaseRecord)>) {
        self.owners[at].operation += 1;
        let operation = self.owners[at].operation;
        let timed_out = if swap.is_some() { Input::Swapped(None) } else { Input::Read(None) };
        self.later(3_000, Due::Answer { owner: at, operation, input: timed_out });
        let after = match self.rng.random_range(0..20) {
            0 => return,
            1 => self.rng.random_range(2_000..12_000),
            _ => self.rng.random_range(1..400),
        };
        self.later(after, Due::Apply { owner: at, operation, swap });
    }

    fn stored(&self) -> Option<Stored> {
        self.record.as_ref().map(|(record, version, at)| Stored {
            record: record.clone(),
            version: (*version).into(),
            age: self.has_clock.then(|| Duration::from_millis(self.now - at)),
        })
    }

    fn apply(&mut self, owner: usize, operation: u64, swap: Option<(Option<Version>, LeaseRecord)>) {
        let input = match swap {
            None => Input::Read(Some(self.stored())),
            Some((expected, record)) => {
                let stored = self.stored();
                Input::Swapped(Some(if stored.as_ref().map(|stored| &stored.version) == expected.as_ref() {
                    let version = self.record.as_ref().map_or(0, |(_, version, _)| *version) + 1;
                    self.record = Some((record, version, self.now));
                    Swapped::Done(version.into())
                } else {
                    Swapped::Changed(stored)
                }))
            }
        };
        // The answer may be lost.
        if self.rng.random_range(0..20) > 0 {
            let after = self.rng.random_range(1..400);
            self.later(after, Due::Answer { owner, operation, input });
        }
    }

    fn force_release(&mut self) {
        if let Some((record, version, at)) = &mut self.record
            && record.owner.take().is_some()
        {
            record.token += 1;
            *version += 1;
            *at = self.now;
            self.forced = self.now;
        }
    }

    fn something_happens(&mut self, at: usize) {
        match self.rng.random_range(0..4000) {
            0..=3 => self.owners[at].paused_until = self.now + self.rng.random_range(1_000..50_000),
            4 => self.owners[at].crashed = true,
            5 => self.force_release(),
            6..=12 => self.wish(at, |id| Input::Release { id }),
            13..=60 => self.wish(at, |id| Input::Acquire { id }),
            _ => {}
        }
    }

    fn wish(&mut self, at: usize, input: impl Fn(u64) -> Input) {
        self.next_id += 1;
        self.owners[at].waiting.insert(self.next_id);
        self.step(at, input(self.next_id));
    }

    fn tick(&mut self) {
        self.now += 10;
        while let Some(entry) = self.due.first_entry()
            && entry.key().0 <= self.now
        {
            match entry.remove() {
                Due::Apply { owner, operation, swap } => self.apply(owner, operation, swap),
                Due::Answer { owner, operation, input } => {
                    let paused_until = self.owners[owner].paused_until;
                    if self.now < paused_until {
                        let after = paused_until - self.now;
                        self.later(after, Due::Answer { owner, operation, input });
                    } else if !self.owners[owner].crashed && self.owners[owner].operation == operation {
                        // The next answer to it is too late.
                        self.owners[owner].operation += 1;
                        self.step(owner, input);
                    }
                }
            }
        }
        for at in 0..self.owners.len() {
            if self.owners[at].crashed || self.now < self.owners[at].paused_until {
                continue;
            }
            let due = self.owners[at].state.wake_at().is_some_and(|wake| wake <= self.owners[at].clock(self.now));
            if due {
                self.step(at, Input::Time);
            }
            self.something_happens(at);
        }
        let holders: Vec<u64> = self.owners.iter().filter_map(|owner| owner.holds(self.now)).collect();
        let recently_forced = self.forced > 0 && self.now - self.forced < 60_000;
        assert!(holders.len() <= 1 || recently_forced, "seed {} at {}: {holders:?}", self.seed, self.now);
    }
}

#[test]
fn at_most_one_holds_it_whatever_store_and_clocks_do() {
    let mut grants = 0;
    let mut taken_over = 0;
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        while world.now < RUN {
            world.tick();
        }
        let distinct: BTreeSet<u64> = world.grants.iter().copied().collect();
        assert_eq!(distinct.len(), world.grants.len(), "seed {seed}: a token twice in {:?}", world.grants);
        grants += world.grants.len();
        taken_over += usize::from(world.owners.iter().any(|owner| owner.crashed) && world.grants.len() > 3);
    }
    assert!(grants > SEEDS as usize * 5 && taken_over > 20, "{grants} grants, {taken_over} after a crash: too quiet");
}

/// With a store that answers.
fn answered(state: &mut LeaseState, record: &mut Option<Stored>, input: Input, now: Tick) -> Vec<Effect> {
    let mut seen = Vec::new();
    let mut effects = state.step(input, now);
    while let Some(effect) = effects.pop() {
        match effect {
            Effect::Read => effects.extend(state.step(Input::Read(Some(record.clone())), now)),
            Effect::Swap { expected, record: new } => {
                let version = record.as_ref().map(|stored| stored.version.clone());
                let swapped = if version == expected {
                    let version: Version = version.map_or(1, |old| old.0.parse::<u64>().unwrap() + 1).into();
                    *record = Some(Stored { record: new, version: version.clone(), age: None });
                    Swapped::Done(version)
                } else {
                    Swapped::Changed(record.clone())
                };
                effects.extend(state.step(Input::Swapped(Some(swapped)), now));
            }
            other => seen.push(other),
        }
    }
    seen
}

#[test]
fn a_lease_goes_from_hand_to_hand() {
    let at = |seconds: u64| Tick::START + Duration::from_secs(seconds);
    let [first, second] = ["first", "second"].map(LeaseOwner::from_stored);
    let mut one = LeaseState::new(first.clone(), LeaseSettings::default());
    let mut two = LeaseState::new(second, LeaseSettings::default());
    let record = &mut None;

    let got = answered(&mut one, record, Input::Acquire { id: 1 }, at(0));
    assert!(got.contains(&Effect::Answer { id: 1, answer: Answer::Granted(1) }), "{got:?}");
    let got = answered(&mut one, record, Input::Acquire { id: 2 }, at(1));
    assert_eq!(got, [Effect::Answer { id: 2, answer: Answer::Granted(1) }], "who has it is granted the same");
    let got = answered(&mut two, record, Input::Acquire { id: 1 }, at(1));
    assert_eq!(got, [Effect::Answer { id: 1, answer: Answer::Denied(first.clone()) }]);

    answered(&mut one, record, Input::Release { id: 3 }, at(2));
    let got = answered(&mut two, record, Input::Acquire { id: 2 }, at(2));
    assert!(got.contains(&Effect::Answer { id: 2, answer: Answer::Granted(2) }), "{got:?}");

    // The second is gone without a word. The first has watched its record for as long as it was good.
    let got = answered(&mut one, record, Input::Acquire { id: 4 }, at(5));
    assert!(matches!(got[..], [Effect::Answer { answer: Answer::Denied(_), .. }]), "{got:?}");
    let got = answered(&mut one, record, Input::Acquire { id: 5 }, at(34));
    assert!(matches!(got[..], [Effect::Answer { answer: Answer::Denied(_), .. }]), "{got:?}");
    let got = answered(&mut one, record, Input::Acquire { id: 6 }, at(35));
    assert!(got.contains(&Effect::Answer { id: 6, answer: Answer::Granted(3) }), "{got:?}");
    let got = answered(&mut two, record, Input::Time, at(31));
    assert_eq!(got, [Effect::NotHeld(Some(super::LeaseLost::Expired))]);

    // Taken away by force: the next grant is two higher than the one that was.
    let stored = record.as_mut().unwrap();
    *stored = Stored { record: LeaseRecord { owner: None, token: 4 }, version: 99.into(), age: None };
    let got = answered(&mut one, record, Input::Time, at(40));
    assert_eq!(got, [Effect::NotHeld(Some(super::LeaseLost::Taken { by: None }))]);
    let got = answered(&mut two, record, Input::Acquire { id: 3 }, at(41));
    assert!(got.contains(&Effect::Answer { id: 3, answer: Answer::Granted(5) }), "{got:?}");
}

mod driven {
    use crate::{
        lease::{
            AcquireError, FencingToken, InMemoryLeaseStore, Lease, LeaseLost, LeaseOwner, LeaseSettings, LeaseStore,
            StoredLease, force_release,
        },
        seams::Spawner,
        uptime::Uptime,
    };
    use actors::Clock;
    use parking_lot::Mutex;
    use std::{sync::Arc, time::Duration};
    use tokio::runtime::Handle;

    fn lease(owner: &'static str, store: &InMemoryLeaseStore, clock: &Clock) -> StoredLease {
        let spawner: &dyn Spawner = &Handle::current();
        let (owner, settings) = (LeaseOwner::from_stored(owner), LeaseSettings::default());
        let uptime = Uptime::of(clock.clone());
        StoredLease::new("front-gate", Arc::new(store.clone()), owner, settings, uptime, spawner)
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_kept_until_it_is_dropped_and_then_expires() {
        let clock = Clock::paused(&Handle::current(), 0);
        let store = InMemoryLeaseStore::new(clock.clone());
        let (one, two) = (lease("one", &store, &clock), lease("two", &store, &clock));
        assert_eq!(one.acquire(Box::new(|_| {})).await.unwrap(), FencingToken(1));
        assert_eq!((one.check(), two.check()), (Some(FencingToken(1)), None));
        clock.sleep(Duration::from_secs(300)).await;
        assert_eq!(one.check(), Some(FencingToken(1)), "it was renewed");
        let denied = two.acquire(Box::new(|_| {})).await.unwrap_err();
        assert!(matches!(&denied, AcquireError::Denied { holder } if holder.as_str() == "one"), "{denied}");

        drop(one);
        clock.sleep(Duration::from_secs(31)).await;
        assert_eq!(two.acquire(Box::new(|_| {})).await.unwrap(), FencingToken(2));
        two.release().await.unwrap();
        assert_eq!(two.check(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_loses_it_is_told() {
        let clock = Clock::paused(&Handle::current(), 0);
        let store = InMemoryLeaseStore::new(clock.clone());
        let one = lease("one", &store, &clock);
        let lost = Arc::new(Mutex::new(None));
        let told = lost.clone();
        one.acquire(Box::new(move |why| *told.lock() = Some(why))).await.unwrap();
        let store: &dyn LeaseStore = &store;
        let had = force_release(store, "front-gate").await.unwrap();
        assert_eq!(had.unwrap().as_str(), "one");
        clock.sleep(Duration::from_secs(6)).await;
        assert_eq!((lost.lock().take(), one.check()), (Some(LeaseLost::Taken { by: None }), None));
        assert_eq!(one.acquire(Box::new(|_| {})).await.unwrap(), FencingToken(3), "higher than any before");
    }
}
