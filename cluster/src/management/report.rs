//! [`ClusterReport`]: what one node knows, for people and for tools.

use crate::{cluster::Cluster, member::Member};
use serde::Serialize;
use std::collections::BTreeMap;

/// What one node knows of its cluster. Fields may be added.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ClusterReport {
    /// The node that says so: where it is, `HOST:PORT`.
    pub node: String,
    /// Who acts for all.
    pub leader: Option<String>,
    /// The first of those with each role.
    pub role_leaders: BTreeMap<String, String>,
    /// All members, in the order of addresses.
    pub members: Vec<MemberReport>,
    /// For how many seconds this node may serve singletons and shards without a further word of the others. 0: not at all.
    pub hosting_seconds: f64,
    /// How much this node has dropped, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// How many news of who is alive wait to be passed on: see [`Cluster::news_waiting`].
    pub news_waiting: usize,
}

/// One member.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct MemberReport {
    /// Where it is, `HOST:PORT`.
    pub address: String,
    /// Which life, in 16 hexadecimal digits.
    pub uid: String,
    /// `Joining`, `WeaklyUp`, `Up`, `PreparingForShutdown`, `ReadyForShutdown`, `Leaving`, `Exiting` or `Down`.
    pub status: String,
    /// Whether all can reach it.
    pub reachable: bool,
    /// Its place in the order in which members became up.
    pub up_number: Option<u64>,
    /// What it is there for.
    pub roles: Vec<String>,
    /// Where it stands.
    pub data_center: String,
    /// The version of its program.
    pub app_version: String,
}

impl ClusterReport {
    pub(super) fn of(cluster: &Cluster) -> Self {
        let state = cluster.state();
        let member = |member: &Member| MemberReport {
            address: member.node.address.to_string(),
            uid: format!("{:016x}", member.node.uid),
            status: format!("{:?}", member.status),
            reachable: !state.unreachable.contains(&member.node),
            up_number: member.up_number,
            roles: member.roles.iter().map(ToString::to_string).collect(),
            data_center: member.data_center.to_string(),
            app_version: member.app_version.to_string(),
        };
        Self {
            node: cluster.me().address.to_string(),
            leader: state.leader.as_ref().map(|leader| leader.address.to_string()),
            role_leaders: state
                .role_leaders
                .iter()
                .map(|(role, leader)| (role.to_string(), leader.address.to_string()))
                .collect(),
            members: state.members.iter().map(member).collect(),
            hosting_seconds: cluster.hosting().remaining().as_secs_f64(),
            dropped: cluster.dropped(),
            news_waiting: cluster.news_waiting(),
        }
    }
}
