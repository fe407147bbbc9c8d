//! One actor a service: starts its entities on demand and holds commands back while one passivates.
//!
//! Invariant: of one entity id there is at most one entity actor; the next is started only when the
//! former has fully stopped. Nothing that reaches the region is lost: until an entity has stopped,
//! commands are either in its mailbox before its `Stop`, or held here.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use std::time::Duration;

use actors::{Actor, ActorContext, ActorRef, AskError, Behavior, Clock, Handled, ReplyTo};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt};
use tonic::Code;

use crate::call::{CallError, Replies, Requests};
use crate::entity::crdt::Sink;
use crate::entity::{Answer, Command, Component, EntityCommand};

/// What a region hands to its entities.
#[derive(Debug)]
pub enum EntityMessage<I> {
    /// Serve this command.
    Command(Box<EntityCommand>),
    /// Finish what came before, close the stream, stop.
    Stop,
    /// What only the entity itself may send.
    #[doc(hidden)]
    Internal(I),
}

/// Makes the actor of one entity, given its id and the way to ask for passivation.
pub trait EntityFactory: Send + 'static {
    /// What the entity sends itself.
    type Internal: Send + 'static;
    /// The entity's actor.
    type Entity: Actor<Message = EntityMessage<Self::Internal>> + Send + 'static;
    /// Makes the entity `id`; it calls `passivate` when it wants to be sent [`EntityMessage::Stop`].
    fn create(&self, id: &Arc<str>, passivate: Passivate) -> Self::Entity;
}

/// An entity's request to its region to be stopped.
#[derive(Debug, Clone)]
pub struct Passivate {
    region: ActorRef<RegionMessage>,
    id: Arc<str>,
}

impl Passivate {
    /// Asks the region to hold further commands back and to send [`EntityMessage::Stop`]; false if it could not be asked.
    pub fn request(&self) -> bool {
        self.region.try_tell(RegionMessage::Passivate(PassivateEntity(self.id.clone()))).is_ok()
    }

    /// Hands a command back to the region, which delivers it again: to this entity's successor if it has been asked for
    /// passivation before.
    pub fn hand_back(&self, command: Box<EntityCommand>) {
        self.region.tell(RegionMessage::Deliver { id: self.id.clone(), command });
    }
}

/// The region's protocol.
#[derive(Debug)]
pub enum RegionMessage {
    /// Hands a command to the entity, starting it first when it is not running.
    Deliver {
        /// The entity's id.
        id: Arc<str>,
        /// The command.
        command: Box<EntityCommand>,
    },
    /// Stops all entities when they have finished what they have, then answers. Later commands are
    /// answered UNAVAILABLE.
    Drain {
        /// Told when no entity is left.
        reply_to: ReplyTo<()>,
    },
    /// How many entities are running.
    Count(ReplyTo<usize>),
    #[doc(hidden)]
    Passivate(PassivateEntity),
    #[doc(hidden)]
    Terminated(EntityTerminated),
    #[doc(hidden)]
    StopAgain(StopAgain),
}

/// Sealed: only an entity of this region can build one.
#[derive(Debug)]
pub struct PassivateEntity(Arc<str>);

/// Sealed: only this module can build one.
#[derive(Debug)]
pub struct EntityTerminated(Arc<str>);

/// Sealed: only this module can build one.
#[derive(Debug)]
pub struct StopAgain;

/// Between two attempts to stop an entity whose mailbox is full.
const STOP_AGAIN: Duration = Duration::from_millis(50);

struct Running<I> {
    entity: ActorRef<EntityMessage<I>>,
    /// Commands that arrived after `Stop` was sent; `None` while it was not.
    held: Option<VecDeque<Box<EntityCommand>>>,
}

/// The actor.
pub struct Region<F: EntityFactory> {
    factory: F,
    held_max: usize,
    running: HashMap<Arc<str>, Running<F::Internal>>,
    /// For good: a region that has been drained takes no more commands.
    draining: bool,
    /// Told when no entity is left.
    drained: Vec<ReplyTo<()>>,
}

impl<F: EntityFactory> Region<F> {
    /// A region without entities; at most `held_max` commands are held for one that is stopping.
    pub fn new(factory: F, held_max: usize) -> Self {
        Self { factory, held_max, running: HashMap::new(), draining: false, drained: Vec::new() }
    }

    fn deliver(&mut self, ctx: &mut ActorContext<RegionMessage>, id: Arc<str>, command: Box<EntityCommand>) {
        if self.draining {
            command.reply_to.tell(Err(CallError::status(Code::Unavailable, "the sidecar is shutting down")));
            return;
        }
        match self.running.get_mut(&id) {
            None => self.start(ctx, id, command),
            Some(Running { held: Some(held), .. }) if held.len() < self.held_max => held.push_back(command),
            Some(Running { held: Some(_), .. }) => {
                let text = format!("too many commands wait for this entity ({}); try again later", self.held_max);
                command.reply_to.tell(Err(CallError::status(Code::ResourceExhausted, text)));
            }
            Some(Running { entity, held: None }) => entity.tell(EntityMessage::Command(command)),
        }
    }

