//! What happens between nodes over hours: connections that break, lives that end, queues that fill.

use super::{
    association::{Effect, Ended},
    associations::{Associations, Input, PEERS_MAX},
    dropped::DropReason,
    handshake::{HandshakeError, Kind},
    handshake_frame::Difference,
    lives::{Standing, Standings},
    message::Unwritten,
    system_messages::{ControlFrame, GaveUp},
    transport::Lane::{self, Control, Large, Ordinary},
};
use crate::member::{Address, UniqueAddress};
use actors::Tick;
use bytes::Bytes;
use proptest::prelude::*;
use rand::{SeedableRng, rngs::SmallRng};
use std::{collections::BTreeMap, time::Duration};

pub(super) fn address(name: &str) -> Address {
    Address::new(name, 1).unwrap()
}

pub(super) fn life(name: &str, uid: u64) -> UniqueAddress {
    UniqueAddress { address: address(name), uid }
}

pub(super) fn at(seconds: u64) -> Tick {
    Tick::START + Duration::from_secs(seconds)
}

pub(super) fn bytes(text: &str) -> Bytes {
    text.to_owned().into()
}

/// Node `me`, of uid 1.
pub(super) fn node() -> Associations {
    Associations::new(life("me", 1))
}

pub(super) fn send(uid: Option<u64>, lane: Lane, text: &str) -> Input {
    Input::Send { to: address("peer"), life: uid, lane, message: bytes(text).into() }
}

pub(super) fn send_system(uid: u64, text: &str) -> Input {
    Input::SendSystem { to: life("peer", uid), message: bytes(text).into() }
}

/// It dialled, and answers whatever it was told.
pub(super) fn accepted(uid: u64) -> Input {
    Input::Accepted { node: life("peer", uid), answered: Some(at(1_000_000)) }
}

pub(super) fn connected(uid: u64, lane: Lane) -> Input {
    Input::Connected { node: life("peer", uid), lane }
}

pub(super) fn failed(uid: Option<u64>, lane: Lane) -> Input {
    Input::NotConnected { to: address("peer"), life: uid, lane, error: None }
}

pub(super) fn control(uid: u64, frame: ControlFrame) -> Input {
    let (head, message) = frame.encode();
    Input::Arrived { from: life("peer", uid), lane: Control, frame: [&head[..], &message[..]].concat().into() }
}

pub(super) fn dial(life: Option<u64>, lane: Lane) -> Effect {
    Effect::Dial { to: address("peer"), life, lane }
}

fn ready(lane: Lane) -> Effect {
    Effect::Ready { to: address("peer"), lane }
}

pub(super) fn dropped(reason: DropReason, count: usize) -> Effect {
    Effect::Dropped { peer: address("peer"), reason, count }
}

pub(super) fn ended(uid: u64, why: Ended) -> Effect {
    Effect::Ended { node: life("peer", uid), why }
}

/// All there is to take, as text.
pub(super) fn taken(node: &mut Associations, lane: Lane, now: Tick) -> Vec<String> {
    std::iter::from_fn(|| node.take(&address("peer"), lane, now))
        .flat_map(Unwritten::frames)
        .map(|frame| match lane {
            Control => match ControlFrame::decode(&frame).unwrap() {
                ControlFrame::Plain(text) => String::from_utf8(text.to_vec()).unwrap(),
                ControlFrame::System { to, number, message } => {
                    format!("{number} to {to}: {}", String::from_utf8_lossy(&message))
                }
                ControlFrame::Acknowledged { to, number } => format!("{number} from {to} came"),
            },
            _ => String::from_utf8(frame.to_vec()).unwrap(),
        })
        .collect()
}

