//! [`decide`]: the decision, as a function of one node's view.
//!
//! The other side decides by its own view, which may differ: a member may have taken a step that only one side knows of. So
//! whoever concludes that its side goes on counts on its own side only those that the other side cannot think gone, and on
//! the other side all that may count there. If that is not enough although the plain count is, nobody goes on.
//!
//! # Partly cut off
//! Those that some reach and others do not are given up, if the rest is enough without them. If it is not, they might go on
//! together, once they reach each other and the rest no more; and nobody can know that they do not. So then only one of each
//! two is given up, and the [`side`] that goes on is enough against all others, wherever they are.

use super::{Downing, MINORITY_WAITS, View};
use crate::member::{Member, MemberStatus};
use crate::testkit::planted::{Bug, is_planted};
use std::{cmp::Ordering, collections::BTreeSet, time::Duration};

/// What a node does about the members that it cannot reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// There is nothing to decide.
    Nothing,
    /// This side goes on. Its leader marks these as Down.
    GoOn { down: BTreeSet<u64> },
    /// This node stops.
    Stop(Stop),
    /// Who goes on is decided by a lease: asked for after this time, and with it this side goes on.
    AskForLease { after: Duration, down: BTreeSet<u64> },
}

/// Why a node stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The other side goes on.
    OtherSide,
    /// This node is only partly reached, so the others go on without it.
    PartlyCut,
    /// Neither side can be sure of the other, or none is enough: all stop.
    All,
}

/// Where more are partly cut off, at most so many ways are tried to choose among them.
const SIDES_TRIED: usize = 16;

/// Applies `downing` to what a node sees.
pub(crate) fn decide(downing: &Downing, view: &View) -> Decision {
    if view.unreachable.is_empty() && view.indirect.is_empty() {
        return Decision::Nothing;
    }
    let side = side(downing, view);
    if view.indirect.contains(&view.me.uid) && !side.contains(&view.me.uid) {
        return Decision::Stop(Stop::PartlyCut);
    }
    let down = view.members.keys().copied().filter(|uid| !side.contains(uid)).collect();
    match outcome_of(downing, view, &side) {
        Outcome::Mine => Decision::GoOn { down },
        Outcome::Theirs => Decision::Stop(Stop::OtherSide),
        Outcome::Nobody => Decision::Stop(Stop::All),
        Outcome::Lease(after) => Decision::AskForLease { after, down },
    }
}

/// Those that go on together, if anybody of `view` does. Whoever sees the same members and rows finds the same ones.
///
/// All that nobody misses; and if these alone are not enough, those that are partly cut off beside them, of each two that
/// cannot reach each other one, the lower if that will do.
pub(crate) fn side(downing: &Downing, view: &View) -> BTreeSet<u64> {
    let reached = |uid: &u64| !view.unreachable.contains(uid) && !view.indirect.contains(uid);
    let whole: BTreeSet<u64> = view.members.keys().copied().filter(reached).collect();
    if view.indirect.is_empty() || is_enough(downing, view, &whole) {
        return whole;
    }
    let mut partly: Vec<&Member> = view.indirect.iter().filter_map(|uid| view.members.get(uid)).collect();
    partly.sort_by(|one, two| is_sure(two).cmp(&is_sure(one)).then_with(|| preferred(downing, one, two)));
    let with = |first: &&Member| {
        let mut side = whole.clone();
        for next in std::iter::once(first).chain(&partly) {
            if side.iter().all(|uid| !view.is_broken(*uid, next.node.uid)) {
                side.insert(next.node.uid);
            }
        }
        side
    };
    // Of many most are on a side that was tried for another of them.
    let mut tried: Vec<BTreeSet<u64>> = Vec::new();
    for first in &partly {
        let is_tried = tried.iter().any(|side| side.contains(&first.node.uid));
        if partly.len() > SIDES_TRIED && (is_tried || tried.len() == SIDES_TRIED) {
            continue;
        }
        let side = with(first);
        if is_enough(downing, view, &side) {
            return side;
        }
        tried.push(side);
    }
    whole
}

/// Which of two is rather needed.
fn preferred(downing: &Downing, one: &Member, two: &Member) -> Ordering {
    let first = match downing {
        Downing::KeepOldest { .. } => one.by_age(two),
        Downing::KeepReferee { address, .. } => (one.node.address != *address).cmp(&(two.node.address != *address)),
        _ => Ordering::Equal,
    };
    first.then_with(|| one.node.cmp(&two.node))
}

/// Whether these would go on although all others were on one other side.
fn is_enough(downing: &Downing, view: &View, side: &BTreeSet<u64>) -> bool {
    match downing {
        // Whoever gets it goes on, and the one that most are on asks first.
        Downing::LeaseMajority { role } | Downing::StoreMajority { role } => {
            majority(&view.reaching(side), role.as_deref()) == Outcome::Mine
        }
        _ => outcome_of(downing, view, side) == Outcome::Mine,
    }
}

