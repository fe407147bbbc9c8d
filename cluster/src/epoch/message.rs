//! What members say to each other about epochs. Any may be lost or come twice.

use crate::membership::table::Digest;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Which table a council is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct CouncilId(u64, u64);

impl From<Digest> for CouncilId {
    fn from(Digest(digest): Digest) -> Self {
        Self((digest >> 64) as u64, digest as u64)
    }
}

/// Orders attempts: who makes it is part of it, so no two are the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Ballot {
    pub(crate) number: u64,
    pub(crate) uid: u64,
}

/// The highest epoch that somebody knows, and whose it is. Zero: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Known {
    pub(crate) epoch: u64,
    pub(crate) owner: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum EpochMessage {
    /// What do you know, now that this is the council?
    Pull {
        council: CouncilId,
    },
    /// All of it.
    State {
        council: CouncilId,
        entries: Vec<(Arc<str>, Known)>,
    },
    Prepare {
        council: CouncilId,
        name: Arc<str>,
        ballot: Ballot,
    },
    /// I accept nothing below `ballot` any more, and this is the highest I know.
    Promise {
        council: CouncilId,
        name: Arc<str>,
        ballot: Ballot,
        known: Known,
    },
    Accept {
        council: CouncilId,
        name: Arc<str>,
        ballot: Ballot,
        epoch: u64,
    },
    Accepted {
        council: CouncilId,
        name: Arc<str>,
        ballot: Ballot,
    },
    /// I promised another one more.
    Refused {
        council: CouncilId,
        name: Arc<str>,
        ballot: Ballot,
        promised: Ballot,
    },
    /// This was agreed on.
    Learn {
        name: Arc<str>,
        known: Known,
    },
}