#[test]
fn a_lane_is_connected_when_there_is_something_to_send_and_told_once() {
    let mut node = node();
    assert_eq!(node.step(send(None, Ordinary, "a"), at(0)), [dial(None, Ordinary)]);
    assert_eq!(node.step(send(None, Ordinary, "b"), at(0)), [], "it is being connected");
    assert_eq!(node.take(&address("peer"), Ordinary, at(0)), None, "nothing goes before the handshake");
    let effects = node.step(connected(2, Ordinary), at(0));
    assert_eq!(effects, [Effect::Began(life("peer", 2)), ready(Ordinary)]);
    assert_eq!(node.step(send(Some(2), Ordinary, "c"), at(0)), [], "it was told already");
    assert_eq!(taken(&mut node, Ordinary, at(0)), ["a", "b", "c"]);
    assert_eq!(node.step(send(Some(2), Ordinary, "d"), at(0)), [ready(Ordinary)]);
    assert_eq!(node.step(send(Some(2), Large, "e"), at(0)), [dial(Some(2), Large)], "lanes do not share connections");
}

#[test]
fn attempts_are_made_each_second_and_after_twenty_what_waits_is_dropped() {
    let mut node = node();
    node.step(send(None, Ordinary, "a"), at(0));
    node.step(send_system(2, "s"), at(0));
    for second in 0..20 {
        assert_eq!(node.step(failed(None, Ordinary), at(second)), [], "second {second}");
        assert_eq!(node.due(), Some(at(second + 1)));
        assert_eq!(node.step(Input::Time, at(second + 1)), [dial(Some(2), Ordinary)]);
    }
    assert_eq!(node.step(failed(None, Ordinary), at(20)), [dropped(DropReason::Unreachable, 1)]);
    assert_eq!(node.step(Input::Time, at(25)), [], "there is nothing to connect for");
    assert_eq!(node.step(failed(Some(2), Control), at(25)), []);
    assert_eq!(node.step(Input::Time, at(26)), [dial(Some(2), Control)], "system messages are not given up so soon");
    assert_eq!(node.lives().standing(&life("peer", 2)), Standing::Good, "nobody is quarantined for not answering");
}

#[test]
fn a_restart_of_the_peer_drops_what_was_meant_for_its_old_life() {
    let mut node = node();
    node.step(accepted(2), at(0));
    let meant_for_two = [send(Some(2), Ordinary, "old"), send_system(2, "old"), send(None, Ordinary, "any")];
    meant_for_two.into_iter().for_each(|input| drop(node.step(input, at(0))));
    node.step(control(2, ControlFrame::System { to: 1, number: 1, message: bytes("x") }), at(0));
    let effects = node.step(accepted(3), at(1));
    let expected = [
        Effect::Hang { to: address("peer"), lane: Control },
        Effect::Hang { to: address("peer"), lane: Ordinary },
        dropped(DropReason::OldLife, 2),
        Effect::HangUpOn(life("peer", 2)),
        ended(2, Ended::Replaced(life("peer", 3))),
        Effect::Began(life("peer", 3)),
        dial(Some(3), Ordinary),
    ];
    assert_eq!(effects, expected);
    assert_eq!(node.step(send(Some(2), Ordinary, "late"), at(2)), [dropped(DropReason::OldLife, 1)]);
    let ghost = node.step(control(2, ControlFrame::Plain(bytes("late"))), at(2));
    assert_eq!(ghost, [dropped(DropReason::Stale, 1), Effect::HangUpOn(life("peer", 2))]);
    assert_eq!(node.step(connected(2, Control), at(2)), [Effect::Hang { to: address("peer"), lane: Control }]);
    let back = node.step(accepted(2), at(2));
    assert_eq!(back, [Effect::HangUpOn(life("peer", 2))], "an old life does not come back");
    node.step(connected(3, Ordinary), at(3));
    assert_eq!(taken(&mut node, Ordinary, at(3)), ["any"]);
    let first = node.step(control(3, ControlFrame::System { to: 1, number: 1, message: bytes("y") }), at(3));
    let delivered = Effect::Deliver { from: life("peer", 3), lane: Control, system: true, message: bytes("y") };
    assert_eq!(first[0], delivered, "numbers begin anew");
}

