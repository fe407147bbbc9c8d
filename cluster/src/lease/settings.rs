//! [`LeaseSettings`]: how long, how often.

use crate::testkit::planted::{Bug, is_planted};
use std::time::Duration;

/// How leases are held. All owners of one lease must have the same `expires_after`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseSettings {
    /// After how long without renewal others may take it. Default 30 s; at least three renewals must fit.
    pub expires_after: Duration,
    /// How often it is renewed. Default 5 s.
    pub renew_every: Duration,
    /// How long the backend may take for one operation. Default 3 s; less than a renewal.
    pub operation_timeout: Duration,
}

impl Default for LeaseSettings {
    fn default() -> Self {
        Self {
            expires_after: Duration::from_secs(30),
            renew_every: Duration::from_secs(5),
            operation_timeout: Duration::from_secs(3),
        }
    }
}

/// Settings that cannot work together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidLeaseSettings {
    /// A late renewal would lose the lease.
    #[error("expires_after ({expires_after:?}) must be at least 3 × renew_every ({renew_every:?})")]
    ExpiresTooSoon {
        /// As given.
        expires_after: Duration,
        /// As given.
        renew_every: Duration,
    },
    /// A slow operation would hold up the next renewal.
    #[error(
        "operation_timeout ({operation_timeout:?}) must be more than zero and less than renew_every ({renew_every:?})"
    )]
    OperationTimeout {
        /// As given.
        operation_timeout: Duration,
        /// As given.
        renew_every: Duration,
    },
}

impl LeaseSettings {
    /// Whether they can work together.
    ///
    /// # Errors
    /// The two that do not, and how they must stand to each other.
    pub fn validate(&self) -> Result<(), InvalidLeaseSettings> {
        let Self { expires_after, renew_every, operation_timeout } = *self;
        if operation_timeout.is_zero() || operation_timeout >= renew_every {
            return Err(InvalidLeaseSettings::OperationTimeout { operation_timeout, renew_every });
        }
        if expires_after < renew_every * 3 {
            return Err(InvalidLeaseSettings::ExpiresTooSoon { expires_after, renew_every });
        }
        Ok(())
    }

    /// How long the owner itself counts on it after it began to renew: less than others wait, for clocks run at different
    /// rates.
    pub(super) fn valid_for(&self) -> Duration {
        if is_planted(Bug::HeldTooLong) {
            return self.expires_after * 2;
        }
        self.expires_after - self.expires_after / 20
    }
}
