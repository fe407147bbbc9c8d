//! [`Tools`]: what singletons, topics and whatever else is on top of membership use of a node.

use crate::{
    epoch::{Council, EpochEnvelope, Epochs},
    event::{ClusterEvent, ClusterState},
    lease::HostingDeadline,
    member::{Member, UniqueAddress},
    membership::daemon::{inbox::Wish, shared::Shared},
    pub_sub::{GossipEnvelope, Topics},
    receptionist,
    refs::Refs,
    remote::wire::{RegistryBuilder, WireMessage},
    rng::Rng,
    singleton::SingletonEnvelope,
};
use actors::{ActorRef, ActorSystem};
use std::{collections::BTreeMap, sync::Arc};
use tokio::sync::watch;

/// The membership of a node, for whoever is on top of it.
pub(crate) trait Membership: Send + Sync + 'static {
    /// This node, as it joined.
    fn myself(&self) -> &Member;

    /// What is known now. It may be ahead of the events that a subscriber has got.
    fn state(&self) -> Arc<ClusterState>;

    /// It gets all events from now on, after the state.
    fn subscribe(&self, to: ActorRef<ClusterEvent>);

    /// Until when this node may serve what it hosts.
    fn hosting(&self) -> &HostingDeadline;

    /// The members in a table that all of them have, while there is one.
    fn council(&self) -> watch::Receiver<Option<Council>>;
}

impl Membership for Shared {
    fn myself(&self) -> &Member {
        &self.myself
    }

    fn state(&self) -> Arc<ClusterState> {
        Self::state(self)
    }

    fn subscribe(&self, to: ActorRef<ClusterEvent>) {
        if let Err(error) = self.inbox.wish(Wish::Subscribe(to)) {
            tracing::warn!(%error, "a tool of the cluster does not hear of members");
        }
    }

    fn hosting(&self) -> &HostingDeadline {
        &self.hosting
    }

    fn council(&self) -> watch::Receiver<Option<Council>> {
        self.council.subscribe()
    }
}

/// See the module's documentation. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Tools {
    pub(crate) system: ActorSystem,
    pub(crate) refs: Refs,
    pub(crate) members: Arc<dyn Membership>,
    pub(crate) epochs: Epochs,
    pub(crate) topics: Topics,
}

impl Tools {
    /// Starts what each node has: its part in the receptionist, epochs and topics.
    pub(crate) fn start(system: &ActorSystem, refs: &Refs, members: Arc<dyn Membership>, rng: &Rng) -> Self {
        match receptionist::start(system, refs) {
            Ok(receptionist) => members.subscribe(receptionist.narrow()),
            // Its protocol is registered in `messages`, and there is room for the first name.
            Err(error) => tracing::error!(%error, "what other nodes have registered is not known here"),
        }
        let epochs = Epochs::start(system, refs, &members, rng);
        let topics = Topics::start(system, refs, &members, rng);
        Self { system: system.clone(), refs: refs.clone(), members, epochs, topics }
    }

    /// Registers what the tools of nodes say to each other.
    pub(crate) fn messages(builder: RegistryBuilder) -> RegistryBuilder {
        let builder = receptionist::protocol(builder);
        builder.message::<EpochEnvelope>().message::<SingletonEnvelope>().message::<GossipEnvelope>()
    }
}

/// Actors of one name on other nodes, by the uids of their lives.
pub(crate) struct Peers<M: Send + 'static> {
    refs: Refs,
    members: Arc<dyn Membership>,
    name: String,
    known: BTreeMap<u64, ActorRef<M>>,
}

impl<M: WireMessage> Peers<M> {
    pub(crate) fn new(refs: &Refs, members: &Arc<dyn Membership>, name: impl Into<String>) -> Self {
        Self { refs: refs.clone(), members: members.clone(), name: name.into(), known: BTreeMap::new() }
    }

    /// The one on that life's node, if it is a member and messages reach it.
    pub(crate) fn get(&mut self, uid: u64) -> Option<&ActorRef<M>> {
        if !self.known.contains_key(&uid) {
            let state = self.members.state();
            let node: &UniqueAddress = state.members.iter().map(|member| &member.node).find(|node| node.uid == uid)?;
            let named = self.refs.named(node, &self.name).ok()?;
            self.known.retain(|uid, _| state.members.iter().any(|member| member.node.uid == *uid));
            self.known.insert(uid, named);
        }
        self.known.get(&uid)
    }

    /// Sends it there, or nowhere.
    pub(crate) fn tell(&mut self, uid: u64, message: M) {
        if let Some(peer) = self.get(uid) {
            peer.tell(message);
        }
    }
}

#[cfg(test)]
#[path = "tools_tests.rs"]
mod tests;
