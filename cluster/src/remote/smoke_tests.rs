//! The same code over real sockets and over a network in memory.

use super::{
    connection::{read_frame, shake_hands},
    frame::{FrameDecoder, encode},
    handshake::{HANDSHAKE_WITHIN, Handshake, HandshakeError, Introduction, Kind, Peer},
    lives::Lives,
    memory::MemoryNetwork,
    tcp::{Protection, Tcp},
    transport::{ByteStream, DATAGRAM_MAX, Lane, Transport},
};
use crate::member::{Address, UniqueAddress};
use actors::{Clock, Tick};
use bytes::{Bytes, BytesMut};
use std::{sync::Arc, time::Duration};
use tokio::{io::AsyncWriteExt, runtime::Handle};

const FRAMES: u32 = 10_000;

fn introduction(address: &Address, uid: u64) -> Arc<Introduction> {
    Arc::new(Introduction {
        cluster: "shop".into(),
        protocol: 1..=1,
        node: UniqueAddress { address: address.clone(), uid },
        config: Default::default(),
        types: vec![],
    })
}

async fn dial(
    transport: &dyn Transport,
    me: Arc<Introduction>,
    to: &Address,
    lane: Lane,
    clock: &Clock,
) -> (ByteStream, Result<Peer, HandshakeError>) {
    let mut stream = transport.dial(to.clone(), lane).await.unwrap();
    let (handshake, hello) = Handshake::dial(me, None, to.clone(), None, lane, clock.now() + HANDSHAKE_WITHIN);
    let met = shake_hands(&mut stream, handshake, Some(hello), &Lives::default(), clock).await;
    (stream, met.map(|(peer, _)| peer))
}

async fn accept(
    transport: &dyn Transport,
    me: Arc<Introduction>,
    clock: &Clock,
) -> (ByteStream, Result<(Peer, FrameDecoder), HandshakeError>) {
    let (mut stream, _) = transport.listen().accept().await.unwrap();
    let handshake = Handshake::accept(me, None, clock.now() + HANDSHAKE_WITHIN);
    let met = shake_hands(&mut stream, handshake, None, &Lives::default(), clock).await;
    (stream, met)
}

/// They meet, and all frames come in order; then the end.
async fn frames_in_order(one: (&dyn Transport, &Address), two: (&dyn Transport, &Address), clock: &Clock) {
    let sends = async {
        let (mut stream, peer) = dial(one.0, introduction(one.1, 1), two.1, Lane::Ordinary, clock).await;
        assert_eq!(peer.unwrap().node, UniqueAddress { address: two.1.clone(), uid: 2 });
        let mut bytes = BytesMut::new();
        for n in 0..FRAMES {
            let filling = vec![n as u8; (n % 97) as usize];
            encode(Lane::Ordinary.frame_max(), &[&n.to_be_bytes(), &filling], &mut bytes).unwrap();
            if bytes.len() > 10_000 {
                stream.write_all_buf(&mut bytes).await.unwrap();
            }
        }
        stream.write_all_buf(&mut bytes).await.unwrap();
        stream.shutdown().await.unwrap();
    };
    let receives = async {
        let (mut stream, met) = accept(two.0, introduction(two.1, 2), clock).await;
        let (peer, mut decoder) = met.unwrap();
        assert_eq!((peer.node.uid, peer.lane), (1, Lane::Ordinary));
        for n in 0..FRAMES {
            let frame = read_frame(&mut stream, &mut decoder).await.unwrap().expect("one more");
            assert_eq!((&frame[..4], frame.len()), (&n.to_be_bytes()[..], 4 + (n % 97) as usize));
        }
        assert!(read_frame(&mut stream, &mut decoder).await.unwrap().is_none(), "the end");
    };
    tokio::join!(sends, receives);
}

fn over_tcp(clock: &Clock) -> (Tcp, Address) {
    let tcp = Tcp::bind("127.0.0.1:0".parse().unwrap(), Protection::None, clock.clone()).unwrap();
    let address = tcp.address().to_string().parse().unwrap();
    (tcp, address)
}

