//! User services over gRPC, driven by an ordinary client.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cloudstate::call::{CallError, Reply, Requests};
use cloudstate::frontend::FrontendSettings;
use futures_util::StreamExt;
use http::uri::PathAndQuery;
use prost::encoding::{bytes as wire_bytes, string};
use proto::cloudstate::metadata_entry::Value;
use proto::cloudstate::{Metadata, MetadataEntry};
use tokio::sync::{mpsc, oneshot};
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Status};

use crate::front_seam::{Raw, Seam, echo, replies, soon};

const TOUCH: &str = "/shop.Cart/Touch";
const ECHO: &str = "/shop.Kinds/Echo";
const WATCH: &str = "/shop.Kinds/Watch";
const CHAT: &str = "/shop.Kinds/Chat";

fn path(path: &'static str) -> PathAndQuery {
    PathAndQuery::from_static(path)
}

/// A message whose field 1 is `text`.
fn text(text: &str) -> Bytes {
    let mut message = Vec::new();
    string::encode(1, &text.to_owned(), &mut message);
    message.into()
}

async fn unary(seam: &Seam, method: &'static str, payload: Bytes) -> Result<Bytes, Status> {
    let mut grpc = seam.grpc().await;
    soon(grpc.unary(Request::new(payload), path(method), Raw)).await.map(|response| response.into_inner())
}

#[tokio::test]
async fn a_unary_call_hands_its_bytes_on_untouched() {
    let seam = Seam::echo().await;
    // Field 99 is in no descriptor: nothing is decoded and written again.
    let mut payload = text("alice").to_vec();
    wire_bytes::encode(99, &b"unknown".to_vec(), &mut payload);
    let payload = Bytes::from(payload);
    assert_eq!(unary(&seam, TOUCH, payload.clone()).await.expect("echoed"), payload);
    let seen = &seam.seen()[0];
    assert_eq!(seen.method, "shop.Cart.Touch");
    assert_eq!(seen.payload.as_ref(), Some(&payload));
    assert!(seen.has_deadline, "the relay timeout is the deadline of a call without one");
    assert!(seen.metadata.entries.is_empty(), "commands of entities carry none");
}

#[tokio::test]
async fn all_four_shapes_go_through() {
    let seam = Seam::echo().await;
    let mut grpc = seam.grpc().await;
    let many = || futures_util::stream::iter([text("a"), text("b"), Bytes::new()]);

    let one = soon(grpc.unary(Request::new(text("a")), path(ECHO), Raw)).await.expect("unary");
    assert_eq!(one.into_inner(), text("a"));
    let first = soon(grpc.client_streaming(Request::new(many()), path("/shop.Kinds/Upload"), Raw)).await;
    assert_eq!(first.expect("client streaming").into_inner(), text("a"), "a single reply is the first one");
    let watched = soon(grpc.server_streaming(Request::new(text("w")), path(WATCH), Raw)).await.expect("streams");
    assert_eq!(soon(watched.into_inner().map(Result::unwrap).collect::<Vec<_>>()).await, [text("w")]);
    let chat = soon(grpc.streaming(Request::new(many()), path(CHAT), Raw)).await.expect("streams");
    let answers: Vec<_> = soon(chat.into_inner().map(Result::unwrap).collect()).await;
    assert_eq!(answers, [text("a"), text("b"), Bytes::new()]);
    assert!(!seam.seen().last().expect("seen").has_deadline, "a stream may stay open");
}

#[tokio::test]
async fn a_chat_is_answered_while_it_is_still_talking() {
    let seam = Seam::echo().await;
    let mut grpc = seam.grpc().await;
    let (say, heard) = mpsc::channel(1);
    say.send(text("one")).await.expect("open");
    let said = tokio_stream::wrappers::ReceiverStream::new(heard);
    let mut chat = soon(grpc.streaming(Request::new(said), path(CHAT), Raw)).await.expect("streams").into_inner();
    assert_eq!(soon(chat.message()).await.expect("answered"), Some(text("one")));
    say.send(text("two")).await.expect("open");
    assert_eq!(soon(chat.message()).await.expect("answered"), Some(text("two")));
    drop(say);
    assert_eq!(soon(chat.message()).await.expect("ended"), None);
}

