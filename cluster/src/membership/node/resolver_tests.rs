//! What one node decides about others that cannot reach each other.

use super::{
    Command, Effect, Input, Message, Node, NodeSettings, SharedSettings, StopReason,
    alone_tests::{at, cluster, first_of, member, node, one_of, said, why_stopped},
};
use crate::{
    downing::{Downing, Stop},
    member::MemberStatus::{self, Down, Up},
    membership::{
        news::News,
        table::{MemberTable, MinMembers, Promotion},
    },
};
use rand::{SeedableRng, rngs::ChaCha8Rng};

/// It has the table by which the other two cannot reach each other, as have they.
fn first_of_three_whose_others_are_apart() -> Node {
    let mut node = first_of(3);
    let mut table = cluster(0..3);
    table.observe(1, 2, true);
    table.observe(2, 1, true);
    let mut gossip = table.gossip();
    gossip.seen = vec![1, 2];
    node.step(said(1, Message::Table { table: gossip, answer: false }), at(1));
    node
}

fn status(node: &Node, uid: u64) -> Option<MemberStatus> {
    node.table().get(uid).map(|member| member.status)
}

#[test]
fn one_of_two_that_cannot_reach_each_other_is_given_up_and_the_other_is_answered() {
    let mut node = first_of_three_whose_others_are_apart();
    let mut answers = |uid: usize, second| {
        let effects = node.step(said(uid, Message::Probe { at: at(second) }), at(second));
        effects.iter().any(|it| matches!(it, Effect::Send { message: Message::Echo { .. }, .. }))
    };
    assert!(answers(1, 2) && !answers(2, 2));
    let stable = Downing::stable_after(3).as_secs();
    (2..=1 + stable).for_each(|second| drop(node.step(Input::Time, at(second))));
    assert_eq!([1, 2].map(|uid| status(&node, uid)), [Some(Up), Some(Down)]);
}

/// It is cut off itself just before it decides, and the other two reach each other again: two of three, which have never heard
/// that one of them was given up.
#[test]
fn one_that_gave_up_a_member_and_was_heard_by_nobody_does_not_go_on_without_the_others() {
    let mut node = first_of_three_whose_others_are_apart();
    let stops = (2..60).find_map(|second| {
        let news = News::Unreachable(member(1, Up).node);
        let lost = (second == 14).then_some(Input::News(news));
        Some((second, why_stopped(&node.turn(lost.into_iter().chain([Input::Time]), at(second)))?))
    });
    assert_eq!(status(&node, 2), Some(Down));
    let stable = Downing::stable_after(3).as_secs();
    assert_eq!(stops, Some((14 + stable, StopReason::Unreachable(Stop::OtherSide))));
}

/// The first reaches neither the second nor the third, and the third has not said the same of it: if that is so the first and
/// the last go on, and if not all but the first. All have said that they have this table, so they are there.
#[test]
fn one_word_that_nobody_confirms_keeps_nobody_from_deciding_for_ever() {
    let mut node = one_of(1, 4);
    node.step(Input::Link { peer: member(0, Up).node, works: false }, at(1));
    let mut table = cluster(0..4);
    table.observe(0, 1, true);
    table.observe(0, 2, true);
    let decides = (2..60).find(|second| {
        if *second == 7 {
            let told = said(3, Message::Table { table: table.gossip(), answer: false });
            node.step(told, at(*second));
            let mut gossip = node.table().gossip();
            gossip.seen = vec![0, 1, 2, 3];
            node.step(said(3, Message::Table { table: gossip, answer: false }), at(*second));
        }
        node.step(Input::Time, at(*second));
        status(&node, 0) == Some(Down)
    });
    assert_eq!(decides, Some(7 + 2 * Downing::stable_after(4).as_secs()));
    assert_eq!([1, 2, 3].map(|uid| status(&node, uid)), [Some(Up); 3]);
}

