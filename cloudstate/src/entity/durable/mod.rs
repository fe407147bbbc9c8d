//! An entity with a store: the actor between one entity stream and what is kept of the entity.
//!
//! [`Protocol`] says what kind of entity it is, `State` decides without I/O, this actor carries the
//! decisions out.

mod factory;
mod kept;
mod protocol;
mod settled;
mod state;
mod stream;

#[cfg(test)]
mod history_tests;
#[cfg(test)]
pub(crate) mod state_tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use actors::{Actor, ActorContext, ActorRef, Behavior, Clock, Elapsed, Handled, Tick};
use parking_lot::Mutex;
use persistence::{Answered, AppendError, CommandWindow, Fence};
use proto::Any;
use proto::cloudstate::Command;
use tokio::sync::Semaphore;
use tokio_util::task::AbortOnDropHandle;
use tonic::Code;
use tracing::{Instrument, Span};

pub use self::factory::{DurableFactory, DurableSettings};
pub use self::kept::{KeptSnapshots, LookBack};
pub use self::protocol::{Change, FromFunction, Identity, Protocol, Reply, Saving, Words, Write};
pub(in crate::entity) use self::settled::{Conflict, settled};
pub use self::state::ActivationError;
use self::state::{Effect, State, WriteError};
pub use self::stream::Outbound;
use crate::entity::places::{Place, StreamPlaces};
use crate::entity::region::{EntityMessage, Passivate};
use crate::entity::{Answer, EntityCommand};
use crate::router::Router;
use crate::telemetry::EntityMetrics;
use crate::user_function::{LinkError, UserFunction};

/// What the entity tells itself.
#[derive(Debug)]
pub struct Internal<P: Protocol>(Event<P>);

enum Event<P: Protocol> {
    Activated { generation: u64, result: Result<Activated<P::In>, ActivationError> },
    Received { generation: u64, message: Box<P::Out> },
    Ended { generation: u64 },
    Written { ticket: u64, written: Written, result: Result<(), AppendError> },
    Tick,
}

impl<P: Protocol> std::fmt::Debug for Event<P> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Event::Activated { .. } => "Activated",
            Event::Received { .. } => "Received",
            Event::Ended { .. } => "Ended",
            Event::Written { .. } => "Written",
            Event::Tick => "Tick",
        })
    }
}

struct Activated<M> {
    place: Option<Place>,
    outbound: Outbound<M>,
    reader: AbortOnDropHandle<()>,
    position: u64,
    window: CommandWindow,
}

/// The open stream: dropping it resets it.
struct Stream<M> {
    /// Its place among the streams that the function serves, when they are counted.
    place: Option<Place>,
    /// `None` after we have half-closed.
    outbound: Option<Outbound<M>>,
    /// Reads the function's side.
    _reader: AbortOnDropHandle<()>,
    /// The function has ended its side.
    ended: bool,
}

/// What an activation needs to know.
#[derive(Clone)]
struct Activation<P> {
    protocol: P,
    identity: Identity,
    function: UserFunction,
    clock: Clock,
    connect_within: Duration,
    outbound_max: usize,
    stall_timeout: Duration,
    recoveries: Arc<Semaphore>,
    places: StreamPlaces,
    passivate: Passivate,
    metrics: EntityMetrics,
}

/// The actor.
pub struct DurableEntity<P: Protocol> {
    state: State<P>,
    activation: Activation<P>,
    fence: Fence,
    router: Arc<Router>,
    settings: DurableSettings,
    metrics: EntityMetrics,
    /// Names the entity in every line of the log that is written on its behalf.
    span: Span,
    /// What this life knows of its snapshots.
    snapshots: Arc<Mutex<KeptSnapshots>>,
    /// Which activation is the current one: what comes from earlier ones is ignored.
    generation: u64,
    stream: Option<Stream<P::In>>,
    /// Reads the store and replays it.
    activating: Option<AbortOnDropHandle<()>>,
    active_at: Tick,
    sent_at: Option<Tick>,
    closing_at: Option<Tick>,
    activating_since: Tick,
    open_since: Option<Tick>,
    /// When the one timer fires.
    armed_until: Tick,
}

/// A write under way, for its series.
#[derive(Debug, Clone, Copy)]
struct Written {
    steps: u64,
    bytes: u64,
    since: Tick,
}

type Context<P> = ActorContext<EntityMessage<Internal<P>>>;

impl<P: Protocol> Actor for DurableEntity<P> {
    type Message = EntityMessage<Internal<P>>;

    async fn started(&mut self, ctx: &mut Context<P>) -> Handled {
        let now = ctx.system().clock().now();
        self.active_at = now;
        self.arm(ctx, now, self.settings.passivation_timeout);
        Ok(Behavior::Same)
    }

