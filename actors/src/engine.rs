//! [`Engine`]: the only caller of an actor's handlers, and what decides which one comes next.
//!
//! It has one life after another until the actor stops for good; a life is one state made by the factory. The parts
//! around lives (restart, stop) are in `engine/endings.rs`. It lies in the actor's cell for as long as the actor
//! exists, so what is rare is boxed when it happens, to keep idle actors small. Running it, turn by turn, is `own`'s.

mod endings;
mod inspected;

use std::task::{Context, Poll};

use tokio::sync::OwnedSemaphorePermit;
use tracing::warn;

use crate::actor::{Actor, Behavior, BoxError, DeathPact, Handled, Panicked, Signal, starts_with_nothing};
use crate::actor_ref::ActorRef;
use crate::ask::AskError;
use crate::block_queue::Lying;
use crate::cell::{Cell, Ended, Head};
use crate::cell_ref::CellRef;
use crate::clock::Tick;
use crate::context::ActorContext;
use crate::discard;
use crate::envelope::{Envelope, Internal, Letter, Question, Streamed, deadline};
use crate::event_stream::{DeadLetterReason, UnhandledMessage};
use crate::foyer::Foyer;
use crate::orders::Cut;
use crate::own::{Owner, Popped, Run};
use crate::pinned::ThreadEnd;
use crate::props::{Build, Factory, Props};
use crate::stash::{Behind, Stashed};
use crate::supervision::{Decision, Failure, Supervision};
use crate::system::ActorSystem;
use crate::trace;

/// An actor with timers looks at the clock every so many turns, and after each that was suspended.
const TURNS_PER_LOOK: u8 = 8;

/// An actor's state, and all that decides what it does next. [`crate::own`] calls it, and polls what it returns.
#[repr(C)]
pub(crate) struct Engine<A: Actor> {
    /// The present life has not come to the end of `started`.
    starting: bool,
    /// The message in hand came with an ask; the head knows which.
    has_cause: bool,
    /// Something that came with the message in hand is to be given back once it was handled.
    owes: bool,
    /// The message in hand came through the mailbox.
    came: bool,
    /// The message in hand was brought by time: then one of the mailbox comes first, however late that is.
    timed: bool,
    /// Its handler was dropped because its time was over, and that was said.
    forced: bool,
    turns: u8,
    owner: Owner<A::Message>,
    /// `None` between two lives, and at the end.
    state: Option<A>,
    ctx: ActorContext<A::Message>,
    /// What not every actor has.
    rare: Option<Box<Rare<A>>>,
}

struct Rare<A: Actor> {
    /// `None`: spawned from a value, which cannot be made again.
    build: Option<Box<Build<A>>>,
    /// `None`: stop on any failure.
    supervision: Option<Box<Supervision>>,
    up_since: Tick,
    /// The place of an element of a stream, while that is in hand.
    place: Option<OwnedSemaphorePermit>,
    /// Of a pinned actor: with this its thread ends.
    _thread: Option<ThreadEnd>,
}

impl<A: Actor> Default for Rare<A> {
    fn default() -> Self {
        Self { build: None, supervision: None, up_since: Tick::START, place: None, _thread: None }
    }
}

/// What to do next.
pub(crate) enum Step<M> {
    Handle(M),
    /// The actor is traced.
    Trace(M),
    Signal(Signal),
    Stop,
    Fail(BoxError),
}