/// Its first word was on its way when it ended.
#[test]
fn a_former_life_whose_words_come_late_is_not_taken_for_the_next() {
    let mut node = node();
    let says = |uid, answered: Option<u64>| Input::Accepted { node: life("peer", uid), answered: answered.map(at) };
    node.step(says(3, None), at(10));
    assert_eq!(node.step(says(2, None), at(11)), [], "it may be over");
    assert_eq!(node.step(says(2, Some(9)), at(12)), [], "or have been over when the other was met");
    assert_eq!(node.lives().standing(&life("peer", 3)), Standing::Good);
    assert_eq!(node.lives().standing(&life("peer", 2)), Standing::Good, "nor is that sure");
    node.step(says(3, None), at(13));
    let effects = node.step(says(4, Some(12)), at(14));
    let over = ended(3, Ended::Replaced(life("peer", 4)));
    assert!(effects.contains(&over), "it answered after the other had begun, whose hello came late: {effects:?}");
    assert_eq!(node.step(says(3, None), at(15)), [Effect::HangUpOn(life("peer", 3))], "that is over");
    node.step(says(5, Some(15)), at(20));
    let effects = node.step(says(6, Some(16)), at(21));
    assert!(effects.contains(&ended(5, Ended::Replaced(life("peer", 6)))), "both answered since: {effects:?}");
}

#[test]
fn what_is_for_a_life_that_was_gone_before_it_was_met_is_dropped_at_the_handshake() {
    let mut node = node();
    node.step(send_system(2, "watch"), at(0));
    node.step(send(Some(2), Control, "old"), at(0));
    node.step(send(None, Control, "any"), at(0));
    let refusal = Difference { kind: Kind::Life, text: String::new() };
    let error = Some(HandshakeError::RefusedByPeer(vec![refusal]));
    let effects = node.step(Input::NotConnected { to: address("peer"), life: Some(2), lane: Control, error }, at(1));
    let expected = [
        Effect::Hang { to: address("peer"), lane: Control },
        dropped(DropReason::OldLife, 2),
        Effect::HangUpOn(life("peer", 2)),
        ended(2, Ended::NotThere),
        dial(None, Control),
    ];
    assert_eq!(effects, expected);
    let again = node.step(send_system(2, "watch"), at(2));
    assert_eq!(again, [dropped(DropReason::OldLife, 1), ended(2, Ended::NotThere)], "who watches is told at once");
}

#[test]
fn queues_are_bounded_and_say_so() {
    let mut node = node();
    node.step(accepted(2), at(0));
    for (lane, room) in [(Ordinary, 3072), (Large, 256)] {
        for _ in 0..room {
            assert!(!node.step(send(None, lane, "x"), at(0)).contains(&dropped(DropReason::LaneFull, 1)));
        }
        assert_eq!(node.step(send(None, lane, "x"), at(0)), [dropped(DropReason::LaneFull, 1)]);
    }
    for (lane, max) in [(Ordinary, 256 * 1024), (Large, 2 * 1024 * 1024), (Control, 256 * 1024 - 17)] {
        let too_large = "x".repeat(max + 1);
        assert_eq!(node.step(send(None, lane, &too_large), at(0)), [dropped(DropReason::TooLarge, 1)]);
    }
    assert_eq!(node.get(&address("peer")).unwrap().waiting(), ([0, 3072, 256], 0));
    let two_mib = "x".repeat(2 * 1024 * 1024);
    for _ in 0..32 {
        node.step(
            Input::Send { to: address("other"), life: None, lane: Large, message: bytes(&two_mib).into() },
            at(0),
        );
    }
    let effects =
        node.step(Input::Send { to: address("other"), life: None, lane: Large, message: bytes("x").into() }, at(0));
    let full = Effect::Dropped { peer: address("other"), reason: DropReason::LaneFull, count: 1 };
    assert_eq!(effects, [full], "bytes count too");
    assert_eq!(node.dropped().of(DropReason::LaneFull), 3);
}

#[test]
fn an_overflow_of_the_control_lane_is_the_end_of_that_life() {
    let mut node = node();
    node.step(accepted(2), at(0));
    for _ in 0..20_000 {
        node.step(send(Some(2), Control, "x"), at(0));
    }
    let effects = node.step(send(Some(2), Control, "x"), at(0));
    let expected = [
        dropped(DropReason::LaneFull, 1),
        Effect::Hang { to: address("peer"), lane: Control },
        dropped(DropReason::Quarantined, 20_000),
        Effect::HangUpOn(life("peer", 2)),
        ended(2, Ended::Overflow),
    ];
    assert_eq!(effects, expected);
    node.step(accepted(3), at(0));
    for _ in 0..20_000 {
        node.step(send_system(3, "x"), at(0));
    }
    assert!(node.step(send_system(3, "x"), at(0)).contains(&ended(3, GaveUp::Overflow.into())));
}

