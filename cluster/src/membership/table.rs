//! [`MemberTable`]: what one node knows of all members, as a value.
//!
//! # Merging
//! Tables of two nodes merge into the least that knows what both know: of a member's two accounts the higher status and the
//! smaller up-number, of a row the higher version, and who was removed stays so. Merging is commutative, associative and
//! idempotent, and each thing a member may do is an increase. So it does not matter who tells whom what, how often, and
//! in which order.
//!
//! That somebody was removed is remembered, so that late gossip does not bring it back, and forgotten by all alike: a
//! tombstone has the era in which it was made, the leader begins a new [era](MemberTable::begin_era) once a day, and all
//! drop those of the era before the last. So no table ever is again what it was before: who has seen it has seen it.
//!
//! # Convergence
//! A table has a [digest](MemberTable::digest), and with it goes the set of those that are known to have had this very
//! table. All full members in it, and nobody unreachable but those that are Down or Exiting: then the table is converged,
//! and the leader may act on it. A change empties the set. In a partition neither side converges, so neither lets anybody
//! in or removes anybody before it was decided who survives.

use super::reachability::{Reachability, Row};
use crate::member::{Member, MemberStatus, UniqueAddress};
use crate::testkit::planted::{Bug, is_planted};
use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    hash::Hasher,
    sync::Arc,
};
use xxhash_rust::xxh3::Xxh3;

/// What two nodes compare instead of their tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Digest(pub(crate) u128);

/// What one node knows of all members.
#[derive(Clone, Debug, Default)]
pub(crate) struct MemberTable {
    members: BTreeMap<u64, Member>,
    reachability: Reachability,
    /// Lives that ended, each with the era in which it was noticed.
    removed: BTreeMap<u64, u64>,
    era: u64,
    /// Those that had this very table.
    seen: BTreeSet<u64>,
    /// Nothing after a change, until somebody asks.
    digest: Cell<Option<Digest>>,
}

/// A table as it is told to others.
#[derive(Clone, Debug)]
pub(crate) struct Gossip {
    pub(crate) members: Vec<Member>,
    pub(crate) reachability: Reachability,
    pub(crate) removed: BTreeMap<u64, u64>,
    pub(crate) era: u64,
    pub(crate) seen: Vec<u64>,
}

impl Gossip {
    /// That of the table which is told.
    pub(crate) fn digest(&self) -> Digest {
        digest(self.members.iter(), &self.reachability, &self.removed, self.era)
    }
}

/// What the leader does once all agree, or some time later without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Promotion {
    pub(crate) uid: u64,
    pub(crate) to: MemberStatus,
    pub(crate) up_number: Option<u64>,
}

/// How many members there must be before the first becomes up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MinMembers {
    pub(crate) total: usize,
    pub(crate) by_role: BTreeMap<Arc<str>, usize>,
}

/// Why a step was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NoSuchStep {
    #[error("no member has uid {0:016x}")]
    Unknown(u64),
    #[error("{node} is {from:?} and cannot become {to:?}")]
    NotAllowed { node: UniqueAddress, from: MemberStatus, to: MemberStatus },
}

impl MemberTable {
    pub(crate) fn members(&self) -> impl Iterator<Item = &Member> {
        self.members.values()
    }

    pub(crate) fn get(&self, uid: u64) -> Option<&Member> {
        self.members.get(&uid)
    }

    pub(crate) fn was_removed(&self, uid: u64) -> bool {
        self.removed.contains_key(&uid)
    }

    pub(crate) fn seen(&self) -> &BTreeSet<u64> {
        &self.seen
    }

    /// Takes `member` up as told by `me`. `false`: it is known, or was removed.
    pub(crate) fn add(&mut self, me: u64, member: Member) -> bool {
        let uid = member.node.uid;
        if self.members.contains_key(&uid) || self.removed.contains_key(&uid) {
            return false;
        }
        self.members.insert(uid, member);
        self.changed(me);
        true
    }

