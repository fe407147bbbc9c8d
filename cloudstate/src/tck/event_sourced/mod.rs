//! Event sourced entities: groups 4 and 8, and the notation they are written in.

pub(super) mod model;
pub(super) mod proxy;

use proto::Any;
use proto::cloudstate::client_action::Action;
use proto::cloudstate::eventsourced::event_sourced_client::EventSourcedClient;
use proto::cloudstate::eventsourced::event_sourced_stream_in::Message as In;
use proto::cloudstate::eventsourced::event_sourced_stream_out::Message as Out;
use proto::cloudstate::eventsourced::{
    EventSourcedEvent, EventSourcedInit, EventSourcedReply, EventSourcedSnapshot, EventSourcedStreamIn,
    EventSourcedStreamOut,
};
use proto::cloudstate::{ClientAction, Command, SideEffect};
use proto::model::tck::request_action::Action as Step;
use proto::model::tck::{self as model_messages, Persisted, Request, RequestAction, Response};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use super::engine::{Call, Recorded};
use super::entity::{Answer, Expected, Kind, packed};

/// The kind's type as a user function declares it.
const TYPE: &str = "cloudstate.eventsourced.EventSourced";

/// The service with a passivation timeout.
const CONFIGURED: &str = "cloudstate.tck.model.EventSourcedConfigured";

/// The services without which the groups are pending.
pub(super) const SERVICES: &[&str] = &[EventSourced::MODEL, EventSourced::TWO];

/// Event sourced entities.
#[derive(Debug, Clone, Copy)]
pub struct EventSourced;

/// Events and snapshot of a reply.
#[derive(Debug, Clone, Default)]
pub struct Emitted {
    events: Vec<Any>,
    snapshot: Option<Any>,
}

impl Kind for EventSourced {
    type In = EventSourcedStreamIn;
    type Out = EventSourcedStreamOut;
    type Start = Option<EventSourcedSnapshot>;
    type Effect = Emitted;
    type Action = RequestAction;
    type Request = Request;
    type Response = Response;

    const PACKAGE: &'static str = "cloudstate.tck.model";
    const MODEL: &'static str = "cloudstate.tck.model.EventSourcedTckModel";
    const TWO: &'static str = "cloudstate.tck.model.EventSourcedTwo";

    async fn open(
        function: Channel,
        requests: ReceiverStream<Self::In>,
    ) -> Result<tonic::Response<Streaming<Self::Out>>, Status> {
        EventSourcedClient::new(function).handle(requests).await
    }

    fn recorded(call: Call) -> Result<Recorded<Self::In, Self::Out>, Call> {
        match call {
            Call::EventSourced(stream) => Ok(stream),
            other => Err(other),
        }
    }

    fn init(service: &str, id: &str, snapshot: Self::Start) -> Self::In {
        let (service_name, entity_id) = (service.to_owned(), id.to_owned());
        input(In::Init(EventSourcedInit { service_name, entity_id, snapshot }))
    }

    fn command(command: Command) -> Self::In {
        input(In::Command(command))
    }

    fn reply(id: i64, action: Option<ClientAction>, side_effects: Vec<SideEffect>, emitted: Emitted) -> Self::Out {
        let Emitted { events, snapshot } = emitted;
        let reply = EventSourcedReply { command_id: id, client_action: action, side_effects, events, snapshot };
        EventSourcedStreamOut { message: Some(Out::Reply(reply)) }
    }

    fn request(id: &str, actions: Vec<RequestAction>) -> Request {
        Request { id: id.to_owned(), actions }
    }
}

impl Expected<EventSourced> {
    /// The reply has these events.
    #[must_use]
    pub fn events<const N: usize>(mut self, values: [&str; N]) -> Self {
        self.effect.events = values.iter().map(|value| persisted(value)).collect();
        self
    }

    /// The reply has this snapshot.
    #[must_use]
    pub fn snapshot(mut self, state: &str) -> Self {
        self.effect.snapshot = Some(persisted(state));
        self
    }
}

/// `r(text)`.
#[must_use]
pub fn r(text: &str) -> Expected<EventSourced> {
    Expected::new(Answer::Reply(Response { message: text.to_owned() }))
}

/// Emit an event.
#[must_use]
pub fn emit(value: &str) -> RequestAction {
    step(Step::Emit(model_messages::Emit { value: value.to_owned() }))
}

/// Emit several events.
#[must_use]
pub fn emits<const N: usize>(values: [&str; N]) -> Vec<RequestAction> {
    values.iter().map(|value| emit(value)).collect()
}

/// Forward to the second service.
#[must_use]
pub fn forward(id: &str) -> RequestAction {
    step(Step::Forward(model_messages::Forward { id: id.to_owned() }))
}

/// A side effect on the second service.
#[must_use]
pub fn effect(id: &str) -> RequestAction {
    step(Step::Effect(model_messages::Effect { id: id.to_owned(), synchronous: false }))
}

/// A synchronous one.
#[must_use]
pub fn effect_sync(id: &str) -> RequestAction {
    step(Step::Effect(model_messages::Effect { id: id.to_owned(), synchronous: true }))
}

/// Fail.
#[must_use]
pub fn fail(message: &str) -> RequestAction {
    step(Step::Fail(model_messages::Fail { message: message.to_owned() }))
}

fn step(action: Step) -> RequestAction {
    RequestAction { action: Some(action) }
}

/// An event or a snapshot of the model.
#[must_use]
pub fn persisted(value: &str) -> Any {
    packed::<EventSourced>("Persisted", &Persisted { value: value.to_owned() })
}

/// A replayed event.
#[must_use]
pub fn event(sequence: i64, value: &str) -> EventSourcedStreamIn {
    input(In::Event(EventSourcedEvent { sequence, payload: Some(persisted(value)) }))
}

/// What an entity starts from.
#[must_use]
pub fn snapshot(snapshot_sequence: i64, state: &str) -> Option<EventSourcedSnapshot> {
    Some(EventSourcedSnapshot { snapshot_sequence, snapshot: Some(persisted(state)) })
}

fn input(message: In) -> EventSourcedStreamIn {
    EventSourcedStreamIn { message: Some(message) }
}

/// Whether a reply is a failure of command `id`, and if so whether it asks for a restart.
fn failed(answer: &EventSourcedStreamOut, id: i64) -> Option<bool> {
    let Some(Out::Reply(reply)) = &answer.message else { return None };
    match reply.client_action.as_ref()?.action.as_ref()? {
        Action::Failure(failure) if reply.command_id == id && failure.command_id == id => Some(failure.restart),
        _ => None,
    }
}
