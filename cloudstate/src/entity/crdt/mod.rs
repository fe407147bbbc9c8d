//! A CRDT entity: the actor between one entity stream, the replicated value and the clients.
//!
//! `State` decides without I/O, this actor carries the decisions out. `value.rs` says how the plain value that the
//! user function holds follows the replicated one, `delta.rs` how the replicated one follows the function's changes.

mod activation;
mod component;
mod delta;
mod factory;
mod replies;
mod state;
mod stream;
mod value;

#[cfg(test)]
mod crossing_tests;
#[cfg(test)]
mod history_tests;
#[cfg(test)]
mod state_tests;
#[cfg(test)]
mod value_tests;

use std::collections::VecDeque;
use std::sync::Arc;

use actors::{Actor, ActorContext, Behavior, Handled, ReplyTo, Tick};
use futures_util::FutureExt;
use proto::cloudstate::crdt::{CrdtDelta, CrdtStreamOut, crdt_stream_in};
use tokio_util::task::AbortOnDropHandle;
use tonic::Code;
use tracing::{Instrument, Span};

use self::activation::{Activated, Activation};
pub use self::component::CrdtComponent;
pub use self::delta::{DeltaError, Writer, apply};
pub use self::factory::{CrdtFactory, CrdtSettings};
pub use self::replies::{ELEMENTS_MAX, Sink};
use self::state::{Effect, Ended, State, Written};
use self::stream::{Outbound, Stalled};
pub use self::value::{Difference, Value, Voters};
use crate::call::CallError;
use crate::entity::places::Place;
use crate::entity::region::EntityMessage;
use crate::entity::{Answer, EntityCommand};
use crate::replicator::{DeleteError, GetError, Members, ReadConsistency, UpdateError, WriteConsistency};
use crate::router::{Origin, Router};
use crate::telemetry::EntityMetrics;

/// What the entity tells itself.
#[derive(Debug)]
pub struct Internal(Event);

#[derive(Debug)]
enum Event {
    /// `None` when the key is deleted.
    Activated {
        generation: u64,
        result: Result<Option<Box<Activated>>, CallError>,
    },
    Received {
        generation: u64,
        message: Box<CrdtStreamOut>,
    },
    Ended {
        generation: u64,
        how: Ended,
    },
    Changed {
        generation: u64,
    },
    KeyDeleted {
        generation: u64,
    },
    Members(Members),
    Written {
        ticket: u64,
        written: Written,
    },
    Gone {
        id: i64,
    },
    Tick,
}

/// The open stream: dropping it resets it.
struct Stream {
    /// Its place among the streams that the function serves, when they are counted.
    place: Option<Place>,
    /// `None` after we have half-closed.
    outbound: Option<Outbound>,
    /// Reads the function's side.
    _reader: AbortOnDropHandle<()>,
    /// Follows the replicated value.
    _follower: AbortOnDropHandle<()>,
}

/// The actor.
pub struct CrdtEntity {
    state: State,
    activation: Activation,
    router: Arc<Router>,
    settings: CrdtSettings,
    metrics: EntityMetrics,
    /// Names the entity in every line of the log that is written on its behalf.
    span: Span,
    /// Which activation is the current one: what comes from earlier ones is ignored.
    generation: u64,
    stream: Option<Stream>,
    activating: Option<AbortOnDropHandle<()>>,
    active_at: Tick,
    activating_since: Tick,
    open_since: Option<Tick>,
    /// When the one timer fires.
    armed_until: Option<Tick>,
}

type Context = ActorContext<EntityMessage<Internal>>;

impl Actor for CrdtEntity {
    type Message = EntityMessage<Internal>;

    async fn started(&mut self, ctx: &mut Context) -> Handled {
        self.active_at = ctx.system().clock().now();
        self.arm(ctx, self.active_at);
        Ok(Behavior::Same)
    }

    async fn receive(&mut self, ctx: &mut Context, msg: Self::Message) -> Handled {
        // Taken out for the turn, so that being inside it borrows nothing of the entity.
        let span = std::mem::replace(&mut self.span, Span::none());
        let behavior = span.in_scope(|| self.turn(ctx, msg));
        self.span = span;
        Ok(behavior)
    }
}

impl CrdtEntity {
    fn turn(&mut self, ctx: &mut Context, msg: EntityMessage<Internal>) -> Behavior {
        let now = ctx.system().clock().now();
        let effects = match msg {
            EntityMessage::Command(command) => self.command(command, now),
            EntityMessage::Stop => self.state.stop(now),
            EntityMessage::Internal(Internal(event)) => self.event(event, now),
        };
        let behavior = self.perform_all(ctx, effects, now);
        if let Some(Stream { place: Some(place), .. }) = &self.stream {
            if self.state.is_idle() { place.idle(self.active_at) } else { place.busy() }
        }
        self.arm(ctx, now);
        behavior
    }

    fn command(&mut self, mut command: Box<EntityCommand>, now: Tick) -> Vec<Effect> {
        self.active_at = now;
        self.metrics.command_received();
        command.received_at = now;
        self.state.command(command, now)
    }