#[tokio::test]
async fn the_functions_failure_is_unknown_with_its_text_and_other_errors_keep_their_status() {
    let seam = Seam::scripted(|call| match &call.requests {
        Requests::One(payload) if *payload == text("fail") => {
            replies(vec![], Some(CallError::Failure("no such item: größe ☃ 100%\nline".to_owned())))
        }
        _ => Box::pin(async {
            let mut status = Status::with_details(Code::NotFound, "gone", Bytes::from_static(b"details"));
            status.metadata_mut().insert("x-why", MetadataValue::from_static("because"));
            Err(CallError::Status(status))
        }),
    })
    .await;
    let failure = unary(&seam, ECHO, text("fail")).await.expect_err("fails");
    assert_eq!((failure.code(), failure.message()), (Code::Unknown, "no such item: größe ☃ 100%\nline"));
    let status = unary(&seam, ECHO, text("x")).await.expect_err("fails");
    assert_eq!((status.code(), status.message(), status.details()), (Code::NotFound, "gone", &b"details"[..]));
    assert_eq!(status.metadata().get("x-why").map(|value| value.as_bytes()), Some(&b"because"[..]));
}

#[tokio::test]
async fn a_failure_later_in_a_stream_comes_after_the_replies_before_it() {
    let seam = Seam::scripted(|_| replies(vec![text("1"), text("2")], Some(CallError::Failure("broke".into())))).await;
    let mut grpc = seam.grpc().await;
    let mut stream =
        soon(grpc.server_streaming(Request::new(text("w")), path(WATCH), Raw)).await.expect("starts").into_inner();
    assert_eq!(soon(stream.message()).await.expect("first"), Some(text("1")));
    assert_eq!(soon(stream.message()).await.expect("second"), Some(text("2")));
    let status = soon(stream.message()).await.expect_err("third");
    assert_eq!((status.code(), status.message()), (Code::Unknown, "broke"));
}

#[tokio::test]
async fn unknown_methods_and_services_are_unimplemented() {
    let seam = Seam::echo().await;
    for (method, message) in [
        ("/shop.Cart/Nope", "service [shop.Cart] has no method [Nope]"),
        ("/shop.Nope/Touch", "service [shop.Nope] is not served here"),
        ("/Touch", "[/Touch] is no path of a gRPC method"),
    ] {
        let status = unary(&seam, method, Bytes::new()).await.expect_err("unknown");
        assert_eq!((status.code(), status.message()), (Code::Unimplemented, message));
    }
    assert!(seam.seen().is_empty());
}

#[tokio::test]
async fn texts_are_percent_encoded_and_a_failure_is_trailers_only() {
    let seam = Seam::scripted(|_| replies(vec![], Some(CallError::Failure("größe 100%\n".to_owned())))).await;
    let answer = soon(seam.grpc_by_hand(ECHO, &[], &text("a"))).await;
    assert_eq!((answer.status, answer.data.len(), answer.trailers.len()), (200, 0, 0));
    assert_eq!(answer.headers["content-type"], "application/grpc");
    assert_eq!(answer.headers["grpc-status"], "2");
    assert_eq!(answer.headers["grpc-message"], "gr%C3%B6%C3%9Fe%20100%25%0A");
}

#[tokio::test]
async fn a_text_that_no_client_could_read_is_cut() {
    let seam = Seam::scripted(|_| replies(vec![], Some(CallError::Failure("ß".repeat(100_000))))).await;
    let failure = unary(&seam, ECHO, text("a")).await.expect_err("fails");
    assert_eq!(failure.code(), Code::Unknown);
    assert!(failure.message().starts_with("ßßß") && failure.message().ends_with("ß (cut)"), "{failure:?}");
}

#[tokio::test]
async fn a_deadline_of_nothing_starts_nothing() {
    let seam = Seam::echo().await;
    let answer = soon(seam.grpc_by_hand(ECHO, &[("grpc-timeout", "0S")], &text("a"))).await;
    assert_eq!(answer.headers["grpc-status"], "4", "{answer:?}");
    assert!(seam.seen().is_empty());
}

