//! [`Epochs`]: the actor that keeps this node's part of the register, and how to ask it.

use super::{Council, Effect, EpochMessage, EpochRegister, Input};
use crate::{
    refs::Refs,
    remote::wire::WireMessage,
    rng::Rng,
    tools::{Membership, Peers},
};
use actors::{Actor, ActorContext, ActorRef, ActorSystem, Behavior, Handled, Props, ReplyTo};
use rand::{SeedableRng, rngs::ChaCha8Rng};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};
use tracing::{debug, error};

/// What others find it by.
const NAME: &str = "cluster/epochs";

/// What members say to each other about epochs, and who says it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct EpochEnvelope {
    from: u64,
    message: EpochMessage,
}

impl WireMessage for EpochEnvelope {
    const NAME: &'static str = "cluster.Epochs";
}

/// This node's part of the register. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Epochs(ActorRef<KeeperMessage>);

pub(crate) enum KeeperMessage {
    Raise { name: Arc<str>, floor: u64, reply_to: ReplyTo<u64> },
    Council(Option<Council>),
    Envelope(EpochEnvelope),
    Time,
}

impl Epochs {
    pub(crate) fn start(system: &ActorSystem, refs: &Refs, members: &Arc<dyn Membership>, rng: &Rng) -> Self {
        let mut rng = rng.fork("epochs");
        let (refs, members) = (refs.clone(), members.clone());
        let keeper = system.spawn_internal(
            "cluster-epochs",
            Props::new(move || Keeper {
                register: EpochRegister::new(members.myself().node.uid, ChaCha8Rng::from_rng(&mut rng)),
                peers: Peers::new(&refs, &members, NAME),
                refs: refs.clone(),
                members: members.clone(),
                replies: BTreeMap::new(),
                next_id: 0,
            }),
        );
        Self(keeper)
    }

    /// To ask for the next epoch of a name with [`KeeperMessage::Raise`]. Whoever asks again for the same name takes the place
    /// of the question before; one that nobody waits for any more is given up with it.
    pub(crate) fn keeper(&self) -> &ActorRef<KeeperMessage> {
        &self.0
    }
}

struct Keeper {
    register: EpochRegister,
    peers: Peers<EpochEnvelope>,
    refs: Refs,
    members: Arc<dyn Membership>,
    replies: BTreeMap<u64, (Arc<str>, ReplyTo<u64>)>,
    next_id: u64,
}

impl Actor for Keeper {
    type Message = KeeperMessage;

    async fn started(&mut self, ctx: &mut ActorContext<KeeperMessage>) -> Handled {
        let envelopes = ctx.this().map(KeeperMessage::Envelope);
        if let Err(error) = self.refs.name(NAME, &envelopes) {
            error!(%error, "epochs are not to be had by this node");
        }
        let (this, mut council) = (ctx.this().clone(), self.members.council());
        ctx.spawn_task(async move {
            loop {
                let now = council.borrow_and_update().clone();
                this.tell(KeeperMessage::Council(now));
                if council.changed().await.is_err() {
                    return;
                }
            }
        });
        Ok(Behavior::Same)
    }

    async fn receive(&mut self, ctx: &mut ActorContext<KeeperMessage>, message: KeeperMessage) -> Handled {
        let input = match message {
            KeeperMessage::Raise { name, floor, reply_to } => {
                let id = self.next_id;
                self.next_id += 1;
                self.replies.retain(|_, (of, _)| *of != name);
                self.replies.insert(id, (name.clone(), reply_to));
                Input::Raise { id, name, floor }
            }
            KeeperMessage::Council(council) => Input::Council(council),
            KeeperMessage::Envelope(EpochEnvelope { from, message }) => Input::Message { from, message },
            KeeperMessage::Time => Input::Time,
        };
        let now = ctx.clock().now();
        for effect in self.register.step(input, now) {
            match effect {
                Effect::Send { to, message } => {
                    let from = self.members.myself().node.uid;
                    self.peers.tell(to, EpochEnvelope { from, message });
                }
                Effect::Raised { id, epoch, .. } => {
                    if let Some((_, reply_to)) = self.replies.remove(&id) {
                        reply_to.tell(epoch);
                    }
                }
                Effect::Dropped(why) => debug!(?why, "not acted on"),
            }
        }
        match self.register.wake_at() {
            Some(at) => ctx.timers().start_single("wake", at - now, KeeperMessage::Time),
            None => ctx.timers().cancel("wake"),
        }
        Ok(Behavior::Same)
    }
}
