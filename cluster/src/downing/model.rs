//! Every division of a few members, whatever their status and their roles: at most one side goes on. Where a lease decides,
//! each side that may go on asks for it, and at most one does so at once.

use super::{Decision, Downing, Stop, View, decide, side as side_of};
use crate::member::{Address, Member, MemberStatus, UniqueAddress};
use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroUsize,
    sync::Arc,
};

/// The steps of a life that make a difference. WeaklyUp counts like Joining, the two of a shutdown like Up.
const STATUSES: [MemberStatus; 5] =
    [MemberStatus::Joining, MemberStatus::Up, MemberStatus::Leaving, MemberStatus::Exiting, MemberStatus::Down];

pub(super) fn address(n: usize) -> Address {
    Address::new(format!("n{n}"), 2551).unwrap()
}

/// Ages are not in the order of addresses: the last one is the oldest.
pub(super) fn member(n: usize, of: usize, status: MemberStatus) -> Member {
    Member {
        node: UniqueAddress { address: address(n), uid: n as u64 },
        status,
        up_number: (status >= MemberStatus::Up).then_some((of - n) as u64),
        roles: Default::default(),
        data_center: "".into(),
        app_version: "".into(),
    }
}

fn strategies(members: usize) -> Vec<Downing> {
    let size = |size| NonZeroUsize::new(size).unwrap();
    let mut strategies = vec![
        Downing::KeepReferee { address: address(0), at_least: size(1) },
        Downing::KeepReferee { address: address(members - 1), at_least: size(2) },
        Downing::DownAll,
    ];
    strategies.extend(counting(members, None));
    strategies
}

/// Those that count, with this role.
fn counting(members: usize, role: Option<Arc<str>>) -> Vec<Downing> {
    let mut strategies = vec![
        Downing::KeepMajority { role: role.clone() },
        Downing::KeepOldest { role: role.clone(), down_if_alone: false },
        Downing::KeepOldest { role: role.clone(), down_if_alone: true },
        // As `LeaseMajority`, all of it.
        Downing::StoreMajority { role: role.clone() },
    ];
    let quorum = |least| Downing::StaticQuorum { size: NonZeroUsize::new(least).unwrap(), role: role.clone() };
    strategies.extend((1..=members).map(quorum));
    strategies
}

/// Whether a side goes on, if it need not ask others for that; and whether it asks for a lease.
fn goes_on(decision: &Decision) -> (bool, bool) {
    match decision {
        Decision::GoOn { .. } => (true, false),
        Decision::AskForLease { after, .. } => (after.is_zero(), true),
        Decision::Nothing | Decision::Stop(_) => (false, false),
    }
}

/// Who has the role, as bits.
#[derive(Default)]
struct Roles {
    of: usize,
    role: BTreeSet<Arc<str>>,
}

/// What the side `here`, as bits, sees. Whoever joins for one side is younger than all who do for none.
fn side(statuses: &[MemberStatus], other: &[MemberStatus], here: usize, roles: &Roles) -> View {
    let mut members: BTreeMap<u64, Member> =
        (0_u64..).zip(statuses).map(|(uid, status)| (uid, member(uid as usize, statuses.len(), *status))).collect();
    for (n, member) in (0..).zip(members.values_mut()) {
        let joins = statuses[n] == MemberStatus::Joining || other[n] == MemberStatus::Joining;
        member.up_number = member.up_number.map(|number| if joins { number + statuses.len() as u64 } else { number });
        if roles.of & (1 << n) != 0 {
            member.roles = roles.role.clone();
        }
    }
    let me = members[&u64::from(here.trailing_zeros())].node.clone();
    let unreachable = members.keys().copied().filter(|uid| here & (1 << uid) == 0).collect();
    View { me, members, unreachable, indirect: Default::default(), rows: Default::default() }
}

/// The sides' own accounts of the same members.
fn check(one: &[MemberStatus], two: &[MemberStatus], strategies: &[Downing], roles: &Roles) {
    let all = (1 << one.len()) - 1;
    // Where both see the same it makes no difference which is which.
    for here in (1..all).filter(|here| one != two || here & 1 != 0) {
        let (mine, theirs) = (side(one, two, here, roles), side(two, one, all & !here, roles));
        for downing in strategies {
            let [mine, theirs] = [&mine, &theirs].map(|view| goes_on(&decide(downing, view)));
            let told =
                || format!("{downing:?}: {here:b} see {one:?}, the others {two:?}, {:b} have the role", roles.of);
            assert!(!(mine.0 && theirs.0), "{}, and both go on", told());
            let lease = matches!(downing, Downing::StoreMajority { .. });
            let has_come = |it: &[MemberStatus]| it.iter().any(|status| status.is_full());
            assert_eq!((mine.1, theirs.1), (lease && has_come(one), lease && has_come(two)), "{}, and ask", told());
        }
    }
}

fn each_statuses(members: usize, mut f: impl FnMut(&[MemberStatus])) {
    let mut statuses = vec![MemberStatus::Joining; members];
    for mut code in 0..STATUSES.len().pow(members as u32) {
        for status in &mut statuses {
            *status = STATUSES[code % STATUSES.len()];
            code /= STATUSES.len();
        }
        f(&statuses);
    }
}

