//! What a CRDT entity does next: a pure state machine (CloudState protocol: CRDT entities).
//!
//! ```text
//!            command             activated              close             closed
//!   dormant ─────────▶ opening ───────────▶ active ───────────▶ closing ──────────▶ dormant
//!
//!   call:  awaiting ─▶ writing ─▶ answered            cancelled ─▶ forgotten
//!                 └────────────────▶ streaming ─▶ ended     ▲
//!                                        └──────────────────┘
//! ```
//!
//! Commands go to the user function as they come and are answered in any order. The function holds a plain value, so
//! it must not be told of changes while it may be changing the value itself: every command until its first reply, and
//! every cancellation until its answer, is a *turn* of the function, and the difference between what it holds and what
//! is replicated is sent when no turn is left (`turns.rs`).
//!
//! Where the function and the replicated value can no longer be reconciled by a delta (it has sent one that cannot be
//! applied, or none leads from what it holds to what is replicated) the *stream is replaced*: commands that come wait,
//! those under way are answered as usual, then the stream is closed and, when there is something to do, a new one
//! begins with the replicated value. Only the command with the bad delta fails. Streamed calls that are open cannot
//! be carried over, since their other half lives in the function's stream; they fail with "Entity terminating".
//!
//! Invariants: every command is answered exactly once; a state action is carried out before the reply it came with is
//! passed on; no delta is sent while a turn is open; a call that the client has left is cancelled at most once.

mod effect;
mod messages;
mod turns;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use actors::{ReplyTo, Tick};
use proto::Any;
use proto::cloudstate::crdt::crdt_stream_in::Message;
use proto::cloudstate::crdt::{CrdtDelete, CrdtInit, CrdtStreamedMessage};
use proto::cloudstate::{Command, SideEffect, client_action};
use tonic::Code;

pub(super) use self::effect::{Effect, Ended, Limits, Written};
use self::turns::Turn;
use super::replies::Sink;
use super::value::{Value, Voters};
use crate::call::CallError;
use crate::crdt::Crdt;
use crate::entity::{Answer, EntityCommand};
use crate::replicator::Members;
use crate::router::Origin;

/// For those whose command goes down with the stream.
pub(super) const TERMINATING: &str = "Entity terminating";
/// For every command on a deleted entity.
pub(super) const DELETED: &str = "Entity deleted";
/// The texts for a write consistency that was not reached.
pub(super) const UPDATE_FAILED: &str = "Failed to update CRDT at requested write consistency";
pub(super) const DELETE_FAILED: &str = "Failed to delete CRDT at requested write consistency";

/// Calls that nobody waits for any more and to which the function may still say something.
const FORGOTTEN_MAX: usize = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// There is no stream.
    Dormant,
    /// One is being opened.
    Opening,
    /// It takes commands.
    Active,
    /// Half-closed; the function has not ended its side yet.
    Closing { since: Tick },
}

