//! What fuzzers feed: each function takes whatever may come from the network, and panics if that did any harm.
//!
//! The fuzzers are in `cluster/fuzz`, and what they found to be worth keeping in its `corpus`, which a test replays.

use crate::{
    member::{Address, UniqueAddress},
    membership::{
        codec::{self, parts::Assembly},
        swim::{Identity, KeyRing, Settings, Swim, seal::Seal},
        table::MemberTable,
    },
    remote::{
        associations::{Associations, Input, PEERS_MAX},
        frame::{FrameDecoder, HEADER, READ_MAX, encode},
        handshake::{Effect, Handshake, Input as Said, Introduction},
        handshake_frame,
        lives::Lives,
        proof::{NONCE, Prover},
        transport::Lane,
    },
    rng::Rng,
};
use actors::Tick;
use bytes::{BufMut, Bytes, BytesMut};
use std::{sync::Arc, time::Duration};

/// Frames of at most so many bytes.
const FRAME_MAX: usize = 1000;

/// A connection's bytes, in pieces whose size the first byte says.
pub fn frames(data: &[u8]) {
    let Some((piece, bytes)) = data.split_first() else { return };
    let mut decoder = FrameDecoder::new(FRAME_MAX);
    let peer = unique("peer", 2);
    let mut node = Associations::with_room(unique("me", 1), PEERS_MAX);
    let mut effects = Vec::new();
    node.step_into(Input::Accepted { node: peer.clone(), answered: None }, Tick::START, &mut effects);
    let mut again = BytesMut::new();
    for piece in bytes.chunks(usize::from(*piece).max(1)) {
        decoder.room().put_slice(piece);
        while let Ok(Some(frame)) = decoder.next() {
            assert!((1..=FRAME_MAX).contains(&frame.len()));
            encode(FRAME_MAX, &[&frame], &mut again).expect("it was one");
            for lane in Lane::ALL {
                effects.clear();
                node.arrived(&peer, lane, [frame.clone()], Tick::START, &mut effects);
            }
        }
        assert!(decoder.capacity() <= 2 * (2 * (HEADER + FRAME_MAX) + READ_MAX), "{}", decoder.capacity());
    }
    assert!(bytes.starts_with(&again), "frames are what came");
}

/// What the other side of a handshake says: frames of a length of two bytes. Bits of the first byte say which side this is,
/// and whether it has keys.
pub fn handshake(data: &[u8]) {
    let Some((kind, mut rest)) = data.split_first() else { return };
    let ring = KeyRing::new(&[[7; 32]]).expect("it is one");
    let prover = (kind & 1 == 1).then(|| Prover::new(&ring, [3; NONCE]));
    let has_keys = prover.is_some();
    let me = Arc::new(Introduction {
        cluster: "shop".into(),
        protocol: 1..=1,
        node: unique("me", 1),
        config: Default::default(),
        types: vec![],
    });
    let until = Tick::START + Duration::from_secs(5);
    let mut side = match kind & 2 {
        0 => Handshake::accept(me, prover, until),
        _ => Handshake::dial(me, prover, unique("peer", 2).address, None, Lane::Control, until).0,
    };
    while let Some((size, after)) = rest.split_first_chunk() {
        let size = usize::from(u16::from_be_bytes(*size)).min(after.len());
        let (frame, after) = after.split_at(size);
        rest = after;
        if let Ok(said) = handshake_frame::Said::decode(frame) {
            assert_eq!(handshake_frame::Said::decode(&said.encode()).as_ref(), Ok(&said), "it is said again alike");
        }
        for effect in side.step(Said::Frame(Bytes::copy_from_slice(frame)), &Lives::default(), Tick::START) {
            assert!(!(has_keys && matches!(effect, Effect::Done(_))), "nobody can guess a key");
        }
    }
}

