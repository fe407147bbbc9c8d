//! A network in virtual time with several drivers on it. All that happens follows from the seed.

use super::{Effects, Identity, News, Settings, Swim};
use crate::{member::Address, rng::Rng};
use actors::Tick;
use bytes::Bytes;
use rand::RngExt;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    time::Duration,
};

pub(super) struct Net {
    pub(super) now: Tick,
    pub(super) nodes: Vec<Node>,
    /// Of a hundred datagrams so many get lost.
    pub(super) loss: u32,
    /// How long one takes, in milliseconds.
    pub(super) delay: (u64, u64),
    rng: Rng,
    cut: BTreeSet<(usize, usize)>,
    wire: BTreeMap<(Tick, u64), (usize, usize, Bytes)>,
    sent: u64,
    /// A copy of every datagram, while wanted.
    pub(super) tapped: Option<Vec<(usize, Bytes)>>,
    pub(super) seed: u64,
}

pub(super) struct Node {
    pub(super) swim: Swim,
    pub(super) news: Vec<(Tick, News)>,
    /// A mistake to be made: time passes before what has arrived is taken in.
    pub(super) time_first: bool,
    pub(super) runs: bool,
    busy_until: Tick,
    inbox: Vec<Bytes>,
}

pub(super) fn address(n: usize) -> Address {
    Address::new(format!("n{n}"), 2551).unwrap()
}

pub(super) fn identity(n: usize, life: u64) -> Identity {
    Identity { address: address(n), uid: n as u64 * 100 + life, start: 1000 + life, generation: 0 }
}

pub(super) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(super) fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

