//! The actor of one consumer: reads the event log, delivers, and carries out what [`State`] decides.

use std::sync::Arc;
use std::time::Duration;

use actors::{Actor, ActorContext, Behavior, Handled, ReplyTo};
use arc_swap::ArcSwap;
use persistence::{
    AppendError, Claimed, FeedEvent, FeedPage, FeedQuery, Journal, JournalError, LiveFeed, Offset, ParkedEvent,
    Position, ProjectionFence, ProjectionId, RawEvent, ReplayLimit, Selection,
};
use tracing::Instrument;

use super::delivery::Delivery;
use super::event::Event;
use super::plan::Consumer;
use super::state::{ConsumerSettings, Effect, Failure, State};
use crate::store::EventStore;
use crate::telemetry::metrics::ConsumerMetrics;

/// A consumer's protocol.
pub enum ConsumerMessage {
    /// Somebody has changed what is parked, or whether it is to wait.
    ParkedChanged,
    /// How it is doing.
    Status(ReplyTo<ConsumerStatus>),
    /// Delivers no further event, finishes those under way, saves the offset, then answers and stops.
    Drain(ReplyTo<()>),
    #[doc(hidden)]
    Internal(Internal),
}

/// How a consumer is doing.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct ConsumerStatus {
    /// The consumer group.
    pub group: String,
    /// What is read.
    pub source: String,
    /// Whether it consumes; if not, `problem` says why.
    pub running: bool,
    /// Everything up to this offset is done or parked.
    pub offset: Offset,
    /// Events of any type stored after that.
    pub behind: u64,
    /// Events parked.
    pub parked: usize,
    /// What keeps it from going on.
    pub problem: Option<String>,
}

/// Sealed: what only the consumer itself may send.
pub struct Internal(Own);

enum Own {
    Claim,
    Claimed(Result<(Claimed, Vec<ParkedEvent>), String>),
    Page(Box<LiveFeed<RawEvent>>, Result<FeedPage<RawEvent>, JournalError>),
    ReadAgain,
    Delivered { offset: Offset, result: Result<(), Failure> },
    Retry(Offset),
    Parked { offset: Offset, result: Result<(), AppendError> },
    ParkedAgain { offset: Offset, result: Result<(), AppendError> },
    Unparked { offset: Offset, result: Result<(), AppendError> },
    SaveDue,
    Saved { offset: Offset, result: Result<(), AppendError> },
    Listed(Result<Vec<ParkedEvent>, JournalError>),
    Replays(Vec<Replay>),
    Measure,
    Looked(Result<Look, JournalError>),
}

/// What others have changed.
struct Look {
    position: Option<Position>,
    /// Somebody asked for parked events to be tried again.
    replays: bool,
}

/// A parked event that is to be tried again, and what the journal says of it.
struct Replay {
    parked: ParkedEvent,
    found: Result<Option<FeedEvent<RawEvent>>, JournalError>,
}

/// The actor.
pub struct ConsumerActor {
    projection: ProjectionId,
    consumer: Arc<ArcSwap<Consumer>>,
    delivery: Delivery,
    events: EventStore,
    journal: Arc<dyn Journal<RawEvent>>,
    settings: ConsumerSettings,
    random_factor: f64,
    metrics: ConsumerMetrics,
    /// `None` until the offset is ours.
    claim: Option<ProjectionFence>,
    state: State,
    /// `None` while it is being read from.
    feed: Option<Box<LiveFeed<RawEvent>>>,
    failures: u32,
    problem: Option<String>,
    /// More events are to be tried again than were looked up at once.
    more_replays: bool,
    drained: Vec<ReplyTo<()>>,
}

/// Replays looked up at once; the rest is when these are done.
const REPLAYS_MAX: usize = 64;
const SAVE_AFTER: Duration = Duration::from_secs(1);
/// How often lag is measured, and looked what others want of the consumer.
const MEASURE_EVERY: Duration = Duration::from_secs(5);
const PAUSED: &str = "paused: it goes on once it is resumed";

type Context = ActorContext<ConsumerMessage>;

