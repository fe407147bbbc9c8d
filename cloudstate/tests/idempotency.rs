//! Commands with an `idempotency-key`: a client that has no answer sends its command again, and the entity is asked once.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use cloudstate::store::Store;
use persistence::testkit::FaultyJournal;
use persistence::{AppendError, InMemoryJournal, InMemorySnapshotStore, InMemoryStateStore};
use proto::model::tck::valueentity as value_tck;
use proto::model::tck::valueentity::value_entity_tck_model_client::ValueEntityTckModelClient;
use rand::Rng;
use tonic::{Code, Request, Status};

use crate::cart_client::CartClient;
use crate::process::{Function, Sidecar, free_port, journal_of};
use crate::scripted::{
    Model, ScriptedFunction, ScriptedStream, TestSidecar, answer, model_spec, reply, spec, value_reply, with_snapshot,
};

async fn start() -> (ScriptedFunction, TestSidecar, Model) {
    let function = ScriptedFunction::start(model_spec()).await;
    let sidecar = TestSidecar::new(&function, |_| {}).ready().await;
    let client = sidecar.client();
    (function, sidecar, client)
}

/// One command with a key, which stores `event`.
async fn first(function: &mut ScriptedFunction, client: &Model) -> ScriptedStream {
    let call = client.process_once("ada", "key-1");
    let mut stream = function.stream().await;
    stream.until_command(0).await;
    stream.reply(reply(1, "one", &["one"])).await;
    assert_eq!(answer(call).await.expect("served"), "one");
    stream
}

#[tokio::test]
async fn a_command_sent_again_is_answered_again_and_the_function_sees_it_once() {
    let (mut function, _sidecar, client) = start().await;
    let mut stream = first(&mut function, &client).await;
    assert_eq!(answer(client.process_once("ada", "key-1")).await.expect("again"), "one");
    assert_eq!(answer(client.process_once("ada", "\"key-1\"")).await.expect("quoted, as a structured header"), "one");

    // The next command is the second that the function sees.
    let call = client.process_once("ada", "key-2");
    assert_eq!(stream.command().await.id, 2);
    stream.reply(with_snapshot(reply(2, "two", &["two"]), "state")).await;
    assert_eq!(answer(call).await.expect("served"), "two");
    stream.over().await;

    // In a new life, from snapshot and events; there the first answer is that of the first command.
    let again = client.process_once("ada", "key-1");
    let mut stream = function.stream().await;
    assert_eq!(stream.init().await.snapshot.expect("a snapshot").snapshot_sequence, 2);
    assert_eq!(answer(again).await.expect("again"), "one");
    assert_eq!(answer(client.process_once("ada", "key-2")).await.expect("again"), "two");
    let call = client.process("ada");
    assert_eq!(stream.command().await.id, 1, "the first command of this life");
    stream.reply(reply(1, "three", &[])).await;
    assert_eq!(answer(call).await.expect("served"), "three");
}

#[tokio::test]
async fn keys_are_those_of_one_entity_and_one_command() {
    let (mut function, sidecar, client) = start().await;
    let _stream = first(&mut function, &client).await;
    let call = client.process_once("bob", "key-1");
    let mut stream = function.stream().await;
    stream.until_command(0).await;
    stream.reply(reply(1, "bob's", &["one"])).await;
    assert_eq!(answer(call).await.expect("another entity"), "bob's");

    let body = r#"{"actions":[]}"#;
    let (status, text) = post(&sidecar, "/tck/model/eventsourced/ada", "key-1", body).await;
    assert_eq!(status, 400, "sent in another way, it is another command: {text}");
    assert!(text.contains("idempotency-key was used for another command"), "{text}");
    let (status, text) = post(&sidecar, "/tck/model/eventsourced/ada", &"x".repeat(300), body).await;
    assert!(status == 400 && text.contains("1 to 256 bytes"), "{status} {text}");
}

/// Two at once, as from an impatient client: one is carried out, both are answered.
#[tokio::test]
async fn a_command_sent_again_too_early_waits_for_the_answer_to_the_first() {
    let (mut function, _sidecar, client) = start().await;
    let (one, two) = (client.process_once("ada", "key-1"), client.process_once("ada", "key-1"));
    let mut stream = function.stream().await;
    stream.until_command(0).await;
    stream.reply(reply(1, "one", &["one"])).await;
    assert_eq!(answer(one).await.expect("served"), "one");
    assert_eq!(answer(two).await.expect("served"), "one");
}