    fn start(&mut self, ctx: &mut ActorContext<RegionMessage>, id: Arc<str>, command: Box<EntityCommand>) {
        let passivate = Passivate { region: ctx.this().clone(), id: id.clone() };
        let entity = ctx.spawn_anonymous(self.factory.create(&id, passivate));
        ctx.watch_with(&entity, RegionMessage::Terminated(EntityTerminated(id.clone())));
        entity.tell(EntityMessage::Command(command));
        self.running.insert(id, Running { entity, held: None });
    }

    fn passivate(&mut self, id: &Arc<str>) {
        if let Some(running) = self.running.get_mut(id)
            && running.held.is_none()
            // Held only behind a stop that has been taken: the entity asks again when this one was not.
            && running.entity.try_tell(EntityMessage::Stop).is_ok()
        {
            running.held = Some(VecDeque::new());
        }
    }

    fn terminated(&mut self, ctx: &mut ActorContext<RegionMessage>, id: &Arc<str>) {
        let Some(gone) = self.running.remove(id) else { return };
        for command in gone.held.into_iter().flatten() {
            self.deliver(ctx, id.clone(), command);
        }
        self.answer_when_drained();
    }

    fn stop_all(&mut self, ctx: &mut ActorContext<RegionMessage>) {
        let ids: Vec<_> = self.running.keys().cloned().collect();
        ids.iter().for_each(|id| self.passivate(id));
        if self.running.values().any(|running| running.held.is_none()) {
            ctx.timers().start_single("stop", STOP_AGAIN, RegionMessage::StopAgain(StopAgain));
        }
    }

    fn answer_when_drained(&mut self) {
        if self.running.is_empty() {
            self.drained.drain(..).for_each(|reply_to| reply_to.tell(()));
        }
    }
}

impl<F: EntityFactory> Actor for Region<F> {
    type Message = RegionMessage;

    async fn receive(&mut self, ctx: &mut ActorContext<Self::Message>, msg: Self::Message) -> Handled {
        match msg {
            RegionMessage::Deliver { id, command } => self.deliver(ctx, id, command),
            RegionMessage::Passivate(PassivateEntity(id)) => self.passivate(&id),
            RegionMessage::Terminated(EntityTerminated(id)) => self.terminated(ctx, &id),
            RegionMessage::Count(reply_to) => reply_to.tell(self.running.len()),
            RegionMessage::Drain { reply_to } => {
                self.draining = true;
                self.drained.push(reply_to);
                self.stop_all(ctx);
                self.answer_when_drained();
            }
            RegionMessage::StopAgain(StopAgain) => self.stop_all(ctx),
        }
        Ok(Behavior::Same)
    }
}

/// A region as the router sees it.
#[derive(Debug, Clone)]
pub struct RegionComponent {
    /// The region.
    pub region: ActorRef<RegionMessage>,
    /// The source of time.
    pub clock: Clock,
    /// How long a caller waits, when it does not say itself.
    pub relay_timeout: Duration,
    /// How long [`Component::drain`] waits for entities that are busy.
    pub drain_timeout: Duration,
}

impl RegionComponent {
    /// Hands a command to its entity and waits for the answer.
    pub(super) async fn deliver(self, command: Command, replies: Option<Sink>) -> Answer {
        let Command { method, type_url, requests, command_id, deadline, received_at, caller, .. } = command;
        let Requests::One(payload) = requests else {
            let text = format!("{}.{}: entities take one request message a command", method.service, method.name);
            return Err(CallError::status(Code::Unimplemented, text));
        };
        let id: Arc<str> = Arc::from(method.key.extract(&payload)?);
        let now = self.clock.now();
        let deadline = deadline.unwrap_or(now + self.relay_timeout);
        let within = deadline - now;
        let deliver = |reply_to| {
            let deadline = Some(deadline);
            let command = EntityCommand {
                method,
                type_url,
                payload,
                command_id,
                deadline,
                received_at,
                caller,
                reply_to,
                replies,
            };
            RegionMessage::Deliver { id, command: Box::new(command) }
        };
        self.region.ask(deliver, within).await.unwrap_or_else(|error| Err(ask_error(&error, within)))
    }
}

impl Component for RegionComponent {
    fn unary(&self, command: Command) -> BoxFuture<'static, Answer> {
        self.clone().deliver(command, None).boxed()
    }

    fn streamed(&self, command: Command) -> BoxFuture<'static, Result<Replies, CallError>> {
        let answer = self.clone().deliver(command, None);
        async move { Ok(stream::iter(answer.await?.map(Ok)).boxed()) }.boxed()
    }

    fn drain(&self) -> BoxFuture<'static, ()> {
        let Self { region, drain_timeout, .. } = self.clone();
        async move {
            if let Err(error) = region.ask(|reply_to| RegionMessage::Drain { reply_to }, drain_timeout).await {
                tracing::warn!(%error, "entities were still busy when the time to finish was over");
            }
        }
        .boxed()
    }
}

fn ask_error(error: &AskError, within: Duration) -> CallError {
    match error {
        AskError::Timeout => {
            CallError::status(Code::DeadlineExceeded, format!("the entity did not answer within {within:?}"))
        }
        AskError::Full => {
            CallError::status(Code::ResourceExhausted, "too many commands wait for entities; try again later")
        }
        _ => CallError::status(Code::Unavailable, "Entity terminated"),
    }
}
