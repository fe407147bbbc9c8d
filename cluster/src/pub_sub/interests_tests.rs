//! Nodes that listen and stop listening, with gossip that is lost, late and doubled, and members that come and go.

use super::interests::{Dropped, Effect, GossipMessage, Input, Interests, Route, SUBJECTS_MAX, Subject};
use actors::Tick;
use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

fn subject(topic: &str, group: Option<&str>) -> Subject {
    Subject { topic: topic.into(), group: group.map(Arc::from) }
}

struct World {
    now: u64,
    rng: ChaCha8Rng,
    nodes: BTreeMap<u64, Interests>,
    truth: BTreeMap<u64, BTreeSet<Subject>>,
    due: BTreeMap<(u64, u64), (u64, u64, GossipMessage)>,
    next: u64,
    loss: u32,
    sent: usize,
}

impl World {
    fn new(seed: u64, nodes: u64) -> Self {
        let rng = ChaCha8Rng::seed_from_u64(seed);
        let (nodes_, truth, due) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        let mut world = Self { now: 0, rng, nodes: nodes_, truth, due, next: 0, loss: 0, sent: 0 };
        (1..=nodes).for_each(|uid| world.add(uid));
        world.tell_members();
        world
    }

    fn add(&mut self, uid: u64) {
        self.nodes.insert(uid, Interests::new(uid, ChaCha8Rng::seed_from_u64(self.rng.random())));
        self.truth.insert(uid, BTreeSet::new());
    }

    fn tell_members(&mut self) {
        let members: BTreeSet<u64> = self.nodes.keys().copied().collect();
        for uid in members.clone() {
            self.step(uid, Input::Members(members.clone()));
        }
    }

    fn step(&mut self, uid: u64, input: Input) {
        let now = Tick::START + Duration::from_millis(self.now);
        let Some(node) = self.nodes.get_mut(&uid) else {
            return;
        };
        for effect in node.step(input, now) {
            if let Effect::Send { to, message } = effect {
                self.sent += 1;
                for _ in 0..self.rng.random_range(1..3) {
                    if self.rng.random_range(0..100) >= self.loss {
                        self.next += 1;
                        let at = self.now + self.rng.random_range(1..400);
                        self.due.insert((at, self.next), (to, uid, message.clone()));
                    }
                }
            }
        }
    }

    fn run(&mut self, milliseconds: u64) {
        let end = self.now + milliseconds;
        while self.now < end {
            self.now += 20;
            while let Some(entry) = self.due.first_entry()
                && entry.key().0 <= self.now
            {
                let (to, from, message) = entry.remove();
                self.step(to, Input::Message { from, message });
            }
            let now = Tick::START + Duration::from_millis(self.now);
            let due: Vec<u64> =
                self.nodes.iter().filter(|(_, one)| one.wake_at() <= now).map(|(uid, _)| *uid).collect();
            due.into_iter().for_each(|uid| self.step(uid, Input::Time));
        }
    }

    fn listen(&mut self, uid: u64, subject: Subject, listens: bool) {
        let truth = self.truth.get_mut(&uid).unwrap();
        if listens {
            truth.insert(subject.clone());
        } else {
            truth.remove(&subject);
        }
        self.step(uid, Input::Own { subject, listens });
    }

    /// All nodes would send the same to the same, by what is true.
    fn assert_agreed(&mut self, topics: &[&str], seed: u64) {
        for topic in topics {
            let each: BTreeSet<u64> =
                self.truth.iter().filter(|(_, of)| of.contains(&subject(topic, None))).map(|(uid, _)| *uid).collect();
            let groups: BTreeSet<Arc<str>> = self
                .truth
                .values()
                .flatten()
                .filter(|of| &*of.topic == *topic)
                .filter_map(|of| of.group.clone())
                .collect();
            for (uid, node) in &mut self.nodes {
                let routes = node.routes(topic);
                let found: BTreeSet<u64> = routes.iter().filter(|(_, one)| one.each).map(|(to, _)| *to).collect();
                assert_eq!(found, each, "seed {seed}: {topic} at {uid}");
                let mut once: Vec<Arc<str>> = routes.values().flat_map(|one| one.groups.clone()).collect();
                once.sort();
                assert!(once.iter().eq(groups.iter()), "seed {seed}: {topic} at {uid}: {once:?}, {groups:?}");
                for (to, route) in routes {
                    let there = |group: &Arc<str>| self.truth[&to].contains(&subject(topic, Some(group)));
                    assert!(route.groups.iter().all(there), "seed {seed}: {topic} at {uid} to {to}");
                }
            }
        }
    }
}

