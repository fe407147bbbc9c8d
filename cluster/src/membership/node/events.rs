//! What subscribers see: each step of the node ends with the difference to what they saw before.

use super::{Effect, Node};
use crate::{
    event::{ClusterEvent, ClusterState},
    member::{Member, MemberStatus, UniqueAddress},
    membership::table::Digest,
};
use actors::Tick;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// What all events so far amount to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Snapshot {
    pub(crate) members: BTreeMap<u64, Member>,
    pub(crate) unreachable: BTreeSet<u64>,
    pub(crate) leader: Option<UniqueAddress>,
    pub(crate) role_leaders: BTreeMap<Arc<str>, UniqueAddress>,
}

impl Snapshot {
    /// As users see it.
    pub(crate) fn state(&self) -> ClusterState {
        let mut members: Vec<Member> = self.members.values().cloned().collect();
        members.sort_by(|one, two| one.node.cmp(&two.node));
        let node = |uid: &u64| self.members.get(uid).map(|member| member.node.clone());
        ClusterState {
            members,
            unreachable: self.unreachable.iter().filter_map(node).collect(),
            leader: self.leader.clone(),
            role_leaders: self.role_leaders.clone(),
        }
    }
}

/// What subscribers know.
#[derive(Debug, Default)]
pub(super) struct Published {
    snapshot: Snapshot,
    /// Of the table that they know.
    digest: Option<Digest>,
    unreachable_since: BTreeMap<u64, Tick>,
}

impl Published {
    pub(super) fn status(&self, uid: u64) -> Option<MemberStatus> {
        self.snapshot.members.get(&uid).map(|member| member.status)
    }
}

impl Node {
    /// What subscribers know.
    pub(crate) fn published(&self) -> &Snapshot {
        &self.published.snapshot
    }

    pub(super) fn subscribe(&mut self, subscriber: u64) {
        let snapshot = self.published.snapshot.clone();
        self.out.push(Effect::Snapshot { subscriber, snapshot });
    }

    pub(super) fn publish(&mut self, now: Tick) {
        let digest = Some(self.table.digest());
        if std::mem::replace(&mut self.published.digest, digest) == digest {
            return;
        }
        let after = self.snapshot();
        let before = std::mem::replace(&mut self.published.snapshot, after.clone());
        let mut events = Vec::new();
        for (uid, member) in &after.members {
            if before.members.get(uid).map(|known| known.status) != Some(member.status) {
                events.extend(entered(member));
            }
        }
        for uid in &after.unreachable {
            self.published.unreachable_since.entry(*uid).or_insert(now);
            if !before.unreachable.contains(uid) {
                events.extend(after.members.get(uid).cloned().map(ClusterEvent::Unreachable));
            }
        }
        for uid in before.unreachable.difference(&after.unreachable) {
            events.extend(after.members.get(uid).cloned().map(ClusterEvent::Reachable));
        }
        for (uid, member) in before.members.iter().filter(|(uid, _)| !after.members.contains_key(uid)) {
            let since = self.published.unreachable_since.get(uid).copied();
            let free_at = self.free_at(member, before.members.len(), since, now);
            let member_after = Member { status: MemberStatus::Removed, ..member.clone() };
            events.push(ClusterEvent::Removed { member: member_after, previous: member.status, free_at });
            self.cut_off(member, now);
        }
        self.leading.forget_gone(&self.table);
        self.freed.forget_gone(|uid| after.members.contains_key(&uid));
        super::retain(&mut self.published.unreachable_since, |uid| after.unreachable.contains(&uid));
        if before.leader != after.leader {
            events.push(ClusterEvent::LeaderChanged(after.leader.clone()));
        }
        let roles: BTreeSet<&Arc<str>> = before.role_leaders.keys().chain(after.role_leaders.keys()).collect();
        for role in roles {
            let leader = after.role_leaders.get(role);
            if before.role_leaders.get(role) != leader {
                events.push(ClusterEvent::RoleLeaderChanged { role: role.clone(), leader: leader.cloned() });
            }
        }
        self.out.extend(events.into_iter().map(Effect::Publish));
    }

    fn snapshot(&self) -> Snapshot {
        let me = self.myself.node.uid;
        let leader = |role: Option<&str>| self.table.leader(me, role).map(|leader| leader.node.clone());
        let roles: BTreeSet<&Arc<str>> = self.table.members().flat_map(|member| &member.roles).collect();
        Snapshot {
            members: self.table.members().map(|member| (member.node.uid, member.clone())).collect(),
            unreachable: self.table.unreachable(),
            leader: leader(None),
            role_leaders: roles
                .into_iter()
                .filter_map(|role| leader(Some(role)).map(|leader| (role.clone(), leader)))
                .collect(),
        }
    }

    fn cut_off(&mut self, member: &Member, now: Tick) {
        if member.node == self.myself.node {
            return;
        }
        let left = member.status == MemberStatus::Exiting;
        let at = if left { now + super::reach::QUARANTINE_AFTER } else { now };
        self.reach.quarantine_at(at, member.node.clone());
    }
}

/// Nothing for one that is removed: it is no member of any table.
fn entered(member: &Member) -> Option<ClusterEvent> {
    let member = member.clone();
    Some(match member.status {
        MemberStatus::Joining => ClusterEvent::Joined(member),
        MemberStatus::WeaklyUp => ClusterEvent::WeaklyUp(member),
        MemberStatus::Up => ClusterEvent::Up(member),
        MemberStatus::PreparingForShutdown => ClusterEvent::PreparingForShutdown(member),
        MemberStatus::ReadyForShutdown => ClusterEvent::ReadyForShutdown(member),
        MemberStatus::Leaving => ClusterEvent::Left(member),
        MemberStatus::Exiting => ClusterEvent::Exited(member),
        MemberStatus::Down => ClusterEvent::Downed(member),
        MemberStatus::Removed => return None,
    })
}
