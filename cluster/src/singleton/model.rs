//! Managers on top of a network of members: who hosts when, with messages that are lost, late and doubled.

use super::{
    HostChoice,
    manager::{Effect, Input, Manager},
    message::SingletonMessage,
};
use crate::{
    member::{Address, Member, MemberStatus, UniqueAddress},
    membership::node::{ClusterEvent, Command, network::Net},
};
use actors::Tick;
use rand::RngExt;
use std::{collections::BTreeMap, time::Duration};

const STEP: Duration = Duration::from_millis(25);

/// One as the test of a choice needs it.
pub(super) fn member(uid: u64, status: MemberStatus, up_number: Option<u64>) -> Member {
    Member {
        node: UniqueAddress { address: Address::new(format!("n{uid}"), 2551).unwrap(), uid },
        status,
        up_number,
        roles: Default::default(),
        data_center: "here".into(),
        app_version: "1".into(),
    }
}

/// The instance of one process.
#[derive(Clone, Debug)]
pub(super) struct Instance {
    frozen: bool,
    stops_at: Option<Tick>,
}

struct Candidate {
    manager: Manager,
    events: usize,
    instance: Option<Instance>,
    host_until: Option<Tick>,
    ended: bool,
    seen: Vec<(u64, MemberStatus)>,
}

enum Due {
    Deliver { to: usize, from: u64, message: SingletonMessage },
    Term { to: usize, asked: u64 },
}

pub(super) struct Model {
    pub(super) net: Net,
    choice: HostChoice,
    candidates: BTreeMap<usize, Candidate>,
    due: BTreeMap<(Tick, u64), Due>,
    next: u64,
    term: u64,
    /// What each last asked for.
    asked: BTreeMap<usize, u64>,
    /// When, where and in which term.
    pub(super) starts: Vec<(Tick, usize, u64)>,
    pub(super) stuck: usize,
    /// How long an instance takes to stop at most, in milliseconds.
    pub(super) stops_within: u64,
    /// Tells what happened.
    trace: Vec<String>,
}

impl Model {
    pub(super) fn new(net: Net, choice: HostChoice) -> Self {
        Self {
            net,
            choice,
            candidates: BTreeMap::new(),
            due: BTreeMap::new(),
            next: 0,
            term: 0,
            asked: BTreeMap::new(),
            starts: Vec::new(),
            stuck: 0,
            stops_within: 2_000,
            trace: Vec::new(),
        }
    }

    pub(super) fn run(&mut self, seconds: u64) {
        let end = self.net.now + Duration::from_secs(seconds);
        while self.net.now < end {
            self.net.run_for(STEP);
            self.tick();
        }
    }

    /// How long it took, in milliseconds.
    pub(super) fn run_until(&mut self, seconds: u64, done: impl Fn(&Self) -> bool) -> Option<u64> {
        let begun = self.net.now;
        let end = begun + Duration::from_secs(seconds);
        while self.net.now < end {
            self.net.run_for(STEP);
            self.tick();
            if done(self) {
                return Some((self.net.now - begun).as_millis() as u64);
            }
        }
        None
    }

    /// Where it serves.
    pub(super) fn hosts(&self) -> Vec<usize> {
        let serves = |(index, candidate): (&usize, &Candidate)| {
            let process = &self.net.processes[*index];
            let runs = candidate.instance.as_ref().is_some_and(|instance| !instance.frozen);
            (process.running && runs).then_some(process.at)
        };
        self.candidates.iter().filter_map(serves).collect()
    }

    pub(super) fn trace(&self) -> String {
        self.trace[self.trace.len().saturating_sub(60)..].join("\n")
    }

    fn tick(&mut self) {
        for index in 0..self.net.processes.len() {
            if self.net.processes[index].running {
                self.tell_members(index);
            } else if let Some(mut gone) = self.candidates.remove(&index) {
                gone.instance = None;
                self.note(index, "is gone");
            }
        }
        while let Some(entry) = self.due.first_entry()
            && entry.key().0 <= self.net.now
        {
            match entry.remove() {
                Due::Deliver { to, from, message } => self.step(to, Input::Message { from, message }),
                Due::Term { to, asked } => {
                    if self.asked.get(&to) == Some(&asked) {
                        self.term += 1;
                        self.step(to, Input::Term(self.term));
                    }
                }
            }
        }
        let now = self.net.now;
        for index in self.candidates.keys().copied().collect::<Vec<_>>() {
            let Some(candidate) = self.candidates.get_mut(&index) else {
                continue;
            };
            if candidate.instance.as_ref().is_some_and(|one| one.stops_at.is_some_and(|at| at <= now)) {
                candidate.instance = None;
                self.note(index, "stopped");
                self.step(index, Input::Stopped);
            } else if candidate.manager.wake_at(now).is_some_and(|at| at <= now) {
                self.step(index, Input::Time);
            }
        }
        let hosts = self.hosts();
        assert!(hosts.len() <= 1, "seed {} {now:?}: {hosts:?}\n{}", self.net.seed, self.trace());
    }

