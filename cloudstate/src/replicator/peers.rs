//! The other nodes, and when enough of them have answered.

use std::collections::BTreeSet;
use std::sync::Arc;

use actors::{Clock, Tick};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;

use super::WriteConsistency;
use crate::crdt::{Crdt, ReplicaId};

/// The replicas whose nodes are up.
pub type Members = Arc<BTreeSet<ReplicaId>>;

/// What one replica tells another about a key.
#[derive(Clone, Debug)]
pub enum Change {
    /// Merge this in.
    Merge(Arc<Crdt>),
    /// It is deleted.
    Delete,
}

/// What a replica knows of a key.
#[derive(Clone, Debug)]
pub enum Read {
    /// Its value.
    Value(Arc<Crdt>),
    /// Nothing.
    Absent,
    /// It is deleted.
    Deleted,
}

/// The way to the other replicas.
pub trait Peers: Send + Sync + 'static {
    /// The replicas whose nodes are up, this one included.
    fn members(&self) -> watch::Receiver<Members>;

    /// A local change was made that is to reach everybody sometime. Must not block.
    fn spread(&self, key: &str, change: &Change);

    /// Hands a change to a replica; completes when it has it, with `None` if that is not going to happen.
    fn write(&self, to: ReplicaId, key: &str, change: &Change) -> BoxFuture<'static, Option<()>>;

    /// Asks a replica what it knows; `None` if it is not going to answer.
    fn read(&self, from: ReplicaId, key: &str) -> BoxFuture<'static, Option<Read>>;
}

/// There are no others.
#[derive(Debug)]
pub struct Alone {
    members: watch::Sender<Members>,
}

impl Alone {
    /// The one replica.
    pub fn new(own: ReplicaId) -> Self {
        Self { members: watch::Sender::new(Arc::new(BTreeSet::from([own]))) }
    }
}

impl Peers for Alone {
    fn members(&self) -> watch::Receiver<Members> {
        self.members.subscribe()
    }

    fn spread(&self, _key: &str, _change: &Change) {}

    fn write(&self, _to: ReplicaId, _key: &str, _change: &Change) -> BoxFuture<'static, Option<()>> {
        Box::pin(std::future::ready(None))
    }

    fn read(&self, _from: ReplicaId, _key: &str) -> BoxFuture<'static, Option<Read>> {
        Box::pin(std::future::ready(None))
    }
}

/// How many of the members must have it, this one included.
fn needed(consistency: WriteConsistency, members: usize) -> usize {
    match consistency {
        WriteConsistency::Local => 1,
        WriteConsistency::Majority => members / 2 + 1,
        WriteConsistency::All => members.max(1),
    }
}

/// Asks all other members at once until as many as needed have answered; false if they do not by the deadline.
pub(super) async fn reach<F: Future<Output = Option<()>>>(
    consistency: WriteConsistency,
    own: ReplicaId,
    members: &BTreeSet<ReplicaId>,
    clock: &Clock,
    deadline: Tick,
    ask: impl Fn(ReplicaId) -> F,
) -> bool {
    // This replica has it already, but counts only as a member.
    let own_vote = usize::from(members.contains(&own) || members.is_empty());
    let mut missing = match consistency {
        WriteConsistency::Local => 0,
        _ => needed(consistency, members.len()) - own_vote,
    };
    if missing == 0 {
        return true;
    }
    let mut answers: FuturesUnordered<F> =
        members.iter().filter(|member| **member != own).map(|peer| ask(*peer)).collect();
    let enough = async {
        while let Some(answer) = answers.next().await {
            missing -= usize::from(answer.is_some());
            if missing == 0 {
                return true;
            }
        }
        false
    };
    clock.timeout(deadline - clock.now(), enough).await.unwrap_or(false)
}
