//! Nodes and lives end: what is told, what is sent before, and what comes no more.

use super::nodes::{Heard, numbers, two_in_memory};
use crate::remote::{association::Ended, door::Remote, dropped::DropReason, transport::Lane};
use std::{sync::Arc, time::Duration};

fn numbered(number: u32) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

#[tokio::test(start_paused = true)]
async fn who_stops_sends_what_waits_and_takes_nothing_new() {
    let (network, clock, [one, two]) = two_in_memory();
    network.delay(&one.me.address, &two.me.address, Duration::from_millis(100));
    for number in 0..1000 {
        one.send(&two, Lane::Ordinary, numbered(number));
        one.send_system(&two, numbered(number));
    }
    one.remoting.stop(Duration::from_secs(10)).await;
    two.ear.until(|heard| numbers(heard, false).len() == 1000).await;
    assert_eq!(two.ear.numbers(true), (0..1000).collect::<Vec<_>>(), "system messages were acknowledged, even");
    let before = one.ear.heard();
    one.send(&two, Lane::Ordinary, numbered(1));
    one.send_system(&two, numbered(1));
    two.send(&one, Lane::Ordinary, numbered(1));
    clock.sleep(Duration::from_secs(30)).await;
    assert_eq!(one.remoting.dropped().of(DropReason::Stopped), 2);
    assert_eq!(one.ear.heard(), before, "nobody is called any more");
    assert_eq!(Arc::strong_count(&one.ear), 1, "nor held");
    one.remoting.stop(Duration::from_secs(10)).await;
}

#[tokio::test(start_paused = true)]
async fn who_stops_waits_for_nobody_longer_than_it_may() {
    let (network, clock, [one, two]) = two_in_memory();
    network.cut(&one.me.address, &two.me.address);
    one.send_system(&two, numbered(1));
    let before = clock.now();
    one.remoting.stop(Duration::from_secs(3)).await;
    assert!(clock.now() - before < Duration::from_secs(6));
}

#[tokio::test(start_paused = true)]
async fn after_quarantine_neither_side_hears_of_the_other_and_a_new_life_is_met() {
    let (network, clock, [one, two]) = two_in_memory();
    for number in 0..10 {
        two.send(&one, Lane::Ordinary, numbered(number));
        one.send_system(&two, numbered(number));
    }
    one.ear.until(|heard| numbers(heard, false).len() == 10).await;
    two.ear.until(|heard| numbers(heard, true).len() == 10).await;
    assert!(one.remoting.agreement(&two.me).is_some());
    one.remoting.quarantine(&two.me);
    two.send(&one, Lane::Ordinary, numbered(11));
    one.ear.until(|heard| heard.last() == Some(&Heard::Ended(2, Ended::Removed))).await;
    assert!(one.remoting.agreement(&two.me).is_none(), "what was agreed went with it");
    one.send_system(&two, numbered(12));
    clock.sleep(Duration::from_secs(60)).await;
    assert!(!numbers(&one.ear.heard(), false).contains(&11));
    assert!(!numbers(&two.ear.heard(), true).contains(&12));
    let again = Heard::Ended(2, Ended::NotThere);
    assert_eq!(one.ear.heard().iter().filter(|heard| **heard == again).count(), 1, "who watches it is told");

    two.remoting.stop(Duration::ZERO).await;
    let next = two.restarts(&network, &clock, 3);
    next.send(&one, Lane::Ordinary, numbered(20));
    one.ear.until(|heard| numbers(heard, false).last() == Some(&20)).await;
    let heard = one.ear.heard();
    let began = heard.iter().position(|heard| *heard == Heard::Began(3)).expect("it began");
    assert!(matches!(heard[began + 1], Heard::Message { from: 3, .. }), "before its first message");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_restarts_is_another_life() {
    let (network, clock, [one, two]) = two_in_memory();
    one.send_system(&two, numbered(1));
    two.send_system(&one, numbered(1));
    two.ear.until(|heard| numbers(heard, true) == [1]).await;
    one.ear.until(|heard| numbers(heard, true) == [1]).await;
    two.remoting.stop(Duration::ZERO).await;
    let next = two.restarts(&network, &clock, 3);
    one.send(&next, Lane::Ordinary, numbered(2));
    next.ear.until(|heard| numbers(heard, false) == [2]).await;
    one.ear.until(|heard| heard.contains(&Heard::Began(3))).await;
    let heard = one.ear.heard();
    // Whoever answered there said that it is another.
    let ended = Heard::Ended(2, Ended::NotThere);
    let place = |what: &Heard| heard.iter().position(|heard| heard == what);
    assert!(place(&ended).expect("it ended") < place(&Heard::Began(3)).unwrap());
    one.send_system(&next, numbered(3));
    next.ear.until(|heard| numbers(heard, true) == [3]).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_being_written_when_a_connection_is_to_end_is_counted() {
    const SENT: u64 = 20;
    let (network, clock, [one, two]) = two_in_memory();
    one.send(&two, Lane::Large, numbered(0));
    two.ear.until(|heard| numbers(heard, false) == [0]).await;
    network.cut(&one.me.address, &two.me.address);
    for _ in 1..SENT {
        one.send(&two, Lane::Large, vec![0; 200 * 1024]);
    }
    // More than is under way at a time: it waits in the middle of one.
    clock.sleep(Duration::from_secs(1)).await;
    one.remoting.quarantine(&two.me);
    clock.sleep(Duration::from_secs(1)).await;
    let (came, dropped) = (two.ear.numbers(false).len() as u64, one.remoting.dropped());
    assert!(dropped.of(DropReason::Broken) > 0);
    assert_eq!(dropped.total() + came, SENT, "each came, or was counted");
}
