//! One service of each kind, with one method that counts: its reply says how often it has been called.
//!
//! Function and load are as small as they can be, so that what is measured is what stands between them.

use std::net::SocketAddr;

use anyhow::{Context, bail};
use bytes::Bytes;
use prost::Message;
use proto::Any;
use proto::cloudstate::action::action_protocol_client::ActionProtocolClient;
use proto::cloudstate::action::action_protocol_server::ActionProtocol;
use proto::cloudstate::action::{ActionCommand, ActionResponse, action_response};
use proto::cloudstate::crdt::crdt_client::CrdtClient;
use proto::cloudstate::crdt::crdt_server::Crdt;
use proto::cloudstate::crdt::{
    CrdtDelta, CrdtInit, CrdtReply, CrdtStateAction, CrdtStreamIn, CrdtStreamOut, GCounterDelta, crdt_delta,
    crdt_state_action, crdt_stream_in, crdt_stream_out,
};
use proto::cloudstate::valueentity::value_entity_client::ValueEntityClient;
use proto::cloudstate::valueentity::value_entity_server::ValueEntity;
use proto::cloudstate::valueentity::{
    ValueEntityAction, ValueEntityInit, ValueEntityReply, ValueEntityStreamIn, ValueEntityStreamOut, ValueEntityUpdate,
    value_entity_action, value_entity_stream_in, value_entity_stream_out,
};
use proto::cloudstate::{ClientAction, Command, Entity, Reply, client_action};
use proto::model::tck;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status, Streaming};

/// Messages that may wait for the connection.
const MESSAGES_MAX: usize = 4;

pub const METHOD: &str = "Call";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Keeps the count as a value.
    Value,
    /// Keeps it as a counter.
    Crdt,
    /// Keeps nothing, and says zero.
    Action,
}

impl Kind {
    pub const ALL: [Self; 3] = [Self::Value, Self::Crdt, Self::Action];

    pub fn name(self) -> &'static str {
        match self {
            Self::Value => "value",
            Self::Crdt => "crdt",
            Self::Action => "action",
        }
    }

    pub fn service(self) -> &'static str {
        match self {
            Self::Value => "cloudstate.tck.model.valueentity.ValueEntityTwo",
            Self::Crdt => "cloudstate.tck.model.crdt.CrdtTwo",
            Self::Action => "cloudstate.tck.model.action.ActionTwo",
        }
    }

    /// The service as discovery declares it.
    pub fn entity(self) -> Entity {
        let entity_type = match self {
            Self::Value => "cloudstate.valueentity.ValueEntity",
            Self::Crdt => "cloudstate.crdt.Crdt",
            Self::Action => "cloudstate.action.ActionProtocol",
        };
        Entity {
            entity_type: entity_type.to_owned(),
            service_name: self.service().to_owned(),
            persistence_id: format!("bench-{}", self.name()),
            passivation_strategy: None,
        }
    }

    /// The request for one id, the same bytes for all of them.
    pub fn request(self, id: &str) -> tck::action::OtherRequest {
        tck::action::OtherRequest { id: id.to_owned() }
    }

    fn request_any(self, id: &str) -> Any {
        let name = match self {
            Self::Value => "cloudstate.tck.model.valueentity.Request",
            Self::Crdt => "cloudstate.tck.model.crdt.Request",
            Self::Action => "cloudstate.tck.model.action.OtherRequest",
        };
        packed(name, &self.request(id))
    }

    fn reply(self, count: u64) -> Any {
        match self {
            Self::Crdt => {
                let counter = tck::crdt::GCounterValue { value: count };
                let state = tck::crdt::State { value: Some(tck::crdt::state::Value::Gcounter(counter)) };
                packed("cloudstate.tck.model.crdt.Response", &tck::crdt::Response { state: Some(state) })
            }
            Self::Value => {
                let response = tck::valueentity::Response { message: count.to_string() };
                packed("cloudstate.tck.model.valueentity.Response", &response)
            }
            Self::Action => {
                let response = tck::action::Response { message: count.to_string() };
                packed("cloudstate.tck.model.action.Response", &response)
            }
        }
    }

    /// The count that a reply tells.
    pub fn count(self, reply: &[u8]) -> anyhow::Result<u64> {
        if self != Self::Crdt {
            return Ok(tck::valueentity::Response::decode(reply)?.message.parse()?);
        }
        match tck::crdt::Response::decode(reply)?.state.and_then(|state| state.value) {
            Some(tck::crdt::state::Value::Gcounter(counter)) => Ok(counter.value),
            other => bail!("not a counter: {other:?}"),
        }
    }
}

