//! The actor of a projection: carries out what [`State`] decides.

mod effects;
mod parked;
mod shares;
mod status;
mod waiting;

use self::{
    parked::{Looked, Looks},
    shares::{Beginning, begin},
    waiting::{WAITING_MAX, Waiting, find},
};
use super::{
    Envelope, ParkedEvent, ProjectionFence, ProjectionId, ProjectionStatus,
    behavior::Setup,
    meter::Meter,
    state::{Applied, Effect, State},
};
use crate::{AppendError, JournalError, Offset, PersistenceId};
use actors::{Actor, ActorContext, Behavior, Clock, Handled, ReplyTo, Signal};
use std::{any::Any, collections::VecDeque, sync::Arc, time::Duration};

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
    /// Goes on from this offset, [`Offset::START`] for everything again, once what is under way has ended. What is behind it
    /// is not parked any more. One that comes meanwhile follows. When it is not known whether the offset was stored, the
    /// projection starts again from what the store says. Of a projection that is divided, reset all instances: see
    /// [`Projections::reset`](super::Projections::reset).
    Reset(Offset, ReplyTo<Result<(), AppendError>>),
    /// Somebody has dropped parked items, or wants them tried again; else that is noticed by and by.
    ParkedChanged,
    /// Finishes what is under way, saves the offset, answers and stops. Of one that fails meanwhile it is the end too.
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
    Page(u64, Result<Box<dyn Any + Send>, JournalError>),
    ReadAgain(u64),
    Applied(Result<Applied, AppendError>),
    Saved { offset: Offset, result: Result<(), AppendError> },
    SaveDue,
    GroupDue,
    Retry,
    Parked(Result<(), AppendError>),
    WasReset { offset: Offset, result: Result<(), AppendError> },
    Paused { paused: bool, result: Result<(), AppendError>, reply_to: ReplyTo<Result<(), AppendError>> },
    Found(Option<Offset>, ReplyTo<Offset>),
    Look,
    Looked(Result<Looked, JournalError>),
    LookedUp { replays: Box<dyn Any + Send>, changed: bool },
    Replayed { parked: ParkedEvent, result: Result<Applied, AppendError> },
    ParkedAgain(Result<(), AppendError>),
}

/// Between two attempts to read a store that could not be read.
const READ_PAUSE: Duration = Duration::from_secs(1);

/// How long the end of a life waits for its offset to be saved.
const SAVE_AT_END: Duration = Duration::from_secs(5);

type Context = ActorContext<ProjectionMessage>;

/// What [`Projection`](super::Projection) turns into when it is spawned.
pub struct ProjectionActor<I: Envelope> {
    setup: Arc<Setup<I>>,
    /// `None` until the offset is ours.
    life: Option<Life<I>>,
    looks: Looks,
    problem: Option<String>,
    waiting: Waiting,
    /// Who asked for the resets that are under way, in their order.
    resets: VecDeque<ReplyTo<Result<(), AppendError>>>,
    stopping: Vec<ReplyTo<()>>,
    stashed: Vec<ProjectionMessage>,
}

