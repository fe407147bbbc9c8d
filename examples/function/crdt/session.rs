//! The protocol's side of one entity.

use std::collections::BTreeMap;

use proto::cloudstate::crdt::crdt_stream_in::Message as In;
use proto::cloudstate::crdt::crdt_stream_out::Message as Out;
use proto::cloudstate::crdt::{
    CrdtDelete, CrdtDelta, CrdtInit, CrdtReply, CrdtStateAction, CrdtStreamCancelledResponse, CrdtStreamIn,
    CrdtStreamOut, CrdtStreamedMessage, CrdtWriteConsistency, crdt_state_action,
};
use proto::cloudstate::{Command, Failure};

use super::super::server::missing_init;
use super::super::stream::Session;
use super::super::{Answer, Refused};
use super::{Crdt, Data, Effect, Services};

/// One entity on this node.
pub(crate) enum Entity {
    /// It is not known yet which.
    Unborn(Services),
    /// It was told who it is.
    Active(Active),
    /// It is deleted and waits for the end of its stream.
    Deleted,
}

impl Entity {
    pub(super) fn new(services: Services) -> Self {
        Self::Unborn(services)
    }
}

impl Session for Entity {
    type In = CrdtStreamIn;
    type Out = CrdtStreamOut;

    fn receive(&mut self, message: CrdtStreamIn) -> Result<Vec<CrdtStreamOut>, Refused> {
        let message = message.message.ok_or_else(|| Refused("an empty message".to_owned()))?;
        let out = match (&mut *self, message) {
            (Self::Unborn(services), In::Init(init)) => {
                *self = Self::Active(Active::new(services.make(&init.service_name, &init.entity_id)?, init)?);
                Vec::new()
            }
            (Self::Active(_), In::Init(_)) => return Err(Refused("a second init".to_owned())),
            (Self::Active(entity), In::Delta(delta)) => entity.changed_elsewhere(delta)?,
            (Self::Active(entity), In::Command(command)) => {
                let (out, deleted) = entity.command(command);
                if deleted {
                    *self = Self::Deleted;
                }
                out
            }
            (Self::Active(entity), In::StreamCancelled(cancelled)) => entity.cancelled(cancelled.id),
            (_, In::Delete(_)) => {
                *self = Self::Deleted;
                Vec::new()
            }
            // Sent before the sidecar knew.
            (Self::Deleted, In::Command(command)) => vec![Out::Reply(refused(command.id, "the entity is deleted"))],
            (Self::Deleted, _) => Vec::new(),
            (Self::Unborn(_), _) => return Err(missing_init()),
        };
        Ok(out.into_iter().map(|message| CrdtStreamOut { message: Some(message) }).collect())
    }

    fn failure(failure: Failure) -> CrdtStreamOut {
        CrdtStreamOut { message: Some(Out::Failure(failure)) }
    }
}

/// An entity that knows who it is.
pub(crate) struct Active {
    logic: Box<dyn Crdt>,
    /// Absent until there is a first change or a first command.
    data: Option<Data>,
    /// Streamed commands that get an answer whenever the value changes.
    open: BTreeMap<i64, Command>,
}

impl Active {
    fn new(logic: Box<dyn Crdt>, init: CrdtInit) -> Result<Self, Refused> {
        Ok(Self { logic, data: init.delta.map(Data::received).transpose()?, open: BTreeMap::new() })
    }

    fn changed_elsewhere(&mut self, delta: CrdtDelta) -> Result<Vec<Out>, Refused> {
        match &mut self.data {
            Some(data) => data.apply(delta)?,
            none => *none = Some(Data::received(delta)?),
        }
        Ok(self.tell_callers())
    }

    /// The messages to send, and whether the entity ends with this command.
    fn command(&mut self, command: Command) -> (Vec<Out>, bool) {
        let data = self.data.get_or_insert_with(|| self.logic.create());
        let mut changed = data.clone();
        let effect = match self.logic.handle(&command, &mut changed) {
            Ok(effect) if !effect.answer.failed() => effect,
            Ok(effect) => return (vec![Out::Reply(reply(command.id, effect.answer))], false),
            Err(Refused(reason)) => return (vec![Out::Reply(refused(command.id, &reason))], false),
        };
        let Effect { answer, keep_open, delete, consistency } = effect;
        let keep_open = keep_open && command.streamed;
        let update = changed.changes();
        changed.settle();
        *data = changed;
        let state_action = if delete { Some(deletion(consistency)) } else { updated(update, consistency) };
        let tell = state_action.is_some() && !delete;
        let mut out = vec![Out::Reply(CrdtReply { state_action, streamed: keep_open, ..reply(command.id, answer) })];
        // Before this command is among them: it has just got its own answer.
        if tell {
            out.extend(self.tell_callers());
        }
        if keep_open {
            self.open.insert(command.id, command);
        }
        (out, delete)
    }

    fn cancelled(&mut self, id: i64) -> Vec<Out> {
        // One that we ended ourselves, before the sidecar knew: the end was the answer.
        let Some(command) = self.open.remove(&id) else { return Vec::new() };
        let data = self.data.get_or_insert_with(|| self.logic.create());
        let cancelled = self.logic.cancelled(&command, data);
        let state_action = updated(data.changes(), cancelled.consistency);
        data.settle();
        let tell = state_action.is_some();
        let mut out = vec![Out::StreamCancelledResponse(CrdtStreamCancelledResponse {
            command_id: id,
            side_effects: cancelled.side_effects,
            state_action,
        })];
        if tell {
            out.extend(self.tell_callers());
        }
        out
    }

    fn tell_callers(&mut self) -> Vec<Out> {
        let Some(data) = &self.data else { return Vec::new() };
        let mut out = Vec::new();
        self.open.retain(|&id, command| {
            let Some(message) = self.logic.changed(command, data) else { return true };
            let (client_action, side_effects) = message.answer.of_entity(id);
            out.push(Out::StreamedMessage(CrdtStreamedMessage {
                command_id: id,
                client_action,
                side_effects,
                end_stream: message.end,
            }));
            !message.end
        });
        out
    }
}

fn reply(command_id: i64, answer: Answer) -> CrdtReply {
    let (client_action, side_effects) = answer.of_entity(command_id);
    CrdtReply { command_id, client_action, side_effects, state_action: None, streamed: false }
}

fn refused(command_id: i64, reason: &str) -> CrdtReply {
    reply(command_id, Answer::fail(reason))
}

fn updated(update: Option<CrdtDelta>, consistency: CrdtWriteConsistency) -> Option<CrdtStateAction> {
    update.map(|delta| CrdtStateAction {
        write_consistency: consistency.into(),
        action: Some(crdt_state_action::Action::Update(delta)),
    })
}

fn deletion(consistency: CrdtWriteConsistency) -> CrdtStateAction {
    CrdtStateAction {
        write_consistency: consistency.into(),
        action: Some(crdt_state_action::Action::Delete(CrdtDelete {})),
    }
}