    async fn receive(&mut self, ctx: &mut Context<P>, msg: Self::Message) -> Handled {
        // Taken out for the turn, so that being inside it borrows nothing of the entity.
        let span = std::mem::replace(&mut self.span, Span::none());
        let behavior = span.in_scope(|| self.turn(ctx, msg));
        self.span = span;
        Ok(behavior)
    }
}

impl<P: Protocol> DurableEntity<P> {
    fn turn(&mut self, ctx: &mut Context<P>, msg: EntityMessage<Internal<P>>) -> Behavior {
        let now = ctx.system().clock().now();
        self.state.at(ctx.system().clock().wall_ms());
        let effects = match msg {
            EntityMessage::Command(mut command) => {
                self.active_at = now;
                self.metrics.command_received();
                command.received_at = now;
                let waiting = self.state.waiting();
                let effects = self.state.command(command, now);
                if self.state.waiting() > waiting {
                    self.metrics.command_stashed();
                }
                effects
            }
            EntityMessage::Stop => self.state.stop(now),
            EntityMessage::Internal(Internal(event)) => self.event(ctx, event, now),
        };
        let mut behavior = self.perform_all(ctx, effects, now);
        if let Some(Stream { place: Some(place), .. }) = &self.stream {
            if self.state.is_idle() { place.idle(self.active_at) } else { place.busy() }
        }
        // Half-closing a stream that the function has ended already is complete at once.
        while self.state.is_closing() && self.stream.as_ref().is_none_or(|stream| stream.ended) {
            self.forget_stream(now);
            let effects = self.state.closed(now);
            if let Behavior::Stopped = self.perform_all(ctx, effects, now) {
                behavior = Behavior::Stopped;
            }
        }
        behavior
    }

    fn event(&mut self, ctx: &mut Context<P>, event: Event<P>, now: Tick) -> Vec<Effect<P::Change>> {
        match event {
            Event::Activated { generation, result } if generation == self.generation => self.activated(result, now),
            Event::Received { generation, message } if generation == self.generation => {
                self.active_at = now;
                if let Some(sent_at) = self.sent_at.take() {
                    self.metrics.command_processed(now - sent_at);
                }
                self.state.received(*message, now)
            }
            Event::Ended { generation } if generation == self.generation => {
                if let Some(stream) = &mut self.stream {
                    stream.ended = true;
                }
                if !self.state.is_closing() {
                    self.metrics.failed();
                }
                self.state.ended()
            }
            Event::Written { ticket, written: Written { steps, bytes, since }, result } => {
                match &result {
                    Ok(()) => self.metrics.events_persisted(steps, bytes, now - since),
                    Err(error) => tracing::error!(%error, "{} could not be written", P::WORDS.stored),
                }
                self.state.written(ticket, result.map_err(write_error), now)
            }
            Event::Tick => self.tick(ctx, now),
            // From an activation that is over.
            Event::Activated { .. } | Event::Received { .. } | Event::Ended { .. } => Vec::new(),
        }
    }

    fn activated(&mut self, result: Result<Activated<P::In>, ActivationError>, now: Tick) -> Vec<Effect<P::Change>> {
        self.activating = None;
        if !self.state.is_opening() {
            return Vec::new(); // the stream broke meanwhile; dropping it closes it
        }
        match result {
            Ok(Activated { place, outbound, reader, position, window }) => {
                self.stream = Some(Stream { place, outbound: Some(outbound), _reader: reader, ended: false });
                self.metrics.activated();
                self.metrics.recovered(now - self.activating_since);
                self.open_since = Some(now);
                self.state.recovered(position, window, now)
            }
            Err(error) => {
                tracing::warn!(%error, "entity could not be activated");
                self.state.activation_failed(&error)
            }
        }
    }

    /// One timer serves all time limits: it is armed for the soonest of them and looks at each.
    fn tick(&mut self, ctx: &mut Context<P>, now: Tick) -> Vec<Effect<P::Change>> {
        let settings = &self.settings;
        let mut next = settings.passivation_timeout;
        let mut over = |since: Option<Tick>, limit: Duration| {
            let left = since.map(|since| limit.saturating_sub(now - since));
            next = next.min(left.filter(|left| !left.is_zero()).unwrap_or(next));
            left.is_some_and(|left| left.is_zero())
        };
        let command_late = over(self.sent_at, settings.command_timeout);
        let close_late = over(self.closing_at, settings.close_timeout);
        let idle = over(Some(self.active_at), settings.passivation_timeout);
        self.arm(ctx, now, next);
        if command_late {
            tracing::warn!("user function did not answer in time, its stream is given up");
            self.sent_at = None;
            return self.state.timed_out(self.settings.command_timeout);
        }
        if close_late {
            tracing::warn!("user function did not end its stream in time, it is reset");
            self.forget_stream(now);
            return Vec::new();
        }
        if idle { self.state.idle_timeout() } else { Vec::new() }
    }

