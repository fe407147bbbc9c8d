//! What becomes of those that cannot be reached.
//!
//! Each node decides by itself, once nothing has changed for the stable period and those that it can reach have the same
//! table. Each may conclude that it must stop; only the leader of a side that goes on gives the others up.
//!
//! # What counts
//! A member counts as unreachable when that was confirmed: by two observers, or by one that the member for its part cannot
//! reach, or by this node's own connection. One row alone removes nobody. While some are confirmed and others are not, a
//! node decides only what it would decide either way.
//!
//! # On the edge
//! The word of a member that leaves counts for nobody, so nobody decides where only such members are left, and one that has
//! yet to come is on no side without a full member. Whoever stays so for two stable periods stops. So does whoever cannot
//! reach those without whom it would not go on, and has no answer of them either: that may never be confirmed, for they have
//! done without it long since.
//!
//! # With a lease
//! Those that have it give it back some time after all others are gone, or lose it once they have decided. A side that asks
//! late, because it could not reach where the lease is kept or stood still, would get it then, and both would go on. So it
//! counts when the others answered last: whoever answers has not given this node up, and takes the stable period before it asks
//! for the lease, which nobody else gets before it has expired. Whoever has not got it by then stops.

use super::{Effect, LeaseAnswer, Node, StopReason, hosting::NEWS_WITHIN, outlook::Outlook};
use crate::testkit::planted::{Bug, is_planted};
use crate::{
    downing::{Decision, Downing, Stop, View, decide},
    member::{Member, MemberStatus},
    membership::table::Digest,
};
use actors::Tick;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// How long the lease is kept after the last of those it was needed for is gone.
const LEASE_KEPT: Duration = Duration::from_secs(40);
/// For how long nobody else gets it who may count on it: [`expires_after`](crate::LeaseSettings::expires_after), at the least.
const LEASE_LASTS: Duration = Duration::from_secs(30);
/// What clocks of two sides may differ by in that time, and more.
const LEASE_MARGIN: Duration = Duration::from_secs(5);
/// When a lease that could not be asked for is asked for again.
const LEASE_ASKED_AGAIN: Duration = Duration::from_secs(1);
/// So many changes are one cut that is noticed one after the other.
const CHANGES_OF_ONE_CUT: u32 = 2;
/// The least that a network may be unstable beyond the stable period.
const UNSTABLE_FOR: Duration = Duration::from_secs(4);

#[derive(Debug)]
pub(super) struct Resolver {
    /// Who cannot reach whom, of those whose fate is open.
    rows: BTreeSet<(u64, u64)>,
    /// Of whom that was confirmed.
    confirmed: BTreeSet<u64>,
    /// The table all this is of.
    noticed: Option<Digest>,
    /// Who counts, and who exits: what becomes so starts the stable period anew.
    full: BTreeSet<u64>,
    exiting: BTreeSet<u64>,
    stable_since: Tick,
    /// Of those that are unreachable.
    unstable: BTreeMap<u64, Unstable>,
    changes: u32,
    /// Whether those on this side had one table since then.
    agreed: bool,
    /// Since when nobody is there who would decide for this node, which counts for nothing itself.
    stranded: Option<Tick>,
    /// Since when this node reaches too few to go on by itself, and hears of none of them.
    left_behind: Option<Tick>,
    lease: Lease,
}

#[derive(Debug)]
struct Unstable {
    since: Tick,
    /// How often the rows had changed by then.
    changes: u32,
    /// When somebody's word for it counted last.
    counted: Tick,
}

#[derive(Debug, PartialEq, Eq)]
enum Lease {
    None,
    /// A side with less asks later.
    AskAt(Tick),
    Asked,
    Held,
    /// Nobody is unreachable any more.
    ReleaseAt(Tick),
}