#[tokio::test]
async fn http_has_the_same_header() {
    let (mut function, sidecar, _client) = start().await;
    let path = "/tck/model/eventsourced/ada";
    let first = {
        let address = sidecar.address;
        tokio::spawn(async move { post_to(address, path, "key-1", r#"{"actions":[]}"#).await })
    };
    let mut stream = function.stream().await;
    stream.until_command(0).await;
    stream.reply(reply(1, "one", &["one"])).await;
    let first = first.await.expect("no panic");
    assert_eq!((first.0, first.1.contains("one")), (200, true), "{first:?}");
    assert_eq!(post(&sidecar, path, "key-1", r#"{"actions":[]}"#).await, first);
    stream.over().await;
    let (again, mut stream) = tokio::join!(post(&sidecar, path, "key-1", r#"{"actions":[]}"#), function.stream());
    assert_eq!(again, first, "in a new life");
    stream.init().await;
}

/// What keys are for: nobody can say whether the first was stored. UNAVAILABLE invites to try again, which is harmless.
#[tokio::test]
async fn after_an_unknown_outcome_the_same_command_settles_it() {
    for stored in [true, false] {
        let journal = FaultyJournal::new(InMemoryJournal::default());
        let mut function = ScriptedFunction::start(model_spec()).await;
        let store = Store::new(journal.clone(), InMemorySnapshotStore::default(), InMemoryStateStore::default());
        let sidecar = TestSidecar::over(store, &function, |_| {}).ready().await;
        let client = sidecar.client();
        journal.unknown_next(stored);
        journal.fail_next(AppendError::Unavailable { reason: "gone".to_owned() });
        let call = client.process_once("ada", "key-1");
        let mut stream = function.stream().await;
        stream.until_command(0).await;
        stream.reply(reply(1, "one", &["one"])).await;
        let status = answer(call).await.expect_err("nobody knows");
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        stream.closed().await;

        let again = client.process_once("ada", "key-1");
        let mut stream = function.stream().await;
        if stored {
            stream.init().await;
            stream.event().await;
        } else {
            let command = stream.until_command(0).await;
            stream.reply(reply(command.id, "one", &["one"])).await;
        }
        assert_eq!(answer(again).await.expect("settled"), "one");
    }
}

fn process(sidecar: &TestSidecar, key: &str) -> tokio::task::JoinHandle<Result<String, Status>> {
    let mut client = ValueEntityTckModelClient::new(sidecar.channel());
    let mut request = Request::new(value_tck::Request { id: "ada".to_owned(), actions: Vec::new() });
    request.metadata_mut().insert("idempotency-key", key.parse().expect("a key"));
    tokio::spawn(async move { Ok(client.process(request).await?.into_inner().message) })
}

/// Values carry their answers with them, and a deletion leaves them.
#[tokio::test]
async fn value_entities_remember_too_and_a_deletion_forgets_nothing() {
    let mut values = spec(&[("valueentity.ValueEntityTckModel", "values", None)]);
    values.entities[0].entity_type = "cloudstate.valueentity.ValueEntity".to_owned();
    let mut function = ScriptedFunction::start(values).await;
    let sidecar = TestSidecar::new(&function, |_| {}).ready().await;
    for (life, (key, value)) in
        [("put", Some("one")), ("delete", None), ("put again", Some("two"))].into_iter().enumerate()
    {
        let call = process(&sidecar, key);
        let mut stream = function.value().await;
        stream.init_with([None, Some("one"), None][life]).await;
        assert_eq!(stream.command().await.id, 1);
        stream.reply(value_reply(1, key, Some(value))).await;
        assert_eq!(answer(call).await.expect("served"), key);
        stream.end();
        stream.closed().await;
        // Of all that came before, in the life after.
        let again = process(&sidecar, "put");
        let mut stream = function.value().await;
        stream.init_with([Some("one"), None, Some("two")][life]).await;
        assert_eq!(answer(again).await.expect("again"), "put");
        assert_eq!(answer(process(&sidecar, key)).await.expect("again"), key);
        stream.end();
        stream.closed().await;
    }
}

/// The processes are killed while commands are under way; each is sent until it is answered, always with its key. Each is
/// carried out once: the cart's quantities say so, and the journal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_are_carried_out_once_through_kill_9() {
    const COMMANDS: i32 = 60;
    let folder = tempfile::tempdir().expect("a folder");
    let (function_port, http_port) = (free_port(), free_port());
    let _function = Function::start(function_port);
    let store = format!("sqlite:{}", folder.path().display());
    let mut sidecar = Sidecar::start(&store, http_port, function_port);
    let mut client = CartClient::new(http_port);
    client.until_answered("ada", false).await;
    let answered = Arc::new(AtomicI32::new(0));
    let count = answered.clone();
    let worker = tokio::spawn(async move {
        let mut sent_again = 0;
        for number in 0..COMMANDS {
            client.key = Some(format!("command {number}"));
            // With its answer lost on purpose now and then.
            let times = if number % 4 == 0 { 2 } else { 1 };
            for _ in 0..times {
                while let Err(error) = client.add("ada", "product", 1, number % 2 == 0).await {
                    assert!(!error.contains("another command"), "{error}");
                    sent_again += 1;
                    client.reconnect().await;
                }
            }
            count.store(number + 1, Ordering::SeqCst);
        }
        (client, sent_again)
    });
    let mut goal = 0;
    while !worker.is_finished() {
        goal += rand::rng().random_range(2..7);
        while answered.load(Ordering::SeqCst) < goal && !worker.is_finished() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        sidecar.kill();
        sidecar = Sidecar::start(&store, http_port, function_port);
    }
    let (mut client, sent_again) = worker.await.expect("every command is answered in the end");
    client.key = None;
    let items = client.until_answered("ada", true).await;
    assert_eq!(items.get("product"), Some(&COMMANDS), "{sent_again} were sent again");
    drop(sidecar);
    assert_eq!(journal_of(folder.path()).len(), usize::try_from(COMMANDS).expect("small"), "one event each");
}

async fn post(sidecar: &TestSidecar, path: &str, key: &str, body: &str) -> (u16, String) {
    post_to(sidecar.address, path, key, body).await
}

async fn post_to(address: std::net::SocketAddr, path: &str, key: &str, body: &str) -> (u16, String) {
    use http_body_util::{BodyExt, Full};
    use hyper_util::client::legacy::Client;
    use hyper_util::rt::TokioExecutor;
    let client = Client::builder(TokioExecutor::new()).build_http();
    let request = http::Request::post(format!("http://{address}{path}"))
        .header("content-type", "application/json")
        .header("idempotency-key", key)
        .body(Full::new(bytes::Bytes::copy_from_slice(body.as_bytes())))
        .expect("a request");
    let response = crate::scripted::soon("a response", client.request(request)).await.expect("a response");
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}
