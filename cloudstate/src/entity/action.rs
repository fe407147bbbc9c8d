//! Actions: services without state. A call of a client is a call of the user function, message by message
//! (CloudState protocol, actions).
//!
//! Nothing is buffered between the two but what their HTTP/2 windows hold: a client that does not read
//! holds the function back, and a function that does not read holds the client back. When either side
//! goes away, the other's call is reset.

use std::sync::Arc;
use std::time::Duration;

use actors::{Clock, Tick};
use futures_util::future::{BoxFuture, Fuse};
use futures_util::stream::{self, BoxStream, StreamExt};
use futures_util::{FutureExt, Stream};
use proto::Any;
use proto::cloudstate::action::action_protocol_client::ActionProtocolClient;
use proto::cloudstate::action::{ActionCommand, ActionResponse, action_response};
use proto::cloudstate::client_action;
use tokio::sync::oneshot;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{Code, Status, Streaming};

use super::{Answer, Command, Component};
use crate::call::{CallError, Replies, Requests};
use crate::router::{Origin, Router};
use crate::telemetry::EntityMetrics;
use crate::user_function::{Channel, UserFunction};

/// Serves the actions of one service. A cheap handle.
#[derive(Clone)]
pub struct Action {
    /// The user function.
    pub function: UserFunction,
    /// Runs side effects and forwards.
    pub router: Arc<Router>,
    /// The source of time.
    pub clock: Clock,
    /// How long a call waits for a user function that is not connected.
    pub connect_within: Duration,
    /// How long the function may take for an answer that is the only one, when the caller does not say.
    pub relay_timeout: Duration,
    /// Series of this service.
    pub metrics: EntityMetrics,
}

impl Component for Action {
    fn unary(&self, command: Command) -> BoxFuture<'static, Answer> {
        let action = self.clone();
        async move { action.run(command).await?.next().await.transpose() }.boxed()
    }

    fn streamed(&self, command: Command) -> BoxFuture<'static, Result<Replies, CallError>> {
        self.clone().run(command).boxed()
    }

    fn drain(&self) -> BoxFuture<'static, ()> {
        // Calls of clients and side effects are waited for where they come from; nothing else is open.
        std::future::ready(()).boxed()
    }
}

impl Action {
    async fn run(self, command: Command) -> Result<Replies, CallError> {
        self.metrics.command_received();
        let received_at = command.received_at;
        let metrics = self.metrics.clone();
        let clock = self.clock.clone();
        let started = self.call(command).await;
        match &started {
            Ok(_) => metrics.command_completed(clock.now() - received_at),
            Err(_) => metrics.command_failed(),
        }
        started
    }

    async fn call(self, command: Command) -> Result<Replies, CallError> {
        let Command { method, type_url, requests, metadata, deadline, caller, .. } = command;
        let origin = Origin { method: method.clone(), caller, deadline };
        let unreachable =
            |error: crate::user_function::LinkError| CallError::status(Code::Unavailable, error.to_string());
        let link = self.function.link(self.connect_within).await.map_err(unreachable)?;
        let channel = link.channel().await.map_err(unreachable)?;
        let client = ActionProtocolClient::with_origin(channel.clone(), link.origin())
            .max_decoding_message_size(link.message_size_max());
        let named = ActionCommand {
            service_name: method.service.to_string(),
            name: method.name.to_string(),
            payload: None,
            metadata: Some(metadata),
        };
        let requests = if method.client_streaming {
            Err(requests.into_stream())
        } else {
            let Requests::One(value) = requests else {
                let text = format!("{}.{} takes one request message", method.service, method.name);
                return Err(CallError::status(Code::Unimplemented, text));
            };
            Ok(ActionCommand { payload: Some(Any { type_url: type_url.to_string(), value }), ..named.clone() })
        };
        let inbound = match (requests, method.server_streaming) {
            (Ok(request), false) => {
                let within = Within::answer(&self.clock, deadline, self.relay_timeout);
                Inbound::one(within.run(one(client, request)).await?)
            }
            (Ok(request), true) => Inbound::many(streamed_out(client, request).await?, channel),
            (Err(payloads), many_answers) => {
                let (commands, mut client_side) = commands(named, type_url, payloads);
                let opened = async {
                    if many_answers {
                        Ok::<_, CallError>(Inbound::many(streamed(client, commands).await?, channel))
                    } else {
                        // Its client sets the pace; once that has sent everything, the function owes its answer.
                        Ok(Inbound::one(streamed_in(client, commands).await?))
                    }
                };
                tokio::select! {
                    biased;
                    opened = opened => opened?.with(client_side),
                    Ok(error) = &mut client_side.broken => return Err(error),
                }
            }
        };
        Ok(self.replies(origin, inbound))
    }