/// What a first look finds.
pub(crate) enum Came<'a, M> {
    Message(Lying<'a, M>),
    /// The time for the answer was over before: [`Engine::expired`].
    Late(Lying<'a, M>),
    /// What is in there, [`Engine::unpack`] says.
    Other(Lying<'a, Envelope<M>>),
    /// There may be more than the mailbox: [`Engine::poll_more`] says what comes next.
    More,
    Nothing,
}

/// How a life went on after a step.
pub(crate) enum Flow {
    On,
    Stop,
}

/// What is done around lives.
pub(crate) enum Phase {
    /// A life begins.
    Start,
    /// A handler, or the factory, has failed.
    Failed(BoxError),
    /// A handler was cut off.
    Cut(Cut),
    /// The actor is to stop.
    Stop,
}

impl<A: Actor> Engine<A> {
    pub(crate) fn new(
        cell: CellRef<A::Message>,
        owner: Owner<A::Message>,
        props: Props<A>,
        thread: Option<ThreadEnd>,
        starting: bool,
    ) -> Self {
        let (state, build) = match props.factory {
            Factory::Value(value) => (Some(value), None),
            Factory::Build(build) => (None, Some(build)),
        };
        let supervision = props.supervision;
        let rare = (build.is_some() || supervision.is_some() || thread.is_some())
            .then(|| Box::new(Rare { build, supervision, _thread: thread, ..Rare::default() }));
        let mut ctx = ActorContext::new(ActorRef::local(cell));
        if let Some(policy) = props.failed {
            ctx.keep_failed(policy);
        }
        if ctx.head().tracer().is_some() {
            ctx.trace();
        }
        Self {
            ctx,
            state,
            rare,
            owner,
            starting,
            has_cause: false,
            owes: false,
            came: false,
            timed: false,
            forced: false,
            turns: 0,
        }
    }

    /// Whether an actor made of this begins with its first message: there is nothing to do before it.
    pub(crate) fn begins_asleep(props: &Props<A>, thread: Option<&ThreadEnd>, head: &Head) -> bool {
        matches!(props.factory, Factory::Value(_))
            && props.supervision.is_none()
            && props.failed.is_none()
            && thread.is_none()
            && head.tracer().is_none()
            && starts_with_nothing::<A>()
    }

    /// Whether a life is to begin.
    pub(crate) fn is_starting(&self) -> bool {
        self.starting
    }

    /// Makes the state of a new life, if that is not there.
    pub(crate) fn prepare(&mut self) -> Result<(), BoxError> {
        self.starting = true;
        self.came = false;
        self.head().set_up(false);
        let Some(rare) = &mut self.rare else { return Ok(()) };
        if rare.supervision.is_some() {
            rare.up_since = self.ctx.clock().now();
        }
        if self.state.is_none() {
            let build = rare.build.as_mut().expect("whoever makes a further life asks `decide` first");
            self.state = Some(build(&mut self.ctx)?);
        }
        Ok(())
    }

    /// The beginning of a life.
    pub(crate) fn start(&mut self) -> impl Future<Output = Handled> + Send {
        self.state.as_mut().expect("it was prepared").started(&mut self.ctx)
    }

    /// A life has begun.
    pub(crate) fn started(&mut self, handled: Handled) -> Result<Flow, BoxError> {
        if let Behavior::Stopped = handled? {
            return Ok(Flow::Stop);
        }
        self.starting = false;
        self.head().set_up(true);
        self.next_turn();
        Ok(Flow::On)
    }

    /// What a message is given to.
    #[inline(always)]
    pub(crate) fn parts(&mut self) -> (&mut A, &mut ActorContext<A::Message>) {
        (self.state.as_mut().expect("a life that goes on has a state"), &mut self.ctx)
    }

    /// Handles a message, in a span of its own.
    pub(crate) fn handle_traced(&mut self, message: A::Message) -> impl Future<Output = Handled> + Send {
        let (state, ctx) = self.parts();
        trace::receive(state, ctx, message)
    }

    /// Somebody the actor watches has ended.
    pub(crate) fn signal(&mut self, signal: Signal) -> impl Future<Output = Handled> + Send {
        let terminated = match &signal {
            Signal::Terminated(path) | Signal::ChildFailed { child: path, .. } => path.clone(),
            Signal::PreRestart | Signal::PostStop => self.ctx.path().clone(),
        };
        let handled = self.state.as_mut().expect("a life that goes on has a state").on_signal(&mut self.ctx, signal);
        async move {
            match handled.await? {
                Behavior::Unhandled => Err(DeathPact { terminated }.into()),
                handled => Ok(handled),
            }
        }
    }

    /// A signal was handled.
    pub(crate) fn signalled(&mut self, handled: Handled) -> Result<Flow, BoxError> {
        let behavior = handled?;
        self.next_turn();
        Ok(if behavior == Behavior::Stopped { Flow::Stop } else { Flow::On })
    }

    /// What comes between two lives, or after the last: `Stopped` when the actor has ended.
    pub(crate) async fn phase(&mut self, phase: Phase) -> Handled {
        self.clear_cause();
        let failure = match phase {
            Phase::Start => return Ok(Behavior::Same),
            Phase::Stop => None,
            Phase::Cut(cut) => {
                self.note_cut(cut);
                endings::drop_state(self.state.take(), AskError::Stopped);
                None
            }
            Phase::Failed(error) => {
                let failure = Failure { error, starting: self.starting };
                let decision = self.decide(&failure);
                if self.came && self.ctx.has_extras() {
                    self.message_failed(&failure, decision != Decision::Stop);
                }
                match decision {
                    Decision::Resume => {
                        self.note_resume(&failure);
                        discard::caught(|| drop(failure));
                        return Ok(Behavior::Same);
                    }
                    Decision::Restart { delay, keep_children } => {
                        let goes_on = Box::pin(self.restart(failure, delay, keep_children)).await.is_continue();
                        if goes_on {
                            self.starting = true;
                            return Ok(Behavior::Same);
                        }
                        None
                    }
                    Decision::Stop => {
                        self.note_failure(&failure);
                        if failure.is_panic() {
                            endings::drop_state(self.state.take(), AskError::Stopped);
                        }
                        Some(Box::new(failure))
                    }
                }
            }
        };
        self.finish(failure).await;
        Ok(Behavior::Stopped)
    }

    /// What to do about a failure. Nobody can restart what cannot be made again.
    fn decide(&mut self, failure: &Failure) -> Decision {
        let Some(rare) = &mut self.rare else { return Decision::Stop };
        let Some(supervision) = &mut rare.supervision else { return Decision::Stop };
        let now = self.ctx.clock().now();
        let random = self.ctx.system().random();
        match supervision.decide(failure, rare.up_since, now, random) {
            Decision::Restart { .. } if rare.build.is_none() => {
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
        self.ctx.cell().head()
    }

    /// The message in hand was handled, and the actor goes on as before.
    #[inline(always)]
    pub(crate) fn handled_well(&mut self, cell: &Cell<A::Message>) {
        if self.owes {
            self.settle_up();
        }
        if self.came {
            self.ctx.message_came();
        }
        cell.head().next_turn();
    }

    /// The message in hand was handled.
    pub(crate) fn handled(&mut self, handled: Handled) -> Result<Flow, BoxError> {
        let behavior = handled?;
        if self.owes {
            self.settle_up();
        }
        if self.came {
            self.ctx.message_came();
        }
        self.next_turn();
        match behavior {
            Behavior::Same => {}
            Behavior::Stopped => return Ok(Flow::Stop),
            Behavior::Unhandled => self.unhandled(),
        }
        Ok(Flow::On)
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
    pub(crate) fn expired(&self, question: A::Message) {
        if let Some(tracer) = self.head().tracer() {
            tracer.came_from(None);
        }
        self.head().dead_letter::<A::Message>(DeadLetterReason::Expired);
        discard::each_caught_because(AskError::Timeout, [question]);
    }

    /// The message in hand is done with, and what came with it.
    #[inline]
    fn settle_up(&mut self) {
        self.owes = false;
        self.head().set_deadline(Tick::NEVER);
        if self.has_cause || self.rare.is_some() {
            self.settle_rest();
        }
    }

    #[cold]
    fn settle_rest(&mut self) {
        if self.has_cause {
            self.head().set_cause(None);
            self.has_cause = false;
        }
        if let Some(rare) = &mut self.rare {
            rare.place = None;
        }
    }

    #[cold]
    fn unhandled(&self) {
        let recipient = self.ctx.path().clone();
        let message_type = std::any::type_name::<A::Message>();
        metrics::counter!("actors_unhandled_messages_total").increment(1);
        self.system().event_stream().publish(UnhandledMessage { recipient, message_type });
    }

    /// The runtime's own first, then what was stashed, then what time brings, then the mailbox.
    #[inline(always)]
    pub(crate) fn next<'a>(&'a mut self, cell: &'a Cell<A::Message>, run: &mut Run) -> Came<'a, A::Message> {
        self.came = false;
        if self.owner.has_internal(cell) || self.ctx.has_extras() {
            return Came::More;
        }
        match self.owner.pop_in_place(cell) {
            Some(Popped::Message(message)) => {
                self.came = true;
                Came::Message(message)
            }
            Some(Popped::Until(message, deadline)) => {
                let head = cell.head();
                if run.has_passed(deadline, head.system().clock()) {
                    return Came::Late(message);
                }
                head.set_deadline(deadline);
                self.owes = true;
                self.came = true;
                Came::Message(message)
            }
            Some(Popped::Other(envelope)) => Came::Other(envelope),
            None => Came::Nothing,
        }
    }

    /// What is in an envelope, or in one of those behind it.
    #[inline(never)]
    pub(crate) fn unpack(&mut self, envelope: Envelope<A::Message>, run: &mut Run) -> Poll<Step<A::Message>> {
        match self.opened(envelope, None, run).or_else(|| self.mailbox_step(run)) {
            Some(step) => Poll::Ready(step),
            None => Poll::Pending,
        }
    }

    /// What comes [next](Self::next) for an actor that may have more to do than what its mailbox brings.
    #[inline(never)]
    pub(crate) fn poll_more(&mut self, run: &mut Run, cx: &mut Context<'_>) -> Poll<Step<A::Message>> {
        while let Some(internal) = self.owner.next_internal(self.ctx.cell()) {
            if let Some(step) = self.internal(internal) {
                return Poll::Ready(self.traced(step));
            }
        }
        if self.ctx.has_extras() {
            return self.poll_extras(run, cx).map(|step| self.traced(step));
        }
        match self.mailbox_step(run) {
            Some(step) => Poll::Ready(step),
            None => Poll::Pending,
        }
    }

    /// The next message of the mailbox, or what it brings in place of one.
    fn mailbox_step(&mut self, run: &mut Run) -> Option<Step<A::Message>> {
        while let Some((envelope, note)) = self.owner.pop(self.ctx.cell()) {
            if let Some(step) = self.opened(envelope, deadline(note), run) {
                return Some(step);
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

    /// As [`poll_more`](Self::poll_more), for an actor that has more to do than what its mailbox brings.
    fn poll_extras(&mut self, run: &mut Run, cx: &mut Context<'_>) -> Poll<Step<A::Message>> {
        if let Some(kept) = self.ctx.kept() {
            kept.end();
        }
        if self.ctx.draining().is_some_and(|until| self.ctx.clock().now() >= until) {
            return Poll::Ready(Step::Stop);
        }
        let step = match self.besides(run) {
            Some(message) => Some(Step::Handle(message)),
            None => self.mailbox_step(run),
        };
        if let Some(step) = step {
            if self.came
                && let (Step::Handle(message), Some(kept)) = (&step, self.ctx.kept())
            {
                kept.begin(message);
            }
            return Poll::Ready(step);
        }
        if self.ctx.draining().is_some() && self.owner.is_empty(self.ctx.cell()) {
            return Poll::Ready(Step::Stop);
        }
        self.poll_time(cx)
    }

    fn besides(&mut self, run: &mut Run) -> Option<A::Message> {
        while let Some(Stashed { message, behind }) = self.ctx.pop_unstashed() {
            if behind.is_none_or(|behind| self.take_up(*behind)) {
                self.came = true;
                return Some(message);
            }
            self.expired(message);
        }
        self.turns = self.turns.wrapping_add(1);
        let timed = std::mem::take(&mut self.timed);
        let looks = (!timed && run.was_suspended()) || self.turns.is_multiple_of(TURNS_PER_LOOK);
        if looks && self.ctx.has_deadlines() {
            let message = self.ctx.pop_due(self.ctx.clock().now())?;
            self.timed = true;
            return Some(message);
        }
        None
    }

    /// `until`: of a message that somebody waits for the answer of.
    fn opened(
        &mut self,
        envelope: Envelope<A::Message>,
        until: Option<Tick>,
        run: &mut Run,
    ) -> Option<Step<A::Message>> {
        match envelope {
            Envelope::Held => {
                let entry = self.ctx.cell().foyer().and_then(Foyer::take)?;
                if let Some(tracer) = self.head().tracer() {
                    tracer.came_from(entry.origin);
                }
                self.opened(entry.letter.envelope, deadline(entry.letter.note), run)
            }
            Envelope::Message(message) => {
                match until {
                    None => self.came = true,
                    Some(deadline) if run.has_passed(deadline, self.ctx.clock()) => {
                        self.expired(message);
                        return None;
                    }
                    Some(deadline) => self.asked(deadline),
                }
                Some(Step::Handle(message))
            }
            Envelope::Asked(asked) => {
                let (message, link) = *asked;
                let deadline = link.deadline();
                if run.has_passed(deadline, self.ctx.clock()) {
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
                self.rare.get_or_insert_default().place = Some(place);
                self.owes = true;
                self.came = true;
                Some(Step::Handle(message))
            }
            Envelope::Adapted(adapt) => {
                let Letter { envelope, note } = adapt();
                self.opened(envelope, deadline(note), run)
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
