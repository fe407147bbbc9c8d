//! What an event-sourced entity does next: a pure state machine (CloudState protocol, event sourced entities).
//!
//! ```text
//! dormant ─ command ─▶ recovering ─▶ idle ⇄ processing ─▶ persisting
//!    ▲                      │          │         │            │
//!    └──────── closed ── closing ◀─────┴─────────┴────────────┘
//! ```
//!
//! Invariants: one command at a time is with the user function; a reply leaves only after its
//! events are durable; each accepted command is answered exactly once; the entity stops only
//! between commands and only after its region has asked it to.

use std::collections::VecDeque;
use std::time::Duration;

use actors::Tick;
use proto::Any;
use proto::cloudstate::eventsourced::{EventSourcedReply, EventSourcedStreamOut, event_sourced_stream_out};
use proto::cloudstate::{ClientAction, Failure, SideEffect, client_action};
use tonic::Code;

use crate::call::CallError;
use crate::entity::{Answer, EntityCommand};

/// What the actor has to do, in this order.
#[derive(Debug)]
pub(super) enum Effect {
    /// Open a stream, recover from the store, replay; then report `recovered` or `recovery_failed`.
    Activate,
    /// Send the command in progress to the user function under this id.
    Send { id: i64 },
    /// Write the events, the first under this sequence number; then report `persisted`.
    Persist { events: Vec<Any>, first_seq: u64 },
    /// Start saving a snapshot of the state after this sequence number; nobody waits for it.
    SaveSnapshot { seq: u64, snapshot: Any },
    /// Answer a command.
    Answer { command: Box<EntityCommand>, answer: Answer },
    /// Run side effects and the client action; the router answers the command.
    Route { command: Box<EntityCommand>, effects: Vec<SideEffect>, action: Option<client_action::Action> },
    /// End our side of the stream; then report `closed` when the function has ended its side.
    HalfClose,
    /// Tell the user function about its mistake.
    Report(String),
    /// Ask the region to hold further commands back and to send `stop`.
    RequestPassivation,
    /// Stop the actor.
    Stop,
}

/// Why an activation failed, and therefore what waiting callers are told.
#[derive(Debug, thiserror::Error)]
pub(super) enum ActivationError {
    /// The store could not be read, or what it holds is damaged.
    #[error("the log could not be read: {0}")]
    Recovery(String),
    /// There is no connection to the user function.
    #[error("{0}")]
    Unreachable(String),
    /// The user function ended the stream while it was replayed to.
    #[error("the user function ended the stream while it was replayed to")]
    Ended,
}

/// How a write ended.
#[derive(Debug)]
pub(super) enum WriteError {
    /// Certainly not stored.
    NotStored(String),
    /// Stored or not: nobody knows until the log is read again.
    Unknown(String),
    /// Another writer owns the entity.
    NotOwner(String),
}

#[derive(Debug)]
enum Phase {
    /// No stream.
    Dormant,
    /// Stream opened, log being replayed.
    Recovering,
    /// Stream open, no command with the user function.
    Idle,
    /// A command is with the user function.
    Processing { id: i64, command: Box<EntityCommand> },
    /// The user function has answered; its events are being written.
    /// When the stream broke meanwhile, it is closed once the write has ended: recovery must not
    /// overtake it.
    Persisting { command: Box<EntityCommand>, reply: Box<EventSourcedReply>, count: u64, broken: bool },
    /// Half-closed; the user function has not ended its side yet.
    Closing { then: Then },
}

/// What follows once the stream is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    /// Nothing, unless commands wait.
    Rest,
    /// A new stream at once: the user function's state is ahead of the log.
    Reactivate,
}

/// The state of one entity.
#[derive(Debug)]
pub(super) struct State {
    phase: Phase,
    waiting: VecDeque<Box<EntityCommand>>,
    waiting_max: usize,
    highest_seq: u64,
    last_command: i64,
    stopping: bool,
}

