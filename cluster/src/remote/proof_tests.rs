//! Who has no key of the ring is not let in, whatever it heard or changes on the way.

use super::{
    handshake::{Effect, Handshake, HandshakeError, Input, Introduction, Kind, Peer},
    handshake_frame::{Difference, Said},
    lives::{Lives, Standing},
    proof::{CODE, NONCE, Prover},
    transport::Lane,
};
use crate::{
    member::{Address, UniqueAddress},
    membership::swim::seal::KeyRing,
};
use actors::Tick;
use bytes::Bytes;
use std::{sync::Arc, time::Duration};

const UNTIL: Tick = Tick::START;

fn introduction(name: &str, uid: u64) -> Arc<Introduction> {
    Arc::new(Introduction {
        cluster: "shop".into(),
        protocol: 1..=1,
        node: UniqueAddress { address: Address::new(name, 1).unwrap(), uid },
        config: Default::default(),
        types: vec![],
    })
}

fn ring(keys: &[u8]) -> Option<KeyRing> {
    let keys: Vec<_> = keys.iter().map(|key| [*key; 32]).collect();
    (!keys.is_empty()).then(|| KeyRing::new(&keys).unwrap())
}

fn prover(keys: &[u8], nonce: u8) -> Option<Prover> {
    ring(keys).map(|ring| Prover::new(&ring, [nonce; NONCE]))
}

type Outcome = Result<Peer, HandshakeError>;

/// One side of a handshake: what it is to be told next, and what became of it.
struct Side {
    handshake: Handshake,
    lives: Lives,
    outcome: Option<Outcome>,
}

impl Side {
    fn one(keys: &[u8], nonce: u8) -> (Self, Bytes) {
        let (me, to) = (introduction("one", 1), introduction("two", 2).node.address.clone());
        let until = UNTIL + Duration::from_secs(5);
        let (handshake, hello) = Handshake::dial(me, prover(keys, nonce), to, None, Lane::Ordinary, until);
        (Self { handshake, lives: Lives::default(), outcome: None }, hello)
    }

    fn two(keys: &[u8], nonce: u8) -> Self {
        let handshake = Handshake::accept(introduction("two", 2), prover(keys, nonce), UNTIL + Duration::from_secs(5));
        Self { handshake, lives: Lives::default(), outcome: None }
    }

    /// Tells it `frame`; returns what it says.
    fn hears(&mut self, frame: Bytes) -> Vec<Bytes> {
        let mut says = Vec::new();
        for effect in self.handshake.step(Input::Frame(frame), &self.lives, Tick::START) {
            match effect {
                Effect::Send(frame) => says.push(frame),
                Effect::Done(peer) => self.outcome = Some(Ok(peer)),
                Effect::Failed(error) => self.outcome = Some(Err(error)),
            }
        }
        says
    }

    fn is_let_in(&self) -> bool {
        matches!(self.outcome, Some(Ok(_)))
    }

    fn is_refused(&self) -> bool {
        matches!(&self.outcome, Some(Err(error)) if error.is_for(Kind::Keys))
    }
}

/// The two talk until nobody says anything any more, over who may change what is said. All that was said, in order.
fn meet(one: &mut Side, hello: Bytes, two: &mut Side, between: impl Fn(Bytes) -> Bytes) -> Vec<Bytes> {
    let (mut to_two, mut said) = (vec![hello], Vec::new());
    while !to_two.is_empty() {
        said.extend(to_two.iter().cloned());
        let to_one: Vec<_> = to_two.drain(..).flat_map(|frame| two.hears(between(frame))).collect();
        said.extend(to_one.iter().cloned());
        to_two = to_one.into_iter().flat_map(|frame| one.hears(between(frame))).collect();
    }
    said
}

fn met(keys: [&[u8]; 2]) -> [Side; 2] {
    let ((mut one, hello), mut two) = (Side::one(keys[0], 1), Side::two(keys[1], 2));
    meet(&mut one, hello, &mut two, |frame| frame);
    [one, two]
}

#[test]
fn those_with_a_common_key_let_each_other_in_while_keys_are_changed() {
    let steps: [&[u8]; 4] = [&[7], &[7, 8], &[8, 7], &[8]];
    for one in steps {
        for two in steps {
            let both_know_the_first = two.contains(&one[0]) && one.contains(&two[0]);
            let [of_one, of_two] = met([one, two]);
            let let_in = (of_one.is_let_in(), of_two.is_let_in());
            assert_eq!(let_in, (both_know_the_first, both_know_the_first), "{one:?} and {two:?}");
            assert!(both_know_the_first || (of_one.is_refused() && of_two.is_refused()), "{one:?} and {two:?}");
        }
    }
}

