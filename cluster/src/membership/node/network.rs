//! A network of nodes for tests: virtual time, a seed, delays, losses and cuts. SWIM and connections are played by the
//! network itself, which knows who can reach whom. What must always hold is checked at each step.

use super::{
    ClusterEvent, Command, Effect, Input, LeaseAnswer, Message, Node, NodeSettings, Snapshot, StopReason,
    network_reach::Opinion,
};
use crate::{
    member::{Address, Member, MemberStatus, UniqueAddress},
    membership::table::Digest,
};
use actors::Tick;
use rand::{RngExt, SeedableRng, rngs::ChaCha8Rng};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// How often the network looks who can reach whom.
const LOOK: Duration = Duration::from_millis(500);

/// One life of a node.
pub(crate) struct Process {
    pub(crate) node: Node,
    pub(crate) id: UniqueAddress,
    /// Which address.
    pub(crate) at: usize,
    pub(crate) running: bool,
    pub(crate) stopped: Option<(StopReason, Tick)>,
    pub(crate) events: Vec<(Tick, ClusterEvent)>,
    /// Each with how many events came before.
    pub(crate) snapshots: Vec<(usize, Snapshot)>,
    pub(crate) refusals: Vec<super::Difference>,
    wake: Option<Tick>,
    pub(crate) quarantined: BTreeSet<u64>,
    known: BTreeMap<u64, MemberStatus>,
    digest: Option<Digest>,
    pub(crate) swim: BTreeMap<usize, Opinion>,
}

enum Due {
    Deliver { to: usize, from: UniqueAddress, message: Message },
    Lease { to: usize, answer: LeaseAnswer },
    Look,
}

pub(crate) struct Net {
    pub(crate) now: Tick,
    pub(crate) rng: ChaCha8Rng,
    pub(crate) processes: Vec<Process>,
    pub(crate) settings: NodeSettings,
    /// In percent.
    pub(crate) loss: u32,
    /// What is sent from the first to the second is lost.
    pub(crate) cuts: BTreeSet<(usize, usize)>,
    /// Only their connection is broken: SWIM finds another way.
    pub(crate) broken_links: BTreeSet<(usize, usize)>,
    due: BTreeMap<(Tick, u64), Due>,
    next: u64,
    lease_holder: Option<usize>,
    /// Lives that were removed, and from when on others do their work.
    freed: BTreeMap<u64, Tick>,
    pub(crate) seed: u64,
}

pub(crate) fn address(at: usize) -> Address {
    Address::new(format!("n{at}"), 2551).unwrap()
}

impl Net {
    pub(crate) fn new(seed: u64) -> Self {
        let mut net = Self {
            now: Tick::START,
            rng: ChaCha8Rng::seed_from_u64(seed),
            processes: Vec::new(),
            settings: NodeSettings::default(),
            loss: 0,
            cuts: BTreeSet::new(),
            broken_links: BTreeSet::new(),
            due: BTreeMap::new(),
            next: 0,
            lease_holder: None,
            freed: BTreeMap::new(),
            seed,
        };
        net.later(LOOK, Due::Look);
        net
    }

    /// So many, joined through the first two, and up.
    pub(crate) fn up(seed: u64, nodes: usize) -> Self {
        Self::up_with(seed, nodes, NodeSettings::default())
    }

    pub(crate) fn up_with(seed: u64, nodes: usize, settings: NodeSettings) -> Self {
        let mut net = Self::new(seed);
        net.settings = settings;
        (0..nodes).for_each(|at| net.start(at, &[0, 1]));
        let all_up = |net: &Self| (0..nodes).all(|at| net.statuses(at) == vec![MemberStatus::Up; nodes]);
        assert!(net.run_until(30, all_up), "seed {seed}: not up in time");
        net
    }

    pub(crate) fn start(&mut self, at: usize, seeds: &[usize]) {
        let id = UniqueAddress { address: address(at), uid: self.rng.random() };
        let member = Member {
            node: id.clone(),
            status: MemberStatus::Joining,
            up_number: None,
            roles: [if at.is_multiple_of(2) { "even" } else { "odd" }.into()].into(),
            data_center: "here".into(),
            app_version: "1".into(),
        };
        let node = Node::new(member, self.settings.clone(), ChaCha8Rng::seed_from_u64(self.rng.random()));
        self.processes.push(Process {
            node,
            id,
            at,
            running: true,
            stopped: None,
            events: Vec::new(),
            snapshots: Vec::new(),
            refusals: Vec::new(),
            wake: None,
            quarantined: BTreeSet::new(),
            known: BTreeMap::new(),
            digest: None,
            swim: BTreeMap::new(),
        });
        let seeds = seeds.iter().map(|seed| address(*seed)).collect();
        self.command(at, Command::Join { seeds });
    }

