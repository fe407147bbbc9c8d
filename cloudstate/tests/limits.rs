//! What is bounded: entity streams of the function, and the time of single services.

use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use tonic::Code;

use crate::scripted::{Model, ScriptedFunction, ScriptedStream, TestSidecar, answer, model_spec, reply, soon};

/// A function that serves two streams at once, as those do that give each stream a thread.
async fn start() -> (ScriptedFunction, TestSidecar, Model) {
    let function = ScriptedFunction::start(model_spec()).await;
    let sidecar = TestSidecar::new(&function, |config| {
        config.user_function.entity_streams_max = 2.try_into().ok();
    });
    let sidecar = sidecar.ready().await;
    let client = sidecar.client();
    (function, sidecar, client)
}

async fn serve(function: &mut ScriptedFunction, client: &Model, id: &str) -> ScriptedStream {
    let call = client.process(id);
    let mut stream = function.stream().await;
    stream.until_command(0).await;
    stream.reply(reply(1, id, &[])).await;
    assert_eq!(answer(call).await.expect("served"), id);
    stream
}

#[tokio::test]
async fn the_entity_that_has_been_idle_for_longest_makes_room() {
    let (mut function, _sidecar, client) = start().await;
    let ada = serve(&mut function, &client, "ada").await;
    let mut bob = serve(&mut function, &client, "bob").await;
    // Ada was served before Bob, so Cem takes her place and not his.
    let call = client.process("cem");
    ada.closed().await;
    let mut cem = function.stream().await;
    cem.until_command(0).await;
    cem.reply(reply(1, "cem", &[])).await;
    answer(call).await.expect("served");

    let call = client.process("bob");
    assert_eq!(bob.command().await.id, 2, "still in his first life");
    bob.reply(reply(2, "bob again", &[])).await;
    assert_eq!(answer(call).await.expect("served"), "bob again");
}

#[tokio::test]
async fn who_waits_for_a_place_gets_the_first_that_is_idle() {
    let (mut function, _sidecar, client) = start().await;
    let calls = [client.process("ada"), client.process("bob")];
    let mut busy = Vec::new();
    for _ in &calls {
        let mut stream = function.stream().await;
        stream.until_command(0).await;
        busy.push(stream);
    }
    let waiting = client.process("cem");
    let done = busy.pop().expect("two");
    done.reply(reply(1, "done", &[])).await;
    // It goes at once, though it has not been idle for long.
    done.closed().await;
    let mut cem = function.stream().await;
    cem.until_command(0).await;
    cem.reply(reply(1, "cem", &[])).await;
    assert_eq!(answer(waiting).await.expect("served"), "cem");
}

#[tokio::test]
async fn many_entities_share_two_streams() {
    let (mut function, _sidecar, client) = start().await;
    let mut calls: FuturesUnordered<_> = (0..40).map(|number| client.process(&format!("id-{}", number % 10))).collect();
    // The function answers one stream after the other and ends each only when the sidecar has.
    let serving = async {
        loop {
            let mut stream = function.stream().await;
            stream.init().await;
            tokio::spawn(async move {
                while let Some(command) = stream.next_or_end().await {
                    stream.reply(reply(command.id, "served", &[])).await;
                }
                stream.end();
            });
        }
    };
    let all_answered = async {
        while let Some(answered) = calls.next().await {
            assert_eq!(answered.expect("no panic").expect("served"), "served");
        }
    };
    tokio::select! {
        () = soon("all answers", all_answered) => {}
        () = serving => {}
    }
}

#[tokio::test]
async fn with_all_places_taken_for_too_long_the_caller_is_told_the_setting() {
    let mut function = ScriptedFunction::start(model_spec()).await;
    let sidecar = TestSidecar::new(&function, |config| {
        config.user_function.entity_streams_max = 1.try_into().ok();
        config.requests.timeout = Duration::from_millis(300);
    });
    let client = sidecar.ready().await.client();
    let _never_answered = client.process_within("ada", Duration::from_secs(30));
    // Its stream is given up in time, but a function that does not end it keeps its place for a while.
    let mut stream = function.stream().await;
    stream.until_command(0).await;
    let refused = answer(client.process_within("bob", Duration::from_secs(5))).await.expect_err("no place");
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert!(refused.message().contains("entity-streams-max"), "{refused}");
}

#[tokio::test]
async fn a_service_has_its_own_relay_timeout() {
    let mut function = ScriptedFunction::start(model_spec()).await;
    let sidecar = TestSidecar::new(&function, |config| {
        let service = "cloudstate.tck.model.EventSourcedTckModel".to_owned();
        config.requests.timeouts.insert(service, Duration::from_millis(150));
    });
    let client = sidecar.ready().await.client();
    let call = client.process("ada");
    let mut stream = function.stream().await;
    stream.until_command(0).await;
    let late = answer(call).await.expect_err("late");
    assert_eq!(late.code(), Code::DeadlineExceeded);
    assert!(late.message().contains("within"), "said by the front end or the entity, whichever is first: {late}");
}
