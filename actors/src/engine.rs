//! The actor loop: the only caller of an actor's handlers.
//!
//! It runs one life after another until the actor stops for good; a life is one state made by the factory. The parts
//! around lives (restart, stop) are in `engine/endings.rs`. The future is what a cell holds for as long as its actor
//! exists, so what is rare is boxed when it happens, to keep idle actors small.

mod endings;
mod inspected;

use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::task::{Context, Poll};

use futures_util::FutureExt;
use tokio::sync::OwnedSemaphorePermit;
use tracing::warn;

use crate::actor::{Actor, Behavior, BoxError, DeathPact, Handled, Panicked, Signal};
use crate::actor_ref::ActorRef;
use crate::ask::AskError;
use crate::cell::{Control, Ended, Head};
use crate::clock::Tick;
use crate::context::ActorContext;
use crate::discard;
use crate::envelope::{Envelope, Internal, Question, Streamed};
use crate::event_stream::{DeadLetterReason, UnhandledMessage};
use crate::foyer::Foyer;
use crate::orders::Obedient;
use crate::own::Owner;
use crate::panic_text::panic_text;
use crate::props::{Build, Factory, Props};
use crate::stash::{Behind, Stashed};
use crate::supervision::{Decision, Failure, Supervision};
use crate::system::ActorSystem;
use crate::trace;

/// An actor with timers looks at the clock every so many turns, and after each that was suspended.
const TURNS_PER_LOOK: u8 = 8;

pub(crate) struct Engine<A: Actor> {
    ctx: ActorContext<A::Message>,
    owner: Owner<A::Message>,
    /// `None`: spawned from a value, which cannot be made again.
    build: Option<Box<Build<A>>>,
    /// `None`: stop on any failure.
    supervision: Option<Box<Supervision>>,
    up_since: Tick,
    /// The message in hand came with an ask; the head knows which.
    has_cause: bool,
    /// Something that came with the message in hand is to be given back once it was handled.
    owes: bool,
    /// The place of an element of a stream, while that is in hand.
    place: Option<OwnedSemaphorePermit>,
    /// The message in hand came through the mailbox.
    came: bool,
    /// The message in hand was brought by time: then one of the mailbox comes first, however late that is.
    timed: bool,
    /// Its handler was dropped because its time was over, and that was said.
    forced: bool,
    turns: u8,
}

/// What to do next.
enum Step<M> {
    Handle(M),
    /// The actor is traced.
    Trace(M),
    Signal(Signal),
    Stop,
    Fail(BoxError),
}

/// How a life went on after a step.
enum Flow {
    On,
    Stop,
}

