//! For how long a node may serve what it hosts without hearing from others.
//!
//! Each round it asks some of the others whether it is one of them, all of them within a third of the time that an answer
//! is good for. An answer proves that whoever gave it could reach this node, and had not given it up, when the question was
//! *asked* or later. If those that answered would go on with this node though nobody else did, then nobody else can decide to
//! go on without it before these have stopped answering; and whoever takes over waits until an answer of then is good for
//! nothing any more ([`freed`](super::freed)).

use super::{DropReason, Message, Node};
use crate::{
    downing::{Decision, Downing, View, decide},
    member::{MemberStatus, UniqueAddress},
};
use actors::Tick;
use std::{collections::BTreeMap, time::Duration};

/// What news takes at most, and one side of a cut to notice what the other has.
pub(super) const NEWS_WITHIN: Duration = Duration::from_secs(4);
/// The shortest time without an answer that means something.
const SILENT_AFTER: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(super) struct Hosting {
    /// When the question was asked that was answered last.
    answered: BTreeMap<u64, Tick>,
    /// Who was asked last.
    asked: u64,
    until: Option<Tick>,
    ended: bool,
    pub(super) quorum: super::quorum::Quorum,
}

impl Hosting {
    #[cfg(test)]
    pub(super) fn until(&self) -> Option<Tick> {
        self.until
    }

    /// Whether too few have answered for it to host anything now.
    pub(super) fn is_over(&self, now: Tick) -> bool {
        self.until.is_none_or(|until| until <= now)
    }

    /// Whether a member has answered a question that was asked within this time.
    pub(super) fn has_answered(&self, uid: u64, within: Duration, now: Tick) -> bool {
        self.answered.get(&uid).is_some_and(|at| now - *at < within)
    }

    /// It hosts nothing any more, and never will.
    pub(super) fn end(&mut self) {
        self.until = None;
        self.ended = true;
    }

    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether a member, asked again and again, has not answered for longer than it takes to ask all.
    pub(super) fn is_silent(&self, uid: u64, members: usize, now: Tick) -> bool {
        let limit = SILENT_AFTER.max(length(members) / 3 + Duration::from_secs(2));
        self.answered.get(&uid).is_none_or(|at| now - *at >= limit)
    }
}

/// How long an answer is good for. Only full members are counted: others know of at least as many, and wait as long. The
/// larger the cluster, the longer it takes to ask all.
pub(super) fn length(full: usize) -> Duration {
    Duration::from_secs(match full {
        0..=5 => 9,
        6..=10 => 15,
        11..=20 => 21,
        21..=50 => 29,
        51..=100 => 35,
        _ => 55,
    })
}

impl Node {
    pub(super) fn full_members(&self) -> usize {
        self.table.members().filter(|member| member.status.is_full()).count()
    }

    /// Asks the next few.
    pub(super) fn probe(&mut self, now: Tick) {
        let table = &self.table;
        super::retain(&mut self.hosting.answered, |uid| table.get(uid).is_some());
        let others: Vec<UniqueAddress> = self.others().map(|member| member.node.clone()).collect();
        let rounds = (length(self.full_members()).as_secs() as usize / 3).max(1);
        let next = others.partition_point(|other| other.uid <= self.hosting.asked);
        let in_turn = others.iter().cycle().skip(next).take(others.len().div_ceil(rounds));
        for other in in_turn {
            self.hosting.asked = other.uid;
            self.send(other, Message::Probe { at: now });
        }
    }

    pub(super) fn probed(&mut self, from: &UniqueAddress, at: Tick, now: Tick) {
        // Whoever is about to be given up here must not take this for an answer.
        let confirmed = self.confirmed_unreachable(now);
        if !confirmed.contains(&from.uid) || self.outlook(&confirmed).side.contains(&from.uid) {
            self.freed.answers(from.uid, now);
            self.send(from, Message::Echo { at });
        }
    }

    pub(super) fn echoed(&mut self, from: &UniqueAddress, at: Tick, now: Tick) {
        if at > now {
            return self.drop(DropReason::Malformed);
        }
        let answered = self.hosting.answered.entry(from.uid).or_insert(at);
        *answered = at.max(*answered);
    }

    /// Once a round.
    pub(super) fn extend_hosting(&mut self, now: Tick) {
        let hosts = self.my_status().is_some_and(|mine| mine.is_full() || mine == MemberStatus::Exiting);
        if !hosts || self.hosting.ended {
            return;
        }
        let length = length(self.full_members());
        let view = View::of(&self.myself.node, &self.table);
        let mut all = view.clone();
        // With the lease in hand it is decided who goes on.
        let given_up = self.given_up().filter(|_| !self.resolver.has_lease());
        all.members.extend(given_up.map(|member| (member.node.uid, member.clone())));
        let evidence = self.evidence(&all, now);
        if let Some(until) = evidence.map(|evidence| evidence + length)
            && self.hosting.until != Some(until)
        {
            self.hosting.until = Some(until);
            self.out.push(super::Effect::HostUntil(until));
        }
        let is_fresh = |evidence: Option<Tick>| evidence.is_some_and(|evidence| evidence + length > now);
        let heard = is_fresh(evidence);
        let heard_here = heard || is_fresh(self.evidence(&view, now));
        self.agree_on_quorum(heard, heard_here, length.as_secs());
    }

    /// The latest time at which so many of `view` could reach this node that they would go on with it.
    fn evidence(&self, view: &View, now: Tick) -> Option<Tick> {
        let undecided = !view.unreachable.is_empty() || !view.indirect.is_empty();
        let downing = match &self.settings.downing {
            // Whoever gets the lease goes on: the majority may be the one that does not.
            Downing::LeaseMajority { .. } | Downing::StoreMajority { .. }
                if undecided && !self.resolver.has_lease() =>
            {
                return None;
            }
            Downing::LeaseMajority { role } | Downing::StoreMajority { role } => {
                Downing::KeepMajority { role: role.clone() }
            }
            other => other.clone(),
        };
        let mut answers: Vec<(Tick, u64)> = self
            .others()
            .filter_map(|member| self.hosting.answered.get(&member.node.uid).map(|at| (*at, member.node.uid)))
            .collect();
        answers.sort_by(|one, two| two.cmp(one));
        let goes_on_with = |count: usize| {
            let answered = answers[..count].iter().map(|(_, uid)| *uid);
            let rest = view.reaching(&answered.chain([self.myself.node.uid]).collect());
            matches!(decide(&downing, &rest), Decision::Nothing | Decision::GoOn { .. })
        };
        if goes_on_with(0) {
            return Some(now);
        }
        // The more, the likelier they go on. Where that is not so less is extended than could be.
        let (mut too_few, mut enough) = (0, answers.len());
        if !goes_on_with(enough) {
            return None;
        }
        while enough - too_few > 1 {
            let half = too_few.midpoint(enough);
            *(if goes_on_with(half) { &mut enough } else { &mut too_few }) = half;
        }
        answers.get(enough - 1).map(|(at, _)| *at)
    }
}
