//! What each strategy does in the cases it is chosen for.

use super::{
    Decision, Downing, MINORITY_WAITS, View, decide,
    decide::Stop,
    model::{address, broken, member},
};
use crate::member::MemberStatus::{self, Exiting, Joining, Leaving, Up, WeaklyUp};
use std::{num::NonZeroUsize, time::Duration};

/// What the first member that is reached decides.
fn decision(downing: &Downing, here: &[MemberStatus], there: &[MemberStatus]) -> Decision {
    let all = here.len() + there.len();
    let members = here.iter().chain(there).enumerate().map(|(n, status)| member(n, all, *status));
    let members: Vec<_> = members.collect();
    let me = members[0].node.clone();
    let unreachable = (here.len()..all).map(|n| n as u64).collect();
    let members = members.into_iter().map(|member| (member.node.uid, member)).collect();
    decide(downing, &View { me, members, unreachable, indirect: Default::default(), rows: Default::default() })
}

fn goes_on(decision: &Decision) -> bool {
    matches!(decision, Decision::GoOn { .. })
}

const MAJORITY: Downing = Downing::KeepMajority { role: None };

#[test]
fn the_majority_goes_on_without_the_others() {
    let three = decision(&MAJORITY, &[Up, Up, Up], &[Up, Up]);
    assert_eq!(three, Decision::GoOn { down: [3, 4].into() });
    assert_eq!(decision(&MAJORITY, &[Up, Up], &[Up, Up, Up]), Decision::Stop(Stop::OtherSide));
}

#[test]
fn of_two_halves_the_one_with_the_lowest_address_goes_on() {
    assert!(goes_on(&decision(&MAJORITY, &[Up, Up], &[Up, Up])));
    let view = broken(4, &[], &[0, 1], 2);
    assert_eq!(decide(&MAJORITY, &view), Decision::Stop(Stop::OtherSide));
}

#[test]
fn a_member_on_the_move_that_may_tip_the_scales_stops_all() {
    assert_eq!(decision(&MAJORITY, &[Up, Up], &[Up, Joining]), Decision::Stop(Stop::All));
    assert_eq!(decision(&MAJORITY, &[Up, Up, Leaving], &[Up, Up]), Decision::Stop(Stop::All));
    assert!(goes_on(&decision(&MAJORITY, &[Up, Up, Up], &[Up, WeaklyUp])), "it cannot tip them here");
}

#[test]
fn those_that_came_and_went_do_not_count() {
    assert!(goes_on(&decision(&MAJORITY, &[Up, Up, Up, Up], &[Exiting, Exiting, Joining])));
}

#[test]
fn one_that_leaves_while_another_crashes_stops_nobody_else() {
    assert!(goes_on(&decision(&MAJORITY, &[Up, Up], &[Up, Exiting])), "for the others it is leaving at most");
    assert!(goes_on(&decision(&MAJORITY, &[Up, Up], &[Up, Up, Exiting])), "the lowest address is here");
    assert_eq!(
        decision(&MAJORITY, &[Up, Up], &[Up, Leaving]),
        Decision::Stop(Stop::All),
        "for the others it may be up"
    );
}

#[test]
fn a_quorum_goes_on_and_too_many_members_stop_all() {
    let three = Downing::StaticQuorum { size: NonZeroUsize::new(3).unwrap(), role: None };
    assert!(goes_on(&decision(&three, &[Up, Up, Up], &[Up, Up])));
    assert_eq!(decision(&three, &[Up, Up], &[Up, Up, Up]), Decision::Stop(Stop::OtherSide));
    assert_eq!(decision(&three, &[Up, Up, Up], &[Up, Up, Up]), Decision::Stop(Stop::All), "both would be enough");
}

#[test]
fn the_oldest_goes_on_unless_it_is_alone() {
    let oldest = |down_if_alone| Downing::KeepOldest { role: None, down_if_alone };
    // The last member is the oldest.
    assert_eq!(decision(&oldest(false), &[Up, Up], &[Up]), Decision::Stop(Stop::OtherSide));
    assert!(goes_on(&decision(&oldest(true), &[Up, Up], &[Up])));
    assert_eq!(decision(&oldest(true), &[Up], &[Up]), Decision::Stop(Stop::OtherSide), "of two the oldest goes on");
    assert_eq!(decision(&oldest(true), &[Up, Up], &[Leaving]), Decision::Stop(Stop::All));
}

#[test]
fn the_side_with_the_referee_goes_on_if_it_has_enough() {
    let referee =
        |at_least| Downing::KeepReferee { address: address(0), at_least: NonZeroUsize::new(at_least).unwrap() };
    assert!(goes_on(&decision(&referee(1), &[Up], &[Up, Up])));
    assert_eq!(decision(&referee(2), &[Up], &[Up, Up]), Decision::Stop(Stop::All));
}

