//! [`Judge`]: hears what all nodes say, and finds what must not be.

use crate::{
    line::{self, Line},
    orders::Orders,
};
use anyhow::{bail, ensure};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

/// How long one that was suspended may take to notice that it must not go on. Its term is over, so whoever checks terms
/// refuses what it does meanwhile.
const NOTICED: Duration = Duration::from_secs(1);
/// Reports come every quarter of a second; older ones say nothing.
const FRESH: Duration = Duration::from_secs(2);

/// One term of the singleton.
#[derive(Debug)]
struct Term {
    life: usize,
    first: Duration,
    last: Duration,
}

/// One process.
#[derive(Debug, Default)]
struct Life {
    number: usize,
    /// As which member it is up, and with which actor system.
    me: Option<(u64, u64)>,
    runs: bool,
    gone: Option<String>,
    suspended: Vec<(Duration, Option<Duration>)>,
    state: Option<(Duration, String)>,
    place: Option<(Duration, u64, u64)>,
    watched: BTreeMap<u64, u32>,
    send_ended: BTreeMap<u64, u32>,
    got: BTreeMap<u64, (u64, u64)>,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    lives: BTreeMap<usize, Life>,
    terms: BTreeMap<u64, Term>,
    /// What each has got, when it was looked at last.
    before: BTreeMap<(usize, u64), (u64, u64)>,
    pub(crate) counts: Counts,
    pub(crate) orders: Orders,
}

/// How much was seen.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) lives: u64,
    pub(crate) terms: u64,
    pub(crate) ends: u64,
    pub(crate) told: u64,
    pub(crate) sent: u64,
    /// Terms whose instance went on after another one had begun, for it had been suspended.
    pub(crate) late: u64,
}

impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.lives += other.lives;
        self.terms += other.terms;
        self.ends += other.ends;
        self.told += other.told;
        self.sent += other.sent;
        self.late += other.late;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { lives, terms, ends, told, sent, late } = self;
        write!(
            f,
            "{lives} lives of nodes, {terms} terms of the singleton ({late} noticed late, after a suspension), {ends} ends \
             told to watchers, {told} messages told and {sent} sent"
        )
    }
}

impl Judge {
    pub(crate) fn started(&mut self, number: usize, life: usize) {
        self.counts.lives += 1;
        self.lives.insert(life, Life { number, runs: true, ..Life::default() });
    }

    pub(crate) fn killed(&mut self, life: usize) {
        self.ended(life);
    }

    pub(crate) fn ended(&mut self, life: usize) {
        if let Some(life) = self.lives.get_mut(&life) {
            life.runs = false;
        }
    }

    pub(crate) fn suspended(&mut self, life: usize, stopped: bool) {
        let Some(life) = self.lives.get_mut(&life) else { return };
        match life.suspended.last_mut() {
            Some((_, to)) if !stopped => *to = Some(line::now()),
            _ => life.suspended.push((line::now(), None)),
        }
    }

    /// Takes what a node said.
    ///
    /// # Errors
    /// It must not be.
    pub(crate) fn hear(&mut self, number: usize, of: usize, at: Duration, line: &Line) -> anyhow::Result<()> {
        let Some(life) = self.lives.get_mut(&of) else { bail!("node {number} was never started") };
        match line {
            Line::Up { member, me } => life.me = Some((*member, *me)),
            Line::Gone { why } => life.gone = Some(why.clone()),
            Line::State(state) => life.state = Some((at, state.clone())),
            Line::Where { term, at: place } => life.place = Some((at, *term, *place)),
            Line::Watches { whom } => {
                ensure!(life.watched.insert(*whom, 0).is_none(), "node {number}, life {of}, watches {whom} twice");
            }
            Line::Ended { whom } => {
                self.counts.ends += 1;
                let Some(times) = life.watched.get_mut(whom) else {
                    bail!("node {number}, life {of}, was told of the end of {whom}, which it did not watch");
                };
                *times += 1;
                ensure!(*times == 1, "node {number}, life {of}, was told of the end of {whom} twice");
            }
            Line::SendEnded { whom } => *life.send_ended.entry(*whom).or_default() += 1,
            Line::Got { from, told, sent } => {
                let before = life.got.insert(*from, (*told, *sent)).unwrap_or_default();
                self.counts.told += told - before.0;
                self.counts.sent += sent - before.1;
            }
            Line::Beat { term } => self.beat(of, at, *term)?,
            Line::Wrong(what) => bail!("node {number}, life {of}: {what}"),
            Line::Handled { .. }
            | Line::Placed { .. }
            | Line::Sent { .. }
            | Line::NotSent { .. }
            | Line::Confirmed { .. } => self.orders.hear(at, line),
        }
        Ok(())
    }

    fn beat(&mut self, life: usize, at: Duration, term: u64) -> anyhow::Result<()> {
        let counts = &mut self.counts;
        let entry = self.terms.entry(term).or_insert_with(|| {
            counts.terms += 1;
            Term { life, first: at, last: at }
        });
        ensure!(entry.life == life, "term {term} is of life {} and of life {life}", entry.life);
        entry.last = entry.last.max(at);
        Ok(())
    }

