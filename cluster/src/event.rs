//! [`ClusterEvent`] and [`ClusterState`]: what one node sees of its cluster.

use crate::member::{Address, Member, MemberStatus, UniqueAddress};
use actors::Tick;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// One thing that this node noticed.
///
/// # Ordering
/// All events of one node come in the order in which it noticed them; nothing is promised between nodes. Steps that came
/// together may be told as one: a member that joined and became up while this node was cut off is told as up.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClusterEvent {
    /// All that came before, in one piece. The first that a subscriber gets; and again in place of events that there was no
    /// room for in its mailbox.
    Current(Arc<ClusterState>),
    /// It wants in.
    Joined(Member),
    /// It may work, but counts for nothing.
    WeaklyUp(Member),
    /// It is a full member.
    Up(Member),
    /// The whole cluster is about to stop.
    PreparingForShutdown(Member),
    /// It is ready for the whole cluster to stop.
    ReadyForShutdown(Member),
    /// It wants to leave.
    Left(Member),
    /// It hands over its work.
    Exited(Member),
    /// It was given up.
    Downed(Member),
    /// It is no member any more.
    Removed {
        /// As it is now.
        member: Member,
        /// Where it was in its life, as far as this node knew.
        previous: MemberStatus,
        /// From then on, by the clock of this node's system, it certainly does nothing any more, so others may do what it
        /// did.
        free_at: Tick,
    },
    /// Somebody cannot reach it. It is a member all the same, and may be back in a moment.
    Unreachable(Member),
    /// All can reach it again.
    Reachable(Member),
    /// Another member acts for all.
    LeaderChanged(Option<UniqueAddress>),
    /// Another member is the first of those with this role.
    RoleLeaderChanged {
        /// Which role.
        role: Arc<str>,
        /// The first of them; none if nobody has it any more.
        leader: Option<UniqueAddress>,
    },
}

/// The cluster as one node sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClusterState {
    /// All members, in the order of addresses: those that join and those that are Down included.
    pub members: Vec<Member>,
    /// Whom somebody cannot reach.
    pub unreachable: BTreeSet<UniqueAddress>,
    /// Who acts for all.
    pub leader: Option<UniqueAddress>,
    /// The first of those with each role.
    pub role_leaders: BTreeMap<Arc<str>, UniqueAddress>,
}

impl ClusterState {
    /// The member with this life.
    pub fn member(&self, node: &UniqueAddress) -> Option<&Member> {
        let place = self.members.binary_search_by(|member| member.node.cmp(node)).ok()?;
        self.members.get(place)
    }

    /// The members at this address: more than one while a life that is over is not removed yet.
    pub fn at(&self, address: &Address) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(move |member| member.node.address == *address)
    }

    /// The member that has been up for longest, of those that are full members and have `role`.
    pub fn oldest(&self, role: Option<&str>) -> Option<&Member> {
        let full = self.members.iter().filter(|member| member.status.is_full() && member.has_role(role));
        full.min_by(|one, two| one.by_age(two))
    }
}
