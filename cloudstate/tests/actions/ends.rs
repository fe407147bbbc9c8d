//! How calls end before their time, and that they do.

use bytes::Bytes;
use tonic::{Code, Request, Status};

use super::{A_WHILE, answer, next, opened, start, start_with, streamed, streamed_in, streamed_out, unary};
use crate::scripted::{SOON, soon};
use crate::scripted_action::{TWO, effect, failure, other, reply, request};

#[tokio::test]
async fn a_status_of_the_function_reaches_the_client_as_it_is() {
    let (mut function, _sidecar, client) = start().await;
    let refused = || {
        let mut status = Status::with_details(Code::FailedPrecondition, "not open yet", Bytes::from_static(b"details"));
        status.metadata_mut().insert("x-opens-at", "09:00".parse().expect("text"));
        status
    };
    let expect = |status: Status| {
        assert_eq!((status.code(), status.message()), (Code::FailedPrecondition, "not open yet"));
        assert_eq!(status.details(), b"details");
        assert_eq!(status.metadata().get("x-opens-at").expect("kept"), "09:00");
    };
    let call = unary(&client, "");
    function.call().await.fail(refused()).await;
    expect(answer(call).await.expect_err("refused"));

    let (_requests, call) = streamed_in(&client);
    function.call().await.fail(refused()).await;
    expect(answer(call).await.expect_err("refused"));

    let opening = streamed_out(&client, "");
    let action = function.call().await;
    action.answer(reply("one")).await;
    let mut replies = opened(opening).await;
    assert_eq!(next(&mut replies).await.expect("served").as_deref(), Some("one"));
    action.fail(refused()).await;
    expect(next(&mut replies).await.expect_err("refused"));
}

/// The function must not take a cancelled stream of requests for a complete one.
#[tokio::test]
async fn a_client_that_goes_away_resets_a_streamed_call() {
    let (mut function, _sidecar, client) = start().await;
    let (requests, call) = streamed_in(&client);
    let mut action = function.call().await;
    action.command().await;
    requests.send(request("a")).await.expect("taken");
    assert_eq!(action.text().await, "a");
    call.abort();
    action.next().await.expect_err("reset, not half-closed");
    action.abandoned().await;

    let (_requests, opening) = streamed(&client);
    let mut action = function.call().await;
    action.command().await;
    opening.abort();
    action.next().await.expect_err("reset, not half-closed");
    action.abandoned().await;

    let opening = streamed_out(&client, "");
    let action = function.call().await;
    opening.abort();
    action.abandoned().await;
}

#[tokio::test]
async fn a_unary_call_outlives_its_client_with_its_effects() {
    let (mut function, _sidecar, client) = start().await;
    let call = unary(&client, "");
    let action = function.call().await;
    call.abort();
    let _ = call.await;
    let effects = vec![effect(TWO, "Call", other("a"), true), effect(TWO, "Call", other("b"), true)];
    action.answer(proto::cloudstate::action::ActionResponse { side_effects: effects, ..reply("nobody hears") }).await;
    for _ in 0..2 {
        function.call().await.answer(reply("")).await;
    }
}

#[tokio::test]
async fn a_failure_ends_the_clients_requests_and_the_functions_call() {
    let (mut function, _sidecar, client) = start().await;
    let (requests, opening) = streamed(&client);
    let mut action = function.call().await;
    action.command().await;
    action.answer(reply("one")).await;
    let mut replies = opened(opening).await;
    assert_eq!(next(&mut replies).await.expect("served").as_deref(), Some("one"));
    action.answer(failure("enough")).await;
    let status = next(&mut replies).await.expect_err("failed");
    assert_eq!((status.code(), status.message()), (Code::Unknown, "enough"));
    soon("the end of the requests", requests.closed()).await;
    action.abandoned().await;
    action.next().await.expect_err("reset, not half-closed");
}

#[tokio::test]
async fn the_functions_end_ends_the_clients_requests() {
    let (mut function, _sidecar, client) = start().await;
    let (requests, call) = streamed_in(&client);
    let mut action = function.call().await;
    action.command().await;
    action.answer(reply("that is enough")).await;
    assert_eq!(answer(call).await.expect("served"), "that is enough");
    soon("the end of the requests", requests.closed()).await;

    let (requests, opening) = streamed(&client);
    let mut action = function.call().await;
    action.command().await;
    action.answer(reply("one")).await;
    action.end();
    let mut replies = opened(opening).await;
    assert_eq!(next(&mut replies).await.expect("served").as_deref(), Some("one"));
    assert_eq!(next(&mut replies).await.expect("completed"), None);
    soon("the end of the requests", requests.closed()).await;
}

#[tokio::test]
async fn a_function_that_dies_is_unavailable() {
    let (mut function, _sidecar, client) = start().await;
    let (_requests, opening) = streamed(&client);
    let mut action = function.call().await;
    action.command().await;
    action.answer(reply("one")).await;
    let mut replies = opened(opening).await;
    assert_eq!(next(&mut replies).await.expect("served").as_deref(), Some("one"));
    drop(function);
    let status = next(&mut replies).await.expect_err("broken");
    assert_eq!(status.code(), Code::Unavailable, "{status}");
}

/// Row 64: a function that does not answer holds its caller for a limited time.
#[tokio::test]
async fn an_answer_that_is_due_has_a_time_limit() {
    let (mut function, _sidecar, client) = start_with(|config| config.requests.timeout = A_WHILE).await;
    let call = unary(&client, "");
    let action = function.call().await;
    assert_eq!(answer(call).await.expect_err("overdue").code(), Code::DeadlineExceeded);
    action.abandoned().await;

    let (requests, call) = streamed_in(&client);
    let mut action = function.call().await;
    action.command().await;
    drop(requests);
    let status = answer(call).await.expect_err("overdue");
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    action.abandoned().await;
}

/// Row 64: the limit is on answers that are due, not on streams.
#[tokio::test]
async fn streams_outlive_the_relay_timeout() {
    let (mut function, _sidecar, client) = start_with(|config| config.requests.timeout = A_WHILE).await;
    let (requests, slow_client) = streamed_in(&client);
    let mut first = function.call().await;
    let opening = streamed_out(&client, "");
    let second = function.call().await;
    tokio::time::sleep(A_WHILE * 2).await;
    requests.send(request("late")).await.expect("still open");
    first.command().await;
    assert_eq!(first.text().await, "late");
    drop(requests);
    first.answer(reply("in time")).await;
    assert_eq!(answer(slow_client).await.expect("served"), "in time");
    second.answer(reply("late as well")).await;
    assert_eq!(next(&mut opened(opening).await).await.expect("served").as_deref(), Some("late as well"));
}

#[tokio::test]
async fn the_callers_deadline_ends_a_stream() {
    let (mut function, _sidecar, mut client) = start().await;
    let mut asked = Request::new(request(""));
    asked.set_timeout(A_WHILE);
    let opening = tokio::spawn(async move { client.process_streamed_out(asked).await });
    let action = function.call().await;
    action.answer(reply("one")).await;
    let mut replies = soon("the first reply", opening).await.expect("no panic").expect("served").into_inner();
    assert_eq!(next(&mut replies).await.expect("served").as_deref(), Some("one"));
    let status = tokio::time::timeout(SOON, next(&mut replies)).await.expect("ended").expect_err("over");
    assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status}");
    action.abandoned().await;
}
