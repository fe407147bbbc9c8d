//! What the function says, and what follows once its state action is carried out (CloudState protocol: commands and
//! replies, streamed commands, deletion).

use actors::Tick;
use proto::cloudstate::crdt::crdt_state_action::Action;
use proto::cloudstate::crdt::crdt_stream_out::Message;
use proto::cloudstate::crdt::{
    CrdtReply, CrdtStateAction, CrdtStreamCancelledResponse, CrdtStreamOut, CrdtStreamedMessage, CrdtWriteConsistency,
};
use proto::cloudstate::{ClientAction, Failure, SideEffect, client_action};
use tonic::Code;

use super::{
    Call, Cancel, DELETE_FAILED, Effect, Effects, Pending, Phase, Stage, State, TERMINATING, Turn, UPDATE_FAILED, What,
    Written,
};
use crate::call::CallError;
use crate::entity::crdt::replies::ELEMENTS_MAX;
use crate::entity::crdt::value::Value;
use crate::replicator::WriteConsistency;

impl State {
    /// The user function has sent something.
    pub(in crate::entity::crdt) fn received(&mut self, message: CrdtStreamOut, now: Tick) -> Effects {
        self.received_at = now;
        if !matches!(self.phase, Phase::Active | Phase::Closing { .. }) {
            return self.crash("Entity crashed: the user function spoke before it was spoken to");
        }
        match message.message {
            Some(Message::Reply(reply)) => self.reply(reply, now),
            Some(Message::StreamedMessage(message)) => self.streamed_message(message, now),
            Some(Message::StreamCancelledResponse(response)) => self.cancelled_response(response, now),
            Some(Message::Failure(failure)) => self.failure(failure, now),
            // A member that a later version of the protocol adds.
            None => Vec::new(),
        }
    }

    fn reply(&mut self, reply: CrdtReply, now: Tick) -> Effects {
        let CrdtReply { command_id, client_action, side_effects, state_action, streamed } = reply;
        let id = command_id.saturating_add(self.base);
        let deltas = self.deltas;
        let on_stream = self.on_stream(id);
        let Some(call) = self.calls.get_mut(&id).filter(|call| on_stream && call.awaits_reply()) else {
            let entity_id = self.entity_id.clone();
            return self.crash(format!("Received reply for entity id {entity_id} for unknown command {command_id}"));
        };
        if streamed && !call.streamed {
            return self.crash(format!("Streamed reply to non streamed command {command_id}"));
        }
        let overdue = matches!(call.stage, Stage::Overdue { deltas: then } if then != deltas);
        call.stage = Stage::Writing { streamed };
        self.uncertain |= overdue && is_update(state_action.as_ref());
        let action = client_action.and_then(|ClientAction { action }| action);
        let what = What::Reply { action, streamed };
        let mut effects = Vec::new();
        self.act(Pending { id, what, effects: side_effects, delete: false }, state_action, now, &mut effects);
        effects
    }

    fn cancelled_response(&mut self, response: CrdtStreamCancelledResponse, now: Tick) -> Effects {
        let CrdtStreamCancelledResponse { command_id, side_effects, state_action } = response;
        let id = command_id.saturating_add(self.base);
        let mut effects = Vec::new();
        match self.calls.get(&id).map(|call| call.cancel) {
            Some(Cancel::Overdue { deltas }) => {
                self.uncertain |= deltas != self.deltas && is_update(state_action.as_ref());
            }
            Some(Cancel::Sent(_)) => {}
            // The function has changed its value all the same.
            Some(Cancel::No | Cancel::Answered) | None => {
                let text = format!("Received stream cancelled response for unknown command id: {command_id}");
                effects.push(Effect::Report(text));
                self.uncertain |= is_update(state_action.as_ref());
            }
        }
        let pending = Pending { id, what: What::Cancelled, effects: side_effects, delete: false };
        self.act(pending, state_action, now, &mut effects);
        effects
    }

    /// Carries a state action out; what came with it follows when that is done.
    fn act(&mut self, mut pending: Pending, action: Option<CrdtStateAction>, now: Tick, effects: &mut Effects) {
        let consistency = match action.as_ref().map(|action| CrdtWriteConsistency::try_from(action.write_consistency)) {
            Some(Ok(CrdtWriteConsistency::Majority)) => WriteConsistency::Majority,
            Some(Ok(CrdtWriteConsistency::All)) => WriteConsistency::All,
            _ => WriteConsistency::Local,
        };
        let ticket = self.last_ticket + 1;
        match action.and_then(|action| action.action).filter(|_| !self.deleted) {
            None => return self.settle(pending, Written::Done, now, effects),
            Some(Action::Update(delta)) => match Value::after(self.held.as_ref(), &delta, &self.voters) {
                Ok(value) => {
                    self.held = Some(value);
                    effects.push(Effect::Update { ticket, delta, consistency });
                }
                Err(error) => return self.settle(pending, Written::Refused(error.to_string()), now, effects),
            },
            Some(Action::Delete(_)) => {
                pending.delete = true;
                effects.push(Effect::Delete { ticket, consistency });
                self.delete_locally(effects);
                if self.phase == Phase::Active {
                    self.half_close(now, effects);
                }
            }
        }
        self.last_ticket = ticket;
        self.writes.insert(ticket, pending);
    }

