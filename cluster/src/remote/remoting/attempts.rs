//! [`Attempts`]: how the last attempt to connect to each node ended, if it failed. For who waits to be let in, and is not.

use crate::{member::Address, remote::handshake::HandshakeError};
use parking_lot::Mutex;
use std::{collections::BTreeMap, io};

/// Nodes that are remembered: as many as there may be seeds.
const REMEMBERED_MAX: usize = 64;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotConnected {
    #[error("nobody takes connections there: {0}")]
    Nobody(io::Error),
    #[error("nobody answers there")]
    Silence,
    #[error("TLS: {0}")]
    Tls(io::Error),
    #[error("TLS: no answer in time")]
    TlsSilence,
    #[error(transparent)]
    Handshake(HandshakeError),
}

impl NotConnected {
    pub(super) fn handshake(self) -> Option<HandshakeError> {
        match self {
            Self::Handshake(error) => Some(error),
            _ => None,
        }
    }
}

/// The failures that nothing better followed.
#[derive(Debug, Default)]
pub(super) struct Attempts(Mutex<BTreeMap<Address, String>>);

impl Attempts {
    pub(super) fn failed(&self, to: &Address, why: &NotConnected) {
        let mut failures = self.0.lock();
        if failures.len() < REMEMBERED_MAX || failures.contains_key(to) {
            failures.insert(to.clone(), why.to_string());
        }
    }

    pub(super) fn succeeded(&self, to: &Address) {
        self.0.lock().remove(to);
    }

    pub(super) fn failure(&self, to: &Address) -> Option<String> {
        self.0.lock().get(to).cloned()
    }
}
