//! Messages that wait for room in the mailbox of an actor of another node.

use super::{
    super::{frame::Kind, window::WINDOW},
    nodes::{Gate, GateMessage, SECOND, Two},
};
use crate::remote::transport::Lane;
use actors::{Actor, ActorContext, ActorRef, Behavior, Handled, Mailbox, Props};
use bytes::Bytes;
use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};

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

/// Takes its time. What comes late arrives in the middle of one of its turns, when there is room and nobody has come for it yet.
struct Slow {
    noted: Arc<Mutex<Vec<u32>>>,
    late: Arc<Mutex<Option<Bytes>>>,
    arrive: Box<dyn Fn(Bytes) + Send>,
}

impl Actor for Slow {
    type Message = GateMessage;

    async fn receive(&mut self, ctx: &mut ActorContext<GateMessage>, message: GateMessage) -> Handled {
        match message {
            GateMessage::Sleep(within) => ctx.clock().sleep(within).await,
            GateMessage::Note(n) => {
                self.noted.lock().push(n);
                let late = self.late.lock().take_if(|_| n == ROOM as u32 - 1);
                late.into_iter().for_each(&self.arrive);
            }
            _ => {}
        }
        Ok(Behavior::Same)
    }
}

#[test]
fn what_is_told_does_not_pass_by_what_waits_for_room() {
    let nodes = Two::new();
    let (noted, late) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Mutex::new(None)));
    let (to_note, comes, refs, from) = (noted.clone(), late.clone(), nodes.two.refs.clone(), nodes.one.me.clone());
    let slow = Props::setup(move |_| {
        let (refs, from) = (refs.receiver(), from.clone());
        let arrive = Box::new(move |frame| refs.deliver(&from, Lane::Ordinary, false, frame));
        Slow { noted: to_note.clone(), late: comes.clone(), arrive }
    });
    let slow = nodes.two.system.spawn("slow", slow.mailbox(Mailbox::bounded(ROOM)));
    nodes.two.refs.name("slow", &slow).unwrap();
    let slow: ActorRef<GateMessage> = nodes.one.refs.named(&nodes.two.me, "slow").unwrap();
    slow.tell(GateMessage::Sleep(5 * SECOND));
    nodes.settle();
    let many = ROOM as u32 + 3;
    nodes.kit.block_on(async {
        for n in 0..many {
            slow.send(GateMessage::Note(n)).await.unwrap();
        }
    });
    nodes.settle();
    nodes.one.remote.lose(|_, _, _| true);
    slow.tell(GateMessage::Note(many));
    nodes.one.remote.heal();
    *late.lock() = nodes.one.remote.sent.lock().last().cloned();
    nodes.kit.advance(10 * SECOND);
    assert!(late.lock().is_none(), "it came");
    assert_eq!(*noted.lock(), (0..many).collect::<Vec<_>>(), "there was no room for it: others were there before");
    assert_eq!(nodes.dead_letters(&nodes.two, actors::DeadLetterReason::MailboxFull), 1);
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
