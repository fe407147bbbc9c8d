//! [`Hints`]: the word that some member's table has changed, carried along with SWIM's datagrams.
//!
//! It is no more than a hint: it goes out a few times and may be lost, and a late one means nothing. Whoever gets one
//! compares tables with the member that it is about.
//!
//! # On the wire
//! The number of the hint among those of its member (8 bytes), the digest of its table (16), and the member as an
//! [identity](super::identity).

use super::identity::{ENCODED_MAX, Identity};
use crate::{member::UniqueAddress, membership::table::Digest};
use bytes::{Buf, BufMut};
use foca::{BroadcastHandler, Invalidates};
use parking_lot::Mutex;
use std::{collections::BTreeMap, convert::Infallible, sync::Arc};

/// Members whose last hint is known.
const KNOWN_MAX: usize = 8192;
/// Hints that wait to be taken.
const NEW_MAX: usize = 1024;
/// What always fits beside a header.
const ITEM_MAX: usize = 8 + 16 + ENCODED_MAX;
const _: () = assert!(ITEM_MAX <= 512);

/// Which hint: a later one of the same member takes its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    uid: u64,
    number: u64,
}

impl Invalidates for Key {
    fn invalidates(&self, other: &Self) -> bool {
        self.uid == other.uid && self.number >= other.number
    }
}

/// Decides which hints are passed on.
#[derive(Debug)]
pub(super) struct Hints {
    own: u64,
    known: BTreeMap<u64, u64>,
    new: NewHints,
}

/// Hints that were not taken yet.
pub(super) type NewHints = Arc<Mutex<Vec<(UniqueAddress, Digest)>>>;

impl Hints {
    pub(super) fn new(own: u64, new: NewHints) -> Self {
        Self { own, known: BTreeMap::new(), new }
    }
}

/// This node's own hint.
pub(super) fn item(own: &Identity, number: u64, digest: Digest) -> Vec<u8> {
    let mut item = Vec::with_capacity(ITEM_MAX);
    item.put_u64(number);
    item.put_u128(digest.0);
    own.encode(&mut item);
    item
}

impl BroadcastHandler<Identity> for Hints {
    type Key = Key;
    type Error = Infallible;

    /// What is none is not passed on; an error would cost what else is in the datagram.
    fn receive_item(&mut self, mut data: &[u8], sender: Option<&Identity>) -> Result<Option<Key>, Infallible> {
        if data.len() > ITEM_MAX || data.len() < 8 + 16 {
            return Ok(None);
        }
        let (number, digest) = (data.get_u64(), Digest(data.get_u128()));
        let Ok(about) = Identity::decode(&mut data) else { return Ok(None) };
        let key = Key { uid: about.uid, number };
        if sender.is_none() {
            return Ok(Some(key));
        }
        let is_old = self.known.get(&about.uid).is_some_and(|known| *known >= number);
        let is_crowded = self.known.len() >= KNOWN_MAX && !self.known.contains_key(&about.uid);
        if !data.is_empty() || about.uid == self.own || is_old || is_crowded {
            return Ok(None);
        }
        self.known.insert(about.uid, number);
        let mut new = self.new.lock();
        if new.len() < NEW_MAX {
            new.push((UniqueAddress { address: about.address, uid: about.uid }, digest));
        }
        Ok(Some(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_is_passed_on_once_and_an_older_one_never() {
        let who = |uid| Identity { address: "n:1".parse().unwrap(), uid, start: 1, generation: 0 };
        let new = NewHints::default();
        let mut hints = Hints::new(1, Arc::clone(&new));
        let from = who(3);
        let mut receive = |item: &[u8]| hints.receive_item(item, Some(&from)).unwrap();
        let second = item(&who(2), 2, Digest(9));
        assert_eq!(receive(&second), Some(Key { uid: 2, number: 2 }));
        assert_eq!(receive(&second), None);
        assert_eq!(receive(&item(&who(2), 1, Digest(8))), None);
        assert_eq!(receive(&item(&who(1), 7, Digest(8))), None, "its own");
        for end in 0..second.len() {
            assert_eq!(receive(&second[..end]), None);
        }
        assert_eq!(receive(&vec![7; ITEM_MAX + 1]), None);
        assert_eq!(*new.lock(), [(UniqueAddress { address: "n:1".parse().unwrap(), uid: 2 }, Digest(9))]);
        assert!(Key { uid: 2, number: 3 }.invalidates(&Key { uid: 2, number: 2 }));
        assert!(!Key { uid: 2, number: 3 }.invalidates(&Key { uid: 4, number: 2 }));
    }
}