/// The fifth comes and goes, which is no reason to stop all; that the second and the third cannot reach each other for long
/// meanwhile is one, whether the others have heard of the last change or not.
#[test]
fn what_one_said_that_sleeps_makes_nobody_else_unstable() {
    #[derive(PartialEq)]
    enum Second {
        SleepsForTenSeconds,
        IsAwake,
        IsNotReached,
    }
    let stops = |of: Second| {
        let mut node = first_of(5);
        let mut table = cluster(0..5);
        (1..40).find_map(|second| {
            table.observe(3, 1, of == Second::SleepsForTenSeconds && (8..20).contains(&second));
            table.observe(2, 1, of == Second::IsNotReached);
            table.observe(1, 2, of != Second::SleepsForTenSeconds || second < 20);
            table.observe(3, 4, second % 4 < 2);
            let mut gossip = table.gossip();
            gossip.seen = if second % 2 == 0 { vec![3] } else { vec![1, 2, 3, 4] };
            gossip.seen.retain(|uid| *uid != 1 || of != Second::SleepsForTenSeconds);
            let told = said(3, Message::Table { table: gossip, answer: false });
            Some((second, why_stopped(&node.turn([told, Input::Time], at(second)))?))
        })
    };
    assert_eq!(stops(Second::SleepsForTenSeconds), None);
    assert_eq!(stops(Second::IsAwake), Some((19, StopReason::Unstable)));
    assert_eq!(stops(Second::IsNotReached), Some((19, StopReason::Unstable)));
}

/// The second is over, and may have let in the third, which alone would know.
#[test]
fn who_joins_is_let_in_by_the_next_leader_once_it_has_said_what_it_knows_or_says_nothing() {
    enum Third {
        Answers,
        SaysNothing,
        SaysNothingWhileTheLeaderSleeps,
    }
    let is_up = |third: Third| {
        let mut node = first_of(2);
        let mut table = cluster(0..2);
        table.add(1, member(2, MemberStatus::Joining));
        let mut gossip = table.gossip();
        gossip.seen.clear();
        let (old, new) = (member(1, Up).node, crate::member::UniqueAddress { uid: 11, ..member(1, Up).node });
        let told = said(1, Message::Table { table: gossip, answer: false });
        let joiner = Input::News(News::Alive(member(2, Up).node));
        node.turn([told, joiner, Input::News(News::Replaced { old, new })], at(2));
        assert_eq!(
            [1, 2].map(|uid| status(&node, uid)),
            [None, Some(MemberStatus::Joining)],
            "no removal waits for it"
        );
        let sleeps = if matches!(third, Third::SaysNothingWhileTheLeaderSleeps) { 5..12 } else { 0..0 };
        (3..60).filter(|second| !sleeps.contains(second)).find(|second| {
            if matches!(third, Third::Answers) && *second == 5 {
                let mut gossip = node.table().gossip();
                gossip.seen = vec![2];
                node.step(said(2, Message::Table { table: gossip, answer: false }), at(*second));
            }
            node.step(Input::Time, at(*second));
            status(&node, 2) == Some(Up)
        })
    };
    assert_eq!(is_up(Third::Answers), Some(5));
    assert_eq!(is_up(Third::SaysNothing), Some(32));
    assert_eq!(is_up(Third::SaysNothingWhileTheLeaderSleeps), Some(42), "it is heard once the leader is awake");
}