impl<A: Actor> Engine<A> {
    /// The whole existence of an actor. What lives as long as it does is captured, so that it is there once.
    pub(crate) fn existence(owner: Owner<A::Message>, props: Props<A>) -> impl Future<Output = ()> + Send + 'static {
        let (mut state, build) = match props.factory {
            Factory::Value(value) => (Some(value), None),
            Factory::Build(build) => (None, Some(build)),
        };
        let mut engine = Self {
            ctx: ActorContext::new(ActorRef::local(owner.cell().clone())),
            owner,
            build,
            supervision: props.supervision,
            up_since: Tick::START,
            owes: false,
            has_cause: false,
            place: None,
            came: false,
            timed: false,
            forced: false,
            turns: 0,
        };
        if let Some(policy) = props.failed {
            engine.ctx.keep_failed(policy);
        }
        if engine.head().tracer().is_some() {
            engine.ctx.trace();
        }
        async move {
            let failure = engine.lives(&mut state).await;
            engine.finish(&mut state, failure).await;
        }
    }

    /// Life after life, until the actor is to stop; then what it failed with, if that is why.
    async fn lives(&mut self, state: &mut Option<A>) -> Option<Box<Failure>> {
        let mut starting = true;
        loop {
            let cell = self.owner.cell().clone();
            let end = Obedient::new(cell, AssertUnwindSafe(self.life(state, &mut starting)).catch_unwind()).await;
            self.clear_cause();
            let error = match end {
                Ok(Ok(Ok(()))) => return None,
                Err(cut) => {
                    self.note_cut(cut);
                    endings::drop_state(state.take(), AskError::Stopped);
                    return None;
                }
                Ok(Ok(Err(error))) => error,
                Ok(Err(panic)) => Panicked { message: panic_text(&*panic) }.into(),
            };
            let failure = Failure { error, starting };
            let decision = self.decide(&failure);
            if self.came && self.ctx.has_extras() {
                self.message_failed(&failure, decision != Decision::Stop);
            }
            match decision {
                Decision::Resume => {
                    self.note_resume(&failure);
                    discard::caught(|| drop(failure));
                }
                Decision::Restart { delay, keep_children } => {
                    let ended = state.take();
                    if Box::pin(self.restart(ended, failure, delay, keep_children)).await.is_break() {
                        return None;
                    }
                    starting = true;
                }
                Decision::Stop => {
                    self.note_failure(&failure);
                    if failure.is_panic() {
                        endings::drop_state(state.take(), AskError::Stopped);
                    }
                    return Some(Box::new(failure));
                }
            }
        }
    }

    /// What to do about a failure. Nobody can restart what cannot be made again.
    fn decide(&mut self, failure: &Failure) -> Decision {
        let Some(supervision) = &mut self.supervision else { return Decision::Stop };
        let now = self.ctx.clock().now();
        let random = self.ctx.system().random();
        match supervision.decide(failure, self.up_since, now, random) {
            Decision::Restart { .. } if self.build.is_none() => {
                warn!("an actor spawned from a value cannot restart and stops; spawn it from `Props::new`");
                Decision::Stop
            }
            decision => decision,
        }
    }

    fn system(&self) -> &ActorSystem {
        self.ctx.system()
    }

    fn head(&self) -> &Head {
        Control::head(&**self.owner.cell())
    }

    /// One life, from the factory to a wish to stop (`Ok`) or a failure. With a state that has started it goes on.
    async fn life(&mut self, state: &mut Option<A>, starting: &mut bool) -> Result<(), BoxError> {
        if *starting {
            self.head().set_up(false);
            if self.supervision.is_some() {
                self.up_since = self.ctx.clock().now();
            }
            if state.is_none() {
                let build = self.build.as_mut().expect("whoever makes a further life asks `decide` first");
                *state = Some(build(&mut self.ctx)?);
            }
        }
        let actor = state.as_mut().expect("a life that goes on has a state");
        if *starting {
            if let Behavior::Stopped = actor.started(&mut self.ctx).await? {
                return Ok(());
            }
            *starting = false;
            self.head().set_up(true);
        }
        self.next_turn();
        loop {
            let flow = match poll_fn(|cx| self.poll_step(cx)).await {
                Step::Handle(message) => {
                    let handled = actor.receive(&mut self.ctx, message).await;
                    self.handled(handled)?
                }
                Step::Trace(message) => {
                    let handled = Box::pin(trace::receive(actor, &mut self.ctx, message)).await;
                    self.handled(handled)?
                }
                Step::Signal(signal) => Box::pin(self.signal(actor, signal)).await?,
                Step::Stop => Flow::Stop,
                Step::Fail(error) => return Err(error),
            };
            self.next_turn();
            match flow {
                Flow::On => {}
                Flow::Stop => return Ok(()),
            }
        }
    }

    /// The message in hand was handled.
    fn handled(&mut self, handled: Handled) -> Result<Flow, BoxError> {
        let behavior = handled?;
        if self.owes {
            self.settle_up();
        }
        if self.came {
            self.ctx.message_came();
        }
        match behavior {
            Behavior::Same => Ok(Flow::On),
            Behavior::Stopped => Ok(Flow::Stop),
            Behavior::Unhandled => {
                self.unhandled();
                Ok(Flow::On)
            }
        }
    }

    /// The message in hand is one somebody waits for the answer of, until `deadline`.
    #[inline]
    fn asked(&mut self, deadline: Tick) {
        self.head().set_deadline(deadline);
        self.owes = true;
        self.came = true;
    }

    /// What is behind a message that was held back is behind the one in hand. `false`: nobody waits for the answer any more.
    #[cold]
    fn take_up(&mut self, behind: Behind) -> bool {
        let Behind { question, origin } = behind;
        if let Some(tracer) = self.head().tracer() {
            tracer.came_from(origin);
        }
        let Some(question) = question else { return true };
        let (deadline, link) = match question {
            Question::Until(deadline) => (deadline, None),
            Question::Link(link) => (link.deadline(), Some(link)),
        };
        if deadline <= self.ctx.clock().now() {
            return false;
        }
        self.asked(deadline);
        self.has_cause = link.is_some();
        if let Some(link) = link {
            self.head().set_cause(Some(link));
        }
        true
    }

    /// The time for the answer was over before the actor came to the question.
    #[cold]
    fn expired(&self, question: A::Message) {
        if let Some(tracer) = self.head().tracer() {
            tracer.came_from(None);
        }
        self.head().dead_letter::<A::Message>(DeadLetterReason::Expired);
        discard::each_caught_because(AskError::Timeout, [question]);
    }

    /// The message in hand is done with, and what came with it.
    fn settle_up(&mut self) {
        self.owes = false;
        self.head().set_deadline(Tick::NEVER);
        if self.has_cause {
            self.head().set_cause(None);
            self.has_cause = false;
        }
        self.place = None;
    }

    #[cold]
    fn unhandled(&self) {
        let recipient = self.ctx.path().clone();
        let message_type = std::any::type_name::<A::Message>();
        metrics::counter!("actors_unhandled_messages_total").increment(1);
        self.system().event_stream().publish(UnhandledMessage { recipient, message_type });
    }

    /// Somebody the actor watches has ended.
    async fn signal(&mut self, actor: &mut A, signal: Signal) -> Result<Flow, BoxError> {
        let terminated = match &signal {
            Signal::Terminated(path) | Signal::ChildFailed { child: path, .. } => path.clone(),
            Signal::PreRestart | Signal::PostStop => self.ctx.path().clone(),
        };
        match actor.on_signal(&mut self.ctx, signal).await? {
            Behavior::Same => Ok(Flow::On),
            Behavior::Stopped => Ok(Flow::Stop),
            Behavior::Unhandled => Err(DeathPact { terminated }.into()),
        }
    }

    /// The runtime's own first, then what was stashed, then what time brings, then the mailbox.
    #[inline]
    fn poll_step(&mut self, cx: &mut Context<'_>) -> Poll<Step<A::Message>> {
        if !self.owner.may_go_on() {
            return Poll::Pending;
        }
        self.came = false;
        while let Some(internal) = self.owner.next_internal() {
            if let Some(step) = self.internal(internal) {
                return Poll::Ready(self.traced(step));
            }
        }
        if self.ctx.has_extras() {
            return self.poll_extras(cx).map(|step| self.traced(step));
        }
        if let Some(step) = self.mailbox_step() {
            return Poll::Ready(step);
        }
        self.owner.idle();
        Poll::Pending
    }

    #[inline(always)]
    fn mailbox_step(&mut self) -> Option<Step<A::Message>> {
        while let Some(envelope) = self.owner.pop() {
            match envelope {
                Envelope::Message(message) => {
                    self.came = true;
                    return Some(Step::Handle(message));
                }
                Envelope::Until(message, deadline) => {
                    if self.owner.has_passed(deadline) {
                        self.expired(message);
                        continue;
                    }
                    self.asked(deadline);
                    return Some(Step::Handle(message));
                }
                other => {
                    if let Some(step) = self.uncommon(other) {
                        return Some(step);
                    }
                }
            }
        }
        None
    }

    fn traced(&self, step: Step<A::Message>) -> Step<A::Message> {
        match step {
            Step::Handle(message) if self.ctx.is_traced() => Step::Trace(message),
            other => other,
        }
    }

    /// As [`poll_step`](Self::poll_step), for an actor that has more to do than what its mailbox brings.
    fn poll_extras(&mut self, cx: &mut Context<'_>) -> Poll<Step<A::Message>> {
        if let Some(kept) = self.ctx.kept() {
            kept.end();
        }
        if self.ctx.draining().is_some_and(|until| self.ctx.clock().now() >= until) {
            return Poll::Ready(Step::Stop);
        }
        let step = match self.besides() {
            Some(message) => Some(Step::Handle(message)),
            None => self.mailbox_step(),
        };
        if let Some(step) = step {
            if self.came
                && let (Step::Handle(message), Some(kept)) = (&step, self.ctx.kept())
            {
                kept.begin(message);
            }
            return Poll::Ready(step);
        }
        self.owner.idle();
        if self.ctx.draining().is_some() && self.owner.is_empty() {
            return Poll::Ready(Step::Stop);
        }
        self.poll_time(cx)
    }

    fn besides(&mut self) -> Option<A::Message> {
        while let Some(Stashed { message, behind }) = self.ctx.pop_unstashed() {
            if behind.is_none_or(|behind| self.take_up(*behind)) {
                self.came = true;
                return Some(message);
            }
            self.expired(message);
        }
        self.turns = self.turns.wrapping_add(1);
        let timed = std::mem::take(&mut self.timed);
        let looks = (!timed && self.owner.was_suspended()) || self.turns.is_multiple_of(TURNS_PER_LOOK);
        if looks && self.ctx.has_deadlines() {
            let message = self.ctx.pop_due(self.ctx.clock().now())?;
            self.timed = true;
            return Some(message);
        }
        None
    }

    fn uncommon(&mut self, envelope: Envelope<A::Message>) -> Option<Step<A::Message>> {
        match envelope {
            Envelope::Held => {
                let entry = self.owner.cell().foyer().and_then(Foyer::take)?;
                if let Some(tracer) = self.head().tracer() {
                    tracer.came_from(entry.origin);
                }
                self.uncommon(entry.envelope)
            }
            Envelope::Message(message) => {
                self.came = true;
                Some(Step::Handle(message))
            }
            Envelope::Until(message, deadline) => {
                if self.owner.has_passed(deadline) {
                    self.expired(message);
                    return None;
                }
                self.asked(deadline);
                Some(Step::Handle(message))
            }
            Envelope::Asked(asked) => {
                let (message, link) = *asked;
                let deadline = link.deadline();
                if self.owner.has_passed(deadline) {
                    self.expired(message);
                    return None;
                }
                self.asked(deadline);
                self.head().set_cause(Some(link));
                self.has_cause = true;
                Some(Step::Handle(message))
            }
            // Of an earlier life, and no business of this one.
            Envelope::Streamed(streamed) if streamed.life != self.ctx.life => {
                discard::caught(|| drop(streamed));
                None
            }
            Envelope::Streamed(streamed) => {
                let Streamed { message, place, .. } = *streamed;
                self.place = Some(place);
                self.owes = true;
                self.came = true;
                Some(Step::Handle(message))
            }
            Envelope::Adapted(adapt) => {
                self.came = true;
                Some(Step::Handle(adapt()))
            }
            Envelope::Ended(ended) => self.ended(*ended),
            Envelope::Inspect(probe) => {
                self.reached(*probe);
                None
            }
        }
    }

    fn internal(&mut self, internal: Internal<A::Message>) -> Option<Step<A::Message>> {
        match internal {
            Internal::Stop => Some(Step::Stop),
            Internal::Drain { until } => {
                self.ctx.drain_until(until);
                None
            }
            Internal::ChildEnded(place) => {
                self.ctx.child_ended(place);
                None
            }
            Internal::Inspect(probe) => {
                self.inspected(*probe);
                None
            }
            Internal::Answer(answer) => self.ctx.answered(&*answer).map(Step::Handle),
            Internal::Piped { life, make } if life == self.ctx.life => Some(Step::Handle(make())),
            Internal::TaskPanicked { life, message } if life == self.ctx.life => {
                Some(Step::Fail(Panicked { message }.into()))
            }
            // Of an earlier life, and no business of this one.
            earlier @ (Internal::Piped { .. } | Internal::TaskPanicked { .. }) => {
                discard::caught(|| drop(earlier));
                None
            }
        }
    }

    /// What the actor hears of an end, if it watches.
    fn ended(&mut self, ended: Ended) -> Option<Step<A::Message>> {
        let watch = self.ctx.take_watch(&ended.path)?;
        if let Some(message) = watch.message {
            return Some(Step::Handle(message));
        }
        Some(Step::Signal(match ended.failure {
            None => Signal::Terminated(ended.path),
            Some(cause) => Signal::ChildFailed { child: ended.path, cause },
        }))
    }

    /// Nothing is there: sleeps until time brings something.
    fn poll_time(&mut self, cx: &mut Context<'_>) -> Poll<Step<A::Message>> {
        self.turns = 0;
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
                return Poll::Ready(Step::Handle(message));
            }
        }
    }

    fn next_turn(&self) {
        self.head().next_turn();
    }
}

/// How large the future of an actor is.
#[cfg(test)]
pub(crate) fn size_of_existence<A: Actor>() -> usize {
    fn size<O, P, F: Future>(_: impl FnOnce(O, P) -> F) -> usize {
        size_of::<F>()
    }
    size(Engine::<A>::existence)
}