    /// Has a member take a step. `me` is who does it.
    pub(crate) fn step(&mut self, me: u64, uid: u64, to: MemberStatus) -> Result<(), NoSuchStep> {
        let member = self.members.get_mut(&uid).ok_or(NoSuchStep::Unknown(uid))?;
        if !member.status.may_become(to) {
            return Err(NoSuchStep::NotAllowed { node: member.node.clone(), from: member.status, to });
        }
        member.status = to;
        self.bury();
        self.changed(me);
        Ok(())
    }

    /// Does what [`promotions`](Self::promotions) found.
    pub(crate) fn promote(&mut self, me: u64, promotion: &Promotion) -> Result<(), NoSuchStep> {
        self.step(me, promotion.uid, promotion.to)?;
        if let Some(member) = self.members.get_mut(&promotion.uid)
            && promotion.up_number.is_some()
        {
            member.up_number = promotion.up_number;
            self.digest.set(None);
        }
        Ok(())
    }

    /// `me` can reach `subject`, or not. `false`: that is no news, or one of the two is no member.
    pub(crate) fn observe(&mut self, me: u64, subject: u64, unreachable: bool) -> bool {
        let known = me != subject && self.members.contains_key(&me) && self.members.contains_key(&subject);
        let news = known && self.reachability.observe(me, subject, unreachable);
        if news {
            self.changed(me);
        }
        news
    }

    /// What to tell others.
    pub(crate) fn gossip(&self) -> Gossip {
        Gossip {
            members: self.members.values().cloned().collect(),
            reachability: self.reachability.clone(),
            removed: self.removed.clone(),
            era: self.era,
            seen: self.seen.iter().copied().collect(),
        }
    }

    /// Learns what another node told. `true`: something of it was new.
    pub(crate) fn merge(&mut self, me: u64, gossip: &Gossip) -> bool {
        let before = self.digest();
        self.digest.set(None);
        self.era = self.era.max(gossip.era);
        for (uid, era) in &gossip.removed {
            let mine = self.removed.entry(*uid).or_insert(*era);
            *mine = (*mine).max(*era);
        }
        self.forget();
        for member in &gossip.members {
            if !self.removed.contains_key(&member.node.uid) {
                self.members
                    .entry(member.node.uid)
                    .and_modify(|mine| mine.merge(member))
                    .or_insert_with(|| member.clone());
            }
        }
        self.reachability.merge(&gossip.reachability);
        self.bury();
        let after = self.digest();
        if after != before {
            self.seen.clear();
        }
        // Whoever had what this is now has seen it, and so has this node.
        if after == gossip.digest() {
            self.seen.extend(gossip.seen.iter().filter(|uid| self.members.contains_key(uid)));
        }
        self.see(me);
        after != before
    }

    /// What two nodes compare: equal digests, equal tables.
    pub(crate) fn digest(&self) -> Digest {
        let now = || digest(self.members.values(), &self.reachability, &self.removed, self.era);
        let known = self.digest.get().unwrap_or_else(now);
        self.digest.set(Some(known));
        debug_assert!(!cfg!(test) || known == now(), "a change that was not noticed");
        known
    }

    /// The days that this cluster has counted.
    pub(crate) fn era(&self) -> u64 {
        self.era
    }

    /// Has all forget those that were removed in the era before this one. For the leader, once all agree and a day has
    /// passed.
    pub(crate) fn begin_era(&mut self, me: u64) {
        self.era += 1;
        self.bury();
        self.changed(me);
    }

    /// Who cannot be reached by at least one member whose word counts: not that of one which is on its way out, for it sees
    /// everybody as gone.
    pub(crate) fn unreachable(&self) -> BTreeSet<u64> {
        self.reachability.unreachable(|observer| self.counts(observer))
    }

    /// Who cannot reach whom, of those whose word counts.
    pub(crate) fn accusations(&self) -> Vec<(u64, u64)> {
        self.reachability.accusations(|observer| self.counts(observer)).collect()
    }

    /// Whatever anybody says of anybody, whether its word counts or not.
    pub(crate) fn rows(&self) -> impl Iterator<Item = ((u64, u64), Row)> {
        self.reachability.rows()
    }

    fn counts(&self, observer: u64) -> bool {
        self.members.get(&observer).is_some_and(|member| member.status < MemberStatus::Leaving)
    }