    /// A write of the replicated value has ended.
    pub(in crate::entity::crdt) fn written(&mut self, ticket: u64, written: Written, now: Tick) -> Effects {
        let mut effects = Vec::new();
        if let Some(pending) = self.writes.remove(&ticket) {
            self.settle(pending, written, now, &mut effects);
            self.rest(&mut effects);
        }
        effects
    }

    fn settle(&mut self, pending: Pending, written: Written, now: Tick, effects: &mut Effects) {
        let id = pending.id;
        let error = match written {
            Written::Done => None,
            // The reply is passed on as if the update had come before the deletion.
            Written::Deleted => {
                effects.extend(self.key_deleted(now));
                None
            }
            Written::NotReached => {
                Some(CallError::Failure(if pending.delete { DELETE_FAILED } else { UPDATE_FAILED }.to_owned()))
            }
            Written::Refused(text) => {
                tracing::warn!(command_id = id - self.base, %text, "state action of the user function was refused");
                effects.push(Effect::Report(text.clone()));
                self.replace_stream_of(id, now);
                Some(CallError::Failure(text))
            }
            Written::Full(text) => {
                self.replace_stream_of(id, now);
                Some(CallError::status(Code::ResourceExhausted, text))
            }
        };
        match (pending.what, error) {
            (What::Reply { action, streamed }, None) => {
                self.settle_reply(id, streamed, pending.effects, action, now, effects);
            }
            (What::Reply { streamed, .. }, Some(error)) => self.settle_failed(id, streamed, error, now, effects),
            (What::Cancelled, error) => self.settle_cancelled(id, pending.effects, error, now, effects),
        }
    }

    /// What the function holds is not what is replicated, and no delta can change that.
    fn replace_stream_of(&mut self, id: i64, now: Tick) {
        if self.on_stream(id) && self.phase == Phase::Active {
            self.replace.get_or_insert(now);
        }
    }

    fn settle_reply(
        &mut self,
        id: i64,
        streamed: bool,
        side_effects: Vec<SideEffect>,
        action: Option<client_action::Action>,
        now: Tick,
        effects: &mut Effects,
    ) {
        let on_stream = self.on_stream(id);
        let Some(mut call) = self.calls.remove(&id) else { return };
        let (origin, received_at) = (call.origin.clone(), call.received_at);
        match call.reply_to.take() {
            Some(reply_to) if !call.streamed => {
                effects.push(route(origin, received_at, reply_to, side_effects, action));
            }
            reply_to => {
                if let Some(reply_to) = reply_to {
                    effects.push(Effect::Answer { origin, received_at, reply_to, answer: Ok(None) });
                }
                call.emit(side_effects, action, effects);
            }
        }
        if streamed && on_stream {
            let early = std::mem::take(&mut call.early);
            let goes_on = match call.cancel {
                Cancel::No => Some(Stage::Streaming),
                Cancel::Sent(_) | Cancel::Overdue { .. } => Some(Stage::Left),
                Cancel::Answered => None,
            };
            if let Some(stage) = goes_on {
                let left = stage == Stage::Streaming && (call.sink.is_none() || self.stopping);
                call.stage = stage;
                self.calls.insert(id, call);
                if left {
                    self.cancel(id, now, effects);
                }
            }
            for message in early {
                effects.extend(self.streamed_message(message, now));
            }
        } else if streamed && let Some(sink) = call.sink.take() {
            effects.push(Effect::Fail { sink, error: CallError::Failure(TERMINATING.to_owned()) });
        } else {
            // The operation is over with the reply, also when it was cancelled before.
            self.turns.remove(&Turn::Cancel(id));
        }
        self.end_turn(Turn::Command(id), now, effects);
    }

    /// The state action of a reply failed: so does the command.
    fn settle_failed(&mut self, id: i64, streamed: bool, error: CallError, now: Tick, effects: &mut Effects) {
        let Some(mut call) = self.calls.remove(&id) else { return };
        let (origin, received_at) = (call.origin.clone(), call.received_at);
        if let Some(reply_to) = call.reply_to.take() {
            effects.push(Effect::Answer { origin, received_at, reply_to, answer: Err(error) });
        }
        call.sink = None;
        if streamed && call.cancel != Cancel::Answered {
            // The function believes that the stream has begun.
            call.stage = if call.cancel == Cancel::No { Stage::Streaming } else { Stage::Left };
            self.calls.insert(id, call);
            self.cancel(id, now, effects);
        } else {
            self.turns.remove(&Turn::Cancel(id));
        }
        self.end_turn(Turn::Command(id), now, effects);
    }

    fn settle_cancelled(
        &mut self,
        id: i64,
        side_effects: Vec<SideEffect>,
        error: Option<CallError>,
        now: Tick,
        effects: &mut Effects,
    ) {
        if let Some(error) = error {
            tracing::warn!(command_id = id - self.base, %error, "state action of a cancellation failed");
        } else if let Some(call) = self.calls.get(&id).filter(|_| !side_effects.is_empty()) {
            effects.push(Effect::Run { origin: call.origin.clone(), effects: side_effects });
        }
        self.cancel_answered(id, now, effects);
    }

