//! Every division of a few members, whatever their status: at most one side goes on.

use super::{Decision, Downing, Stop, View, decide, side as side_of};
use crate::member::{Address, Member, MemberStatus, UniqueAddress};
use std::{
    collections::{BTreeMap, BTreeSet},
    num::NonZeroUsize,
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
        Downing::KeepMajority { role: None },
        Downing::KeepOldest { role: None, down_if_alone: false },
        Downing::KeepOldest { role: None, down_if_alone: true },
        Downing::KeepReferee { address: address(0), at_least: size(1) },
        Downing::KeepReferee { address: address(members - 1), at_least: size(2) },
        Downing::DownAll,
    ];
    strategies.extend((1..=members).map(|least| Downing::StaticQuorum { size: size(least), role: None }));
    strategies
}

/// What the side `here`, as bits, sees. Whoever joins for one side is younger than all who do for none.
fn side(statuses: &[MemberStatus], other: &[MemberStatus], here: usize) -> View {
    let mut members: BTreeMap<u64, Member> =
        (0_u64..).zip(statuses).map(|(uid, status)| (uid, member(uid as usize, statuses.len(), *status))).collect();
    for (n, member) in (0..).zip(members.values_mut()) {
        let joins = statuses[n] == MemberStatus::Joining || other[n] == MemberStatus::Joining;
        member.up_number = member.up_number.map(|number| if joins { number + statuses.len() as u64 } else { number });
    }
    let me = members[&u64::from(here.trailing_zeros())].node.clone();
    let unreachable = members.keys().copied().filter(|uid| here & (1 << uid) == 0).collect();
    View { me, members, unreachable, indirect: Default::default(), rows: Default::default() }
}

/// The sides' own accounts of the same members.
fn check(one: &[MemberStatus], two: &[MemberStatus]) {
    let all = (1 << one.len()) - 1;
    let strategies = strategies(one.len());
    for here in 1..all {
        let (mine, theirs) = (side(one, two, here), side(two, one, all & !here));
        for downing in &strategies {
            let both = [&mine, &theirs].map(|view| matches!(decide(downing, view), Decision::GoOn { .. }));
            assert!(both != [true; 2], "{downing:?}: {here:b} see {one:?}, the others {two:?}, and both go on");
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
        each_statuses(members, |statuses| check(statuses, statuses));
    }
}

/// Any of the members may have taken one step that only one side knows of. Those that a leader decides on (from joining to
/// up, from leaving to exiting) come one after the other, each agreed on by all: so it is one side that knows more of them.
#[test]
fn a_step_that_only_one_side_knows_of_lets_no_two_sides_go_on() {
    for members in 2..=4 {
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
                    check(one, &two);
                }
            }
        });
    }
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
                let goes_on: BTreeSet<u64> = (0..)
                    .zip(decisions)
                    .filter(|(_, decision)| match decision {
                        Decision::GoOn { .. } => true,
                        Decision::Stop(Stop::PartlyCut | Stop::All | Stop::OtherSide) => false,
                        other => panic!("{downing:?}, {links:?}: {other:?}"),
                    })
                    .map(|(uid, _)| uid)
                    .collect();
                assert!(goes_on.is_empty() || goes_on == side, "{downing:?}, {links:?}: {goes_on:?} of {side:?}");
                let reaches = |(one, two): &(u64, u64)| !side.contains(one) || !side.contains(two);
                assert!(links.iter().all(reaches), "{downing:?}, {links:?}: not all of {side:?} reach each other");
                sides.extend((!goes_on.is_empty()).then_some(goes_on));
            }
            for one in &sides {
                let apart = sides.iter().find(|two| one.is_disjoint(two));
                assert_eq!(apart, None, "{downing:?}: both go on, as does {one:?}");
            }
        }
    }
}
