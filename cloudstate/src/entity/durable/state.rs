//! What an entity with a store does next: a pure state machine (CloudState protocol, event sourced
//! entities and value entities).
//!
//! ```text
//!            command            recovered             close            closed, writes done
//!   (none) ───────────▶ opening ─────────▶ open ───────────▶ closing ──────────▶ (none)
//!
//!   waiting ─▶ processing ─▶ unsettled ─▶ answered
//! ```
//!
//! The user function gets its next command as soon as it has answered the last one, before what that
//! one changes is durable. Every reply waits for its own change and for all changes before it: the
//! function may have read from any of them. When a change cannot be stored, what the function made of
//! later commands is void, and they are served anew.
//!
//! Invariants: one command at a time is with the user function; a reply leaves only after its change
//! and every earlier one is durable, in the order of the commands; each accepted command is answered
//! exactly once; a new stream is opened only when no write of the old one is under way; the entity
//! stops only between commands and only after its region has asked it to.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use actors::Tick;
use persistence::{Answered, CommandWindow, Found, KeptReply};
use prost::Message;
use proto::Any;
use proto::cloudstate::{ClientAction, Failure, SideEffect, client_action};
use tonic::Code;

use super::protocol::{Change, FromFunction, Protocol, Reply, Words};
use crate::call::CallError;
use crate::entity::{Answer, EntityCommand};

/// What the actor has to do, in this order.
#[derive(Debug)]
pub(super) enum Effect<C> {
    /// Open a stream, recover from the store, replay; then report `recovered` or `activation_failed`.
    Activate,
    /// Send the command in progress to the user function under this id.
    Send { id: i64 },
    /// Store the change, which follows the entity's position `after`; then report `written` with the ticket.
    /// With it the answer to a command with a key, and where each write says all, all such commands.
    Write { ticket: u64, change: C, after: u64, answered: Option<Answered>, window: Vec<Answered> },
    /// Start saving a snapshot of the state at this position, with the commands with a key; nobody waits for it.
    SaveSnapshot { position: u64, snapshot: Any, window: Vec<Answered> },
    /// Answer a command.
    Answer { command: Box<EntityCommand>, answer: Answer },
    /// Run side effects and the client action; the router answers the command.
    Route { command: Box<EntityCommand>, effects: Vec<SideEffect>, action: Option<client_action::Action> },
    /// End our side of the stream; then report `closed` when the function has ended its side.
    HalfClose,
    /// A command was not carried out, for it was before: count it.
    Repeated,
    /// Tell the user function about its mistake.
    Report(String),
    /// Ask the region to hold further commands back and to send `stop`.
    RequestPassivation,
    /// Stop the actor.
    Stop,
}

/// Why an activation failed, and therefore what waiting callers are told.
#[derive(Debug, thiserror::Error)]
pub enum ActivationError {
    /// The store could not be read, or what it holds is damaged.
    #[error("the store could not be read: {0}")]
    Recovery(String),
    /// There is no connection to the user function.
    #[error("{0}")]
    Unreachable(String),
    /// All streams that the user function serves at once belong to entities that have something to do.
    #[error("all {0} entity streams of the user function are in use (entity-streams-max); try again later")]
    Busy(usize),
    /// The user function ended the stream while it was replayed to.
    #[error("the user function ended the stream while it was replayed to")]
    Ended,
}

/// How a write ended.
#[derive(Debug, Clone)]
pub(super) enum WriteError {
    /// Certainly not stored, and it never will be.
    Refused(String),
    /// Certainly not stored.
    NotStored(String),
    /// Stored or not: nobody knows until the store is read again.
    Unknown(String),
    /// Another writer owns the entity.
    NotOwner(String),
}

