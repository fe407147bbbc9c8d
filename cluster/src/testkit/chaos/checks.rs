//! What must hold at each moment of a run.

use super::{
    ledger::Ledger,
    run::{Failure, Run},
};
use crate::{
    cluster::Cluster,
    departure::Departure,
    member::{MemberStatus, UniqueAddress},
    remote::lives::Standing,
    testkit::SimNode,
};
use std::{collections::BTreeSet, time::Duration};

/// How long a node may be silent that has not ended: it knocks every 15 seconds at the longest.
const SILENT_MAX: Duration = Duration::from_secs(25);

/// How long after it stood still others may say of a node that it is gone.
const DOUBTED_FOR: Duration = Duration::from_secs(20);

/// How often it is asked how much was dropped.
const STRIKES_EVERY: Duration = Duration::from_secs(1);

/// What was seen of a node.
#[derive(Default)]
pub(super) struct Seen {
    /// How much it had sent, and when that was last more than before.
    spoke: (u64, Duration),
    /// The life that is a member there, or was, and whether it is known why it is none any more.
    life: Option<(Cluster, bool)>,
    /// How often that one had to say that it is not gone.
    contradicted: u64,
    /// Until when it stood still.
    pub(super) stood_still: Option<Duration>,
    /// Whether there was a moment, since that was asked last, at which nothing waited to be sent.
    pub(super) was_quiet: bool,
}

impl Run<'_> {
    pub(super) fn check(&mut self) -> Result<(), Failure> {
        self.ledger.time_is(self.cluster.elapsed());
        self.ledger.go_on(&self.lives());
        if self.cluster.elapsed() >= self.strikes_at {
            self.strikes_at = self.cluster.elapsed() + STRIKES_EVERY;
            self.ledger.strike(&self.cluster);
        }
        if let Some(failure) = self.ledger.failure() {
            return Err(failure);
        }
        self.check_hosting()?;
        self.check_numbers()?;
        self.check_lives()?;
        self.check_silence()
    }

    /// Whoever must stop has stopped before others take over.
    fn check_hosting(&self) -> Result<(), Failure> {
        let there: Vec<Cluster> = self.cluster.running().filter_map(SimNode::cluster).collect();
        if let Some((life, heir)) = self.ledger.serve_twice(&there) {
            let left = life.hosting().remaining();
            let what = format!("{} serves for {left:?} more, and {} does its work", life.me(), heir.me());
            return Err(Failure::new("M5", what));
        }
        match self.ledger.two_instances() {
            Some(what) => Err(Failure::new("S2", what)),
            None => Ok(()),
        }
    }

    /// No two members have one number.
    fn check_numbers(&self) -> Result<(), Failure> {
        for cluster in self.cluster.running().filter_map(SimNode::cluster) {
            let mut numbers = BTreeSet::new();
            let state = cluster.state();
            let mut numbered = state.members.iter().filter_map(|member| member.up_number);
            if let Some(number) = numbered.find(|number| !numbers.insert(*number)) {
                return Err(Failure::new("M1", format!("two members have number {number}, at {}", cluster.me())));
            }
        }
        Ok(())
    }

    /// Nobody stops because few have cut it off, and nobody who answers is said to be gone.
    fn check_lives(&mut self) -> Result<(), Failure> {
        for number in 0..self.seen.len() {
            let now = self.cluster.node(number).and_then(SimNode::cluster);
            let seen = &mut self.seen[number];
            if let Some(now) = now
                && seen.life.as_ref().is_none_or(|(life, _)| life.me() != now.me())
            {
                seen.contradicted = now.contradicted();
                seen.life = Some((now, false));
            }
            let Some((life, is_known)) = &mut seen.life else { continue };
            if !*is_known && let Some(why) = life.departure() {
                *is_known = true;
                if why == Departure::Quarantined {
                    check_quarantine(life, &self.ledger, self.cluster.running())?;
                }
            }
            seen.was_quiet |= !seen.was_quiet && life.remoting().is_quiet();
            let contradicted = life.contradicted();
            let is_new = std::mem::replace(&mut seen.contradicted, contradicted) < contradicted;
            let stood_still = seen.stood_still.is_some_and(|until| self.cluster.elapsed() < until + DOUBTED_FOR);
            if is_new && self.in_trouble && !stood_still && self.plan.is_calm() {
                let what = format!("{} was said to be gone, and answered all the time", life.me());
                return Err(Failure::new("M6", what));
            }
        }
        Ok(())
    }

    /// Nobody is silent who is there.
    fn check_silence(&mut self) -> Result<(), Failure> {
        let now = self.cluster.elapsed();
        for (number, seen) in self.seen.iter_mut().enumerate() {
            let (sent, when) = &mut seen.spoke;
            let sent_now = self.cluster.sent(number);
            let may_be_silent = match self.cluster.node(number) {
                Some(node) => node.system().coordinated_shutdown().is_started() || node.refusal().is_some(),
                None => true,
            };
            if sent_now > *sent || may_be_silent || !self.cluster.is_active(number) {
                (*sent, *when) = (sent_now, now);
            } else if now > *when + SILENT_MAX {
                return Err(Failure::new("M3", format!("n{number} is silent since {when:?}")));
            }
        }
        Ok(())
    }
}

/// `life` stopped because most of the others had cut it off, or all that it reached. Those that are gone may have been
/// among them.
fn check_quarantine<'a>(
    life: &Cluster,
    ledger: &Ledger,
    running: impl Iterator<Item = &'a SimNode>,
) -> Result<(), Failure> {
    let state = life.state();
    let full: BTreeSet<&UniqueAddress> =
        state.members.iter().filter(|member| member.status.is_full()).map(|member| &member.node).collect();
    // Who stops says so, and its word counts no more.
    let goes_on = |node: &Cluster| node.member().is_some_and(|own| own.status < MemberStatus::Down);
    let keeps = |node: &Cluster| {
        let is_other = full.contains(node.me()) && node.me() != life.me() && goes_on(node);
        is_other && node.remoting().standing(life.me()) == Standing::Good
    };
    let kept_by: Vec<Cluster> = running.filter_map(SimNode::cluster).filter(keeps).collect();
    let others = full.iter().filter(|node| **node != life.me()).count();
    // Of the two one may have said so already, and the other not yet.
    let lost = |one: &Cluster, two: &Cluster| ledger.could_not_reach(one.me().uid, two.me().uid);
    let reached =
        !ledger.was_leaving(life.me().uid) && kept_by.iter().any(|node| !lost(life, node) && !lost(node, life));
    if (others - kept_by.len()) * 2 <= full.len() && reached {
        let what = format!("{} stopped as if cut off by most, and {} of {others} had not", life.me(), kept_by.len());
        return Err(Failure::new("M7", what));
    }
    Ok(())
}
