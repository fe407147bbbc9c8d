//! Peers that mean harm cost little, and keep nobody else out.

use super::nodes::{Ear, Heard, Node, numbers, two_in_memory};
use crate::{
    member::{Address, UniqueAddress},
    remote::{
        association::Ended,
        connection::shake_hands,
        door::{Channel, Remote},
        dropped::DropReason,
        frame::encode,
        handshake::{HANDSHAKE_WITHIN, Handshake, Introduction},
        lives::Lives,
        memory::{MemoryNetwork, MemoryTransport},
        transport::{ByteStream, Lane, Transport},
    },
};
use actors::Clock;
use bytes::BytesMut;
use std::{sync::Arc, time::Duration};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const EVIL: u64 = 666;

/// Speaks to a node byte by byte.
struct Intruder {
    transport: MemoryTransport,
    to: Address,
    clock: Clock,
}

impl Intruder {
    async fn connect(&self) -> ByteStream {
        self.transport.dial(self.to.clone(), Lane::Ordinary).await.unwrap()
    }

    /// A connection that was let in.
    async fn let_in(&self, lane: Lane) -> ByteStream {
        self.let_in_as(UniqueAddress { address: "evil:666".parse().unwrap(), uid: EVIL }, lane).await
    }

    async fn let_in_as(&self, node: UniqueAddress, lane: Lane) -> ByteStream {
        let mut stream = self.connect().await;
        let me = Arc::new(Introduction {
            cluster: "shop".into(),
            protocol: 1..=1,
            node,
            config: Default::default(),
            types: vec![],
        });
        let until = self.clock.now() + HANDSHAKE_WITHIN;
        let (handshake, hello) = Handshake::dial(me, None, self.to.clone(), None, lane, until);
        shake_hands(&mut stream, handshake, Some(hello), &Lives::default(), &self.clock).await.unwrap();
        stream
    }

    /// Whether the other side closes it, sooner or later, having said nothing more.
    async fn is_closed(&self, stream: &mut ByteStream) -> bool {
        let mut rest = Vec::new();
        let read = self.clock.timeout(Duration::from_secs(60), stream.read_to_end(&mut rest)).await;
        read.is_ok() && rest.is_empty()
    }
}

fn stage() -> (Clock, [Node; 2], Intruder) {
    let (_, clock, nodes, intruder) = stage_on_network();
    (clock, nodes, intruder)
}

fn stage_on_network() -> (MemoryNetwork, Clock, [Node; 2], Intruder) {
    let (network, clock, nodes) = two_in_memory();
    let transport = network.node("evil:666".parse().unwrap());
    let intruder = Intruder { transport, to: nodes[0].me.address.clone(), clock: clock.clone() };
    (network, clock, nodes, intruder)
}

fn numbered(number: u32) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

/// A frame for actors.
fn frame(body: &[u8]) -> BytesMut {
    let mut bytes = BytesMut::new();
    encode(Lane::Ordinary.frame_max(), &[&[Channel::Actors as u8], body], &mut bytes).unwrap();
    bytes
}

/// Waits until a message of the second node gets to the first.
async fn others_come_through([one, two]: &[Node; 2], number: u32) {
    two.send(one, Lane::Ordinary, numbered(number));
    one.ear.until(|heard| numbers(heard, false).contains(&number)).await;
}

fn heard_of_evil(ear: &Ear) -> bool {
    ear.heard().iter().any(|heard| matches!(heard, Heard::Began(EVIL) | Heard::Message { from: EVIL, .. }))
}

