//! One node, without any network: what it takes, and what it does not.

use super::{
    Command, DropReason, Effect, Input, MEMBERS_MAX, Message, Node, NodeSettings, StopReason, network::address,
};
use crate::{
    downing::{Downing, Stop},
    member::{
        Member,
        MemberStatus::{self, Joining, Leaving, Up},
        UniqueAddress,
    },
    membership::{
        news::News,
        table::{MemberTable, Promotion},
    },
};
use actors::Tick;
use rand::{SeedableRng, rngs::ChaCha8Rng};
use std::time::Duration;

pub(super) fn member(at: usize, status: MemberStatus) -> Member {
    Member {
        node: UniqueAddress { address: address(at), uid: at as u64 },
        status,
        up_number: (status >= Up).then_some(at as u64 + 1),
        roles: Default::default(),
        data_center: "here".into(),
        app_version: "1".into(),
    }
}

pub(super) fn node(at: usize) -> Node {
    Node::new(member(at, Joining), NodeSettings::default(), ChaCha8Rng::seed_from_u64(1))
}

pub(super) fn at(seconds: u64) -> Tick {
    Tick::START + Duration::from_secs(seconds)
}

pub(super) fn said(from: usize, message: Message) -> Input {
    Input::Message { from: member(from, Up).node, message }
}

/// A cluster of these, as the first of them tells it.
pub(super) fn cluster(of: std::ops::Range<usize>) -> MemberTable {
    let mut table = MemberTable::default();
    of.clone().for_each(|one| assert!(table.add(of.start as u64, member(one, Up))));
    table
}

/// The first of a cluster of so many, all of which it reaches.
pub(super) fn first_of(members: usize) -> Node {
    one_of(0, members)
}

/// One of a cluster of so many, all of which it reaches.
pub(super) fn one_of(at_place: usize, members: usize) -> Node {
    let (mut node, other) = (node(at_place), (at_place + 1) % members);
    node.step(Input::Command(Command::Join { seeds: vec![address(other)] }), at(0));
    node.step(said(other, Message::Ready), at(0));
    node.step(said(other, Message::Welcome { table: cluster(0..members).gossip() }), at(0));
    let others = (0..members).filter(|one| *one != at_place);
    others.for_each(|one| drop(node.step(Input::News(News::Alive(member(one, Up).node)), at(0))));
    node
}

/// The third of a cluster of four.
fn third_of_four() -> Node {
    let mut node = node(2);
    node.step(Input::Command(Command::Join { seeds: vec![address(0)] }), at(0));
    node.step(said(0, Message::Ready), at(0));
    node.step(said(0, Message::Welcome { table: cluster(0..4).gossip() }), at(0));
    assert_eq!(node.table().members().count(), 4);
    node
}

fn why_dropped(effects: &[Effect]) -> Option<DropReason> {
    effects.iter().find_map(|effect| if let Effect::Dropped(why) = effect { Some(*why) } else { None })
}

pub(super) fn why_stopped(effects: &[Effect]) -> Option<StopReason> {
    effects.iter().find_map(|effect| if let Effect::StopProcess(why) = effect { Some(*why) } else { None })
}

#[test]
fn the_first_seed_begins_a_cluster_only_if_nobody_has_one() {
    let join = || Input::Command(Command::Join { seeds: vec![address(0), address(1)] });
    for (answer, begins) in [
        (None, true),
        (Some(Message::NotReady), true),
        (Some(Message::Ready), false),
        (Some(Message::Wait), false),
        (Some(Message::Refused { differing: Vec::new() }), false),
    ] {
        let mut node = node(0);
        node.step(join(), at(0));
        if let Some(answer) = answer.clone() {
            node.step(said(1, answer), at(1));
        }
        node.step(Input::Time, at(4));
        assert_eq!(node.table().members().count(), 0);
        (5..100).for_each(|second| drop(node.step(Input::Time, at(second))));
        assert_eq!(node.table().members().count(), usize::from(begins), "{answer:?}");
    }
}