/// One command that the function has been given.
#[derive(Debug)]
struct Call {
    origin: Origin,
    received_at: Tick,
    /// Until the caller has its answer, or knows that there will be a stream.
    reply_to: Option<ReplyTo<Answer>>,
    /// Until the client's stream ends.
    sink: Option<Sink>,
    streamed: bool,
    stage: Stage,
    cancel: Cancel,
    /// Elements that came while the state action of the reply that began the stream was still being carried out.
    early: Vec<CrdtStreamedMessage>,
    since: Tick,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The function has not replied.
    Awaiting,
    /// It has, and its state action is being carried out; `streamed` if the reply began a stream.
    Writing { streamed: bool },
    /// It sends elements.
    Streaming,
    /// The caller has given up; a reply may still come. So many deltas had been sent then.
    Overdue { deltas: u64 },
    /// The client has left; an answer to the cancellation may come.
    Left,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cancel {
    No,
    Sent(Tick),
    /// Not answered in time. So many deltas had been sent then.
    Overdue {
        deltas: u64,
    },
    Answered,
}

/// What a message of the function sets off once its state action is carried out.
#[derive(Debug)]
struct Pending {
    id: i64,
    what: What,
    effects: Vec<SideEffect>,
    delete: bool,
}

#[derive(Debug)]
enum What {
    /// The reply to a command.
    Reply { action: Option<client_action::Action>, streamed: bool },
    /// The answer to a cancellation.
    Cancelled,
}

/// The state of one entity.
#[derive(Debug)]
pub(super) struct State {
    service: Arc<str>,
    entity_id: Arc<str>,
    limits: Limits,
    voters: Voters,
    phase: Phase,
    /// The key is deleted, for good.
    deleted: bool,
    /// The stream is to be replaced when nothing is under way, since then.
    replace: Option<Tick>,
    stopping: bool,
    /// The region has been asked to send `stop`.
    passivating: bool,
    /// Commands that wait for a stream.
    waiting: VecDeque<Box<EntityCommand>>,
    /// By a number that is never used twice; on the stream it is less `base`.
    calls: BTreeMap<i64, Call>,
    writes: HashMap<u64, Pending>,
    turns: BTreeSet<Turn>,
    /// What the function holds.
    held: Option<Value>,
    /// A delta may have crossed a change of the function: what it holds is not certain.
    uncertain: bool,
    /// Deltas sent so far.
    deltas: u64,
    base: i64,
    last_call: i64,
    last_ticket: u64,
    received_at: Tick,
}

type Effects = Vec<Effect>;

impl State {
    /// A new entity.
    pub(super) fn new(service: Arc<str>, entity_id: Arc<str>, limits: Limits, voters: Voters, now: Tick) -> Self {
        Self {
            service,
            entity_id,
            limits,
            voters,
            phase: Phase::Dormant,
            deleted: false,
            replace: None,
            stopping: false,
            passivating: false,
            waiting: VecDeque::new(),
            calls: BTreeMap::new(),
            writes: HashMap::new(),
            turns: BTreeSet::new(),
            held: None,
            uncertain: false,
            deltas: 0,
            base: 0,
            last_call: 0,
            last_ticket: 0,
            received_at: now,
        }
    }