/// The first had let in the third, last of all, and what it says of that comes late: all others go by what the third has said
/// since, so it has to stay as it was. Of its own end it may hear from anybody.
#[test]
fn who_is_over_lets_nobody_in_any_more() {
    let mut node = one_of(1, 3);
    let mut table = cluster(0..3);
    table.add(0, member(3, MemberStatus::Joining));
    let of_first = |table: &MemberTable| said(0, Message::Table { table: table.gossip(), answer: true });
    node.step(of_first(&table), at(1));
    node.step(Input::Command(Command::Down(member(0, Up).node.address)), at(2));
    table.promote(0, &Promotion { uid: 3, to: Up, up_number: Some(4) }).unwrap();
    let before = node.table().digest();
    let effects = node.step(of_first(&table), at(3));
    assert_eq!([0, 3].map(|uid| status(&node, uid)), [Some(Down), Some(MemberStatus::Joining)]);
    let is_told = |it: &Effect| matches!(it, Effect::Send { to, message: Message::Table { .. } } if to.uid == 0);
    assert!(effects.iter().any(is_told), "it has not heard yet that it is over");
    assert_eq!(node.table().digest(), before);
    table.step(0, 1, Down).unwrap();
    assert_eq!(why_stopped(&node.step(of_first(&table), at(4))), Some(StopReason::Down));
    assert_eq!(status(&node, 3), Some(MemberStatus::Joining), "nothing else is heard from it");
}

/// The other is over, which alone could have let it in or go.
#[test]
fn who_wants_to_leave_before_it_was_let_in_goes_when_nobody_is_left() {
    let mut table = cluster(0..1);
    table.add(0, member(1, MemberStatus::Joining));
    let mut node = node(1);
    node.step(Input::Command(Command::Join { seeds: vec![member(0, Up).node.address] }), at(0));
    node.step(said(0, Message::Ready), at(0));
    node.step(said(0, Message::Welcome { table: table.gossip() }), at(0));
    node.step(Input::Command(Command::Leave(member(1, Up).node.address)), at(1));
    node.step(Input::Command(Command::Down(member(0, Up).node.address)), at(1));
    let stops = (2..60).find_map(|second| why_stopped(&node.step(Input::Time, at(second))));
    assert_eq!(stops, Some(StopReason::Left));
}

/// Nobody was ever full, so nobody is there who would give up whoever is lost.
#[test]
fn a_cluster_that_never_began_stops_when_one_is_lost() {
    for downing in [Downing::KeepMajority { role: None }, Downing::LeaseMajority { role: None }] {
        let settings =
            NodeSettings { downing, min_members: MinMembers { total: 3, ..Default::default() }, ..Default::default() };
        let mut node = Node::new(member(0, MemberStatus::Joining), settings, ChaCha8Rng::seed_from_u64(1));
        node.step(Input::Command(Command::Join { seeds: vec![member(0, Up).node.address] }), at(0));
        let join = Message::Join { member: member(1, MemberStatus::Joining), settings: SharedSettings::default() };
        node.step(said(1, join), at(1));
        let stops = (2..100).find_map(|second| {
            let gone = (second == 5).then_some(Input::News(News::Unreachable(member(1, Up).node)));
            let link = (second == 5).then_some(Input::Link { peer: member(1, Up).node, works: false });
            why_stopped(&node.turn(gone.into_iter().chain(link).chain([Input::Time]), at(second)))
        });
        assert_eq!(stops, Some(StopReason::Unreachable(Stop::All)));
    }
}

/// The fourth is gone, as two say. Of the others each misses the next one, and nobody confirms it: they have all the table.
#[test]
fn where_each_is_doubted_by_one_the_lowest_of_them_leads() {
    let mut node = first_of(4);
    node.step(Input::Link { peer: member(1, Up).node, works: false }, at(1));
    let mut table = cluster(0..4);
    for (observer, subject) in [(1, 2), (2, 0), (1, 3), (2, 3)] {
        table.observe(observer, subject, true);
    }
    let decides = (2..60).find(|second| {
        if *second == 7 {
            node.step(said(1, Message::Table { table: table.gossip(), answer: false }), at(*second));
            let mut gossip = node.table().gossip();
            gossip.seen = vec![0, 1, 2];
            node.step(said(1, Message::Table { table: gossip, answer: false }), at(*second));
        }
        node.step(Input::Time, at(*second));
        status(&node, 3) == Some(Down)
    });
    assert_eq!(decides, Some(7 + 2 * Downing::stable_after(4).as_secs()));
}
