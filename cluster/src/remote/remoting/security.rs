//! [`Security`]: what keeps strangers out of handshakes.

use super::hub::Hub;
use crate::{
    member::{Address, UniqueAddress},
    membership::swim::seal::KeyRing,
    remote::{
        lives::{Standing, Standings},
        proof::{NONCE, Prover},
        tls::{Certificate, Tls},
        transport::ByteStream,
    },
    rng::Rng,
};
use parking_lot::Mutex;
use rand::Rng as _;
use std::{io, sync::Arc};

/// The keys and certificates of one node, or none.
#[derive(Debug)]
pub(super) struct Security {
    keys: Mutex<Option<KeyRing>>,
    tls: Option<Arc<Tls>>,
    numbers: Mutex<Rng>,
}

impl Security {
    pub(super) fn new(keys: Option<KeyRing>, tls: Option<Arc<Tls>>, numbers: Rng) -> Self {
        Self { keys: Mutex::new(keys), tls, numbers: Mutex::new(numbers) }
    }

    /// Goes on with other keys. A node that began without any stays so.
    pub(super) fn rotate(&self, keys: KeyRing) {
        self.keys.lock().as_mut().into_iter().for_each(|known| *known = keys.clone());
    }

    /// Whether a refusal at first comes from a node of the cluster: it is said before anybody has proved that it has a key.
    pub(super) fn vouches_for_refusals(&self) -> bool {
        self.tls.is_some() || self.keys.lock().is_none()
    }

    /// For one handshake; none: there are no keys.
    pub(super) fn prover(&self) -> Option<Prover> {
        let keys = self.keys.lock().clone()?;
        let mut nonce = [0; NONCE];
        self.numbers.lock().fill_bytes(&mut nonce);
        Some(Prover::new(&keys, nonce))
    }

    /// Goes on over TLS, if there is to be any.
    pub(super) async fn dialled(&self, stream: ByteStream, to: &Address) -> io::Result<(ByteStream, Certificate)> {
        match &self.tls {
            Some(tls) => tls.dialled(stream, to).await,
            None => Ok((stream, Certificate::None)),
        }
    }

    /// Goes on over TLS, if there is to be any.
    pub(super) async fn accepted(&self, stream: ByteStream) -> io::Result<(ByteStream, Certificate)> {
        match &self.tls {
            Some(tls) => tls.accepted(stream).await,
            None => Ok((stream, Certificate::None)),
        }
    }
}

/// Judges who is at the other end of a connection.
pub(super) struct Certified<'a> {
    pub(super) hub: &'a Hub,
    pub(super) certificate: Certificate,
}

impl Standings for Certified<'_> {
    fn standing(&self, life: &UniqueAddress) -> Standing {
        self.hub.standing(life)
    }

    fn is_certified(&self, node: &UniqueAddress) -> bool {
        self.certificate.is_for(&node.address)
    }
}
