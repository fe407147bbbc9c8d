//! Nothing runs ahead of the slower side, and nobody else stands still for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio_stream::StreamExt;

use super::{A_WHILE, another_client, next, opened, start, streamed_out};
use crate::scripted::{answer, reply as entity_reply, soon};
use crate::scripted_action::{ScriptedCall, reply, request};

/// A message large enough that few of them fill what is between client and function.
const LARGE: usize = 16 * 1024;

/// More than the windows and buffers of all hops together.
const FAR_AHEAD: usize = 200;

/// Answers until nobody takes any more answers for a while, and says how many were taken.
async fn answer_until_held_back(action: &ScriptedCall, text: &str) -> usize {
    for sent in 0..FAR_AHEAD {
        if tokio::time::timeout(A_WHILE, action.answer(reply(text))).await.is_err() {
            return sent;
        }
    }
    FAR_AHEAD
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_the_function_back() {
    let (mut function, _sidecar, client) = start().await;
    let opening = streamed_out(&client, "go");
    let action = function.call().await;
    let large = "x".repeat(LARGE);
    let sent = answer_until_held_back(&action, &large).await;
    assert!((1..FAR_AHEAD).contains(&sent), "{sent} messages were taken that nobody reads");
    let mut replies = opened(opening).await;
    // What was given up while it waited for room was not sent.
    for _ in 0..sent {
        assert_eq!(next(&mut replies).await.expect("served").map(|text| text.len()), Some(LARGE));
    }
    action.answer(reply("on it goes")).await;
    assert_eq!(next(&mut replies).await.expect("served").as_deref(), Some("on it goes"));
}

#[tokio::test]
async fn a_function_that_does_not_read_holds_the_client_back() {
    let (mut function, _sidecar, mut client) = start().await;
    let pulled = Arc::new(AtomicUsize::new(0));
    let counted = pulled.clone();
    let requests = tokio_stream::iter(0..FAR_AHEAD).map(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        request(&"x".repeat(LARGE))
    });
    let call = tokio::spawn(async move { client.process_streamed_in(requests).await });
    let mut action = function.call().await;
    let mut before = usize::MAX;
    while before != pulled.load(Ordering::SeqCst) {
        before = pulled.load(Ordering::SeqCst);
        tokio::time::sleep(A_WHILE).await;
    }
    assert!(before < FAR_AHEAD, "all messages were taken though nobody reads");
    action.command().await;
    for _ in 0..FAR_AHEAD {
        assert_eq!(action.text().await.len(), LARGE);
    }
    assert_eq!(action.next().await.expect("not reset"), None);
    action.answer(reply("all read")).await;
    soon("the answer", call).await.expect("no panic").expect("served");
}

/// What nobody reads fills windows of connections to the function, and those are not the entities'.
#[tokio::test]
async fn entities_do_not_wait_for_clients_that_do_not_read() {
    let (mut function, sidecar, client) = start().await;
    let mut stalled = Vec::new();
    for _ in 0..24 {
        let opening = streamed_out(&client, "go");
        let action = function.call().await;
        stalled.push(tokio::spawn(async move {
            let sent = answer_until_held_back(&action, &"x".repeat(LARGE)).await;
            (action, opening, sent)
        }));
    }
    let mut held = Vec::new();
    for task in stalled {
        held.push(task.await.expect("no panic"));
    }
    assert!(held.iter().all(|(_, _, sent)| *sent < FAR_AHEAD));

    let call = sidecar.client().process("ada");
    let mut entity = function.stream().await;
    entity.until_command(0).await;
    entity.reply(entity_reply(1, "served", &[])).await;
    assert_eq!(answer(call).await.expect("served"), "served");

    // Nor does a stream of a client that reads wait for those of one that does not.
    let reading = another_client(&sidecar);
    let opening = streamed_out(&reading, "go");
    let action = function.call().await;
    action.answer(reply("one")).await;
    assert_eq!(next(&mut opened(opening).await).await.expect("served").as_deref(), Some("one"));
}
