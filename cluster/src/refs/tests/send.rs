//! Messages that wait for room in the mailbox of an actor of another node.

use super::{
    super::{frame::Kind, window::WINDOW},
    nodes::{Gate, GateMessage, SECOND, Two},
};
use actors::{ActorRef, Mailbox, Props};
use std::time::Duration;

const ROOM: usize = 4;

/// An actor with little room, as the first node sees it.
fn small(nodes: &Two) -> ActorRef<GateMessage> {
    let small = nodes.two.system.spawn("small", Props::new(Gate::default).mailbox(Mailbox::bounded(ROOM)));
    nodes.two.refs.name("small", &small).unwrap();
    let named = nodes.one.refs.named(&nodes.two.me, "small").unwrap();
    nodes.ask(&named, GateMessage::Who).unwrap()
}

#[test]
fn who_sends_waits_for_room_and_all_of_it_arrives_in_order() {
    let nodes = Two::new();
    let small = small(&nodes);
    small.tell(GateMessage::Sleep(5 * SECOND));
    let sent = nodes.kit.block_on(async {
        let mut sent = 0;
        let send = async {
            for n in 0..100 {
                small.send(GateMessage::Note(n)).await.unwrap();
                sent += 1;
            }
        };
        nodes.kit.clock().timeout(4 * SECOND, send).await.unwrap_err();
        sent
    });
    assert_eq!(sent, ROOM as u64 + WINDOW, "as many as have room, and those on their way");
    nodes.kit.block_on(async {
        for n in sent as u32..200 {
            small.send(GateMessage::Note(n)).await.unwrap();
        }
    });
    nodes.settle();
    assert_eq!(nodes.noted(&small), (0..200).collect::<Vec<_>>());
    let there = nodes.two.refs.0.peers.get(&nodes.one.me).unwrap();
    assert_eq!(there.rows.lock().busy(), 0);
}

#[test]
fn what_is_told_between_keeps_its_place_or_finds_no_room() {
    let nodes = Two::new();
    let small = small(&nodes);
    nodes.kit.block_on(async {
        for n in 0..300 {
            if n % 3 == 0 {
                small.send(GateMessage::Note(n)).await.unwrap();
            } else {
                small.tell(GateMessage::Note(n));
            }
        }
    });
    nodes.settle();
    let noted = nodes.noted(&small);
    assert!(noted.is_sorted(), "{noted:?}");
    assert_eq!(noted.iter().filter(|n| *n % 3 == 0).count(), 100, "of what was sent nothing is missing");
    let dropped = nodes.dead_letters(&nodes.two, actors::DeadLetterReason::MailboxFull);
    assert_eq!(noted.len() as u64 + dropped, 300);
}

#[test]
fn who_stops_waiting_has_sent_nothing_and_those_behind_come() {
    let nodes = Two::new();
    let small = small(&nodes);
    small.tell(GateMessage::Sleep(5 * SECOND));
    nodes.settle();
    let many = ROOM as u32 + WINDOW as u32;
    nodes.kit.block_on(async {
        for n in 0..many {
            small.send(GateMessage::Note(n)).await.unwrap();
        }
        let given_up = small.send(GateMessage::Note(1000));
        let (given_up, kept) = (std::pin::pin!(given_up), small.send(GateMessage::Note(many)));
        let clock = nodes.kit.clock();
        let (_, kept) = tokio::join!(clock.timeout(SECOND, given_up), clock.timeout(20 * SECOND, kept));
        kept.unwrap().unwrap();
    });
    nodes.settle();
    assert_eq!(nodes.noted(&small), (0..=many).collect::<Vec<_>>());
}

#[test]
fn what_is_lost_on_the_way_takes_room_no_longer_than_a_second() {
    let nodes = Two::new();
    let small = small(&nodes);
    nodes.one.remote.lose(|_, _, frame| frame[0] == Kind::Message as u8);
    nodes.kit.block_on(async {
        for n in 0..WINDOW as u32 {
            small.send(GateMessage::Note(n)).await.unwrap();
        }
        nodes.one.remote.heal();
        let next = small.send(GateMessage::Note(100));
        nodes.kit.clock().timeout(3 * SECOND, next).await.unwrap().unwrap();
    });
    nodes.settle();
    assert_eq!(nodes.noted(&small), [100]);
    assert!(
        nodes.one.refs.0.starving.lock().is_empty() || {
            nodes.kit.advance(Duration::from_secs(2));
            nodes.one.refs.0.starving.lock().is_empty()
        }
    );
}

#[test]
fn who_waits_hears_that_the_actor_has_stopped() {
    let nodes = Two::new();
    let small = small(&nodes);
    small.tell(GateMessage::Sleep(2 * SECOND));
    small.tell(GateMessage::Stop);
    nodes.settle();
    let refused = nodes.kit.block_on(async {
        let mut n = 0;
        loop {
            if let Err(stopped) = small.send(GateMessage::Note(n)).await {
                break stopped.0;
            }
            n += 1;
        }
    });
    assert!(matches!(refused, GateMessage::Note(n) if n > 0));
}