/// Bounds of one entity.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Commands that may wait behind the one in progress.
    pub(super) waiting_max: usize,
    /// Replies that may wait for the store while the function works on the next command.
    pub(super) unsettled_max: usize,
    /// Largest event, state or snapshot, in bytes.
    pub(super) stored_size_max: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stream {
    /// There is none.
    None,
    /// Opened, being replayed to.
    Opening,
    /// Takes commands.
    Open,
    /// Half-closed; the user function has not ended its side yet.
    Closing { reactivate: bool },
    /// Ended on both sides; writes are still under way.
    Closed { reactivate: bool },
}

/// A command that the function has answered and whose caller has not been told.
#[derive(Debug)]
struct Unsettled {
    command: Box<EntityCommand>,
    action: Option<client_action::Action>,
    side_effects: Vec<SideEffect>,
    snapshot: Option<Any>,
    /// The entity's position in the store once this is written.
    position: u64,
    /// What is to be known of it, if it has a key.
    answered: Option<Answered>,
    write: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Nothing to store.
    Nothing,
    /// Being stored.
    UnderWay {
        ticket: u64,
    },
    Done,
    Failed(WriteError),
}

/// The state of one entity.
#[derive(Debug)]
pub(super) struct State<P: Protocol> {
    /// The entity's id, for the log.
    name: Arc<str>,
    stream: Stream,
    processing: Option<(i64, Box<EntityCommand>)>,
    unsettled: VecDeque<Unsettled>,
    waiting: VecDeque<Box<EntityCommand>>,
    /// Commands with a key that were carried out. What is with the function or waits for the store is not in it yet.
    window: CommandWindow,
    /// The wall clock, for their age.
    wall_ms: u64,
    limits: Limits,
    /// Where the entity will be in the store when all writes under way have succeeded.
    position: u64,
    last_command: i64,
    last_ticket: u64,
    stopping: bool,
    kind: std::marker::PhantomData<fn() -> P>,
}

type Effects<P> = Vec<Effect<<P as Protocol>::Change>>;

impl<P: Protocol> State<P> {
    const WORDS: Words = P::WORDS;

    /// A new entity that the log calls `name`.
    pub(super) fn new(name: Arc<str>, limits: Limits) -> Self {
        Self {
            name,
            stream: Stream::None,
            processing: None,
            unsettled: VecDeque::new(),
            waiting: VecDeque::new(),
            window: CommandWindow::new(P::WINDOW),
            wall_ms: 0,
            limits,
            position: 0,
            last_command: 0,
            last_ticket: 0,
            stopping: false,
            kind: std::marker::PhantomData,
        }
    }

    /// What the wall clock says, in ms since 1970, until told otherwise.
    pub(super) fn at(&mut self, wall_ms: u64) {
        self.wall_ms = wall_ms;
    }

    /// The command that is with the user function.
    pub(super) fn in_progress(&self) -> Option<&EntityCommand> {
        self.processing.as_ref().map(|(_, command)| &**command)
    }