    fn event(&mut self, event: Event, now: Tick) -> Vec<Effect> {
        match event {
            Event::Activated { generation, result } if generation == self.generation => self.activated(result, now),
            Event::Received { generation, message } if generation == self.generation => {
                self.active_at = now;
                self.state.received(*message, now)
            }
            Event::Ended { generation, how } if generation == self.generation => {
                if !self.state.is_closing() {
                    self.metrics.failed();
                }
                self.state.ended(how)
            }
            Event::Changed { generation } if generation == self.generation => self.state.changed(),
            Event::KeyDeleted { generation } if generation == self.generation => self.state.key_deleted(now),
            Event::Members(members) => self.state.members(members),
            Event::Written { ticket, written } => self.state.written(ticket, written, now),
            Event::Gone { id } => self.state.gone(id, now),
            Event::Tick => self.tick(now),
            // From an activation that is over.
            Event::Activated { .. }
            | Event::Received { .. }
            | Event::Ended { .. }
            | Event::Changed { .. }
            | Event::KeyDeleted { .. } => Vec::new(),
        }
    }

    fn activated(&mut self, result: Result<Option<Box<Activated>>, CallError>, now: Tick) -> Vec<Effect> {
        self.activating = None;
        if !self.state.is_opening() {
            return Vec::new(); // the stream broke meanwhile; dropping it closes it
        }
        match result {
            Ok(Some(activated)) => {
                let Activated { place, outbound, reader, follower, value } = *activated;
                self.stream = Some(Stream { place, outbound: Some(outbound), _reader: reader, _follower: follower });
                self.metrics.activated();
                self.metrics.recovered(now - self.activating_since);
                self.open_since = Some(now);
                let members = self.activation.replicator.members().borrow().clone();
                let mut effects = self.state.members(members);
                effects.extend(self.state.activated(value.as_deref(), now));
                effects
            }
            Ok(None) => self.state.key_deleted(now),
            Err(error) => {
                tracing::warn!(%error, "entity could not be activated");
                self.state.activation_failed(&error)
            }
        }
    }

    /// One timer serves all time limits.
    fn tick(&mut self, now: Tick) -> Vec<Effect> {
        self.armed_until = None;
        let mut effects = self.state.tick(now);
        if now - self.active_at >= self.settings.passivation_timeout {
            self.active_at = now;
            effects.extend(self.state.idle_timeout());
        }
        effects
    }

    fn arm(&mut self, ctx: &mut Context, now: Tick) {
        let idle = self.active_at + self.settings.passivation_timeout;
        let next = self.state.due().map_or(idle, |due| due.min(idle));
        if self.armed_until.is_none_or(|armed| armed > next) {
            self.armed_until = Some(next);
            ctx.timers().start_single("tick", next - now, EntityMessage::Internal(Internal(Event::Tick)));
        }
    }

