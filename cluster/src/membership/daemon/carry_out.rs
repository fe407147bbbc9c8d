//! Carries out what the node wants.

use super::{Daemon, shared::Stage};
use crate::{
    event::ClusterEvent,
    member::{Member, MemberStatus, UniqueAddress},
    membership::{
        codec,
        node::{Effect, Input, LeaseAnswer, Message},
    },
    remote::{
        door::{Channel, Remote},
        transport::Lane,
    },
};
use actors::Tick;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tracing::{debug, info, warn};

/// Bytes of a part of a message: what a frame holds without the byte that says whom it is for.
pub(super) fn part_max() -> usize {
    Lane::Control.message_max() - 1
}

/// Lives that were told that they are removed, and are cut off once that has passed.
#[derive(Debug, Default)]
pub(super) struct Farewells(BTreeMap<UniqueAddress, (Tick, bool)>);

/// How long the word takes, with a connection that has to be made.
const FAREWELL_TAKES: Duration = Duration::from_secs(2);
const FAREWELLS_MAX: usize = 4096;

impl Farewells {
    fn told(&mut self, node: &UniqueAddress, now: Tick) {
        if self.0.len() < FAREWELLS_MAX {
            self.0.entry(node.clone()).or_insert((now + FAREWELL_TAKES, false));
        }
    }

    /// `false`: it was told nothing, and can be cut off at once.
    fn cut_off_later(&mut self, node: &UniqueAddress) -> bool {
        self.0.get_mut(node).map(|(_, cut_off)| *cut_off = true).is_some()
    }

    /// Whether no word of it counts any more.
    pub(super) fn is_bid(&self, node: &UniqueAddress) -> bool {
        self.0.get(node).is_some_and(|(_, cut_off)| *cut_off)
    }

    pub(super) fn due(&self) -> Option<Tick> {
        self.0.values().map(|(at, _)| *at).min()
    }

    pub(super) fn carry_out(&mut self, now: Tick, remote: &dyn Remote) {
        for (node, (_, cut_off)) in self.0.extract_if(.., |_, (at, _)| *at <= now) {
            if cut_off {
                remote.quarantine(&node);
            }
        }
    }
}

impl Daemon {
    pub(super) async fn carry_out(&mut self, effect: Effect, now: Tick) {
        match effect {
            Effect::Send { to, message } => {
                if matches!(message, Message::YouAreRemoved) {
                    self.farewells.told(&to, now);
                }
                self.send(&to.address, Some(to.uid), &message);
            }
            Effect::SendTo { to, message } => self.send(&to, None, &message),
            Effect::Hint(digest) => self.swim.hint(digest),
            Effect::Snapshot { subscriber, snapshot } => {
                self.subscribers.begin(subscriber, &Arc::new(snapshot.state()))
            }
            Effect::Publish(event) => self.publish(event),
            Effect::JoinRefused { by, differing } => {
                warn!(%by, ?differing, "the cluster does not take this node as it is");
                self.shared.enter(Stage::Refused { by, differing });
            }
            Effect::HostUntil(until) => self.shared.hosting.set(until),
            Effect::StopHosting(reason) => {
                info!(node = %self.me, ?reason, "this node hosts nothing any more");
                self.shared.hosting.end();
            }
            Effect::StopProcess(reason) => {
                info!(node = %self.me, ?reason, "this node is no member any more");
                self.stopped = Some(now);
                let effects = self.swim.leave(now);
                for (to, datagram) in effects.send {
                    self.mail.send(to, datagram).await;
                }
                self.shared.enter(Stage::Stopped(reason));
            }
            Effect::Quarantine(node) => {
                if !self.farewells.cut_off_later(&node) {
                    self.remote.quarantine(&node);
                }
            }
            Effect::AskForLease | Effect::ReleaseLease => self.use_lease(&effect),
            Effect::Council(council) => drop(self.shared.council.send_replace(council)),
            Effect::Dropped(reason) => {
                debug!(node = %self.me, ?reason, "not acted on");
                self.shared.counts.dropped_by_node(reason);
            }
            Effect::WakeAt(at) => self.wake = Some(at),
        }
    }

    fn send(&mut self, to: &crate::member::Address, life: Option<u64>, message: &Message) {
        match self.splitter.split(&codec::encode(message), part_max()) {
            Some(parts) => {
                parts.into_iter().for_each(|part| self.remote.send(to, life, Channel::Membership, Lane::Control, part))
            }
            None => {
                warn!(%to, "a table of members is too large to be told");
                self.shared.counts.dropped("messages: too large to send");
            }
        }
    }

    fn publish(&mut self, event: ClusterEvent) {
        let event = match event {
            // Users have no other clock than that of their system.
            ClusterEvent::Removed { member, previous, free_at } => {
                ClusterEvent::Removed { member, previous, free_at: self.uptime.on_clock(free_at) }
            }
            other => other,
        };
        if let (ClusterEvent::Removed { member, .. }, Some(removed)) = (&event, &self.removed) {
            removed(&member.node);
        }
        self.tell_remoting(&event);
        info!(node = %self.me, ?event, "cluster");
        *self.shared.state.write() = Arc::new(self.node.published().state());
        self.subscribers.publish(&event);
        self.enter_stage();
    }

    /// Who is a member is not forgotten when idle.
    fn tell_remoting(&mut self, event: &ClusterEvent) {
        match event {
            ClusterEvent::Removed { member, .. } if self.members.remove(&member.node) => {
                self.remote.member(&member.node, false);
            }
            ClusterEvent::Joined(member)
            | ClusterEvent::WeaklyUp(member)
            | ClusterEvent::Up(member)
            | ClusterEvent::PreparingForShutdown(member)
            | ClusterEvent::ReadyForShutdown(member)
            | ClusterEvent::Left(member)
            | ClusterEvent::Exited(member) => self.is_member(member),
            _ => {}
        }
    }

    fn is_member(&mut self, member: &Member) {
        debug_assert!(member.status < MemberStatus::Down);
        if member.node != self.me && self.members.insert(member.node.clone()) {
            self.remote.member(&member.node, true);
        }
    }

    fn use_lease(&self, effect: &Effect) {
        let inbox = Arc::clone(&self.shared.inbox);
        let Some(lease) = &self.lease else {
            // The configuration demands one: without it no side goes on.
            return inbox.answer_lease(LeaseAnswer::Unknown);
        };
        let answer = move |input| {
            if let Input::LeaseAnswer(answer) = input {
                inbox.answer_lease(answer);
            }
        };
        if let Some(using) = lease.carry_out(effect, answer) {
            self.seams.ordinary.spawn(Box::pin(using));
        }
    }
}
