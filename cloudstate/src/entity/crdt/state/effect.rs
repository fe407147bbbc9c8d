//! What the state machine wants to be done, and what it is told in return.

use std::time::Duration;

use actors::{ReplyTo, Tick};
use proto::cloudstate::crdt::CrdtDelta;
use proto::cloudstate::crdt::crdt_stream_in::Message;
use proto::cloudstate::{SideEffect, client_action};

use crate::call::CallError;
use crate::entity::crdt::replies::Sink;
use crate::entity::{Answer, EntityCommand};
use crate::replicator::WriteConsistency;
use crate::router::Origin;

/// What the actor has to do, in this order.
#[derive(Debug)]
pub(in crate::entity::crdt) enum Effect {
    /// Read the replicated value and open a stream; then report `activated` or `activation_failed`.
    Activate,
    /// Send this to the user function.
    Send(Message),
    /// Watch for the client of this streamed call to go, and report `gone`.
    Watch { id: i64, sink: Sink },
    /// End our side of the stream; then report `closed` when the function has ended its side.
    HalfClose,
    /// Drop the stream.
    Reset,
    /// Read the local replicated value; then report `read`.
    Read,
    /// Apply a delta to the replicated value; then report `written` with the ticket.
    Update { ticket: u64, delta: CrdtDelta, consistency: WriteConsistency },
    /// Delete the replicated value; then report `written` with the ticket.
    Delete { ticket: u64, consistency: WriteConsistency },
    /// Answer a command.
    Answer { origin: Origin, received_at: Tick, reply_to: ReplyTo<Answer>, answer: Answer },
    /// Run side effects and the client action; the router answers.
    Route {
        origin: Origin,
        received_at: Tick,
        reply_to: ReplyTo<Answer>,
        effects: Vec<SideEffect>,
        action: Option<client_action::Action>,
    },
    /// Add an element to a client's stream.
    Emit { sink: Sink, effects: Vec<SideEffect>, action: Option<client_action::Action> },
    /// End a client's stream with an error; without one it ends when its sink is dropped.
    Fail { sink: Sink, error: CallError },
    /// End a client's stream with an error at once.
    Abort { sink: Sink, error: CallError },
    /// Run side effects for which no client waits.
    Run { origin: Origin, effects: Vec<SideEffect> },
    /// Tell the user function about its mistake.
    Report(String),
    /// Ask the region to hold further commands back and to send `stop`.
    RequestPassivation,
    /// Let the region deliver the command again.
    HandBack(Box<EntityCommand>),
    /// Stop the actor.
    Stop,
}

/// How a write of the replicated value ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::entity::crdt) enum Written {
    /// As asked for.
    Done,
    /// On this node, but not on as many as asked for.
    NotReached,
    /// The key is deleted; nothing was written.
    Deleted,
    /// It cannot be written, and why.
    Refused(String),
    /// There is no room for it.
    Full(String),
}

/// How the function's side of the stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::entity::crdt) enum Ended {
    /// It completed.
    Completed,
    /// It failed.
    Failed,
}

/// Bounds and time limits of one entity.
#[derive(Debug, Clone, Copy)]
pub(in crate::entity::crdt) struct Limits {
    /// Commands that may be with the function, streamed ones until their first reply.
    pub(in crate::entity::crdt) outstanding_max: usize,
    /// Commands that may wait for a stream.
    pub(in crate::entity::crdt) waiting_max: usize,
    /// How long the function may take to answer a command.
    pub(in crate::entity::crdt) command_timeout: Duration,
    /// How long an answer to a cancellation is waited for: it is optional.
    pub(in crate::entity::crdt) cancel_timeout: Duration,
    /// How long the function may take to end a stream that we have half-closed.
    pub(in crate::entity::crdt) close_timeout: Duration,
}