impl ConsumerActor {
    /// A consumer that starts where its group was last.
    #[must_use]
    pub fn new(
        consumer: Arc<ArcSwap<Consumer>>,
        delivery: Delivery,
        events: EventStore,
        journal: Arc<dyn Journal<RawEvent>>,
        settings: ConsumerSettings,
        random_factor: f64,
    ) -> Self {
        let projection = consumer.load().projection.clone();
        let metrics = ConsumerMetrics::for_consumer(&projection.group, &projection.source);
        let state = State::new(settings.clone(), Offset::START, []);
        Self {
            projection,
            consumer,
            delivery,
            events,
            journal,
            settings,
            random_factor,
            metrics,
            claim: None,
            state,
            feed: None,
            failures: 0,
            problem: Some("starting".to_owned()),
            more_replays: false,
            drained: Vec::new(),
        }
    }

    fn pipe<T: Send + 'static>(
        ctx: &mut Context,
        future: impl Future<Output = T> + Send + 'static,
        map: impl FnOnce(T) -> Own + Send + 'static,
    ) {
        ctx.pipe_to_self(future.in_current_span(), |output| ConsumerMessage::Internal(Internal(map(output))));
    }

    fn later(ctx: &mut Context, key: String, after: Duration, own: Own) {
        ctx.timers().start_single(key, after, ConsumerMessage::Internal(Internal(own)));
    }

    /// Like every delay: lengthened at random, so that consumers that failed together do not try again together.
    fn spread(&self, delay: Duration) -> Duration {
        delay.mul_f64(1.0 + rand::random::<f64>() * self.random_factor)
    }

    fn pause(&mut self) -> Duration {
        let factor = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        self.failures = self.failures.saturating_add(1);
        self.spread(self.settings.backoff_min.saturating_mul(factor).min(self.settings.backoff_max))
    }

    fn claim(&mut self, ctx: &mut Context) {
        let (projections, projection) = (self.events.projections.clone(), self.projection.clone());
        let selection = Selection::of(&projection);
        let limit = self.settings.parked_max + 1;
        let claimed = async move {
            let claimed = projections.take_over(projection).await.map_err(|error| error.to_string())?;
            let parked = projections.parked(selection, None, limit).await.map_err(|error| error.to_string())?;
            Ok((claimed, parked))
        };
        Self::pipe(ctx, claimed, Own::Claimed);
    }

    fn claimed(&mut self, ctx: &mut Context, result: Result<(Claimed, Vec<ParkedEvent>), String>) {
        let (claimed, parked) = match result {
            Ok(found) => found,
            Err(error) => {
                tracing::error!(%error, "consumer cannot start, trying on");
                self.problem = Some(error);
                let pause = self.pause();
                return Self::later(ctx, "claim".to_owned(), pause, Own::Claim);
            }
        };
        self.failures = 0;
        self.problem = None;
        tracing::info!(offset = %claimed.offset, parked = parked.len(), paused = claimed.paused, "consumer started");
        let source = self.projection.source.clone();
        let limit = ReplayLimit { events: self.settings.read_ahead / 2, bytes: 1 << 20 };
        self.feed =
            Some(Box::new(LiveFeed::new(self.events.feed.clone(), FeedQuery::of(source), claimed.offset, limit)));
        self.claim = Some(claimed.fence);
        self.state = State::new(self.settings.clone(), claimed.offset, parked.iter().map(|parked| parked.offset));
        let effects = self.state.start(claimed.paused);
        self.perform(ctx, effects);
        self.look_up(ctx, parked);
    }

    fn read(&mut self, ctx: &mut Context) {
        if let Some(mut feed) = self.feed.take() {
            let read = async move {
                let page = feed.next().await;
                (feed, page)
            };
            Self::pipe(ctx, read, |(feed, page)| Own::Page(feed, page));
        }
    }

    fn page(&mut self, ctx: &mut Context, page: Result<FeedPage<RawEvent>, JournalError>) -> Vec<Effect> {
        match page {
            Ok(page) => {
                self.failures = 0;
                self.problem = None;
                self.state.page(page)
            }
            Err(error) => {
                tracing::error!(%error, "event log cannot be read, trying on");
                self.problem = Some(error.to_string());
                let pause = self.pause();
                Self::later(ctx, "read".to_owned(), pause, Own::ReadAgain);
                Vec::new()
            }
        }
    }

    fn deliver(&mut self, ctx: &mut Context, event: &FeedEvent<RawEvent>) {
        let offset = event.offset;
        let delivered = self.delivery.clone().deliver(self.consumer.load_full(), Event::of_log(event));
        Self::pipe(ctx, delivered, move |result| Own::Delivered { offset, result });
    }

    fn delivered(&mut self, offset: Offset, result: Result<(), Failure>) -> Vec<Effect> {
        match &result {
            Ok(()) => self.metrics.delivered(),
            Err(Failure::NotMade) => {}
            Err(Failure::Failed(reason) | Failure::Hopeless(reason)) => {
                self.metrics.attempt_failed();
                tracing::warn!(%offset, %reason, "event was not handled");
            }
        }
        self.state.delivered(offset, result)
    }

    /// Parked events that are to be tried again are read from the journal.
    fn look_up(&mut self, ctx: &mut Context, parked: Vec<ParkedEvent>) {
        let mut asked = parked.into_iter().filter(|parked| parked.replay);
        let first: Vec<_> = asked.by_ref().take(REPLAYS_MAX).collect();
        self.more_replays = asked.next().is_some();
        let asked = first;
        if asked.is_empty() {
            return;
        }
        let journal = self.journal.clone();
        let looked_up = async move {
            let mut replays = Vec::with_capacity(asked.len());
            for parked in asked {
                let (id, offset, seq_nr) = (parked.id.clone(), parked.offset, parked.seq_nr);
                let read = journal.replay(id.clone(), seq_nr, seq_nr, ReplayLimit::default()).await;
                let found = read.map(|page| page.into_iter().next().map(|stored| FeedEvent { offset, id, stored }));
                replays.push(Replay { parked, found });
            }
            replays
        };
        Self::pipe(ctx, looked_up, Own::Replays);
    }

    fn replays(&mut self, ctx: &mut Context, replays: Vec<Replay>) -> Vec<Effect> {
        let mut events = Vec::new();
        for Replay { parked, found } in replays {
            let why = match found {
                Ok(Some(event)) => {
                    events.push((event, parked.attempts));
                    continue;
                }
                Ok(None) => "the event has been deleted from the journal; drop it here too".to_owned(),
                Err(error) => error.to_string(),
            };
            let (offset, again) = (parked.offset, ParkedEvent { reason: why, ..parked });
            self.park(ctx, again, move |result| Own::ParkedAgain { offset, result });
        }
        self.state.replay(events)
    }

    fn park(
        &mut self,
        ctx: &mut Context,
        event: ParkedEvent,
        done: impl FnOnce(Result<(), AppendError>) -> Own + Send + 'static,
    ) {
        let Some(claim) = self.claim.clone() else { return };
        Self::pipe(ctx, self.events.projections.park(claim, event), done);
    }

    /// Looks whether others have told this consumer to wait or to go on, have asked for parked events to be tried again,
    /// or have taken it over: not all of them can reach this process.
    fn look(&mut self, ctx: &mut Context) {
        if self.claim.is_none() {
            return;
        }
        let (projections, selection) = (self.events.projections.clone(), Selection::of(&self.projection));
        let looked = async move {
            let position = projections.positions(selection.clone()).await?.into_iter().next();
            let replays = !projections.to_replay(selection, None, 1).await?.is_empty();
            Ok(Look { position, replays })
        };
        Self::pipe(ctx, looked, Own::Looked);
    }

    /// What there is to do then; `None` when another instance has taken over.
    fn looked(&mut self, ctx: &mut Context, looked: Result<Look, JournalError>) -> Option<Vec<Effect>> {
        let Look { position, replays } = match looked {
            Ok(looked) => looked,
            Err(error) => {
                tracing::warn!(%error, "what others want of the consumer cannot be read, trying on");
                return Some(Vec::new());
            }
        };
        let epoch = self.claim.as_ref().map_or(0, |claim| claim.epoch);
        if let Some(position) = &position
            && position.epoch > epoch
        {
            tracing::warn!(epoch, by = position.epoch, "another instance has taken this consumer over, it stops here");
            return None;
        }
        if replays && self.state.replaying() == 0 {
            self.list(ctx);
        }
        match position {
            Some(position) if position.paused != self.state.is_paused() => {
                tracing::info!(paused = position.paused, "consumer was told to wait, or to go on");
                Some(self.state.set_paused(position.paused))
            }
            _ => Some(Vec::new()),
        }
    }

    fn save(&mut self, ctx: &mut Context, offset: Offset) {
        let Some(claim) = self.claim.clone() else { return };
        let saved = self.events.projections.save_offset(claim, offset);
        Self::pipe(ctx, saved, move |result| Own::Saved { offset, result });
    }

    fn list(&mut self, ctx: &mut Context) {
        let selection = Selection::of(&self.projection);
        let listed = self.events.projections.parked(selection, None, self.settings.parked_max + 1);
        Self::pipe(ctx, listed, Own::Listed);
    }

    fn perform(&mut self, ctx: &mut Context, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Read => self.read(ctx),
                Effect::Deliver(event) => self.deliver(ctx, &event),
                Effect::Retry { offset, after } => {
                    let after = self.spread(after);
                    Self::later(ctx, format!("retry-{offset}"), after, Own::Retry(offset));
                }
                Effect::Park { event, attempts, reason } => {
                    tracing::error!(
                        offset = %event.offset, entity = %event.id, attempts, %reason,
                        "event is parked; `cloudstate events` lists, replays and drops parked events"
                    );
                    let parked = ParkedEvent {
                        projection: self.projection.clone(),
                        offset: event.offset,
                        id: event.id.clone(),
                        seq_nr: event.stored.seq_nr,
                        attempts,
                        reason,
                        time_ms: ctx.clock().wall_ms(),
                        replay: false,
                    };
                    let offset = parked.offset;
                    self.park(ctx, parked, move |result| Own::Parked { offset, result });
                }
                Effect::ParkedFull { offset } => {
                    let parked = self.state.parked_len();
                    let text = format!("{parked} events are parked (eventing.parked-max): replay or drop some");
                    tracing::error!(%offset, "consumer waits: {text}");
                    self.problem = Some(text);
                    let after = self.spread(self.settings.backoff_max);
                    Self::later(ctx, format!("retry-{offset}"), after, Own::Retry(offset));
                }
                Effect::Unpark { offset } => {
                    let Some(claim) = self.claim.clone() else { continue };
                    let unparked = self.events.projections.unpark(claim, offset);
                    Self::pipe(ctx, unparked, move |result| Own::Unparked { offset, result });
                }
                Effect::Save { offset } => self.save(ctx, offset),
                Effect::SaveSoon => Self::later(ctx, "save".to_owned(), SAVE_AFTER, Own::SaveDue),
            }
        }
    }

    /// Whether the write succeeded; `None` when another instance has taken over.
    fn written(&mut self, what: &'static str, result: Result<(), AppendError>) -> Option<bool> {
        match result {
            Ok(()) => Some(true),
            Err(error @ AppendError::Stale { .. }) => {
                tracing::warn!(%error, "another instance has taken this consumer over, it stops here");
                None
            }
            Err(error) => {
                tracing::error!(%error, "{what} could not be saved, trying on");
                Some(false)
            }
        }
    }

    fn own(&mut self, ctx: &mut Context, own: Own) -> Behavior {
        let mut taken_over = false;
        let mut stored = |this: &mut Self, what, result| {
            let stored = this.written(what, result);
            taken_over |= stored.is_none();
            stored.unwrap_or(false)
        };
        let effects = match own {
            Own::Claim => {
                self.claim(ctx);
                Vec::new()
            }
            Own::Claimed(result) => {
                self.claimed(ctx, result);
                Vec::new()
            }
            Own::Page(feed, page) => {
                self.feed = Some(feed);
                self.page(ctx, page)
            }
            Own::ReadAgain => self.state.read_again(),
            Own::Delivered { offset, result } => self.delivered(offset, result),
            Own::Retry(offset) => self.state.retry(offset),
            Own::Parked { offset, result } => {
                let stored = stored(self, "a parked event", result);
                self.state.parked(offset, stored)
            }
            Own::ParkedAgain { offset, result } => {
                if stored(self, "why a parked event cannot be tried again", result) {
                    self.state.parked_again(offset);
                }
                Vec::new()
            }
            Own::Unparked { offset, result } => {
                // If not, it is tried once more after the next start: at least once.
                if stored(self, "the end of a parked event", result) {
                    tracing::info!(%offset, "parked event was handled");
                }
                Vec::new()
            }
            Own::SaveDue => self.state.save().map(|offset| Effect::Save { offset }).into_iter().collect(),
            Own::Saved { offset, result } => {
                let stored = stored(self, "the offset", result);
                self.state.saved(offset, stored)
            }
            Own::Listed(Ok(parked)) => {
                self.state.parked_now(parked.iter().map(|parked| parked.offset));
                self.look_up(ctx, parked);
                Vec::new()
            }
            Own::Listed(Err(error)) => {
                tracing::error!(%error, "parked events cannot be read");
                Vec::new()
            }
            Own::Replays(replays) => self.replays(ctx, replays),
            Own::Measure => {
                Self::later(ctx, "measure".to_owned(), MEASURE_EVERY, Own::Measure);
                self.look(ctx);
                Vec::new()
            }
            Own::Looked(looked) => self.looked(ctx, looked).unwrap_or_else(|| {
                taken_over = true;
                Vec::new()
            }),
        };
        if taken_over {
            return self.stop();
        }
        self.perform(ctx, effects);
        if self.more_replays && self.state.replaying() == 0 {
            self.more_replays = false;
            self.list(ctx);
        }
        self.measure(ctx);
        Behavior::Same
    }

    fn measure(&self, ctx: &Context) {
        let lag = self.state.oldest_ms().map_or(0, |oldest| ctx.clock().wall_ms().saturating_sub(oldest));
        self.metrics.measured(self.state.behind(), Duration::from_millis(lag), self.state.parked_len());
    }

    /// Once nothing is under way, the offset is saved and whoever waits is told.
    fn drain(&mut self, ctx: &mut Context) -> Behavior {
        if self.drained.is_empty() || !self.state.is_idle() {
            return Behavior::Same;
        }
        match (self.state.save(), self.state.is_saving()) {
            (Some(offset), _) => self.save(ctx, offset),
            (None, true) => {}
            (None, false) => return self.stop(),
        }
        Behavior::Same
    }

    fn stop(&mut self) -> Behavior {
        self.drained.drain(..).for_each(|reply_to| reply_to.tell(()));
        Behavior::Stopped
    }

    fn status(&self) -> ConsumerStatus {
        let projection = &self.projection;
        ConsumerStatus {
            group: projection.group.to_string(),
            source: projection.source.to_string(),
            running: self.claim.is_some(),
            offset: self.state.done_to(),
            behind: self.state.behind(),
            parked: self.state.parked_len(),
            problem: self.problem.clone().or_else(|| self.state.is_paused().then(|| PAUSED.to_owned())),
        }
    }

    fn turn(&mut self, ctx: &mut Context, message: ConsumerMessage) -> Behavior {
        match message {
            ConsumerMessage::ParkedChanged if self.claim.is_some() => {
                self.list(ctx);
                self.look(ctx);
            }
            ConsumerMessage::ParkedChanged => {} // listed when it starts
            ConsumerMessage::Status(reply_to) => reply_to.tell(self.status()),
            ConsumerMessage::Drain(reply_to) => {
                self.drained.push(reply_to);
                self.state.stop();
                self.delivery.stopping.cancel();
                return self.drain(ctx);
            }
            ConsumerMessage::Internal(Internal(own)) => {
                if let Behavior::Stopped = self.own(ctx, own) {
                    return Behavior::Stopped;
                }
                return self.drain(ctx);
            }
        }
        Behavior::Same
    }
}

impl Actor for ConsumerActor {
    type Message = ConsumerMessage;

    async fn started(&mut self, ctx: &mut Context) -> Handled {
        self.span().in_scope(|| self.claim(ctx));
        Self::later(ctx, "measure".to_owned(), MEASURE_EVERY, Own::Measure);
        Ok(Behavior::Same)
    }

    async fn receive(&mut self, ctx: &mut Context, message: Self::Message) -> Handled {
        Ok(self.span().in_scope(|| self.turn(ctx, message)))
    }
}

impl ConsumerActor {
    fn span(&self) -> tracing::Span {
        let projection = &self.projection;
        tracing::error_span!("consumer", group = %projection.group, source = %projection.source)
    }
}
