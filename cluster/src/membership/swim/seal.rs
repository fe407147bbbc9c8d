//! [`Seal`]: lets in only what members of this cluster sent, once.
//!
//! # On the wire
//! A datagram is the version of the protocol (1 byte), how it is closed (1 byte) and
//! - closed with 0: the digest of the cluster's name (8), that of the message (8), then the message as it is. Keeps clusters
//!   apart and drops what was damaged on its way, but keeps no attacker out.
//! - closed with 1: the uid of the sender (8), the number of the datagram (8), the message encrypted, and a tag (16).
//!
//! # Keys
//! Each sender encrypts with a key of its own, that HKDF-SHA256 makes from the first key of the ring and the uid. Under it
//! the number of a datagram is used once, as the nonce of ChaCha20-Poly1305. What stands before the message and the
//! name of the cluster are authenticated with it.
//!
//! To change keys without a gap, go through all nodes three times: add the new key at the end, then put it first, then drop
//! the old one. A datagram is opened with any key of the ring.
//!
//! # What is promised
//! A datagram that was damaged, or is for another cluster, is dropped: one flipped bit would make another life of it, which
//! others would hear of. With keys so is one that was changed on purpose, or made without a key, or taken before. A node
//! that just started does not know what was sent before: it takes an old datagram of each sender, up to the first newer one
//! that it hears. That can make it take somebody for alive until it has probed them, and nobody for dead, because all
//! but a knock at the door is addressed to one life of one node.

use actors::Tick;
use bytes::{BufMut, Bytes, BytesMut};
use ring::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, Prk, Salt},
    hmac,
};
use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};
use xxhash_rust::xxh3::xxh3_64;

/// The version of the protocol that this node speaks.
pub(crate) const VERSION: u8 = 1;
/// What a datagram is longer than its message, at most.
pub(crate) const OVERHEAD: usize = SEALED_HEAD + 16;

const PLAIN: u8 = 0;
const SEALED: u8 = 1;
const PLAIN_HEAD: usize = 2 + 8 + 8;
const SEALED_HEAD: usize = 2 + 8 + 8;

const KEYS_MAX: usize = 8;
/// Senders whose datagrams are remembered, and how long one must have been quiet to make room for another.
const SENDERS_MAX: usize = 8192;
const QUIET: Duration = Duration::from_secs(60);

/// The secrets that members share: the first one closes, any opens.
#[derive(Clone)]
pub struct KeyRing(Vec<Prk>);

impl KeyRing {
    /// From keys of 32 random bytes each.
    ///
    /// # Errors
    /// There are none, more than 8, or one twice.
    pub fn new(keys: &[[u8; 32]]) -> Result<Self, InvalidKeyRing> {
        let twice = (1..keys.len()).find(|at| keys[..*at].contains(&keys[*at]));
        match (keys.len(), twice) {
            (0, _) => Err(InvalidKeyRing::Empty),
            (many, _) if many > KEYS_MAX => Err(InvalidKeyRing::TooMany(many)),
            (_, Some(at)) => Err(InvalidKeyRing::Twice(at + 1)),
            (_, None) => {
                let salt = Salt::new(HKDF_SHA256, b"cluster membership datagrams");
                Ok(Self(keys.iter().map(|key| salt.extract(key)).collect()))
            }
        }
    }
}

impl KeyRing {
    /// Keys of their own for proofs in handshakes, in the order of the ring.
    pub(crate) fn handshake_keys(&self) -> impl Iterator<Item = hmac::Key> {
        let expand = |secret: &Prk| {
            let key = secret.expand(&[b"handshake"], hmac::HMAC_SHA256);
            key.expect("a key is shorter than what HKDF can make").into()
        };
        self.0.iter().map(expand)
    }
}

/// Tells nothing but how many there are.
impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyRing({})", self.0.len())
    }
}

/// Keys that make no [`KeyRing`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidKeyRing {
    /// It has none.
    #[error("the key ring is empty: give it at least one key of 32 random bytes")]
    Empty,
    /// It has more than anybody needs.
    #[error("the key ring has {0} keys, and may have 8: drop those that no node closes with any more")]
    TooMany(usize),
    /// One is there twice.
    #[error("key {0} of the key ring is there twice: drop it")]
    Twice(usize),
}

