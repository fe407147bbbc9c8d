//! The actor loop: the only caller of an actor's handlers.
//!
//! One task per actor. It runs one life after another until the actor stops for good; a life is one state made by the
//! factory. The parts around lives (restart, stop) are in `engine/endings.rs`.

mod endings;

use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use tracing::warn;

use crate::actor::{Actor, Behavior, BoxError, DeathPact, Handled, Panicked, Signal};
use crate::ask::AskError;
use crate::ask_chain::{Link, Turn};
use crate::cell::{Cell, Control, Ended, Internal, Parent};
use crate::clock::Tick;
use crate::context::ActorContext;
use crate::discard;
use crate::event_stream::UnhandledMessage;
use crate::panic_text::panic_text;
use crate::props::{Factory, Props};
use crate::queue::Envelope;
use crate::supervision::{Decision, Failure, Supervision};
use crate::system::ActorSystem;

/// Turns an actor takes before it lets others run.
const TURNS_PER_SLICE: u32 = 64;
/// An actor with timers looks at the clock every so many turns, and after each that was suspended.
const TURNS_PER_LOOK: u32 = 8;

pub(crate) struct Engine<A: Actor> {
    ctx: ActorContext<A::Message>,
    parent: Arc<dyn Parent>,
    factory: Factory<A>,
    supervision: Supervision,
    turn: Arc<Turn>,
    /// The message in hand came with an ask; `turn` knows which.
    has_cause: bool,
    turns_taken: u32,
    /// The message in hand was brought by time: then one of the mailbox comes first, however late that is.
    timed: bool,
    up_since: Tick,
}

/// What to do next.
enum Step<M> {
    Message(M),
    Asked(M, Arc<Link>),
    Adapted(Box<dyn FnOnce() -> M + Send>),
    /// A message the actor or the runtime made for itself.
    Own(M),
    Internal(Internal<M>),
    Ended(Box<Ended>),
}

/// How a life went on after a step.
enum Flow {
    On,
    Stop,
}

/// How a life ended.
enum LifeEnd {
    Stopped,
    Failed(Failure),
    /// The stop timeout was over.
    Forced,
}

impl<A: Actor> Engine<A> {
    pub(crate) fn new(cell: Arc<Cell<A::Message>>, parent: Arc<dyn Parent>, turn: Arc<Turn>, props: Props<A>) -> Self {
        let clock = cell.head().system().clock().clone();
        Self {
            ctx: ActorContext::new(cell, clock),
            parent,
            factory: props.factory,
            supervision: props.supervision,
            turn,
            has_cause: false,
            turns_taken: 0,
            timed: false,
            up_since: Tick::START,
        }
    }

    pub(crate) async fn run(mut self) {
        let mut state: Option<A> = None;
        let failure = loop {
            let end = self.guarded_life(&mut state).await;
            self.clear_cause();
            match end {
                LifeEnd::Stopped => break None,
                LifeEnd::Forced => {
                    self.note_forced();
                    endings::drop_state(state.take(), AskError::Stopped);
                    break None;
                }
                LifeEnd::Failed(failure) => {
                    let poisoned = failure.is_panic();
                    let now = self.ctx.clock().now();
                    let random = self.system().random();
                    let decision = self.supervision.decide(&failure, self.up_since, now, random);
                    match self.possible(decision) {
                        Decision::Resume => {
                            self.note_resume(&failure);
                            discard::caught(|| drop(failure));
                        }
                        Decision::Restart { delay, keep_children } => {
                            let ended = state.take();
                            if self.restart(ended, failure, delay, keep_children).await.is_break() {
                                break None;
                            }
                        }
                        Decision::Stop => {
                            self.note_failure(&failure);
                            if poisoned {
                                endings::drop_state(state.take(), AskError::Stopped);
                            }
                            break Some(failure);
                        }
                    }
                }
            }
        };
        self.finish(state, failure).await;
    }

    /// Nobody can restart what cannot be made again.
    fn possible(&self, decision: Decision) -> Decision {
        match decision {
            Decision::Restart { .. } if !self.factory.can_make() => {
                warn!("an actor spawned from a value cannot restart and stops; spawn it from `Props::new`");
                Decision::Stop
            }
            decision => decision,
        }
    }

