//! What one node decides about others that cannot reach each other.

use super::{
    Input, Message, Node, StopReason,
    alone_tests::{at, cluster, first_of, member, said, why_stopped},
};
use crate::{
    downing::{Downing, Stop},
    member::MemberStatus::{self, Down, Up},
    membership::news::News,
};

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
        effects.iter().any(|it| matches!(it, super::Effect::Send { message: Message::Echo { .. }, .. }))
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

/// The second sleeps for ten seconds and then knows that the third is there, which it had missed before; and the fifth comes
/// and goes. That is no reason to stop all.
#[test]
fn what_one_said_that_sleeps_makes_nobody_else_unstable() {
    let stops = |falls_asleep: bool| {
        let mut node = first_of(5);
        let mut table = cluster(0..5);
        (1..40).find_map(|second| {
            table.observe(3, 1, falls_asleep && (8..20).contains(&second));
            table.observe(1, 2, second < 20);
            table.observe(3, 4, second % 4 < 2);
            let mut gossip = table.gossip();
            gossip.seen = vec![2, 3, 4];
            let told = said(3, Message::Table { table: gossip, answer: false });
            Some((second, why_stopped(&node.turn([told, Input::Time], at(second)))?))
        })
    };
    assert_eq!(stops(true), None);
    assert_eq!(stops(false), Some((19, StopReason::Unstable)), "it is awake and says so all the time");
}
