//! The action calls of a user function that the test plays by hand.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::Frame;
use proto::Any;
use proto::cloudstate::action::action_protocol_server::ActionProtocol;
use proto::cloudstate::action::{ActionCommand, ActionResponse, action_response};
use proto::cloudstate::{Entity, Failure, Forward, Reply, SideEffect};
use proto::model::tck::action as model;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use crate::scripted::{Shared, soon};

pub(crate) const MODEL: &str = "cloudstate.tck.model.action.ActionTckModel";
pub(crate) const TWO: &str = "cloudstate.tck.model.action.ActionTwo";

/// Declares the model's actions.
pub(crate) fn entities() -> Vec<Entity> {
    let entity = |service: &str| Entity {
        entity_type: "cloudstate.action.ActionProtocol".to_owned(),
        service_name: service.to_owned(),
        ..Entity::default()
    };
    vec![entity(MODEL), entity(TWO)]
}

/// One call, the test being the function.
pub(crate) struct ScriptedCall {
    pub(crate) rpc: &'static str,
    first: Option<ActionCommand>,
    following: Option<Streaming<ActionCommand>>,
    answers: Option<mpsc::Sender<Result<ActionResponse, Status>>>,
}

impl ScriptedCall {
    fn new(
        rpc: &'static str,
        first: Option<ActionCommand>,
        following: Option<Streaming<ActionCommand>>,
    ) -> (Self, mpsc::Receiver<Result<ActionResponse, Status>>) {
        let (answers, receiver) = mpsc::channel(1);
        (Self { rpc, first, following, answers: Some(answers) }, receiver)
    }

    /// The next command, or how the sidecar ended its side.
    pub(crate) async fn next(&mut self) -> Result<Option<ActionCommand>, Status> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        let following = self.following.as_mut().expect("requests are streamed");
        soon("a command or the end", following.message()).await
    }

    pub(crate) async fn command(&mut self) -> ActionCommand {
        self.next().await.expect("no error").expect("not closed")
    }

    /// The text that the client has sent with the next command.
    pub(crate) async fn text(&mut self) -> String {
        text_of(&self.command().await)
    }

    pub(crate) async fn answer(&self, response: ActionResponse) {
        let taken = self.answers.as_ref().expect("not ended").send(Ok(response));
        soon("room for the answer", taken).await.expect("the sidecar listens");
    }

    /// Ends the call with an error.
    pub(crate) async fn fail(mut self, status: Status) {
        self.answers.take().expect("not ended").send(Err(status)).await.expect("the sidecar listens");
    }

    /// Ends the function's side.
    pub(crate) fn end(&mut self) {
        self.answers = None;
    }

    /// Waits until the sidecar takes no more answers: the call has been reset.
    pub(crate) async fn abandoned(&self) {
        soon("the reset", self.answers.as_ref().expect("not ended").closed()).await;
    }
}

/// One command for an action that is answered at once or not at all. Dropped, it fails.
pub(crate) struct ScriptedAction {
    pub(crate) command: ActionCommand,
    pub(crate) call: ScriptedCall,
}

impl ScriptedAction {
    /// Answers without a payload.
    pub(crate) fn done(self) {
        self.answer(ActionResponse::default());
    }

    pub(crate) fn fail(self, description: &str) {
        self.answer(failure(description));
    }

    fn answer(self, response: ActionResponse) {
        // Nobody may be waiting any more.
        let _ = self.call.answers.as_ref().expect("not ended").try_send(Ok(response));
    }
}