#[test]
fn nothing_passes_to_or_from_a_quarantined_life_until_it_starts_again() {
    let mut node = node();
    node.step(connected(2, Ordinary), at(0));
    let effects = node.step(Input::Quarantine(life("peer", 2)), at(0));
    let hang = Effect::Hang { to: address("peer"), lane: Ordinary };
    assert_eq!(effects, [hang, Effect::HangUpOn(life("peer", 2)), ended(2, Ended::Removed)]);
    assert_eq!(node.step(Input::Quarantine(life("peer", 2)), at(0)), [], "once");
    let refused = || dropped(DropReason::Quarantined, 1);
    assert_eq!(node.step(send(Some(2), Ordinary, "x"), at(3599)), [refused()]);
    let from_there = Input::Arrived { from: life("peer", 2), lane: Ordinary, frame: bytes("x") };
    assert_eq!(node.step(from_there, at(7198)), [refused(), Effect::HangUpOn(life("peer", 2))]);
    node.step(Input::Time, at(7198 + 3599));
    assert_eq!(node.lives().standing(&life("peer", 2)), Standing::Quarantined, "for an hour after its last word");
    let again = node.step(accepted(3), at(7198 + 3599));
    assert_eq!(again, [Effect::Began(life("peer", 3))], "a new life is a new one");
    node.step(Input::Time, at(7198 + 3600));
    assert_eq!(node.lives().standing(&life("peer", 2)), Standing::Good);
}

#[test]
fn system_messages_wait_for_a_connection_and_six_hours_at_most() {
    let mut node = node();
    node.step(send_system(2, "a"), at(0));
    node.step(connected(2, Control), at(1));
    assert_eq!(taken(&mut node, Control, at(1)), ["1 to 2: a"]);
    node.step(Input::Disconnected { node: life("peer", 2), lane: Control }, at(1));
    assert_eq!(node.step(Input::Time, at(2)), [dial(Some(2), Control)]);
    node.step(send_system(2, "b"), at(2));
    assert_eq!(node.step(connected(2, Control), at(3)), [ready(Control)]);
    assert_eq!(taken(&mut node, Control, at(3)), ["1 to 2: a", "2 to 2: b"], "all that was not acknowledged");
    assert_eq!(node.step(control(2, ControlFrame::Acknowledged { to: 1, number: 1 }), at(3)), []);
    assert_eq!(node.step(Input::Time, at(4)), [ready(Control)], "a second later");
    assert_eq!(taken(&mut node, Control, at(4)), ["2 to 2: b"]);
    let effects = node.step(Input::Time, at(2 + 6 * 3600));
    assert!(effects.contains(&ended(2, GaveUp::Unacknowledged.into())), "{effects:?}");
}

#[test]
fn what_lies_about_numbers_or_was_for_another_life_is_dropped() {
    let mut node = node();
    node.step(accepted(2), at(0));
    let stale = [dropped(DropReason::Stale, 1)];
    assert_eq!(node.step(control(2, ControlFrame::System { to: 9, number: 1, message: bytes("x") }), at(0)), stale);
    assert_eq!(node.step(control(2, ControlFrame::Acknowledged { to: 9, number: 1 }), at(0)), stale);
    let lie = node.step(control(2, ControlFrame::Acknowledged { to: 1, number: 5 }), at(0));
    assert_eq!(lie, [dropped(DropReason::Malformed, 1)]);
    let early = node.step(control(2, ControlFrame::System { to: 1, number: 2, message: bytes("x") }), at(0));
    assert_eq!(early, [dropped(DropReason::OutOfOrder, 1), dial(Some(2), Control)], "it is told what is missing");
    let garbage = Input::Arrived { from: life("peer", 2), lane: Control, frame: bytes("\u{9}") };
    assert!(node.step(garbage, at(0)).contains(&ended(2, Ended::Malformed)));
}