    /// What is news to the manager there.
    fn tell_members(&mut self, index: usize) {
        let process = &self.net.processes[index];
        let (choice, uid) = (self.choice, process.id.uid);
        let candidate = self.candidates.entry(index).or_insert_with(|| Candidate {
            manager: Manager::new(uid, "front-gate", choice),
            events: 0,
            instance: None,
            host_until: None,
            ended: false,
            seen: Vec::new(),
        });
        let removed = process.events[candidate.events..].iter().filter_map(|(_, event)| match event {
            ClusterEvent::Removed { member, free_at, .. } => Some((member.node.uid, *free_at)),
            _ => None,
        });
        let removed: Vec<(u64, Tick)> = removed.collect();
        candidate.events = process.events.len();
        let members: Vec<Member> = process.node.table().members().cloned().collect();
        let seen: Vec<_> = members.iter().map(|member| (member.node.uid, member.status)).collect();
        let until = process.node.hosting_valid_until();
        let ended = until.is_none() && candidate.host_until.is_some();
        let news = candidate.seen != seen || !removed.is_empty();
        let extended = until != candidate.host_until;
        candidate.seen = seen;
        candidate.host_until = until;
        candidate.ended |= ended;
        if news {
            self.step(index, Input::Members { members, removed });
        }
        if ended {
            self.step(index, Input::HostingEnded);
        } else if extended {
            self.step(index, Input::HostUntil(until));
        }
    }

    fn step(&mut self, index: usize, input: Input) {
        let now = self.net.now;
        let Some(candidate) = self.candidates.get_mut(&index) else {
            return;
        };
        for effect in candidate.manager.step(input, now) {
            self.perform(index, effect);
        }
    }

    fn perform(&mut self, index: usize, effect: Effect) {
        let now = self.net.now;
        if !matches!(effect, Effect::Tell(_)) {
            self.note(index, &format!("{effect:?}"));
        }
        let Some(candidate) = self.candidates.get_mut(&index) else {
            return;
        };
        match effect {
            Effect::Send { to, message } => self.post(index, to, &message),
            Effect::Tell(message) => {
                let others: Vec<u64> = candidate.seen.iter().map(|(uid, _)| *uid).collect();
                others.into_iter().for_each(|uid| self.post(index, uid, &message));
            }
            Effect::GetTerm { floor } => {
                self.term = self.term.max(floor - 1);
                let asked = self.next;
                self.asked.insert(index, asked);
                let after = Duration::from_millis(self.net.rng.random_range(5..300));
                self.later(after, Due::Term { to: index, asked });
            }
            Effect::DropTerm => drop(self.asked.remove(&index)),
            Effect::Start { term } => {
                assert!(candidate.instance.is_none());
                let last = self.starts.last().map_or(0, |(_, _, term)| *term);
                assert!(term > last, "seed {}: term {term} after {last}\n{}", self.net.seed, self.trace());
                candidate.instance = Some(Instance { frozen: false, stops_at: None });
                self.starts.push((now, self.net.processes[index].at, term));
            }
            Effect::Freeze | Effect::Thaw => {
                let instance = candidate.instance.as_mut().unwrap();
                instance.frozen = effect == Effect::Freeze;
            }
            Effect::Stop => {
                let after = Duration::from_millis(self.net.rng.random_range(0..self.stops_within));
                candidate.instance.as_mut().unwrap().stops_at = Some(now + after);
            }
            Effect::Kill => candidate.instance.as_mut().unwrap().stops_at = Some(now),
            Effect::HandedOver => {
                let at = self.net.processes[index].at;
                if self.net.index(at) == index {
                    self.net.command(at, Command::HandedOver);
                }
            }
            Effect::Stuck { .. } => self.stuck += 1,
        }
    }

    fn later(&mut self, after: Duration, due: Due) {
        self.next += 1;
        self.due.insert((self.net.now + after, self.next), due);
    }

    fn post(&mut self, from: usize, to: u64, message: &SingletonMessage) {
        let Some(target) = self.net.processes.iter().position(|process| process.id.uid == to) else {
            return;
        };
        let (one, two) = (&self.net.processes[from], &self.net.processes[target]);
        let quarantined = one.quarantined.contains(&two.id.uid) || two.quarantined.contains(&one.id.uid);
        let pair = (one.at, two.at);
        if quarantined || self.net.cuts.contains(&pair) || self.net.broken_links.contains(&pair) {
            return;
        }
        let from = one.id.uid;
        for _ in 0..self.net.rng.random_range(1..3) {
            if self.net.rng.random_range(0..100) >= self.net.loss {
                let slow = self.net.rng.random_range(0..20) == 0;
                let delay = Duration::from_millis(self.net.rng.random_range(1..if slow { 5_000 } else { 40 }));
                self.later(delay, Due::Deliver { to: target, from, message: message.clone() });
            }
        }
    }

    fn note(&mut self, index: usize, what: &str) {
        let process = &self.net.processes[index];
        self.trace.push(format!("{:?} {}#{:04x} {what}", self.net.now, process.at, process.id.uid & 0xffff));
    }
}