impl Net {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            now: Tick::START,
            nodes: Vec::new(),
            loss: 0,
            delay: (1, 20),
            rng: Rng::seeded(seed).fork("net"),
            cut: BTreeSet::new(),
            wire: BTreeMap::new(),
            sent: 0,
            tapped: None,
            seed,
        }
    }

    /// `nodes` that have the first one as their seed.
    pub(super) fn of(seed: u64, nodes: usize) -> Self {
        let mut net = Self::new(seed);
        for n in 0..nodes {
            net.add(identity(n, 1), Settings { seeds: vec![address(0)], ..Settings::new("shop") });
        }
        net
    }

    /// The same, once all see each other.
    pub(super) fn joined(seed: u64, nodes: usize) -> Self {
        let mut net = Self::of(seed, nodes);
        net.run_until(secs(20), |net| net.all_see_each_other());
        // Whatever there was to say has been said.
        net.run(millis(4000 + net.below(1000)));
        net
    }

    pub(super) fn below(&self, below: u64) -> u64 {
        Rng::seeded(self.seed).fork("story").random_range(0..below)
    }

    pub(super) fn add(&mut self, identity: Identity, settings: Settings) -> usize {
        let rng = Rng::seeded(self.seed).fork(&format!("{}#{}", identity.address, identity.uid));
        let swim = Swim::new(identity, settings, rng, self.now).unwrap();
        let (runs, busy_until) = (true, self.now);
        let node = Node { swim, news: Vec::new(), time_first: false, runs, busy_until, inbox: Vec::new() };
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// Another life of the node.
    pub(super) fn restart(&mut self, n: usize, identity: Identity, settings: Settings) {
        self.add(identity, settings);
        self.nodes.swap_remove(n);
    }

    pub(super) fn kill(&mut self, n: usize) {
        self.nodes[n].runs = false;
    }

    /// It takes nothing in and lets no time pass for so long.
    pub(super) fn busy(&mut self, n: usize, time: Duration) {
        self.nodes[n].busy_until = self.now + time;
    }

    pub(super) fn cut(&mut self, side: &[usize]) {
        for one in 0..self.nodes.len() {
            for other in 0..self.nodes.len() {
                if side.contains(&one) != side.contains(&other) {
                    self.cut.insert((one, other));
                }
            }
        }
    }

    /// What is under way gets lost.
    pub(super) fn lose(&mut self) {
        self.wire.clear();
    }

    pub(super) fn heal(&mut self) {
        self.cut.clear();
    }

    pub(super) fn act(&mut self, n: usize, act: impl FnOnce(&mut Swim, Tick) -> Effects) {
        let effects = act(&mut self.nodes[n].swim, self.now);
        self.perform(n, effects);
    }

    pub(super) fn sees(&self, n: usize) -> BTreeSet<usize> {
        let number = |identity: &Identity| identity.address.host()[1..].parse().unwrap();
        self.nodes[n].swim.alive().map(number).collect()
    }

    pub(super) fn all_see_each_other(&self) -> bool {
        let running: BTreeSet<_> = (0..self.nodes.len()).filter(|n| self.nodes[*n].runs).collect();
        running.iter().all(|n| {
            let mut seen = self.sees(*n);
            seen.insert(*n) && seen == running
        })
    }

    pub(super) fn news_of(&self, n: usize) -> impl Iterator<Item = &News> {
        self.nodes[n].news.iter().map(|(_, news)| news)
    }

    /// Who was told by `n` to be unreachable.
    pub(super) fn given_up_by(&self, n: usize) -> Vec<usize> {
        let mut given_up = Vec::new();
        for news in self.news_of(n) {
            if let News::Unreachable(who) = news {
                given_up.push(who.address.host()[1..].parse().unwrap());
            }
        }
        given_up
    }

    pub(super) fn trace(&self) -> String {
        let mut trace = format!("seed {} at {:?}\n", self.seed, self.now.since_start());
        for (n, node) in self.nodes.iter().enumerate() {
            writeln!(trace, "n{n} dropped {:?}", node.swim.dropped()).unwrap();
            for (at, news) in &node.news {
                writeln!(trace, "  {:?} {news:?}", at.since_start()).unwrap();
            }
        }
        trace
    }

    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
    }

    /// Until it is so. It must be, within `time`.
    pub(super) fn run_until(&mut self, time: Duration, is_so: impl Fn(&Self) -> bool) {
        let end = self.now + time;
        while !is_so(self) {
            assert!(self.step(end), "not so after {time:?}: {}", self.trace());
        }
    }

    /// Goes on to the next moment at which something happens. `false`: that is after `end`.
    fn step(&mut self, end: Tick) -> bool {
        let wants = |node: &Node| {
            let due = if node.inbox.is_empty() { node.swim.due() } else { Some(self.now) };
            due.filter(|_| node.runs).map(|due| due.max(node.busy_until))
        };
        let arrives = self.wire.first_key_value().map(|((at, _), _)| *at);
        let next = self.nodes.iter().filter_map(wants).chain(arrives).min().filter(|next| *next <= end);
        self.now = next.map_or(end, |next| next.max(self.now));
        while let Some(first) = self.wire.first_entry().filter(|first| first.key().0 <= self.now) {
            let (_, to, datagram) = first.remove();
            self.nodes[to].inbox.push(datagram);
        }
        for n in 0..self.nodes.len() {
            let node = &mut self.nodes[n];
            if !node.runs {
                node.inbox.clear();
            } else if node.busy_until <= self.now
                && (!node.inbox.is_empty() || node.swim.due().is_some_and(|due| due <= self.now))
            {
                let inbox = std::mem::take(&mut node.inbox);
                if node.time_first {
                    let effects = node.swim.time(self.now);
                    self.perform(n, effects);
                }
                let effects = self.nodes[n].swim.turn(inbox, self.now);
                self.perform(n, effects);
            }
        }
        next.is_some()
    }

    fn perform(&mut self, n: usize, effects: Effects) {
        self.nodes[n].news.extend(effects.news.into_iter().map(|news| (self.now, news)));
        for (to, datagram) in effects.send {
            if let Some(tapped) = &mut self.tapped {
                tapped.push((n, datagram.clone()));
            }
            let to = to.host()[1..].parse().unwrap();
            let delay = millis(self.rng.random_range(self.delay.0..=self.delay.1));
            let lost = self.rng.random_range(0..100) < self.loss;
            if to < self.nodes.len() && !lost && !self.cut.contains(&(n, to)) {
                self.sent += 1;
                self.wire.insert((self.now + delay, self.sent), (n, to, datagram));
            }
        }
    }
}