struct Life<I> {
    fence: ProjectionFence,
    state: State<I>,
    meter: Meter,
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

/// Why nothing more may follow in this life.
enum End {
    /// Another instance has the offset.
    TakenOver,
    Failed(String),
}

/// What a turn leads to.
type Turn = Result<(), End>;

impl<I: Envelope> ProjectionActor<I> {
    pub(super) fn new(setup: Arc<Setup<I>>) -> Self {
        Self {
            setup,
            life: None,
            looks: Looks::default(),
            problem: Some("starting".to_owned()),
            waiting: Waiting::default(),
            resets: VecDeque::new(),
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

    fn claimed(&mut self, ctx: &mut Context, begun: Result<Box<Beginning>, String>) -> Turn {
        let begun = *begun.map_err(End::Failed)?;
        let fence = begun.claimed.fence.clone();
        let start = begun.start(&self.setup.query.slices);
        let (offset, paused, parked) = (start.offset, start.paused, start.parked_count);
        tracing::info!(projection = %self.setup.id, %offset, parked, paused, "projection started");
        let Setup { settings, delivery, on_failure, .. } = &*self.setup;
        let mut state = State::new(settings.clone(), *delivery, *on_failure, start);
        if !self.stopping.is_empty() {
            state.stop();
        }
        let effects = state.start();
        let meter = Meter::new(&self.setup.id, offset, ctx.clock().now());
        self.life = Some(Life { fence, state, meter });
        self.problem = None;
        self.look_soon(ctx);
        self.perform(ctx, effects)?;
        std::mem::take(&mut self.stashed).into_iter().try_for_each(|message| self.asked(ctx, message))
    }

    /// Has the state decide, and does what it says.
    fn turn(&mut self, ctx: &mut Context, decide: impl FnOnce(&mut State<I>) -> Vec<Effect<I>>) -> Turn {
        match &mut self.life {
            Some(life) => {
                let effects = decide(&mut life.state);
                self.perform(ctx, effects)
            }
            None => Ok(()),
        }
    }

    /// Whether a write was stored.
    fn written(&mut self, what: &'static str, result: Result<(), AppendError>) -> Result<bool, End> {
        match result {
            Ok(()) => Ok(true),
            Err(AppendError::Stale { .. }) => Err(End::TakenOver),
            Err(error) => {
                tracing::warn!(projection = %self.setup.id, %error, "{what} could not be saved, trying on");
                self.problem = Some(error.to_string());
                Ok(false)
            }
        }
    }

    /// Of work in a store that failed nothing is known but what the store says: a new life reads it again.
    fn worked(&mut self, result: Result<Applied, AppendError>) -> Result<Applied, End> {
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
            Err(AppendError::Stale { .. }) => Err(End::TakenOver),
            Err(error) => Err(End::Failed(error.to_string())),
        }
    }

    fn own(&mut self, ctx: &mut Context, own: Own) -> Turn {
        match own {
            Own::Claimed(begun) => self.claimed(ctx, begun),
            Own::Page(turn, page) => self.page(ctx, turn, page),
            Own::ReadAgain(turn) => self.turn(ctx, |state| state.read_again(turn)),
            Own::Applied(result) => {
                let applied = self.worked(result)?;
                self.turn(ctx, |state| state.applied(applied))
            }
            Own::Saved { offset, result } => {
                let stored = self.written("the offset", result)?;
                self.turn(ctx, |state| state.saved(offset, stored))
            }
            Own::SaveDue => self.turn(ctx, State::save_due),
            Own::GroupDue => self.turn(ctx, State::group_due),
            Own::Retry => self.turn(ctx, State::retry),
            Own::Parked(result) => {
                let stored = self.written("a parked item", result)?;
                self.looks.parked_changed();
                self.turn(ctx, |state| state.parked(stored))
            }
            Own::WasReset { offset, result } => self.was_reset(ctx, offset, result),
            Own::Paused { paused, result, reply_to } => {
                self.looks.paused_changed();
                let stored = result.is_ok();
                reply_to.tell(result);
                if stored { self.turn(ctx, |state| state.set_paused(paused)) } else { Ok(()) }
            }
            Own::Found(offset, reply_to) => {
                self.waiting.found(offset, reply_to);
                Ok(())
            }
            Own::Look => {
                self.look(ctx);
                Ok(())
            }
            Own::Looked(looked) => self.looked(ctx, looked),
            Own::LookedUp { replays, changed } => self.looked_up(ctx, replays, changed),
            Own::Replayed { parked, result } => self.replayed(ctx, parked, result),
            Own::ParkedAgain(result) => {
                self.written("a parked item", result)?;
                self.replay_ended(ctx, false)
            }
        }
    }

    fn was_reset(&mut self, ctx: &mut Context, offset: Offset, result: Result<(), AppendError>) -> Turn {
        if let Some(reply_to) = self.resets.pop_front() {
            reply_to.tell(result.clone());
        }
        if let Err(error @ AppendError::Unknown { .. }) = &result {
            return Err(End::Failed(format!("the offset was to be {offset}: {error}")));
        }
        let stored = self.written("the new offset", result)?;
        self.looks.parked_changed();
        self.look_soon(ctx);
        self.turn(ctx, |state| state.was_reset(offset, stored))
    }

    /// What somebody asks for.
    fn asked(&mut self, ctx: &mut Context, message: ProjectionMessage) -> Turn {
        match message {
            ProjectionMessage::Internal(Internal(own)) => return self.own(ctx, own),
            ProjectionMessage::Status(reply_to) => reply_to.tell(self.status(ctx)),
            ProjectionMessage::Stop(reply_to) => {
                if self.stopping.len() < WAITING_MAX {
                    self.stopping.push(reply_to);
                }
                return self.turn(ctx, State::stop);
            }
            // All else needs the offset to be ours.
            other if self.life.is_none() => {
                if self.stashed.len() < WAITING_MAX {
                    self.stashed.push(other);
                }
            }
            ProjectionMessage::WaitUntil(Place::Offset(offset), reply_to) => self.waiting.add(offset, reply_to),
            ProjectionMessage::WaitUntil(Place::Number(id, number), reply_to) => {
                if self.waiting.begin_to_find() {
                    let found = find(Arc::clone(&self.setup.source), ctx.clock().clone(), id, number, reply_to);
                    Self::pipe(ctx, found, |(offset, reply_to)| Own::Found(offset, reply_to));
                }
            }
            ProjectionMessage::Pause(reply_to) => self.set_paused(ctx, true, reply_to),
            ProjectionMessage::Resume(reply_to) => self.set_paused(ctx, false, reply_to),
            ProjectionMessage::Reset(offset, reply_to) => {
                if self.resets.len() < WAITING_MAX {
                    self.resets.push_back(reply_to);
                    return self.turn(ctx, |state| state.reset(offset));
                }
            }
            ProjectionMessage::ParkedChanged => self.look(ctx),
        }
        Ok(())
    }

    fn set_paused(&mut self, ctx: &mut Context, paused: bool, reply_to: ReplyTo<Result<(), AppendError>>) {
        self.looks.paused_changed();
        let stored = self.setup.sink.store().set_paused(self.setup.id.clone(), paused);
        Self::pipe(ctx, stored, move |result| Own::Paused { paused, result, reply_to });
    }

    /// The offset is saved at the end of a life too, so that little is handled again in the next.
    async fn save_at_end(&mut self, clock: Clock) {
        let Some(life) = &self.life else { return };
        let Some(offset) = life.state.unsaved() else { return };
        let problem =
            match clock.timeout(SAVE_AT_END, self.setup.sink.store().save_offset(life.fence.clone(), offset)).await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error.to_string(),
                Err(elapsed) => elapsed.to_string(),
            };
        tracing::warn!(projection = %self.setup.id, %problem, "the offset could not be saved at the end");
    }
}

impl<I: Envelope> Actor for ProjectionActor<I> {
    type Message = ProjectionMessage;