    /// Looks at all terms: each began after all lower ones were over. What was said before must have arrived.
    ///
    /// # Errors
    /// Two instances ran at a time, or a lower term began later.
    pub(crate) fn check_terms(&mut self) -> anyhow::Result<()> {
        let mut lower: Option<(u64, &Term)> = None;
        let mut late = 0;
        for (&number, term) in &self.terms {
            if let Some((before, old)) = lower
                && old.last >= term.first
            {
                ensure!(old.first < term.first, "term {number} began before the lower term {before}");
                // Only one that could not notice, and no longer than it takes to.
                let ended = self.lives[&old.life].suspended.iter().any(|&(from, to)| {
                    from <= term.first + NOTICED && to.is_some_and(|to| to >= term.first && old.last <= to + NOTICED)
                });
                ensure!(
                    ended,
                    "term {before} of life {} went on for {:?} after term {number} of life {} had begun",
                    old.life,
                    old.last - term.first,
                    term.life
                );
                late += 1;
            }
            lower = Some((number, term));
        }
        self.counts.late = late;
        Ok(())
    }

    /// Looks at what became of orders.
    ///
    /// # Errors
    /// As [`Orders::check`].
    pub(crate) fn check_orders(&self) -> anyhow::Result<()> {
        let present = self.lives.values().filter(|life| life.runs).filter_map(|life| Some(life.me?.1));
        self.orders.check(&present.collect())
    }

    /// Forgets lives that are over.
    pub(crate) fn forget(&mut self) {
        let terms: BTreeSet<usize> = self.terms.values().map(|term| term.life).collect();
        self.lives.retain(|number, life| life.runs || terms.contains(number));
        self.lives.values_mut().for_each(|life| life.gone = None);
    }

    /// From here on messages have to come through anew.
    pub(crate) fn mark(&mut self) {
        self.before = (self.lives.iter())
            .flat_map(|(&number, life)| life.got.iter().map(move |(&from, &got)| ((number, from), got)))
            .collect();
    }

    /// Whether all is as it must be with nodes 1 to `nodes`; or what is not.
    pub(crate) fn settled(&self, nodes: usize) -> Result<(), String> {
        let now = line::now();
        let (mut present, mut members) = (BTreeMap::new(), Vec::new());
        for (number, life) in self.lives.iter().filter(|(_, life)| life.runs) {
            let Some((member, me)) = life.me else { return Err(format!("node {} is not up", life.number)) };
            present.insert(me, (number, life));
            members.push(member);
        }
        if present.len() != nodes {
            return Err(format!("{} of {nodes} nodes run", present.len()));
        }
        let mut states = BTreeSet::new();
        for (_, life) in present.values() {
            let fresh = life.state.as_ref().filter(|(at, _)| *at + FRESH > now);
            states.insert(&fresh.ok_or_else(|| format!("node {} says nothing of its state", life.number))?.1);
        }
        let mut each = states.iter();
        let (Some(state), None) = (each.next(), each.next()) else { return Err(format!("states differ: {states:?}")) };
        let all_up = members.iter().all(|member| state.contains(&format!("{member}=Up@")));
        if !all_up || state.matches('=').count() != nodes + 2 || !state.contains("unreachable=[]") {
            return Err(format!("state {state}"));
        }
        for (&me, &(number, life)) in &present {
            self.company(me, *number, life, present.keys().filter(|other| **other != me))?;
        }
        self.one(now, present.values().map(|(number, life)| (**number, *life)))
    }

    /// It watches and reaches those that are there, and was told of the end of all others.
    fn company<'a>(
        &self,
        me: u64,
        number: usize,
        life: &Life,
        others: impl Iterator<Item = &'a u64>,
    ) -> Result<(), String> {
        let of = life.number;
        let others: BTreeSet<u64> = others.copied().collect();
        if let Some(other) = others.iter().find(|other| !life.watched.contains_key(other)) {
            return Err(format!("node {of} has not found {other}"));
        }
        for (whom, times) in &life.watched {
            let is_there = others.contains(whom);
            if u32::from(!is_there) != *times {
                return Err(format!("node {of} ({me}) was told {times} times of the end of {whom}, there: {is_there}"));
            }
            let times = life.send_ended.get(whom).copied().unwrap_or_default();
            if u32::from(!is_there) != times {
                return Err(format!("node {of} ({me}) ended {times} times to send to {whom}, there: {is_there}"));
            }
        }
        for from in &others {
            let got = life.got.get(from).copied().unwrap_or_default();
            let before = self.before.get(&(number, *from)).copied().unwrap_or_default();
            if got.0 <= before.0 || got.1 <= before.1 {
                return Err(format!("node {of} ({me}) gets nothing from {from}: {before:?}, then {got:?}"));
            }
        }
        Ok(())
    }

    /// The singleton runs once, and all reach it.
    fn one<'a>(&self, now: Duration, present: impl Iterator<Item = (usize, &'a Life)>) -> Result<(), String> {
        let Some((&term, last)) = self.terms.last_key_value() else { return Err("no singleton ran".to_owned()) };
        let running = self.terms.values().filter(|term| term.last + Duration::from_secs(1) > now).count();
        if running != 1 || last.last + Duration::from_secs(1) < now {
            return Err(format!("{running} singletons run, the last one in term {term}"));
        }
        for (_, life) in present {
            match life.place {
                Some((at, there, _)) if at + FRESH > now && there == term => {}
                _ => return Err(format!("node {} does not reach the singleton of term {term}", life.number)),
            }
        }
        Ok(())
    }

    /// Why those that are no members any more are none.
    pub(crate) fn gone(&self) -> Vec<String> {
        let gone =
            self.lives.values().filter_map(|life| life.gone.as_ref().map(|why| format!("{}: {why}", life.number)));
        gone.collect()
    }
}