/// A process that stood still has asked nobody meanwhile, and what was answered may not have come yet.
#[test]
fn a_first_seed_that_stood_still_gives_the_others_time_to_answer() {
    let mut node = node(0);
    let asks = |effects: Vec<Effect>| effects.iter().any(|effect| matches!(effect, Effect::SendTo { .. }));
    node.step(Input::Command(Command::Join { seeds: vec![address(0), address(1)] }), at(0));
    node.step(Input::Time, at(1));
    assert!(asks(node.step(Input::Time, at(16))), "it asks again at once");
    assert_eq!(node.table().members().count(), 0, "nobody could have answered");
    (17..21).for_each(|second| drop(node.step(Input::Time, at(second))));
    assert_eq!(node.table().members().count(), 0);
    node.step(Input::Time, at(21));
    assert_eq!(node.table().members().count(), 1, "now nobody has");
}

/// There was a cluster, and the first has heard of it: it is over once all others are there and have none.
#[test]
fn the_first_seed_begins_a_cluster_after_all_once_those_that_had_one_are_new_and_have_none() {
    let seeds = vec![address(0), address(1), address(2)];
    let begins = |answers: &[(u64, usize, u64, Message)], of_less: bool| {
        let mut node = node(0);
        node.step(Input::Command(Command::Join { seeds: seeds.clone() }), at(0));
        (1..100).find(|second| {
            for (_, from, uid, message) in answers.iter().filter(|(when, ..)| when == second) {
                let from = UniqueAddress { uid: *uid, ..member(*from, Up).node };
                node.step(Input::Message { from, message: message.clone() }, at(*second));
            }
            if *second == 30 {
                let found = if of_less { &seeds[..2] } else { &seeds };
                node.step(Input::Command(Command::Join { seeds: found.to_vec() }), at(*second));
            }
            node.step(Input::Time, at(*second));
            node.table().members().count() > 0
        })
    };
    type Answers = Vec<(u64, usize, u64, Message)>;
    let none = |seconds: std::ops::Range<u64>, from: usize, uid: u64| -> Answers {
        seconds.step_by(4).map(|second| (second, from, uid, Message::NotReady)).collect()
    };
    let after_one =
        |answers: &[Answers]| begins(&[&[vec![(1, 1, 11, Message::Wait)]], answers].concat().concat(), false);
    assert_eq!(after_one(&[]), None, "silence says nothing of a cluster that was heard of");
    assert_eq!(after_one(&[none(40..90, 1, 21)]), None, "another may still have it");
    assert_eq!(after_one(&[none(40..90, 1, 11), none(40..90, 2, 12)]), None, "who leaves a cluster says the same");
    assert_eq!(after_one(&[none(40..90, 1, 21), none(48..90, 2, 12)]), Some(68));
    assert_eq!(after_one(&[none(40..90, 1, 21), none(48..50, 2, 12)]), None, "one does not say so any more");
    let again = vec![(60, 2, 12, Message::Ready)];
    assert_eq!(after_one(&[none(40..90, 1, 21), none(48..59, 2, 12), again]), None, "there is one again");
    let other_has_one = [vec![(1, 2, 12, Message::Wait)], none(40..90, 1, 21)].concat();
    assert_eq!(begins(&other_has_one, true), None, "who has one is not found any more, and may have it still");
}

#[test]
fn others_never_begin_a_cluster() {
    let mut node = node(1);
    node.step(Input::Command(Command::Join { seeds: vec![address(0), address(1)] }), at(0));
    let asks = |node: &mut Node, second| {
        let effects = node.step(Input::Time, at(second));
        effects.iter().filter(|effect| matches!(effect, Effect::SendTo { message: Message::Ask { .. }, .. })).count()
    };
    assert_eq!((1..40).map(|second| asks(&mut node, second)).sum::<usize>(), 3, "each ten seconds");
    assert_eq!(node.table().members().count(), 0);
}

#[test]
fn one_that_cuts_this_node_off_does_not_stop_it_and_most_do() {
    let mut node = third_of_four();
    for by in 0..2 {
        let effects = node.step(Input::Quarantined { by: member(by, Up).node }, at(1));
        assert_eq!(why_stopped(&effects), None);
    }
    let effects = node.step(Input::Quarantined { by: member(3, Up).node }, at(1));
    assert_eq!(why_stopped(&effects), Some(StopReason::Quarantined));
    assert_eq!(why_dropped(&node.step(Input::Time, at(2))), Some(DropReason::Stopped));
}

