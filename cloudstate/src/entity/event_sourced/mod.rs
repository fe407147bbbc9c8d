//! An event-sourced entity: the actor between one entity stream and the journal.
//!
//! `State` decides, without I/O; this actor carries the decisions out. Events and snapshots are
//! stored byte for byte as the user function sent them.

mod activation;
mod factory;
mod state;
mod stream;

#[cfg(test)]
mod state_tests;

use std::sync::Arc;
use std::time::Duration;

use actors::{Actor, ActorContext, ActorRef, Behavior, Handled, Tick};
use persistence::{Append, AppendError, Fence, Journal, RawEvent, RawSnapshot};
use proto::Any;
use proto::cloudstate::Command;
use proto::cloudstate::eventsourced::{EventSourcedStreamOut, event_sourced_stream_in};
use tokio_util::task::AbortOnDropHandle;
use tonic::Code;
use tracing::{Instrument, Span};

use self::activation::Activation;
pub use self::factory::{EventSourcedFactory, EventSourcedSettings};
use self::state::{ActivationError, Effect, State, WriteError};
use self::stream::Outbound;
use crate::entity::region::{EntityMessage, Passivate};
use crate::entity::{Answer, EntityCommand};
use crate::router::Router;
use crate::telemetry::EntityMetrics;

/// What the entity tells itself.
#[derive(Debug)]
pub struct Internal(Event);

#[derive(Debug)]
enum Event {
    Activated { generation: u64, result: Result<Activated, ActivationError> },
    Received { generation: u64, message: Box<EventSourcedStreamOut> },
    Ended { generation: u64 },
    Persisted(Result<u64, AppendError>),
    Tick,
}

#[derive(Debug)]
struct Activated {
    outbound: Outbound,
    reader: AbortOnDropHandle<()>,
    highest_seq: u64,
}

/// The open stream: dropping it resets it.
#[derive(Debug)]
struct Stream {
    /// `None` after we have half-closed.
    outbound: Option<Outbound>,
    /// Reads the function's side.
    _reader: AbortOnDropHandle<()>,
    /// The function has ended its side.
    ended: bool,
}

/// The actor.
pub struct EventSourcedEntity {
    state: State,
    activation: Activation,
    fence: Fence,
    router: Arc<Router>,
    settings: EventSourcedSettings,
    metrics: EntityMetrics,
    passivate: Passivate,
    /// Names the entity in every line of the log that is written on its behalf.
    span: Span,
    /// Which activation is the current one: what comes from earlier ones is ignored.
    generation: u64,
    stream: Option<Stream>,
    /// Reads the log and replays it.
    activating: Option<AbortOnDropHandle<()>>,
    active_at: Tick,
    sent_at: Option<Tick>,
    written: Written,
    closing_at: Option<Tick>,
    activating_since: Tick,
    open_since: Option<Tick>,
    /// When the one timer fires.
    armed_until: Tick,
}

/// The write under way, for its series.
#[derive(Debug, Default, Clone, Copy)]
struct Written {
    events: u64,
    bytes: u64,
    since: Option<Tick>,
}

type Context = ActorContext<EntityMessage<Internal>>;

impl Actor for EventSourcedEntity {
    type Message = EntityMessage<Internal>;