impl State {
    /// A new entity; at most `waiting_max` commands wait behind the one in progress.
    pub(super) fn new(waiting_max: usize) -> Self {
        Self {
            phase: Phase::Dormant,
            waiting: VecDeque::new(),
            waiting_max,
            highest_seq: 0,
            last_command: 0,
            stopping: false,
        }
    }

    /// The command that is with the user function.
    pub(super) fn in_progress(&self) -> Option<&EntityCommand> {
        match &self.phase {
            Phase::Processing { command, .. } => Some(command),
            _ => None,
        }
    }

    /// How many commands wait behind the one in progress.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nothing is going on, so that the entity may be passivated.
    pub(super) fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Idle | Phase::Dormant) && self.waiting.is_empty()
    }

    /// Whether the user function has been asked to end the stream and has not done so.
    pub(super) fn is_closing(&self) -> bool {
        matches!(self.phase, Phase::Closing { .. })
    }

    /// A command has arrived.
    pub(super) fn command(&mut self, command: Box<EntityCommand>, now: Tick) -> Vec<Effect> {
        // The one that will be next does not count as waiting.
        let in_progress = matches!(self.phase, Phase::Processing { .. } | Phase::Persisting { .. });
        let room = self.waiting_max + usize::from(!in_progress);
        if self.waiting.len() >= room {
            self.waiting.retain(|queued| !expired(queued, now));
        }
        if self.waiting.len() >= room {
            let text = format!("too many commands wait for this entity ({}); try again later", self.waiting_max);
            return vec![Effect::Answer { command, answer: Err(CallError::status(Code::ResourceExhausted, text)) }];
        }
        self.waiting.push_back(command);
        match self.phase {
            Phase::Dormant => {
                self.phase = Phase::Recovering;
                vec![Effect::Activate]
            }
            Phase::Idle => self.next(now),
            _ => Vec::new(),
        }
    }

    /// The log has been replayed into the stream up to `highest_seq`.
    pub(super) fn recovered(&mut self, highest_seq: u64, now: Tick) -> Vec<Effect> {
        if !matches!(self.phase, Phase::Recovering) {
            return Vec::new();
        }
        self.highest_seq = highest_seq;
        self.last_command = 0;
        self.phase = Phase::Idle;
        self.next(now)
    }

    /// The activation failed: no stream is open any more.
    pub(super) fn activation_failed(&mut self, error: &ActivationError) -> Vec<Effect> {
        let answer = || match error {
            ActivationError::Recovery(_) => CallError::status(Code::Unavailable, "Error recovering event log"),
            ActivationError::Unreachable(reason) => CallError::status(Code::Unavailable, reason.clone()),
            ActivationError::Ended => CallError::Failure("Unexpected entity termination".to_owned()),
        };
        let mut effects: Vec<_> =
            self.waiting.drain(..).map(|command| Effect::Answer { command, answer: Err(answer()) }).collect();
        self.phase = Phase::Dormant;
        self.rest(&mut effects);
        effects
    }

    /// The user function has sent something.
    pub(super) fn received(&mut self, message: EventSourcedStreamOut, now: Tick) -> Vec<Effect> {
        match message.message {
            Some(event_sourced_stream_out::Message::Reply(reply)) => self.reply(reply, now),
            Some(event_sourced_stream_out::Message::Failure(failure)) => self.failure(&failure),
            None => self.crash("Unexpected entity message", Some("an empty stream message")),
        }
    }

    fn reply(&mut self, reply: EventSourcedReply, now: Tick) -> Vec<Effect> {
        match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Processing { id, command } if id == reply.command_id => self.answered(command, reply, now),
            phase => {
                self.phase = phase;
                let what = format!("a reply to command {}, which is not in progress", reply.command_id);
                self.crash("Unexpected entity reply", Some(&what))
            }
        }
    }

    fn answered(&mut self, command: Box<EntityCommand>, mut reply: EventSourcedReply, now: Tick) -> Vec<Effect> {
        if let Some(Failure { restart, .. }) = failure_of(&reply) {
            // Events of a failed command are not kept. A function that has emitted some is ahead of
            // its log, whether it says so or not, and has to be replayed to.
            if *restart || !reply.events.is_empty() {
                self.phase = Phase::Closing { then: Then::Reactivate };
                return vec![route(command, reply), Effect::HalfClose];
            }
        }
        if reply.events.is_empty() {
            let mut effects = Vec::with_capacity(3);
            if reply.snapshot.take().is_some() {
                effects.push(Effect::Report(format!(
                    "{}.{}: a snapshot without events is ignored",
                    command.method.service, command.method.name
                )));
            }
            effects.push(route(command, reply));
            effects.append(&mut self.next(now));
            return effects;
        }
        let events = std::mem::take(&mut reply.events);
        let count = events.len() as u64;
        let first_seq = self.highest_seq + 1;
        self.phase = Phase::Persisting { command, reply: Box::new(reply), count, broken: false };
        vec![Effect::Persist { events, first_seq }]
    }

    /// The write that `Effect::Persist` asked for has ended.
    pub(super) fn persisted(&mut self, result: Result<(), WriteError>, now: Tick) -> Vec<Effect> {
        let (command, mut reply, count, broken) = match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Persisting { command, reply, count, broken } => (command, reply, count, broken),
            phase => {
                self.phase = phase;
                return Vec::new();
            }
        };
        if let Err(error) = result {
            return self.write_failed(command, error);
        }
        self.highest_seq += count;
        let mut effects = Vec::with_capacity(3);
        if let Some(snapshot) = reply.snapshot.take() {
            effects.push(Effect::SaveSnapshot { seq: self.highest_seq, snapshot });
        }
        effects.push(route(command, *reply));
        effects.append(&mut if broken { self.crash_with(&terminated()) } else { self.next(now) });
        effects
    }

    fn write_failed(&mut self, command: Box<EntityCommand>, error: WriteError) -> Vec<Effect> {
        let text = match error {
            WriteError::NotStored(reason) => format!("the events were not stored: {reason}"),
            WriteError::Unknown(reason) => format!("it is unknown whether the events were stored: {reason}"),
            WriteError::NotOwner(reason) => format!("another process writes this entity: {reason}"),
        };
        // The user function holds state that is not in the log: it has to be replayed to.
        self.phase = Phase::Closing { then: Then::Rest };
        let answer = Err(CallError::status(Code::Unavailable, text));
        vec![Effect::Answer { command, answer }, Effect::HalfClose]
    }

    fn failure(&mut self, failure: &Failure) -> Vec<Effect> {
        tracing::warn!(command_id = failure.command_id, description = %failure.description, "user function failed the stream");
        self.crash("Unexpected entity failure", None)
    }

    /// The stream ended, in order or not. While closing, that is what [`State::closed`] is for.
    pub(super) fn ended(&mut self) -> Vec<Effect> {
        self.crash("Unexpected entity termination", None)
    }

    /// The command in progress has not been answered in time.
    pub(super) fn timed_out(&mut self, limit: Duration) -> Vec<Effect> {
        if !matches!(self.phase, Phase::Processing { .. }) {
            return Vec::new();
        }
        let text = format!("the user function did not answer within {limit:?}");
        self.crash_with(&CallError::status(Code::DeadlineExceeded, text))
    }

    /// Both sides of the stream are closed.
    pub(super) fn closed(&mut self, now: Tick) -> Vec<Effect> {
        let Phase::Closing { then } = self.phase else { return Vec::new() };
        self.phase = Phase::Dormant;
        self.waiting.retain(|command| !expired(command, now));
        let reactivate = !self.waiting.is_empty() || (then == Then::Reactivate && !self.stopping);
        let mut effects = Vec::new();
        if reactivate {
            self.phase = Phase::Recovering;
            effects.push(Effect::Activate);
        } else {
            self.rest(&mut effects);
        }
        effects
    }

    /// The entity has been idle for long enough.
    pub(super) fn idle_timeout(&mut self) -> Vec<Effect> {
        // Asked again at each timeout until the stop comes: the request may have found a full mailbox.
        if self.is_idle() && !self.stopping { vec![Effect::RequestPassivation] } else { Vec::new() }
    }

    /// The region has asked the entity to stop: whatever was sent to it before is served first.
    pub(super) fn stop(&mut self) -> Vec<Effect> {
        self.stopping = true;
        match self.phase {
            Phase::Dormant => vec![Effect::Stop],
            Phase::Idle => {
                self.phase = Phase::Closing { then: Then::Rest };
                vec![Effect::HalfClose]
            }
            _ => Vec::new(),
        }
    }

    /// Takes the next command, or closes when the entity is to stop.
    fn next(&mut self, now: Tick) -> Vec<Effect> {
        while let Some(command) = self.waiting.pop_front() {
            if expired(&command, now) {
                continue; // its caller has had DEADLINE_EXCEEDED, or has gone: it was not started
            }
            self.last_command += 1;
            let id = self.last_command;
            self.phase = Phase::Processing { id, command };
            return vec![Effect::Send { id }];
        }
        if self.stopping {
            self.phase = Phase::Closing { then: Then::Rest };
            return vec![Effect::HalfClose];
        }
        self.phase = Phase::Idle;
        Vec::new()
    }

    /// Ends the stream because of what the user function did; queued commands are answered too.
    fn crash(&mut self, text: &str, report: Option<&str>) -> Vec<Effect> {
        match &mut self.phase {
            Phase::Closing { .. } | Phase::Dormant => return Vec::new(),
            Phase::Persisting { broken, .. } => {
                *broken = true;
                return Vec::new();
            }
            _ => {}
        }
        let mut effects = self.crash_with(&CallError::Failure(text.to_owned()));
        if let Some(what) = report {
            effects.push(Effect::Report(format!("{text}: the stream got {what}")));
        }
        effects
    }

    fn crash_with(&mut self, error: &CallError) -> Vec<Effect> {
        let current = match std::mem::replace(&mut self.phase, Phase::Closing { then: Then::Rest }) {
            Phase::Processing { command, .. } => Some(command),
            Phase::Recovering => self.waiting.pop_front(),
            _ => None,
        };
        let mut effects = Vec::with_capacity(self.waiting.len() + 2);
        if let Some(command) = current {
            effects.push(Effect::Answer { command, answer: Err(error.clone()) });
        }
        effects.extend(self.waiting.drain(..).map(|command| Effect::Answer { command, answer: Err(terminated()) }));
        effects.push(Effect::HalfClose);
        effects
    }

    /// Without a stream and with nothing to do: stops if it is to, else waits for a command or for
    /// the idle timeout.
    fn rest(&self, effects: &mut Vec<Effect>) {
        effects.extend(self.stopping.then_some(Effect::Stop));
    }
}

fn terminated() -> CallError {
    CallError::Failure("Entity terminated".to_owned())
}

fn expired(command: &EntityCommand, now: Tick) -> bool {
    command.deadline.is_some_and(|deadline| deadline <= now) || command.reply_to.is_closed()
}

fn failure_of(reply: &EventSourcedReply) -> Option<&Failure> {
    match reply.client_action.as_ref()?.action.as_ref()? {
        client_action::Action::Failure(failure) => Some(failure),
        _ => None,
    }
}

/// Hands the client action on: straight to the caller when nothing else has to happen first.
fn route(command: Box<EntityCommand>, reply: EventSourcedReply) -> Effect {
    let action = reply.client_action.and_then(|ClientAction { action }| action);
    match action {
        Some(client_action::Action::Reply(reply_action)) if reply.side_effects.is_empty() => {
            Effect::Answer { answer: Ok(crate::router::to_reply(reply_action)), command }
        }
        Some(client_action::Action::Failure(failure)) if reply.side_effects.is_empty() => {
            Effect::Answer { command, answer: Err(CallError::Failure(failure.description)) }
        }
        action => Effect::Route { command, effects: reply.side_effects, action },
    }
}
