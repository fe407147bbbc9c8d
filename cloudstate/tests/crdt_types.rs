//! The replicated data types: laws that hold for all of them under random histories, then what each promises.

mod laws;
mod map;
mod model;

use cloudstate::crdt::{
    Clock, Crdt, DecodeError, GCounter, Kind, LwwRegister, OrSet, PnCounter, ReplicaId, SetOutcome, Vote,
};

use self::model::{A, B, C, element};

/// A lost write of a register as its author hears of it.
fn lost(outcome: SetOutcome) -> (i64, i64) {
    match outcome {
        SetOutcome::Lost { timestamp, current } => (timestamp, current),
        SetOutcome::Won(delta) => panic!("the write won: {delta:?}"),
    }
}

fn won(outcome: SetOutcome) -> LwwRegister {
    match outcome {
        SetOutcome::Won(delta) => delta,
        SetOutcome::Lost { .. } => panic!("the write lost: {outcome:?}"),
    }
}

/// CloudState protocol, known defect 52.
#[test]
fn counters_take_unsigned_increments_and_refuse_to_wrap() {
    let mut counter = GCounter::default();
    counter.increment(A, 1 << 63).unwrap();
    counter.increment(A, (1 << 63) - 1).unwrap();
    counter.increment(B, u64::MAX).unwrap();
    assert_eq!(counter.value(), 2 * u128::from(u64::MAX));

    let before = counter.clone();
    let error = counter.increment(A, 1).unwrap_err();
    assert_eq!((error.share, error.amount), (u64::MAX, 1));
    assert_eq!(counter, before, "a refused increment changes nothing");
    counter.increment(C, 1).unwrap();

    let mut both = PnCounter::default();
    both.change(A, i64::MIN).unwrap();
    both.change(A, i64::MIN).unwrap_err();
    both.change(A, i64::MAX).unwrap();
    assert_eq!(both.value(), -1);
}

#[test]
fn two_shares_that_do_not_fit_into_one_stay_apart_when_pruned() {
    let mut counter = GCounter::default();
    counter.increment(A, u64::MAX).unwrap();
    counter.increment(B, 1).unwrap();
    let mut counter = Crdt::from(counter);
    let before = counter.clone();
    counter.prune(B, A);
    assert_eq!(counter, before);
    assert!(counter.mentions(B), "so that nobody takes it for pruned");
}

#[test]
fn an_addition_beats_a_concurrent_removal_and_a_removal_what_it_has_seen() {
    let apple = element(1);
    let mut here = OrSet::default();
    here.add(A, apple.clone());
    let mut there = here.clone();

    let removal = here.remove(&apple);
    let addition = there.add(B, apple.clone());
    here.merge(&addition);
    there.merge(&removal);
    assert_eq!(here, there);
    assert!(here.contains(&apple));

    // Both additions are known now: a clear removes them, and a late copy of either stays removed.
    here.clear();
    here.merge(&addition);
    here.merge(&there);
    assert!(here.is_empty());
}

/// CloudState protocol, known defect 50.
#[test]
fn the_first_write_of_a_register_takes_the_given_timestamp() {
    for clock in [Clock::Custom(7), Clock::CustomAutoIncrement(7), Clock::Custom(i64::MIN)] {
        let mut register = LwwRegister::default();
        assert_eq!((register.value(), register.timestamp()), (None, None));
        won(register.set(A, element(1), clock, 1_000));
        let given = if clock == Clock::Custom(i64::MIN) { i64::MIN } else { 7 };
        assert_eq!((register.value(), register.timestamp()), (Some(&element(1)), Some(given)));
    }
}

#[test]
fn registers_follow_the_clock_that_a_write_asks_for() {
    let after = |current: i64, clock| {
        let mut register = LwwRegister::default();
        won(register.set(A, element(1), Clock::Custom(current), 0));
        won(register.set(A, element(2), clock, 1_000));
        register.timestamp().unwrap()
    };
    assert_eq!(after(10, Clock::Default), 1_000);
    assert_eq!(after(5_000, Clock::Default), 5_001);
    assert_eq!(after(10, Clock::Custom(11)), 11);
    assert_eq!(after(10, Clock::CustomAutoIncrement(20)), 20);
    assert_eq!(after(10, Clock::CustomAutoIncrement(10)), 11);
    assert_eq!(after(10, Clock::CustomAutoIncrement(3)), 11);

    let mut first = LwwRegister::default();
    won(first.set(A, element(1), Clock::Reverse, 1_000));
    assert_eq!(first.timestamp(), Some(-1_000));
    assert_eq!(lost(first.set(A, element(2), Clock::Reverse, 999)), (-1_001, -1_000));
    assert_eq!(lost(first.set(B, element(2), Clock::Reverse, 2_000)), (-2_000, -1_000));
    assert_eq!(first.value(), Some(&element(1)), "the first write wins");
}

/// CloudState protocol, known defect 50.
#[test]
fn a_write_with_a_lower_timestamp_is_told_that_it_lost() {
    let mut register = LwwRegister::default();
    won(register.set(B, element(1), Clock::Custom(10), 0));
    let before = register.clone();
    assert_eq!(lost(register.set(B, element(2), Clock::Custom(9), 0)), (9, 10));
    assert_eq!(lost(register.set(C, element(2), Clock::Custom(10), 0)), (10, 10));
    assert_eq!(register, before);

    // The lower replica wins a tie, and the same replica's later write.
    won(register.set(A, element(3), Clock::Custom(10), 0));
    let delta = won(register.set(A, element(0), Clock::Custom(10), 0));
    let mut other = before;
    other.merge(&register);
    other.merge(&delta);
    assert_eq!(other.value(), Some(&element(0)));
}