#[test]
fn whoever_is_cut_off_by_all_that_are_still_there_stops() {
    let mut node = third_of_four();
    (0..4).for_each(|other| drop(node.step(Input::News(News::Alive(member(other, Up).node)), at(0))));
    let cut_off = |node: &mut Node| why_stopped(&node.step(Input::Quarantined { by: member(0, Up).node }, at(11)));
    node.step(Input::News(News::Unreachable(member(1, Up).node)), at(10));
    assert_eq!(cut_off(&mut node), None, "another is there that did not");
    let successor = UniqueAddress { uid: 13, ..member(3, Up).node };
    node.step(Input::News(News::Replaced { old: member(3, Up).node, new: successor }), at(11));
    assert_eq!(cut_off(&mut node), Some(StopReason::Quarantined));
}

#[test]
fn whoever_is_left_gives_up_one_that_said_the_same_of_it_and_is_gone() {
    let mut node = node(0);
    let mut table = cluster(0..2);
    table.observe(1, 0, true);
    node.step(Input::Command(Command::Join { seeds: vec![address(1)] }), at(0));
    node.step(said(1, Message::Ready), at(0));
    node.step(said(1, Message::Welcome { table: table.gossip() }), at(0));
    let gone = member(1, Up).node;
    node.step(Input::News(News::Alive(gone.clone())), at(0));
    node.step(Input::News(News::Unreachable(gone)), at(1));
    (2..40).for_each(|second| drop(node.step(Input::Time, at(second))));
    assert_eq!(node.table().get(1).map(|member| member.status), None, "nobody else is left to lead");
}

#[test]
fn a_failing_connection_is_told_after_five_seconds_and_withdrawn_at_once() {
    let mut node = third_of_four();
    let peer = member(0, Up).node;
    node.step(Input::News(News::Alive(peer.clone())), at(0));
    node.step(Input::Link { peer: peer.clone(), works: false }, at(1));
    node.step(Input::Time, at(5));
    assert!(node.table().unreachable().is_empty());
    node.step(Input::Time, at(6));
    assert_eq!(node.table().unreachable(), [0].into());
    node.step(Input::Link { peer, works: true }, at(6));
    assert!(node.table().unreachable().is_empty());
}

/// The third of four, with these statuses, that has lost all others but those that are `reached`, until the second in which
/// it stops.
fn stops_at(statuses: [MemberStatus; 4], reached: &[usize]) -> Option<(u64, StopReason)> {
    let mut table = MemberTable::default();
    (0..4).for_each(|one| assert!(table.add(0, Member { status: statuses[one], ..member(one, Up) })));
    let mut node = node(2);
    node.step(Input::Command(Command::Join { seeds: vec![address(0)] }), at(0));
    node.step(said(0, Message::Ready), at(0));
    node.step(said(0, Message::Welcome { table: table.gossip() }), at(0));
    let alive = |one: usize| Input::News(News::Alive(member(one, Up).node));
    [0, 1, 3].into_iter().for_each(|one| drop(node.step(alive(one), at(0))));
    for one in [0, 1, 3].into_iter().filter(|one| !reached.contains(one)) {
        node.step(Input::News(News::Unreachable(member(one, Up).node)), at(1));
    }
    (1..60).find_map(|second| Some((second, why_stopped(&node.step(Input::Time, at(second)))?)))
}

#[test]
fn whoever_leaves_and_reaches_nobody_who_decides_stops_by_itself() {
    let two_periods = Downing::stable_after(4).as_secs() * 2;
    let stranded = Some((1 + two_periods, StopReason::Stranded));
    assert_eq!(stops_at([Up, Up, Leaving, Up], &[]), stranded);
    assert_eq!(
        stops_at([Up, Leaving, Leaving, Leaving], &[1, 3]),
        stranded,
        "the word of one that leaves counts for nobody"
    );
    assert_eq!(stops_at([Leaving, Leaving, Leaving, Leaving], &[0, 1]), stranded, "nobody's word counts");
    assert_eq!(stops_at([Up, Up, Leaving, Up], &[3]), None, "that one decides for both");
    assert_eq!(stops_at([Leaving, Leaving, Leaving, Leaving], &[0, 1, 3]), None, "nobody is lost");
}