/// Why a datagram was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Dropped {
    /// It is longer or shorter than any, or no message of ours is in it.
    Malformed,
    /// It is of another version of the protocol.
    Version,
    /// It was not sealed, but this node has keys.
    Unsealed,
    /// It was sealed, but this node has no keys.
    Sealed,
    /// It was not sealed and belongs to another cluster.
    Cluster,
    /// It was not sealed and is not as it was sent.
    Damaged,
    /// No key opens it: it was changed, made with another key, or for another cluster.
    Unauthentic,
    /// It was taken before, or is too old to know.
    Replayed,
    /// It comes from this node's own address.
    Own,
    /// It says that this node was given up, but this generation has only just begun.
    Doubted,
    /// There are too many senders or members already.
    Crowded,
    /// This node has left.
    Left,
}

/// Closes what this node sends and opens what others did.
#[derive(Debug)]
pub(crate) struct Seal {
    cluster: Arc<str>,
    uid: u64,
    keys: Option<KeyRing>,
    sent: u64,
    senders: BTreeMap<u64, Window>,
}

impl Seal {
    /// For the life `uid` of a node of `cluster`. Without keys nothing is encrypted.
    pub(crate) fn new(cluster: Arc<str>, uid: u64, keys: Option<KeyRing>) -> Self {
        Self { cluster, uid, keys, sent: 0, senders: BTreeMap::new() }
    }

    /// Goes on with other keys. What was taken is remembered.
    pub(crate) fn rotate(&mut self, keys: KeyRing) {
        self.keys = Some(keys);
    }

    /// A datagram around `message`.
    pub(crate) fn close(&mut self, message: &[u8]) -> Bytes {
        let mut datagram = BytesMut::with_capacity(message.len() + OVERHEAD);
        datagram.put_u8(VERSION);
        let Some(KeyRing(keys)) = &self.keys else {
            datagram.put_u8(PLAIN);
            datagram.put_u64(xxh3_64(self.cluster.as_bytes()));
            datagram.put_u64(xxh3_64(message));
            datagram.put_slice(message);
            return datagram.freeze();
        };
        self.sent += 1;
        datagram.put_u8(SEALED);
        datagram.put_u64(self.uid);
        datagram.put_u64(self.sent);
        let aad = aad(&datagram, &self.cluster);
        let mut text = datagram.split_off(SEALED_HEAD);
        text.put_slice(message);
        key(&keys[0], self.uid)
            .seal_in_place_append_tag(nonce(self.sent), aad, &mut text)
            .expect("a datagram is shorter than what the cipher takes");
        datagram.unsplit(text);
        datagram.freeze()
    }

    /// The message in `datagram`.
    pub(crate) fn open(&mut self, datagram: &[u8], now: Tick) -> Result<Vec<u8>, Dropped> {
        let [version, closed, ..] = *datagram else { return Err(Dropped::Malformed) };
        match (version, closed, &self.keys) {
            (VERSION, PLAIN, None) => self.open_plain(datagram),
            (VERSION, PLAIN, Some(_)) => Err(Dropped::Unsealed),
            (VERSION, SEALED, Some(_)) => self.open_sealed(datagram, now),
            (VERSION, SEALED, None) => Err(Dropped::Sealed),
            (VERSION, ..) => Err(Dropped::Malformed),
            _ => Err(Dropped::Version),
        }
    }

    fn open_plain(&self, datagram: &[u8]) -> Result<Vec<u8>, Dropped> {
        let (head, message) = datagram.split_at_checked(PLAIN_HEAD).ok_or(Dropped::Malformed)?;
        if number_at(head, 2) != xxh3_64(self.cluster.as_bytes()) {
            return Err(Dropped::Cluster);
        }
        if number_at(head, 10) != xxh3_64(message) {
            return Err(Dropped::Damaged);
        }
        Ok(message.to_vec())
    }

