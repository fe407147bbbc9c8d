//! The suite's short notation for event sourced messages: `c` command, `r` reply, `fwd` forward, `f` failure,
//! each with the command's id.

use proto::Any;
use proto::cloudstate::client_action::Action;
use proto::cloudstate::eventsourced::event_sourced_stream_in::Message as In;
use proto::cloudstate::eventsourced::event_sourced_stream_out::Message as Out;
use proto::cloudstate::eventsourced::{
    EventSourcedEvent, EventSourcedInit, EventSourcedReply, EventSourcedSnapshot, EventSourcedStreamIn,
    EventSourcedStreamOut,
};
use proto::cloudstate::{ClientAction, Command, Failure, Forward, Reply, SideEffect};
use proto::model::tck::request_action::Action as Step;
use proto::model::tck::{self as model, Persisted, Request, RequestAction, Response};

pub const MODEL: &str = "cloudstate.tck.model.EventSourcedTckModel";
pub const TWO: &str = "cloudstate.tck.model.EventSourcedTwo";
pub const CONFIGURED: &str = "cloudstate.tck.model.EventSourcedConfigured";

/// One step that a request asks for.
pub fn emit(value: &str) -> RequestAction {
    step(Step::Emit(model::Emit { value: value.to_owned() }))
}

/// Several emitted events.
pub fn emits(values: &[&str]) -> Vec<RequestAction> {
    values.iter().map(|value| emit(value)).collect()
}

pub fn forward(id: &str) -> RequestAction {
    step(Step::Forward(model::Forward { id: id.to_owned() }))
}

pub fn effect(id: &str, synchronous: bool) -> RequestAction {
    step(Step::Effect(model::Effect { id: id.to_owned(), synchronous }))
}

pub fn fail(message: &str) -> RequestAction {
    step(Step::Fail(model::Fail { message: message.to_owned() }))
}

fn step(action: Step) -> RequestAction {
    RequestAction { action: Some(action) }
}

pub fn request(id: &str, actions: impl Into<Vec<RequestAction>>) -> Request {
    Request { id: id.to_owned(), actions: actions.into() }
}

fn request_any(id: &str, actions: impl Into<Vec<RequestAction>>) -> Any {
    Any::pack("cloudstate.tck.model.Request", &request(id, actions))
}

pub fn persisted(value: &str) -> Any {
    Any::pack("cloudstate.tck.model.Persisted", &Persisted { value: value.to_owned() })
}

/// The messages towards one entity.
#[derive(Debug, Clone)]
pub struct Entity {
    pub service: &'static str,
    pub id: String,
}

impl Entity {
    pub fn new(service: &'static str, id: impl Into<String>) -> Self {
        Self { service, id: id.into() }
    }

    pub fn init(&self) -> EventSourcedStreamIn {
        self.init_with(None)
    }

    pub fn init_from(&self, snapshot_sequence: i64, state: &str) -> EventSourcedStreamIn {
        self.init_with(Some(EventSourcedSnapshot { snapshot_sequence, snapshot: Some(persisted(state)) }))
    }

    fn init_with(&self, snapshot: Option<EventSourcedSnapshot>) -> EventSourcedStreamIn {
        let (service_name, entity_id) = (self.service.to_owned(), self.id.clone());
        input(In::Init(EventSourcedInit { service_name, entity_id, snapshot }))
    }

    /// `c<id>{actions}` of `Process`.
    pub fn c(&self, id: i64, actions: impl Into<Vec<RequestAction>>) -> EventSourcedStreamIn {
        self.command(id, "Process", actions)
    }

    /// `c<id>{}` of `Call`.
    pub fn call(&self, id: i64) -> EventSourcedStreamIn {
        self.command(id, "Call", [])
    }

    fn command(&self, id: i64, name: &str, actions: impl Into<Vec<RequestAction>>) -> EventSourcedStreamIn {
        let payload = Some(request_any(&self.id, actions));
        let (entity_id, name) = (self.id.clone(), name.to_owned());
        input(In::Command(Command { entity_id, id, name, payload, streamed: false, metadata: None }))
    }
}

pub fn event(sequence: i64, value: &str) -> EventSourcedStreamIn {
    input(In::Event(EventSourcedEvent { sequence, payload: Some(persisted(value)) }))
}

fn input(message: In) -> EventSourcedStreamIn {
    EventSourcedStreamIn { message: Some(message) }
}

/// `r<id>(text)`.
pub fn r(id: i64, text: &str) -> Expected {
    let response = Response { message: text.to_owned() };
    let payload = Some(Any::pack("cloudstate.tck.model.Response", &response));
    Expected::new(id, Action::Reply(Reply { payload, metadata: None }))
}

/// `fwd<id>(target)`.
pub fn fwd(id: i64, target: &str) -> Expected {
    let forward = Forward {
        service_name: TWO.to_owned(),
        command_name: "Call".to_owned(),
        payload: Some(request_any(target, [])),
        metadata: None,
    };
    Expected::new(id, Action::Forward(forward))
}

/// `f<id>(text)`, without restart.
pub fn f(id: i64, text: &str) -> Expected {
    Expected::new(id, failure(id, text, false))
}

/// `f<id>(text)` with a request to restart the entity.
pub fn f_restart(id: i64, text: &str) -> Expected {
    Expected::new(id, failure(id, text, true))
}

fn failure(command_id: i64, description: &str, restart: bool) -> Action {
    Action::Failure(Failure { command_id, description: description.to_owned(), restart })
}

/// A whole expected reply.
#[derive(Debug, Clone)]
pub struct Expected(EventSourcedReply);

impl Expected {
    fn new(command_id: i64, action: Action) -> Self {
        let client_action = Some(ClientAction { action: Some(action) });
        Self(EventSourcedReply { command_id, client_action, ..EventSourcedReply::default() })
    }

    pub fn events(mut self, values: &[&str]) -> Self {
        self.0.events = values.iter().map(|value| persisted(value)).collect();
        self
    }

    pub fn snapshot(mut self, state: &str) -> Self {
        self.0.snapshot = Some(persisted(state));
        self
    }

    /// `eff(ids)`.
    pub fn eff(self, ids: &[&str]) -> Self {
        self.effects(ids, false)
    }

    /// `eff!(ids)`.
    pub fn eff_sync(self, ids: &[&str]) -> Self {
        self.effects(ids, true)
    }

    fn effects(mut self, ids: &[&str], synchronous: bool) -> Self {
        self.0.side_effects.extend(ids.iter().map(|id| SideEffect {
            service_name: TWO.to_owned(),
            command_name: "Call".to_owned(),
            payload: Some(request_any(id, [])),
            synchronous,
            metadata: None,
        }));
        self
    }

    pub fn message(self) -> EventSourcedStreamOut {
        EventSourcedStreamOut { message: Some(Out::Reply(self.0)) }
    }
}

/// Whether a reply is a failure of command `id`, and if so whether it asks for a restart.
pub fn failed(answer: &EventSourcedStreamOut, id: i64) -> Option<bool> {
    let Some(Out::Reply(reply)) = &answer.message else { return None };
    match reply.client_action.as_ref()?.action.as_ref()? {
        Action::Failure(failure) if reply.command_id == id && failure.command_id == id => Some(failure.restart),
        _ => None,
    }
}
