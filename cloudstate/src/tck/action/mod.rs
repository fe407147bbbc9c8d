//! Actions: groups 2 and 6, and the notation they are written in.

pub(super) mod model;
pub(super) mod proxy;

use proto::Any;
use proto::cloudstate::action::{ActionCommand, ActionResponse, action_response};
use proto::cloudstate::{Failure, Forward, Reply, SideEffect};
use proto::model::tck::action::process_step::Step;
use proto::model::tck::action::{self as messages, OtherRequest, ProcessGroup, ProcessStep, Request, Response};

/// The kind's type as a user function declares it.
const TYPE: &str = "cloudstate.action.ActionProtocol";

const MODEL: &str = "cloudstate.tck.model.action.ActionTckModel";
const TWO: &str = "cloudstate.tck.model.action.ActionTwo";

/// The services without which the groups are pending.
pub(super) const SERVICES: &[&str] = &[MODEL, TWO];

fn reply(message: &str) -> ProcessStep {
    step(Step::Reply(messages::Reply { message: message.to_owned() }))
}

fn forward(id: &str) -> ProcessStep {
    step(Step::Forward(messages::Forward { id: id.to_owned() }))
}

fn fail(message: &str) -> ProcessStep {
    step(Step::Fail(messages::Fail { message: message.to_owned() }))
}

fn effect(id: &str) -> ProcessStep {
    step(Step::Effect(messages::SideEffect { id: id.to_owned(), synchronous: false }))
}

fn effect_sync(id: &str) -> ProcessStep {
    step(Step::Effect(messages::SideEffect { id: id.to_owned(), synchronous: true }))
}

fn step(step: Step) -> ProcessStep {
    ProcessStep { step: Some(step) }
}

/// A request with one group of steps.
fn request(steps: impl Into<Vec<ProcessStep>>) -> Request {
    Request { groups: vec![ProcessGroup { steps: steps.into() }] }
}

/// A request with several groups.
fn groups(groups: impl IntoIterator<Item = Vec<ProcessStep>>) -> Request {
    Request { groups: groups.into_iter().map(|steps| ProcessGroup { steps }).collect() }
}

/// A command that names its method and has a payload.
fn command(name: &str, request: &Request) -> ActionCommand {
    ActionCommand { payload: Some(packed("Request", request)), ..header(name) }
}

/// The first command of streamed requests.
fn header(name: &str) -> ActionCommand {
    ActionCommand { service_name: MODEL.to_owned(), name: name.to_owned(), ..ActionCommand::default() }
}

/// A later command of streamed requests.
fn streamed(request: &Request) -> ActionCommand {
    ActionCommand { payload: Some(packed("Request", request)), ..ActionCommand::default() }
}

/// What a forward or a side effect to `id` becomes.
fn call_of_two(id: &str) -> ActionCommand {
    let payload = Some(packed("OtherRequest", &OtherRequest { id: id.to_owned() }));
    ActionCommand { service_name: TWO.to_owned(), name: "Call".to_owned(), payload, metadata: None }
}

fn packed(name: &str, message: &impl prost::Message) -> Any {
    Any::pack(&format!("cloudstate.tck.model.action.{name}"), message)
}

/// An expected response.
#[derive(Debug, Clone)]
struct Expected(ActionResponse);

impl Expected {
    fn new(response: Option<action_response::Response>) -> Self {
        Self(ActionResponse { response, side_effects: Vec::new() })
    }

    /// `eff(ids)`.
    fn eff<const N: usize>(self, ids: [&str; N]) -> Self {
        self.side_effects(&ids, false)
    }

    /// `eff!(ids)`.
    fn eff_sync<const N: usize>(self, ids: [&str; N]) -> Self {
        self.side_effects(&ids, true)
    }

    fn side_effects(mut self, ids: &[&str], synchronous: bool) -> Self {
        self.0.side_effects.extend(ids.iter().map(|id| {
            let ActionCommand { service_name, name, payload, .. } = call_of_two(id);
            SideEffect { service_name, command_name: name, payload, synchronous, metadata: None }
        }));
        self
    }
}

fn r(text: &str) -> Expected {
    let payload = Some(packed("Response", &Response { message: text.to_owned() }));
    Expected::new(Some(action_response::Response::Reply(Reply { payload, metadata: None })))
}

fn fwd(id: &str) -> Expected {
    let ActionCommand { service_name, name, payload, .. } = call_of_two(id);
    let forward = Forward { service_name, command_name: name, payload, metadata: None };
    Expected::new(Some(action_response::Response::Forward(forward)))
}

fn f(text: &str) -> Expected {
    let failure = Failure { command_id: 0, description: text.to_owned(), restart: false };
    Expected::new(Some(action_response::Response::Failure(failure)))
}

fn nothing() -> Expected {
    Expected::new(None)
}
