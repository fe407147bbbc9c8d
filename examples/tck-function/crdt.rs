//! `CrdtTckModel`: a replicated value of the type its id starts with. `CrdtTwo`: what it calls.
//! `CrdtConfigured`: soon out of memory.

use std::time::Duration;

use proto::Any;
use proto::cloudstate::Command;
use proto::cloudstate::crdt::CrdtWriteConsistency;
use proto::model::tck::crdt::request_action::Action;
use proto::model::tck::crdt::{Request, Response, State, StreamedRequest, Update};

use super::crdt_data::{named, state, update};
use crate::function::crdt::{Cancelled, Crdt, Data, Effect, GCounter, Message};
use crate::function::{Answer, Function, Refused, Served, call, effect, pack, unpack};

const MODEL: Served = Served::new("cloudstate.tck.model.crdt.CrdtTckModel", "crdt-tck-model");
const TWO: Served = Served::new("cloudstate.tck.model.crdt.CrdtTwo", "crdt-tck-model-two");
const CONFIGURED: Served = Served::new("cloudstate.tck.model.crdt.CrdtConfigured", "crdt-configured")
    .passivated_after(Duration::from_millis(100));

/// Adds the services of this module.
pub(super) fn serve(function: Function) -> Function {
    function.crdt(MODEL, |id| Model { id: id.to_owned() }).crdt(TWO, |_| Empty).crdt(CONFIGURED, |_| Empty)
}

struct Model {
    id: String,
}

impl Crdt for Model {
    fn create(&self) -> Data {
        // An id that names no type gets an error with its first command.
        named(&self.id).unwrap_or(Data::GCounter(GCounter::default()))
    }

    fn handle(&mut self, command: &Command, data: &mut Data) -> Result<Effect, Refused> {
        named(&self.id)?;
        match command.name.as_str() {
            "Process" => process(unpack(command)?, data),
            "ProcessStreamed" => process_streamed(unpack(command)?, data),
            other => Err(Refused::unknown_command(other)),
        }
    }

    fn changed(&mut self, open: &Command, data: &Data) -> Option<Message> {
        let told = || -> Result<Option<Message>, Refused> {
            let request: StreamedRequest = unpack(open)?;
            let state = state(data)?;
            let end = request.end_state.as_ref() == Some(&state);
            let side_effects: Vec<_> =
                request.effects.into_iter().map(|to| effect(two(to.id), to.synchronous)).collect();
            let answer = if request.empty { Answer::default() } else { Answer::reply(response(state)) };
            let silent = request.empty && !end && side_effects.is_empty();
            Ok((!silent).then(|| Message { answer: answer.with_effects(side_effects), end }))
        };
        told().unwrap_or_else(|Refused(reason)| Some(Message { answer: Answer::fail(reason), end: true }))
    }

    fn cancelled(&mut self, open: &Command, data: &mut Data) -> Cancelled {
        let request: StreamedRequest = unpack(open).unwrap_or_default();
        let Some(last) = request.cancel_update else { return Cancelled::default() };
        let consistency = consistency_of(&last);
        if let Err(Refused(reason)) = update(data, last) {
            // There is no caller any more who could be told.
            eprintln!("{}: the update on cancellation: {reason}", self.id);
        }
        Cancelled { consistency, ..Cancelled::default() }
    }
}

fn process(request: Request, data: &mut Data) -> Result<Effect, Refused> {
    let mut does = Effect::default();
    let mut forward = None;
    let mut side_effects = Vec::new();
    for action in request.actions.into_iter().filter_map(|action| action.action) {
        match action {
            Action::Update(change) => {
                does.consistency = consistency_of(&change);
                update(data, change)?;
            }
            Action::Delete(_) => does.delete = true,
            Action::Forward(to) => forward = Some(two(to.id)),
            Action::Effect(to) => side_effects.push(effect(two(to.id), to.synchronous)),
            Action::Fail(fail) => return Err(Refused(fail.message)),
        }
    }
    let answer = match forward {
        Some(forward) => Answer::forward(forward),
        None => Answer::reply(response(state(data)?)),
    };
    Ok(Effect { answer: answer.with_effects(side_effects), ..does })
}

fn process_streamed(request: StreamedRequest, data: &mut Data) -> Result<Effect, Refused> {
    let mut consistency = CrdtWriteConsistency::Local;
    if let Some(first) = request.initial_update {
        consistency = consistency_of(&first);
        update(data, first)?;
    }
    let state = state(data)?;
    let keep_open = request.end_state.as_ref() != Some(&state);
    let answer = if request.empty { Answer::default() } else { Answer::reply(response(state)) };
    Ok(Effect { answer, keep_open, consistency, delete: false })
}

/// Deletes if asked to and answers.
struct Empty;

impl Crdt for Empty {
    fn create(&self) -> Data {
        Data::GCounter(GCounter::default())
    }

    fn handle(&mut self, command: &Command, _: &mut Data) -> Result<Effect, Refused> {
        let request: Request = unpack(command)?;
        let delete = request.actions.iter().any(|action| matches!(action.action, Some(Action::Delete(_))));
        let answer = Answer::reply(pack("cloudstate.tck.model.crdt.Response", &Response::default()));
        Ok(Effect { delete, ..Effect::from(answer) })
    }
}

fn consistency_of(update: &Update) -> CrdtWriteConsistency {
    CrdtWriteConsistency::try_from(update.write_consistency).unwrap_or_default()
}

fn response(state: State) -> Any {
    pack("cloudstate.tck.model.crdt.Response", &Response { state: Some(state) })
}

fn two(id: String) -> proto::cloudstate::Forward {
    let request = Request { id, actions: Vec::new() };
    call(TWO.service(), "Call", pack("cloudstate.tck.model.crdt.Request", &request))
}
