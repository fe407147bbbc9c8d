//! Why a node is no member, or did not do what it was asked to.

use crate::{
    config::ConfigError,
    departure::Departure,
    member::{Address, InvalidAddress, UniqueAddress},
    remote::tcp::BindError,
};
use std::{collections::BTreeMap, fmt, io, time::Duration};

/// Why this node is no member.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The port could not be bound.
    #[error(transparent)]
    Bind(BindFailed),
    /// Another process has this node's address: others would take the one for the other, and give both up in turn.
    #[error("{me} does not start, for another process answers at the address that it advertises: {said}")]
    AddressTaken {
        /// The life that does not start.
        me: UniqueAddress,
        /// What the other one says; it names itself.
        said: String,
    },
    /// What was bound is no address others could use.
    #[error(transparent)]
    Address(#[from] InvalidAddress),
    /// The system gave no thread, or no random numbers.
    #[error("the cluster cannot be started: {0}")]
    Io(#[from] io::Error),
    /// There is a cluster, and some of its settings are others.
    #[error("{by} does not let this node in, for these settings differ: {}", List(.differing))]
    Refused {
        /// Who said so.
        by: UniqueAddress,
        /// Which they are.
        differing: Vec<SettingDifference>,
    },
    /// It was not up in time.
    #[error("not up within {within:?}: asked {}", Asked(.me, .asked, .failed))]
    TimedOut {
        /// This node, as others are to reach it.
        me: Address,
        /// The time that was given.
        within: Duration,
        /// Through whom it wanted to join.
        asked: Vec<Address>,
        /// Those of them that there was no connection to in the end, and why: nobody is there, or one of the two refused the
        /// other. The rest were reached, and did not let this node in.
        failed: BTreeMap<Address, String>,
    },
    /// It was let in, and is no member any more already.
    #[error("it is no member any more: {0}")]
    Stopped(Departure),
    /// The actor system is about to end.
    #[error("the actor system is shutting down")]
    ShuttingDown,
}

/// Why there is no port.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct BindFailed(BindError);

impl From<BindError> for JoinError {
    fn from(error: BindError) -> Self {
        Self::Bind(BindFailed(error))
    }
}

/// A setting that differs between the cluster and a node that wants in. [Secrets](crate::ClusterConfig::shared_secret) are
/// masked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingDifference {
    /// Its name.
    pub key: String,
    /// Its value in the cluster.
    pub of_cluster: String,
    /// Its value at the node that wants in.
    pub of_joiner: String,
}

impl fmt::Display for SettingDifference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {} in the cluster and {} here", self.key, self.of_cluster, self.of_joiner)
    }
}

/// Why a node did not do what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// As far as this node knows nobody is there.
    #[error("nobody is a member at {0}")]
    NotAMember(Address),
    /// This node is no member any more.
    #[error("this node is no member any more: {0}")]
    Stopped(Departure),
    /// It goes on, and did not come to an end in time.
    #[error("not done within {0:?}; it goes on")]
    NotWithin(Duration),
    /// Too much waits already. Nothing was done; a later attempt may succeed.
    #[error("the cluster's daemon has too much to do: try again later")]
    Busy,
}

/// Through whom one wanted to join, and what came of it.
struct Asked<'a>(&'a Address, &'a [Address], &'a BTreeMap<Address, String>);

impl fmt::Display for Asked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(me, asked, failed) = self;
        if asked.is_empty() {
            return f.write_str("nobody, for it was not known through whom to join");
        }
        for (n, address) in asked.iter().enumerate() {
            write!(f, "{}{address}", if n == 0 { "" } else { "; " })?;
            if let Some(why) = failed.get(address) {
                write!(f, " ({why})")?;
            }
        }
        if !asked.contains(me) {
            write!(f, "; this node is {me}, which is none of these, so it begins no cluster by itself")?;
        }
        Ok(())
    }
}

struct List<'a, T>(&'a [T]);

impl<T: fmt::Display> fmt::Display for List<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, item) in self.0.iter().enumerate() {
            write!(f, "{}{item}", if n == 0 { "" } else { "; " })?;
        }
        Ok(())
    }
}