    /// How many commands wait behind the one in progress.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nothing is going on, so that the entity may be passivated.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.stream, Stream::Open | Stream::None)
            && self.processing.is_none()
            && self.unsettled.is_empty()
            && self.waiting.is_empty()
    }

    /// Whether an activation is under way.
    pub(super) fn is_opening(&self) -> bool {
        self.stream == Stream::Opening
    }

    /// Whether the user function has been asked to end the stream and has not done so.
    pub(super) fn is_closing(&self) -> bool {
        matches!(self.stream, Stream::Closing { .. })
    }

    /// A command has arrived.
    pub(super) fn command(&mut self, command: Box<EntityCommand>, now: Tick) -> Effects<P> {
        let mut effects = Vec::new();
        // The one that will be next does not count as waiting.
        let room = self.limits.waiting_max + usize::from(!self.is_busy());
        if self.waiting.len() >= room {
            self.drop_expired(now, &mut effects);
        }
        if self.waiting.len() >= room {
            let text = format!("too many commands wait for this entity ({}); try again later", self.limits.waiting_max);
            let answer = Err(CallError::status(Code::ResourceExhausted, text));
            effects.push(Effect::Answer { command, answer });
            return effects;
        }
        self.waiting.push_back(command);
        if self.stream == Stream::None {
            self.stream = Stream::Opening;
            effects.push(Effect::Activate);
        } else {
            self.next(now, &mut effects);
        }
        effects
    }

    /// The store has been replayed into the stream; the entity is at `position` and has carried out the commands in
    /// `window`.
    pub(super) fn recovered(&mut self, position: u64, window: CommandWindow, now: Tick) -> Effects<P> {
        let mut effects = Vec::new();
        if self.is_opening() {
            self.position = position;
            self.window = window;
            self.last_command = 0;
            self.stream = Stream::Open;
            self.next(now, &mut effects);
        }
        effects
    }

    /// The activation failed: no stream is open any more.
    pub(super) fn activation_failed(&mut self, error: &ActivationError) -> Effects<P> {
        let mut effects = Vec::new();
        if !self.is_opening() {
            return effects;
        }
        let (first, others) = match error {
            ActivationError::Recovery(_) => {
                let unavailable = CallError::status(Code::Unavailable, Self::WORDS.recovery);
                (unavailable.clone(), unavailable)
            }
            ActivationError::Unreachable(reason) => {
                let unavailable = CallError::status(Code::Unavailable, reason.clone());
                (unavailable.clone(), unavailable)
            }
            ActivationError::Busy(_) => {
                let exhausted = CallError::status(Code::ResourceExhausted, error.to_string());
                (exhausted.clone(), exhausted)
            }
            ActivationError::Ended => (CallError::Failure(Self::WORDS.termination.to_owned()), terminated::<P>()),
        };
        let answers = std::iter::once(first).chain(std::iter::repeat(others));
        let refused = self.waiting.drain(..).zip(answers);
        effects.extend(refused.map(|(command, error)| Effect::Answer { command, answer: Err(error) }));
        self.stream = Stream::None;
        effects.extend(self.stopping.then_some(Effect::Stop));
        effects
    }

    /// The user function has sent something.
    pub(super) fn received(&mut self, message: P::Out, now: Tick) -> Effects<P> {
        match P::read(message) {
            FromFunction::Reply(reply) => self.reply(*reply, now),
            FromFunction::Failure(failure) => {
                let Failure { command_id, description, .. } = failure;
                tracing::warn!(command_id, %description, "user function failed the stream");
                self.crash(Self::WORDS.failure, None)
            }
            FromFunction::Invalid(what) => self.crash(Self::WORDS.message, Some(what.to_owned())),
        }
    }

    fn reply(&mut self, reply: Reply<P::Change>, now: Tick) -> Effects<P> {
        match self.processing.take() {
            Some((id, command)) if id == reply.command_id => self.answered(command, reply, now),
            processing => {
                self.processing = processing;
                let what = format!("a reply to command {}, which is not in progress", reply.command_id);
                self.crash(Self::WORDS.reply, Some(what))
            }
        }
    }

    fn answered(&mut self, command: Box<EntityCommand>, reply: Reply<P::Change>, now: Tick) -> Effects<P> {
        let mut effects = Vec::with_capacity(3);
        let Reply { action, side_effects, change, snapshot, restart, mistake, .. } = reply;
        if let Some(mistake) = mistake {
            let method = &command.method;
            effects.push(Effect::Report(format!("{}.{}: {mistake}", method.service, method.name)));
        }
        if restart {
            let description = description_of(action.as_ref());
            tracing::info!("Restarting entity [{}] after failure: {description}", self.name);
        }
        let answered = self.answered_command(&command, action.as_ref(), change.is_some()).filter(|_| !restart);
        let mut write = Stage::Nothing;
        if let Some(change) = change.filter(|_| !restart) {
            if let Some(error) = self.refusal(&change) {
                effects.push(Effect::Report(format!("{}: {error}", command.method.service)));
                write = Stage::Failed(WriteError::Refused(error));
            } else {
                self.last_ticket += 1;
                let (ticket, after) = (self.last_ticket, self.position);
                self.position += change.steps();
                write = Stage::UnderWay { ticket };
                let (answered, window) = (answered.clone(), self.window_with(answered.as_ref()));
                effects.push(Effect::Write { ticket, change, after, answered, window });
            }
        }
        let snapshot = snapshot.filter(|_| !restart);
        let position = self.position;
        self.unsettled.push_back(Unsettled { command, action, side_effects, snapshot, position, answered, write });
        self.settle(now, &mut effects);
        if restart {
            self.close(true, &mut effects);
        }
        self.next(now, &mut effects);
        effects
    }

    /// Why a change cannot be stored: SDK servers refuse what is larger than they accept in one message, so
    /// an entity with a larger part could never be loaded again.
    fn refusal(&self, change: &P::Change) -> Option<String> {
        let largest = change.sizes().max().unwrap_or(0);
        let max = self.limits.stored_size_max;
        (largest > max).then(|| {
            format!("{largest} bytes are more than the {max} that a user function accepts when it is loaded again")
        })
    }

    /// The write with this ticket has ended.
    pub(super) fn written(&mut self, ticket: u64, result: Result<(), WriteError>, now: Tick) -> Effects<P> {
        let mut effects = Vec::with_capacity(2);
        let found =
            self.unsettled.iter().position(|it| matches!(it.write, Stage::UnderWay { ticket: of } if of == ticket));
        let Some(index) = found else { return effects };
        self.unsettled[index].write = match result {
            Ok(()) => {
                // A change follows directly on the one before it, so that one is stored too, whatever was said of it.
                let unknown = self.unsettled.iter_mut().take(index);
                for earlier in unknown.filter(|it| matches!(it.write, Stage::Failed(WriteError::Unknown(_)))) {
                    earlier.write = Stage::Done;
                }
                Stage::Done
            }
            Err(error) => Stage::Failed(error),
        };
        self.settle(now, &mut effects);
        self.next(now, &mut effects);
        effects
    }

    /// Answers what may be answered, in order.
    fn settle(&mut self, now: Tick, effects: &mut Effects<P>) {
        while let Some(first) = self.unsettled.pop_front_if(|first| matches!(first.write, Stage::Nothing | Stage::Done))
        {
            self.complete(first, effects);
        }
        if self.unsettled.iter().any(|it| matches!(it.write, Stage::Failed(_))) {
            self.fail(effects);
        }
        self.rest(now, effects);
    }

    /// A change was not stored: the user function is ahead of the store and has to be replayed to. How the
    /// changes after it ended decides whether it was stored after all, so nobody is told before that.
    ///
    /// What the function has made of later commands is void. Nothing of it has left the sidecar, so they are
    /// served anew from what is stored.
    fn fail(&mut self, effects: &mut Effects<P>) {
        if let Some((_, command)) = self.processing.take() {
            self.waiting.push_front(command);
        }
        if !self.unsettled.iter().any(|it| matches!(it.write, Stage::UnderWay { .. })) {
            let mut void = Vec::new();
            let mut failed = false;
            for mut unsettled in std::mem::take(&mut self.unsettled) {
                match std::mem::replace(&mut unsettled.write, Stage::Done) {
                    // One whose outcome nobody knows is not tried again: it might be stored twice.
                    Stage::Failed(error) if !failed || matches!(error, WriteError::Unknown(_)) => {
                        failed = true;
                        // Nor is what came before it, which would then come after it.
                        effects
                            .extend(void.drain(..).map(|command| Effect::Answer { command, answer: Err(no_effect()) }));
                        let answer = Err(not_stored(&Self::WORDS, error, unsettled.command.command_id.is_some()));
                        effects.push(Effect::Answer { command: unsettled.command, answer });
                    }
                    Stage::Failed(_) | Stage::Nothing if failed => void.push(unsettled.command),
                    _ => self.complete(unsettled, effects),
                }
            }
            void.into_iter().rev().for_each(|command| self.waiting.push_front(command));
        }
        self.close(false, effects);
    }

    /// The stream ended, in order or not. While closing, that is what [`State::closed`] is for.
    pub(super) fn ended(&mut self) -> Effects<P> {
        self.crash(Self::WORDS.termination, None)
    }

    /// The command in progress has not been answered in time.
    pub(super) fn timed_out(&mut self, limit: Duration) -> Effects<P> {
        if self.processing.is_none() {
            return Vec::new();
        }
        let text = format!("the user function did not answer within {limit:?}");
        self.crash_with(&CallError::status(Code::DeadlineExceeded, text))
    }

    /// Both sides of the stream are closed.
    pub(super) fn closed(&mut self, now: Tick) -> Effects<P> {
        let mut effects = Vec::new();
        if let Stream::Closing { reactivate } = self.stream {
            self.stream = Stream::Closed { reactivate };
            self.rest(now, &mut effects);
        }
        effects
    }

    /// Once the stream is closed and all writes have ended: a new stream when there is reason for one, or the end.
    fn rest(&mut self, now: Tick, effects: &mut Effects<P>) {
        let Stream::Closed { reactivate } = self.stream else { return };
        if !self.unsettled.is_empty() {
            return; // recovery must not overtake a write
        }
        self.drop_expired(now, effects);
        // Eagerly after a restart: the next command shall not have to wait for it.
        if !self.waiting.is_empty() || (reactivate && !self.stopping) {
            self.stream = Stream::Opening;
            effects.push(Effect::Activate);
        } else {
            self.stream = Stream::None;
            effects.extend(self.stopping.then_some(Effect::Stop));
        }
    }

    /// The entity has been idle for long enough.
    pub(super) fn idle_timeout(&mut self) -> Effects<P> {
        // Asked again at each timeout until the stop comes: the request may have found a full mailbox.
        if self.is_idle() && !self.stopping { vec![Effect::RequestPassivation] } else { Vec::new() }
    }

    /// The region has asked the entity to stop: whatever was sent to it before is served first.
    pub(super) fn stop(&mut self, now: Tick) -> Effects<P> {
        self.stopping = true;
        let mut effects = Vec::new();
        if self.stream == Stream::None {
            effects.push(Effect::Stop);
        } else {
            self.next(now, &mut effects);
        }
        effects
    }

    /// Whether a command that arrives now has to wait for others.
    fn is_busy(&self) -> bool {
        self.processing.is_some() || self.unsettled.len() > self.limits.unsettled_max
    }

    /// Takes the next command, or closes when the entity is to stop.
    fn next(&mut self, now: Tick, effects: &mut Effects<P>) {
        if self.stream != Stream::Open || self.is_busy() {
            return;
        }
        while let Some(command) = self.waiting.pop_front() {
            if expired(&command, now) {
                expire(command, effects);
                continue;
            }
            let Some(command) = self.unless_repeated(command, effects) else { continue };
            if self.is_busy() {
                self.waiting.push_front(command);
                break;
            }
            self.last_command += 1;
            self.processing = Some((self.last_command, command));
            effects.push(Effect::Send { id: self.last_command });
            return;
        }
        if self.stopping && self.unsettled.is_empty() {
            self.close(false, effects);
        }
    }

    fn close(&mut self, reactivate: bool, effects: &mut Effects<P>) {
        if matches!(self.stream, Stream::Open | Stream::Opening) {
            self.stream = Stream::Closing { reactivate };
            effects.push(Effect::HalfClose);
        }
    }

    /// Ends the stream because of what the user function did; queued commands are answered too.
    fn crash(&mut self, text: &str, report: Option<String>) -> Effects<P> {
        let mut effects = self.crash_with(&CallError::Failure(text.to_owned()));
        if let Some(what) = report.filter(|_| !effects.is_empty()) {
            effects.push(Effect::Report(format!("{text}: the stream got {what}")));
        }
        effects
    }

    /// What has been answered and is being written stays as it is.
    fn crash_with(&mut self, error: &CallError) -> Effects<P> {
        let current = match self.stream {
            Stream::Open => self.processing.take().map(|(_, command)| command),
            Stream::Opening => self.waiting.pop_front(),
            _ => return Vec::new(),
        };
        let mut effects = Vec::with_capacity(self.waiting.len() + 2);
        effects.extend(current.map(|command| Effect::Answer { command, answer: Err(error.clone()) }));
        let queued = self.waiting.drain(..);
        effects.extend(queued.map(|command| Effect::Answer { command, answer: Err(terminated::<P>()) }));
        self.close(false, &mut effects);
        effects
    }

    fn drop_expired(&mut self, now: Tick, effects: &mut Effects<P>) {
        let (over, left) = std::mem::take(&mut self.waiting).into_iter().partition(|command| expired(command, now));
        self.waiting = left;
        let over: VecDeque<_> = over;
        over.into_iter().for_each(|command| expire(command, effects));
    }
}

