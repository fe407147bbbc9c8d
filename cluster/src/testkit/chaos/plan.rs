//! [`Plan`]: all that will go wrong in a run, drawn from its seed before it begins.

use super::fault::{Fault, FaultKind};
use crate::{
    rng::Rng,
    testkit::{draw::Draw, net::NetFaults},
};
use std::{collections::BTreeSet, time::Duration};

/// How long trouble lasts, in milliseconds.
const CHAOS_MS: (u64, u64) = (20_000, 60_000);

/// How long a process stands still, in milliseconds: mostly short, now and then long.
const PAUSE_MS: (u64, u64) = (10, 120_000);

/// Of a thousand runs so many have one node that stands still again and again, and no other trouble.
const STALLS_ALONE: u32 = 80;

/// Up to which delay, in milliseconds, answers come before anybody doubts.
const CALM_DELAY_MS: u32 = 80;

/// A fault and when it comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// Milliseconds since trouble began.
    pub at_ms: u64,
    /// Which kind it belongs to.
    pub kind: FaultKind,
    /// What is done.
    pub fault: Fault,
}

/// What a run does: the same plan, the same run. As text it is a [story](super::story), which can be read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Where all chance in the run comes from.
    pub seed: u64,
    /// How many nodes there are.
    pub nodes: usize,
    /// What goes wrong at all.
    pub kinds: BTreeSet<FaultKind>,
    /// What the network does by itself.
    pub net: NetFaults,
    /// Of a thousand polls of tasks so many come later than they could.
    pub deferrals: u32,
    /// By how many millionths clocks differ from true time at most.
    pub drift_ppm: u32,
    /// What is done, in order.
    pub faults: Vec<Planned>,
    /// How long trouble lasts.
    pub chaos: Duration,
}

impl Plan {
    /// No trouble, no time and no nodes: to say the rest, as `Plan { nodes: 3, ..Plan::quiet(7) }`.
    pub fn quiet(seed: u64) -> Self {
        Self {
            seed,
            nodes: 0,
            net: NetFaults::NONE,
            deferrals: 0,
            drift_ppm: 0,
            faults: Vec::new(),
            chaos: Duration::ZERO,
            kinds: BTreeSet::new(),
        }
    }

    /// The plan of `seed`: 3 to 7 nodes.
    pub fn of(seed: u64) -> Self {
        let mut draw = Draw::fork(&Rng::seeded(seed), "plan");
        let nodes = draw.between(3, 7) as usize;
        // How much goes wrong differs, too: from almost nothing to almost everything.
        let share = [150, 300, 500, 700][draw.index(4)];
        let mut kinds: BTreeSet<FaultKind> = FaultKind::ALL.into_iter().filter(|_| draw.per_mille(share)).collect();
        let chaos_ms = draw.between(CHAOS_MS.0, CHAOS_MS.1);
        let staller = draw.per_mille(STALLS_ALONE).then(|| draw.index(nodes));
        if staller.is_some() {
            kinds.retain(|kind| matches!(kind, FaultKind::Drift | FaultKind::WallJumps | FaultKind::Deferrals));
            kinds.extend([FaultKind::Pauses, FaultKind::Delay]);
        }
        let chaos = Duration::from_millis(chaos_ms);
        let mut plan = Self { nodes, chaos, kinds: kinds.clone(), ..Self::quiet(seed) };
        for kind in kinds {
            // Each from numbers of its own, so that a kind that is dropped changes none of the others.
            let draw = Draw::fork(&Rng::seeded(seed), &format!("plan of {kind:?}"));
            Planner { plan: &mut plan, draw, kind, chaos_ms, staller }.add();
        }
        plan.faults.sort_by_key(|planned| planned.at_ms);
        plan
    }

    /// Whether all datagrams come, and soon, so that whoever does not stand still always answers in time.
    pub(super) fn is_calm(&self) -> bool {
        let NetFaults { delay_ms, loss, bursts, truncations, flips, .. } = self.net;
        let harmless = |planned: &Planned| matches!(planned.fault, Fault::Pause(..) | Fault::WallJump(..));
        delay_ms.1 <= CALM_DELAY_MS && [loss, bursts, truncations, flips] == [0; 4] && self.faults.iter().all(harmless)
    }

    /// The same without one kind of trouble.
    pub fn without(&self, kind: FaultKind) -> Self {
        let mut less = self.clone();
        less.kinds.remove(&kind);
        less.faults.retain(|planned| planned.kind != kind);
        let (net, none) = (&mut less.net, NetFaults::NONE);
        match kind {
            FaultKind::Loss => net.loss = none.loss,
            FaultKind::Bursts => net.bursts = none.bursts,
            FaultKind::Delay => net.delay_ms = none.delay_ms,
            FaultKind::Duplicates => net.duplicates = none.duplicates,
            FaultKind::Replays => net.replays = none.replays,
            FaultKind::Damage => (net.truncations, net.flips) = (none.truncations, none.flips),
            FaultKind::ShortIo => net.short_io = none.short_io,
            FaultKind::Resets => net.resets = none.resets,
            FaultKind::Dials => {
                (net.refusals, net.black_holes, net.mutes) = (none.refusals, none.black_holes, none.mutes);
            }
            FaultKind::Drift => less.drift_ppm = 0,
            FaultKind::Deferrals => less.deferrals = 0,
            _ => {}
        }
        less
    }