#[test]
fn without_a_key_nobody_is_let_in_and_both_know_why() {
    for keys in [[&[7][..], &[]], [&[], &[7]]] {
        let [one, two] = met(keys);
        assert!(one.is_refused() && two.is_refused(), "{:?} {:?}", one.outcome, two.outcome);
    }
    assert!(met([&[], &[]]).iter().all(Side::is_let_in));
}

#[test]
fn what_was_said_once_is_no_proof_again() {
    let ((mut one, hello), mut two) = (Side::one(&[7], 1), Side::two(&[7], 2));
    let said = meet(&mut one, hello, &mut two, |frame| frame);
    assert!(one.is_let_in() && two.is_let_in());
    let proofs = said.iter().filter(|frame| matches!(Said::decode(frame), Ok(Said::Proof(_))));
    let [of_two, of_one] = proofs.collect::<Vec<_>>()[..] else { panic!("both prove") };

    // Somebody who heard all of it says the same again, to a node that drew another number.
    let mut fresh = Side::two(&[7], 3);
    fresh.hears(said[0].clone());
    fresh.hears(of_one.clone());
    assert!(fresh.is_refused(), "{:?}", fresh.outcome);

    // A node's own proof does not count as the other's.
    let mut mirrored = Side::two(&[7], 2);
    let answers = mirrored.hears(said[0].clone());
    assert_eq!(answers[1], *of_two, "the same numbers make the same proof");
    mirrored.hears(of_two.clone());
    assert!(mirrored.is_refused(), "{:?}", mirrored.outcome);
}

#[test]
fn who_stands_between_can_change_nothing_of_what_they_say_of_themselves() {
    let changed = |frame: Bytes| match Said::decode(&frame) {
        Ok(Said::Hello(mut greeting)) => {
            greeting.from.node.uid = 9;
            Said::Hello(greeting).encode()
        }
        Ok(Said::Welcome(mut greeting)) => {
            greeting.to.1 = Some(1);
            Said::Welcome(greeting).encode()
        }
        _ => frame,
    };
    let ((mut one, hello), mut two) = (Side::one(&[7], 1), Side::two(&[7], 2));
    meet(&mut one, hello, &mut two, changed);
    assert!(one.is_refused() && two.is_refused(), "{:?} {:?}", one.outcome, two.outcome);
}

#[test]
fn no_step_of_the_proof_can_be_left_out() {
    let malformed = |side: &Side| matches!(side.outcome, Some(Err(HandshakeError::Malformed(_))));
    let (mut one, hello) = Side::one(&[7], 1);
    let mut two = Side::two(&[7], 2);
    let answers = two.hears(hello);
    two.hears(Said::Admitted.encode());
    assert!(malformed(&two), "it was to prove something");
    one.hears(answers[0].clone());
    one.hears(Said::Admitted.encode());
    assert!(malformed(&one), "the other was to prove something");
    assert!(Said::decode(&Said::Proof(Bytes::from_static(&[1; CODE - 1])).encode()).is_err());
}

#[test]
fn one_that_was_given_up_is_told_so_after_both_proved_that_they_have_a_key() {
    let given_up = |keys: [&[u8]; 2]| {
        let ((mut one, hello), mut two) = (Side::one(keys[0], 1), Side::two(keys[1], 2));
        two.lives.end(introduction("one", 1).node.clone(), Standing::Quarantined, Tick::START);
        let said = meet(&mut one, hello, &mut two, |frame| frame);
        assert!(!said.iter().any(|frame| matches!(Said::decode(frame), Ok(Said::Admitted))));
        let (Some(Err(of_one)), Some(Err(of_two))) = (one.outcome, two.outcome) else { panic!("one was let in") };
        (of_one, of_two)
    };
    let (of_one, of_two) = given_up([&[7], &[7]]);
    assert!(matches!(of_one, HandshakeError::RefusedByMember(_)) && of_one.is_for(Kind::Quarantined), "{of_one}");
    assert!(of_two.is_for(Kind::Quarantined), "{of_two}");
    let (of_one, of_two) = given_up([&[7], &[8]]);
    assert!(of_one.is_for(Kind::Keys) && of_two.is_for(Kind::Keys), "{of_one}; {of_two}");
    let (of_one, _) = given_up([&[], &[]]);
    assert!(matches!(of_one, HandshakeError::RefusedByPeer(_)) && of_one.is_for(Kind::Quarantined), "{of_one}");

    // What is said before that may come from anybody.
    let forged = Difference { kind: Kind::Quarantined, text: "life".to_owned() };
    let (mut one, _) = Side::one(&[7], 1);
    one.hears(Said::Refusal(vec![forged]).encode());
    assert!(matches!(one.outcome, Some(Err(HandshakeError::RefusedByPeer(_)))), "{:?}", one.outcome);
}