#[test]
fn whoever_is_left_behind_stops_though_nobody_confirms_it() {
    // SWIM lost the first one; connections to the others end, while all that they say still arrives.
    let stops = |answering: &[usize]| {
        let mut node = third_of_four();
        [0, 1, 3].into_iter().for_each(|one| drop(node.step(Input::News(News::Alive(member(one, Up).node)), at(0))));
        node.step(Input::News(News::Unreachable(member(0, Up).node)), at(1));
        for one in [1, 3] {
            node.step(Input::Link { peer: member(one, Up).node, works: false }, at(1));
        }
        (1..100).find_map(|second| {
            let answers = answering.iter().map(|one| said(*one, Message::Echo { at: at(second) }));
            Some((second, why_stopped(&node.turn(answers.chain([Input::Time]), at(second)))?))
        })
    };
    let left_behind = StopReason::Unreachable(Stop::OtherSide);
    let two_periods = Downing::stable_after(4).as_secs() * 2;
    let stopped = Some((6 + two_periods, left_behind));
    assert_eq!(stops(&[]), stopped, "two stable periods after the connections were given up");
    assert_eq!(stops(&[1]), stopped, "two of four are too few");
    assert_eq!(stops(&[1, 3]), None, "others reach it");
}

/// What it knew when it fell asleep may have changed long since, and will be told by others.
#[test]
fn whoever_stood_still_decides_nothing_by_what_it_knew_before() {
    let stable = Downing::stable_after(4).as_secs();
    let stops = |sleeps: std::ops::Range<u64>| {
        let mut node = third_of_four();
        let news = |news: fn(UniqueAddress) -> News| [0, 1, 3].map(|one| Input::News(news(member(one, Up).node)));
        node.turn(news(News::Alive), at(0));
        let lost = news(News::Unreachable).into_iter();
        let links = [0, 1, 3].map(|one| Input::Link { peer: member(one, Up).node, works: false });
        node.turn(lost.chain(links), at(1));
        let awake = (1..60).filter(|second| !sleeps.contains(second));
        awake.into_iter().find_map(|second| Some((second, why_stopped(&node.step(Input::Time, at(second)))?)))
    };
    let other_side = StopReason::Unreachable(Stop::OtherSide);
    assert_eq!(stops(0..0), Some((1 + stable, other_side)));
    assert_eq!(stops(3..1 + stable), Some((1 + 2 * stable, other_side)), "it wakes when it would have decided");
}

#[test]
fn whoever_came_and_never_was_up_does_not_wait_alone() {
    let (second, _) = stops_at([Up, Up, Joining, Up], &[]).unwrap();
    assert!(second <= 15, "{second}");
    assert_eq!(stops_at([Joining, Joining, Joining, Joining], &[0, 1, 3]), None);
}

#[test]
fn a_member_that_swim_never_heard_of_is_unreachable() {
    let mut node = third_of_four();
    let mut table = cluster(0..4);
    table.add(0, member(4, Joining));
    node.step(said(0, Message::Table { table: table.gossip(), answer: false }), at(0));
    node.step(Input::Time, at(9));
    assert!(node.table().unreachable().is_empty());
    node.step(Input::Time, at(10));
    assert_eq!(node.table().unreachable(), [0, 1, 3, 4].into(), "one that joins, too");
}