    /// The function's responses one after the other, each with its side effects and forwards.
    fn replies(self, origin: Origin, inbound: Inbound) -> Replies {
        let state = Running { action: self, origin, inbound: Some(inbound), current: None };
        stream::unfold(state, Running::next).boxed()
    }
}

/// A call whose responses are being taken.
struct Running {
    action: Action,
    origin: Origin,
    /// `None` once it is over; dropping it resets what is left of it.
    inbound: Option<Inbound>,
    /// The replies that the last response stands for.
    current: Option<Replies>,
}

impl Running {
    async fn next(mut self) -> Option<(Result<crate::call::Reply, CallError>, Self)> {
        loop {
            if let Some(current) = &mut self.current {
                match current.next().await {
                    Some(Ok(reply)) => {
                        self.action.router.check_type(&self.origin.method, &reply);
                        return Some((Ok(reply), self));
                    }
                    Some(Err(error)) => return Some((Err(error), self.over())),
                    None => self.current = None,
                }
            }
            let response = match self.inbound.as_mut()?.next().await {
                None => return None,
                Some(Ok(response)) => response,
                Some(Err(error)) => return Some((Err(error), self.over())),
            };
            let ActionResponse { response, side_effects } = response;
            match self.action.router.finish(&self.origin, side_effects, response.map(client_action)).await {
                Ok(replies) => self.current = Some(replies),
                Err(error) => return Some((Err(error), self.over())),
            }
        }
    }

    /// Ends the function's call.
    fn over(self) -> Self {
        Self { inbound: None, current: None, ..self }
    }
}

fn client_action(response: action_response::Response) -> client_action::Action {
    match response {
        action_response::Response::Failure(failure) => client_action::Action::Failure(failure),
        action_response::Response::Reply(reply) => client_action::Action::Reply(reply),
        action_response::Response::Forward(forward) => client_action::Action::Forward(forward),
    }
}

/// What the function sends.
struct Inbound {
    responses: BoxStream<'static, Result<ActionResponse, CallError>>,
    client_side: Option<ClientSide>,
}

impl Inbound {
    fn one(response: ActionResponse) -> Self {
        Self { responses: stream::iter([Ok(response)]).boxed(), client_side: None }
    }

    /// `place` is the stream's place on its connection, kept until it is over.
    fn many(responses: Streaming<ActionResponse>, place: Channel) -> Self {
        let responses = responses.map(move |response| {
            let _place = &place;
            response.map_err(of_function)
        });
        Self { responses: responses.boxed(), client_side: None }
    }

    fn with(self, client_side: ClientSide) -> Self {
        Self { client_side: Some(client_side), ..self }
    }

    async fn next(&mut self) -> Option<Result<ActionResponse, CallError>> {
        let Some(client_side) = &mut self.client_side else { return self.responses.next().await };
        tokio::select! {
            biased;
            response = self.responses.next() => response,
            Ok(error) = &mut client_side.broken => Some(Err(error)),
        }
    }
}

/// The client's messages on their way to the function.
struct ClientSide {
    /// Completes when the client's stream breaks, with the reason; fails when all of it has been sent.
    broken: Fuse<oneshot::Receiver<CallError>>,
    /// Once the function's call is over the client's messages are let go, so that it sees its stream cancelled.
    _until_over: DropGuard,
}