/// Commands with a key: carried out once, and answered again.
impl<P: Protocol> State<P> {
    /// What is to be known of a command's answer, if it has a key. A failure that changed nothing is not: it may be tried
    /// again.
    fn answered_command(
        &self,
        command: &EntityCommand,
        action: Option<&client_action::Action>,
        changes: bool,
    ) -> Option<Answered> {
        let id = command.command_id.clone()?;
        if matches!(action, Some(client_action::Action::Failure(_))) && !changes {
            return None;
        }
        let reply = ClientAction { action: action.cloned() }.encode_to_vec().into();
        Some(self.window.answered(id, Some(reply), self.wall_ms))
    }

    /// All that is known once `answered` is stored, what waits for the store before it included.
    fn window_with(&self, answered: Option<&Answered>) -> Vec<Answered> {
        if !P::WINDOW_IN_WRITES {
            return Vec::new();
        }
        let mut known = CommandWindow::new(P::WINDOW);
        known.extend(self.window.contents(None, self.wall_ms));
        known.extend(self.unsettled.iter().filter_map(|earlier| earlier.answered.clone()));
        known.contents(answered, self.wall_ms)
    }

    /// Answers a command that was carried out before, or has it wait for the answer; gives back one that was not.
    fn unless_repeated(&mut self, command: Box<EntityCommand>, effects: &mut Effects<P>) -> Option<Box<EntityCommand>> {
        let Some(id) = &command.command_id else { return Some(command) };
        let action = match self.window.find(id, self.wall_ms) {
            Found::New => {
                let same = |it: &&Unsettled| it.answered.as_ref().is_some_and(|it| it.command.as_str() == id.as_str());
                let Some(first) = self.unsettled.iter().rev().find(same) else { return Some(command) };
                if first.command.command_id.as_ref() == Some(id) {
                    // Behind the first, and answered as that is. Should that come to nothing, it is served anew.
                    let (action, position) = (first.action.clone(), self.position);
                    let (side_effects, snapshot, answered, write) = (Vec::new(), None, None, Stage::Nothing);
                    let again = Unsettled { command, action, side_effects, snapshot, position, answered, write };
                    self.unsettled.push_back(again);
                    effects.push(Effect::Repeated);
                    return None;
                }
                Err(reused())
            }
            Found::Reused => Err(reused()),
            Found::Answered(KeptReply::Reply(reply)) => ClientAction::decode(reply.clone())
                .map(|kept| kept.action)
                .map_err(|error| CallError::status(Code::Internal, format!("the kept answer is damaged: {error}"))),
            Found::Answered(KeptReply::TooLarge { bytes }) => Err(not_kept(*bytes, P::WINDOW.reply_bytes)),
            Found::Answered(KeptReply::Nothing) => Ok(None),
        };
        match action {
            Ok(action) => {
                effects.push(Effect::Repeated);
                effects.push(answer(command, action, Vec::new()));
            }
            Err(error) => effects.push(Effect::Answer { command, answer: Err(error) }),
        }
        None
    }

