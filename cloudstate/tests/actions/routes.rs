//! Forwards, side effects and metadata, between any kinds of services.

use bytes::Bytes;
use prost::Message;
use proto::Any;
use proto::cloudstate::action::{ActionResponse, action_response};
use proto::cloudstate::eventsourced::EventSourcedReply;
use proto::cloudstate::metadata_entry::Value;
use proto::cloudstate::{ClientAction, Forward, Metadata, MetadataEntry, Reply, client_action};
use proto::model::tck;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request};

use super::{A_WHILE, answer, next, opened, start, start_with, streamed, streamed_in, streamed_out, unary};
use crate::scripted::{failure as entity_failure, reply as entity_reply, soon};
use crate::scripted_action::{MODEL, TWO, effect, failure, forward, other, reply, request, response};

const ENTITY: &str = "cloudstate.tck.model.EventSourcedTwo";

fn for_entity(id: &str) -> Any {
    let request = tck::Request { id: id.to_owned(), actions: Vec::new() };
    Any::pack("cloudstate.tck.model.Request", &request)
}

fn for_action(text: &str) -> Any {
    Any::pack("cloudstate.tck.model.action.Request", &request(text))
}

fn text(key: &str, value: &str) -> MetadataEntry {
    MetadataEntry { key: key.to_owned(), value: Some(Value::StringValue(value.to_owned())) }
}

fn bytes(key: &str, value: &'static [u8]) -> MetadataEntry {
    MetadataEntry { key: key.to_owned(), value: Some(Value::BytesValue(Bytes::from_static(value))) }
}

#[tokio::test]
async fn effects_come_before_their_element_and_in_order() {
    let (mut function, _sidecar, client) = start().await;
    let opening = streamed_out(&client, "");
    let action = function.call().await;
    let effects = vec![effect(TWO, "Call", other("a"), true), effect(ENTITY, "Call", for_entity("b"), true)];
    action.answer(ActionResponse { side_effects: effects, ..reply("one") }).await;
    action.answer(reply("two")).await;
    let first = function.call().await;
    assert!(function.has_no_stream(), "effects run in order");
    assert!(!opening.is_finished(), "the element waits for its effects");
    // What the target of an effect answers is its own affair.
    first.answer(failure("discarded")).await;
    let mut entity = function.stream().await;
    entity.until_command(0).await;
    entity.reply(entity_failure(1, "discarded", false)).await;
    let mut replies = opened(opening).await;
    for expected in ["one", "two"] {
        assert_eq!(next(&mut replies).await.expect("served").as_deref(), Some(expected));
    }
}

#[tokio::test]
async fn all_messages_of_a_streamed_effect_are_discarded() {
    let (mut function, _sidecar, client) = start().await;
    let call = unary(&client, "");
    let action = function.call().await;
    let effects = vec![effect(MODEL, "ProcessStreamedOut", for_action("x"), true)];
    action.answer(ActionResponse { side_effects: effects, ..reply("answered") }).await;
    let mut streamed = function.call().await;
    assert_eq!((streamed.rpc, streamed.text().await.as_str()), ("streamed-out", "x"));
    for _ in 0..20 {
        streamed.answer(reply("discarded")).await;
    }
    assert!(!call.is_finished(), "the effect is not done");
    streamed.end();
    assert_eq!(answer(call).await.expect("served"), "answered");
}

/// The replies of the target take the place of the element, whatever the shapes.
#[tokio::test]
async fn forwards_of_a_stream_are_flattened_in_place() {
    let (mut function, _sidecar, client) = start().await;
    let (_requests, opening) = streamed(&client);
    let mut action = function.call().await;
    action.command().await;
    action.answer(reply("before")).await;
    let mut replies = opened(opening).await;
    assert_eq!(next(&mut replies).await.expect("served").as_deref(), Some("before"));

    action.answer(forward(MODEL, "ProcessStreamedOut", for_action("many"))).await;
    let mut many = function.call().await;
    assert_eq!((many.rpc, many.text().await.as_str()), ("streamed-out", "many"));
    for text in ["m1", "m2"] {
        many.answer(reply(text)).await;
        assert_eq!(next(&mut replies).await.expect("served").as_deref(), Some(text));
    }
    many.end();

    action.answer(forward(MODEL, "ProcessStreamedIn", for_action("single"))).await;
    let mut single = function.call().await;
    assert_eq!((single.rpc, single.command().await.payload), ("streamed-in", None));
    assert_eq!(single.text().await, "single");
    assert_eq!(single.next().await.expect("not reset"), None, "one message is all there is");
    single.answer(reply("from streamed in")).await;
    assert_eq!(next(&mut replies).await.expect("served").as_deref(), Some("from streamed in"));

    action.answer(forward(ENTITY, "Call", for_entity("bob"))).await;
    let mut entity = function.stream().await;
    entity.until_command(0).await;
    entity.reply(entity_reply(1, "from the entity", &[])).await;
    assert_eq!(next(&mut replies).await.expect("served").as_deref(), Some("from the entity"));

    action.answer(reply("after")).await;
    assert_eq!(next(&mut replies).await.expect("served").as_deref(), Some("after"));
}