    fn system(&self) -> &ActorSystem {
        self.ctx.cell.head().system()
    }

    /// Runs a life, catching panics; with a stop timeout, also drops a handler that does not come to its end.
    async fn guarded_life(&mut self, state: &mut Option<A>) -> LifeEnd {
        let cell = self.ctx.cell.clone();
        let mut starting = state.is_none();
        let end = {
            let life = AssertUnwindSafe(self.life(state, &mut starting)).catch_unwind();
            unless_forced(&cell, life).await
        };
        let error = match end {
            None => return LifeEnd::Forced,
            Some(Ok(Ok(()))) => return LifeEnd::Stopped,
            Some(Ok(Err(error))) => error,
            Some(Err(panic)) => Panicked { message: panic_text(&*panic) }.into(),
        };
        LifeEnd::Failed(Failure { error, starting })
    }

    /// One life, from the factory to a wish to stop (`Ok`) or a failure. With a state at hand it goes on with that.
    async fn life(&mut self, state: &mut Option<A>, starting: &mut bool) -> Result<(), BoxError> {
        let actor = match state {
            Some(actor) => actor,
            None => {
                self.up_since = self.ctx.clock().now();
                let actor = state.insert(self.factory.make(&mut self.ctx)?);
                if let Behavior::Stopped = actor.started(&mut self.ctx).await? {
                    return Ok(());
                }
                actor
            }
        };
        *starting = false;
        self.turn.next();
        loop {
            if self.turns_taken >= TURNS_PER_SLICE {
                self.turns_taken = 0;
                let_others_run().await;
            }
            let step = poll_fn(|cx| self.poll_step(cx)).await;
            self.turns_taken += 1;
            let flow = self.take(actor, step).await?;
            self.turn.next();
            match flow {
                Flow::On => {}
                Flow::Stop => return Ok(()),
            }
        }
    }

    async fn take(&mut self, actor: &mut A, step: Step<A::Message>) -> Result<Flow, BoxError> {
        let message = match step {
            Step::Internal(internal) => return self.take_internal(actor, internal).await,
            Step::Ended(ended) => return self.take_end(actor, *ended).await,
            Step::Own(message) => return self.handle(actor, message).await,
            Step::Message(message) => message,
            Step::Adapted(adapt) => adapt(),
            Step::Asked(message, link) => {
                self.turn.set_cause(Some(link));
                self.has_cause = true;
                message
            }
        };
        let flow = self.handle(actor, message).await?;
        if self.has_cause {
            self.turn.set_cause(None);
            self.has_cause = false;
        }
        self.ctx.message_came();
        Ok(flow)
    }

    async fn handle(&mut self, actor: &mut A, message: A::Message) -> Result<Flow, BoxError> {
        let handled = actor.receive(&mut self.ctx, message).await;
        self.flow(handled)
    }

    fn flow(&self, handled: Handled) -> Result<Flow, BoxError> {
        match handled? {
            Behavior::Same => Ok(Flow::On),
            Behavior::Stopped => Ok(Flow::Stop),
            Behavior::Unhandled => {
                let recipient = self.ctx.path().clone();
                let message_type = std::any::type_name::<A::Message>();
                metrics::counter!("actors_unhandled_messages_total").increment(1);
                self.system().event_stream().publish(UnhandledMessage { recipient, message_type });
                Ok(Flow::On)
            }
        }
    }

    async fn take_internal(&mut self, actor: &mut A, internal: Internal<A::Message>) -> Result<Flow, BoxError> {
        match internal {
            Internal::Stop => Ok(Flow::Stop),
            Internal::ChildEnded(path) => {
                self.ctx.children.remove(&path);
                Ok(Flow::On)
            }
            Internal::Answer(answer) => match self.ctx.asks.answered(&*answer, self.ctx.life) {
                Some(message) => self.handle(actor, message).await,
                None => Ok(Flow::On),
            },
            Internal::Piped { life, make } if life == self.ctx.life => self.handle(actor, make()).await,
            Internal::TaskPanicked { life, message } if life == self.ctx.life => Err(Panicked { message }.into()),
            // Of an earlier life, and no business of this one.
            earlier @ (Internal::Piped { .. } | Internal::TaskPanicked { .. }) => {
                discard::caught(|| drop(earlier));
                Ok(Flow::On)
            }
        }
    }