    /// Hands the client action on, and remembers it.
    fn complete(&mut self, unsettled: Unsettled, effects: &mut Effects<P>) {
        let Unsettled { command, action, side_effects, snapshot, position, answered, .. } = unsettled;
        self.window.extend(answered);
        if let Some(snapshot) = snapshot {
            let window = self.window.contents(None, self.wall_ms);
            effects.push(Effect::SaveSnapshot { position, snapshot, window });
        }
        effects.push(answer(command, action, side_effects));
    }
}

/// Hands a client action on: straight to the caller when nothing else has to happen first.
fn answer<C>(
    command: Box<EntityCommand>,
    action: Option<client_action::Action>,
    side_effects: Vec<SideEffect>,
) -> Effect<C> {
    match action {
        Some(client_action::Action::Reply(reply)) if side_effects.is_empty() => {
            Effect::Answer { command, answer: Ok(crate::router::to_reply(reply)) }
        }
        Some(client_action::Action::Failure(failure)) if side_effects.is_empty() => {
            Effect::Answer { command, answer: Err(CallError::Failure(failure.description)) }
        }
        action => Effect::Route { command, effects: side_effects, action },
    }
}

fn reused() -> CallError {
    let text = "this idempotency-key was used for another command of the entity, with another method or payload; \
                give each command its own";
    CallError::status(Code::FailedPrecondition, text)
}