#[tokio::test]
async fn a_unary_call_takes_the_first_reply_of_a_streaming_target() {
    let (mut function, _sidecar, client) = start().await;
    let call = unary(&client, "");
    function.call().await.answer(forward(MODEL, "ProcessStreamedOut", for_action("x"))).await;
    let target = function.call().await;
    target.answer(reply("first")).await;
    assert_eq!(answer(call).await.expect("served"), "first");
    target.abandoned().await;
}

#[tokio::test]
async fn entities_forward_to_actions_and_set_them_off() {
    let (mut function, sidecar, _client) = start().await;
    let call = sidecar.client().process("ada");
    let mut entity = function.stream().await;
    entity.until_command(0).await;
    let target = Forward {
        service_name: TWO.to_owned(),
        command_name: "Call".to_owned(),
        payload: Some(other("forwarded")),
        metadata: None,
    };
    let action = client_action::Action::Forward(target);
    let effects = vec![effect(TWO, "Call", other("effect"), true)];
    entity
        .reply(EventSourcedReply {
            client_action: Some(ClientAction { action: Some(action) }),
            side_effects: effects,
            ..entity_reply(1, "", &["kept"])
        })
        .await;
    for id in ["effect", "forwarded"] {
        let mut call = function.call().await;
        let command = call.command().await;
        assert_eq!((command.service_name.as_str(), command.name.as_str()), (TWO, "Call"));
        let payload = command.payload.expect("a payload").value;
        assert_eq!(tck::action::OtherRequest::decode(payload).expect("as sent").id, id);
        call.answer(reply(id)).await;
    }
    assert_eq!(crate::scripted::answer(call).await.expect("served"), "forwarded");
}

/// Row 59: a loop of forwards ends.
#[tokio::test]
async fn actions_that_forward_in_a_circle_are_stopped() {
    let (mut function, _sidecar, client) = start().await;
    let call = unary(&client, "");
    for _ in 0..33 {
        function.call().await.answer(forward(MODEL, "ProcessUnary", for_action("again"))).await;
    }
    let report = function.report().await;
    assert!(report.starts_with("More than 32 forwards and side effects in a row"), "{report}");
    assert_eq!(answer(call).await.expect_err("stopped").code(), Code::Internal);
    assert!(function.has_no_action());
}

/// Row 60: an effect that cannot be carried out fails the response and skips what comes after it.
#[tokio::test]
async fn an_effect_that_takes_too_long_fails_the_response() {
    let (mut function, _sidecar, mut client) = start().await;
    let mut asked = Request::new(request(""));
    asked.set_timeout(A_WHILE);
    let call = tokio::spawn(async move { client.process_unary(asked).await });
    let effects = vec![effect(TWO, "Call", other("hangs"), true), effect(TWO, "Call", other("skipped"), true)];
    let action = function.call().await;
    action.answer(ActionResponse { side_effects: effects, ..reply("never") }).await;
    let hanging = function.call().await;
    let status = soon("the end", call).await.expect("no panic").expect_err("the effects share the call's time");
    assert!(matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled), "{status}");
    hanging.abandoned().await;
    tokio::time::sleep(A_WHILE).await;
    assert!(function.has_no_action(), "later effects are skipped");
}

/// Row 60: the same when the call has no deadline: its effects have one of their own.
#[tokio::test]
async fn effects_of_a_stream_have_a_time_limit() {
    let (mut function, _sidecar, client) = start_with(|config| config.requests.timeout = A_WHILE).await;
    let opening = streamed_out(&client, "");
    let effects = vec![effect(TWO, "Call", other("hangs"), true)];
    let action = function.call().await;
    action.answer(ActionResponse { side_effects: effects, ..reply("never") }).await;
    let hanging = function.call().await;
    // Before the headers or after them, which do not wait for ever.
    let status = match soon("the end", opening).await.expect("no panic") {
        Err(status) => status,
        Ok(mut replies) => soon("the end", replies.message()).await.expect_err("overdue"),
    };
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
    hanging.abandoned().await;
    action.abandoned().await;
}