impl Default for Resolver {
    fn default() -> Self {
        Self {
            rows: BTreeSet::new(),
            confirmed: BTreeSet::new(),
            noticed: None,
            full: BTreeSet::new(),
            exiting: BTreeSet::new(),
            stable_since: Tick::START,
            unstable: BTreeMap::new(),
            changes: 0,
            agreed: false,
            stranded: None,
            left_behind: None,
            lease: Lease::None,
        }
    }
}

impl Resolver {
    pub(super) fn begin(&mut self, now: Tick) {
        self.stable_since = now;
    }

    /// This node stood still until now. What it knows may have changed long ago, so nothing was stable meanwhile.
    pub(super) fn woke(&mut self, now: Tick) {
        self.stable_since = now;
        self.agreed = false;
        self.unstable.values_mut().for_each(|unstable| unstable.since = now);
        self.stranded = self.stranded.map(|_| now);
        self.left_behind = self.left_behind.map(|_| now);
        if matches!(self.lease, Lease::AskAt(_)) {
            self.lease = Lease::None;
        }
    }

    pub(super) fn has_lease(&self) -> bool {
        matches!(self.lease, Lease::Held | Lease::ReleaseAt(_))
    }
}

impl Node {
    pub(super) fn resolve(&mut self, now: Tick) {
        self.notice_changes(now);
        let stable_after = Downing::stable_after(self.table.members().count());
        let stable_for = now - self.resolver.stable_since;
        if self.is_stranded_for(stable_after * 2, now) {
            return self.stop(StopReason::Stranded, now);
        }
        let left_behind = self.left_behind_for(stable_after * 2, now);
        if self.resolver.rows.is_empty() || is_planted(Bug::ResolverOff) {
            return self.release_lease(now);
        }
        if self.my_status().is_none_or(|mine| mine >= MemberStatus::Exiting) {
            return;
        }
        if let Some(why) = left_behind {
            return self.stop(StopReason::Unreachable(why), now);
        }
        if stable_for < stable_after {
            return self.check_instability(stable_after, now);
        }
        let needs_decision = |uid: &u64| self.status_of(*uid).is_some_and(|status| status < MemberStatus::Exiting);
        if !self.resolver.confirmed.iter().any(needs_decision) {
            return;
        }
        let outlook = self.outlook(&self.resolver.confirmed);
        let agrees = self.agrees(&outlook);
        self.resolver.agreed |= agrees;
        if !agrees {
            // A side that has agreed waits for its leader, who tells it something new.
            if !self.resolver.agreed && stable_for >= stable_after * 2 {
                self.stop(StopReason::NoAgreement, now);
            }
            return;
        }
        let leads = self.leads(&outlook);
        match self.decision(&outlook, stable_for >= stable_after * 2) {
            Decision::Stop(stop) => self.stop(StopReason::Unreachable(stop), now),
            Decision::GoOn { down } if leads => self.go_on(&down),
            Decision::AskForLease { after, down } if leads => self.ask_for_lease(after, &down, now),
            Decision::Nothing | Decision::GoOn { .. } | Decision::AskForLease { .. } => {}
        }
    }