    fn cancel_answered(&mut self, id: i64, now: Tick, effects: &mut Effects) {
        if let Some(call) = self.calls.get_mut(&id).filter(|call| call.cancel != Cancel::No) {
            call.cancel = Cancel::Answered;
            if call.stage == Stage::Left {
                self.calls.remove(&id);
            }
        }
        self.end_turn(Turn::Cancel(id), now, effects);
    }

    fn streamed_message(&mut self, message: CrdtStreamedMessage, now: Tick) -> Effects {
        let mut effects = Vec::new();
        let id = message.command_id.saturating_add(self.base);
        let on_stream = self.on_stream(id);
        let call = self.calls.get_mut(&id).filter(|_| on_stream);
        match call {
            Some(call) if call.cancel != Cancel::No => {
                // Sent before the function heard of the cancellation; the end of the stream is the answer to it.
                if message.end_stream {
                    self.cancel_answered(id, now, &mut effects);
                }
            }
            Some(call) if call.stage == Stage::Streaming => {
                let CrdtStreamedMessage { client_action, side_effects, end_stream, .. } = message;
                let action = client_action.and_then(|ClientAction { action }| action);
                let delivered = call.emit(side_effects, action, &mut effects);
                if end_stream {
                    self.calls.remove(&id);
                    self.close_when_done(now, &mut effects);
                } else if !delivered {
                    self.cancel(id, now, &mut effects);
                }
            }
            Some(call) if call.stage == (Stage::Writing { streamed: true }) => {
                if call.early.len() < ELEMENTS_MAX {
                    call.early.push(message);
                } else if let Some(sink) = call.sink.take() {
                    effects.push(Effect::Abort { sink, error: overflow() });
                }
            }
            Some(call) if matches!(call.stage, Stage::Overdue { .. }) => {}
            _ => {
                let id = message.command_id;
                effects.push(Effect::Report(format!("Received streamed message for unknown command id: {id}")));
            }
        }
        effects
    }

    fn failure(&mut self, failure: Failure, now: Tick) -> Effects {
        let Failure { command_id, description, .. } = failure;
        let mut effects = Vec::new();
        let id = command_id.saturating_add(self.base);
        tracing::warn!(command_id, %description, "user function failed a command");
        let writing = |call: &Call| matches!(call.stage, Stage::Writing { .. });
        if command_id == 0 || !self.on_stream(id) || self.calls.get(&id).is_none_or(writing) {
            return effects;
        }
        if let Some(call) = self.calls.remove(&id) {
            call.fail(CallError::Failure(description), &mut effects);
        }
        self.turns.remove(&Turn::Command(id));
        self.turns.remove(&Turn::Cancel(id));
        effects.extend(self.changed());
        self.close_when_done(now, &mut effects);
        effects
    }
}

impl Call {
    fn awaits_reply(&self) -> bool {
        matches!(self.stage, Stage::Awaiting | Stage::Overdue { .. })
    }

    /// Adds an element to the client's stream; false if that has failed the stream.
    fn emit(
        &mut self,
        side_effects: Vec<SideEffect>,
        action: Option<client_action::Action>,
        effects: &mut Effects,
    ) -> bool {
        if side_effects.is_empty() && action.is_none() {
            return true;
        }
        match &self.sink {
            Some(sink) if sink.is_full() => {
                if let Some(sink) = self.sink.take() {
                    effects.push(Effect::Abort { sink, error: overflow() });
                }
                return false;
            }
            Some(sink) => effects.push(Effect::Emit { sink: sink.clone(), effects: side_effects, action }),
            None if side_effects.is_empty() => {}
            None => effects.push(Effect::Run { origin: self.origin.clone(), effects: side_effects }),
        }
        true
    }
}

/// Hands the client action on: straight to the caller when nothing else has to happen first.
fn route(
    origin: crate::router::Origin,
    received_at: Tick,
    reply_to: actors::ReplyTo<crate::entity::Answer>,
    effects: Vec<SideEffect>,
    action: Option<client_action::Action>,
) -> Effect {
    let answer = match action {
        _ if !effects.is_empty() => return Effect::Route { origin, received_at, reply_to, effects, action },
        Some(client_action::Action::Forward(_)) => {
            return Effect::Route { origin, received_at, reply_to, effects, action };
        }
        Some(client_action::Action::Reply(reply)) => Ok(crate::router::to_reply(reply)),
        Some(client_action::Action::Failure(failure)) => Err(CallError::Failure(failure.description)),
        None => Ok(None),
    };
    Effect::Answer { origin, received_at, reply_to, answer }
}

fn is_update(action: Option<&CrdtStateAction>) -> bool {
    matches!(action, Some(CrdtStateAction { action: Some(Action::Update(_)), .. }))
}

fn overflow() -> CallError {
    let text = format!("the client takes elements too slowly: more than {ELEMENTS_MAX} wait for it");
    CallError::status(Code::ResourceExhausted, text)
}
