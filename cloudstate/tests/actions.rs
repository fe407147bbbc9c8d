//! Actions: calls of every shape, how fast they go, and how they end.

mod ends;
mod pace;
mod routes;

use std::time::Duration;

use cloudstate::config::ProxyConfig;
use proto::cloudstate::EntitySpec;
use proto::model::tck::action as model;
use proto::model::tck::action::action_tck_model_client::ActionTckModelClient;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

use crate::scripted::{ScriptedFunction, TestSidecar, model_spec, soon};
use crate::scripted_action::{MODEL, entities, failure, reply, request};

type Client = ActionTckModelClient<Channel>;

fn action_spec() -> EntitySpec {
    let mut spec = model_spec();
    spec.entities.extend(entities());
    spec
}

async fn start_with(change: impl FnOnce(&mut ProxyConfig)) -> (ScriptedFunction, TestSidecar, Client) {
    let function = ScriptedFunction::start(action_spec()).await;
    let sidecar = TestSidecar::new(&function, change).ready().await;
    let client = another_client(&sidecar);
    (function, sidecar, client)
}

/// A client with a connection of its own.
fn another_client(sidecar: &TestSidecar) -> Client {
    let endpoint = Endpoint::from_shared(format!("http://{}", sidecar.address)).expect("an address");
    ActionTckModelClient::new(endpoint.connect_lazy())
}

async fn start() -> (ScriptedFunction, TestSidecar, Client) {
    start_with(|_| {}).await
}

/// A unary call in a task of its own.
fn unary(client: &Client, text: &str) -> tokio::task::JoinHandle<Result<String, Status>> {
    let (mut client, request) = (client.clone(), request(text));
    tokio::spawn(async move { Ok(client.process_unary(request).await?.into_inner().message) })
}

async fn answer(call: tokio::task::JoinHandle<Result<String, Status>>) -> Result<String, Status> {
    soon("the answer", call).await.expect("no panic")
}

/// A call with streamed requests and one reply, and where to put the requests.
fn streamed_in(client: &Client) -> (mpsc::Sender<model::Request>, tokio::task::JoinHandle<Result<String, Status>>) {
    let (sender, requests) = mpsc::channel(1);
    let mut client = client.clone();
    let call = async move { Ok(client.process_streamed_in(ReceiverStream::new(requests)).await?.into_inner().message) };
    (sender, tokio::spawn(call))
}

type Opening = tokio::task::JoinHandle<Result<Streaming<model::Response>, Status>>;

fn streamed_out(client: &Client, text: &str) -> Opening {
    let (mut client, request) = (client.clone(), request(text));
    tokio::spawn(async move { Ok(client.process_streamed_out(request).await?.into_inner()) })
}

fn streamed(client: &Client) -> (mpsc::Sender<model::Request>, Opening) {
    let (sender, requests) = mpsc::channel(1);
    let mut client = client.clone();
    let call = async move { Ok(client.process_streamed(ReceiverStream::new(requests)).await?.into_inner()) };
    (sender, tokio::spawn(call))
}

/// The replies, which the client learns of with the first one.
async fn opened(opening: Opening) -> Streaming<model::Response> {
    soon("the first reply", opening).await.expect("no panic").expect("served")
}

async fn next(replies: &mut Streaming<model::Response>) -> Result<Option<String>, Status> {
    let reply = soon("a reply or the end", replies.next()).await.transpose()?;
    Ok(reply.map(|reply| reply.message))
}

#[tokio::test]
async fn a_unary_call_is_one_message_each_way() {
    let (mut function, _sidecar, client) = start().await;
    let call = unary(&client, "hello");
    let mut action = function.call().await;
    assert_eq!(action.rpc, "unary");
    let command = action.command().await;
    assert_eq!((command.service_name.as_str(), command.name.as_str()), (MODEL, "ProcessUnary"));
    assert_eq!(crate::scripted_action::text_of(&command), "hello");
    action.answer(reply("world")).await;
    assert_eq!(answer(call).await.expect("served"), "world");
}

/// The call is open before the client has sent a message, and its half-close is the function's half-close.
#[tokio::test]
async fn streamed_requests_open_the_call_at_once_and_end_it_with_theirs() {
    let (mut function, _sidecar, client) = start().await;
    let (requests, call) = streamed_in(&client);
    let mut action = function.call().await;
    assert_eq!(action.rpc, "streamed-in");
    let header = action.command().await;
    assert_eq!((header.service_name.as_str(), header.name.as_str()), (MODEL, "ProcessStreamedIn"));
    assert_eq!(header.payload, None);
    for text in ["a", "b"] {
        requests.send(request(text)).await.expect("taken");
        let command = action.command().await;
        assert_eq!(crate::scripted_action::text_of(&command), text);
        assert_eq!((command.service_name, command.name, command.metadata), (String::new(), String::new(), None));
    }
    drop(requests);
    assert_eq!(action.next().await.expect("not reset"), None);
    action.answer(reply("both")).await;
    assert_eq!(answer(call).await.expect("served"), "both");
}

#[tokio::test]
async fn streamed_replies_come_one_by_one_and_empty_ones_not_at_all() {
    let (mut function, _sidecar, client) = start().await;
    let opening = streamed_out(&client, "go");
    let mut action = function.call().await;
    assert_eq!((action.rpc, action.text().await.as_str()), ("streamed-out", "go"));
    action.answer(reply("one")).await;
    let mut replies = opened(opening).await;
    assert_eq!(next(&mut replies).await.expect("served").as_deref(), Some("one"));
    action.answer(Default::default()).await;
    action.answer(reply("two")).await;
    assert_eq!(next(&mut replies).await.expect("served").as_deref(), Some("two"));
    action.end();
    assert_eq!(next(&mut replies).await.expect("completed"), None);
}

#[tokio::test]
async fn streams_in_both_directions_are_independent() {
    let (mut function, _sidecar, client) = start().await;
    let (requests, opening) = streamed(&client);
    let mut action = function.call().await;
    assert_eq!((action.rpc, action.command().await.payload), ("streamed", None));
    action.answer(reply("before anything was asked")).await;
    let mut replies = opened(opening).await;
    assert_eq!(next(&mut replies).await.expect("served").as_deref(), Some("before anything was asked"));
    requests.send(request("a")).await.expect("taken");
    assert_eq!(action.text().await, "a");
    drop(requests);
    assert_eq!(action.next().await.expect("not reset"), None);
    action.answer(reply("after the last question")).await;
    assert_eq!(next(&mut replies).await.expect("served").as_deref(), Some("after the last question"));
    action.end();
    assert_eq!(next(&mut replies).await.expect("completed"), None);
}

#[tokio::test]
async fn a_failure_is_unknown_with_the_functions_words_and_no_answer_is_none() {
    let (mut function, _sidecar, client) = start().await;
    let call = unary(&client, "");
    function.call().await.answer(failure("not today")).await;
    let status = answer(call).await.expect_err("failed");
    assert_eq!((status.code(), status.message()), (tonic::Code::Unknown, "not today"));

    let (requests, call) = streamed_in(&client);
    let action = function.call().await;
    drop(requests);
    action.answer(failure("nor tomorrow")).await;
    assert_eq!(answer(call).await.expect_err("failed").message(), "nor tomorrow");
}

/// How long something is watched that should not happen.
const A_WHILE: Duration = Duration::from_millis(400);