    /// The same without its last node.
    pub fn with_a_node_less(&self) -> Self {
        let mut less = self.clone();
        less.nodes -= 1;
        let last = less.nodes;
        less.faults.retain(|planned| !planned.fault.nodes().contains(&last));
        for planned in &mut less.faults {
            if let Fault::Split(sides) = &mut planned.fault {
                sides.truncate(last);
            }
        }
        less
    }
}

/// Adds one kind of trouble.
struct Planner<'a> {
    plan: &'a mut Plan,
    draw: Draw,
    kind: FaultKind,
    chaos_ms: u64,
    /// The one node that has trouble, if it is one alone.
    staller: Option<usize>,
}

impl Planner<'_> {
    fn add(&mut self) {
        match self.kind {
            FaultKind::Loss => self.plan.net.loss = self.rate(300),
            FaultKind::Bursts => self.plan.net.bursts = self.rate(10),
            FaultKind::Delay if self.staller.is_some() => {
                self.plan.net.delay_ms = (5, self.draw.between(20, CALM_DELAY_MS.into()) as u32);
            }
            FaultKind::Delay => {
                let least = self.draw.below(100) as u32;
                self.plan.net.delay_ms = (least, least + self.draw.below(300) as u32);
            }
            FaultKind::Duplicates => self.plan.net.duplicates = self.rate(200),
            FaultKind::Replays => self.plan.net.replays = self.rate(50),
            FaultKind::Damage => {
                (self.plan.net.truncations, self.plan.net.flips) = (self.rate(50), self.rate(50));
            }
            FaultKind::ShortIo => self.plan.net.short_io = self.rate(500),
            FaultKind::Resets => {
                self.plan.net.resets = self.rate(300);
                self.some(6, |planner| {
                    let (one, two) = planner.two();
                    planner.at(Fault::Reset(one, two));
                });
            }
            FaultKind::Dials => {
                let net = &mut self.plan.net;
                net.refusals = self.draw.below(200) as u32;
                net.black_holes = self.draw.below(100) as u32;
                net.mutes = self.draw.below(100) as u32;
            }
            FaultKind::Deferrals => self.plan.deferrals = 333,
            FaultKind::Drift => self.plan.drift_ppm = 10_000,
            FaultKind::Stalls => self.some(4, |planner| {
                let (from, to) = planner.two();
                let (at, until) = planner.span(30_000);
                planner.put(at, Fault::Stall(from, to, true));
                planner.put(until, Fault::Stall(from, to, false));
            }),
            FaultKind::OneWayCuts => self.some(4, |planner| {
                let (from, to) = planner.two();
                let (at, until) = planner.span(40_000);
                planner.put(at, Fault::Cut(from, to));
                planner.put(until, Fault::Heal(from, to));
            }),
            FaultKind::Splits => self.some(3, |planner| {
                let parts = planner.draw.between(2, 3);
                let sides = (0..planner.plan.nodes).map(|_| planner.draw.below(parts) as u8).collect();
                planner.cut_for_a_while(sides);
            }),
            FaultKind::Isolation => self.some(3, |planner| {
                let alone = planner.node();
                let sides = (0..planner.plan.nodes).map(|node| u8::from(node == alone)).collect();
                planner.cut_for_a_while(sides);
            }),
            FaultKind::Swizzles => self.some(1, Self::swizzle),
            FaultKind::Kills => self.some(4, |planner| planner.kill(false)),
            FaultKind::PowerLosses => self.some(3, |planner| planner.kill(true)),
            FaultKind::Pauses if let Some(staller) = self.staller => self.some(16, |planner| {
                let most = [1_000, 3_000, 8_000][planner.draw.index(3)];
                let ms = planner.draw.between(PAUSE_MS.0, most);
                planner.at(Fault::Pause(staller, ms));
            }),
            FaultKind::Pauses => self.some(4, |planner| {
                let node = planner.node();
                let most = [300, 3_000, 20_000, PAUSE_MS.1][planner.draw.index(4)];
                let ms = planner.draw.between(PAUSE_MS.0, most);
                planner.at(Fault::Pause(node, ms));
            }),
            FaultKind::WallJumps => self.some(3, |planner| {
                let day = 86_400_000;
                let by = planner.draw.below(2 * day) as i64 - day as i64;
                let node = planner.node();
                planner.at(Fault::WallJump(node, by));
            }),
            FaultKind::Leaves => self.some(2, |planner| {
                let node = planner.node();
                let at = planner.moment();
                planner.put(at, Fault::Leave(node));
                planner.start_later(node, at);
            }),
            // The two have no word with each other until one of them begins anew.
            FaultKind::Quarantines => self.some(2, |planner| {
                let (by, node) = planner.two();
                let at = planner.draw.below(planner.chaos_ms / 2);
                let over = at + planner.draw.between(1_000, planner.chaos_ms / 2 - 1);
                planner.put(at, Fault::Quarantine(by, node));
                planner.put(over, Fault::Kill { node, power_off: false });
                planner.start_later(node, over);
            }),
            FaultKind::Downs => self.some(2, |planner| {
                let (by, node) = planner.two();
                let at = planner.moment();
                planner.put(at, Fault::Down(by, node));
                planner.start_later(node, at);
            }),
        }
    }

    /// Small rates more often than large ones.
    fn rate(&mut self, most: u32) -> u32 {
        let below = [most / 10, most / 3, most][self.draw.index(3)];
        self.draw.between(1, below.max(1).into()) as u32
    }

    fn some(&mut self, most: u64, add: impl Fn(&mut Self)) {
        (0..self.draw.between(1, most)).for_each(|_| add(self));
    }

    fn node(&mut self) -> usize {
        self.draw.index(self.plan.nodes)
    }

    fn two(&mut self) -> (usize, usize) {
        let one = self.node();
        let other = self.draw.index(self.plan.nodes - 1);
        (one, other + usize::from(other >= one))
    }

    fn moment(&mut self) -> u64 {
        self.draw.below(self.chaos_ms)
    }

    /// A moment, and one at most `most` later.
    fn span(&mut self, most: u64) -> (u64, u64) {
        let at = self.moment();
        (at, at + self.draw.between(100, most))
    }

    fn at(&mut self, fault: Fault) {
        let at = self.moment();
        self.put(at, fault);
    }

    fn put(&mut self, at_ms: u64, fault: Fault) {
        self.plan.faults.push(Planned { at_ms, kind: self.kind, fault });
    }

    fn cut_for_a_while(&mut self, sides: Vec<u8>) {
        let (at, until) = self.span(45_000);
        self.put(at, Fault::Split(sides));
        self.put(until, Fault::HealAll);
    }

    fn swizzle(&mut self) {
        let nodes = self.plan.nodes;
        let all = (0..nodes).flat_map(|from| (0..nodes).map(move |to| (from, to)));
        let mut links: Vec<_> = all.filter(|(from, to)| from != to).collect();
        self.draw.shuffle(&mut links);
        let count = self.draw.between(2, links.len() as u64) as usize;
        let mut cuts = links.split_off(links.len() - count);
        let mut at = self.moment();
        for (from, to) in &cuts {
            at += self.draw.below(1_500);
            self.put(at, Fault::Cut(*from, *to));
        }
        at += self.draw.below(10_000);
        self.draw.shuffle(&mut cuts);
        for (from, to) in cuts {
            at += self.draw.below(1_500);
            self.put(at, Fault::Heal(from, to));
        }
    }

    fn kill(&mut self, power_off: bool) {
        let node = self.node();
        let at = self.moment();
        self.put(at, Fault::Kill { node, power_off });
        self.start_later(node, at);
    }

    fn start_later(&mut self, node: usize, after: u64) {
        let most = [200, 5_000, 40_000][self.draw.index(3)];
        let at = after + self.draw.below(most);
        self.put(at, Fault::Start(node));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_one_plan_and_what_is_taken_out_changes_nothing_else() {
        for seed in 0..200 {
            let plan = Plan::of(seed);
            assert_eq!(plan, Plan::of(seed));
            assert!((3..=7).contains(&plan.nodes) && plan.faults.is_sorted_by_key(|planned| planned.at_ms));
            for kind in plan.kinds.clone() {
                let less = plan.without(kind);
                assert!(less.faults.iter().all(|planned| planned.kind != kind && plan.faults.contains(planned)));
            }
            let nothing = plan.kinds.iter().fold(plan.clone(), |plan, kind| plan.without(*kind));
            assert_eq!((nothing.net, nothing.faults.len(), nothing.drift_ppm), (NetFaults::NONE, 0, 0));
        }
    }

    #[test]
    fn no_fault_is_about_a_node_that_is_not_there() {
        for seed in 0..200 {
            let mut plan = Plan::of(seed);
            while plan.nodes > 2 {
                for planned in &plan.faults {
                    assert!(planned.fault.nodes().iter().all(|node| *node < plan.nodes), "seed {seed}: {planned:?}");
                    assert!(!matches!(&planned.fault, Fault::Split(sides) if sides.len() != plan.nodes));
                }
                plan = plan.with_a_node_less();
            }
        }
    }

    #[test]
    fn every_kind_comes_up_and_none_always() {
        let plans: Vec<Plan> = (0..300).map(Plan::of).collect();
        for kind in FaultKind::ALL {
            let count = plans.iter().filter(|plan| plan.kinds.contains(&kind)).count();
            assert!((50..250).contains(&count), "{kind:?}: {count}");
        }
    }
}
