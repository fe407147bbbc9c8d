//! The actor of a projection: carries out what [`State`] decides.

use super::{
    Claimed, Envelope, ParkedEvent, Position, Progress, ProjectionFence, ProjectionId, ProjectionStatus,
    ProjectionStore, Selection,
    behavior::Setup,
    meter::Meter,
    sink::Work,
    source::{Page, overlap, parse},
    state::{Applied, Effect, Replay, Start, State},
};
use crate::{AppendError, JournalError, Offset, PersistenceId, ReplayLimit};
use actors::{Actor, ActorContext, Behavior, Handled, ReplyTo, Signal};
use std::{collections::BTreeMap, ops::RangeInclusive, sync::Arc, time::Duration};

/// A projection's protocol.
pub enum ProjectionMessage {
    /// How it is doing.
    Status(ReplyTo<ProjectionStatus>),
    /// Answers once everything up to the place is handled, with how far it is. Whoever asks sets the time limit; an ask
    /// that is over is forgotten.
    WaitUntil(Place, ReplyTo<Offset>),
    /// Begins nothing more until it is resumed, however often it is started meanwhile.
    Pause(ReplyTo<Result<(), AppendError>>),
    /// Goes on.
    Resume(ReplyTo<Result<(), AppendError>>),
    /// Goes on from this offset, [`Offset::START`] for everything again, once what is under way has ended. Of a projection
    /// that is divided, reset all instances: see [`Projections::reset`](super::Projections::reset).
    Reset(Offset, ReplyTo<Result<(), AppendError>>),
    /// Somebody has dropped parked items, or wants them tried again; else that is noticed by and by.
    ParkedChanged,
    /// Finishes what is under way, saves the offset, answers and stops.
    Stop(ReplyTo<()>),
    #[doc(hidden)]
    Internal(Internal),
}

/// What to wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A place in the feed.
    Offset(Offset),
    /// An event by its number, or a state: what a write is told by.
    Number(PersistenceId, u64),
}

/// Sealed: what only the projection itself may send.
pub struct Internal(Own);

enum Own {
    Claimed(Result<Box<Beginning>, String>),
    Page(u64, Result<Box<dyn std::any::Any + Send>, JournalError>),
    ReadAgain(u64),
    Applied(Result<Applied, AppendError>),
    Saved { offset: Offset, result: Result<(), AppendError> },
    SaveDue,
    GroupDue,
    Retry,
    Parked(Result<(), AppendError>),
    Replays(Box<dyn std::any::Any + Send>),
    Replayed { parked: ParkedEvent, result: Result<Applied, AppendError> },
    WasReset { offset: Offset, result: Result<(), AppendError> },
    Paused { paused: bool, result: Result<(), AppendError>, reply_to: ReplyTo<Result<(), AppendError>> },
    Found(Option<Offset>, ReplyTo<Offset>),
    Look,
    Looked(Result<(Vec<Position>, Vec<ParkedEvent>), JournalError>),
}

/// What is known once the offset is ours.
struct Beginning {
    claimed: Claimed,
    ahead: Vec<(RangeInclusive<u16>, Offset)>,
    parked: Vec<ParkedEvent>,
}

/// Asks that may wait for a place.
const WAITING_MAX: usize = 10_000;

/// Parked items tried again at once; the rest is when these are done.
const REPLAYS_MAX: usize = 64;

/// Between two attempts to read a store that could not be read.
const READ_PAUSE: Duration = Duration::from_secs(1);

/// How often it is looked whether an ask that waits for an event that there is not is over.
const ASK_CHECK: Duration = Duration::from_secs(1);

type Context = ActorContext<ProjectionMessage>;

/// What [`Projection`](super::Projection) turns into when it is spawned.
pub struct ProjectionActor<I: Envelope> {
    setup: Arc<Setup<I>>,
    /// `None` until the offset is ours.
    life: Option<Life<I>>,
    problem: Option<String>,
    waiting: BTreeMap<Offset, Vec<ReplyTo<Offset>>>,
    resets: Vec<ReplyTo<Result<(), AppendError>>>,
    stopping: Vec<ReplyTo<()>>,
    stashed: Vec<ProjectionMessage>,
}