    /// What starts the stable period anew: who reaches whom and what of it is sure, who counts, who exits. Not who is about to come, who wants to
    /// leave, and who is gone.
    fn notice_changes(&mut self, now: Tick) {
        let noticed = self.resolver.noticed.replace(self.table.digest());
        // Of one table all follows, and of rows alone what time and answers make of them.
        if noticed == self.resolver.noticed && self.resolver.rows.is_empty() {
            return;
        }
        let is_open = |uid: u64| self.status_of(uid).is_some_and(|status| status < MemberStatus::Down);
        let rows: BTreeSet<(u64, u64)> =
            self.table.accusations().into_iter().filter(|(_, subject)| is_open(*subject)).collect();
        let of = |wanted: fn(MemberStatus) -> bool| -> BTreeSet<u64> {
            let members = self.table.members().filter(|member| wanted(member.status));
            members.map(|member| member.node.uid).collect()
        };
        let (full, exiting) = (of(MemberStatus::is_full), of(|status| status == MemberStatus::Exiting));
        let counted: BTreeSet<u64> = self.counted_rows().into_iter().map(|(_, subject)| subject).collect();
        let withdrawn = self.resolver.rows.difference(&rows).any(|(observer, subject)| {
            let counts = self.status_of(*observer).is_some_and(|status| status < MemberStatus::Leaving);
            counts && is_open(*subject)
        });
        let rows_changed = withdrawn || !rows.is_subset(&self.resolver.rows);
        let mut confirmed = self.confirmed_unreachable(now);
        confirmed.retain(|uid| is_open(*uid));
        let surer = !confirmed.iter().eq(self.resolver.confirmed.iter().filter(|uid| is_open(**uid)));
        self.resolver.confirmed = confirmed;
        let resolver = &mut self.resolver;
        let changed = rows_changed || surer || !full.is_subset(&resolver.full) || !exiting.is_subset(&resolver.exiting);
        (resolver.full, resolver.exiting) = (full, exiting);
        if changed {
            resolver.stable_since = now;
            resolver.agreed = false;
            if matches!(resolver.lease, Lease::AskAt(_)) {
                resolver.lease = Lease::None;
            }
        }
        resolver.changes = resolver.changes.wrapping_add(u32::from(rows_changed));
        let subjects: BTreeSet<u64> = rows.iter().map(|(_, subject)| *subject).collect();
        super::retain(&mut resolver.unstable, |uid| subjects.contains(&uid));
        for subject in subjects.intersection(&counted) {
            let begins = Unstable { since: now, changes: resolver.changes, counted: now };
            resolver.unstable.entry(*subject).or_insert(begins).counted = now;
        }
        // The word of an observer that stands still itself stays until it wakes.
        resolver.unstable.retain(|_, unstable| now - unstable.counted < NEWS_WITHIN);
        resolver.rows = rows;
    }

    /// When something is to be decided, if nothing changes until then.
    pub(super) fn decides_at(&self) -> Option<Tick> {
        let is_sure = !self.resolver.confirmed.is_empty();
        is_sure.then(|| self.resolver.stable_since + Downing::stable_after(self.table.members().count()))
    }

    /// Whether, for so long, this node could reach nobody who decides for it, and is not one to decide.
    fn is_stranded_for(&mut self, time: Duration, now: Tick) -> bool {
        let is_lost = |member: &&Member| self.reach.is_lost(member.node.uid);
        let is_stranded = match self.my_status() {
            Some(MemberStatus::Leaving) => {
                let mut deciding = self.others().filter(|member| member.status < MemberStatus::Leaving);
                deciding.all(|member| is_lost(&member)) && self.others().any(|member| is_lost(&member))
            }
            Some(mine) if mine < MemberStatus::Up => {
                let mut full = self.others().filter(|member| member.status.is_full()).peekable();
                full.peek().is_some() && full.all(|member| is_lost(&member))
            }
            _ => false,
        };
        let since = is_stranded.then(|| self.resolver.stranded.unwrap_or(now));
        self.resolver.stranded = since;
        since.is_some_and(|since| now - since >= time)
    }

    /// Whether, for so long, this node could not reach those without whom it would not go on, and hosted nothing for want of
    /// their answers; and what it would decide by that.
    fn left_behind_for(&mut self, time: Duration, now: Tick) -> Option<Stop> {
        let counts = self.my_status().is_some_and(|mine| mine.is_full() && mine != MemberStatus::Leaving);
        let lost = self.others().map(|member| member.node.uid).filter(|uid| self.reach.is_lost(*uid));
        let lost: BTreeSet<u64> = lost.collect();
        let decision = match counts && !lost.is_empty() && self.hosting.is_over(now) {
            true => {
                let view = View::of(&self.myself.node, &self.table);
                let reached = view.members.keys().copied().filter(|uid| !lost.contains(uid)).collect();
                decide(&self.settings.downing, &view.reaching(&reached))
            }
            false => Decision::Nothing,
        };
        let Decision::Stop(why) = decision else {
            self.resolver.left_behind = None;
            return None;
        };
        let since = *self.resolver.left_behind.get_or_insert(now);
        (now - since >= time).then_some(why)
    }

