//! What managers and proxies of one singleton say to each other. Any may be lost, late or come twice.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum SingletonMessage {
    /// I am to host: give me the token that is between us.
    Ask,
    /// You get it once the instance here has stopped.
    InProgress,
    /// The token, which was passed so many times. `wait_ms`: nobody may start before, for some that are gone may not have
    /// stopped yet. `term`: the highest I know of.
    Give { passed: u64, wait_ms: u64, term: u64 },
    /// I have it, in the version that was passed so many times.
    Took { passed: u64 },
    /// Is the instance with you?
    WhoHosts,
    /// It is, in this term.
    Hosting { term: u64 },
    /// It is, in this term, and about to stop: send it no more, and say so.
    Closing { term: u64 },
    /// I send it no more in this term.
    Closed { term: u64 },
    /// It was, in this term, and is no more.
    Over { term: u64 },
    /// It is not; it may be with the life that has this uid.
    NotHere { hint: Option<u64> },
}