fn not_kept(bytes: u64, max: usize) -> CallError {
    let text = format!(
        "the command with this idempotency-key was carried out, but its answer of {bytes} bytes was too large to be \
         kept ({max} bytes)"
    );
    CallError::status(Code::FailedPrecondition, text)
}

fn terminated<P: Protocol>() -> CallError {
    CallError::Failure(P::WORDS.terminated.to_owned())
}

/// Whether the caller can send the command again without harm decides what it hears of an outcome that nobody knows.
fn not_stored(words: &Words, error: WriteError, has_key: bool) -> CallError {
    let stored = words.stored;
    let (code, text) = match error {
        // Not UNAVAILABLE, which asks the caller to try again.
        WriteError::Refused(reason) => (Code::FailedPrecondition, format!("the {stored} were not stored: {reason}")),
        WriteError::NotStored(reason) => (Code::Unavailable, format!("the {stored} were not stored: {reason}")),
        WriteError::Unknown(reason) => {
            // UNAVAILABLE would have clients and what is between try again, which is harmless with a key only.
            let code = if has_key { Code::Unavailable } else { Code::Unknown };
            (code, format!("it is unknown whether the {stored} were stored: {reason}"))
        }
        WriteError::NotOwner(reason) => (Code::Unavailable, format!("another process writes this entity: {reason}")),
    };
    CallError::status(code, text)
}

fn no_effect() -> CallError {
    CallError::status(Code::Unavailable, "an earlier change of this entity was not stored; this command had no effect")
}

fn expired(command: &EntityCommand, now: Tick) -> bool {
    command.deadline.is_some_and(|deadline| deadline <= now) || command.reply_to.is_closed()
}

/// The command was not started.
fn expire<C>(command: Box<EntityCommand>, effects: &mut Vec<Effect<C>>) {
    if !command.reply_to.is_closed() {
        let late = "the command waited for the entity until its deadline and was not started";
        effects.push(Effect::Answer { command, answer: Err(CallError::status(Code::DeadlineExceeded, late)) });
    }
}

fn description_of(action: Option<&client_action::Action>) -> &str {
    match action {
        Some(client_action::Action::Failure(failure)) => &failure.description,
        _ => "",
    }
}