    /// Carries effects out, and those that follow from them.
    fn perform_all(&mut self, ctx: &mut Context, effects: Vec<Effect>, now: Tick) -> Behavior {
        let mut behavior = Behavior::Same;
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::Activate => self.activate(ctx, now),
                Effect::Send(message) => effects.extend(self.send(message)),
                Effect::Watch { id, sink } => {
                    let this = ctx.this().clone();
                    let gone = sink.gone();
                    ctx.spawn_task(async move {
                        gone.await;
                        // The entity has stopped when this fails: there is nobody to tell.
                        let _ = this.send(EntityMessage::Internal(Internal(Event::Gone { id }))).await;
                    });
                }
                Effect::HalfClose => {
                    if let Some(stream) = &mut self.stream {
                        stream.outbound = None;
                    }
                }
                Effect::Reset => self.forget_stream(now),
                Effect::Read => effects.extend(self.read(now)),
                Effect::Update { ticket, delta, consistency } => {
                    effects.extend(self.update(ctx, ticket, delta, consistency, now));
                }
                Effect::Delete { ticket, consistency } => effects.extend(self.delete(ctx, ticket, consistency, now)),
                Effect::Answer { origin, received_at, reply_to, answer } => {
                    self.answer(&origin, received_at, reply_to, answer, now);
                }
                Effect::Route { origin, received_at, reply_to, effects, action } => {
                    self.metrics.command_completed(now - received_at);
                    self.router.clone().complete(as_command(origin, received_at, reply_to), effects, action);
                }
                Effect::Emit { sink, effects, action } => sink.push(effects, action),
                Effect::Fail { sink, error } => {
                    self.metrics.command_failed();
                    sink.fail(error);
                }
                Effect::Abort { sink, error } => {
                    self.metrics.command_failed();
                    sink.abort(error);
                }
                Effect::Run { origin, effects } => {
                    self.router.clone().complete(as_command(origin, now, ReplyTo::ignore()), effects, None);
                }
                Effect::Report(text) => self.activation.function.report_error(text),
                Effect::RequestPassivation => {
                    // Asked again at the next timeout if it could not be asked now.
                    let _ = self.activation.passivate.request();
                }
                Effect::HandBack(command) => self.activation.passivate.hand_back(command),
                Effect::Stop => behavior = Behavior::Stopped,
            }
        }
        behavior
    }

    fn activate(&mut self, ctx: &mut Context, now: Tick) {
        self.activating_since = now;
        self.generation += 1;
        let generation = self.generation;
        let activation = self.activation.clone();
        let this = ctx.this().clone();
        let task = async move {
            let result = activation.run(generation, this.clone()).await;
            let event = Event::Activated { generation, result };
            let _ = this.send(EntityMessage::Internal(Internal(event))).await;
        };
        self.activating = Some(AbortOnDropHandle::new(tokio::spawn(task.in_current_span())));
    }

    fn send(&mut self, message: crdt_stream_in::Message) -> Vec<Effect> {
        if let Some(Stream { outbound: Some(outbound), .. }) = &self.stream
            && let Err(Stalled) = outbound.send(message)
        {
            self.metrics.failed();
            return self.state.stalled();
        }
        Vec::new()
    }

    fn read(&mut self, now: Tick) -> Vec<Effect> {
        let Activation { replicator, key, .. } = &self.activation;
        // What the node knows itself is there at once.
        match replicator.get(key, ReadConsistency::Local, now).now_or_never() {
            Some(Ok(value) | Err(GetError::NotReached(value))) => self.state.read(value.as_deref(), now),
            Some(Err(GetError::Deleted)) => self.state.key_deleted(now),
            None => Vec::new(),
        }
    }

    fn update(
        &mut self,
        ctx: &mut Context,
        ticket: u64,
        delta: CrdtDelta,
        consistency: WriteConsistency,
        now: Tick,
    ) -> Vec<Effect> {
        let replicator = self.activation.replicator.clone();
        let (key, deadline) = (self.activation.key.clone(), now + self.settings.write_timeout);
        let writer = Writer { replica: replicator.replica(), now_ms: ctx.system().clock().wall_ms() };
        let updated = async move {
            let modified = replicator.update(&key, consistency, deadline, |value| apply(value, &delta, writer)).await;
            match modified {
                Ok(_) => Written::Done,
                Err(UpdateError::Deleted) => Written::Deleted,
                Err(UpdateError::NotReached(_)) => Written::NotReached,
                Err(UpdateError::TooManyKeys(full)) => Written::Full(full.to_string()),
                Err(UpdateError::Modify(error)) => Written::Refused(error.to_string()),
                Err(UpdateError::Kind(mismatch)) => Written::Refused(DeltaError::from(mismatch).to_string()),
            }
        };
        self.write(ctx, ticket, updated, now)
    }

    fn delete(&mut self, ctx: &mut Context, ticket: u64, consistency: WriteConsistency, now: Tick) -> Vec<Effect> {
        let replicator = self.activation.replicator.clone();
        let (key, deadline) = (self.activation.key.clone(), now + self.settings.write_timeout);
        let deleted = async move {
            match replicator.delete(&key, consistency, deadline).await {
                Ok(()) => Written::Done,
                Err(DeleteError::NotReached) => Written::NotReached,
                Err(DeleteError::TooManyKeys(full)) => Written::Full(full.to_string()),
            }
        };
        self.write(ctx, ticket, deleted, now)
    }

    /// Begins a write here and now, so that writes are made in the order of the replies; waits for other nodes elsewhere.
    fn write(
        &mut self,
        ctx: &mut Context,
        ticket: u64,
        write: impl Future<Output = Written> + Send + 'static,
        now: Tick,
    ) -> Vec<Effect> {
        let mut write = write.boxed();
        if let Some(written) = (&mut write).now_or_never() {
            return self.state.written(ticket, written, now);
        }
        ctx.pipe_to_self(write, move |written| EntityMessage::Internal(Internal(Event::Written { ticket, written })));
        Vec::new()
    }

    fn answer(&self, origin: &Origin, received_at: Tick, reply_to: ReplyTo<Answer>, answer: Answer, now: Tick) {
        match &answer {
            Ok(_) => self.metrics.command_completed(now - received_at),
            Err(error) if error.code() == Code::ResourceExhausted => self.metrics.command_rejected(),
            Err(_) => self.metrics.command_failed(),
        }
        self.router.check_reply(&origin.method, &answer);
        reply_to.tell(answer);
    }

    fn forget_stream(&mut self, now: Tick) {
        if let Some(since) = self.open_since.take() {
            self.metrics.passivated(now - since);
        }
        self.activating = None;
        self.stream = None;
        self.generation += 1;
    }
}

/// The command as the router answers it.
fn as_command(origin: Origin, received_at: Tick, reply_to: ReplyTo<Answer>) -> EntityCommand {
    let Origin { method, caller, command_id, deadline } = origin;
    EntityCommand {
        type_url: method.input_type_url.clone(),
        payload: bytes::Bytes::new(),
        command_id,
        method,
        deadline,
        received_at,
        caller,
        reply_to,
        replies: None,
    }
}
