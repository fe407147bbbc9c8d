//! Value entities: groups 3 and 7, and the notation they are written in.

pub(super) mod model;
pub(super) mod proxy;

use proto::Any;
use proto::cloudstate::valueentity::value_entity_action::Action as StateAction;
use proto::cloudstate::valueentity::value_entity_client::ValueEntityClient;
use proto::cloudstate::valueentity::value_entity_stream_in::Message as In;
use proto::cloudstate::valueentity::value_entity_stream_out::Message as Out;
use proto::cloudstate::valueentity::{
    ValueEntityAction, ValueEntityDelete, ValueEntityInit, ValueEntityInitState, ValueEntityReply, ValueEntityStreamIn,
    ValueEntityStreamOut, ValueEntityUpdate,
};
use proto::cloudstate::{ClientAction, Command, SideEffect};
use proto::model::tck::valueentity::request_action::Action as Step;
use proto::model::tck::valueentity::{self as messages, Persisted, Request, RequestAction, Response};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use super::engine::{Call, Recorded};
use super::entity::{Answer, Expected, Kind, packed};

/// The kind's type as a user function declares it.
const TYPE: &str = "cloudstate.valueentity.ValueEntity";

/// The service with a passivation timeout.
const CONFIGURED: &str = "cloudstate.tck.model.valueentity.ValueEntityConfigured";

/// The services without which the groups are pending.
pub(super) const SERVICES: &[&str] = &[ValueEntity::MODEL, ValueEntity::TWO];

/// Value entities.
#[derive(Debug, Clone, Copy)]
pub(super) struct ValueEntity;

impl Kind for ValueEntity {
    type In = ValueEntityStreamIn;
    type Out = ValueEntityStreamOut;
    type Start = Option<Any>;
    type Effect = Option<ValueEntityAction>;
    type Action = RequestAction;
    type Request = Request;
    type Response = Response;

    const PACKAGE: &'static str = "cloudstate.tck.model.valueentity";
    const MODEL: &'static str = "cloudstate.tck.model.valueentity.ValueEntityTckModel";
    const TWO: &'static str = "cloudstate.tck.model.valueentity.ValueEntityTwo";

    async fn open(
        function: Channel,
        requests: ReceiverStream<Self::In>,
    ) -> Result<tonic::Response<Streaming<Self::Out>>, Status> {
        ValueEntityClient::new(function).handle(requests).await
    }

    fn recorded(call: Call) -> Result<Recorded<Self::In, Self::Out>, Call> {
        match call {
            Call::ValueEntity(stream) => Ok(stream),
            other => Err(other),
        }
    }

    fn init(service: &str, id: &str, value: Option<Any>) -> Self::In {
        let (service_name, entity_id) = (service.to_owned(), id.to_owned());
        let state = Some(ValueEntityInitState { value });
        input(In::Init(ValueEntityInit { service_name, entity_id, state }))
    }

    fn command(command: Command) -> Self::In {
        input(In::Command(command))
    }

    fn reply(
        id: i64,
        action: Option<ClientAction>,
        side_effects: Vec<SideEffect>,
        state_action: Option<ValueEntityAction>,
    ) -> Self::Out {
        let reply = ValueEntityReply { command_id: id, client_action: action, side_effects, state_action };
        ValueEntityStreamOut { message: Some(Out::Reply(reply)) }
    }

    fn request(id: &str, actions: Vec<RequestAction>) -> Request {
        Request { id: id.to_owned(), actions }
    }
}

impl Expected<ValueEntity> {
    /// The reply updates the state.
    fn update(self, value: &str) -> Self {
        self.state_action(StateAction::Update(ValueEntityUpdate { value: state(value) }))
    }

    /// The reply deletes the state.
    fn delete(self) -> Self {
        self.state_action(StateAction::Delete(ValueEntityDelete {}))
    }

    fn state_action(mut self, action: StateAction) -> Self {
        self.effect = Some(ValueEntityAction { action: Some(action) });
        self
    }
}

/// `r(text)`.
fn r(text: &str) -> Expected<ValueEntity> {
    Expected::new(Answer::Reply(Response { message: text.to_owned() }))
}

fn update(value: &str) -> RequestAction {
    step(Step::Update(messages::Update { value: value.to_owned() }))
}

fn delete() -> RequestAction {
    step(Step::Delete(messages::Delete {}))
}

fn forward(id: &str) -> RequestAction {
    step(Step::Forward(messages::Forward { id: id.to_owned() }))
}

fn effect(id: &str) -> RequestAction {
    step(Step::Effect(messages::Effect { id: id.to_owned(), synchronous: false }))
}

fn effect_sync(id: &str) -> RequestAction {
    step(Step::Effect(messages::Effect { id: id.to_owned(), synchronous: true }))
}

fn fail(message: &str) -> RequestAction {
    step(Step::Fail(messages::Fail { message: message.to_owned() }))
}

fn step(action: Step) -> RequestAction {
    RequestAction { action: Some(action) }
}

/// A stored state.
fn state(value: &str) -> Option<Any> {
    Some(packed::<ValueEntity>("Persisted", &Persisted { value: value.to_owned() }))
}

fn input(message: In) -> ValueEntityStreamIn {
    ValueEntityStreamIn { message: Some(message) }
}