    /// Whether the function has been asked to end the stream and has not done so.
    pub(super) fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing { .. })
    }

    /// Whether an activation is under way.
    pub(super) fn is_opening(&self) -> bool {
        self.phase == Phase::Opening
    }

    /// Whether nothing is going on, so that the entity may be passivated.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Active | Phase::Dormant)
            && self.waiting.is_empty()
            && self.writes.is_empty()
            && self.turns.is_empty()
            && !self.calls.values().any(Call::is_open)
    }

    /// A command has arrived.
    pub(super) fn command(&mut self, command: Box<EntityCommand>, now: Tick) -> Effects {
        if self.deleted {
            return vec![refuse(*command, CallError::Failure(DELETED.to_owned()))];
        }
        if std::mem::take(&mut self.passivating) && command.replies.is_some() {
            // A stop is on its way, which would end the client's stream as soon as it has begun.
            return vec![Effect::HandBack(command)];
        }
        let mut effects = Vec::new();
        if self.phase == Phase::Active && self.replace.is_none() {
            self.send(command, now, &mut effects);
            return effects;
        }
        if self.waiting.len() >= self.limits.waiting_max {
            self.waiting.retain(|command| !expired(command, now));
        }
        if self.waiting.len() >= self.limits.waiting_max {
            effects.push(refuse(*command, too_many(self.limits.waiting_max)));
            return effects;
        }
        self.waiting.push_back(command);
        if self.phase == Phase::Dormant {
            self.activate(&mut effects);
        }
        effects
    }

    fn activate(&mut self, effects: &mut Effects) {
        self.phase = Phase::Opening;
        effects.push(Effect::Activate);
    }

    /// Gives a command to the function.
    fn send(&mut self, command: Box<EntityCommand>, now: Tick, effects: &mut Effects) {
        if expired(&command, now) {
            let text = "the command's time was over before the user function could be given it";
            effects.push(refuse(*command, CallError::status(Code::DeadlineExceeded, text)));
            return;
        }
        if self.turns.iter().filter(|turn| matches!(turn, Turn::Command(_))).count() >= self.limits.outstanding_max {
            effects.push(refuse(*command, too_many(self.limits.outstanding_max)));
            return;
        }
        let EntityCommand { method, type_url, payload, deadline, received_at, caller, reply_to, replies, .. } =
            *command;
        self.last_call += 1;
        let id = self.last_call;
        effects.push(Effect::Send(Message::Command(Command {
            entity_id: self.entity_id.to_string(),
            id: id - self.base,
            name: method.name.to_string(),
            payload: Some(Any { type_url: type_url.to_string(), value: payload }),
            streamed: replies.is_some(),
            metadata: None,
        })));
        if let Some(sink) = &replies {
            effects.push(Effect::Watch { id, sink: sink.clone() });
        }
        let call = Call {
            // The deadline of a streamed call is that of its first reply.
            origin: Origin { method, caller, command_id: None, deadline: deadline.filter(|_| replies.is_none()) },
            received_at,
            reply_to: Some(reply_to),
            streamed: replies.is_some(),
            sink: replies,
            stage: Stage::Awaiting,
            cancel: Cancel::No,
            early: Vec::new(),
            since: now,
        };
        self.turns.insert(Turn::Command(id));
        self.calls.insert(id, call);
    }

    /// A stream is open and `value` is what is replicated; the first message has not been sent yet.
    pub(super) fn activated(&mut self, value: Option<&Crdt>, now: Tick) -> Effects {
        let mut effects = Vec::new();
        if !self.is_opening() {
            return effects;
        }
        self.phase = Phase::Active;
        self.base = self.last_call;
        self.received_at = now;
        self.held = value.map(|value| Value::of(value, &self.voters));
        self.uncertain = false;
        effects.push(Effect::Send(Message::Init(CrdtInit {
            service_name: self.service.to_string(),
            entity_id: self.entity_id.to_string(),
            delta: self.held.as_ref().map(Value::full),
        })));
        for command in std::mem::take(&mut self.waiting) {
            self.send(command, now, &mut effects);
        }
        self.close_when_done(now, &mut effects);
        effects
    }

    /// The activation failed: there is no stream.
    pub(super) fn activation_failed(&mut self, error: &CallError) -> Effects {
        let mut effects = Vec::new();
        if self.is_opening() {
            self.phase = Phase::Dormant;
            effects.extend(self.waiting.drain(..).map(|command| refuse(*command, error.clone())));
            self.rest(&mut effects);
        }
        effects
    }

    /// The key is deleted: by another node, or by whoever shares it, or it was found so.
    pub(super) fn key_deleted(&mut self, now: Tick) -> Effects {
        let mut effects = Vec::new();
        if self.deleted {
            return effects;
        }
        self.delete_locally(&mut effects);
        match self.phase {
            Phase::Active => {
                effects.push(Effect::Send(Message::Delete(CrdtDelete {})));
                self.half_close(now, &mut effects);
            }
            // The function has been told nothing yet.
            Phase::Opening => {
                self.phase = Phase::Dormant;
                effects.push(Effect::Reset);
                self.rest(&mut effects);
            }
            Phase::Dormant | Phase::Closing { .. } => {}
        }
        effects
    }

    fn delete_locally(&mut self, effects: &mut Effects) {
        self.deleted = true;
        self.held = None;
        self.turns.clear();
        self.replace = None;
        let gone = || CallError::Failure(DELETED.to_owned());
        effects.extend(self.waiting.drain(..).map(|command| refuse(*command, gone())));
    }

    fn half_close(&mut self, now: Tick, effects: &mut Effects) {
        self.phase = Phase::Closing { since: now };
        effects.push(Effect::HalfClose);
    }

    /// The function has ended its side of the stream, unasked unless it is closing.
    pub(super) fn ended(&mut self, how: Ended) -> Effects {
        if self.is_closing() {
            return self.closed();
        }
        self.crash(match how {
            Ended::Completed => "Unexpected entity termination due to stream closure",
            Ended::Failed => "Entity crashed",
        })
    }

    /// The function does not take what is sent to it.
    pub(super) fn stalled(&mut self) -> Effects {
        self.crash("Entity crashed: the user function does not read its stream")
    }

    /// The stream is over on both sides.
    pub(super) fn closed(&mut self) -> Effects {
        let mut effects = Vec::new();
        if self.is_closing() {
            let text = if self.deleted { DELETED } else { TERMINATING };
            self.abandon(text, &mut effects);
            effects.push(Effect::Reset);
            self.after_stream(&mut effects);
        }
        effects
    }

    /// Something went wrong that takes the stream down.
    fn crash(&mut self, text: impl Into<String>) -> Effects {
        let text = text.into();
        let mut effects = Vec::new();
        if matches!(self.phase, Phase::Opening) {
            let gone = || CallError::Failure(TERMINATING.to_owned());
            effects.extend(self.waiting.drain(..).map(|command| refuse(*command, gone())));
        }
        if self.phase != Phase::Dormant {
            tracing::warn!("{text}");
            self.abandon(if self.deleted { DELETED } else { TERMINATING }, &mut effects);
            effects.push(Effect::Report(text));
            effects.push(Effect::Reset);
            self.after_stream(&mut effects);
        }
        effects
    }

    fn after_stream(&mut self, effects: &mut Effects) {
        self.phase = Phase::Dormant;
        self.replace = None;
        self.held = None;
        self.turns.clear();
        if self.waiting.is_empty() {
            self.rest(effects);
        } else {
            self.activate(effects);
        }
    }

    /// Fails every call whose other half was in the stream. Replies whose state action is under way are still passed on.
    fn abandon(&mut self, text: &str, effects: &mut Effects) {
        let error = || CallError::Failure(text.to_owned());
        let writing: BTreeSet<i64> = self.writes.values().map(|pending| pending.id).collect();
        let (kept, lost) = std::mem::take(&mut self.calls).into_iter().partition(|(id, _)| writing.contains(id));
        self.calls = kept;
        for (_, call) in BTreeMap::into_iter(lost) {
            call.fail(error(), effects);
        }
    }

    /// Without a stream and with nothing to do: stops if it is to.
    fn rest(&self, effects: &mut Effects) {
        effects
            .extend((self.stopping && self.writes.is_empty() && self.phase == Phase::Dormant).then_some(Effect::Stop));
    }

    /// The other nodes that are up have changed.
    pub(super) fn members(&mut self, members: Members) -> Effects {
        self.voters.members = members;
        self.changed()
    }

    /// The entity has been idle for long.
    pub(super) fn idle_timeout(&mut self) -> Effects {
        if self.is_idle() && !self.stopping {
            self.passivating = true;
            return vec![Effect::RequestPassivation];
        }
        Vec::new()
    }

    /// The region holds further commands back: finish what is under way, complete streamed calls, stop.
    pub(super) fn stop(&mut self, now: Tick) -> Effects {
        let mut effects = Vec::new();
        self.stopping = true;
        self.passivating = false;
        if self.phase == Phase::Active {
            let streaming: Vec<i64> =
                self.calls.iter().filter(|(_, call)| call.stage == Stage::Streaming).map(|(id, _)| *id).collect();
            for id in streaming {
                self.cancel(id, now, &mut effects);
            }
        }
        self.close_when_done(now, &mut effects);
        self.rest(&mut effects);
        effects
    }

    /// Closes the stream if that is wanted and nothing is under way.
    fn close_when_done(&mut self, now: Tick, effects: &mut Effects) {
        if self.phase != Phase::Active || !self.turns.is_empty() || !self.writes.is_empty() {
            return;
        }
        if self.replace.is_some() {
            let open: Vec<i64> = self.calls.iter().filter(|(_, call)| call.sink.is_some()).map(|(id, _)| *id).collect();
            for call in open.iter().filter_map(|id| self.calls.remove(id)) {
                call.fail(CallError::Failure(TERMINATING.to_owned()), effects);
            }
        }
        if self.replace.is_some() || self.stopping {
            self.half_close(now, effects);
        }
    }
}