/// Row 61: targets are the services of this function; anything else is its mistake.
#[tokio::test]
async fn a_target_elsewhere_is_reported_and_fails() {
    let (mut function, _sidecar, client) = start().await;
    let (_requests, call) = streamed_in(&client);
    function.call().await.answer(forward("shop.Elsewhere", "Call", other("x"))).await;
    let report = function.report().await;
    assert_eq!(report, format!("Service [shop.Elsewhere] unknown\n  forwarded from{MODEL}.ProcessStreamedIn"));
    assert_eq!(answer(call).await.expect_err("unknown").code(), Code::Internal);
}

/// Row 62: a target is given the metadata of its forward, once, and nothing of the call behind it.
#[tokio::test]
async fn metadata_of_a_forward_is_delivered_once() {
    for (command, rpc) in [("ProcessUnary", "unary"), ("ProcessStreamedIn", "streamed-in")] {
        let (mut function, _sidecar, mut client) = start().await;
        let mut asked = Request::new(request(""));
        asked.metadata_mut().insert("x-of-the-client", MetadataValue::from_static("1"));
        let call = tokio::spawn(async move { client.process_unary(asked).await });
        let mut action = function.call().await;
        let entries = action.command().await.metadata.expect("metadata").entries;
        assert!(entries.contains(&text("x-of-the-client", "1")), "{entries:?}");
        let mut forwarded = forward(MODEL, command, for_action("x"));
        if let Some(action_response::Response::Forward(forward)) = &mut forwarded.response {
            forward.metadata = Some(Metadata { entries: vec![text("x-of-the-forward", "2")] });
        }
        action.answer(forwarded).await;
        let mut target = function.call().await;
        assert_eq!(target.rpc, rpc);
        let first = target.command().await;
        assert_eq!(first.metadata.expect("metadata").entries, [text("x-of-the-forward", "2")]);
        if rpc == "streamed-in" {
            assert_eq!(target.command().await.metadata, None);
        }
        // Of the replies it is the last one's metadata that the client is given.
        let metadata = Some(Metadata { entries: vec![text("x-of-the-reply", "3")] });
        let last = Reply { payload: Some(response("done")), metadata };
        target.answer(ActionResponse { response: Some(action_response::Response::Reply(last)), ..reply("") }).await;
        let answer = soon("the answer", call).await.expect("no panic").expect("served");
        assert_eq!(answer.metadata().get("x-of-the-reply").expect("a header"), "3");
    }
}

/// Row 63: binary metadata passes as bytes both ways, and headers of the transport do not pass at all.
#[tokio::test]
async fn binary_metadata_passes_in_both_directions() {
    let (mut function, _sidecar, mut client) = start().await;
    let mut asked = Request::new(request(""));
    asked.metadata_mut().insert_bin("trace-bin", MetadataValue::from_bytes(&[0, 255, 7]));
    asked.set_timeout(crate::scripted::SOON);
    let call = tokio::spawn(async move { client.process_unary(asked).await });
    let mut action = function.call().await;
    let entries = action.command().await.metadata.expect("metadata").entries;
    assert!(entries.contains(&bytes("trace-bin", &[0, 255, 7])), "{entries:?}");
    let owned = ["te", "content-type", "grpc-timeout", "x-http2-stream-id"];
    assert!(entries.iter().all(|entry| !owned.contains(&entry.key.as_str())), "{entries:?}");
    let metadata = Metadata { entries: vec![bytes("answer-bin", &[1, 254]), text("x-plain", "yes")] };
    let reply = Reply { payload: Some(response("done")), metadata: Some(metadata) };
    let response = Some(action_response::Response::Reply(reply));
    action.answer(ActionResponse { response, side_effects: Vec::new() }).await;
    let answer = soon("the answer", call).await.expect("no panic").expect("served");
    let binary = answer.metadata().get_bin("answer-bin").expect("a header").to_bytes().expect("base64");
    assert_eq!(binary.as_ref(), [1, 254]);
    assert_eq!(answer.metadata().get("x-plain").expect("a header"), "yes");
}