#[test]
fn registers_at_the_end_of_time_do_not_overflow() {
    let mut register = LwwRegister::default();
    won(register.set(A, element(1), Clock::Custom(i64::MAX), 0));
    won(register.set(A, element(2), Clock::Default, u64::MAX));
    assert_eq!(lost(register.set(B, element(3), Clock::CustomAutoIncrement(0), 0)), (i64::MAX, i64::MAX));
    assert_eq!(register.value(), Some(&element(2)));
}

#[test]
fn votes_are_counted_among_the_members_of_the_moment() {
    let mut vote = Vote::default();
    assert_eq!(vote.vote(A, false), Vote::default(), "no is what everybody says at first");
    vote.vote(A, true);
    vote.vote(C, true);
    let tally = |vote: &Vote, members: &[ReplicaId]| {
        let tally = vote.tally(A, &members.iter().copied().collect());
        (tally.votes_for, tally.total_voters, tally.self_vote)
    };
    assert_eq!(tally(&vote, &[A, B, C]), (2, 3, true));
    assert_eq!(tally(&vote, &[A, B]), (1, 2, true));

    let mut earlier = vote.clone();
    vote.vote(A, false);
    earlier.merge(&vote);
    assert_eq!(tally(&earlier, &[A, B, C]), (1, 3, false), "the later word counts");

    let mut vote = Crdt::from(vote);
    vote.prune(C, A);
    assert_eq!(tally(vote.as_vote().unwrap(), &[A, B, C]), (0, 3, false));
}

#[test]
fn values_of_different_kinds_do_not_merge() {
    let mut counter = Crdt::new(Kind::GCounter);
    let error = counter.merge(&Crdt::new(Kind::PnCounter)).unwrap_err();
    assert_eq!((error.expected, error.found), (Kind::GCounter, Kind::PnCounter));
    assert_eq!(
        error.to_string(),
        "a PNCounter was given where the value is a GCounter; use another key for a value of another type"
    );
}

#[test]
fn bytes_that_are_not_the_ones_are_refused() {
    let mut set = OrSet::default();
    set.add(A, element(1));
    set.add(A, element(2));
    let good = Crdt::from(set).encode();
    assert!(Crdt::decode(&good).is_ok());

    assert_eq!(Crdt::decode(&[9, 6, 0]), Err(DecodeError::Version(9)));
    for end in 0..good.len() {
        assert!(matches!(Crdt::decode(&good[..end]), Err(DecodeError::Malformed { .. })), "cut at {end}");
    }
    let problem = |bytes: &[u8]| match Crdt::decode(bytes) {
        Err(DecodeError::Malformed { problem, .. }) => problem,
        other => panic!("{bytes:?} is {other:?}"),
    };
    let replica = |last: u8| [0, 0, 0, 0, 0, 0, 0, last];
    let counter = |counts: &[&[u8]]| [&[1, 1][..], &counts.concat()].concat();
    assert_eq!(problem(&[&good[..], &[0]].concat()), "bytes after the end");
    assert_eq!(problem(&[1, 99]), "an unknown kind of value");
    assert_eq!(problem(&[1, 6, 2]), "a byte that is neither 0 nor 1");
    assert_eq!(problem(&counter(&[&[1], &replica(1), &[0]])), "a share of nothing");
    assert_eq!(problem(&counter(&[&[1], &replica(1), &[0x81, 0x00]])), "a number in more bytes than it needs");
    let descending = counter(&[&[2], &replica(2), &[5], &replica(1), &[5]]);
    assert_eq!(problem(&descending), "a collection that is not in ascending order");
    let set = |context: &[&[u8]], entries: &[u8]| [&[1, 4][..], &context.concat(), entries].concat();
    assert_eq!(problem(&set(&[&[1], &replica(1), &[0]], &[0])), "a replica without ranges");
    assert_eq!(problem(&set(&[&[1], &replica(1), &[1, 0, 0]], &[0])), "ranges that overlap or touch, or start at 0");
    assert_eq!(
        problem(&set(&[&[1], &replica(1), &[2, 1, 0, 2, 0]], &[0])),
        "ranges that overlap or touch, or start at 0"
    );
    assert_eq!(problem(&set(&[&[1], &replica(1), &[1, 1, 0]], &[1, 0, 0, 0])), "a key without dots");
    let unseen = [&[1, 0, 0, 1][..], &replica(1), &[2]].concat();
    assert_eq!(problem(&set(&[&[1], &replica(1), &[1, 1, 0]], &unseen)), "a dot that its context does not have");
    assert_eq!(problem(&[&[1, 8, 1][..], &replica(1), &[0]].concat()), "a vote that was never cast");
    let twice = [&[2, 0, 0, 1][..], &replica(1), &[1, 0, 1, 0, 1], &replica(1), &[1]].concat();
    assert_eq!(problem(&set(&[&[1], &replica(1), &[1, 1, 0]], &twice)), "a dot under two keys");
    let most = [&[0xff; 9][..], &[0x01]].concat();
    assert!(Crdt::decode(&counter(&[&[1], &replica(1), &most])).is_ok());
    let too_much = [&[0xff; 9][..], &[0x02]].concat();
    assert_eq!(problem(&counter(&[&[1], &replica(1), &too_much])), "a number of more than 64 bits");
    assert_eq!(problem(&[&[1, 8, 1][..], &replica(1), &most].concat()), "a count beyond 63 bits");
}