    fn arm(&mut self, ctx: &mut Context<P>, now: Tick, delay: Duration) {
        self.armed_until = now + delay;
        ctx.timers().start_single("tick", delay, EntityMessage::Internal(Internal(Event::Tick)));
    }

    fn arm_by(&mut self, ctx: &mut Context<P>, now: Tick, delay: Duration) {
        if self.armed_until > now + delay {
            self.arm(ctx, now, delay);
        }
    }

    fn perform_all(&mut self, ctx: &mut Context<P>, effects: Vec<Effect<P::Change>>, now: Tick) -> Behavior {
        let mut behavior = Behavior::Same;
        let mut effects = VecDeque::from(effects);
        while let Some(effect) = effects.pop_front() {
            match effect {
                Effect::Activate => self.activate(ctx, now),
                Effect::Send { id } => effects.extend(self.send(ctx, id, now)),
                Effect::Write { ticket, change, after, answered, window } => {
                    let time_ms = ctx.system().clock().wall_ms();
                    let fence = self.fence.clone();
                    self.write(ctx, ticket, Write { change, after, fence, time_ms, answered, window }, now);
                }
                Effect::SaveSnapshot { position, snapshot, window } => {
                    self.save_snapshot(ctx, position, snapshot, window);
                }
                Effect::Answer { command, answer } => self.answer(*command, answer, now),
                Effect::Route { command, effects, action } => {
                    self.metrics.command_completed(now - command.received_at);
                    self.router.clone().complete(*command, effects, action);
                }
                Effect::HalfClose => self.half_close(ctx, now),
                Effect::Repeated => self.metrics.command_repeated(),
                Effect::Report(text) => self.activation.function.report_error(text),
                Effect::RequestPassivation => {
                    // Asked again at the next timeout if it could not be asked now.
                    let _ = self.activation.passivate.request();
                }
                Effect::Stop => behavior = Behavior::Stopped,
            }
        }
        behavior
    }

    fn activate(&mut self, ctx: &mut Context<P>, now: Tick) {
        self.activating_since = now;
        self.generation += 1;
        let generation = self.generation;
        let activation = self.activation.clone();
        let this = ctx.this().clone();
        let task = async move {
            let result = activate(&activation, generation, this.clone()).await;
            let event = Event::Activated { generation, result };
            // The entity has stopped when this fails: there is nobody to tell.
            let _ = this.send(EntityMessage::Internal(Internal(event))).await;
        };
        self.activating = Some(AbortOnDropHandle::new(tokio::spawn(task.in_current_span())));
    }

    fn send(&mut self, ctx: &mut Context<P>, id: i64, now: Tick) -> Vec<Effect<P::Change>> {
        let Some(command) = self.state.in_progress() else { return Vec::new() };
        let message = Command {
            entity_id: self.activation.identity.entity_id.to_string(),
            id,
            name: command.method.name.to_string(),
            payload: Some(Any { type_url: command.type_url.to_string(), value: command.payload.clone() }),
            streamed: false,
            metadata: None,
        };
        let waited = now - command.received_at;
        if !waited.is_zero() {
            self.metrics.command_unstashed(waited);
        }
        self.sent_at = Some(now);
        self.arm_by(ctx, now, self.settings.command_timeout);
        if let Some(Stream { outbound: Some(outbound), .. }) = &self.stream {
            // It has ended its side, or answered what it has not read: either way the stream is of no use any more.
            if outbound.try_send(P::command(message)).is_err() {
                return self.state.ended();
            }
        }
        Vec::new()
    }

    fn write(&mut self, ctx: &mut Context<P>, ticket: u64, write: Write<P::Change>, now: Tick) {
        let bytes = write.change.sizes().sum::<usize>() as u64;
        let written = Written { steps: write.change.steps(), bytes, since: now };
        // Asked for here and now: writes reach the store in the order of the commands.
        let stored = self.activation.protocol.write(&self.activation.identity, write);
        // A store that never answers may still carry it out.
        let (clock, limit) = (self.activation.clock.clone(), self.settings.command_timeout);
        let stored = async move {
            let unknown = |elapsed: Elapsed| Err(AppendError::Unknown { reason: elapsed.to_string() });
            clock.timeout(limit, stored).await.unwrap_or_else(unknown)
        };
        ctx.pipe_to_self(stored, move |result| {
            EntityMessage::Internal(Internal(Event::Written { ticket, written, result }))
        });
    }