impl Call {
    /// Whether the function owes a reply, or one is being carried out.
    fn is_outstanding(&self) -> bool {
        matches!(self.stage, Stage::Awaiting | Stage::Writing { .. })
    }

    /// Whether somebody waits for more.
    fn is_open(&self) -> bool {
        self.is_outstanding() || self.stage == Stage::Streaming
    }

    fn fail(self, error: CallError, effects: &mut Effects) {
        let Self { origin, received_at, reply_to, sink, .. } = self;
        match (reply_to, sink) {
            (Some(reply_to), _) => effects.push(Effect::Answer { origin, received_at, reply_to, answer: Err(error) }),
            (None, Some(sink)) => effects.push(Effect::Fail { sink, error }),
            (None, None) => {}
        }
    }
}

fn refuse(command: EntityCommand, error: CallError) -> Effect {
    let EntityCommand { method, deadline, received_at, caller, reply_to, .. } = command;
    let origin = Origin { method, caller, command_id: None, deadline };
    Effect::Answer { origin, received_at, reply_to, answer: Err(error) }
}

fn too_many(max: usize) -> CallError {
    let text = format!("too many commands wait for this entity ({max}); try again later");
    CallError::status(Code::ResourceExhausted, text)
}

fn expired(command: &EntityCommand, now: Tick) -> bool {
    command.deadline.is_some_and(|deadline| deadline <= now) || command.reply_to.is_closed()
}