#[tokio::test]
async fn other_encodings_and_dialects_are_refused_by_name() {
    let seam = Seam::echo().await;
    let answer = soon(seam.grpc_by_hand(ECHO, &[("grpc-encoding", "br")], &text("a"))).await;
    assert_eq!(answer.headers["grpc-status"], "12", "{answer:?}");
    assert_eq!(answer.headers["grpc-accept-encoding"], "identity,gzip");
    assert!(seam.seen().is_empty());
}

#[tokio::test]
async fn an_empty_key_names_the_field() {
    let seam = Seam::echo().await;
    let status = unary(&seam, TOUCH, Bytes::new()).await.expect_err("no key");
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("user_id"), "{}", status.message());
    let status = unary(&seam, TOUCH, Bytes::from_static(b"\x0a\xff")).await.expect_err("malformed");
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn more_or_less_than_one_message_on_a_unary_method_is_refused_before_anything_runs() {
    let seam = Seam::echo().await;
    let mut grpc = seam.grpc().await;
    for messages in [vec![], vec![text("a"), text("b")]] {
        let stream = futures_util::stream::iter(messages);
        let status = soon(grpc.client_streaming(Request::new(stream), path(ECHO), Raw)).await.expect_err("refused");
        assert_eq!(status.code(), Code::Unimplemented, "{status:?}");
        assert!(status.message().contains("exactly one"));
    }
    assert!(seam.seen().is_empty());
}

#[tokio::test]
async fn messages_over_the_limits_are_resource_exhausted_and_the_next_call_works() {
    let settings = FrontendSettings { message_in_max: 1000, message_out_max: 2000, ..Default::default() };
    let seam = Seam::new(settings, |call| match &call.requests {
        Requests::One(payload) if payload.is_empty() => replies(vec![Bytes::from(vec![0; 2001])], None),
        _ => echo(call),
    })
    .await;
    let status = unary(&seam, ECHO, Bytes::from(vec![0; 1001])).await.expect_err("too large");
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("1001 bytes") && status.message().contains("1000 bytes"), "{status:?}");
    let status = unary(&seam, ECHO, Bytes::new()).await.expect_err("reply too large");
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(unary(&seam, ECHO, Bytes::from(vec![0; 1000])).await.expect("at the limit").len(), 1000);
}

#[tokio::test]
async fn four_mebibytes_pass_by_default_and_not_a_byte_more() {
    let seam = Seam::echo().await;
    let large = Bytes::from(vec![1; 4 << 20]);
    assert_eq!(unary(&seam, ECHO, large.clone()).await.expect("at the limit"), large);
    let status = unary(&seam, ECHO, Bytes::from(vec![1; (4 << 20) + 1])).await.expect_err("over");
    assert_eq!(status.code(), Code::ResourceExhausted);
}

#[tokio::test]
async fn gzip_is_understood_and_answered() {
    let seam = Seam::echo().await;
    let grpc = seam.grpc().await;
    let mut grpc = grpc.send_compressed(CompressionEncoding::Gzip).accept_compressed(CompressionEncoding::Gzip);
    for size in [10, 100_000] {
        let payload = Bytes::from(vec![7; size]);
        let response = soon(grpc.unary(Request::new(payload.clone()), path(ECHO), Raw)).await.expect("unary");
        let encoding = response.metadata().get("grpc-encoding").map(|value| value.as_bytes().to_vec());
        assert_eq!(encoding.is_some(), size >= 1024, "short replies are not worth it");
        assert_eq!(response.into_inner(), payload);
        let stream =
            soon(grpc.server_streaming(Request::new(payload.clone()), path(WATCH), Raw)).await.expect("stream");
        assert_eq!(soon(stream.into_inner().message()).await.expect("one"), Some(payload));
    }
}

#[tokio::test]
async fn a_client_deadline_ends_the_call_and_cancels_the_work() {
    let (dropped, cancelled) = oneshot::channel::<()>();
    let dropped = std::sync::Mutex::new(Some(dropped));
    let seam = Seam::scripted(move |call| {
        let guard = dropped.lock().expect("no panic").take();
        assert!(call.deadline.is_some());
        Box::pin(async move {
            let _guard = guard;
            std::future::pending().await
        })
    })
    .await;
    // By hand: a client library keeps the deadline itself.
    let answer = soon(seam.grpc_by_hand(ECHO, &[("grpc-timeout", "50m")], &text("a"))).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["grpc-status"], "4", "{answer:?}");
    soon(cancelled).await.expect_err("the guard was dropped, nothing was sent");
}

