//! Two nodes meet: who is let in, who is not, and what both are told.

use super::{
    handshake::{Effect, Handshake, HandshakeError, Input, Introduction, Kind, Peer},
    handshake_frame::{Difference, Greeting, HANDSHAKE_MAX, Said},
    lives::{Lives, Standing},
    transport::Lane,
    wire::Offer,
};
use crate::member::{Address, UniqueAddress};
use actors::Tick;
use bytes::Bytes;
use proptest::prelude::*;
use std::{sync::Arc, time::Duration};

fn node(name: &str, uid: u64) -> UniqueAddress {
    UniqueAddress { address: Address::new(name, 2551).unwrap(), uid }
}

fn introduction(name: &str, uid: u64) -> Introduction {
    Introduction {
        cluster: "shop".into(),
        protocol: 1..=2,
        node: node(name, uid),
        config: [("sharding.shards".into(), 7), ("downing".into(), 8)].into(),
        types: vec![Offer { name: "a.A".into(), reads: 1..=3 }, Offer { name: "b.B".into(), reads: 2..=2 }],
    }
}

fn at(ms: u64) -> Tick {
    Tick::START + Duration::from_millis(ms)
}

const UNTIL: u64 = 5000;

/// What comes of a change.
type Case<Told, Of> = (Told, fn(&mut Of));

/// One that connects, and one that is connected to.
struct Meeting {
    one: Introduction,
    two: Introduction,
    to: (Address, Option<u64>),
    /// Those over for the one that connects, and for the other.
    lives: (Lives, Lives),
}

impl Meeting {
    fn new() -> Self {
        let to = (node("two", 2).address, None);
        Self { one: introduction("one", 1), two: introduction("two", 2), to, lives: Default::default() }
    }

    fn with(change: impl FnOnce(&mut Self)) -> Self {
        let mut meeting = Self::new();
        change(&mut meeting);
        meeting
    }

    /// What became of it on both sides.
    fn run(&self) -> (Result<Peer, HandshakeError>, Result<Peer, HandshakeError>) {
        let (to, life) = self.to.clone();
        let (mut one, hello) = Handshake::dial(Arc::new(self.one.clone()), None, to, life, Lane::Large, at(UNTIL));
        let mut two = Handshake::accept(Arc::new(self.two.clone()), None, at(UNTIL));
        let (answer, of_two) = outcome(two.step(Input::Frame(hello), &self.lives.1, at(1)));
        let (silence, of_one) = outcome(one.step(Input::Frame(answer.expect("an answer")), &self.lives.0, at(2)));
        assert_eq!(silence, None, "who connected has the last word only by closing");
        assert_eq!((one.due(), two.due()), (None, None));
        (of_one, of_two)
    }

    /// It is refused by the one that was connected to, and both know why.
    fn is_refused(&self) -> Vec<Kind> {
        let (one, two) = self.run();
        let (HandshakeError::RefusedByPeer(told), HandshakeError::Refused { differences, .. }) =
            (one.unwrap_err(), two.unwrap_err())
        else {
            panic!("refused by the wrong one")
        };
        assert_eq!(told, differences, "the other is told all of it");
        kinds(&told)
    }
}

fn kinds(differences: &[Difference]) -> Vec<Kind> {
    differences.iter().map(|difference| difference.kind).collect()
}

fn outcome(effects: Vec<Effect>) -> (Option<Bytes>, Result<Peer, HandshakeError>) {
    let mut sent = None;
    for effect in effects {
        match effect {
            Effect::Send(frame) => sent = Some(frame),
            Effect::Done(peer) => return (sent, Ok(peer)),
            Effect::Failed(error) => return (sent, Err(error)),
        }
    }
    panic!("it is not over")
}

#[test]
fn two_that_fit_learn_who_the_other_is() {
    let (one, two) = Meeting::new().run();
    let types = introduction("one", 1).types;
    let peer = |node| Ok(Peer { node, protocol: 2, lane: Lane::Large, types: types.clone() });
    assert_eq!(one, peer(node("two", 2)));
    assert_eq!(two, peer(node("one", 1)));
    let newer = Meeting::with(|meeting| meeting.one.protocol = 2..=9);
    assert_eq!(newer.run().0.unwrap().protocol, 2);
    let exact = Meeting::with(|meeting| meeting.to.1 = Some(2));
    assert!(exact.run().0.is_ok(), "it is the very life that was meant");
}