    /// Whether all full members have this table, and everybody can be reached who is not Down or Exiting. Before there is a
    /// full member all that join must have it: which of them acts for all changes with each that comes.
    pub(crate) fn is_converged(&self) -> bool {
        let settled = |uid| self.members.get(uid).is_some_and(|member| member.status >= MemberStatus::Exiting);
        let agree = if self.has_begun() {
            self.all_have_seen(|member| member.status.is_full())
        } else {
            self.all_have_seen(Member::is_to_come)
        };
        agree && self.unreachable().iter().all(settled) || is_planted(Bug::NoSeenSet)
    }

    /// Those that are Down and may have led before. Last of all they may have let somebody in who alone knows of it.
    pub(crate) fn may_have_led(&self) -> BTreeSet<u64> {
        let led = |member: &&Member| member.status == MemberStatus::Down && member.up_number.is_some();
        self.members.values().filter(led).map(|member| member.node.uid).collect()
    }

    /// Whether all have this table that have yet to be let in, or to go: whoever knows of one that is in already has said so
    /// then.
    pub(crate) fn all_that_come_or_go_have_seen(&self) -> bool {
        self.all_have_seen(|member| member.is_to_come() || member.status == MemberStatus::Exiting)
    }

    fn all_have_seen(&self, of: fn(&Member) -> bool) -> bool {
        self.members.values().all(|member| !of(member) || self.seen.contains(&member.node.uid))
    }

    /// Whether there is a full member. One that leaves before it was let in never is.
    fn has_begun(&self) -> bool {
        self.members.values().any(Member::has_come)
    }

    /// Who acts for all, as `me` sees it: the lowest address among the full members that can be reached; before there is
    /// one, among those that join. Where all that ever were full are Down, nobody does. `me` can always reach itself.
    pub(crate) fn leader(&self, me: u64, role: Option<&str>) -> Option<&Member> {
        let unreachable = self.unreachable();
        let reachable = || {
            self.members
                .values()
                .filter(|member| member.node.uid == me || !unreachable.contains(&member.node.uid))
                .filter(|member| member.has_role(role))
        };
        let lowest = |counts: fn(&Member) -> bool| {
            reachable().filter(|member| counts(member)).min_by(|one, two| one.node.cmp(&two.node))
        };
        lowest(Member::has_come).or_else(|| {
            let nobody_yet = !self.has_begun() && !self.is_orphaned();
            nobody_yet.then(|| lowest(Member::is_to_come))?
        })
    }

    /// Whether nobody is full any more, for those that were have been given up: none of those that are left was let in by
    /// all, and elsewhere some may go on of whom these do not know.
    pub(crate) fn is_orphaned(&self) -> bool {
        let given_up = |member: &Member| member.status == MemberStatus::Down && member.up_number.is_some();
        !self.has_begun() && self.members.values().any(given_up)
    }

    /// The member that has been up for longest, of those with `role` that are full.
    #[cfg(test)]
    pub(crate) fn oldest(&self, role: Option<&str>) -> Option<&Member> {
        let full = self.members.values().filter(|member| member.status.is_full() && member.has_role(role));
        full.min_by(|one, two| one.by_age(two))
    }

    /// What the leader is to do now that all agree. Call it only on a converged table, and only if `me` leads.
    ///
    /// A member whose address another life still holds is not let in: two lives of one address are never up together.
    pub(crate) fn promotions(&self, min: &MinMembers) -> Vec<Promotion> {
        use MemberStatus::{
            Down, Exiting, Joining, Leaving, PreparingForShutdown, ReadyForShutdown, Removed, WeaklyUp,
        };
        let mut promotions = Vec::new();
        let mut up_number = self.members.values().filter_map(|member| member.up_number).max().unwrap_or(0);
        let may_enter = self.is_enough(min) && !self.is_shutting_down();
        let mut in_order: Vec<&Member> = self.members.values().collect();
        in_order.sort_by(|one, two| one.node.cmp(&two.node));
        for member in in_order {
            let to = match member.status {
                Joining | WeaklyUp if may_enter && self.is_alone_at_its_address(member) => MemberStatus::Up,
                PreparingForShutdown => ReadyForShutdown,
                Leaving => Exiting,
                Exiting | Down => Removed,
                _ => continue,
            };
            let number = (to == MemberStatus::Up).then(|| {
                up_number += 1;
                up_number
            });
            promotions.push(Promotion { uid: member.node.uid, to, up_number: number });
        }
        promotions
    }

