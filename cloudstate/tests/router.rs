//! Side effects and forwards between entities.

use bytes::Bytes;
use prost::Message;
use proto::Any;
use proto::cloudstate::eventsourced::EventSourcedReply;
use proto::cloudstate::{ClientAction, Forward, SideEffect, client_action};
use proto::model::tck;
use tonic::Code;

use crate::scripted::{Model, ScriptedFunction, ScriptedStream, TestSidecar, answer, failure, model_spec, reply, soon};

const TWO: &str = "cloudstate.tck.model.EventSourcedTwo";

fn request(id: &str) -> Any {
    Any {
        type_url: "type.googleapis.com/cloudstate.tck.model.Request".to_owned(),
        value: tck::Request { id: id.to_owned(), actions: Vec::new() }.encode_to_vec().into(),
    }
}

fn effect(service: &str, command: &str, id: &str, synchronous: bool) -> SideEffect {
    SideEffect {
        service_name: service.to_owned(),
        command_name: command.to_owned(),
        payload: Some(request(id)),
        synchronous,
        metadata: None,
    }
}

fn forward(command_id: i64, service: &str, command: &str, id: &str) -> EventSourcedReply {
    let forward = Forward {
        service_name: service.to_owned(),
        command_name: command.to_owned(),
        payload: Some(request(id)),
        metadata: None,
    };
    let action = client_action::Action::Forward(forward);
    EventSourcedReply {
        command_id,
        client_action: Some(ClientAction { action: Some(action) }),
        ..EventSourcedReply::default()
    }
}

async fn start() -> (ScriptedFunction, TestSidecar, Model) {
    let function = ScriptedFunction::start(model_spec()).await;
    let sidecar = TestSidecar::new(&function, |_| {}).ready().await;
    let client = sidecar.client();
    (function, sidecar, client)
}

/// A new stream of `EventSourcedTwo` with its first command.
async fn second(function: &mut ScriptedFunction, id: &str) -> ScriptedStream {
    let mut stream = function.stream().await;
    let init = stream.init().await;
    assert_eq!((init.service_name.as_str(), init.entity_id.as_str()), (TWO, id));
    let command = stream.command().await;
    assert_eq!((command.name.as_str(), command.metadata), ("Call", None));
    stream
}

#[tokio::test]
async fn a_forward_is_answered_by_its_target_and_its_events_are_kept() {
    let (mut function, _sidecar, client) = start().await;
    let call = client.process("ada");
    let mut first = function.stream().await;
    first.until_command(0).await;
    first.reply(EventSourcedReply { events: reply(1, "", &["kept"]).events, ..forward(1, TWO, "Call", "bob") }).await;
    let second = second(&mut function, "bob").await;
    second.reply(reply(1, "from two", &[])).await;
    assert_eq!(answer(call).await.expect("served"), "from two");
    first.over().await;

    let call = client.process("ada");
    function.stream().await.until_command(1).await;
    call.abort();
}

#[tokio::test]
async fn a_synchronous_effect_is_awaited_and_an_asynchronous_one_is_not() {
    let (mut function, _sidecar, client) = start().await;
    let mut call = client.process("ada");
    let mut first = function.stream().await;
    first.until_command(0).await;
    let effects = vec![effect(TWO, "Call", "sync", true), effect(TWO, "Call", "async", false)];
    first.reply(EventSourcedReply { side_effects: effects, ..reply(1, "answered", &["x"]) }).await;
    let synchronous = second(&mut function, "sync").await;
    assert!(function.has_no_stream(), "effects run in order");
    assert!(futures_util::poll!(&mut call).is_pending(), "the caller waits for it");
    synchronous.reply(reply(1, "discarded", &[])).await;
    assert_eq!(answer(call).await.expect("served"), "answered");
    let asynchronous = second(&mut function, "async").await;
    asynchronous.reply(reply(1, "nobody hears", &["kept all the same"])).await;
}

#[tokio::test]
async fn a_failing_effect_is_its_own_affair() {
    let (mut function, _sidecar, client) = start().await;
    let call = client.process("ada");
    let mut first = function.stream().await;
    first.until_command(0).await;
    let effects = vec![effect(TWO, "Call", "bob", true)];
    first.reply(EventSourcedReply { side_effects: effects, ..reply(1, "answered", &[]) }).await;
    second(&mut function, "bob").await.reply(failure(1, "no", false)).await;
    assert_eq!(answer(call).await.expect("served"), "answered");
}