#[test]
fn connections_that_are_not_used_are_closed_and_strangers_forgotten() {
    let mut node = node();
    node.step(connected(2, Ordinary), at(0));
    node.step(Input::Member { node: life("peer", 2), is: true }, at(0));
    assert_eq!(node.due(), Some(at(300)));
    assert_eq!(node.step(Input::Time, at(299)), []);
    assert_eq!(node.step(Input::Time, at(300)), [Effect::Hang { to: address("peer"), lane: Ordinary }]);
    assert_eq!(node.step(Input::Time, at(7 * 3600)), [], "a member may be silent");
    node.step(Input::Member { node: life("peer", 2), is: false }, at(7 * 3600));
    assert!(node.step(Input::Time, at(7 * 3600)).contains(&ended(2, Ended::Idle)));
    assert!(node.get(&address("peer")).is_none());
}

/// An attempt to connect to whoever is there is stuck at the earlier life.
#[test]
fn an_attempt_from_before_a_life_was_known_is_made_again_for_that_life() {
    for known in [Input::Member { node: life("peer", 2), is: true }, send_system(2, "watch")] {
        let mut node = node();
        assert_eq!(node.step(send(None, Ordinary, "x"), at(0)), [dial(None, Ordinary)]);
        let effects = node.step(known, at(1));
        let hang = Effect::Hang { to: address("peer"), lane: Ordinary };
        let place = |effect| effects.iter().position(|it| *it == effect);
        assert!(place(hang).is_some_and(|hung| place(dial(Some(2), Ordinary)) > Some(hung)), "{effects:?}");
    }
}

#[test]
fn there_are_only_so_many_peers() {
    let mut node = node();
    for n in 0..PEERS_MAX {
        let to = address(&format!("n{n}"));
        node.step(Input::Send { to, life: None, lane: Ordinary, message: bytes("x").into() }, at(0));
    }
    assert_eq!(node.step(send(None, Ordinary, "x"), at(0)), [dropped(DropReason::TooManyPeers, 1)]);
}