#[test]
fn what_strangers_say_changes_nothing() {
    let mut node = third_of_four();
    let before = node.table().digest();
    let strangers = cluster(6..8).gossip();
    let effects = node.step(said(6, Message::Table { table: strangers, answer: true }), at(1));
    assert_eq!(why_dropped(&effects), Some(DropReason::Stranger));
    let mut with_me = cluster(6..8);
    with_me.add(6, member(2, Up));
    let effects = node.step(said(6, Message::Table { table: with_me.gossip(), answer: true }), at(1));
    assert!(effects.iter().any(|it| matches!(it, Effect::Send { message: Message::NotAMember, .. })));
    // One that the others have let in and this node has not heard of is no stranger.
    let mut newer = cluster(0..4);
    newer.add(0, member(9, Joining));
    let effects = node.step(said(9, Message::Table { table: newer.gossip(), answer: true }), at(1));
    assert!(!effects.iter().any(|it| matches!(it, Effect::Send { message: Message::NotAMember, .. })));
    assert_eq!(why_stopped(&node.step(said(6, Message::YouAreRemoved), at(1))), None);
    assert_eq!(node.table().digest(), before);
}

#[test]
fn one_that_came_in_where_this_node_was_given_up_can_tell_it_so() {
    let mut node = third_of_four();
    node.step(Input::News(News::Alive(member(6, Up).node)), at(1));
    let effects = node.step(said(6, Message::YouAreRemoved), at(1));
    assert_eq!(why_stopped(&effects), Some(StopReason::Removed));
}

/// Two sides let in one life each at an address, and find each other again.
#[test]
fn a_former_life_at_ones_own_address_is_given_up() {
    let mut node = third_of_four();
    let mut table = cluster(0..4);
    let former = UniqueAddress { uid: 12, ..member(2, Up).node };
    table.add(0, Member { node: former, up_number: None, ..member(2, MemberStatus::WeaklyUp) });
    node.step(said(0, Message::Table { table: table.gossip(), answer: false }), at(1));
    assert_eq!(node.table().get(12).map(|member| member.status), Some(MemberStatus::Down));
    assert_eq!(node.my_status(), Some(Up));
}

#[test]
fn one_that_was_removed_is_told_by_whoever_knew_it_before_that() {
    let mut table = cluster(0..2);
    table.add(0, member(2, Joining));
    table.step(0, 1, MemberStatus::Down).unwrap();
    table.promote(0, &Promotion { uid: 1, to: MemberStatus::Removed, up_number: None }).unwrap();
    let mut node = node(2);
    let gone = member(1, Up).node;
    node.step(Input::News(News::Alive(gone.clone())), at(0));
    node.step(Input::Command(Command::Join { seeds: vec![address(0)] }), at(0));
    node.step(said(0, Message::Ready), at(0));
    let effects = node.step(said(0, Message::Welcome { table: table.gossip() }), at(0));
    let tells = |it: &Effect| matches!(it, Effect::Send { to, message: Message::YouAreRemoved } if *to == gone);
    assert!(effects.iter().any(tells), "{effects:?}");
}

#[test]
fn an_answer_from_the_future_extends_nothing() {
    let mut node = third_of_four();
    (0..4).filter(|other| *other != 2).for_each(|other| {
        let effects = node.step(said(other, Message::Echo { at: at(100) }), at(1));
        assert_eq!(why_dropped(&effects), Some(DropReason::Malformed));
    });
    node.step(Input::Time, at(2));
    assert_eq!(node.hosting_valid_until(), None);
    (0..2).for_each(|other| drop(node.step(said(other, Message::Echo { at: at(1) }), at(2))));
    node.step(Input::Time, at(3));
    assert_eq!(node.hosting_valid_until(), Some(at(1) + Duration::from_secs(9)), "two of the others are enough");
}

#[test]
fn one_that_has_yet_to_come_stops_when_all_that_would_let_it_in_are_down() {
    for mine in [Joining, MemberStatus::WeaklyUp] {
        let mut table = MemberTable::default();
        for one in 0..2 {
            assert!(table.add(0, Member { status: MemberStatus::Down, ..member(one, Up) }));
        }
        table.add(0, member(2, mine));
        let mut node = node(2);
        node.step(Input::Command(Command::Join { seeds: vec![address(0)] }), at(0));
        node.step(said(0, Message::Ready), at(0));
        node.step(said(0, Message::Welcome { table: table.gossip() }), at(0));
        let stops = (1..60).find_map(|second| {
            let effects = node.step(Input::Time, at(second));
            assert_eq!(node.table().members().count(), 3, "nobody leads");
            Some((second, why_stopped(&effects)?))
        });
        let two_periods = Downing::stable_after(3).as_secs() * 2;
        assert_eq!(stops, Some((two_periods, StopReason::Stranded)), "{mine:?}");
    }
}