    async fn started(&mut self, ctx: &mut Context) -> Handled {
        let now = ctx.system().clock().now();
        self.active_at = now;
        self.arm(ctx, now, self.settings.passivation_timeout);
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

impl EventSourcedEntity {
    fn turn(&mut self, ctx: &mut Context, msg: EntityMessage<Internal>) -> Behavior {
        let now = ctx.system().clock().now();
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
            EntityMessage::Stop => self.state.stop(),
            EntityMessage::Internal(Internal(event)) => self.event(ctx, event, now),
        };
        let mut behavior = self.perform_all(ctx, effects, now);
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

    fn event(&mut self, ctx: &mut Context, event: Event, now: Tick) -> Vec<Effect> {
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
            Event::Persisted(result) => {
                match &result {
                    Ok(_) => {
                        let Written { events, bytes, since } = std::mem::take(&mut self.written);
                        self.metrics.events_persisted(events, bytes, since.map_or(Duration::ZERO, |since| now - since));
                    }
                    Err(error) => tracing::error!(%error, "events could not be written"),
                }
                self.state.persisted(result.map(|_| ()).map_err(write_error), now)
            }
            Event::Tick => self.tick(ctx, now),
            // From an activation that is over.
            Event::Activated { .. } | Event::Received { .. } | Event::Ended { .. } => Vec::new(),
        }
    }

    fn activated(&mut self, result: Result<Activated, ActivationError>, now: Tick) -> Vec<Effect> {
        self.activating = None;
        match result {
            Ok(Activated { outbound, reader, highest_seq }) => {
                self.stream = Some(Stream { outbound: Some(outbound), _reader: reader, ended: false });
                self.metrics.activated();
                self.metrics.recovered(now - self.activating_since);
                self.open_since = Some(now);
                self.state.recovered(highest_seq, now)
            }
            Err(error) => {
                tracing::warn!(%error, "entity could not be activated");
                self.state.activation_failed(&error)
            }
        }
    }

    /// One timer serves all time limits: it is armed for the soonest of them and looks at each.
    fn tick(&mut self, ctx: &mut Context, now: Tick) -> Vec<Effect> {
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

    fn arm(&mut self, ctx: &mut Context, now: Tick, delay: Duration) {
        self.armed_until = now + delay;
        ctx.timers().start_single("tick", delay, EntityMessage::Internal(Internal(Event::Tick)));
    }

    fn arm_by(&mut self, ctx: &mut Context, now: Tick, delay: Duration) {
        if self.armed_until > now + delay {
            self.arm(ctx, now, delay);
        }
    }

    fn perform_all(&mut self, ctx: &mut Context, effects: Vec<Effect>, now: Tick) -> Behavior {
        let mut behavior = Behavior::Same;
        for effect in effects {
            match effect {
                Effect::Activate => self.activate(ctx, now),
                Effect::Send { id } => self.send(ctx, id, now),
                Effect::Persist { events, first_seq } => self.persist(ctx, events, first_seq, now),
                Effect::SaveSnapshot { seq, snapshot } => self.save_snapshot(ctx, seq, snapshot),
                Effect::Answer { command, answer } => self.answer(*command, answer, now),
                Effect::Route { command, effects, action } => {
                    self.metrics.command_completed(now - command.received_at);
                    self.router.clone().complete(*command, effects, action);
                }
                Effect::HalfClose => self.half_close(ctx, now),
                Effect::Report(text) => self.activation.function.report_error(text),
                Effect::RequestPassivation => self.passivate.request(),
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
            let result = activate(&activation, generation, this.clone()).await;
            let event = Event::Activated { generation, result };
            // The entity has stopped when this fails: there is nobody to tell.
            let _ = this.send(EntityMessage::Internal(Internal(event))).await;
        };
        self.activating = Some(AbortOnDropHandle::new(tokio::spawn(task.in_current_span())));
    }

    fn send(&mut self, ctx: &mut Context, id: i64, now: Tick) {
        let Some(command) = self.state.in_progress() else { return };
        let message = Command {
            entity_id: self.activation.entity_id.to_string(),
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
            // When it fails the stream has ended, and the reader says so.
            let _ = outbound.try_send(event_sourced_stream_in::Message::Command(message));
        }
    }

    fn persist(&mut self, ctx: &mut Context, events: Vec<Any>, first_seq: u64, now: Tick) {
        let bytes = events.iter().map(|event| event.value.len() as u64).sum();
        self.written = Written { events: events.len() as u64, bytes, since: Some(now) };
        let largest = events.iter().map(|event| event.value.len()).max().unwrap_or(0);
        if largest > self.settings.stored_size_max {
            let reason = format!(
                "an event of {largest} bytes is larger than the {} bytes that a user function accepts when it is loaded again",
                self.settings.stored_size_max
            );
            self.activation.function.report_error(format!("{}: {reason}", self.activation.service));
            ctx.this().tell(EntityMessage::Internal(Internal(Event::Persisted(Err(AppendError::Rejected { reason })))));
            return;
        }
        let append = Append {
            id: self.activation.id.clone(),
            expected_seq: first_seq,
            fence: self.fence.clone(),
            batch_id: rand::random(),
            events: events.into_iter().map(stored_event).collect(),
            tags: Vec::new(),
            time_ms: ctx.system().clock().wall_ms(),
        };
        let appended = append_settled(self.activation.journal.clone(), append);
        ctx.pipe_to_self(appended, |result| EntityMessage::Internal(Internal(Event::Persisted(result))));
    }

    fn save_snapshot(&mut self, ctx: &mut Context, seq: u64, snapshot: Any) {
        if snapshot.value.len() > self.settings.stored_size_max {
            let (size, max) = (snapshot.value.len(), self.settings.stored_size_max);
            tracing::warn!(size, max, "snapshot is too large to be loaded again, it is not stored");
            return;
        }
        self.metrics.snapshot_persisted(snapshot.value.len() as u64);
        let raw = RawSnapshot { manifest: Arc::from(snapshot.type_url), payload: snapshot.value, meta: None };
        let time_ms = ctx.system().clock().wall_ms();
        let saved = self.activation.snapshots.save(self.activation.id.clone(), seq, self.fence.clone(), time_ms, raw);
        let told = async move {
            if let Err(error) = saved.await {
                tracing::warn!(seq, %error, "snapshot could not be saved, recovery will replay more events");
            }
        };
        ctx.spawn_task(told.in_current_span());
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

    fn half_close(&mut self, ctx: &mut Context, now: Tick) {
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

/// Reads the snapshot, opens a stream, replays into it.
async fn activate(
    activation: &Activation,
    generation: u64,
    this: ActorRef<EntityMessage<Internal>>,
) -> Result<Activated, ActivationError> {
    // Held until replay is done: a burst of activations must not read the whole store at once.
    let _recovering = activation.recoveries.acquire().await;
    let beginning = activation.begin().await?;
    let link = activation.link().await?;
    let reader_of = this.clone();
    let deliver = move |message: EventSourcedStreamOut| {
        let message = Box::new(message);
        let this = reader_of.clone();
        async move { this.send(EntityMessage::Internal(Internal(Event::Received { generation, message }))).await.is_ok() }
    };
    let (outbound, drive) = stream::open(&link, activation.outbound_max, deliver)
        .await
        .map_err(|error| ActivationError::Unreachable(error.to_string()))?;
    let read = async move {
        drive.await;
        let _ = this.send(EntityMessage::Internal(Internal(Event::Ended { generation }))).await;
    };
    let reader = AbortOnDropHandle::new(tokio::spawn(read.in_current_span()));
    let highest_seq = activation.replay(beginning, &outbound).await?;
    Ok(Activated { outbound, reader, highest_seq })
}

/// Appends; when the outcome is unknown it is asked for once, by sending the same batch again: the journal
/// takes a batch it has for success and stores one that it has not.
async fn append_settled(journal: Arc<dyn Journal<RawEvent>>, append: Append<RawEvent>) -> Result<u64, AppendError> {
    let first = journal.append(append.clone()).await;
    let Err(AppendError::Unknown { .. }) = first else { return first };
    match journal.append(append).await {
        // What this says of the second attempt does not settle the first.
        Err(AppendError::Unavailable { .. } | AppendError::Rejected { .. }) => first,
        settled => settled,
    }
}

fn stored_event(event: Any) -> RawEvent {
    RawEvent { manifest: Arc::from(event.type_url), payload: event.value, meta: None }
}

fn write_error(error: AppendError) -> WriteError {
    match error {
        AppendError::Rejected { .. } | AppendError::Unavailable { .. } => WriteError::NotStored(error.to_string()),
        AppendError::Conflict { .. } | AppendError::Stale { .. } => WriteError::NotOwner(error.to_string()),
        _ => WriteError::Unknown(error.to_string()),
    }
}