#[test]
fn of_two_sides_that_see_the_same_at_most_one_goes_on() {
    for members in 2..=6 {
        let strategies = strategies(members);
        each_statuses(members, |statuses| check(statuses, statuses, &strategies, &Roles::default()));
    }
}

/// Any of the members may have taken one step that only one side knows of. Those that a leader decides on (from joining to
/// up, from leaving to exiting) come one after the other, each agreed on by all: so it is one side that knows more of them.
#[test]
fn a_step_that_only_one_side_knows_of_lets_no_two_sides_go_on() {
    for members in 2..=4 {
        let strategies = strategies(members);
        each_steps(members, |one, two| check(one, two, &strategies, &Roles::default()));
    }
}

/// The same where only some count: any of them.
#[test]
fn of_two_sides_that_count_a_role_at_most_one_goes_on() {
    for members in 2..=4 {
        let strategies = counting(members, Some("worker".into()));
        for of in 0..(1 << members) - 1 {
            let roles = Roles { of, role: ["worker".into()].into() };
            each_statuses(members, |statuses| check(statuses, statuses, &strategies, &roles));
            if members < 4 {
                each_steps(members, |one, two| check(one, two, &strategies, &roles));
            }
        }
    }
}

/// What two sides may see of members that each have taken one step at most since both saw the same.
fn each_steps(members: usize, mut f: impl FnMut(&[MemberStatus], &[MemberStatus])) {
    each_statuses(members, |one| {
        for moved in 1_u32..3_u32.pow(members as u32) {
            let mut code = moved;
            let two: Option<Vec<MemberStatus>> = one
                .iter()
                .map(|status| {
                    let (kind, at) = (code % 3, STATUSES.iter().position(|known| known == status));
                    code /= 3;
                    match kind {
                        0 => Some(*status),
                        1 => STATUSES.get(at? + 1).copied(),
                        _ => (*status == MemberStatus::Leaving).then_some(MemberStatus::Up),
                    }
                })
                .collect();
            if let Some(two) = two {
                f(one, &two);
            }
        }
    });
}

/// What `me` sees where all that are reached have the same table, in which just these cannot reach each other, and nobody
/// reaches those that are `lost`.
pub(super) fn broken(members: usize, links: &[(u64, u64)], lost: &[u64], me: usize) -> View {
    let rows: BTreeSet<(u64, u64)> = links.iter().flat_map(|(one, two)| [(*one, *two), (*two, *one)]).collect();
    View {
        me: member(me, members, MemberStatus::Up).node,
        members: (0..members).map(|n| (n as u64, member(n, members, MemberStatus::Up))).collect(),
        unreachable: lost.iter().copied().collect(),
        indirect: rows.iter().map(|(_, subject)| *subject).collect(),
        rows,
    }
}

/// Whatever links fail: those that go on reach each other, the rest stops by itself, and if other links fail a moment later
/// those that go on by that have a member in common with these, which has only one of the two tables.
#[test]
fn wherever_links_fail_at_most_one_side_goes_on() {
    for members in 2..=5 {
        let pairs: Vec<(u64, u64)> =
            (0..members as u64).flat_map(|one| (one + 1..members as u64).map(move |two| (one, two))).collect();
        for downing in strategies(members) {
            let mut sides: BTreeSet<BTreeSet<u64>> = BTreeSet::new();
            for failed in 1_u32..1 << pairs.len() {
                let links: Vec<(u64, u64)> =
                    (0..).zip(&pairs).filter(|(bit, _)| failed & (1 << bit) != 0).map(|(_, pair)| *pair).collect();
                let side = side_of(&downing, &broken(members, &links, &[], 0));
                let decisions = (0..members).map(|me| decide(&downing, &broken(members, &links, &[], me)));
                let mut at_once = true;
                let goes_on: BTreeSet<u64> = (0..)
                    .zip(decisions)
                    .filter(|(_, decision)| match decision {
                        Decision::GoOn { .. } | Decision::AskForLease { .. } => {
                            at_once &= goes_on(decision).0;
                            true
                        }
                        Decision::Stop(Stop::PartlyCut | Stop::All | Stop::OtherSide) => false,
                        other => panic!("{downing:?}, {links:?}: {other:?}"),
                    })
                    .map(|(uid, _)| uid)
                    .collect();
                assert!(goes_on.is_empty() || goes_on == side, "{downing:?}, {links:?}: {goes_on:?} of {side:?}");
                let reaches = |(one, two): &(u64, u64)| !side.contains(one) || !side.contains(two);
                assert!(links.iter().all(reaches), "{downing:?}, {links:?}: not all of {side:?} reach each other");
                sides.extend((at_once && !goes_on.is_empty()).then_some(goes_on));
            }
            for one in &sides {
                let apart = sides.iter().find(|two| one.is_disjoint(two));
                assert_eq!(apart, None, "{downing:?}: both go on, as does {one:?}");
            }
        }
    }
}
