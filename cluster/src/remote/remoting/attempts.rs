//! [`Attempts`]: how the last attempt to connect to each node ended, if it failed. For who waits to be let in, and is not,
//! and for the log.

use crate::{
    member::Address,
    remote::handshake::{HandshakeError, Kind},
};
use parking_lot::Mutex;
use std::{collections::BTreeMap, io};
use tracing::{debug, warn};

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
    /// Whether trying again does not help: somebody is there, and will not.
    fn is_refusal(&self) -> bool {
        match self {
            // Another life there is how its end is noticed.
            Self::Handshake(error) => {
                !matches!(error, HandshakeError::TimedOut | HandshakeError::Closed) && !error.is_for(Kind::Life)
            }
            Self::Tls(error) => error.kind() == io::ErrorKind::InvalidData,
            Self::Nobody(_) | Self::Silence | Self::TlsSilence => false,
        }
    }

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
    /// Told once, until it is for another reason or one succeeds.
    pub(super) fn failed(&self, to: &Address, why: &NotConnected) {
        let reason = why.to_string();
        let is_news = self.is_news(to, &reason);
        if is_news && why.is_refusal() {
            warn!(%to, reason, "no connection");
        } else {
            debug!(%to, reason, "no connection");
        }
    }

    fn is_news(&self, to: &Address, reason: &str) -> bool {
        let mut failures = self.0.lock();
        if failures.len() >= REMEMBERED_MAX && !failures.contains_key(to) {
            return false;
        }
        failures.insert(to.clone(), reason.to_owned()).is_none_or(|before| before != reason)
    }

    pub(super) fn succeeded(&self, to: &Address) {
        self.0.lock().remove(to);
    }

    pub(super) fn failure(&self, to: &Address) -> Option<String> {
        self.0.lock().get(to).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_failure_is_news_once_until_it_has_succeeded() {
        let (attempts, peer) = (Attempts::default(), Address::new("peer", 2551).unwrap());
        assert!(attempts.is_news(&peer, "refused"));
        assert!(!attempts.is_news(&peer, "refused"));
        assert!(attempts.is_news(&peer, "silent"));
        attempts.succeeded(&peer);
        assert!(attempts.is_news(&peer, "silent"));
    }

    #[test]
    fn no_more_are_remembered_than_there_is_room_for() {
        let attempts = Attempts::default();
        let address = |port| Address::new("peer", port).unwrap();
        assert!((1..=64).all(|port| attempts.is_news(&address(port), "refused")));
        assert!(!attempts.is_news(&address(65), "refused"));
        assert_eq!(attempts.failure(&address(65)), None);
    }
}