fn packed(name: &str, message: &impl Message) -> Any {
    Any { type_url: format!("type.googleapis.com/{name}"), value: Bytes::from(message.encode_to_vec()) }
}

fn replied(payload: Any) -> Option<ClientAction> {
    let reply = Reply { payload: Some(payload), metadata: None };
    Some(ClientAction { action: Some(client_action::Action::Reply(reply)) })
}

/// The function's side of all kinds.
#[derive(Clone, Copy)]
pub struct Counting;

type Answers<T> = ReceiverStream<Result<T, Status>>;

/// Answers each message of a stream with what `answer` makes of it, if anything.
fn run<I, O>(mut messages: Streaming<I>, mut answer: impl FnMut(I) -> Option<O> + Send + 'static) -> Answers<O>
where
    I: Send + 'static,
    O: Send + 'static,
{
    let (replies, out) = mpsc::channel(MESSAGES_MAX);
    // Ends with the stream: either side closing it ends the loop.
    tokio::spawn(async move {
        while let Ok(Some(message)) = messages.message().await {
            if let Some(reply) = answer(message)
                && replies.send(Ok(reply)).await.is_err()
            {
                return;
            }
        }
    });
    ReceiverStream::new(out)
}

#[tonic::async_trait]
impl ValueEntity for Counting {
    type handleStream = Answers<ValueEntityStreamOut>;

    async fn handle(
        &self,
        request: Request<Streaming<ValueEntityStreamIn>>,
    ) -> Result<Response<Self::handleStream>, Status> {
        let mut count = 0;
        Ok(Response::new(run(request.into_inner(), move |ValueEntityStreamIn { message }| match message? {
            value_entity_stream_in::Message::Init(init) => {
                let value = init.state.and_then(|state| state.value);
                let bytes = value.and_then(|value| value.value[..].try_into().ok());
                count = bytes.map_or(0, u64::from_be_bytes);
                None
            }
            value_entity_stream_in::Message::Command(command) => {
                count += 1;
                let value = Any { type_url: "bench/count".to_owned(), value: count.to_be_bytes().to_vec().into() };
                let update = value_entity_action::Action::Update(ValueEntityUpdate { value: Some(value) });
                let reply = ValueEntityReply {
                    command_id: command.id,
                    client_action: replied(Kind::Value.reply(count)),
                    state_action: Some(ValueEntityAction { action: Some(update) }),
                    ..ValueEntityReply::default()
                };
                Some(ValueEntityStreamOut { message: Some(value_entity_stream_out::Message::Reply(reply)) })
            }
        })))
    }
}

#[tonic::async_trait]
impl Crdt for Counting {
    type handleStream = Answers<CrdtStreamOut>;

    async fn handle(&self, request: Request<Streaming<CrdtStreamIn>>) -> Result<Response<Self::handleStream>, Status> {
        let mut count = 0;
        Ok(Response::new(run(request.into_inner(), move |CrdtStreamIn { message }| match message? {
            crdt_stream_in::Message::Init(CrdtInit { delta, .. }) => {
                count = increment_of(delta);
                None
            }
            crdt_stream_in::Message::Delta(delta) => {
                count += increment_of(Some(delta));
                None
            }
            crdt_stream_in::Message::Command(command) => {
                count += 1;
                let delta = crdt_delta::Delta::Gcounter(GCounterDelta { increment: 1 });
                let update = crdt_state_action::Action::Update(CrdtDelta { delta: Some(delta) });
                let reply = CrdtReply {
                    command_id: command.id,
                    client_action: replied(Kind::Crdt.reply(count)),
                    state_action: Some(CrdtStateAction { action: Some(update), write_consistency: 0 }),
                    ..CrdtReply::default()
                };
                Some(CrdtStreamOut { message: Some(crdt_stream_out::Message::Reply(reply)) })
            }
            _ => None,
        })))
    }
}

fn increment_of(delta: Option<CrdtDelta>) -> u64 {
    match delta.and_then(|delta| delta.delta) {
        Some(crdt_delta::Delta::Gcounter(counter)) => counter.increment,
        _ => 0,
    }
}

#[tonic::async_trait]
impl ActionProtocol for Counting {
    type handleStreamedOutStream = Answers<ActionResponse>;
    type handleStreamedStream = Answers<ActionResponse>;

    async fn handle_unary(&self, _: Request<ActionCommand>) -> Result<Response<ActionResponse>, Status> {
        let reply = Reply { payload: Some(Kind::Action.reply(0)), metadata: None };
        let response = Some(action_response::Response::Reply(reply));
        Ok(Response::new(ActionResponse { response, side_effects: Vec::new() }))
    }

    async fn handle_streamed_in(
        &self,
        _: Request<Streaming<ActionCommand>>,
    ) -> Result<Response<ActionResponse>, Status> {
        Err(Status::unimplemented("unary calls are measured"))
    }

    async fn handle_streamed_out(
        &self,
        _: Request<ActionCommand>,
    ) -> Result<Response<Self::handleStreamedOutStream>, Status> {
        Err(Status::unimplemented("unary calls are measured"))
    }

    async fn handle_streamed(
        &self,
        _: Request<Streaming<ActionCommand>>,
    ) -> Result<Response<Self::handleStreamedStream>, Status> {
        Err(Status::unimplemented("unary calls are measured"))
    }
}

/// The load's side of one id, driving the function itself.
pub struct Driven {
    kind: Kind,
    id: String,
    last_id: i64,
    stream: Stream,
}

enum Stream {
    Value(mpsc::Sender<ValueEntityStreamIn>, Streaming<ValueEntityStreamOut>),
    Crdt(mpsc::Sender<CrdtStreamIn>, Streaming<CrdtStreamOut>),
    Action(ActionProtocolClient<Channel>),
}

pub async fn function_at(target: SocketAddr) -> anyhow::Result<Channel> {
    Ok(Endpoint::from_shared(format!("http://{target}"))?.tcp_nodelay(true).connect().await?)
}

impl Driven {
    /// Opens the stream of an id that has no history.
    pub async fn open(kind: Kind, function: Channel, id: String) -> anyhow::Result<Self> {
        let (service_name, entity_id) = (kind.service().to_owned(), id.clone());
        let stream = match kind {
            Kind::Value => {
                let (commands, messages) = mpsc::channel(MESSAGES_MAX);
                let init = ValueEntityInit { service_name, entity_id, state: None };
                let message = Some(value_entity_stream_in::Message::Init(init));
                commands.send(ValueEntityStreamIn { message }).await?;
                let replies = ValueEntityClient::new(function).handle(ReceiverStream::new(messages)).await?;
                Stream::Value(commands, replies.into_inner())
            }
            Kind::Crdt => {
                let (commands, messages) = mpsc::channel(MESSAGES_MAX);
                let init = CrdtInit { service_name, entity_id, delta: None };
                commands.send(CrdtStreamIn { message: Some(crdt_stream_in::Message::Init(init)) }).await?;
                let replies = CrdtClient::new(function).handle(ReceiverStream::new(messages)).await?;
                Stream::Crdt(commands, replies.into_inner())
            }
            Kind::Action => Stream::Action(ActionProtocolClient::new(function)),
        };
        Ok(Self { kind, id, last_id: 0, stream })
    }

    /// Calls once and answers what the reply carries.
    pub async fn call(&mut self) -> anyhow::Result<Bytes> {
        self.last_id += 1;
        let payload = Some(self.kind.request_any(&self.id));
        let command = Command {
            entity_id: self.id.clone(),
            id: self.last_id,
            name: METHOD.to_owned(),
            payload,
            ..Command::default()
        };
        let action = match &mut self.stream {
            Stream::Value(commands, replies) => {
                let message = Some(value_entity_stream_in::Message::Command(command));
                commands.send(ValueEntityStreamIn { message }).await?;
                match replies.message().await?.and_then(|out| out.message) {
                    Some(value_entity_stream_out::Message::Reply(reply)) => reply.client_action,
                    other => bail!("not a reply: {other:?}"),
                }
            }
            Stream::Crdt(commands, replies) => {
                commands.send(CrdtStreamIn { message: Some(crdt_stream_in::Message::Command(command)) }).await?;
                match replies.message().await?.and_then(|out| out.message) {
                    Some(crdt_stream_out::Message::Reply(reply)) => reply.client_action,
                    other => bail!("not a reply: {other:?}"),
                }
            }
            Stream::Action(function) => {
                let service_name = self.kind.service().to_owned();
                let Command { name, payload, .. } = command;
                let command = ActionCommand { service_name, name, payload, metadata: None };
                return match function.handle_unary(command).await?.into_inner().response {
                    Some(action_response::Response::Reply(Reply { payload: Some(payload), .. })) => Ok(payload.value),
                    other => bail!("not a reply: {other:?}"),
                };
            }
        };
        match action.and_then(|action| action.action) {
            Some(client_action::Action::Reply(reply)) => Ok(reply.payload.context("no payload")?.value),
            other => bail!("not a reply: {other:?}"),
        }
    }
}
