//! The protocol's services as the interceptor serves them: record, pass on.

use proto::cloudstate::action::action_protocol_client::ActionProtocolClient;
use proto::cloudstate::action::action_protocol_server::ActionProtocol;
use proto::cloudstate::action::{ActionCommand, ActionResponse};
use proto::cloudstate::crdt::crdt_client::CrdtClient;
use proto::cloudstate::crdt::crdt_server::Crdt;
use proto::cloudstate::crdt::{CrdtStreamIn, CrdtStreamOut};
use proto::cloudstate::entity_discovery_client::EntityDiscoveryClient;
use proto::cloudstate::entity_discovery_server::EntityDiscovery;
use proto::cloudstate::eventsourced::event_sourced_client::EventSourcedClient;
use proto::cloudstate::eventsourced::event_sourced_server::EventSourced;
use proto::cloudstate::eventsourced::{EventSourcedStreamIn, EventSourcedStreamOut};
use proto::cloudstate::valueentity::value_entity_client::ValueEntityClient;
use proto::cloudstate::valueentity::value_entity_server::ValueEntity;
use proto::cloudstate::valueentity::{ValueEntityStreamIn, ValueEntityStreamOut};
use proto::cloudstate::{EntitySpec, ProxyInfo, UserFunctionError};
use tokio::sync::mpsc;
use tonic::transport::Channel;
use tonic::{Request, Response, Status, Streaming};

use super::interceptor::{ActionMethod, Call};
use super::record::{Recorded, Recorders, recorded};
use super::relay::{Answers, one_answer, relay, relay_answers, relay_requests};
use super::{Compared, MESSAGE_MAX};

/// Every service of the protocol; clones share the queue of calls.
#[derive(Debug, Clone)]
pub(super) struct Passing {
    function: Channel,
    calls: mpsc::Sender<Call>,
}

impl Passing {
    pub(super) fn new(function: Channel, calls: mpsc::Sender<Call>) -> Self {
        Self { function, calls }
    }

    /// Puts a new call into the queue, before anything of it reaches the function.
    fn arrived<I: Compared, O: Compared>(
        &self,
        call: impl FnOnce(Recorded<I, O>) -> Call,
    ) -> Result<Recorders<I, O>, Status> {
        let (recorders, recorded) = recorded();
        match self.calls.try_send(call(recorded)) {
            Ok(()) => Ok(recorders),
            Err(_) => Err(Status::resource_exhausted("interceptor: too many calls were left unread")),
        }
    }
}

/// A client of the function with the limits of a proxy.
macro_rules! client {
    ($this:expr, $client:ident) => {
        $client::new($this.function.clone())
            .max_decoding_message_size(MESSAGE_MAX)
            .max_encoding_message_size(MESSAGE_MAX)
    };
}

#[tonic::async_trait]
impl EntityDiscovery for Passing {
    async fn discover(&self, request: Request<ProxyInfo>) -> Result<Response<EntitySpec>, Status> {
        let Recorders { input, output } = self.arrived(Call::Discover)?;
        input.message(request.get_ref().clone());
        input.completed();
        one_answer(output, client!(self, EntityDiscoveryClient).discover(request.into_inner())).await
    }

    async fn report_error(&self, request: Request<UserFunctionError>) -> Result<Response<()>, Status> {
        let Recorders { input, output } = self.arrived(Call::ReportError)?;
        input.message(request.get_ref().clone());
        input.completed();
        one_answer(output, client!(self, EntityDiscoveryClient).report_error(request.into_inner())).await
    }
}

#[tonic::async_trait]
impl EventSourced for Passing {
    type handleStream = Answers<EventSourcedStreamOut>;

    async fn handle(
        &self,
        request: Request<Streaming<EventSourcedStreamIn>>,
    ) -> Result<Response<Self::handleStream>, Status> {
        let recorders = self.arrived(Call::EventSourced)?;
        let mut client = client!(self, EventSourcedClient);
        let open = move |requests| async move { client.handle(requests).await };
        Ok(Response::new(relay(request.into_inner(), recorders, open)))
    }
}

#[tonic::async_trait]
impl ValueEntity for Passing {
    type handleStream = Answers<ValueEntityStreamOut>;

    async fn handle(
        &self,
        request: Request<Streaming<ValueEntityStreamIn>>,
    ) -> Result<Response<Self::handleStream>, Status> {
        let recorders = self.arrived(Call::ValueEntity)?;
        let mut client = client!(self, ValueEntityClient);
        let open = move |requests| async move { client.handle(requests).await };
        Ok(Response::new(relay(request.into_inner(), recorders, open)))
    }
}

#[tonic::async_trait]
impl Crdt for Passing {
    type handleStream = Answers<CrdtStreamOut>;

    async fn handle(&self, request: Request<Streaming<CrdtStreamIn>>) -> Result<Response<Self::handleStream>, Status> {
        let recorders = self.arrived(Call::Crdt)?;
        let mut client = client!(self, CrdtClient);
        let open = move |requests| async move { client.handle(requests).await };
        Ok(Response::new(relay(request.into_inner(), recorders, open)))
    }
}

#[tonic::async_trait]
impl ActionProtocol for Passing {
    type handleStreamedOutStream = Answers<ActionResponse>;
    type handleStreamedStream = Answers<ActionResponse>;

    async fn handle_unary(&self, request: Request<ActionCommand>) -> Result<Response<ActionResponse>, Status> {
        let Recorders { input, output } = self.arrived(|call| Call::Action(ActionMethod::Unary, call))?;
        input.message(request.get_ref().clone());
        input.completed();
        one_answer(output, client!(self, ActionProtocolClient).handle_unary(request.into_inner())).await
    }

    async fn handle_streamed_in(
        &self,
        request: Request<Streaming<ActionCommand>>,
    ) -> Result<Response<ActionResponse>, Status> {
        let Recorders { input, output } = self.arrived(|call| Call::Action(ActionMethod::StreamedIn, call))?;
        let requests = relay_requests(request.into_inner(), input);
        one_answer(output, client!(self, ActionProtocolClient).handle_streamed_in(requests)).await
    }

    async fn handle_streamed_out(
        &self,
        request: Request<ActionCommand>,
    ) -> Result<Response<Self::handleStreamedOutStream>, Status> {
        let Recorders { input, output } = self.arrived(|call| Call::Action(ActionMethod::StreamedOut, call))?;
        input.message(request.get_ref().clone());
        input.completed();
        let mut client = client!(self, ActionProtocolClient);
        let call = async move { client.handle_streamed_out(request.into_inner()).await };
        Ok(Response::new(relay_answers(output, call)))
    }

    async fn handle_streamed(
        &self,
        request: Request<Streaming<ActionCommand>>,
    ) -> Result<Response<Self::handleStreamedStream>, Status> {
        let recorders = self.arrived(|call| Call::Action(ActionMethod::Streamed, call))?;
        let mut client = client!(self, ActionProtocolClient);
        let open = move |requests| async move { client.handle_streamed(requests).await };
        Ok(Response::new(relay(request.into_inner(), recorders, open)))
    }
}
