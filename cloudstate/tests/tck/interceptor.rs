//! The interceptor: it must notice what a test could otherwise pass by.

use anyhow::{Result, anyhow};
use cloudstate::tck::engine::{Address, Conversation, EXPECTATION, Interceptor, Recorded, Tck, connect};
use cloudstate::tck::entity::{Entity, Kind};
use cloudstate::tck::event_sourced::{EventSourced, emit, r};
use proto::cloudstate::eventsourced::event_sourced_client::EventSourcedClient;
use proto::cloudstate::eventsourced::{EventSourcedStreamIn, EventSourcedStreamOut};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

/// The function, the interceptor in front of it, and a client of the interceptor.
async fn between_client_and_function() -> (Tck, EventSourcedClient<Channel>) {
    let tck = Tck::start(&super::function(), false).await.expect("a running function");
    let client = client(&tck.interceptor);
    (tck, client)
}

fn client(interceptor: &Interceptor) -> EventSourcedClient<Channel> {
    EventSourcedClient::new(connect(&Address::local(interceptor.address().port())).expect("an address"))
}

async fn stream(interceptor: &mut Interceptor) -> Result<Recorded<EventSourcedStreamIn, EventSourcedStreamOut>> {
    EventSourced::recorded(interceptor.call().await?).map_err(|other| anyhow!("{}", other.describe()))
}

fn alice() -> Entity {
    Entity::new(EventSourced::MODEL, "alice")
}

#[tokio::test]
async fn the_interceptor_records_both_directions_and_their_orderly_end() {
    let (mut tck, mut client) = between_client_and_function().await;
    let (init, command) =
        (alice().init::<EventSourced>(None), alice().command::<EventSourced>(1, "Process", [emit("A")]));
    let mut talk = Conversation::open(move |requests| async move { client.handle(requests).await });
    talk.send(init.clone()).await.expect("open");
    talk.send(command.clone()).await.expect("open");
    let reply = r("A").events(["A"]);
    talk.expect(reply.clone().message(1)).await.expect("passed on");
    talk.pass().await.expect("an orderly end");

    let mut seen = stream(&mut tck.interceptor).await.expect("one call");
    seen.input.expect(init).await.expect("first in");
    seen.input.expect(command).await.expect("second in");
    let wrong = seen.output.expect(reply.snapshot("A").message(1)).await.expect_err("there was no snapshot");
    assert_eq!(
        wrong.to_string(),
        "from the user function:\n  \
         expected {reply: {command_id: 1, \
         client_action: {reply: {payload: cloudstate.tck.model.Response{message: \"A\"}}}, \
         events: [cloudstate.tck.model.Persisted{value: \"A\"}], \
         snapshot: cloudstate.tck.model.Persisted{value: \"A\"}}}\n  \
         seen     {reply: {command_id: 1, \
         client_action: {reply: {payload: cloudstate.tck.model.Response{message: \"A\"}}}, \
         events: [cloudstate.tck.model.Persisted{value: \"A\"}]}}"
    );
    seen.closed(EXPECTATION).await.expect("both ends");
    tck.interceptor.quiet().await.expect("no other call");
}

/// A Go function sends its headers with its first reply only; the sidecar must not be kept waiting for them.
#[tokio::test]
async fn response_headers_do_not_wait_for_the_function() {
    let (_tck, mut client) = between_client_and_function().await;
    let (_open, requests) = mpsc::channel(1);
    let headers = tokio::time::timeout(EXPECTATION, client.handle(ReceiverStream::new(requests))).await;
    headers.expect("at once").expect("accepted");
}

#[tokio::test]
async fn a_reset_is_not_taken_for_an_orderly_end() {
    let (mut tck, client) = between_client_and_function().await;
    let mut client = client.max_encoding_message_size(1024);
    let talk = Conversation::open(move |requests| async move { client.handle(requests).await });
    talk.send(alice().init::<EventSourced>(None)).await.expect("open");
    let mut seen = stream(&mut tck.interceptor).await.expect("one call");
    seen.input.expect(alice().init::<EventSourced>(None)).await.expect("passed on");

    // A request that cannot be sent makes the client reset the stream.
    let large = alice().command::<EventSourced>(1, "Process", [emit(&"A".repeat(2048))]);
    talk.send(large).await.expect("open");
    let error = seen.closed(EXPECTATION).await.expect_err("a reset").to_string();
    assert!(error.contains("expected the end of the stream\n  seen     the failure"), "{error}");
}

/// Against a function that never answers, so that nothing else can end the stream.
#[tokio::test]
async fn a_reset_after_the_half_close_is_noticed_too() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let function = connect(&Address::local(silent.local_addr().expect("bound").port())).expect("an address");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let mut interceptor = Interceptor::start(listener, function).expect("bound");
    let mut client = client(&interceptor);
    let (requests, sent) = mpsc::channel(1);
    let answers = client.handle(ReceiverStream::new(sent)).await.expect("accepted");
    let mut seen = stream(&mut interceptor).await.expect("one call");

    drop(requests);
    seen.input.completed(EXPECTATION).await.expect("half-closed");
    drop(answers);
    let error = seen.output.completed(EXPECTATION).await.expect_err("a reset");
    assert!(error.to_string().contains("the proxy does not wait for the end of the stream"), "{error}");
}

#[tokio::test]
async fn a_call_that_nobody_expected_is_found_after_the_test() {
    let (mut tck, mut client) = between_client_and_function().await;
    tck.interceptor.quiet().await.expect("nothing yet");
    let (_open, requests) = mpsc::channel(1);
    client.handle(ReceiverStream::new(requests)).await.expect("accepted");
    let error = tck.interceptor.quiet().await.expect_err("a call").to_string();
    assert!(error.starts_with("unexpected call: an event sourced entity's stream: in [], out []"), "{error}");
    tck.interceptor.quiet().await.expect("taken");
}