    /// The latest life there.
    pub(crate) fn index(&self, at: usize) -> usize {
        self.processes.iter().rposition(|process| process.at == at).unwrap()
    }

    pub(crate) fn process(&self, at: usize) -> &Process {
        &self.processes[self.index(at)]
    }

    pub(crate) fn running(&self) -> impl Iterator<Item = &Process> {
        self.processes.iter().filter(|process| process.running)
    }

    pub(crate) fn command(&mut self, at: usize, command: Command) {
        let index = self.index(at);
        self.step(index, Input::Command(command));
    }

    pub(crate) fn crash(&mut self, at: usize) {
        let index = self.index(at);
        self.processes[index].running = false;
    }

    pub(crate) fn cut(&mut self, here: &[usize], there: &[usize]) {
        for one in here {
            for two in there {
                self.cuts.extend([(*one, *two), (*two, *one)]);
            }
        }
    }

    pub(crate) fn heal(&mut self) {
        self.cuts.clear();
        self.broken_links.clear();
    }

    /// What the node there thinks of all, by address.
    pub(crate) fn statuses(&self, at: usize) -> Vec<MemberStatus> {
        let mut members: Vec<&Member> = self.process(at).node.table().members().collect();
        members.sort_by(|one, two| one.node.cmp(&two.node));
        members.into_iter().map(|member| member.status).collect()
    }

