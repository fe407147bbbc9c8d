//! One call of the action protocol on the wire.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, Stream, StreamExt};
use parking_lot::Mutex;
use proto::Any;
use proto::cloudstate::Metadata;
use proto::cloudstate::action::action_protocol_client::ActionProtocolClient;
use proto::cloudstate::action::{ActionCommand, ActionResponse};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};

use super::reset::{Guard, Resettable};
use crate::call::{CallError, Requests};
use crate::spec::MethodSpec;
use crate::user_function::{LinkError, UserFunction};

/// What is said of a call once.
#[derive(Clone)]
pub(super) struct Header {
    pub(super) method: Arc<MethodSpec>,
    pub(super) type_url: Arc<str>,
    pub(super) metadata: Metadata,
}

impl Header {
    /// The first message of a call with streamed requests.
    pub(super) fn alone(&self) -> ActionCommand {
        ActionCommand {
            service_name: self.method.service.to_string(),
            name: self.method.name.to_string(),
            payload: None,
            metadata: Some(self.metadata.clone()),
        }
    }

    /// The only message of a call with one request.
    pub(super) fn with_payload(&self, payload: Bytes) -> ActionCommand {
        ActionCommand { payload: Some(any(&self.type_url, payload)), ..self.alone() }
    }
}

/// A call with its place on a connection.
pub(super) struct ActionCall {
    client: ActionProtocolClient<Resettable>,
    guard: Guard,
    /// Why the client's requests ended before their time.
    broken: Arc<Mutex<Option<CallError>>>,
}

impl ActionCall {
    /// Waits for the function and for a place on one of its connections.
    pub(super) async fn open(
        function: &UserFunction,
        connect_timeout: Duration,
        at_clients_pace: bool,
    ) -> Result<Self, CallError> {
        let link = function.link(connect_timeout).await.map_err(|error| unreachable(&error))?;
        let channel = if at_clients_pace { link.streaming_channel().await } else { link.channel().await };
        let (transport, guard) = Resettable::new(channel.map_err(|error| unreachable(&error))?);
        let client = ActionProtocolClient::with_origin(transport, link.origin())
            .max_decoding_message_size(link.message_size_max());
        Ok(Self { client, guard, broken: Arc::default() })
    }

    /// The messages of a call with streamed requests, and a future that completes when the last has been taken.
    ///
    /// Half-closing says that the client has sent everything. When it has not, because it went away or sent
    /// nonsense, the call is reset instead.
    pub(super) fn requests(
        &self,
        first: ActionCommand,
        type_url: Arc<str>,
        requests: Requests,
    ) -> (impl Stream<Item = ActionCommand> + Send + use<>, impl Future<Output = ()> + Send + use<>) {
        let ended = CancellationToken::new();
        let (end, reset, broken) = (ended.clone(), self.guard.token(), self.broken.clone());
        let state = Some((requests.into_stream(), type_url));
        let payloads = stream::unfold(state, move |state| {
            let (end, reset, broken) = (end.clone(), reset.clone(), broken.clone());
            async move {
                let (mut requests, type_url) = state?;
                match requests.next().await {
                    Some(Ok(payload)) => {
                        let command =
                            ActionCommand { payload: Some(any(&type_url, payload)), ..ActionCommand::default() };
                        Some((command, Some((requests, type_url))))
                    }
                    Some(Err(error)) => {
                        *broken.lock() = Some(error);
                        reset.cancel();
                        std::future::pending().await
                    }
                    None => {
                        end.cancel();
                        None
                    }
                }
            }
        });
        (stream::iter([first]).chain(payloads), async move { ended.cancelled().await })
    }

    pub(super) async fn unary(mut self, command: ActionCommand) -> Result<ActionResponse, CallError> {
        self.client.handle_unary(command).await.map(tonic::Response::into_inner).map_err(failed)
    }

    pub(super) async fn streamed_in(
        mut self,
        commands: impl Stream<Item = ActionCommand> + Send + 'static,
    ) -> Result<ActionResponse, CallError> {
        let answer = self.client.handle_streamed_in(commands).await;
        answer.map(tonic::Response::into_inner).map_err(|status| self.error(status))
    }

    pub(super) async fn streamed_out(mut self, command: ActionCommand) -> Result<Responses, CallError> {
        let answer = self.client.handle_streamed_out(command).await;
        answer.map(|answer| self.responses(answer.into_inner())).map_err(failed)
    }

    pub(super) async fn streamed(
        mut self,
        commands: impl Stream<Item = ActionCommand> + Send + 'static,
    ) -> Result<Responses, CallError> {
        match self.client.handle_streamed(commands).await {
            Ok(answer) => Ok(self.responses(answer.into_inner())),
            Err(status) => Err(self.error(status)),
        }
    }

    /// The responses, which keep the call.
    fn responses(self, received: tonic::Streaming<ActionResponse>) -> Responses {
        let next = |(mut received, call): (tonic::Streaming<ActionResponse>, Self)| async move {
            match received.message().await {
                Ok(response) => response.map(|response| (Ok(response), (received, call))),
                Err(status) => Some((Err(call.error(status)), (received, call))),
            }
        };
        stream::unfold((received, self), next).boxed()
    }

    /// Why the call failed: when it was reset because of the client, that is the reason.
    fn error(&self, status: Status) -> CallError {
        self.broken.lock().take().unwrap_or_else(|| failed(status))
    }
}

/// The responses of a call; dropping them resets it.
pub(super) type Responses = BoxStream<'static, Result<ActionResponse, CallError>>;

fn any(type_url: &str, payload: Bytes) -> Any {
    Any { type_url: type_url.to_owned(), value: payload }
}

fn unreachable(error: &LinkError) -> CallError {
    let code = match error {
        LinkError::Unreachable { .. } => Code::Unavailable,
        LinkError::Full { .. } => Code::ResourceExhausted,
    };
    CallError::status(code, error.to_string())
}

/// Headers that say something of the function's connection and nothing to its caller.
const OF_THE_HOP: [&str; 4] = ["connection", "date", "grpc-encoding", "server"];

/// The status that the function gave, with its details and trailers; one that comes from a broken connection says so.
fn failed(status: Status) -> CallError {
    if std::error::Error::source(&status).is_some() {
        tracing::debug!(code = ?status.code(), message = status.message(), "action call broke");
        let text = format!("the call to the user function broke: {}", status.message());
        return CallError::status(Code::Unavailable, text);
    }
    let mut status = status;
    for name in OF_THE_HOP {
        status.metadata_mut().remove(name);
    }
    CallError::Status(status)
}