/// A time limit that says who set it.
struct Within<'a> {
    clock: &'a Clock,
    left: Duration,
    own: bool,
}

impl<'a> Within<'a> {
    fn answer(clock: &'a Clock, deadline: Option<Tick>, relay_timeout: Duration) -> Self {
        let left = deadline.map_or(relay_timeout, |deadline| deadline - clock.now());
        Self { clock, left, own: deadline.is_none() }
    }

    async fn run<T>(&self, call: impl Future<Output = Result<T, CallError>>) -> Result<T, CallError> {
        self.clock.timeout(self.left, call).await.unwrap_or_else(|_| {
            let whose = if self.own { "relay timeout" } else { "deadline" };
            let text = format!("the action did not answer within {:?} ({whose})", self.left);
            Err(CallError::status(Code::DeadlineExceeded, text))
        })
    }
}

type Client = ActionProtocolClient<Channel>;

async fn one(mut client: Client, request: ActionCommand) -> Result<ActionResponse, CallError> {
    client.handle_unary(request).await.map(tonic::Response::into_inner).map_err(of_function)
}

async fn streamed_out(mut client: Client, request: ActionCommand) -> Result<Streaming<ActionResponse>, CallError> {
    client.handle_streamed_out(request).await.map(tonic::Response::into_inner).map_err(of_function)
}

async fn streamed_in<S>(mut client: Client, commands: S) -> Result<ActionResponse, CallError>
where
    S: Stream<Item = ActionCommand> + Send + 'static,
{
    client.handle_streamed_in(commands).await.map(tonic::Response::into_inner).map_err(of_function)
}

async fn streamed<S>(mut client: Client, commands: S) -> Result<Streaming<ActionResponse>, CallError>
where
    S: Stream<Item = ActionCommand> + Send + 'static,
{
    client.handle_streamed(commands).await.map(tonic::Response::into_inner).map_err(of_function)
}

/// The messages of a call with client streaming: the first names the method and is there before the client has sent
/// anything. When the client's stream breaks, ours does not end, since that would be its half-close: the receiver is
/// told, so that the call can be reset.
fn commands(
    named: ActionCommand,
    type_url: Arc<str>,
    payloads: BoxStream<'static, Result<bytes::Bytes, CallError>>,
) -> (impl Stream<Item = ActionCommand> + Send + 'static, ClientSide) {
    let (tell, broken) = oneshot::channel();
    let over = CancellationToken::new();
    let first = stream::iter([named]);
    let rest = stream::unfold((payloads, Some(tell)), move |(mut payloads, mut tell)| {
        let type_url = type_url.to_string();
        async move {
            match payloads.next().await? {
                Ok(value) => {
                    let payload = Some(Any { type_url, value });
                    Some((ActionCommand { payload, ..ActionCommand::default() }, (payloads, tell)))
                }
                Err(error) => {
                    // Nobody listens any more when the call is over already.
                    let _ = tell.take().map(|tell| tell.send(error));
                    std::future::pending().await
                }
            }
        }
    });
    let commands = first.chain(rest).take_until(over.clone().cancelled_owned());
    (commands, ClientSide { broken: broken.fuse(), _until_over: over.drop_guard() })
}

/// The function's own status reaches the client as it is; a call that broke is none of it.
fn of_function(status: Status) -> CallError {
    if std::error::Error::source(&status).is_some() {
        tracing::debug!(code = ?status.code(), message = status.message(), "call of an action broke");
        return CallError::status(Code::Unavailable, "the user function's call broke off");
    }
    let mut metadata = status.metadata().clone();
    for name in ["content-type", "content-length", "date", "server", "trailer"] {
        metadata.remove(name);
    }
    let details = bytes::Bytes::copy_from_slice(status.details());
    Status::with_details_and_metadata(status.code(), status.message(), details, metadata).into()
}