#[test]
fn all_agree_on_who_listens_whatever_is_lost() {
    const TOPICS: [&str; 3] = ["news", "new", "orders"];
    for seed in 0..60 {
        let mut world = World::new(seed, 4);
        world.loss = world.rng.random_range(0..40);
        for _ in 0..30 {
            let uids: Vec<u64> = world.nodes.keys().copied().collect();
            let uid = uids[world.rng.random_range(0..uids.len())];
            let topic = TOPICS[world.rng.random_range(0..3)];
            let group = [None, Some("left"), Some("right")][world.rng.random_range(0..3)];
            let listens = world.rng.random();
            world.listen(uid, subject(topic, group), listens);
            match world.rng.random_range(0..20) {
                0 => world.run(130_000),
                1 => {
                    let new = uids.iter().max().unwrap() + 1;
                    world.add(new);
                    world.tell_members();
                }
                2 if uids.len() > 2 => {
                    world.nodes.remove(&uid);
                    world.truth.remove(&uid);
                    world.tell_members();
                }
                _ => {
                    let time = world.rng.random_range(0..3_000);
                    world.run(time);
                }
            }
        }
        world.loss = 0;
        world.run(30_000);
        world.assert_agreed(&TOPICS, seed);
        let before = world.sent;
        world.run(10_000);
        assert!(world.sent - before <= world.nodes.len() * 11, "seed {seed}: quiet gossip is one message a round");
    }
}

#[test]
fn a_newcomer_gets_many_pages_of_which_some_was_forgotten() {
    let mut world = World::new(1, 2);
    for number in 0..SUBJECTS_MAX {
        world.listen(1, subject(&format!("topic-{number}"), None), true);
    }
    for number in 0..100 {
        world.listen(1, subject(&format!("topic-{}", number * 40), None), false);
    }
    world.run(60_000);
    world.assert_agreed(&["topic-0", "topic-1", "topic-4000"], 1);
    world.run(130_000);
    world.add(3);
    world.tell_members();
    world.run(30_000);
    world.assert_agreed(&["topic-0", "topic-1", "topic-4000", "topic-4095"], 1);
}

#[test]
fn a_topic_goes_where_it_can_be_reached() {
    let mut world = World::new(1, 3);
    world.listen(2, subject("orders", Some("till")), true);
    world.listen(3, subject("orders", Some("till")), true);
    world.run(5_000);
    world.step(1, Input::Unreachable([2].into()));
    for _ in 0..20 {
        let routes = world.nodes.get_mut(&1).unwrap().routes("orders");
        assert_eq!(routes, [(3, Route { each: false, groups: vec!["till".into()] })].into());
    }
}

#[test]
fn strangers_and_giants_are_not_heard() {
    let mut node = Interests::new(1, ChaCha8Rng::seed_from_u64(1));
    node.step(Input::Members([1, 2].into()), Tick::START);
    let message = GossipMessage::Versions { versions: vec![], answer: true };
    let dropped = node.step(Input::Message { from: 9, message }, Tick::START);
    assert_eq!(dropped, [Effect::Dropped(Dropped::Stranger)]);
    let long = subject(&"x".repeat(121), None);
    let dropped = node.step(Input::Own { subject: long, listens: true }, Tick::START);
    assert_eq!(dropped, [Effect::Dropped(Dropped::TooLarge)]);
}