#[tokio::test]
async fn effects_of_a_failure_run_and_outlive_the_caller() {
    let (mut function, _sidecar, client) = start().await;
    let call = client.process("ada");
    let mut first = function.stream().await;
    first.until_command(0).await;
    call.abort();
    let effects = vec![effect(TWO, "Call", "bob", true), effect(TWO, "Call", "eve", true)];
    first.reply(EventSourcedReply { side_effects: effects, ..failure(1, "no", false) }).await;
    second(&mut function, "bob").await.reply(reply(1, "", &[])).await;
    second(&mut function, "eve").await.reply(reply(1, "", &[])).await;
}

#[tokio::test]
async fn unknown_targets_are_reported_with_the_way_that_led_there() {
    let (mut function, _sidecar, client) = start().await;
    let call = client.process("ada");
    let mut first = function.stream().await;
    first.until_command(0).await;
    let effects = vec![effect("shop.Nowhere", "Call", "x", false), effect(TWO, "Call", "bob", true)];
    first.reply(EventSourcedReply { side_effects: effects, ..reply(1, "never", &[]) }).await;
    let model = "cloudstate.tck.model.EventSourcedTckModel.Process";
    assert_eq!(function.report().await, format!("Service [shop.Nowhere] unknown\n  side-effect of{model}"));

    // The synchronous one forwards to a command that is not there: the whole response fails.
    second(&mut function, "bob").await.reply(forward(1, TWO, "Nothing", "x")).await;
    assert_eq!(
        function.report().await,
        format!(
            "Service [{TWO}] does not have a command named: [Nothing]\n  forwarded from{TWO}.Call\n  side-effect of {model}"
        )
    );
    let status = answer(call).await.expect_err("an effect could not be carried out");
    assert_eq!((status.code(), status.message()), (Code::Internal, "Error"));
}

#[tokio::test]
async fn a_loop_of_forwards_comes_to_an_end() {
    let (mut function, _sidecar, client) = start().await;
    let call = client.process("0");
    let mut streams = vec![function.stream().await];
    streams[0].until_command(0).await;
    for hop in 0..32 {
        let id = format!("hop-{hop}");
        streams[hop].reply(forward(1, TWO, "Call", &id)).await;
        streams.push(second(&mut function, &id).await);
    }
    streams[32].reply(forward(1, TWO, "Call", "one-too-many")).await;
    let report = function.report().await;
    assert!(report.starts_with("More than 32 forwards and side effects in a row"), "{report}");
    assert_eq!(answer(call).await.expect_err("stopped").message(), "Error");
}

#[tokio::test]
async fn a_payload_without_a_key_fails_the_forward_only() {
    let (mut function, _sidecar, client) = start().await;
    let call = client.process("ada");
    let mut first = function.stream().await;
    first.until_command(0).await;
    let mut keyless = forward(1, TWO, "Call", "");
    if let Some(client_action::Action::Forward(forward)) =
        keyless.client_action.as_mut().and_then(|a| a.action.as_mut())
    {
        forward.payload = Some(Any { type_url: String::new(), value: Bytes::new() });
    }
    first.reply(keyless).await;
    let status = answer(call).await.expect_err("no key");
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
}

#[tokio::test]
async fn draining_waits_for_what_a_command_has_set_off() {
    let (mut function, sidecar, client) = start().await;
    let call = client.process("ada");
    let mut first = function.stream().await;
    first.until_command(0).await;
    let draining = tokio::spawn(sidecar.proxy.drain());
    let effects = vec![effect(TWO, "Call", "bob", false)];
    first.reply(EventSourcedReply { side_effects: effects, ..reply(1, "answered", &["x"]) }).await;
    assert_eq!(answer(call).await.expect("finished"), "answered");
    let second = second(&mut function, "bob").await;
    assert!(!draining.is_finished());
    second.reply(reply(1, "nobody hears", &["kept"])).await;
    tokio::join!(first.closed(), second.closed());
    soon("the end", draining).await.expect("drained");
}