#[test]
fn the_side_with_less_asks_for_the_lease_later() {
    let lease = Downing::LeaseMajority { role: None };
    let asks = |after| Decision::AskForLease { after, down: [2].into() };
    assert_eq!(decision(&lease, &[Up, Up], &[Up]), asks(Duration::ZERO));
    let few = decision(&lease, &[Up], &[Up, Up]);
    assert_eq!(few, Decision::AskForLease { after: MINORITY_WAITS, down: [1, 2].into() });
}

#[test]
fn all_stop_if_so_configured_and_nobody_if_all_are_reached() {
    assert_eq!(decision(&Downing::DownAll, &[Up, Up, Up], &[Up]), Decision::Stop(Stop::All));
    assert_eq!(decision(&Downing::DownAll, &[Up, Up, Up], &[]), Decision::Nothing);
}

/// What each of `all` members decides if just these cannot reach each other, and nobody reaches `lost`.
fn with_broken_links(downing: &Downing, all: usize, links: &[(u64, u64)], lost: &[u64]) -> Vec<Decision> {
    (0..all).map(|me| decide(downing, &broken(all, links, lost, me))).collect()
}

const PARTLY_CUT: Decision = Decision::Stop(Stop::PartlyCut);

#[test]
fn who_is_reached_by_some_only_goes_first() {
    let goes_on = Decision::GoOn { down: [3, 4].into() };
    let decided = with_broken_links(&MAJORITY, 5, &[(3, 4)], &[]);
    assert_eq!(decided, [goes_on.clone(), goes_on.clone(), goes_on, PARTLY_CUT, PARTLY_CUT]);
}

#[test]
fn of_two_that_cannot_reach_each_other_the_lower_stays_if_it_is_needed() {
    let goes_on = Decision::GoOn { down: [2].into() };
    assert_eq!(with_broken_links(&MAJORITY, 3, &[(1, 2)], &[]), [goes_on.clone(), goes_on, PARTLY_CUT]);
    // Two of five might go on without the other three, and these together if they reach each other again.
    let goes_on = Decision::GoOn { down: [3, 4].into() };
    let decided = with_broken_links(&MAJORITY, 5, &[(2, 3)], &[4]);
    assert_eq!(decided[..4], [goes_on.clone(), goes_on.clone(), goes_on, PARTLY_CUT]);
    // The last one is the oldest, and the lower one does without it.
    let oldest = Downing::KeepOldest { role: None, down_if_alone: false };
    let goes_on = Decision::GoOn { down: [1].into() };
    assert_eq!(with_broken_links(&oldest, 3, &[(1, 2)], &[]), [goes_on.clone(), PARTLY_CUT, goes_on]);
}

/// Two sites that two members of a third one reach, and which do not reach each other: the lower addresses are the lesser site.
#[test]
fn of_many_that_are_partly_cut_off_the_larger_part_goes_on() {
    let mut by_address: Vec<u64> = (0..50).collect();
    by_address.sort_by_key(|uid| address(*uid as usize));
    let (lower, rest) = by_address.split_at(18);
    let links: Vec<(u64, u64)> = lower.iter().flat_map(|one| rest[..30].iter().map(move |two| (*one, *two))).collect();
    let decided = with_broken_links(&MAJORITY, 50, &links, &[]);
    let goes_on = Decision::GoOn { down: lower.iter().copied().collect() };
    assert!(lower.iter().all(|uid| decided[*uid as usize] == PARTLY_CUT));
    assert!(rest.iter().all(|uid| decided[*uid as usize] == goes_on));
}

#[test]
fn where_nobody_is_enough_without_those_that_are_partly_cut_off_all_stop() {
    let decided = with_broken_links(&MAJORITY, 3, &[(0, 1), (0, 2), (1, 2)], &[]);
    assert_eq!(decided, [PARTLY_CUT, PARTLY_CUT, PARTLY_CUT]);
    let all = Decision::Stop(Stop::All);
    assert_eq!(with_broken_links(&Downing::DownAll, 3, &[(1, 2)], &[]), [all, PARTLY_CUT, PARTLY_CUT]);
}

#[test]
fn a_lease_is_asked_for_by_most_of_those_that_reach_each_other() {
    let lease = Downing::LeaseMajority { role: None };
    let asks = Decision::AskForLease { after: Duration::ZERO, down: [2].into() };
    assert_eq!(with_broken_links(&lease, 3, &[(1, 2)], &[]), [asks.clone(), asks, PARTLY_CUT]);
}

#[test]
fn joiners_that_cannot_reach_each_other_are_given_up_and_nobody_stops_for_them() {
    let view = |me: usize, second: MemberStatus| View {
        members: [Up, second, WeaklyUp].iter().enumerate().map(|(n, it)| (n as u64, member(n, 3, *it))).collect(),
        ..broken(3, &[(1, 2)], &[], me)
    };
    assert_eq!(decide(&MAJORITY, &view(0, Joining)), Decision::GoOn { down: [1, 2].into() });
    assert_eq!(decide(&MAJORITY, &view(0, Up)), Decision::GoOn { down: [2].into() }, "the full one stays");
    assert_eq!(decide(&MAJORITY, &view(2, Up)), PARTLY_CUT);
}