    async fn started(&mut self, ctx: &mut Context) -> Handled {
        let (store, ours) = (self.setup.sink.store(), self.setup.id.clone());
        Self::pipe(ctx, async move { begin(&*store, &ours).await.map(Box::new) }, Own::Claimed);
        Ok(Behavior::Same)
    }

    async fn receive(&mut self, ctx: &mut Context, message: Self::Message) -> Handled {
        let turn = self.asked(ctx, message);
        if let Some(life) = &self.life {
            self.waiting.answer(life.state.done_to());
        }
        let is_to_stop = !self.stopping.is_empty();
        match turn {
            Ok(()) if is_to_stop && self.life.as_ref().is_some_and(|life| life.state.is_idle()) => {}
            Ok(()) => {
                self.measure(ctx);
                return Ok(Behavior::Same);
            }
            Err(End::TakenOver) => {
                tracing::warn!(projection = %self.setup.id, "another instance has taken this projection over, it stops here");
                self.life = None; // its offset is not ours to save
            }
            Err(End::Failed(reason)) if is_to_stop => {
                tracing::warn!(projection = %self.setup.id, %reason, "projection failed as it was to stop");
            }
            Err(End::Failed(reason)) => {
                self.save_at_end(ctx.clock().clone()).await;
                return Err(ProjectionFailed { projection: self.setup.id.clone(), reason }.into());
            }
        }
        self.save_at_end(ctx.clock().clone()).await;
        self.life = None;
        self.stopping.drain(..).for_each(|reply_to| reply_to.tell(()));
        Ok(Behavior::Stopped)
    }

    async fn on_signal(&mut self, ctx: &mut Context, signal: Signal) -> Handled {
        if matches!(signal, Signal::PostStop) {
            self.save_at_end(ctx.clock().clone()).await;
        }
        Ok(Behavior::Unhandled)
    }
}