#[test]
fn each_difference_is_refused_and_named() {
    let cases: [Case<Kind, Meeting>; 9] = [
        (Kind::Cluster, |meeting| meeting.one.cluster = "bank".into()),
        (Kind::Protocol, |meeting| meeting.one.protocol = 3..=4),
        (Kind::Address, |meeting| meeting.to.0 = node("10.0.0.2", 2).address),
        (Kind::Life, |meeting| meeting.to.1 = Some(9)),
        (Kind::SameUid, |meeting| meeting.one.node.uid = 2),
        (Kind::SameAddress, |meeting| meeting.one.node.address = node("two", 9).address),
        (Kind::OldLife, |meeting| meeting.lives.1.end(node("one", 1), Standing::Old, at(0))),
        (Kind::Quarantined, |meeting| meeting.lives.1.end(node("one", 1), Standing::Quarantined, at(0))),
        (Kind::Config, |meeting| *meeting.one.config.get_mut("downing").unwrap() += 1),
    ];
    for (kind, change) in cases {
        assert_eq!(Meeting::with(change).is_refused(), [kind]);
    }
}

#[test]
fn a_refusal_lists_all_that_differs() {
    let meeting = Meeting::with(|meeting| {
        meeting.one.cluster = "bank".into();
        meeting.one.config = [("downing".into(), 0), ("here.only".into(), 1)].into();
        meeting.to = (node("elsewhere", 2).address, None);
    });
    assert_eq!(meeting.is_refused(), [Kind::Cluster, Kind::Config, Kind::Config, Kind::Config, Kind::Address]);
    let text = meeting.run().0.unwrap_err().to_string();
    for told in ["\"shop\" here, \"bank\" there", "downing", "here.only is missing here", "shards is missing there"] {
        assert!(text.contains(told), "{told}: {text}");
    }
}

#[test]
fn who_connected_may_refuse_too() {
    let cases: [Case<Kind, Meeting>; 2] = [
        (Kind::OldLife, |meeting| meeting.lives.0.end(node("two", 2), Standing::Old, at(0))),
        (Kind::Quarantined, |meeting| meeting.lives.0.end(node("two", 2), Standing::Quarantined, at(0))),
    ];
    for (kind, change) in cases {
        let (one, _) = Meeting::with(change).run();
        assert!(matches!(one, Err(HandshakeError::Refused { differences, .. }) if kinds(&differences) == [kind]));
    }
}

#[test]
fn a_welcome_from_somebody_else_is_refused() {
    let welcome = |change: fn(&mut Greeting)| {
        let mut greeting = Greeting {
            from: introduction("two", 2),
            to: (node("one", 1).address, Some(1)),
            lane: Lane::Control,
            nonce: None,
        };
        change(&mut greeting);
        let me = Arc::new(introduction("one", 1));
        let (mut one, _) = Handshake::dial(me, None, node("two", 2).address, Some(2), Lane::Control, at(UNTIL));
        match outcome(one.step(Input::Frame(Said::Welcome(greeting).encode()), &Lives::default(), at(1))).1 {
            Ok(_) => vec![],
            Err(HandshakeError::Refused { differences, .. }) => kinds(&differences),
            Err(error) => panic!("{error}"),
        }
    };
    assert_eq!(welcome(|_| ()), []);
    assert_eq!(welcome(|greeting| greeting.from.node = node("three", 3)), [Kind::Address]);
    assert_eq!(welcome(|greeting| greeting.from.node.uid = 3), [Kind::Life]);
    assert_eq!(welcome(|greeting| greeting.to.1 = Some(9)), [Kind::Life]);
    assert_eq!(welcome(|greeting| greeting.to.0 = node("nine", 1).address), [Kind::Address]);
    assert_eq!(welcome(|greeting| greeting.lane = Lane::Large), [Kind::Lane]);
}

