//! Nothing runs ahead of the slower side, and nobody else stands still for it.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::FutureExt;
use tokio_stream::StreamExt;

use super::{another_client, next, opened, start, streamed_out};
use crate::scripted::{Model, ScriptedFunction, ScriptedStream, TestSidecar, answer, reply as entity_reply, soon};
use crate::scripted_action::{ScriptedCall, reply, request};

/// A message large enough that few of them fill what is between client and function.
const LARGE: usize = 16 * 1024;

/// More than the windows and buffers of all hops together.
const FAR_AHEAD: usize = 200;

/// Commands to an entity that are served while something stands still, before that counts as held back: the slower the
/// machine, the longer they take.
const MEANWHILE: usize = 50;

/// An entity that shows that the sidecar serves.
struct Witness {
    client: Model,
    stream: ScriptedStream,
    served: i64,
}

impl Witness {
    async fn open(function: &mut ScriptedFunction, sidecar: &TestSidecar) -> Self {
        let client = sidecar.client();
        let call = client.process("witness");
        let mut stream = function.stream().await;
        assert_eq!(stream.until_command(0).await.id, 1);
        stream.reply(entity_reply(1, "opened", &[])).await;
        answer(call).await.expect("served");
        Self { client, stream, served: 1 }
    }

    async fn serve(&mut self) {
        self.served += 1;
        let call = self.client.process("witness");
        assert_eq!(self.stream.command().await.id, self.served);
        self.stream.reply(entity_reply(self.served, "served", &[])).await;
        answer(call).await.expect("served");
    }
}

/// Answers until an answer is not taken, and says how many were.
async fn answer_until_held_back(action: &ScriptedCall, text: &str, witness: &mut Witness) -> usize {
    for sent in 0..FAR_AHEAD {
        let mut taken = pin!(action.answer(reply(text)));
        let mut meanwhile = 0;
        while taken.as_mut().now_or_never().is_none() {
            if meanwhile == MEANWHILE {
                return sent;
            }
            witness.serve().await;
            meanwhile += 1;
        }
    }
    FAR_AHEAD
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_the_function_back() {
    let (mut function, sidecar, client) = start().await;
    let mut witness = Witness::open(&mut function, &sidecar).await;
    let opening = streamed_out(&client, "go");
    let action = function.call().await;
    let large = "x".repeat(LARGE);
    let sent = answer_until_held_back(&action, &large, &mut witness).await;
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
    let (mut function, sidecar, mut client) = start().await;
    let mut witness = Witness::open(&mut function, &sidecar).await;
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
        for _ in 0..MEANWHILE {
            witness.serve().await;
        }
    }
    assert!((1..FAR_AHEAD).contains(&before), "all messages were taken though nobody reads");
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
    let mut witness = Witness::open(&mut function, &sidecar).await;
    let mut stalled = Vec::new();
    for _ in 0..24 {
        let opening = streamed_out(&client, "go");
        let action = function.call().await;
        let sent = answer_until_held_back(&action, &"x".repeat(LARGE), &mut witness).await;
        assert!(sent < FAR_AHEAD);
        stalled.push((action, opening));
    }

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