    /// Who may work for now although not all agree, because somebody cannot be reached: see [`MemberStatus::WeaklyUp`].
    pub(crate) fn weak_promotions(&self, min: &MinMembers) -> Vec<Promotion> {
        if !self.is_enough(min) || self.is_shutting_down() || !self.has_begun() {
            return Vec::new();
        }
        let joining = self.members.values().filter(|member| member.status == MemberStatus::Joining);
        joining
            .filter(|member| self.is_alone_at_its_address(member))
            .map(|member| Promotion { uid: member.node.uid, to: MemberStatus::WeaklyUp, up_number: None })
            .collect()
    }

    fn is_alone_at_its_address(&self, member: &Member) -> bool {
        self.members.values().filter(|other| other.node.address == member.node.address).count() == 1
    }

    fn is_shutting_down(&self) -> bool {
        let shutting = |status| matches!(status, MemberStatus::PreparingForShutdown | MemberStatus::ReadyForShutdown);
        self.members.values().any(|member| shutting(member.status))
    }

    /// Once somebody is up the minimum was met.
    fn is_enough(&self, min: &MinMembers) -> bool {
        let coming = |role: Option<&str>| {
            self.members
                .values()
                .filter(|member| member.status < MemberStatus::Leaving && member.has_role(role))
                .count()
        };
        self.has_begun()
            || (coming(None) >= min.total && min.by_role.iter().all(|(role, least)| coming(Some(role)) >= *least))
    }

    /// Those that have just become [`Removed`](MemberStatus::Removed), and all rows by or about them.
    fn bury(&mut self) {
        let gone = self.members.values().filter(|member| member.status == MemberStatus::Removed);
        self.removed.extend(gone.map(|member| (member.node.uid, self.era)));
        self.forget();
        let (members, removed) = (&mut self.members, &self.removed);
        members.retain(|uid, _| !removed.contains_key(uid));
        self.reachability.retain(|uid| !removed.contains_key(&uid));
        self.seen.retain(|uid| !removed.contains_key(uid));
    }

    /// Before anything is judged by tombstones: those that are too old say nothing, whoever still has them.
    fn forget(&mut self) {
        let era = self.era;
        self.removed.retain(|_, made| *made + 1 >= era);
    }

    fn changed(&mut self, me: u64) {
        self.digest.set(None);
        self.seen.clear();
        self.see(me);
    }

    fn see(&mut self, me: u64) {
        if self.members.contains_key(&me) {
            self.seen.insert(me);
        }
    }
}

fn digest<'a>(
    members: impl Iterator<Item = &'a Member>,
    reachability: &Reachability,
    removed: &BTreeMap<u64, u64>,
    era: u64,
) -> Digest {
    let mut hash = Xxh3::new();
    let text = |hash: &mut Xxh3, text: &str| {
        hash.write_u64(text.len() as u64);
        hash.write(text.as_bytes());
    };
    for member in members {
        let Member { node, status, up_number, roles, data_center, app_version } = member;
        hash.write_u64(node.uid);
        text(&mut hash, node.address.host());
        hash.write_u16(node.address.port());
        hash.write_u8(*status as u8);
        hash.write_u64(up_number.unwrap_or(0));
        hash.write_u64(roles.len() as u64);
        roles.iter().for_each(|role| text(&mut hash, role));
        text(&mut hash, data_center);
        text(&mut hash, app_version);
    }
    hash.write_u64(0);
    for ((observer, subject), row) in reachability.rows() {
        hash.write_u64(observer);
        hash.write_u64(subject);
        hash.write_u64(row.version);
        hash.write_u8(row.unreachable.into());
    }
    hash.write_u64(0);
    for (uid, made) in removed {
        hash.write_u64(*uid);
        hash.write_u64(*made);
    }
    hash.write_u64(era);
    Digest(hash.digest128())
}