/// What becomes of this side, if all others are on one other side.
fn outcome_of(downing: &Downing, view: &View, side: &BTreeSet<u64>) -> Outcome {
    let divided = view.reaching(side);
    match downing {
        // All have this table, and whoever lets others in is here, like all full members: nobody has become one elsewhere.
        Downing::KeepMajority { role }
            if view.unreachable.is_empty()
                && !divided.theirs().any(|member| member.status.is_full())
                && count(divided.mine(), role.as_deref(), is_sure) > 0 =>
        {
            Outcome::Mine
        }
        _ => outcome(downing, &divided),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Mine,
    Theirs,
    Nobody,
    Lease(Duration),
}

fn outcome(downing: &Downing, view: &View) -> Outcome {
    match downing {
        Downing::KeepMajority { role } => majority(view, role.as_deref()),
        Downing::StaticQuorum { size, role } => quorum(view, size.get(), role.as_deref()),
        Downing::KeepOldest { role, down_if_alone } => oldest(view, role.as_deref(), *down_if_alone),
        Downing::KeepReferee { address, at_least } => {
            if view.mine().any(|member| member.node.address == *address && is_sure(member)) {
                if view.mine().filter(|member| is_sure(member)).count() >= at_least.get() {
                    Outcome::Mine
                } else {
                    Outcome::Nobody
                }
            } else {
                Outcome::Theirs
            }
        }
        // Nobody has begun yet, and so nobody would ask for it.
        Downing::LeaseMajority { .. } | Downing::StoreMajority { .. }
            if !view.members.values().any(Member::has_come) =>
        {
            Outcome::Nobody
        }
        Downing::LeaseMajority { role } | Downing::StoreMajority { role } => {
            let after = if majority(view, role.as_deref()) == Outcome::Mine { Duration::ZERO } else { MINORITY_WAITS };
            Outcome::Lease(after)
        }
        Downing::DownAll => Outcome::Nobody,
    }
}

/// It counts for whoever knows of it, whatever step it takes next.
fn is_sure(member: &Member) -> bool {
    member.status.is_full() && member.status != MemberStatus::Leaving
}

/// It may count for somebody who knows of one step more, or one less.
fn may_count(member: &Member) -> bool {
    member.status < MemberStatus::Down
}

/// Somebody who knows of one step more, or one less, may be sure of it. Of one that exits nobody is: it was at most leaving,
/// which is not sure either.
fn may_be_sure(member: &Member) -> bool {
    member.status < MemberStatus::Exiting
}

fn count<'a>(members: impl Iterator<Item = &'a Member>, role: Option<&str>, counts: fn(&Member) -> bool) -> usize {
    members.filter(|member| member.has_role(role) && counts(member)).count()
}

fn majority(view: &View, role: Option<&str>) -> Outcome {
    let full: fn(&Member) -> bool = |member| member.status.is_full();
    let (mine, theirs) = (count(view.mine(), role, full), count(view.theirs(), role, full));
    if mine < theirs {
        return Outcome::Theirs;
    }
    let (sure, possible) = (count(view.mine(), role, is_sure), count(view.theirs(), role, may_be_sure));
    if sure > possible {
        return Outcome::Mine;
    }
    if mine > theirs {
        return Outcome::Nobody;
    }
    // As many here as there: only if nobody is on the move can both know who is the lowest. One that exits is none of them.
    let on_the_move = |member: &Member| member.has_role(role) && may_be_sure(member) && !is_sure(member);
    if mine == 0 || view.members.values().any(on_the_move) {
        return Outcome::Nobody;
    }
    let lowest = |members: &mut dyn Iterator<Item = &Member>| {
        members.filter(|member| member.has_role(role) && is_sure(member)).map(|member| member.node.clone()).min()
    };
    if lowest(&mut view.mine()) < lowest(&mut view.theirs()) || is_planted(Bug::TieBrokenWrongly) {
        Outcome::Mine
    } else {
        Outcome::Theirs
    }
}

fn quorum(view: &View, size: usize, role: Option<&str>) -> Outcome {
    if count(view.members.values(), role, may_count) > 2 * size - 1 {
        return Outcome::Nobody;
    }
    let enough = count(view.mine(), role, |member| member.status.is_full()) >= size;
    if enough { Outcome::Mine } else { Outcome::Theirs }
}

fn oldest(view: &View, role: Option<&str>, down_if_alone: bool) -> Outcome {
    let oldest_if = |counts: fn(&Member) -> bool| {
        let counted = view.members.values().filter(|member| member.has_role(role) && counts(member));
        counted.min_by(|one, two| one.by_age(two))
    };
    let Some(oldest) = oldest_if(|member| member.status.is_full()) else { return Outcome::Nobody };
    let here = |member: &Member| !view.unreachable.contains(&member.node.uid);
    // One that leaves may be gone for the other side already, and one that leaves here for good still count there.
    let later = oldest_if(is_sure).is_some_and(|later| here(later) == here(oldest));
    let earlier = oldest_if(|member| member.up_number.is_some()).is_some_and(|earlier| here(earlier) == here(oldest));
    if !later || !earlier {
        return Outcome::Nobody;
    }
    let (mine, theirs) = (count(view.mine(), role, is_sure), count(view.theirs(), role, may_count));
    match (here(oldest), down_if_alone) {
        (true, false) => Outcome::Mine,
        (false, false) => Outcome::Theirs,
        // Alone only if nobody can think otherwise; of two the oldest goes on.
        (true, true) if mine > 1 || theirs <= 1 => Outcome::Mine,
        (true, true) => Outcome::Theirs,
        (false, true) if theirs == 1 && mine > 1 => Outcome::Mine,
        (false, true) => Outcome::Theirs,
    }
}
