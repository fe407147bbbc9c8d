//! [`Prover`]: both ends of a connection prove that they have a key of the ring.
//!
//! Each adds 32 random bytes to its introduction. Then each sends a code (HMAC-SHA256) over both introductions as they went
//! over the wire, made with the first key of its ring; the other takes it if any key of its own makes the same. A code is
//! good for this one handshake and this one direction: it can be neither replayed nor sent back, and who stands between
//! cannot change what either side says of itself.
//!
//! # What is promised
//! That whoever made a connection, and whoever it was made to, has a key. It says nothing of what goes over the connection
//! afterwards: that can be read, and changed, by who controls the network between. Against that there is TLS alone.

use crate::membership::swim::seal::KeyRing;
use bytes::Bytes;
use ring::hmac;
use std::{fmt, sync::Arc};

/// Random bytes of each side.
pub(crate) const NONCE: usize = 32;

/// Bytes of a code.
pub(crate) const CODE: usize = 32;

/// Proves, in one handshake, that this side has a key, and checks that the other has one.
#[derive(Clone)]
pub(crate) struct Prover {
    keys: Arc<[hmac::Key]>,
    nonce: [u8; NONCE],
}

/// Which side made a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Dialled,
    Accepted,
}

impl Prover {
    /// With a number that is drawn for this handshake alone.
    pub(crate) fn new(keys: &KeyRing, nonce: [u8; NONCE]) -> Self {
        Self { keys: keys.handshake_keys().collect(), nonce }
    }

    /// To go along with this side's introduction.
    pub(crate) fn nonce(&self) -> Bytes {
        Bytes::copy_from_slice(&self.nonce)
    }

    /// The code of `side`, that is this one.
    pub(crate) fn prove(&self, side: Side, said: &Transcript) -> Bytes {
        let first = self.keys.first().map(|key| hmac::sign(key, &said.text(side)));
        Bytes::copy_from_slice(first.as_ref().map_or(&[], hmac::Tag::as_ref))
    }

    /// Whether `code` is one of `side`, that is the other one. Takes as long whatever is wrong with it.
    pub(crate) fn is_proof(&self, side: Side, said: &Transcript, code: &[u8]) -> bool {
        let text = said.text(side);
        self.keys.iter().any(|key| hmac::verify(key, &text, code).is_ok())
    }
}

/// Tells nothing but how many keys there are.
impl fmt::Debug for Prover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Prover({})", self.keys.len())
    }
}

/// What both said before they prove anything, as it went over the wire.
#[derive(Clone, Debug)]
pub(crate) struct Transcript {
    pub(crate) hello: Bytes,
    pub(crate) welcome: Bytes,
}

impl Transcript {
    fn text(&self, side: Side) -> Vec<u8> {
        let label: &[u8] = match side {
            Side::Dialled => b"dialled",
            Side::Accepted => b"accepted",
        };
        let mut text = Vec::with_capacity(32 + self.hello.len() + self.welcome.len());
        for part in [label, &self.hello, &self.welcome] {
            text.extend_from_slice(&(part.len() as u64).to_be_bytes());
            text.extend_from_slice(part);
        }
        text
    }
}
