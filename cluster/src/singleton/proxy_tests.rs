use super::{
    message::SingletonMessage,
    model::member,
    proxy::{Effect, Input, Proxy},
};
use crate::member::MemberStatus::{Exiting, Up};
use actors::Tick;
use std::{collections::BTreeSet, time::Duration};

fn at(seconds: u64) -> Tick {
    Tick::START + Duration::from_secs(seconds)
}

fn members<const N: usize>(unreachable: [u64; N]) -> Input<u32> {
    let members = (1..=5).map(|uid| member(uid, Up, Some(uid))).collect();
    Input::Members { members, unreachable: BTreeSet::from(unreachable) }
}

fn says(from: u64, message: SingletonMessage) -> Input<u32> {
    Input::Message { from, message }
}

fn forwarded(effects: Vec<Effect<u32>>) -> Vec<(u64, u32)> {
    let forward = |effect| match effect {
        Effect::Forward { to, message } => Some((to, message)),
        _ => None,
    };
    effects.into_iter().filter_map(forward).collect()
}

fn asked(effects: &[Effect<u32>]) -> Vec<u64> {
    let ask = |effect: &Effect<u32>| match effect {
        Effect::Send { to, message: SingletonMessage::WhoHosts } => Some(*to),
        _ => None,
    };
    effects.iter().filter_map(ask).collect()
}

#[test]
fn messages_wait_until_the_instance_is_found_and_go_in_order() {
    let mut proxy = Proxy::new(10);
    for number in 1..=3 {
        assert_eq!(proxy.step(Input::Tell(number), at(0)), []);
    }
    let effects = proxy.step(members([]), at(0));
    assert_eq!(asked(&effects)[0], 1, "the oldest first");
    proxy.step(says(1, SingletonMessage::NotHere { hint: Some(4) }), at(0));
    let effects = proxy.step(Input::Time, at(1));
    assert!(asked(&effects).contains(&4), "{effects:?}");
    let effects = proxy.step(says(4, SingletonMessage::Hosting { term: 7 }), at(1));
    assert_eq!(forwarded(effects), [(4, 1), (4, 2), (4, 3)]);
    assert_eq!(forwarded(proxy.step(Input::Tell(4), at(1))), [(4, 4)]);
    assert_eq!(proxy.wake_at(), None, "it rests once it knows");
}

#[test]
fn it_waits_again_while_the_instance_moves_and_follows_it() {
    let mut proxy = Proxy::new(10);
    proxy.step(members([]), at(0));
    proxy.step(says(1, SingletonMessage::Hosting { term: 1 }), at(0));
    proxy.step(says(1, SingletonMessage::Over { term: 1 }), at(5));
    assert_eq!(proxy.step(Input::Tell(1), at(5)), []);
    let late = proxy.step(says(1, SingletonMessage::Hosting { term: 1 }), at(6));
    assert_eq!(forwarded(late), [], "that was over already");
    let effects = proxy.step(says(2, SingletonMessage::Hosting { term: 2 }), at(6));
    assert_eq!(forwarded(effects), [(2, 1)]);
    proxy.step(says(3, SingletonMessage::Hosting { term: 9 }), at(7));
    proxy.step(says(2, SingletonMessage::Over { term: 2 }), at(7));
    assert_eq!(proxy.host(), Some(3), "the end of an earlier term is no end of this one");
}

#[test]
fn what_is_told_while_the_instance_is_about_to_stop_waits_for_the_next() {
    let mut proxy = Proxy::new(10);
    proxy.step(members([]), at(0));
    proxy.step(says(1, SingletonMessage::Hosting { term: 1 }), at(0));
    let effects = proxy.step(says(1, SingletonMessage::Closing { term: 1 }), at(5));
    let closed = Effect::Send { to: 1, message: SingletonMessage::Closed { term: 1 } };
    assert_eq!(effects[0], closed, "behind all that it sent");
    assert_eq!(proxy.step(Input::Tell(1), at(5)), []);
    let late = proxy.step(says(1, SingletonMessage::Hosting { term: 1 }), at(6));
    assert_eq!(forwarded(late), [], "not any more");
    let again = proxy.step(says(1, SingletonMessage::Closing { term: 1 }), at(7));
    assert!(again.contains(&closed), "the first may have been lost: {again:?}");
    let effects = proxy.step(says(2, SingletonMessage::Hosting { term: 2 }), at(8));
    assert_eq!(forwarded(effects), [(2, 1)]);
}

#[test]
fn nothing_is_sent_where_it_cannot_arrive() {
    let mut proxy = Proxy::new(10);
    proxy.step(members([]), at(0));
    proxy.step(says(1, SingletonMessage::Hosting { term: 1 }), at(0));
    let effects = proxy.step(members([1]), at(1));
    assert!(!asked(&effects).contains(&1) && proxy.host().is_none(), "{effects:?}");
    proxy.step(Input::Tell(1), at(1));
    proxy.step(members([]), at(2));
    let effects = proxy.step(says(1, SingletonMessage::Hosting { term: 1 }), at(2));
    assert_eq!(forwarded(effects), [(1, 1)], "it is there again, as it was");

    let mut left: Vec<_> = (1..=2).map(|uid| member(uid, Up, Some(uid))).collect();
    left[0].status = Exiting;
    let input = |members| Input::Members { members, unreachable: BTreeSet::new() };
    proxy.step(input(left.clone()), at(3));
    assert_eq!(proxy.host(), Some(1), "it may serve until it has stopped");
    proxy.step(input(left[1..].to_vec()), at(4));
    assert_eq!(proxy.host(), None);
}

#[test]
fn of_too_many_the_oldest_are_dropped() {
    let mut proxy = Proxy::new(2);
    proxy.step(Input::Tell(1), at(0));
    proxy.step(Input::Tell(2), at(0));
    assert_eq!(proxy.step(Input::Tell(3), at(0)), [Effect::Overflow(1)]);
    assert_eq!(proxy.waiting(), 2);
}