    fn check_instability(&mut self, stable_after: Duration, now: Tick) {
        let limit = stable_after + UNSTABLE_FOR.max(stable_after * 3 / 4);
        let changes = self.resolver.changes;
        let unstable = |unstable: &Unstable| {
            changes.wrapping_sub(unstable.changes) > CHANGES_OF_ONE_CUT && now - unstable.since >= limit
        };
        if self.settings.down_all_when_unstable && self.resolver.unstable.values().any(unstable) {
            self.stop(StopReason::Unstable, now);
        }
    }

    fn go_on(&mut self, down: &BTreeSet<u64>) {
        for uid in down {
            if self.status_of(*uid).is_some_and(|status| status < MemberStatus::Exiting) {
                self.step_member(*uid, MemberStatus::Down);
            }
        }
    }

    fn ask_for_lease(&mut self, after: Duration, down: &BTreeSet<u64>, now: Tick) {
        match self.resolver.lease {
            Lease::None if !after.is_zero() => self.resolver.lease = Lease::AskAt(now + after),
            Lease::AskAt(at) if now < at => {}
            Lease::None | Lease::AskAt(_) => {
                self.resolver.lease = Lease::Asked;
                self.out.push(Effect::AskForLease);
            }
            Lease::Asked => {}
            Lease::Held | Lease::ReleaseAt(_) => {
                self.resolver.lease = Lease::Held;
                self.go_on(down);
            }
        }
    }

    pub(super) fn lease_answered(&mut self, answer: LeaseAnswer, now: Tick) {
        // Denied after it was granted: it was lost, and the other side may have it.
        let lost = self.resolver.has_lease() && answer == LeaseAnswer::Denied;
        if self.resolver.lease != Lease::Asked && !lost {
            return self.drop(super::DropReason::WrongPhase);
        }
        let Outlook { mut side, doubtful, .. } = self.outlook(&self.resolver.confirmed);
        let too_late = self.may_have_decided_without(&side, now);
        match answer {
            LeaseAnswer::Granted if !too_late => self.resolver.lease = Lease::Held,
            LeaseAnswer::Unknown if !too_late => self.resolver.lease = Lease::AskAt(now + LEASE_ASKED_AGAIN),
            LeaseAnswer::Denied if self.resolver.rows.is_empty() => self.resolver.lease = Lease::None,
            // The other side has it, or had it: this one ends, whoever of it still can be reached first.
            LeaseAnswer::Granted | LeaseAnswer::Unknown | LeaseAnswer::Denied => {
                if answer == LeaseAnswer::Granted {
                    self.out.push(Effect::ReleaseLease);
                }
                side.retain(|uid| *uid != self.myself.node.uid && !doubtful.contains(uid));
                self.go_on(&side);
                self.stop(StopReason::LeaseDenied, now);
            }
        }
    }

    /// Whether others than this side may have had the lease already, so that it says nothing any more.
    fn may_have_decided_without(&self, side: &BTreeSet<u64>, now: Tick) -> bool {
        let within = Downing::stable_after(self.table.members().count()) + LEASE_LASTS - LEASE_MARGIN;
        let mut others = self.others().filter(|other| other.status.is_full() && !side.contains(&other.node.uid));
        others.any(|other| !self.hosting.has_answered(other.node.uid, within, now))
    }

    fn release_lease(&mut self, now: Tick) {
        let settled = self.table.members().all(|member| member.status != MemberStatus::Down);
        match self.resolver.lease {
            Lease::Held if settled => self.resolver.lease = Lease::ReleaseAt(now + LEASE_KEPT),
            Lease::ReleaseAt(at) if at <= now => {
                self.resolver.lease = Lease::None;
                self.out.push(Effect::ReleaseLease);
            }
            Lease::AskAt(_) => self.resolver.lease = Lease::None,
            _ => {}
        }
    }
}
