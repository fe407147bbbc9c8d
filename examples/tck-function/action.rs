//! `ActionTckModel`: answers as the request's steps say, by each kind of method. `ActionTwo`: what it calls.

use prost::Message;
use proto::cloudstate::action::ActionCommand;
use proto::model::tck::action::process_step::Step;
use proto::model::tck::action::{OtherRequest, ProcessGroup, Request, Response};

use crate::function::action::Action;
use crate::function::{Answer, Function, Refused, call, effect, pack};

const MODEL: &str = "cloudstate.tck.model.action.ActionTckModel";
const TWO: &str = "cloudstate.tck.model.action.ActionTwo";

/// Adds the services of this module.
pub(super) fn serve(function: Function) -> Function {
    function.action(MODEL, Model).action(TWO, Two)
}

struct Model;

impl Action for Model {
    fn unary(&self, command: &ActionCommand) -> Result<Answer, Refused> {
        Ok(all(start(), &request(command)?.groups))
    }

    fn streamed_in_start(&self, _: &str) -> Result<Answer, Refused> {
        Ok(start())
    }

    fn streamed_in(&self, _: &str, so_far: Answer, command: &ActionCommand) -> Result<Answer, Refused> {
        Ok(all(so_far, &request(command)?.groups))
    }

    fn streamed_out(&self, command: &ActionCommand) -> Result<Vec<Answer>, Refused> {
        Ok(request(command)?.groups.iter().map(|group| one(start(), group)).collect())
    }

    fn streamed(&self, _: &str, command: &ActionCommand) -> Result<Vec<Answer>, Refused> {
        self.streamed_out(command)
    }
}

struct Two;

impl Action for Two {
    fn unary(&self, _: &ActionCommand) -> Result<Answer, Refused> {
        Ok(Answer::reply(response(String::new())))
    }
}

fn request(command: &ActionCommand) -> Result<Request, Refused> {
    let payload = command.payload.clone().unwrap_or_default();
    Request::decode(payload.value).map_err(|error| Refused(format!("request: {error}")))
}

/// Without a step there is no answer.
fn start() -> Answer {
    Answer::default()
}

fn all(so_far: Answer, groups: &[ProcessGroup]) -> Answer {
    groups.iter().fold(so_far, one)
}

/// The last step wins, side effects add up.
fn one(so_far: Answer, group: &ProcessGroup) -> Answer {
    let steps = group.steps.iter().filter_map(|step| step.step.as_ref());
    steps.fold(so_far, |Answer { action, side_effects }, step| match step {
        Step::Reply(reply) => Answer::reply(response(reply.message.clone())).with_effects(side_effects),
        Step::Forward(forward) => Answer::forward(two(&forward.id)).with_effects(side_effects),
        Step::Fail(fail) => Answer::fail(fail.message.clone()).with_effects(side_effects),
        Step::Effect(step) => Answer { action, side_effects }.with_effects([effect(two(&step.id), step.synchronous)]),
    })
}

fn response(message: String) -> proto::Any {
    pack("cloudstate.tck.model.action.Response", &Response { message })
}

fn two(id: &str) -> proto::cloudstate::Forward {
    call(TWO, "Call", pack("cloudstate.tck.model.action.OtherRequest", &OtherRequest { id: id.to_owned() }))
}
