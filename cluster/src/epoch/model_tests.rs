//! Members that come, leave, crash and are cut off, over a network that loses, doubles and delays: epochs of one name
//! strictly grow, and no epoch has two owners.

use super::{Council, CouncilId, Effect, EpochMessage, EpochRegister, Input};
use crate::membership::table::Digest;
use actors::Tick;
use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng, seq::IndexedRandom};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

const SEEDS: u64 = 600;
const NAMES: [&str; 2] = ["front-gate", "till"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Up,
    Leaving,
    /// In contact, and no member that counts.
    Exiting,
}

enum Due {
    Deliver { to: u64, from: u64, message: EpochMessage },
    Council { to: u64, change: u64, council: Option<Council> },
}

struct World {
    now: u64,
    rng: ChaCha8Rng,
    registers: BTreeMap<u64, EpochRegister>,
    /// As all full members agree.
    members: BTreeMap<u64, Status>,
    /// Cut off from those that are members: they believe in the council that they had.
    ghosts: BTreeSet<u64>,
    change: u64,
    due: BTreeMap<(u64, u64), Due>,
    next: u64,
    next_uid: u64,
    /// Each with the highest epoch that anybody had been told of when it was made.
    wishes: BTreeMap<u64, (u64, Arc<str>, u64)>,
    /// Epochs of each name, and whose they are.
    raised: BTreeMap<Arc<str>, BTreeMap<u64, u64>>,
    loss: u32,
    seed: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut world = Self {
            now: 0,
            rng: ChaCha8Rng::seed_from_u64(seed),
            registers: BTreeMap::new(),
            members: BTreeMap::new(),
            ghosts: BTreeSet::new(),
            change: 0,
            due: BTreeMap::new(),
            next: 0,
            next_uid: 1,
            wishes: BTreeMap::new(),
            raised: BTreeMap::new(),
            loss: 0,
            seed,
        };
        world.loss = world.rng.random_range(0..25);
        for _ in 0..world.rng.random_range(1..6) {
            world.join();
        }
        world.table_changed();
        world
    }

    fn later(&mut self, after: u64, due: Due) {
        self.next += 1;
        self.due.insert((self.now + after, self.next), due);
    }

    fn join(&mut self) {
        let uid = self.next_uid;
        self.next_uid += 1;
        self.registers.insert(uid, EpochRegister::new(uid, ChaCha8Rng::seed_from_u64(self.rng.random())));
        self.members.insert(uid, Status::Up);
    }

    /// First all that count leave the council that was; then each, one after the other, learns that all did.
    fn table_changed(&mut self) {
        self.change += 1;
        let of = |wanted: &[Status]| -> BTreeSet<u64> {
            self.members.iter().filter(|(_, status)| wanted.contains(status)).map(|(uid, _)| *uid).collect()
        };
        let council = Council {
            id: CouncilId::from(Digest(self.change.into())),
            voters: of(&[Status::Up]),
            present: of(&[Status::Up, Status::Leaving, Status::Exiting]),
        };
        let full = of(&[Status::Up, Status::Leaving]);
        for uid in &full {
            self.step(*uid, Input::Council(None));
        }
        for to in full {
            let after = self.rng.random_range(1..400);
            self.later(after, Due::Council { to, change: self.change, council: Some(council.clone()) });
        }
    }

    fn step(&mut self, uid: u64, input: Input) {
        let now = Tick::START + Duration::from_millis(self.now);
        let Some(register) = self.registers.get_mut(&uid) else {
            return;
        };
        for effect in register.step(input, now) {
            match effect {
                Effect::Send { to, message } => self.send(uid, to, &message),
                Effect::Raised { id, name, epoch } => {
                    let (by, of, last) = self.wishes.remove(&id).unwrap();
                    let raised = self.raised.entry(name.clone()).or_default();
                    let seed = self.seed;
                    assert_eq!((by, of), (uid, name), "seed {seed}: answers another's wish");
                    assert!(epoch > last, "seed {seed} at {}: {epoch} of {uid} after {last} of {raised:?}", self.now);
                    let other = raised.insert(epoch, uid);
                    assert_eq!(other, None, "seed {seed} at {}: {epoch} is {uid}'s too", self.now);
                }
                Effect::Dropped(_) => {}
            }
        }
    }

    fn send(&mut self, from: u64, to: u64, message: &EpochMessage) {
        for _ in 0..self.rng.random_range(1..3) {
            if self.rng.random_range(0..100) >= self.loss {
                let slow = self.rng.random_range(0..30) == 0;
                let after = self.rng.random_range(1..if slow { 4_000 } else { 60 });
                self.later(after, Due::Deliver { to, from, message: message.clone() });
            }
        }
    }

    fn run(&mut self, milliseconds: u64) {
        let end = self.now + milliseconds;
        while self.now < end {
            self.now += 5;
            while let Some(entry) = self.due.first_entry()
                && entry.key().0 <= self.now
            {
                match entry.remove() {
                    Due::Deliver { to, from, message } => {
                        if self.ghosts.contains(&to) == self.ghosts.contains(&from) {
                            self.step(to, Input::Message { from, message });
                        }
                    }
                    Due::Council { to, change, council } => {
                        if change == self.change {
                            self.step(to, Input::Council(council));
                        }
                    }
                }
            }
            let wake = |register: &EpochRegister| {
                register.wake_at().is_some_and(|at| at.since_start().as_millis() as u64 <= self.now)
            };
            let due: Vec<u64> = self.registers.iter().filter(|(_, one)| wake(one)).map(|(uid, _)| *uid).collect();
            due.into_iter().for_each(|uid| self.step(uid, Input::Time));
        }
    }

    fn wish(&mut self) {
        let uids: Vec<u64> = self.registers.keys().copied().collect();
        if let Some(uid) = uids.choose(&mut self.rng).copied() {
            let name: Arc<str> = NAMES[self.rng.random_range(0..NAMES.len())].into();
            let id = self.next;
            self.next += 1;
            let last = self.raised.get(&name).and_then(|raised| raised.keys().last().copied()).unwrap_or(0);
            self.wishes.retain(|_, (by, of, _)| (*by, &*of) != (uid, &name));
            self.wishes.insert(id, (uid, name.clone(), last));
            self.step(uid, Input::Raise { id, name, floor: 0 });
        }
    }

    fn of(&self, status: Status) -> Vec<u64> {
        self.members.iter().filter(|(_, one)| **one == status).map(|(uid, _)| *uid).collect()
    }

    /// What was agreed on.
    fn somebody_knows_without(&self, lost: &[u64]) -> bool {
        self.raised.iter().all(|(name, raised)| {
            let last = raised.keys().last().copied().unwrap_or(0);
            let mut rest = self.members.keys().filter(|uid| !lost.contains(uid));
            rest.any(|uid| self.registers[uid].known(name).epoch >= last)
        })
    }

    fn something_happens(&mut self) {
        let (up, leaving) = (self.of(Status::Up), self.of(Status::Leaving));
        match self.rng.random_range(0..10) {
            0 | 1 => self.join(),
            // A minority crashes or is cut off.
            2 | 3 => {
                let crash = self.rng.random();
                let some = self.rng.random_range(0..up.len().div_ceil(2));
                let lost: Vec<u64> = up.sample(&mut self.rng, some).copied().collect();
                if !self.somebody_knows_without(&lost) {
                    return;
                }
                for uid in lost {
                    self.members.remove(&uid);
                    if crash {
                        self.registers.remove(&uid);
                    } else {
                        self.ghosts.insert(uid);
                    }
                }
            }
            // All but one may leave at once.
            4 if up.len() > 1 => {
                let some = self.rng.random_range(1..up.len());
                for uid in up.sample(&mut self.rng, some).copied().collect::<Vec<_>>() {
                    self.members.insert(uid, Status::Leaving);
                }
            }
            5 | 6 => self.members.extend(leaving.into_iter().map(|uid| (uid, Status::Exiting))),
            // Those that exit are there for long enough to say what they know.
            7 => {
                for uid in self.of(Status::Exiting) {
                    self.run(3_000);
                    self.members.remove(&uid);
                    self.registers.remove(&uid);
                }
            }
            _ => return,
        }
        self.table_changed();
    }
}