    fn open_sealed(&mut self, datagram: &[u8], now: Tick) -> Result<Vec<u8>, Dropped> {
        let (head, text) = datagram.split_at_checked(SEALED_HEAD).ok_or(Dropped::Malformed)?;
        let (uid, number) = (number_at(head, 2), number_at(head, 10));
        if uid == self.uid {
            return Err(Dropped::Own);
        }
        // Cheaper than decrypting it to find out.
        if self.senders.get(&uid).is_some_and(|window| !window.is_new(number)) {
            return Err(Dropped::Replayed);
        }
        let keys = self.keys.iter().flat_map(|ring| &ring.0);
        let message = keys.into_iter().find_map(|secret| {
            let mut text = text.to_vec();
            let opened = key(secret, uid).open_in_place(nonce(number), aad(head, &self.cluster), &mut text).ok()?.len();
            text.truncate(opened);
            Some(text)
        });
        let message = message.ok_or(Dropped::Unauthentic)?;
        self.window(uid, now)?.take(number, now);
        Ok(message)
    }

    /// What was taken from the sender `uid`, who has proven to have a key.
    fn window(&mut self, uid: u64, now: Tick) -> Result<&mut Window, Dropped> {
        if self.senders.len() >= SENDERS_MAX && !self.senders.contains_key(&uid) {
            let (quietest, heard) = self
                .senders
                .iter()
                .map(|(uid, window)| (*uid, window.heard))
                .min_by_key(|(_, heard)| *heard)
                .expect("there are many");
            if heard + QUIET > now {
                return Err(Dropped::Crowded);
            }
            self.senders.remove(&quietest);
        }
        Ok(self.senders.entry(uid).or_insert_with(|| Window::new(now)))
    }
}

/// What is authenticated with a message: what stands before it, and the name of the cluster.
fn aad(head: &[u8], cluster: &str) -> Aad<Vec<u8>> {
    Aad::from([head, cluster.as_bytes()].concat())
}

fn key(secret: &Prk, uid: u64) -> LessSafeKey {
    let info = [b"sender".as_slice(), &uid.to_be_bytes()];
    let derived = secret.expand(&info, &CHACHA20_POLY1305).expect("a key is shorter than what HKDF can make");
    LessSafeKey::new(UnboundKey::from(derived))
}

fn nonce(number: u64) -> Nonce {
    let mut bytes = [0; NONCE_LEN];
    bytes[NONCE_LEN - 8..].copy_from_slice(&number.to_be_bytes());
    Nonce::assume_unique_for_key(bytes)
}

fn number_at(head: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(*head[at..].first_chunk().expect("the head was cut to its length"))
}

/// Which datagrams of one sender were taken: of the last 1024 numbers each is known, those before are too old.
#[derive(Clone, Debug)]
struct Window {
    highest: u64,
    taken: [u64; Self::WORDS],
    heard: Tick,
}

impl Window {
    const WORDS: usize = 16;
    const NUMBERS: u64 = Self::WORDS as u64 * 64;

    fn new(heard: Tick) -> Self {
        // The first number is 1: so 0 counts as taken.
        Self { highest: 0, taken: [0; Self::WORDS], heard }
    }

    fn bit(number: u64) -> (usize, u64) {
        let at = number % Self::NUMBERS;
        (usize::try_from(at / 64).expect("it is below 16"), 1 << (at % 64))
    }

    fn is_new(&self, number: u64) -> bool {
        let (word, bit) = Self::bit(number);
        match self.highest.checked_sub(number) {
            None => true,
            Some(behind) => number > 0 && behind < Self::NUMBERS && self.taken[word] & bit == 0,
        }
    }

    fn take(&mut self, number: u64, now: Tick) {
        if number > self.highest {
            if number - self.highest >= Self::NUMBERS {
                self.taken = [0; Self::WORDS];
            } else {
                // These places belonged to numbers that are too old now.
                for skipped in self.highest + 1..=number {
                    let (word, bit) = Self::bit(skipped);
                    self.taken[word] &= !bit;
                }
            }
            self.highest = number;
        }
        let (word, bit) = Self::bit(number);
        self.taken[word] |= bit;
        self.heard = now;
    }
}

#[cfg(test)]
#[path = "seal_tests.rs"]
mod tests;