type Call<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl ActionProtocol for Shared {
    type handleStreamedOutStream = ReceiverStream<Result<ActionResponse, Status>>;
    type handleStreamedStream = ReceiverStream<Result<ActionResponse, Status>>;

    async fn handle_unary(&self, request: Request<ActionCommand>) -> Call<ActionResponse> {
        let (call, mut answers) = ScriptedCall::new("unary", Some(request.into_inner()), None);
        self.called(call);
        only(answers.recv().await)
    }

    async fn handle_streamed_in(&self, request: Request<Streaming<ActionCommand>>) -> Call<ActionResponse> {
        let (call, mut answers) = ScriptedCall::new("streamed-in", None, Some(request.into_inner()));
        self.called(call);
        only(answers.recv().await)
    }

    async fn handle_streamed_out(&self, request: Request<ActionCommand>) -> Call<Self::handleStreamedOutStream> {
        let (call, answers) = ScriptedCall::new("streamed-out", Some(request.into_inner()), None);
        self.called(call);
        Ok(Response::new(ReceiverStream::new(answers)))
    }

    async fn handle_streamed(&self, request: Request<Streaming<ActionCommand>>) -> Call<Self::handleStreamedStream> {
        let (call, answers) = ScriptedCall::new("streamed", None, Some(request.into_inner()));
        self.called(call);
        Ok(Response::new(ReceiverStream::new(answers)))
    }
}

fn only(answer: Option<Result<ActionResponse, Status>>) -> Call<ActionResponse> {
    answer.unwrap_or_else(|| Err(Status::cancelled("the test gave no answer"))).map(Response::new)
}

/// A request whose only content is a text.
pub(crate) fn request(text: &str) -> model::Request {
    let reply = model::Reply { message: text.to_owned() };
    let step = model::ProcessStep { step: Some(model::process_step::Step::Reply(reply)) };
    model::Request { groups: vec![model::ProcessGroup { steps: vec![step] }] }
}

/// The text of a [`request`].
pub(crate) fn text_of(command: &ActionCommand) -> String {
    let any = command.payload.as_ref().expect("a payload");
    assert_eq!(any.type_url, "type.googleapis.com/cloudstate.tck.model.action.Request");
    let request: model::Request = prost::Message::decode(any.value.clone()).expect("as it was sent");
    match &request.groups[0].steps[0].step {
        Some(model::process_step::Step::Reply(reply)) => reply.message.clone(),
        other => panic!("expected a text, got {other:?}"),
    }
}

pub(crate) fn response(text: &str) -> Any {
    Any::pack("cloudstate.tck.model.action.Response", &model::Response { message: text.to_owned() })
}

pub(crate) fn other(id: &str) -> Any {
    Any::pack("cloudstate.tck.model.action.OtherRequest", &model::OtherRequest { id: id.to_owned() })
}

pub(crate) fn reply(text: &str) -> ActionResponse {
    let reply = Reply { payload: Some(response(text)), metadata: None };
    ActionResponse { response: Some(action_response::Response::Reply(reply)), side_effects: Vec::new() }
}

pub(crate) fn failure(text: &str) -> ActionResponse {
    let failure = Failure { description: text.to_owned(), ..Failure::default() };
    ActionResponse { response: Some(action_response::Response::Failure(failure)), side_effects: Vec::new() }
}

pub(crate) fn forward(service: &str, command: &str, payload: Any) -> ActionResponse {
    let forward = Forward {
        service_name: service.to_owned(),
        command_name: command.to_owned(),
        payload: Some(payload),
        metadata: None,
    };
    ActionResponse { response: Some(action_response::Response::Forward(forward)), side_effects: Vec::new() }
}

pub(crate) fn effect(service: &str, command: &str, payload: Any, synchronous: bool) -> SideEffect {
    let (service_name, command_name) = (service.to_owned(), command.to_owned());
    SideEffect { service_name, command_name, payload: Some(payload), synchronous, metadata: None }
}

/// A request body whose reset is no `CANCELLED`, which the server library takes for its end.
pub(crate) struct StrictBody(pub(crate) tonic::body::Body);

impl http_body::Body for StrictBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = Pin::new(&mut self.0).poll_frame(cx);
        frame.map_err(|status| Status::aborted(status.message()))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }
}