struct Life<I> {
    fence: ProjectionFence,
    state: State<I>,
    meter: Meter,
    working: bool,
}

/// Why a projection ended this life.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("projection {projection} failed: {reason}")]
pub struct ProjectionFailed {
    /// Which.
    pub projection: ProjectionId,
    /// Why.
    pub reason: String,
}

/// What a turn leads to.
enum Turn {
    On,
    /// Another instance has the offset.
    TakenOver,
    Failed(String),
}

impl<I: Envelope> ProjectionActor<I> {
    pub(super) fn new(setup: Arc<Setup<I>>) -> Self {
        Self {
            setup,
            life: None,
            problem: Some("starting".to_owned()),
            waiting: BTreeMap::new(),
            resets: Vec::new(),
            stopping: Vec::new(),
            stashed: Vec::new(),
        }
    }

    fn pipe<T: Send + 'static>(
        ctx: &mut Context,
        future: impl Future<Output = T> + Send + 'static,
        map: impl FnOnce(T) -> Own + Send + 'static,
    ) {
        ctx.pipe_to_self(future, |output| ProjectionMessage::Internal(Internal(map(output))));
    }

    fn later(ctx: &mut Context, key: &'static str, after: Duration, own: Own) {
        ctx.timers().start_single(key, after, ProjectionMessage::Internal(Internal(own)));
    }

    /// Takes the offset over, and those of instances that read some of the same slices: what they have handled is not
    /// handled again.
    fn claim(&self, ctx: &mut Context) {
        let (store, ours) = (self.setup.sink.store(), self.setup.id.clone());
        let limit = self.setup.settings.parked_max.saturating_add(1);
        let begun = async move {
            let text = |error: AppendError| error.to_string();
            let claimed = store.take_over(ours.clone()).await.map_err(text)?;
            let group = Selection { group: Some(ours.group.clone()), ..Selection::default() };
            let rows = store.positions(group).await.map_err(|error| error.to_string())?;
            let mut ahead = Vec::new();
            for row in rows {
                let Some(slices) = overlap(&ours, &row.projection) else { continue };
                let theirs = store.take_over(row.projection).await.map_err(text)?;
                if theirs.offset > claimed.offset {
                    ahead.push((slices, theirs.offset));
                }
            }
            let parked = store.parked(Selection::of(&ours), None, limit).await.map_err(|error| error.to_string())?;
            Ok(Box::new(Beginning { claimed, ahead, parked }))
        };
        Self::pipe(ctx, begun, Own::Claimed);
    }

    fn claimed(&mut self, ctx: &mut Context, begun: Result<Box<Beginning>, String>) -> Turn {
        let Beginning { claimed, ahead, parked } = match begun {
            Ok(begun) => *begun,
            Err(reason) => return Turn::Failed(reason),
        };
        let Claimed { fence, offset, paused } = claimed;
        // From where on there is anything to do: all slices are handled up to there by somebody.
        let query = &self.setup.query;
        let everywhere = query.slices.clone().map(|slice| {
            let by_others = ahead.iter().filter(|(slices, _)| slices.contains(&slice)).map(|(_, offset)| *offset);
            by_others.max().unwrap_or(offset)
        });
        let offset = everywhere.min().unwrap_or(offset).max(offset);
        let parked_count = parked.len();
        let parked = parked.into_iter().map(|event| event.offset).filter(|place| *place > offset).collect();
        tracing::info!(projection = %self.setup.id, %offset, parked = parked_count, paused, "projection started");
        let start = Start { offset, paused, ahead, parked, parked_count };
        let Setup { settings, delivery, on_failure, .. } = &*self.setup;
        let mut state = State::new(settings.clone(), *delivery, *on_failure, start);
        let effects = state.start();
        let meter = Meter::new(&self.setup.id, offset, ctx.clock().now());
        self.life = Some(Life { fence, state, meter, working: false });
        self.problem = None;
        Self::later(ctx, "look", Duration::ZERO, Own::Look);
        let turn = self.perform(ctx, effects);
        for message in std::mem::take(&mut self.stashed) {
            self.asked(ctx, message);
        }
        turn
    }

    fn read(&self, ctx: &mut Context, after: Offset, turn: u64) {
        let source = Arc::clone(&self.setup.source);
        let query = self.setup.query.clone();
        let limit = ReplayLimit { events: (self.setup.settings.read_ahead / 2).max(1), bytes: 4 << 20 };
        let mut changes = source.changes();
        let read = async move {
            loop {
                // Before the read: what is stored from here on ends the wait below.
                changes.mark();
                let page = source.page(query.clone(), after, limit).await?;
                if page.read_to > after {
                    return Ok(Box::new(page) as Box<dyn std::any::Any + Send>);
                }
                changes.changed().await;
            }
        };
        Self::pipe(ctx, read, move |page| Own::Page(turn, page));
    }

    fn perform(&mut self, ctx: &mut Context, effects: Vec<Effect<I>>) -> Turn {
        let Some(life) = &mut self.life else { return Turn::On };
        let (setup, fence) = (Arc::clone(&self.setup), life.fence.clone());
        let store = setup.sink.store();
        for effect in effects {
            match effect {
                Effect::Read { after, turn } => self.read(ctx, after, turn),
                Effect::Apply(items) => {
                    self.set_working(true);
                    let work = Work { fence: fence.clone(), items, replay_of: None };
                    let applied = setup.sink.work(work, ctx.clock());
                    Self::pipe(ctx, applied, Own::Applied);
                }
                Effect::Save(offset) => {
                    let saved = store.save_offset(fence.clone(), offset);
                    Self::pipe(ctx, saved, move |result| Own::Saved { offset, result });
                }
                Effect::SaveSoon(after) => Self::later(ctx, "save", after, Own::SaveDue),
                Effect::GroupSoon(after) => Self::later(ctx, "group", after, Own::GroupDue),
                Effect::Retry(after) => Self::later(ctx, "retry", after, Own::Retry),
                Effect::Park { item, attempts, reason } => {
                    tracing::error!(
                        projection = %setup.id, offset = %item.offset(), entity = %item.id(), attempts, %reason,
                        "item is parked"
                    );
                    let parked = ParkedEvent {
                        projection: setup.id.clone(),
                        offset: item.offset(),
                        id: item.id().clone(),
                        seq_nr: item.number(),
                        attempts,
                        reason,
                        time_ms: ctx.clock().wall_ms(),
                        replay: false,
                    };
                    Self::pipe(ctx, store.park(fence.clone(), parked), Own::Parked);
                }
                Effect::Replay(Replay { parked, item }) => {
                    self.set_working(true);
                    let replay_of = Some(parked.projection.clone());
                    let work = Work { fence: fence.clone(), items: vec![item], replay_of };
                    let applied = setup.sink.work(work, ctx.clock());
                    Self::pipe(ctx, applied, move |result| Own::Replayed { parked, result });
                }
                Effect::Reset(offset) => {
                    let (setup, fence) = (Arc::clone(&setup), fence.clone());
                    let reset = async move {
                        forget_others(&*setup.sink.store(), &setup.id, offset).await?;
                        setup.sink.reset(fence, offset).await
                    };
                    Self::pipe(ctx, reset, move |result| Own::WasReset { offset, result });
                }
                Effect::Fail(reason) => return Turn::Failed(reason),
            }
        }
        Turn::On
    }

    fn set_working(&mut self, working: bool) {
        if let Some(life) = &mut self.life {
            life.working = working;
        }
    }

    /// Whether a write was stored; a turn where nothing more may follow.
    fn written(&mut self, what: &'static str, result: Result<(), AppendError>) -> Result<bool, Turn> {
        match result {
            Ok(()) => Ok(true),
            Err(AppendError::Stale { .. }) => Err(Turn::TakenOver),
            Err(error) => {
                tracing::warn!(projection = %self.setup.id, %error, "{what} could not be saved, trying on");
                self.problem = Some(error.to_string());
                Ok(false)
            }
        }
    }

    /// Of work in a store that failed nothing is known but what the store says: a new life reads it again.
    fn worked(&mut self, result: Result<Applied, AppendError>) -> Result<Applied, Turn> {
        self.set_working(false);
        match result {
            Ok(applied) => {
                let Some(life) = &mut self.life else { return Ok(applied) };
                life.meter.handled(applied.done as u64);
                match &applied.failure {
                    Some(reason) => {
                        life.meter.failed();
                        tracing::warn!(projection = %self.setup.id, %reason, "item was not handled");
                        self.problem = Some(reason.clone());
                    }
                    None => self.problem = None,
                }
                Ok(applied)
            }
            Err(AppendError::Stale { .. }) => Err(Turn::TakenOver),
            Err(error) => Err(Turn::Failed(error.to_string())),
        }
    }

    fn own(&mut self, ctx: &mut Context, own: Own) -> Turn {
        match self.decide(ctx, own) {
            Ok(effects) => self.perform(ctx, effects),
            Err(turn) => turn,
        }
    }

    fn decide(&mut self, ctx: &mut Context, own: Own) -> Result<Vec<Effect<I>>, Turn> {
        let own = match own {
            Own::Claimed(begun) => return Err(self.claimed(ctx, begun)),
            Own::Found(offset, reply_to) => {
                if let Some(offset) = offset {
                    self.wait(offset, reply_to);
                }
                return Ok(Vec::new());
            }
            Own::Applied(result) => {
                let applied = self.worked(result)?;
                return Ok(self.state(|state| state.applied(applied)));
            }
            Own::Saved { offset, result } => {
                let stored = self.written("the offset", result)?;
                return Ok(self.state(|state| state.saved(offset, stored)));
            }
            Own::Parked(result) => {
                let stored = self.written("a parked item", result)?;
                return Ok(self.state(|state| state.parked(stored)));
            }
            Own::Replayed { parked, result } => {
                let applied = self.worked(result)?;
                self.replayed(ctx, parked, &applied);
                let effects = self.state(|state| state.replayed(applied.failure.is_none()));
                if self.life.as_ref().is_some_and(|life| !life.state.is_replaying()) {
                    Self::later(ctx, "look", Duration::ZERO, Own::Look); // there may be more than fit at once
                }
                return Ok(effects);
            }
            Own::WasReset { offset, result } => {
                for reply_to in self.resets.drain(..) {
                    reply_to.tell(result.clone());
                }
                let stored = self.written("the new offset", result)?;
                return Ok(self.state(|state| state.was_reset(offset, stored)));
            }
            Own::Paused { paused, result, reply_to } => {
                let stored = result.is_ok();
                reply_to.tell(result);
                return Ok(if stored { self.state(|state| state.set_paused(paused)) } else { Vec::new() });
            }
            other => other,
        };
        Ok(match own {
            Own::Page(turn, Ok(page)) => match page.downcast::<Page<I>>() {
                Ok(page) => self.state(|state| state.page(turn, *page)),
                Err(_) => Vec::new(),
            },
            Own::Page(_, Err(error)) if error.is_permanent() => return Err(Turn::Failed(error.to_string())),
            Own::Page(turn, Err(error)) => {
                tracing::warn!(projection = %self.setup.id, %error, "feed cannot be read, trying on");
                self.problem = Some(error.to_string());
                Self::later(ctx, "read", READ_PAUSE, Own::ReadAgain(turn));
                Vec::new()
            }
            Own::ReadAgain(turn) => self.state(|state| state.read_again(turn)),
            Own::SaveDue => self.state(State::save_due),
            Own::GroupDue => self.state(State::group_due),
            Own::Retry => self.state(State::retry),
            Own::Replays(replays) => match replays.downcast::<Vec<Replay<I>>>() {
                Ok(replays) => self.state(|state| state.replay(*replays)),
                Err(_) => Vec::new(),
            },
            Own::Look => {
                self.look(ctx);
                Vec::new()
            }
            Own::Looked(looked) => return self.looked(ctx, looked),
            _ => Vec::new(), // dealt with above
        })
    }

    fn state(&mut self, turn: impl FnOnce(&mut State<I>) -> Vec<Effect<I>>) -> Vec<Effect<I>> {
        self.life.as_mut().map_or_else(Vec::new, |life| turn(&mut life.state))
    }

    /// Looks what others have done to this projection.
    fn look(&mut self, ctx: &mut Context) {
        Self::later(ctx, "look", self.setup.settings.look_every, Own::Look);
        self.waiting.retain(|_, asks| {
            asks.retain(|ask| !ask.is_closed());
            !asks.is_empty()
        });
        let (store, ours) = (self.setup.sink.store(), self.setup.id.clone());
        let limit = self.setup.settings.parked_max.saturating_add(1);
        let looked = async move {
            let positions = store.positions(Selection::of(&ours)).await?;
            let group = Selection { group: Some(ours.group.clone()), ..Selection::default() };
            Ok((positions, store.parked(group, None, limit).await?))
        };
        Self::pipe(ctx, looked, Own::Looked);
    }

    fn looked(
        &mut self,
        ctx: &mut Context,
        looked: Result<(Vec<Position>, Vec<ParkedEvent>), JournalError>,
    ) -> Result<Vec<Effect<I>>, Turn> {
        let Some(life) = &mut self.life else { return Ok(Vec::new()) };
        let (positions, parked) = match looked {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(projection = %self.setup.id, %error, "offsets cannot be read, trying on");
                return Ok(Vec::new());
            }
        };
        let Some(position) = positions.first() else { return Ok(Vec::new()) };
        if position.epoch > life.fence.epoch {
            return Err(Turn::TakenOver);
        }
        let (ours, query) = (&self.setup.id, &self.setup.query);
        life.state.set_parked_count(parked.iter().filter(|event| event.projection == *ours).count());
        // Those of instances that read other slices are theirs, or whoever's that reads them now.
        let asked = parked.into_iter().filter(|event| {
            let known = event.projection == *ours || overlap(ours, &event.projection).is_some();
            event.replay && known && query.slices.contains(&event.id.slice())
        });
        let asked: Vec<_> = asked.take(REPLAYS_MAX).collect();
        if !asked.is_empty() && !life.state.is_replaying() {
            self.look_up(ctx, asked);
        }
        let paused = position.paused;
        Ok(self.state(|state| if state.is_paused() == paused { Vec::new() } else { state.set_paused(paused) }))
    }

    /// Parked items that are to be tried again are read from the store.
    fn look_up(&self, ctx: &mut Context, asked: Vec<ParkedEvent>) {
        let (source, store, fence) = (
            Arc::clone(&self.setup.source),
            self.setup.sink.store(),
            self.life.as_ref().map(|life| life.fence.clone()),
        );
        let looked_up = async move {
            let mut replays = Vec::with_capacity(asked.len());
            for parked in asked {
                let reason = match source.look_up(parked.id.clone(), parked.seq_nr, parked.offset).await {
                    Ok(Some(item)) => {
                        replays.push(Replay { parked, item: Arc::new(item) });
                        continue;
                    }
                    Ok(None) => "it has been deleted from the store; drop it here too".to_owned(),
                    Err(error) => error.to_string(),
                };
                if let Some(fence) = fence.clone() {
                    let again = ParkedEvent { reason, ..parked };
                    // If not, it is asked for again at the next look.
                    let _ = store.park(fence, again).await;
                }
            }
            Box::new(replays) as Box<dyn std::any::Any + Send>
        };
        Self::pipe(ctx, looked_up, Own::Replays);
    }

    /// One that failed once more is parked once more, under our own name.
    fn replayed(&self, ctx: &mut Context, parked: ParkedEvent, applied: &Applied) {
        let (Some(reason), Some(life)) = (applied.failure.clone(), &self.life) else { return };
        let (store, fence, ours) = (self.setup.sink.store(), life.fence.clone(), self.setup.id.clone());
        let former = Selection::one(&parked.projection, parked.offset);
        let moved = parked.projection != ours;
        let attempts = parked.attempts.saturating_add(1);
        let again = ParkedEvent { projection: ours, attempts, reason, replay: false, ..parked };
        ctx.spawn_task(async move {
            // If not, it is tried again after the next look.
            if store.park(fence, again).await.is_ok() && moved {
                let _ = store.drop_parked(former).await;
            }
        });
    }

    /// What somebody asks for.
    fn asked(&mut self, ctx: &mut Context, message: ProjectionMessage) -> Turn {
        let store = self.setup.sink.store();
        match message {
            ProjectionMessage::Internal(Internal(own)) => return self.own(ctx, own),
            ProjectionMessage::Status(reply_to) => reply_to.tell(self.status(ctx)),
            // All else needs the offset to be ours.
            other if self.life.is_none() => {
                if self.stashed.len() < WAITING_MAX {
                    self.stashed.push(other);
                }
            }
            ProjectionMessage::WaitUntil(Place::Offset(offset), reply_to) => self.wait(offset, reply_to),
            ProjectionMessage::WaitUntil(Place::Number(id, number), reply_to) => self.find(ctx, id, number, reply_to),
            ProjectionMessage::Pause(reply_to) => {
                let stored = store.set_paused(self.setup.id.clone(), true);
                Self::pipe(ctx, stored, |result| Own::Paused { paused: true, result, reply_to });
            }
            ProjectionMessage::Resume(reply_to) => {
                let stored = store.set_paused(self.setup.id.clone(), false);
                Self::pipe(ctx, stored, |result| Own::Paused { paused: false, result, reply_to });
            }
            ProjectionMessage::Reset(offset, reply_to) => {
                self.resets.push(reply_to);
                let effects = self.state(|state| state.reset(offset));
                return self.perform(ctx, effects);
            }
            ProjectionMessage::ParkedChanged => self.look(ctx),
            ProjectionMessage::Stop(reply_to) => {
                self.stopping.push(reply_to);
                self.state(|state| state.set_paused(true));
            }
        }
        Turn::On
    }

    fn wait(&mut self, offset: Offset, reply_to: ReplyTo<Offset>) {
        if self.waiting.values().map(Vec::len).sum::<usize>() < WAITING_MAX {
            self.waiting.entry(offset).or_default().push(reply_to);
        }
    }

    fn find(&self, ctx: &mut Context, id: PersistenceId, number: u64, reply_to: ReplyTo<Offset>) {
        let (source, clock) = (Arc::clone(&self.setup.source), ctx.clock().clone());
        let mut changes = source.changes();
        let found = async move {
            loop {
                changes.mark();
                if reply_to.is_closed() {
                    return (None, reply_to);
                }
                match source.offset_of(id.clone(), number).await {
                    Ok(Some(offset)) => return (Some(offset), reply_to),
                    // It may be written yet, and a store that cannot be read may be back soon.
                    Ok(None) | Err(_) => drop(clock.timeout(ASK_CHECK, changes.changed()).await),
                }
            }
        };
        Self::pipe(ctx, found, |(offset, reply_to)| Own::Found(offset, reply_to));
    }

    fn answer_waiting(&mut self) {
        let Some(life) = &self.life else { return };
        let done_to = life.state.done_to();
        while let Some(first) = self.waiting.first_entry() {
            if *first.key() > done_to {
                return;
            }
            first.remove().into_iter().for_each(|ask| ask.tell(done_to));
        }
    }

    fn status(&mut self, ctx: &Context) -> ProjectionStatus {
        let projection = self.setup.id.clone();
        let problem = self.problem.clone();
        let Some(Life { state, meter, .. }) = &mut self.life else {
            return ProjectionStatus { projection, problem, ..ProjectionStatus::default() };
        };
        let now = ctx.clock().now();
        let age = state.oldest_ms().map_or(0, |oldest| ctx.clock().wall_ms().saturating_sub(oldest));
        ProjectionStatus {
            projection,
            running: true,
            paused: state.is_paused(),
            offset: state.done_to(),
            behind: state.end().ordering().saturating_sub(state.done_to().ordering()),
            age: Duration::from_millis(age),
            parked: state.parked_count(),
            progress: meter.progress(state.handled(), state.done_to(), state.end(), now),
            problem,
        }
    }

    fn measure(&mut self, ctx: &Context) {
        let ProjectionStatus { behind, age, parked, progress, .. } = self.status(ctx);
        let now = ctx.clock().now();
        if let Some(life) = &mut self.life {
            life.meter.measured(behind, age, parked);
            if life.meter.is_to_be_told(behind, now) {
                let Progress { done, of_about, per_second } = progress;
                let projection = &self.setup.id;
                tracing::info!(%projection, done, of_about, per_second = per_second.round(), "projection is catching up");
            }
        }
    }

    /// The offset is saved at the end of a life too, so that little is handled again in the next.
    async fn save_at_end(&mut self) {
        let Some(life) = &self.life else { return };
        if let Some(offset) = life.state.unsaved()
            && let Err(error) = self.setup.sink.store().save_offset(life.fence.clone(), offset).await
        {
            tracing::warn!(projection = %self.setup.id, %error, "the offset could not be saved at the end");
        }
    }
}

