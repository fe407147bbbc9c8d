//! The receptionist across nodes: what actors of one node have registered is listed on all of them.
//!
//! Actors use [`ActorSystem::receptionist`](actors::ActorSystem::receptionist) as ever; [`actors::GroupRouter`] and work pulling
//! come on top of that. The actor here tells other nodes what is registered on this one, and lists what they tell. Listings
//! are eventually the same everywhere; who cannot be reached is left out of `instances`, who is removed out of all.
//!
//! Registered actors whose messages do not travel are listed on their own node alone.

mod message;
mod state;
#[cfg(test)]
mod state_tests;
#[cfg(test)]
pub(crate) mod tests;

use crate::{
    event::{ClusterEvent, ClusterState},
    member::UniqueAddress,
    refs::{NameError, Refs},
    remote::wire::RegistryBuilder,
};
use actors::{Actor, ActorContext, ActorRef, ActorSystem, Behavior, Handled, Registration, Registrations};
use message::{Entry, Told, pieces};
use state::{Effect, State};
use std::{
    any::TypeId,
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};
use tracing::info;

/// What it is called on all nodes.
const NAME: &str = "system/receptionist";

/// Changes that come within this time are told together.
const TOGETHER: Duration = Duration::from_millis(20);

/// How long a node may take to say that it has what it was told.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

const SPREAD: &str = "spread";

/// Bytes of a key that is told to others.
const KEY_MAX: usize = 1024;

/// What the receptionist across nodes understands.
pub(crate) enum Message {
    /// What this node sees of its cluster.
    Cluster(ClusterEvent),
    /// What this node's actors have registered.
    Own(Registrations),
    Told(Told),
    Spread,
}

impl From<ClusterEvent> for Message {
    fn from(event: ClusterEvent) -> Self {
        Self::Cluster(event)
    }
}

/// The types it needs to have registered.
#[must_use]
pub(crate) fn protocol(registry: RegistryBuilder) -> RegistryBuilder {
    registry.message::<Told>()
}

/// Starts it; it is to be told what the node sees of its cluster: `narrow::<ClusterEvent>()` of the reference subscribes.
///
/// # Errors
/// Its [`protocol`] is not registered.
pub(crate) fn start(system: &ActorSystem, refs: &Refs) -> Result<ActorRef<Message>, NameError> {
    let actor = system.spawn_internal("cluster-receptionist", ClusterReceptionist::new(refs.clone()));
    refs.name(NAME, &actor.map(Message::Told))?;
    Ok(actor)
}

struct ClusterReceptionist {
    refs: Refs,
    state: State,
    /// The others' receptionists.
    others: BTreeMap<UniqueAddress, ActorRef<Told>>,
    /// What is new is told within [`TOGETHER`].
    is_soon: bool,
    /// Types of messages that do not travel, and of which that was said.
    stays: BTreeSet<TypeId>,
}

impl Actor for ClusterReceptionist {
    type Message = Message;

    async fn started(&mut self, ctx: &mut ActorContext<Message>) -> Handled {
        ctx.system().receptionist().subscribe_own(&ctx.this().map(Message::Own));
        Ok(Behavior::Same)
    }

    async fn receive(&mut self, ctx: &mut ActorContext<Message>, message: Message) -> Handled {
        let mut effects = Vec::new();
        let is_spread = matches!(message, Message::Spread);
        match message {
            Message::Cluster(event) => self.cluster(&event, &mut effects),
            Message::Own(Registrations { owner, version, entries }) => {
                let entries = entries.iter().filter_map(|entry| self.entry(entry)).collect();
                self.state.own(owner, version, pieces(entries));
            }
            Message::Told(told) => self.state.told(told, &mut effects),
            Message::Spread => self.state.spread(&mut effects),
        }
        effects.into_iter().for_each(|effect| self.carry_out(ctx, effect));
        if is_spread {
            self.is_soon = false;
            if self.state.lacks() {
                ctx.timers().start_single(SPREAD, AGAIN_AFTER, Message::Spread);
            }
        } else if !self.is_soon && self.state.lacks_news() {
            self.is_soon = true;
            ctx.timers().start_single(SPREAD, TOGETHER, Message::Spread);
        }
        Ok(Behavior::Same)
    }
}

impl ClusterReceptionist {
    fn new(refs: Refs) -> Self {
        Self {
            state: State::new(refs.me().clone()),
            refs,
            others: BTreeMap::new(),
            is_soon: false,
            stays: BTreeSet::new(),
        }
    }

    fn entry(&mut self, registration: &Registration) -> Option<Entry> {
        let key = registration.key_name().to_owned();
        let exported = self.refs.export(registration);
        if exported.is_none() && !self.refs.travels(registration) && self.stays.insert(registration.message_type_id()) {
            let (message_type, actor) = (registration.message_type(), registration.path());
            info!(key, message_type, %actor, "listed on this node alone: for others, register its messages with `ClusterConfig::message`");
        }
        let actor = exported.filter(|_| key.len() <= KEY_MAX)?;
        Some(Entry { key, actor })
    }

    fn cluster(&mut self, event: &ClusterEvent, out: &mut Vec<Effect>) {
        match event {
            ClusterEvent::Current(state) => {
                let ClusterState { members, unreachable, .. } = &**state;
                let reachable = |node: &UniqueAddress| !unreachable.contains(node);
                let members = members.iter().map(|member| (member.node.clone(), reachable(&member.node))).collect();
                self.state.members(&members, out);
            }
            ClusterEvent::Joined(member)
            | ClusterEvent::WeaklyUp(member)
            | ClusterEvent::Up(member)
            | ClusterEvent::Reachable(member) => self.state.member(&member.node, true, out),
            ClusterEvent::Unreachable(member) => self.state.member(&member.node, false, out),
            ClusterEvent::Removed { member, .. } => self.state.removed(&member.node, out),
            _ => {}
        }
    }

    fn carry_out(&mut self, ctx: &ActorContext<Message>, effect: Effect) {
        let receptionist = ctx.system().receptionist();
        match effect {
            Effect::Send { to, message } => {
                if let Some(other) = self.other(&to) {
                    other.tell(message);
                }
            }
            Effect::Install { from, owner, version, entries } => {
                let registered = |entry: &Entry| self.refs.registration(&from, &entry.key, &entry.actor);
                let entries = entries.iter().filter_map(registered).collect();
                receptionist.install(Registrations { owner, version, entries });
            }
            Effect::Remove { owner } => {
                self.others.retain(|node, _| self.state.knows(node));
                receptionist.remove_owner(owner);
            }
            Effect::Reachable { owner, is } => receptionist.set_reachable(owner, is),
        }
    }

    fn other(&mut self, node: &UniqueAddress) -> Option<&ActorRef<Told>> {
        if !self.others.contains_key(node) {
            let other = self.refs.named(node, NAME).ok()?;
            self.others.insert(node.clone(), other);
        }
        self.others.get(node)
    }
}