#[test]
fn silence_and_an_early_end_are_told_apart() {
    let me = Arc::new(introduction("two", 2));
    let accept = || Handshake::accept(Arc::clone(&me), None, at(UNTIL));
    let mut waits = accept();
    assert_eq!(waits.step(Input::Time, &Lives::default(), at(UNTIL - 1)), []);
    assert_eq!(waits.due(), Some(at(UNTIL)));
    let failed = |error| vec![Effect::Failed(error)];
    assert_eq!(waits.step(Input::Time, &Lives::default(), at(UNTIL)), failed(HandshakeError::TimedOut));
    assert_eq!(waits.step(Input::Closed, &Lives::default(), at(UNTIL)), [], "it is over");
    assert_eq!(accept().step(Input::Closed, &Lives::default(), at(1)), failed(HandshakeError::Closed));
    let (_, hello) =
        Handshake::dial(Arc::new(introduction("one", 1)), None, me.node.address.clone(), None, Lane::Large, at(9));
    let late = accept().step(Input::Frame(hello.clone()), &Lives::default(), at(UNTIL));
    assert_eq!(late, failed(HandshakeError::TimedOut), "too late is too late");
    let (mut one, _) = Handshake::dial(Arc::clone(&me), None, node("one", 1).address, None, Lane::Large, at(UNTIL));
    let echoed = outcome(one.step(Input::Frame(hello), &Lives::default(), at(1))).1;
    assert!(matches!(echoed, Err(HandshakeError::Malformed(_))), "a hello is no answer");
}

#[test]
fn what_no_node_says_is_malformed_and_names_the_field() {
    let told = |change: fn(&mut Greeting)| {
        let mut greeting = Greeting {
            from: introduction("one", 1),
            to: (node("two", 2).address, None),
            lane: Lane::Large,
            nonce: None,
        };
        change(&mut greeting);
        Said::decode(&Said::Hello(greeting).encode()).map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(told(|_| ()), Ok(()));
    let cases: [Case<&str, Greeting>; 6] = [
        ("`from` has no uid", |greeting| greeting.from.node.uid = 0),
        ("`cluster`", |greeting| greeting.from.cluster = "a\nb".into()),
        ("`protocol`", |greeting| greeting.from.protocol = 0..=1),
        ("`config`", |greeting| greeting.from.config = (0..65).map(|n| (n.to_string().into(), n)).collect()),
        ("`types` is not in order", |greeting| greeting.from.types.reverse()),
        ("`types` has one", |greeting| greeting.from.types[0].reads = 0..=2),
    ];
    for (field, change) in cases {
        let error = told(change).unwrap_err();
        assert!(error.contains(field), "{error}");
    }
}

#[test]
fn a_flood_of_fields_is_refused_before_any_is_read() {
    // A hello with as many empty types as fit: two bytes each, and many times that as values.
    let types = [0x42, 0x00].repeat(HANDSHAKE_MAX / 2 - 8);
    let mut frame = vec![0x0a];
    let mut size = types.len();
    while size >= 0x80 {
        frame.push((size & 0x7f) as u8 | 0x80);
        size >>= 7;
    }
    frame.push(size as u8);
    frame.extend(types);
    let error = Said::decode(&frame).unwrap_err().to_string();
    assert!(error.contains("too many fields"), "{error}");
}

#[test]
fn what_another_wrote_stays_on_one_line() {
    let text = format!("all is well\n\u{1b}[2J{}", "é".repeat(1000));
    let refusal = Said::Refusal(vec![Difference { kind: Kind::Other, text }]);
    let Ok(Said::Refusal(read)) = Said::decode(&refusal.encode()) else { panic!("it is a refusal") };
    assert!(read[0].text.len() <= 512 && !read[0].text.contains(char::is_control), "{read:?}");
}

proptest! {
    #[test]
    fn garbage_never_panics(garbage: Vec<u8>, at_byte: usize, noise: [u8; 3]) {
        let _ = Said::decode(&garbage);
        let greeting = Greeting { from: introduction("one", 1), to: (node("two", 2).address, None), lane: Lane::Large, nonce: None };
        let mut bytes = Said::Hello(greeting).encode().to_vec();
        let place = at_byte % bytes.len();
        bytes.splice(place..(place + 2).min(bytes.len()), noise);
        if let Ok(said) = Said::decode(&bytes) {
            prop_assert_eq!(Said::decode(&said.encode()), Ok(said));
        }
    }
}
