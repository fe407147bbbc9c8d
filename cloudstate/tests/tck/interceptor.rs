//! The harness itself: it must notice what a test could otherwise pass by.

use proto::cloudstate::eventsourced::event_sourced_client::EventSourcedClient;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::engine::{
    Conversation, EXPECTATION, Interceptor, Process, Report, connect, function_binary, start_function,
};
use super::event_sourced::{Entity, MODEL, emit, r};

async fn between_client_and_function() -> (Process, Interceptor, EventSourcedClient<tonic::transport::Channel>) {
    let binary = function_binary().expect("the model function");
    let (function, _) = start_function(&binary).await.expect("a running function");
    let interceptor = Interceptor::start(connect(function.address()).expect("valid")).await.expect("a free port");
    let client = EventSourcedClient::new(connect(interceptor.address()).expect("valid"));
    (function, interceptor, client)
}

#[tokio::test]
async fn the_interceptor_records_both_directions_and_their_orderly_end() {
    let (_function, mut interceptor, mut client) = between_client_and_function().await;
    let entity = Entity::new(MODEL, "alice");
    let mut talk = Conversation::open(move |requests| async move { client.handle(requests).await });
    talk.send(entity.init()).await.expect("open");
    talk.send(entity.c(1, [emit("A")])).await.expect("open");
    let reply = r(1, "A").events(&["A"]);
    talk.expect(reply.clone().message()).await.expect("passed on");
    talk.pass().await.expect("an orderly end");

    let mut seen = interceptor.event_sourced().await.expect("one call");
    seen.input.expect(entity.init()).await.expect("first in");
    seen.input.expect(entity.c(1, [emit("A")])).await.expect("second in");
    let wrong = seen.output.expect(reply.snapshot("A").message()).await.expect_err("there was no snapshot");
    assert!(wrong.to_string().contains("from the user function:\n   expected"), "{wrong}");
    seen.closed(EXPECTATION).await.expect("both ends");
    interceptor.quiet().await.expect("no other call");
}

/// A Go function sends its headers with its first reply only; the sidecar must not be kept waiting for them.
#[tokio::test]
async fn response_headers_do_not_wait_for_the_function() {
    let (_function, _interceptor, mut client) = between_client_and_function().await;
    let (_open, requests) = mpsc::channel(1);
    let headers = tokio::time::timeout(EXPECTATION, client.handle(ReceiverStream::new(requests))).await;
    headers.expect("at once").expect("accepted");
}

#[tokio::test]
async fn a_reset_is_not_taken_for_an_orderly_end() {
    let (_function, mut interceptor, client) = between_client_and_function().await;
    let entity = Entity::new(MODEL, "bob");
    let mut client = client.max_encoding_message_size(1024);
    let talk = Conversation::open(move |requests| async move { client.handle(requests).await });
    talk.send(entity.init()).await.expect("open");
    let mut seen = interceptor.event_sourced().await.expect("one call");
    seen.input.expect(entity.init()).await.expect("passed on");

    // A request that cannot be sent makes the client reset the stream.
    talk.send(entity.c(1, [emit(&"A".repeat(2048))])).await.expect("open");
    let error = seen.closed(EXPECTATION).await.expect_err("a reset");
    assert!(error.to_string().contains("towards the user function: Failed"), "{error}");
}

/// Against a function that never answers, so that nothing else can end the stream.
#[tokio::test]
async fn a_reset_after_the_half_close_is_noticed_too() {
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let function = connect(silent.local_addr().expect("bound")).expect("valid");
    let mut interceptor = Interceptor::start(function).await.expect("a free port");
    let mut client = EventSourcedClient::new(connect(interceptor.address()).expect("valid"));
    let (requests, sent) = mpsc::channel(1);
    let answers = client.handle(ReceiverStream::new(sent)).await.expect("accepted");
    let mut seen = interceptor.event_sourced().await.expect("one call");

    drop(requests);
    seen.input.completed(EXPECTATION).await.expect("half-closed");
    drop(answers);
    let error = seen.output.completed(EXPECTATION).await.expect_err("a reset");
    assert!(error.to_string().contains("the sidecar does not wait for the end of the stream"), "{error}");
}

#[tokio::test]
async fn a_call_that_nobody_expected_is_found_after_the_test() {
    let (_function, mut interceptor, mut client) = between_client_and_function().await;
    interceptor.quiet().await.expect("nothing yet");
    let (_open, requests) = mpsc::channel(1);
    client.handle(ReceiverStream::new(requests)).await.expect("accepted");
    let error = interceptor.quiet().await.expect_err("a call");
    assert!(
        error.to_string().starts_with("unexpected call: an event sourced entity's stream: in [], out []"),
        "{error}"
    );
    interceptor.quiet().await.expect("taken");
}

#[tokio::test]
#[should_panic(expected = "harness: 1 of 2 tests passed, 2 run\n- second: broken")]
async fn a_failed_test_is_reported_by_name_after_the_others() {
    let mut report = Report::new("harness");
    report.run("second", async { anyhow::bail!("broken") }).await;
    report.run("third", async { Ok(()) }).await;
    report.finish(2, String::new);
}

#[test]
#[should_panic(expected = "harness: 0 of 1 tests passed, 0 run")]
fn a_test_that_did_not_run_is_missed() {
    Report::new("harness").finish(1, String::new);
}
