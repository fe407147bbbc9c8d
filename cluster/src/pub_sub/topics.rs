//! [`Topics`]: what a node knows of who listens to what, and the actor that keeps it equal to what others know.

use super::interests::{Effect, GossipMessage, Input, Interests, Route, Subject};
use crate::{
    event::ClusterEvent,
    member::MemberStatus,
    refs::Refs,
    remote::wire::WireMessage,
    rng::Rng,
    tools::{Membership, Peers},
};
use actors::{Actor, ActorContext, ActorRef, ActorSystem, Behavior, Handled, Props};
use parking_lot::Mutex;
use rand::{SeedableRng, rngs::ChaCha8Rng};
use serde::{Deserialize, Serialize};
use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};
use tracing::{debug, error, warn};

/// What others find it by.
const NAME: &str = "cluster/topics";

/// What nodes say to each other about topics, and who says it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct GossipEnvelope {
    from: u64,
    message: GossipMessage,
}

impl WireMessage for GossipEnvelope {
    const NAME: &'static str = "cluster.Topics";
}

/// One node's part in all topics. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Topics(Arc<Inner>);

struct Inner {
    interests: Arc<Mutex<Interests>>,
    hub: ActorRef<HubMessage>,
    /// Those that were started on this node, each of its own type.
    started: Mutex<BTreeMap<Arc<str>, Arc<dyn Any + Send + Sync>>>,
}

pub(super) enum HubMessage {
    /// Somebody on this node listens, or nobody does any more.
    Own {
        subject: Subject,
        listens: bool,
    },
    Envelope(GossipEnvelope),
    /// Something happened to members.
    Event,
    Time,
}

impl Topics {
    pub(crate) fn start(system: &ActorSystem, refs: &Refs, members: &Arc<dyn Membership>, rng: &Rng) -> Self {
        let me = members.myself().node.uid;
        let numbers = ChaCha8Rng::from_rng(&mut rng.fork("topics"));
        let interests = Arc::new(Mutex::new(Interests::new(me, numbers)));
        let (shared, refs, members) = (interests.clone(), refs.clone(), members.clone());
        let hub = system.spawn_internal(
            "cluster-topics",
            Props::new(move || Hub {
                interests: shared.clone(),
                peers: Peers::new(&refs, &members, NAME),
                refs: refs.clone(),
                members: members.clone(),
            }),
        );
        Self(Arc::new(Inner { interests, hub, started: Mutex::default() }))
    }

    /// Where a message of `topic` goes now, by node.
    pub(super) fn routes(&self, topic: &str) -> BTreeMap<u64, Route> {
        self.0.interests.lock().routes(topic)
    }

    pub(super) fn listens(&self, subject: Subject, listens: bool) {
        self.0.hub.tell(HubMessage::Own { subject, listens });
    }

    /// The one of that name, started by `start` if there is none. None: there is one of another type.
    pub(super) fn topic<T: Any + Send + Sync>(&self, name: &Arc<str>, start: impl FnOnce() -> T) -> Option<Arc<T>> {
        let mut started = self.0.started.lock();
        let topic = started.entry(name.clone()).or_insert_with(|| Arc::new(start()));
        topic.clone().downcast().ok()
    }
}

struct Hub {
    interests: Arc<Mutex<Interests>>,
    peers: Peers<GossipEnvelope>,
    refs: Refs,
    members: Arc<dyn Membership>,
}

impl Hub {
    fn step(&mut self, ctx: &ActorContext<HubMessage>, input: Input) {
        let effects = self.interests.lock().step(input, ctx.clock().now());
        let from = self.members.myself().node.uid;
        for effect in effects {
            match effect {
                Effect::Send { to, message } => self.peers.tell(to, GossipEnvelope { from, message }),
                Effect::Dropped(why) => debug!(?why, "news of topics are not acted on"),
            }
        }
    }

    fn members_changed(&mut self, ctx: &ActorContext<HubMessage>) {
        let state = self.members.state();
        let members = state.members.iter().filter(|member| member.status < MemberStatus::Down);
        let members: BTreeSet<u64> = members.map(|member| member.node.uid).collect();
        self.step(ctx, Input::Members(members));
        self.step(ctx, Input::Unreachable(state.unreachable.iter().map(|node| node.uid).collect()));
    }
}

impl Actor for Hub {
    type Message = HubMessage;

    async fn started(&mut self, ctx: &mut ActorContext<HubMessage>) -> Handled {
        if let Err(error) = self.refs.name(NAME, &ctx.this().map(HubMessage::Envelope)) {
            error!(%error, "this node does not hear who listens to which topic");
        }
        self.members.subscribe(ctx.this().map(|_: ClusterEvent| HubMessage::Event));
        ctx.timers().start_single("wake", std::time::Duration::ZERO, HubMessage::Time);
        Ok(Behavior::Same)
    }

    async fn receive(&mut self, ctx: &mut ActorContext<HubMessage>, message: HubMessage) -> Handled {
        match message {
            HubMessage::Own { subject, listens } => {
                if !self.interests.lock().has_room(&subject) {
                    warn!(topic = %subject.topic, "this node listens to too much: others do not hear that it listens to this");
                }
                self.step(ctx, Input::Own { subject, listens });
            }
            HubMessage::Envelope(GossipEnvelope { from, message }) => self.step(ctx, Input::Message { from, message }),
            HubMessage::Event => self.members_changed(ctx),
            HubMessage::Time => {
                self.step(ctx, Input::Time);
                let at = self.interests.lock().wake_at();
                let delay = at - ctx.clock().now();
                ctx.timers().start_single("wake", delay, HubMessage::Time);
            }
        }
        Ok(Behavior::Same)
    }
}