fn in_memory() -> (MemoryNetwork, Clock, [Address; 2]) {
    let clock = Clock::paused(&Handle::current(), 0);
    let network = MemoryNetwork::new(clock.clone());
    (network, clock, ["one:1".parse().unwrap(), "two:2".parse().unwrap()])
}

#[tokio::test]
async fn two_nodes_meet_over_tcp_and_ten_thousand_frames_come_in_order() {
    let clock = Clock::tokio();
    let ((one, at_one), (two, at_two)) = (over_tcp(&clock), over_tcp(&clock));
    frames_in_order((&one, &at_one), (&two, &at_two), &clock).await;
}

#[tokio::test]
async fn datagrams_go_over_the_port_of_streams_by_number_or_by_name() {
    let clock = Clock::tokio();
    let ((one, _), (two, at_two)) = (over_tcp(&clock), over_tcp(&clock));
    let ((sender, _), (_, mut receiver)) = (one.datagrams(), two.datagrams());
    let largest = Bytes::from(vec![7; DATAGRAM_MAX]);
    assert!(sender.send(at_two.clone(), vec![7; DATAGRAM_MAX + 1].into()).await.is_err(), "one byte too many");
    let (received, from) = loop {
        sender.send(at_two.clone(), largest.clone()).await.unwrap();
        // Even over loopback one may be lost.
        if let Ok(received) = clock.timeout(Duration::from_secs(1), receiver.receive()).await {
            break received.unwrap();
        }
    };
    assert_eq!((received, from), (largest, one.address()));
}

#[tokio::test(start_paused = true)]
async fn two_nodes_meet_over_a_slow_network_in_memory() {
    let (network, clock, [at_one, at_two]) = in_memory();
    let (one, two) = (network.node(at_one.clone()), network.node(at_two.clone()));
    network.delay(&at_one, &at_two, Duration::from_millis(300));
    network.delay(&at_two, &at_one, Duration::from_millis(20));
    frames_in_order((&one, &at_one), (&two, &at_two), &clock).await;
    assert!(clock.now() - Tick::START >= Duration::from_millis(300 + 20 + 300 + 20 + 300), "{:?}", clock.now());
}

#[tokio::test(start_paused = true)]
async fn who_is_not_meant_is_told_over_the_wire() {
    let (network, clock, [at_one, at_two]) = in_memory();
    let (one, two) = (network.node(at_one.clone()), network.node(at_two.clone()));
    let other_name = introduction(&"two.example:2".parse().unwrap(), 2);
    let ((_, told), (_, refused)) = tokio::join!(
        dial(&one, introduction(&at_one, 1), &at_two, Lane::Control, &clock),
        accept(&two, other_name, &clock),
    );
    assert!(told.unwrap_err().is_for(Kind::Address));
    assert!(refused.err().unwrap().is_for(Kind::Address));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_hears_nothing_gives_up_and_a_cut_holds_back_only_for_a_while() {
    let (network, clock, [at_one, at_two]) = in_memory();
    let (one, two) = (network.node(at_one.clone()), network.node(at_two.clone()));
    let mut stream = one.dial(at_two.clone(), Lane::Control).await.unwrap();
    network.cut(&at_two, &at_one);
    let me = introduction(&at_one, 1);
    let (handshake, hello) =
        Handshake::dial(me, None, at_two.clone(), None, Lane::Control, clock.now() + HANDSHAKE_WITHIN);
    let lives = Lives::default();
    let shaken = shake_hands(&mut stream, handshake, Some(hello), &lives, &clock);
    let (met, (_, accepted)) = tokio::join!(shaken, accept(&two, introduction(&at_two, 2), &clock));
    assert!(accepted.is_ok(), "the other one heard it");
    assert_eq!(met.err(), Some(HandshakeError::TimedOut));
    network.heal(&at_two, &at_one);
    let mut decoder = FrameDecoder::new(super::handshake::HANDSHAKE_MAX);
    assert!(read_frame(&mut stream, &mut decoder).await.unwrap().is_some(), "the answer was held back, and not lost");
    network.reset(&at_one, &at_two);
    assert!(read_frame(&mut stream, &mut decoder).await.is_err(), "until it breaks");
}