#[tokio::test]
async fn without_a_client_deadline_the_relay_timeout_holds_for_unary_calls_only() {
    let settings = FrontendSettings { relay_timeout: Duration::from_millis(50), ..Default::default() };
    let seam = Seam::new(settings, |call| {
        if call.method.server_streaming {
            let late = async {
                tokio::time::sleep(Duration::from_millis(150)).await;
                Ok(Reply { payload: text("late"), type_url: "x".into(), metadata: None })
            };
            return Box::pin(async { Ok(futures_util::stream::once(late).boxed()) });
        }
        Box::pin(std::future::pending())
    })
    .await;
    let status = unary(&seam, ECHO, text("a")).await.expect_err("too late");
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(status.message().contains("relay timeout"), "{status:?}");
    let mut grpc = seam.grpc().await;
    let mut stream =
        soon(grpc.server_streaming(Request::new(text("w")), path(WATCH), Raw)).await.expect("waits").into_inner();
    assert_eq!(soon(stream.message()).await.expect("late is fine"), Some(text("late")));
}

#[tokio::test]
async fn a_request_that_never_comes_is_given_up_even_when_the_replies_may_take_for_ever() {
    let settings = FrontendSettings { relay_timeout: Duration::from_millis(50), ..Default::default() };
    let seam = Seam::new(settings, echo).await;
    let mut grpc = seam.grpc().await;
    let silent = futures_util::stream::pending::<Bytes>();
    let status = soon(grpc.streaming(Request::new(silent), path(WATCH), Raw)).await.expect_err("given up");
    assert_eq!(status.code(), Code::DeadlineExceeded);
}

