//! CRDT entities: groups 5 and 9, and the notation they are written in.
//!
//! [`state`] has what a reply shows, [`delta`] what passes between proxy and function, [`update`] what a request asks for.

mod counters;
mod delta;
mod model;
mod ormap;
pub(super) mod proxy;
mod registers;
mod sets;
mod state;
mod streamed;
mod update;
mod vote;

pub(super) use model::TESTS as MODEL_TESTS;

use proto::cloudstate::crdt::crdt_client::CrdtClient;
use proto::cloudstate::crdt::crdt_state_action::Action as StateAction;
use proto::cloudstate::crdt::crdt_stream_in::Message as In;
use proto::cloudstate::crdt::crdt_stream_out::Message as Out;
use proto::cloudstate::crdt::{
    CrdtDelete, CrdtDelta, CrdtInit, CrdtReply, CrdtStateAction, CrdtStreamIn, CrdtStreamOut, CrdtWriteConsistency,
};
use proto::cloudstate::{ClientAction, Command, SideEffect};
use proto::model::tck::crdt::{Request, RequestAction, Response, State};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use super::engine::{Call, Recorded};
use super::entity::{Answer, Expected, Kind, Script};

/// The kind's type as a user function declares it.
const TYPE: &str = "cloudstate.crdt.Crdt";

/// The service with a passivation timeout.
const CONFIGURED: &str = "cloudstate.tck.model.crdt.CrdtConfigured";

/// The services without which the groups are pending.
pub(super) const SERVICES: &[&str] = &[Crdt::MODEL, Crdt::TWO];

/// CRDT entities.
#[derive(Debug, Clone, Copy)]
pub(super) struct Crdt;

/// The rest of a reply.
#[derive(Debug, Clone, Default)]
pub(super) struct Change {
    action: Option<CrdtStateAction>,
    streamed: bool,
}

impl Kind for Crdt {
    type In = CrdtStreamIn;
    type Out = CrdtStreamOut;
    type Start = Option<CrdtDelta>;
    type Effect = Change;
    type Action = RequestAction;
    type Request = Request;
    type Response = Response;

    const PACKAGE: &'static str = "cloudstate.tck.model.crdt";
    const MODEL: &'static str = "cloudstate.tck.model.crdt.CrdtTckModel";
    const TWO: &'static str = "cloudstate.tck.model.crdt.CrdtTwo";

    async fn open(
        function: Channel,
        requests: ReceiverStream<Self::In>,
    ) -> Result<tonic::Response<Streaming<Self::Out>>, Status> {
        CrdtClient::new(function).handle(requests).await
    }

    fn recorded(call: Call) -> Result<Recorded<Self::In, Self::Out>, Call> {
        match call {
            Call::Crdt(stream) => Ok(stream),
            other => Err(other),
        }
    }

    fn init(service: &str, id: &str, delta: Option<CrdtDelta>) -> Self::In {
        let (service_name, entity_id) = (service.to_owned(), id.to_owned());
        input(In::Init(CrdtInit { service_name, entity_id, delta }))
    }

    fn command(command: Command) -> Self::In {
        input(In::Command(command))
    }

    fn reply(id: i64, action: Option<ClientAction>, side_effects: Vec<SideEffect>, change: Change) -> Self::Out {
        let Change { action: state_action, streamed } = change;
        output(Out::Reply(CrdtReply { command_id: id, client_action: action, side_effects, state_action, streamed }))
    }

    fn request(id: &str, actions: Vec<RequestAction>) -> Request {
        Request { id: id.to_owned(), actions }
    }
}

impl Expected<Crdt> {
    /// The reply updates the state, for this replica to be sure of.
    fn u(self, delta: CrdtDelta) -> Self {
        self.written(delta, CrdtWriteConsistency::Local)
    }

    /// The reply updates the state with this write consistency.
    fn written(mut self, delta: CrdtDelta, consistency: CrdtWriteConsistency) -> Self {
        self.effect.action = Some(CrdtStateAction { write_consistency: consistency.into(), ..updated(delta) });
        self
    }

    /// The reply deletes the entity.
    fn delete(mut self) -> Self {
        let action = Some(StateAction::Delete(CrdtDelete {}));
        self.effect.action = Some(CrdtStateAction { action, ..CrdtStateAction::default() });
        self
    }

    /// The reply accepts a streamed command.
    fn streamed(mut self) -> Self {
        self.effect.streamed = true;
        self
    }
}

impl Script<Crdt> {
    /// `d(delta)`: a change of another replica.
    fn d(self, delta: CrdtDelta) -> Self {
        self.send(input(In::Delta(delta)))
    }

    /// `→ delete`.
    fn deleted(self) -> Self {
        self.send(input(In::Delete(CrdtDelete {})))
    }
}

/// `r(state)`.
fn r(state: State) -> Expected<Crdt> {
    Expected::new(Answer::Reply(Response { state: Some(state) }))
}

/// A state action with this update.
fn updated(delta: CrdtDelta) -> CrdtStateAction {
    CrdtStateAction { action: Some(StateAction::Update(delta)), ..CrdtStateAction::default() }
}

fn input(message: In) -> CrdtStreamIn {
    CrdtStreamIn { message: Some(message) }
}

fn output(message: Out) -> CrdtStreamOut {
    CrdtStreamOut { message: Some(message) }
}