impl<I: Envelope> Actor for ProjectionActor<I> {
    type Message = ProjectionMessage;

    async fn started(&mut self, ctx: &mut Context) -> Handled {
        self.claim(ctx);
        Ok(Behavior::Same)
    }

    async fn receive(&mut self, ctx: &mut Context, message: Self::Message) -> Handled {
        let turn = self.asked(ctx, message);
        self.answer_waiting();
        match turn {
            Turn::On => {}
            Turn::TakenOver => {
                tracing::warn!(projection = %self.setup.id, "another instance has taken this projection over, it stops here");
                self.life = None;
                return Ok(Behavior::Stopped);
            }
            Turn::Failed(reason) => {
                self.save_at_end().await;
                return Err(ProjectionFailed { projection: self.setup.id.clone(), reason }.into());
            }
        }
        self.measure(ctx);
        if !self.stopping.is_empty() && self.life.as_ref().is_none_or(|life| !life.working) {
            self.save_at_end().await;
            self.life = None;
            self.stopping.drain(..).for_each(|reply_to| reply_to.tell(()));
            return Ok(Behavior::Stopped);
        }
        Ok(Behavior::Same)
    }

    async fn on_signal(&mut self, _: &mut Context, signal: Signal) -> Handled {
        if matches!(signal, Signal::PostStop) {
            self.save_at_end().await;
        }
        Ok(Behavior::Unhandled)
    }
}

/// What instances with other shares have handled is to be handled again too: else the next life would pass over it.
/// Before our own offset, so that an end in between leaves things as they were.
async fn forget_others(store: &dyn ProjectionStore, ours: &ProjectionId, offset: Offset) -> Result<(), AppendError> {
    let group = Selection { group: Some(ours.group.clone()), ..Selection::default() };
    let rows = store.positions(group).await;
    let rows = rows.map_err(|error| AppendError::Unavailable { reason: error.to_string() })?;
    for row in rows.into_iter().filter(|row| row.offset > offset && overlap(ours, &row.projection).is_some()) {
        let fence = store.take_over(row.projection).await?.fence;
        store.set_offset(fence, offset).await?;
    }
    Ok(())
}

/// Whether `projection` reads the slice of `id`.
pub(super) fn reads(projection: &ProjectionId, id: &PersistenceId) -> bool {
    parse(&projection.source).is_some_and(|(query, _)| query.slices.contains(&id.slice()))
}