#[tokio::test]
async fn a_deadline_in_the_middle_of_a_stream_is_a_status() {
    let seam = Seam::scripted(|_| {
        let first = Ok(Reply { payload: text("1"), type_url: "x".into(), metadata: None });
        let stream = futures_util::stream::iter([first]).chain(futures_util::stream::pending());
        Box::pin(async move { Ok(stream.boxed()) })
    })
    .await;
    let answer = soon(seam.grpc_by_hand(WATCH, &[("grpc-timeout", "100m")], &text("w"))).await;
    assert_eq!(answer.data, [&[0, 0, 0, 0, 3][..], &text("1")].concat());
    assert_eq!(answer.trailers["grpc-status"], "4", "{answer:?}");
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_the_call() {
    let (dropped, cancelled) = oneshot::channel::<()>();
    let (reached, started) = oneshot::channel::<()>();
    let guards = std::sync::Mutex::new(Some((dropped, reached)));
    let seam = Seam::scripted(move |_| {
        let (dropped, reached) = guards.lock().expect("no panic").take().expect("called once");
        Box::pin(async move {
            let first = Ok(Reply { payload: text("1"), type_url: "x".into(), metadata: None });
            let held = futures_util::stream::once(async move {
                let _dropped = dropped;
                let _ = reached.send(());
                std::future::pending().await
            });
            Ok(futures_util::stream::iter([first]).chain(held).boxed())
        })
    })
    .await;
    let mut grpc = seam.grpc().await;
    let mut stream =
        soon(grpc.server_streaming(Request::new(text("w")), path(WATCH), Raw)).await.expect("starts").into_inner();
    soon(stream.message()).await.expect("first");
    soon(started).await.expect("the second is awaited");
    assert_eq!(seam.frontend.running(), 1);
    drop(stream);
    soon(cancelled).await.expect_err("the guard was dropped, nothing was sent");
    soon(async {
        while seam.frontend.running() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

fn entry(key: &str, value: Value) -> MetadataEntry {
    MetadataEntry { key: key.to_owned(), value: Some(value) }
}

#[tokio::test]
async fn headers_become_metadata_and_the_first_replys_metadata_becomes_headers() {
    let seam = Seam::scripted(|_| {
        let reply = |key: &str| {
            let entries = vec![
                entry(key, Value::StringValue("value".to_owned())),
                entry("content-type", Value::StringValue("text/evil".to_owned())),
            ];
            Ok(Reply { payload: text("1"), type_url: "x".into(), metadata: Some(Metadata { entries }) })
        };
        let all = [reply("x-first"), reply("x-second")];
        Box::pin(async move { Ok(futures_util::stream::iter(all).boxed()) })
    })
    .await;
    let mut grpc = seam.grpc().await;
    for method in [ECHO, WATCH] {
        let mut request = Request::new(text("a"));
        request.metadata_mut().insert("x-tenant", MetadataValue::from_static("blue"));
        request.metadata_mut().insert_bin("x-trace-bin", MetadataValue::from_bytes(&[0, 255]));
        let headers = if method == ECHO {
            soon(grpc.unary(request, path(method), Raw)).await.expect("unary").metadata().clone()
        } else {
            soon(grpc.server_streaming(request, path(method), Raw)).await.expect("stream").metadata().clone()
        };
        assert_eq!(headers.get("x-first").map(|value| value.as_bytes()), Some(&b"value"[..]));
        assert!(headers.get("x-second").is_none());
        assert_eq!(headers.get("content-type").map(|value| value.as_bytes()), Some(&b"application/grpc"[..]));
        let seen = seam.seen().last().expect("seen").metadata.clone();
        assert!(seen.entries.contains(&entry("x-tenant", Value::StringValue("blue".to_owned()))));
        assert!(seen.entries.contains(&entry("x-trace-bin", Value::BytesValue(Bytes::from_static(&[0, 255])))));
        for owned in ["te", "content-type", "grpc-timeout", ":path"] {
            assert!(seen.entries.iter().all(|entry| entry.key != owned), "{owned}: {seen:?}");
        }
    }
}

#[tokio::test]
async fn metadata_over_its_limit_is_refused() {
    let seam = Seam::echo().await;
    let mut grpc = seam.grpc().await;
    let mut request = Request::new(text("a"));
    let value = MetadataValue::try_from("x".repeat(9000)).expect("ascii");
    request.metadata_mut().insert("x-large", value);
    let status = soon(grpc.unary(request, path(ECHO), Raw)).await.expect_err("too much");
    assert_eq!(status.code(), Code::ResourceExhausted);
}

#[tokio::test]
async fn a_reply_without_payload_is_no_message_and_ok() {
    let seam = Seam::scripted(|_| replies(vec![], None)).await;
    let mut grpc = seam.grpc().await;
    let stream = soon(grpc.server_streaming(Request::new(text("a")), path(ECHO), Raw)).await.expect("ok");
    assert_eq!(soon(stream.into_inner().message()).await.expect("ends well"), None);
}

#[tokio::test]
async fn nothing_served_is_unavailable_with_the_reason_and_can_change_back() {
    let seam = Seam::echo().await;
    let calls = Arc::new(());
    seam.frontend.stop_serving("the function has changed");
    let status = unary(&seam, ECHO, text("a")).await.expect_err("nothing served");
    assert_eq!((status.code(), status.message()), (Code::Unavailable, "the function has changed"));
    drop(calls);
    let idle = Seam::idle(FrontendSettings::default()).await;
    let status = unary(&idle, ECHO, text("a")).await.expect_err("nothing served");
    assert_eq!(status.code(), Code::Unavailable);
}

#[tokio::test]
async fn calls_over_the_limit_are_refused_and_places_are_given_back() {
    let settings = FrontendSettings { calls_max: 1, ..Default::default() };
    let (hold, held) = tokio::sync::watch::channel(false);
    let seam = Seam::new(settings, move |call| {
        let mut held = held.clone();
        Box::pin(async move {
            held.wait_for(|free| *free).await.expect("the test holds it");
            echo(call).await
        })
    })
    .await;
    let mut grpc = seam.grpc().await;
    let first = tokio::spawn(async move { grpc.unary(Request::new(text("a")), path(ECHO), Raw).await });
    soon(async {
        while seam.seen().is_empty() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let status = unary(&seam, ECHO, text("b")).await.expect_err("full");
    assert_eq!(status.code(), Code::ResourceExhausted);
    hold.send(true).expect("awaited");
    soon(first).await.expect("joins").expect("answered");
    unary(&seam, ECHO, text("c")).await.expect("room again");
}