    fn save_snapshot(&mut self, ctx: &mut Context<P>, position: u64, snapshot: Any, window: Vec<Answered>) {
        let (size, max) = (snapshot.type_url.len() + snapshot.value.len(), self.settings.stored_size_max);
        if size > max {
            tracing::warn!(size, max, "snapshot is too large to be loaded again, it is not stored");
            return;
        }
        self.metrics.snapshot_persisted(snapshot.value.len() as u64);
        let (fence, time_ms) = (self.fence.clone(), ctx.system().clock().wall_ms());
        let (kept, metrics) = (self.snapshots.clone(), self.metrics.clone());
        let saving = Saving { position, snapshot, window, fence, time_ms, kept, metrics };
        let Activation { protocol, identity, .. } = &self.activation;
        ctx.spawn_task(protocol.save_snapshot(identity, saving).in_current_span());
    }

    fn answer(&mut self, command: EntityCommand, answer: Answer, now: Tick) {
        match &answer {
            Ok(_) => self.metrics.command_completed(now - command.received_at),
            Err(error) if error.code() == Code::ResourceExhausted => self.metrics.command_rejected(),
            Err(_) => self.metrics.command_failed(),
        }
        self.router.check_reply(&command.method, &answer);
        command.reply_to.tell(answer);
    }

    fn half_close(&mut self, ctx: &mut Context<P>, now: Tick) {
        self.activating = None;
        self.sent_at = None;
        self.closing_at = Some(now);
        if let Some(stream) = &mut self.stream {
            stream.outbound = None;
        }
        self.arm_by(ctx, now, self.settings.close_timeout);
    }

    fn forget_stream(&mut self, now: Tick) {
        if let Some(since) = self.open_since.take() {
            self.metrics.passivated(now - since);
        }
        self.stream = None;
        self.closing_at = None;
        self.sent_at = None;
    }
}

/// Reads the store, opens a stream, replays into it.
async fn activate<P: Protocol>(
    activation: &Activation<P>,
    generation: u64,
    this: ActorRef<EntityMessage<Internal<P>>>,
) -> Result<Activated<P::In>, ActivationError> {
    let Activation { protocol, identity, metrics, .. } = activation;
    let waited =
        activation.clock.timeout(activation.stall_timeout, activation.places.take(activation.passivate.clone()));
    let place = waited.await.map_err(|_| ActivationError::Busy(activation.places.max().unwrap_or_default()))?;
    // Held until replay is done: a burst of activations must not read the whole store at once.
    let (clock, limit) = (&activation.clock, activation.stall_timeout);
    let busy = |_| ActivationError::Recovery("too many entities are being recovered (recoveries-max)".to_owned());
    let _recovering = clock.timeout(limit, activation.recoveries.acquire()).await.map_err(busy)?;
    let beginning = clock.timeout(limit, protocol.begin(identity, metrics)).await.map_err(slow_store)??;
    let unreachable = |error: LinkError| ActivationError::Unreachable(error.to_string());
    let link = activation.function.link(activation.connect_within).await.map_err(unreachable)?;
    let reader_of = this.clone();
    let deliver = move |message: P::Out| {
        let message = Box::new(message);
        let this = reader_of.clone();
        async move { this.send(EntityMessage::Internal(Internal(Event::Received { generation, message }))).await.is_ok() }
    };
    let (clock, stall) = (activation.clock.clone(), activation.stall_timeout);
    let opened = stream::open::<P, _, _>(&link, clock, activation.outbound_max, stall, deliver).await;
    let (outbound, drive) = opened.map_err(unreachable)?;
    let read = async move {
        drive.await;
        let _ = this.send(EntityMessage::Internal(Internal(Event::Ended { generation }))).await;
    };
    let reader = AbortOnDropHandle::new(tokio::spawn(read.in_current_span()));
    let mut window = CommandWindow::new(P::WINDOW);
    let position = protocol.replay(identity, beginning, &outbound, metrics, &mut window).await?;
    // The first command is sent without waiting, so there must be room for it.
    outbound.room().await?;
    Ok(Activated { place, outbound, reader, position, window })
}

fn write_error(error: AppendError) -> WriteError {
    match error {
        AppendError::Rejected { .. } => WriteError::Refused(error.to_string()),
        AppendError::Unavailable { .. } | AppendError::Overloaded { .. } => WriteError::NotStored(error.to_string()),
        AppendError::Conflict { .. } | AppendError::Stale { .. } => WriteError::NotOwner(error.to_string()),
        _ => WriteError::Unknown(error.to_string()),
    }
}

/// The store does not answer a read.
pub(crate) fn slow_store(elapsed: Elapsed) -> ActivationError {
    ActivationError::Recovery(elapsed.to_string())
}