/// A datagram, as it is and as one of the cluster's.
pub fn datagrams(data: &[u8]) {
    let keys = KeyRing::new(&[[9; 32], [8; 32]]).ok();
    assert!(Seal::new("shop".into(), 1, keys).open(data, Tick::START).is_err(), "nobody can guess a key");
    let identity = Identity { address: unique("me", 1).address, uid: 1, start: 1000, generation: 0 };
    let settings = Settings::new("shop");
    let mut swim = Swim::new(identity, settings, Rng::seeded(1), Tick::START).expect("settings that are good");
    let plain = Seal::new("shop".into(), 2, None).close(data);
    let _ = swim.turn([data, &plain], Tick::START + Duration::from_millis(1));
    let _ = swim.turn([&plain], Tick::START + Duration::from_secs(1));
}

/// Words of members, and parts of them: one that decodes is written alike, and what it tells of the table is learnt.
pub fn membership(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    let _ = Assembly::default().take(2, bytes.clone());
    let Ok(message) = codec::decode(bytes) else { return };
    let again = codec::decode(codec::encode(&message)).expect("what was read can be written");
    assert_eq!(format!("{again:?}"), format!("{message:?}"));
    if let crate::membership::node::Message::Table { table: gossip, .. } = message {
        let mut table = MemberTable::default();
        table.merge(1, &gossip);
        assert!(!table.merge(1, &gossip), "told again it is no news");
    }
}

fn unique(host: &str, uid: u64) -> UniqueAddress {
    UniqueAddress { address: Address::new(host, 1).expect("it is one"), uid }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng, rngs::SmallRng, seq::IndexedRandom};
    use std::{fs, path::Path};

    type Takes = fn(&[u8]);

    /// What fuzzers feed, by the name of its corpus.
    const TARGETS: [(&str, Takes); 4] =
        [("frames", frames), ("handshake", handshake), ("datagrams", datagrams), ("membership", membership)];

    fn corpus(name: &str) -> Vec<Vec<u8>> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
        let mut files: Vec<_> = fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
        files.sort();
        assert!(!files.is_empty(), "{} is empty", folder.display());
        files.into_iter().map(|file| fs::read(file).unwrap()).collect()
    }

    /// A few bytes changed, left out, doubled or taken from elsewhere.
    fn damaged(random: &mut SmallRng, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = corpus.choose(random).unwrap().clone();
        for _ in 0..random.random_range(1..6) {
            let at = random.random_range(0..=bytes.len());
            let to = (at + random.random_range(0..9)).min(bytes.len());
            match random.random_range(0..5) {
                0 => bytes[at..to].iter_mut().for_each(|byte| *byte = random.random()),
                1 => bytes[at..to].iter_mut().for_each(|byte| *byte ^= 1 << random.random_range(0..8)),
                2 => drop(bytes.drain(at..to)),
                3 => {
                    let again = bytes[at..to].to_vec();
                    bytes.splice(at..at, again);
                }
                _ => {
                    let other = corpus.choose(random).unwrap();
                    bytes.truncate(at);
                    bytes.extend_from_slice(&other[at.min(other.len())..]);
                }
            }
        }
        bytes
    }

    fn feeds_damaged(rounds: u64) {
        for (name, takes) in TARGETS {
            let corpus = corpus(name);
            for seed in 0..rounds {
                let bytes = damaged(&mut SmallRng::seed_from_u64(seed), &corpus);
                let harm = std::panic::catch_unwind(|| takes(&bytes));
                assert!(harm.is_ok(), "{name}, seed {seed}: {bytes:?}");
            }
        }
    }

    #[test]
    fn what_fuzzers_found_does_no_harm() {
        for (name, takes) in TARGETS {
            corpus(name).iter().for_each(|bytes| takes(bytes));
        }
    }

    #[test]
    fn what_was_said_and_damaged_does_no_harm() {
        feeds_damaged(1000);
    }

    #[test]
    #[ignore = "it takes minutes"]
    fn what_was_said_and_damaged_does_no_harm_for_long() {
        feeds_damaged(2_000_000);
    }
}