#[test]
fn epochs_grow_and_have_one_owner_whoever_comes_and_goes() {
    let mut total = 0;
    let mut contested = 0;
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        for _ in 0..world.rng.random_range(5..25) {
            for _ in 0..world.rng.random_range(0..4) {
                world.wish();
            }
            let time = world.rng.random_range(0..1500);
            world.run(time);
            world.something_happens();
        }
        // Left alone, each wish of a member that counts comes true.
        world.loss = 0;
        world.run(15_000);
        let up = world.of(Status::Up);
        let open: Vec<_> = world.wishes.values().filter(|(uid, ..)| up.contains(uid)).collect();
        assert!(open.is_empty(), "seed {seed}: {open:?} of {up:?}");
        total += world.raised.values().map(BTreeMap::len).sum::<usize>();
        let owners = |raised: &BTreeMap<u64, u64>| raised.values().collect::<BTreeSet<_>>().len();
        contested += usize::from(world.raised.values().any(|raised| owners(raised) > 2));
    }
    assert!(total > SEEDS as usize * 10 && contested > SEEDS as usize / 2, "{total}, {contested}: too quiet");
}

#[test]
fn an_epoch_is_at_least_the_floor() {
    let mut register = EpochRegister::new(1, ChaCha8Rng::seed_from_u64(1));
    let alone: BTreeSet<u64> = [1].into();
    let id = CouncilId::from(Digest(1));
    let council = Council { id, voters: alone.clone(), present: alone };
    let wish = |id, floor| Input::Raise { id, name: "till".into(), floor };
    assert_eq!(register.step(wish(1, 1_000), Tick::START), [], "nobody agreed on a table yet");
    let raised = |id, epoch| vec![Effect::Raised { id, name: "till".into(), epoch }];
    assert_eq!(register.step(Input::Council(Some(council)), Tick::START), raised(1, 1_000));
    assert_eq!(register.step(wish(2, 7), Tick::START), raised(2, 1_001));
    assert_eq!(register.known("till").epoch, 1_001);
}