    /// What the node there said of the life, in order.
    pub(crate) fn told(&self, at: usize, of: u64) -> Vec<&'static str> {
        let is = |member: &Member| member.node.uid == of;
        let name = |event: &ClusterEvent| {
            let (member, name) = match event {
                ClusterEvent::Joined(member) => (member, "joined"),
                ClusterEvent::WeaklyUp(member) => (member, "weakly up"),
                ClusterEvent::Up(member) => (member, "up"),
                ClusterEvent::PreparingForShutdown(member) => (member, "preparing"),
                ClusterEvent::ReadyForShutdown(member) => (member, "ready"),
                ClusterEvent::Left(member) => (member, "left"),
                ClusterEvent::Exited(member) => (member, "exited"),
                ClusterEvent::Downed(member) => (member, "downed"),
                ClusterEvent::Removed { member, .. } => (member, "removed"),
                ClusterEvent::Unreachable(member) => (member, "unreachable"),
                ClusterEvent::Reachable(member) => (member, "reachable"),
                ClusterEvent::LeaderChanged(_) | ClusterEvent::RoleLeaderChanged { .. } | ClusterEvent::Current(_) => {
                    return None;
                }
            };
            is(member).then_some(name)
        };
        self.process(at).events.iter().filter_map(|(_, event)| name(event)).collect()
    }

    pub(crate) fn run(&mut self, seconds: u64) {
        self.run_for(Duration::from_secs(seconds));
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let wakes = self.processes.iter().enumerate().filter(|(_, process)| process.running);
            let wake = wakes.filter_map(|(index, process)| Some((process.wake?, index))).min();
            let due = self.due.first_key_value().map(|(key, _)| *key);
            match (wake, due) {
                (Some((at, index)), due) if due.is_none_or(|(when, _)| at <= when) && at <= end => {
                    self.now = self.now.max(at);
                    self.processes[index].wake = None;
                    self.step(index, Input::Time);
                }
                (_, Some(key)) if key.0 <= end => {
                    self.now = key.0;
                    let due = self.due.remove(&key).unwrap();
                    self.happen(due);
                }
                _ => break,
            }
            self.check_hosting();
        }
        self.now = end;
    }

    /// Whether `done` within so many seconds. Goes on for some more, in which it must stay so.
    pub(crate) fn run_until(&mut self, seconds: u64, done: impl Fn(&Self) -> bool) -> bool {
        for _ in 0..seconds {
            self.run(1);
            if done(self) {
                self.run(5);
                return done(self);
            }
        }
        false
    }

    fn later(&mut self, after: Duration, due: Due) {
        self.next += 1;
        self.due.insert((self.now + after, self.next), due);
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Deliver { to, from, message } => self.step(to, Input::Message { from, message }),
            Due::Lease { to, answer } => self.step(to, Input::LeaseAnswer(answer)),
            Due::Look => {
                self.look();
                self.later(LOOK, Due::Look);
            }
        }
    }

    pub(crate) fn step(&mut self, index: usize, input: Input) {
        if !self.processes[index].running {
            return;
        }
        let effects = self.processes[index].node.step(input, self.now);
        for effect in effects {
            self.perform(index, effect);
        }
        self.check(index);
    }

    fn perform(&mut self, index: usize, effect: Effect) {
        let now = self.now;
        let process = &mut self.processes[index];
        match effect {
            Effect::Send { to, message } => {
                if let Some(target) = self.processes.iter().position(|process| process.id == to) {
                    self.post(index, target, message);
                }
            }
            Effect::SendTo { to, message } => {
                if let Some(target) = self.processes.iter().rposition(|process| process.id.address == to) {
                    self.post(index, target, message);
                }
            }
            Effect::Publish(event) => {
                if let ClusterEvent::Removed { member, free_at, .. } = &event {
                    let first = self.freed.entry(member.node.uid).or_insert(*free_at);
                    *first = (*first).min(*free_at);
                }
                process.events.push((now, event));
            }
            Effect::JoinRefused { differing, .. } => process.refusals = differing,
            Effect::StopHosting(_) => assert_eq!(process.node.hosting_valid_until(), None),
            Effect::StopProcess(reason) => {
                process.running = false;
                process.stopped = Some((reason, now));
            }
            Effect::Quarantine(node) => drop(process.quarantined.insert(node.uid)),
            Effect::AskForLease => {
                let holder = *self.lease_holder.get_or_insert(index);
                let answer = if holder == index { LeaseAnswer::Granted } else { LeaseAnswer::Denied };
                self.later(Duration::from_millis(20), Due::Lease { to: index, answer });
            }
            Effect::ReleaseLease => self.lease_holder = None,
            Effect::WakeAt(at) => process.wake = Some(at),
            Effect::Snapshot { snapshot, .. } => process.snapshots.push((process.events.len(), snapshot)),
            Effect::Hint(_) | Effect::HostUntil(_) | Effect::Council(_) | Effect::Dropped(_) => {}
        }
    }

    fn post(&mut self, from: usize, to: usize, message: Message) {
        let (one, two) = (&self.processes[from], &self.processes[to]);
        let quarantined = one.quarantined.contains(&two.id.uid) || two.quarantined.contains(&one.id.uid);
        let pair = (one.at, two.at);
        let cut = self.cuts.contains(&pair) || self.broken_links.contains(&pair);
        if cut || (quarantined && !matches!(message, Message::YouAreRemoved)) {
            return;
        }
        if self.rng.random_range(0..100) < self.loss {
            return;
        }
        let from = self.processes[from].id.clone();
        let delay = Duration::from_millis(self.rng.random_range(1..40));
        self.later(delay, Due::Deliver { to, from, message });
    }

    /// No life goes back, none that was removed returns, and no two have one number.
    fn check(&mut self, index: usize) {
        let (seed, now) = (self.seed, self.now);
        let process = &mut self.processes[index];
        let table = process.node.table();
        let digest = Some(table.digest());
        if std::mem::replace(&mut process.digest, digest) == digest {
            return;
        }
        let mut numbers = BTreeSet::new();
        for member in table.members() {
            let known = process.known.insert(member.node.uid, member.status);
            let to = member.status;
            assert!(
                known.is_none_or(|known| known <= to),
                "seed {seed} {now:?}: {known:?} to {to:?} at {}",
                process.id
            );
            if let Some(number) = member.up_number {
                assert!(numbers.insert(number), "seed {seed} {now:?}: two have number {number} at {}", process.id);
            }
        }
        let gone = process.known.iter_mut().filter(|(uid, _)| table.get(**uid).is_none());
        gone.for_each(|(_, status)| *status = MemberStatus::Removed);
    }

    pub(crate) fn hosts(process: &Process, now: Tick) -> bool {
        process.running && process.node.hosting_valid_until().is_some_and(|until| until > now)
    }

    /// Whoever was removed stopped serving before others take over.
    fn check_hosting(&self) {
        for process in self.running() {
            if let Some(free) = self.freed.get(&process.id.uid) {
                let late = *free <= self.now && Self::hosts(process, self.now);
                assert!(
                    !late,
                    "seed {} {:?}: {} serves, and others do its work since {free:?}",
                    self.seed, self.now, process.id
                );
            }
        }
    }
}