/// The third of four stands still for as long as is given, and finds later lives in the places of all others.
#[test]
fn whoever_slept_until_all_others_were_replaced_stops() {
    let wakes = |slept: u64, first_heard: &[usize]| {
        let mut node = third_of_four();
        [0, 1, 3].into_iter().for_each(|one| drop(node.step(Input::News(News::Alive(member(one, Up).node)), at(0))));
        (1..5).for_each(|second| drop(node.step(Input::Time, at(second))));
        let now = at(4 + slept);
        let heard = first_heard.iter().map(|one| said(*one, Message::Echo { at: now }));
        node.turn(heard.chain([Input::Time]), now);
        node.step(Input::Time, now + Duration::from_secs(1));
        let replaced = [0, 1, 3].map(|one| {
            let old = member(one, Up).node;
            Input::News(News::Replaced { new: UniqueAddress { uid: 10 + old.uid, ..old.clone() }, old })
        });
        let effects = node.turn(replaced, now + Duration::from_secs(2));
        let stopped = why_stopped(&effects);
        stopped.or_else(|| why_stopped(&node.step(Input::Time, now + Duration::from_secs(3))))
    };
    assert_eq!(
        wakes(40, &[]),
        Some(StopReason::Stranded),
        "they may have gone on, and let others in, before they went"
    );
    assert_eq!(wakes(40, &[0, 1]), None, "with these it would have gone on");
    assert_eq!(wakes(40, &[1]), Some(StopReason::Stranded), "the other half went on");
    assert_eq!(wakes(8, &[]), None, "nobody can have taken over so soon");
}

/// Whoever can reach a node can ask it as often as it likes, each time as somebody else.
#[test]
fn many_that_join_are_let_in_up_to_a_bound_and_the_others_are_counted() {
    let join = |one: usize| {
        let (member, settings) = (member(one, Joining), NodeSettings::default().shared);
        said(one, Message::Join { member, settings })
    };
    let mut node = node(0);
    node.step(Input::Command(Command::Join { seeds: vec![address(1)] }), at(0));
    node.step(said(1, Message::Ready), at(0));
    node.step(said(1, Message::Welcome { table: cluster(0..MEMBERS_MAX - 1).gossip() }), at(0));
    assert_eq!(node.table().members().count(), MEMBERS_MAX - 1);

    let one_more = 2 * MEMBERS_MAX;
    let answers = |effects: &[Effect], to: usize| -> Vec<Message> {
        let of_it = |effect: &Effect| match effect {
            Effect::Send { to: there, message } if *there == member(to, Joining).node => Some(message.clone()),
            _ => None,
        };
        effects.iter().filter_map(of_it).collect()
    };
    let effects = node.step(join(one_more), at(1));
    assert!(matches!(&answers(&effects, one_more)[..], [Message::Welcome { .. }]));
    let digest = node.table().digest();
    let crowd = one_more + 1..one_more + 1001;
    let effects = node.turn(crowd.clone().map(join), at(1));
    assert_eq!(node.table().members().count(), MEMBERS_MAX);
    assert_eq!(node.table().digest(), digest, "nobody was put out for them");
    let full = effects.iter().filter(|effect| matches!(effect, Effect::Dropped(DropReason::Full)));
    assert_eq!(full.count(), crowd.len());
    // Not that there is no cluster: they would begin another.
    assert!(crowd.clone().all(|one| matches!(&answers(&effects, one)[..], [Message::Wait])));
    let ask = Message::Ask { settings: NodeSettings::default().shared };
    assert!(matches!(&answers(&node.step(said(crowd.start, ask), at(1)), crowd.start)[..], [Message::Wait]));
    // Its welcome was lost.
    assert!(matches!(&answers(&node.step(join(one_more), at(1)), one_more)[..], [Message::Welcome { .. }]));
}