#[tokio::test(start_paused = true)]
async fn who_says_anything_but_hello_is_cut_off() {
    let (_, nodes, intruder) = stage();
    let large_claim = 300_000_u32.to_be_bytes();
    let openings: [&[u8]; 4] = [b"GET / HTTP/1.1\r\n\r\n", &[0; 64], &large_claim, &frame(b"at once")];
    for opening in openings {
        let mut stream = intruder.connect().await;
        stream.write_all(opening).await.unwrap();
        assert!(intruder.is_closed(&mut stream).await, "{opening:?}");
    }
    others_come_through(&nodes, 1).await;
    assert!(!heard_of_evil(&nodes[0].ear));
    assert_eq!(nodes[0].remoting.at_the_door(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn who_trickles_is_cut_off_in_time_and_keeps_nobody_out() {
    let (clock, nodes, intruder) = stage();
    let mut streams = Vec::new();
    for _ in 0..100 {
        let mut stream = intruder.connect().await;
        // One byte of a header each second: it never comes to an end by itself.
        let _ = stream.write_all(&[0]).await;
        streams.push(stream);
    }
    clock.sleep(Duration::from_millis(1)).await;
    assert_eq!(nodes[0].remoting.at_the_door(), (64, 36), "beyond its share it is not even listened to");
    others_come_through(&nodes, 1).await;
    clock.sleep(HANDSHAKE_WITHIN).await;
    assert_eq!(nodes[0].remoting.at_the_door(), (0, 36));
    for stream in &mut streams {
        assert!(intruder.is_closed(stream).await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_frame_that_claims_too_much_ends_its_connection_and_no_other() {
    let (_, nodes, intruder) = stage();
    let mut stream = intruder.let_in(Lane::Ordinary).await;
    stream.write_all(&frame(&numbered(1))).await.unwrap();
    stream.write_all(&u32::MAX.to_be_bytes()).await.unwrap();
    stream.write_all(&frame(&numbered(2))).await.unwrap();
    assert!(intruder.is_closed(&mut stream).await);
    others_come_through(&nodes, 9).await;
    assert_eq!(nodes[0].ear.numbers(false), [1, 9], "what came before was whole, what came after is not believed");
    assert_eq!(nodes[0].remoting.dropped().of(DropReason::Malformed), 1);
    intruder.let_in(Lane::Ordinary).await.write_all(&frame(&numbered(3))).await.unwrap();
    nodes[0].ear.until(|heard| numbers(heard, false) == [1, 9, 3]).await;
}

#[tokio::test(start_paused = true)]
async fn who_connects_again_and_again_has_one_connection_per_lane() {
    let (_, nodes, intruder) = stage();
    let mut streams = Vec::new();
    for _ in 0..50 {
        streams.push(intruder.let_in(Lane::Ordinary).await);
    }
    let mut last = streams.pop().unwrap();
    for stream in &mut streams {
        assert!(intruder.is_closed(stream).await, "a later one took its place");
    }
    last.write_all(&frame(&numbered(7))).await.unwrap();
    nodes[0].ear.until(|heard| numbers(heard, false) == [7]).await;
    assert_eq!(nodes[0].ear.heard().iter().filter(|heard| **heard == Heard::Began(EVIL)).count(), 1);
}

/// A member that nobody has met yet is not over because somebody speaks for its address, be it late words of a former life.
#[tokio::test(start_paused = true)]
async fn who_speaks_for_the_address_of_a_member_does_not_take_its_place() {
    let (network, clock, [one, two], intruder) = stage_on_network();
    two.remoting.stop(Duration::ZERO).await;
    let next = UniqueAddress { uid: 3, ..two.me.clone() };
    one.remoting.member(&next, true);
    one.remoting.send_system(&next, Channel::Actors, numbered(1).into());
    clock.sleep(Duration::from_secs(20)).await;
    assert_eq!(one.ear.heard(), [Heard::Began(3), Heard::Link(3, false)]);
    let _stream = intruder.let_in_as(two.me.clone(), Lane::Control).await;
    clock.sleep(Duration::from_secs(1)).await;
    assert!(one.ear.heard().contains(&Heard::Began(2)), "{:?}", one.ear.heard());
    let next = two.restarts(&network, &clock, 3);
    clock.sleep(Duration::from_secs(20)).await;
    assert_eq!(numbers(&next.ear.heard(), true), [1]);
    assert!(one.ear.heard().contains(&Heard::Ended(2, Ended::NotThere)));
    let mut of_next = one.ear.heard();
    of_next.retain(|heard| matches!(heard, Heard::Began(3) | Heard::Link(3, _) | Heard::Ended(3, _)));
    assert_eq!(
        of_next,
        [Heard::Began(3), Heard::Link(3, false), Heard::Link(3, true)],
        "the same session, accused no more"
    );
}

/// The words of a former life may come when it is over: only who answers is there.
#[tokio::test(start_paused = true)]
async fn who_says_hello_and_no_more_displaces_nobody() {
    let (clock, nodes, intruder) = stage();
    others_come_through(&nodes, 1).await;
    let [one, two] = &nodes;
    let other = UniqueAddress { uid: 7, ..two.me.clone() };
    let mut silent = intruder.let_in_as(other.clone(), Lane::Ordinary).await;
    assert!(intruder.is_closed(&mut silent).await, "it is not waited for any longer");
    clock.sleep(Duration::from_secs(1)).await;
    others_come_through(&nodes, 2).await;
    assert!(!one.ear.heard().iter().any(|heard| matches!(heard, Heard::Ended(..) | Heard::Began(7))));
    let mut stream = intruder.let_in_as(other, Lane::Ordinary).await;
    stream.write_all(&frame(&numbered(3))).await.unwrap();
    one.ear.until(|heard| numbers(heard, false).contains(&3)).await;
    let ended = |heard: &Heard| matches!(heard, Heard::Ended(2, Ended::Replaced(by)) if by.uid == 7);
    assert!(one.ear.heard().iter().any(ended), "{:?}", one.ear.heard());
}

#[tokio::test(start_paused = true)]
async fn who_sends_nothing_is_cut_off_after_a_while() {
    let (clock, _, intruder) = stage();
    let mut stream = intruder.let_in(Lane::Large).await;
    clock.sleep(Duration::from_secs(9 * 60)).await;
    stream.write_all(&frame(&numbered(1))).await.unwrap();
    clock.sleep(Duration::from_secs(9 * 60)).await;
    stream.write_all(&frame(&numbered(2))).await.expect("it was used meanwhile");
    clock.sleep(Duration::from_secs(11 * 60)).await;
    assert!(intruder.is_closed(&mut stream).await);
}

#[tokio::test(start_paused = true)]
async fn who_reads_nothing_fills_its_own_queue_and_no_other() {
    let (clock, nodes, intruder) = stage();
    let [one, two] = &nodes;
    let evil: Address = "evil:666".parse().unwrap();
    one.remoting.send(&evil, None, Channel::Actors, Lane::Ordinary, vec![0; 1000].into());
    // It lets the other in, and never reads again.
    let (mut stream, _) = intruder.transport.listen().accept().await.unwrap();
    let me = Introduction {
        cluster: "shop".into(),
        protocol: 1..=1,
        node: UniqueAddress { address: evil.clone(), uid: EVIL },
        config: Default::default(),
        types: vec![],
    };
    let handshake = Handshake::accept(Arc::new(me), None, clock.now() + HANDSHAKE_WITHIN);
    shake_hands(&mut stream, handshake, None, &Lives::default(), &clock).await.unwrap();
    clock.sleep(Duration::from_millis(1)).await;
    for number in 0..10_000 {
        one.remoting.send(&evil, None, Channel::Actors, Lane::Ordinary, vec![0; 1000].into());
        if number % 1000 == 0 {
            one.send(two, Lane::Ordinary, numbered(number));
            two.ear.until(|heard| numbers(heard, false).contains(&number)).await;
        }
    }
    let refused = one.remoting.dropped().of(DropReason::LaneFull);
    assert!((6000..7000).contains(&refused), "all but what its queue, one batch and the network hold: {refused}");
    clock.sleep(Duration::from_millis(1)).await;
    let told = one.ear.heard().into_iter().filter_map(|heard| match heard {
        Heard::Dropped(DropReason::LaneFull, count) => Some(count as u64),
        _ => None,
    });
    assert_eq!(told.sum::<u64>(), refused, "each is told of");
}

#[tokio::test(start_paused = true)]
async fn what_nobody_takes_is_counted() {
    let (_, nodes, intruder) = stage();
    let mut stream = intruder.let_in(Lane::Ordinary).await;
    let mut bytes = BytesMut::new();
    for first in [0, Channel::Membership as u8, 9] {
        encode(Lane::Ordinary.frame_max(), &[&[first], b"x"], &mut bytes).unwrap();
    }
    bytes.extend_from_slice(&frame(&numbered(1)));
    stream.write_all(&bytes).await.unwrap();
    nodes[0].ear.until(|heard| numbers(heard, false) == [1]).await;
    others_come_through(&nodes, 2).await;
    let dropped = nodes[0].remoting.dropped();
    assert_eq!((dropped.of(DropReason::Malformed), dropped.of(DropReason::NoReceiver)), (2, 1));
}