/// Two nodes over connections that break, one of which starts again now and then, sometimes more than once before it is
/// heard of, and who is a member is told late. Whatever a life sends to a life arrives there at most once and in order, and
/// all of it if both live on, though references to a life may be about before it is met.
fn between_two_lives(seed: u64) {
    let mut random = SmallRng::seed_from_u64(seed);
    let names = ["one", "two"];
    let mut uids = [1_u64, 2];
    let mut nodes = [Associations::new(life("one", 1)), Associations::new(life("two", 2))];
    // Outgoing connections of each: over which lives they were made.
    let mut lines: [Option<(u64, u64)>; 2] = [None, None];
    // For whom an attempt to connect is on its way.
    let mut wanted: [Option<Option<u64>>; 2] = [None, None];
    let mut flying: [Vec<(u64, u64, Bytes)>; 2] = Default::default();
    let mut sent: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    let mut came: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    let mut next_uid = 3;
    // What each is told of members late: when, and which life it is.
    let mut news: [Vec<(u64, u64)>; 2] = Default::default();
    // Both are members from the start, and after each restart.
    for side in 0..2 {
        let member = Input::Member { node: life(names[1 - side], uids[1 - side]), is: true };
        assert_eq!(nodes[side].step(member, Tick::START).len(), 1, "it began");
    }
    for step in 0..3000_u64 {
        let now = Tick::START + Duration::from_millis(step * 50);
        let is_quiet = step > 2500;
        let mut happened: Vec<(usize, Input)> = vec![(0, Input::Time), (1, Input::Time)];
        for side in 0..2 {
            let other = 1 - side;
            let there = UniqueAddress { address: address(names[other]), uid: uids[other] };
            if !is_quiet && random.random_bool(0.2) {
                let count = sent.entry((uids[side], uids[other])).or_default();
                let message = Bytes::copy_from_slice(&(*count + 1).to_be_bytes()).into();
                // Somebody who holds a reference to the present life.
                *count += 1;
                happened.push((side, Input::SendSystem { to: there.clone(), message }));
            }
            if lines[side].is_some() && !is_quiet && random.random_bool(0.05) {
                lines[side] = None;
                flying[side].clear();
                happened.push((side, Input::Disconnected { node: there.clone(), lane: Control }));
            }
            for (_, uid) in news[side].extract_if(.., |(when, _)| *when <= step) {
                let node = UniqueAddress { address: there.address.clone(), uid };
                happened.push((side, Input::Member { node, is: true }));
            }
            if wanted[side].is_some() && random.random_bool(0.3) {
                let meant = wanted[side].take().flatten();
                if meant.is_some_and(|meant| meant != uids[other]) {
                    let difference = Difference { kind: Kind::Life, text: String::new() };
                    let error = Some(HandshakeError::RefusedByPeer(vec![difference]));
                    let (to, life) = (there.address.clone(), meant);
                    happened.push((side, Input::NotConnected { to, life, lane: Control, error }));
                } else if is_quiet || random.random_bool(0.7) {
                    lines[side] = Some((uids[side], uids[other]));
                    let me = UniqueAddress { address: address(names[side]), uid: uids[side] };
                    happened.push((other, Input::Accepted { node: me, answered: Some(now) }));
                    happened.push((side, Input::Connected { node: there.clone(), lane: Control }));
                } else {
                    let (to, error) = (there.address.clone(), None);
                    happened.push((side, Input::NotConnected { to, life: None, lane: Control, error }));
                }
            }
            if !flying[side].is_empty() && random.random_bool(0.8) {
                let (from, to, frame) = flying[side].remove(0);
                if to == uids[other] {
                    let from = UniqueAddress { address: address(names[side]), uid: from };
                    happened.push((other, Input::Arrived { from, lane: Control, frame }));
                }
            }
        }
        for (side, input) in happened {
            for effect in nodes[side].step(input, now) {
                match effect {
                    Effect::Dial { life, .. } => wanted[side] = Some(life),
                    Effect::Hang { .. } => (lines[side], wanted[side]) = (None, None),
                    Effect::Deliver { from, system: true, message, .. } => {
                        let number = u64::from_be_bytes(message[..].try_into().unwrap());
                        let before = came.entry((from.uid, uids[side])).or_default();
                        assert_eq!(number, *before + 1, "seed {seed}, step {step}: from {from}");
                        *before = number;
                    }
                    _ => {}
                }
            }
            if let Some((from, to)) = lines[side] {
                while let Some(frames) = nodes[side].take(&address(names[1 - side]), Control, now) {
                    flying[side].extend(frames.frames().into_iter().map(|frame| (from, to, frame)));
                }
            }
        }
        if !is_quiet && random.random_bool(0.003) {
            let (side, other) = if random.random_bool(0.5) { (0, 1) } else { (1, 0) };
            let former = life(names[side], uids[side]);
            // Of lives that are short nobody hears while they last.
            let late = |random: &mut SmallRng| step + random.random_range(0..40);
            for _ in 0..random.random_range(1..4) {
                uids[side] = next_uid;
                next_uid += 1;
                news[other].push((late(&mut random), uids[side]));
            }
            nodes[side] = Associations::new(life(names[side], uids[side]));
            news[side] = vec![(late(&mut random), uids[other])];
            wanted[side] = None;
            flying = Default::default();
            if std::mem::take(&mut lines)[other].is_some() {
                nodes[other].step(Input::Disconnected { node: former, lane: Control }, now);
            }
        }
    }
    for pair in [(uids[0], uids[1]), (uids[1], uids[0])] {
        assert_eq!(came.get(&pair), sent.get(&pair), "seed {seed}: {pair:?}");
    }
}

#[test]
fn between_two_lives_all_arrives_once_and_in_order_and_nothing_passes_over_to_the_next() {
    (0..100).for_each(between_two_lives);
}

proptest! {
    #[test]
    fn whatever_arrives_never_panics(frames in proptest::collection::vec((0_u64..4, 0..3_usize, any::<Vec<u8>>()), 0..30)) {
        let mut node = node();
        node.step(accepted(2), at(0));
        for (uid, lane, frame) in frames {
            let arrived = Input::Arrived { from: life("peer", uid), lane: Lane::ALL[lane], frame: frame.into() };
            node.step(arrived, at(1));
        }
    }
}