    /// Somebody has ended: tell the actor, if it watches.
    async fn take_end(&mut self, actor: &mut A, ended: Ended) -> Result<Flow, BoxError> {
        let Some(watch) = self.ctx.watching.take(&ended.path) else { return Ok(Flow::On) };
        if let Some(message) = watch.message {
            return self.handle(actor, message).await;
        }
        let terminated = ended.path.clone();
        let signal = match ended.failure {
            None => Signal::Terminated(ended.path),
            Some(cause) => Signal::ChildFailed { child: ended.path, cause },
        };
        match actor.on_signal(&mut self.ctx, signal).await? {
            Behavior::Same => Ok(Flow::On),
            Behavior::Stopped => Ok(Flow::Stop),
            Behavior::Unhandled => Err(DeathPact { terminated }.into()),
        }
    }

    /// The runtime's own first, then what time brings, then what was stashed, then the mailbox.
    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Step<A::Message>> {
        let ctx = &mut self.ctx;
        if let Some(internal) = ctx.receiver.next_internal(ctx.cell.queue()) {
            return Poll::Ready(Step::Internal(internal));
        }
        if let Some(message) = ctx.unstashed.pop_front() {
            return Poll::Ready(Step::Message(message));
        }
        let timed = std::mem::take(&mut self.timed);
        let looks = (!timed && self.turn.was_suspended()) || self.turns_taken.is_multiple_of(TURNS_PER_LOOK);
        if looks
            && ctx.has_deadlines()
            && let Some(message) = ctx.pop_due(ctx.clock().now())
        {
            self.timed = true;
            return Poll::Ready(Step::Own(message));
        }
        loop {
            if let Some(envelope) = ctx.receiver.next_message(ctx.cell.queue()) {
                return Poll::Ready(match envelope {
                    Envelope::Message(message) => Step::Message(message),
                    Envelope::Asked(message, link) => Step::Asked(message, link),
                    Envelope::Adapted(adapt) => Step::Adapted(adapt),
                    Envelope::Ended(ended) => Step::Ended(ended),
                });
            }
            if ctx.receiver.poll_batch(ctx.cell.queue(), cx).is_pending() {
                return self.poll_time(cx);
            }
            if let Some(internal) = ctx.receiver.next_internal(ctx.cell.queue()) {
                return Poll::Ready(Step::Internal(internal));
            }
        }
    }

    /// Nothing is there: sleeps until time brings something.
    fn poll_time(&mut self, cx: &mut Context<'_>) -> Poll<Step<A::Message>> {
        self.turns_taken = 0;
        let ctx = &mut self.ctx;
        ctx.going_idle();
        loop {
            let Some(deadline) = ctx.next_deadline() else {
                return Poll::Pending;
            };
            if ctx.poll_sleep(deadline, cx).is_pending() {
                return Poll::Pending;
            }
            if let Some(message) = ctx.pop_due(ctx.clock().now()) {
                return Poll::Ready(Step::Own(message));
            }
        }
    }
}

/// Gives the worker to other tasks and comes back at the end of its queue.
async fn let_others_run() {
    let mut yielded = false;
    poll_fn(|cx| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Runs `future` to its end, or `None` once the actor's stop timeout is over.
async fn unless_forced<M: Send + 'static, F: Future>(cell: &Cell<M>, future: F) -> Option<F::Output> {
    let Some(force) = cell.head().force() else {
        return Some(future.await);
    };
    let mut future = pin!(Some(future));
    let mut sleep = None;
    poll_fn(|cx| {
        if let Some(future) = future.as_mut().as_pin_mut()
            && let Poll::Ready(output) = future.poll(cx)
        {
            return Poll::Ready(Some(output));
        }
        force.waker.register(cx.waker());
        if !force.requested.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        let clock = cell.head().system().clock();
        let sleep = sleep.get_or_insert_with(|| Box::pin(clock.sleep(force.after)));
        sleep.as_mut().poll(cx).map(|()| {
            discard::caught(|| future.set(None));
            None
        })
    })
    .await
}
