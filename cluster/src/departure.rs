//! [`Departure`]: why a node is no member any more.

use crate::{downing::Stop, membership::node::StopReason};
use actors::ShutdownReason;
use std::fmt;

/// Why a node is no member any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Departure {
    /// It left, as it was asked to.
    Left,
    /// It was given up by the others, or by an operator.
    Down,
    /// It was removed, and learned of it later.
    Removed,
    /// Another process runs at its address.
    Replaced,
    /// The others go on without it, since it could not reach them.
    OtherSide,
    /// It could reach some and not others, and those that it could reach go on without it.
    PartlyCut,
    /// Nobody can be sure which side goes on, or none is enough: all stop.
    AllStop,
    /// Who could reach whom did not settle.
    Unstable,
    /// Those that it could reach did not agree with it in time.
    NoAgreement,
    /// It had yet to come, or was about to leave, and could reach nobody who decides what becomes of it. Or it stood still
    /// until all whom it knew were gone.
    Stranded,
    /// The other side has the lease.
    LeaseDenied,
    /// Most of the others cut it off.
    Quarantined,
}

impl Departure {
    pub(crate) fn of(reason: StopReason) -> Self {
        match reason {
            StopReason::Left => Self::Left,
            StopReason::Down => Self::Down,
            StopReason::Removed => Self::Removed,
            StopReason::Replaced => Self::Replaced,
            StopReason::Unreachable(Stop::OtherSide) => Self::OtherSide,
            StopReason::Unreachable(Stop::PartlyCut) => Self::PartlyCut,
            StopReason::Unreachable(Stop::All) => Self::AllStop,
            StopReason::Unstable => Self::Unstable,
            StopReason::NoAgreement => Self::NoAgreement,
            StopReason::Stranded => Self::Stranded,
            StopReason::LeaseDenied => Self::LeaseDenied,
            StopReason::Quarantined => Self::Quarantined,
        }
    }

    /// What the system is shut down for then: in good order only by one that left.
    pub fn shutdown_reason(self) -> ShutdownReason {
        match self {
            Self::Left => ShutdownReason::ClusterLeft,
            _ => ShutdownReason::ClusterDowned,
        }
    }
}

impl fmt::Display for Departure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Left => "it left, as it was asked to",
            Self::Down => "it was given up",
            Self::Removed => "it was removed",
            Self::Replaced => "another process runs at its address",
            Self::OtherSide => "it could not reach the others, who go on without it",
            Self::PartlyCut => "it was partly cut off",
            Self::AllStop => "nobody can be sure which side goes on",
            Self::Unstable => "who could reach whom did not settle",
            Self::NoAgreement => "those that it could reach did not agree with it",
            Self::Stranded => {
                "it was about to come or to leave, or had stood still, and nobody whom it knew was there to see to it"
            }
            Self::LeaseDenied => "the other side has the lease",
            Self::Quarantined => "most of the others cut it off",
        })
    }
}
