//! [`Services`]: what is known of topics, of the receptionist and of the lease, and what of it must not be.

use crate::lease::FencingToken;
use std::collections::{BTreeMap, BTreeSet};

/// What all nodes said of them.
#[derive(Default)]
pub(super) struct Services {
    /// By life: the last number that it published, and the last by the time trouble was over.
    published: BTreeMap<u64, (u64, u64)>,
    /// By who heard and who published: the last number.
    heard: BTreeMap<(u64, u64), u64>,
    /// By who published, and number: which of the group had it.
    shared: BTreeMap<(u64, u64), u64>,
    /// By who published: the last number that one of the group had.
    last_shared: BTreeMap<u64, u64>,
    /// By life: which actor system it is.
    systems: BTreeMap<u64, u64>,
    /// By observer: whose actors are listed as reachable, and whose at all.
    listed: BTreeMap<u64, [BTreeSet<u64>; 2]>,
    /// By token: to whom it was granted.
    tokens: BTreeMap<FencingToken, u64>,
    /// The highest token with which something was written, and who has written since trouble was over.
    written: Option<FencingToken>,
    writers: BTreeSet<u64>,
}

impl Services {
    /// That life is there, with that actor system.
    pub(super) fn begins(&mut self, life: u64, system: u64) {
        self.systems.insert(life, system);
    }

    pub(super) fn publishes(&mut self, life: u64, number: u64) {
        self.published.entry(life).or_default().0 = number;
    }

    pub(super) fn hears(&mut self, life: u64, by: u64, number: u64) {
        self.heard.insert((life, by), number);
    }

    /// Of a group one got that. What is wrong, if another did, too.
    pub(super) fn shares(&mut self, life: u64, by: u64, number: u64) -> Option<String> {
        self.last_shared.insert(by, number);
        let before = self.shared.insert((by, number), life)?;
        Some(format!("news {number} of {by:016x} came to {life:016x} and to {before:016x}, which are of one group"))
    }

    pub(super) fn lists(&mut self, life: u64, reachable: BTreeSet<u64>, all: BTreeSet<u64>) {
        self.listed.insert(life, [reachable, all]);
    }

    /// The lease is that life's from now on.
    pub(super) fn granted(&mut self, life: u64, token: FencingToken) -> Option<String> {
        let before = self.tokens.insert(token, life).filter(|before| *before != life)?;
        Some(format!("the lease was granted to {before:016x} and to {life:016x} with the token {token}"))
    }

    /// That life holds the lease, and writes. What is wrong, if another has done so with a later grant.
    pub(super) fn writes(&mut self, life: u64, token: FencingToken) -> Option<String> {
        self.writers.insert(life);
        let highest = self.written.replace(token).filter(|highest| *highest > token)?;
        Some(format!("{life:016x} writes with the token {token} after another with {highest}"))
    }

    /// Trouble is over: what is published from now on must be heard.
    pub(super) fn peace(&mut self) {
        self.published.values_mut().for_each(|(last, before)| *before = *last);
        self.writers.clear();
    }

    /// What is not yet as it is to be in peace, if only these live.
    pub(super) fn lack(&self, lives: &BTreeSet<u64>) -> Option<(&'static str, String)> {
        let systems: BTreeSet<u64> = lives.iter().filter_map(|life| self.systems.get(life)).copied().collect();
        for life in lives {
            let [reachable, all] = self.listed.get(life).cloned().unwrap_or_default();
            if systems.len() < lives.len() || (&reachable, &all) != (&systems, &systems) {
                let what = format!("{life:016x} lists {all:x?} and reaches {reachable:x?} of {systems:x?}");
                return Some(("R1", what));
            }
            let is_old = |by: &u64, number: Option<&u64>| {
                let before = self.published.get(by).map_or(0, |(_, before)| *before);
                number.is_none_or(|number| *number <= before)
            };
            if let Some(by) = lives.iter().find(|by| is_old(by, self.heard.get(&(*life, **by)))) {
                return Some(("T1", format!("{life:016x} hears nothing of {by:016x}")));
            }
            if is_old(life, self.last_shared.get(life)) {
                return Some(("T2", format!("of the group nobody hears anything of {life:016x}")));
            }
        }
        self.writers.is_disjoint(lives).then(|| ("L1", "nobody holds the lease".to_owned()))
    }
}
