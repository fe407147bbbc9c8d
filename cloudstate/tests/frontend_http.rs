//! User services over HTTP/JSON, driven by an ordinary HTTP/1.1 client.

use std::time::Duration;

use bytes::Bytes;
use cloudstate::call::{Call, CallError, Reply, Requests};
use cloudstate::frontend::FrontendSettings;
use futures_util::StreamExt;
use http_body_util::BodyExt;
use proptest::prelude::*;
use prost_reflect::{DynamicMessage, Value};
use proto::cloudstate::metadata_entry::Value as MetadataValue;
use proto::cloudstate::{Metadata, MetadataEntry};
use tonic::{Code, Status};

use crate::front_seam::{Answer, Seam, echo, replies, soon};

/// A message of the type of `method`'s output from JSON.
fn output(call: &Call, json: &str) -> Bytes {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let message = DynamicMessage::deserialize(call.method.output.clone(), &mut deserializer).expect("valid JSON");
    prost::Message::encode_to_vec(&message).into()
}

/// The request as JSON, with only what is set.
fn seen_json(seam: &Seam) -> String {
    let seen = seam.seen().pop().expect("a call");
    let (service, method) = seen.method.rsplit_once('.').expect("a method");
    let input = seam.spec.method(service, method).expect("served").input.clone();
    let message = DynamicMessage::decode(input, seen.payload.expect("one message")).expect("a valid message");
    serde_json::to_string(&message).expect("JSON")
}

#[tokio::test]
async fn annotated_methods_have_their_paths_and_others_a_generated_one() {
    let seam = Seam::echo().await;
    let answer = seam.post_json("/cart/alice/items/add", r#"{"productId":"p","name":"n","quantity":3}"#).await;
    assert_eq!(answer.is(), (200, r#"{"userId":"alice","productId":"p","name":"n","quantity":3}"#));
    assert_eq!(answer.headers["content-type"], "application/json");
    let answer = seam.post_json("/shop.Cart/Touch", r#"{"user_id":"bob"}"#).await;
    assert_eq!(answer.is(), (200, r#"{"userId":"bob"}"#));
    // No content type needed where the body is discarded.
    let answer = seam.http(seam.request("POST", "/cart/alice/items/7/remove"), "whatever").await;
    assert_eq!(answer.is(), (200, r#"{"userId":"alice","productId":"7"}"#));
    // Annotated methods have no generated path, and unknown ones are 404, never 405.
    for (method, path) in
        [("POST", "/shop.Cart/AddItem"), ("GET", "/shop.Cart/Touch"), ("GET", "/nope"), ("PUT", "/carts/a")]
    {
        let answer = seam.http(seam.request(method, path), "").await;
        assert_eq!(answer.is(), (404, ""), "{method} {path}");
    }
}

#[tokio::test]
async fn the_path_overrides_the_body_and_defaults_are_printed() {
    let seam = Seam::echo().await;
    let answer = seam.post_json("/cart/alice/items/add", r#"{"userId":"mallory"}"#).await;
    assert_eq!(answer.is(), (200, r#"{"userId":"alice","productId":"","name":"","quantity":0}"#));
}

async fn cart(call: Call) -> Result<Bytes, CallError> {
    Ok(output(
        &call,
        r#"{"items":[{"productId":"p","quantity":2},{"name":"x"}],"total":"9007199254740993","mark":"/+8="}"#,
    ))
}

fn with(reply: impl Future<Output = Result<Bytes, CallError>> + Send + 'static) -> Answer {
    Box::pin(async move {
        let payload = reply.await?;
        replies(vec![payload], None).await
    })
}

#[tokio::test]
async fn response_bodies_are_proto3_json_of_the_field() {
    let seam = Seam::scripted(|call| with(cart(call))).await;
    for (path, json) in [
        ("/carts/a/items", r#"[{"productId":"p","name":"","quantity":2},{"productId":"","name":"x","quantity":0}]"#),
        ("/carts/a/total", r#""9007199254740993""#),
        ("/carts/a/mark", r#""/+8=""#),
        ("/carts/a/top", r#"{"productId":"","name":"","quantity":0}"#),
    ] {
        assert_eq!(seam.get(path).await.is(), (200, json), "{path}");
    }
}

#[tokio::test]
async fn paths_are_decoded_once_and_segments_stay_single() {
    let seam = Seam::echo().await;
    for (path, text) in [
        ("/echo/a%2Fb", "a/b"),
        ("/echo/a+b%2B", "a+b+"),
        ("/echo/a:b", "a:b"),
        ("/echo/a%3Ab", "a:b"),
        ("/echo/%252F", "%2F"),
        ("/echo/gr%C3%B6%C3%9Fe%20x", "größe x"),
        ("/files/a/b/c.txt", "a/b/c.txt"),
        ("/files/a%2Fb/c%20d", "a%2Fb/c d"),
        ("/%65cho/x", "x"),
    ] {
        let answer = seam.get(path).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let json = seen_json(&seam);
        assert_eq!(json, serde_json::json!({ "text": text }).to_string(), "{path}");
    }
    let answer = seam.get("/named/shelves/1%2F2/books/3").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(seen_json(&seam), r#"{"innerMessage":{"name":"shelves/1%2F2/books/3"}}"#);
    for path in ["/echo/", "/echo/a/b", "/named/shelves/1/books", "/named/x/1/books/2", "/echo"] {
        assert_eq!(seam.get(path).await.status, 404, "{path}");
    }
    let calls = seam.seen().len();
    for path in ["/echo/%00", "/echo/%ff", "/echo/%2e%2e", "/files/../secret", "/files/a/%2E%2e/b"] {
        // The client would clean some of these up, so they are sent by hand.
        let answer = by_hand(&seam, &format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{path}: {answer}");
    }
    assert_eq!(seam.seen().len(), calls, "none of them was carried out");
}

/// One request as raw text over a connection of its own; the response as text.
async fn by_hand(seam: &Seam, request: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(seam.address).await.expect("listens");
    stream.write_all(request.as_bytes()).await.expect("written");
    let mut answer = Vec::new();
    soon(stream.read_to_end(&mut answer)).await.expect("read");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn verbs_and_the_last_registered_endpoint_win() {
    let seam = Seam::echo().await;
    seam.http(seam.request("POST", "/echo/thing:archive"), "").await;
    assert_eq!(seen_json(&seam), r#"{"text":"thing"}"#);
    assert_eq!(seam.http(seam.request("POST", "/echo/thing"), "").await.status, 404);
    seam.get("/twice/x").await;
    assert_eq!(seam.seen().last().expect("seen").method, "shop.Kinds.Later");
    for method in ["GET", "PUT", "PATCH", "DELETE"] {
        assert_eq!(seam.http(seam.request(method, "/any"), "").await.status, 200, "{method}");
    }
}

#[tokio::test]
async fn values_of_the_wrong_type_are_400_and_name_the_field() {
    let seam = Seam::echo().await;
    for (path, names) in [
        ("/small/x/flag/true", "field small: \"x\" is no signed 32 bit integer"),
        ("/small/2147483648/flag/true", "small"),
        ("/small/1/flag/maybe", "field flag"),
        ("/color/GREEN", "field color: \"GREEN\" is no value of shop.Color"),
        ("/echo/a?small=1.5", "parameter small"),
        ("/echo/a?nope=1", "parameter nope: shop.All has no field nope"),
        ("/echo/a?innerMessage.nope=1", "parameter innerMessage.nope: shop.Inner has no field nope"),
        ("/echo/a?text.x=1", "parameter text.x: field text is no message"),
        ("/echo/a?inner_message=1", "parameter inner_message: the message shop.Inner cannot be set by text"),
        ("/echo/a?small=1&small=2", "parameter small: given more than once"),
        ("/echo/a?map.x=1", "parameter map.x: a map"),
        ("/echo/a?raw=***", "parameter raw"),
        ("/echo/a?at=yesterday", "parameter at: \"yesterday\" is no google.protobuf.Timestamp"),
        ("/echo/a?big=-1", "parameter big"),
    ] {
        let answer = seam.get(path).await;
        assert_eq!(answer.status, 400, "{path}: {}", answer.text());
        assert!(
            answer.text().starts_with("Bad Request: ") && answer.text().contains(names),
            "{path}: {}",
            answer.text()
        );
    }
    assert!(seam.seen().is_empty());
}

#[tokio::test]
async fn query_parameters_set_fields_of_every_kind() {
    let seam = Seam::echo().await;
    let query = "small=-7&big=18446744073709551615&real=1.5&flag=TRUE&raw=_-8&color=BLUE&list=1&list=2\
                 &innerMessage.name=a+b%26c&inner_message.color=5&at=2020-01-02T03:04:05Z&text=overridden";
    let answer = seam.get(&format!("/echo/path?{query}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(
        seen_json(&seam),
        r#"{"text":"path","small":-7,"big":"18446744073709551615","real":1.5,"flag":true,"raw":"/+8=","color":"BLUE","list":[1,2],"innerMessage":{"name":"a b&c","color":"BLUE"},"at":"2020-01-02T03:04:05Z"}"#
    );
    // With the whole message in the body, the query is ignored.
    assert_eq!(seam.post_json("/echo?nope=1", "{}").await.status, 200);
}

#[tokio::test]
async fn a_body_that_is_one_field_leaves_the_others_to_path_and_query() {
    let seam = Seam::echo().await;
    let put = |path: &str| seam.request("PUT", path).header("content-type", "application/json; charset=utf-8");
    let answer = seam.http(put("/inner/x?small=3"), r#"{"name":"n","big":"4"}"#).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(seen_json(&seam), r#"{"text":"x","small":3,"innerMessage":{"name":"n","big":"4"}}"#);
    seam.http(put("/text"), r#""just text""#).await;
    assert_eq!(seen_json(&seam), r#"{"text":"just text"}"#);
    let answer = seam.http(put("/text"), "5}, {").await;
    assert_eq!(answer.status, 400, "{}", answer.text());
}

#[tokio::test]
async fn malformed_json_is_400_and_says_where() {
    let seam = Seam::echo().await;
    for (json, names) in [
        ("", "EOF while parsing"),
        ("{", "line 1 column 1"),
        (r#"{"small":"x"}"#, "field small: "),
        (r#"{"nope":1}"#, "unrecognized field name 'nope'"),
        (r#"{"inners":[{"name":"a"},{"color":"GREEN"}]}"#, "field inners[1].color: "),
        (r#"{"small":1} trailing"#, "trailing characters"),
        (r#"[]"#, "line 1 column"),
    ] {
        let answer = seam.post_json("/echo", json).await;
        assert_eq!(answer.status, 400, "{json}: {}", answer.text());
        assert!(
            answer.text().starts_with("Bad Request: ") && answer.text().contains(names),
            "{json}: {}",
            answer.text()
        );
    }
    let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
    let answer = seam.post_json("/echo", &deep).await;
    assert!(answer.text().contains("deeper than 64"), "{}", answer.text());
    let plain = seam.request("POST", "/echo").header("content-type", "text/plain");
    let answer = seam.http(plain, "{}").await;
    assert_eq!(answer.is(), (400, "Bad Request: the content type must be application/json, not text/plain"));
    assert!(seam.seen().is_empty());
}

#[tokio::test]
async fn every_value_of_an_any_survives_the_round_trip() {
    let seam = Seam::echo().await;
    for any in [
        r#"{"@type":"type.googleapis.com/shop.Inner","name":"n","color":"BLUE","big":"0"}"#,
        r#"{"@type":"type.googleapis.com/google.protobuf.Timestamp","value":"2020-01-02T03:04:05Z"}"#,
        r#"{"@type":"p.cloudstate.io/string","value":"text"}"#,
        r#"{"@type":"p.cloudstate.io/int64","value":"-5"}"#,
        r#"{"@type":"p.cloudstate.io/bool","value":true}"#,
        r#"{"@type":"json.cloudstate.io/object","value":{"a":[1,2.5,null],"b":"c"}}"#,
        r#"{"@type":"json.cloudstate.io/shop.Inner","value":17}"#,
    ] {
        let answer = seam.post_json("/echo", &format!(r#"{{"any":{any}}}"#)).await;
        assert_eq!(answer.status, 200, "{any}: {}", answer.text());
        let json: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert_eq!(json["any"], serde_json::from_str::<serde_json::Value>(any).expect("JSON"));
    }
    // On the wire it is what every SDK makes of it: field 1 with the JSON text.
    let payload = seam.last_payload();
    let input = seam.spec.method("shop.Kinds", "Echo").expect("served").input.clone();
    let message = DynamicMessage::decode(input, payload).expect("valid");
    let any = message.get_field_by_name("any").expect("set").into_owned();
    let Value::Message(any) = any else { panic!("{any:?}") };
    let value = |name: &str| any.get_field_by_name(name).expect("known").into_owned();
    assert_eq!(value("type_url"), Value::String("json.cloudstate.io/shop.Inner".to_owned()));
    assert_eq!(value("value"), Value::Bytes(Bytes::from_static(b"\x0a\x0217")));
}

#[tokio::test]
async fn http_bodies_go_in_and_out_as_they_are() {
    let seam = Seam::scripted(|call| match &*call.method.name {
        "Page" => with(async move { Ok(output(&call, r#"{"contentType":"text/html","data":"PGgxPg=="}"#)) }),
        "Download" => {
            let (one, two) =
                (output(&call, r#"{"contentType":"image/png","data":"AAEC"}"#), output(&call, r#"{"data":"Aw=="}"#));
            replies(vec![one, two], None)
        }
        _ => echo(call),
    })
    .await;
    let answer = seam.get("/pages/a/b.html").await;
    assert_eq!(answer.is(), (200, "<h1>"));
    assert_eq!(answer.headers["content-type"], "text/html");
    let answer = seam.get("/download").await;
    assert_eq!((answer.status, &answer.body[..]), (200, &[0, 1, 2, 3][..]));
    assert_eq!(answer.headers["content-type"], "image/png");
    let answer = seam.http(seam.request("POST", "/store").header("content-type", "x/y"), &b"\xff\x00raw"[..]).await;
    assert_eq!((answer.status, &answer.body[..]), (200, &b"\xff\x00raw"[..]));
    assert_eq!(answer.headers["content-type"], "x/y");
}

#[tokio::test]
async fn failures_are_500_with_the_bare_text_and_statuses_map() {
    let seam = Seam::scripted(|call| {
        let Requests::One(payload) = call.requests else { panic!("one request") };
        let text = DynamicMessage::decode(call.method.input.clone(), payload).expect("valid");
        let code = text.get_field_by_name("small").and_then(|value| value.as_i32()).expect("set");
        Box::pin(async move {
            Err(match code {
                -1 => CallError::Failure("expected failure".to_owned()),
                code => CallError::Status(Status::new(Code::from(code), "why")),
            })
        })
    })
    .await;
    let answer = seam.get("/echo/x?small=-1").await;
    assert_eq!(answer.is(), (500, "expected failure"));
    for (code, status) in [
        (1, 499),
        (2, 500),
        (3, 400),
        (4, 504),
        (5, 404),
        (6, 409),
        (7, 403),
        (8, 429),
        (9, 400),
        (10, 409),
        (11, 400),
        (12, 501),
        (13, 500),
        (14, 503),
        (15, 500),
        (16, 401),
    ] {
        let answer = seam.get(&format!("/echo/x?small={code}")).await;
        assert_eq!(answer.is(), (status, "why"), "{code}");
        assert_eq!(answer.headers.contains_key("retry-after"), [429, 503].contains(&status), "{code}");
    }
}

#[tokio::test]
async fn an_empty_key_is_400_and_names_the_field() {
    let seam = Seam::echo().await;
    let answer = seam.post_json("/shop.Cart/Touch", "{}").await;
    assert_eq!(answer.status, 400);
    assert!(answer.text().contains("user_id"), "{}", answer.text());
}

#[tokio::test]
async fn a_body_over_the_limit_is_413_and_the_next_request_works() {
    let settings = FrontendSettings { message_in_max: 1000, ..Default::default() };
    let seam = Seam::new(settings, echo).await;
    let large = format!(r#"{{"text":"{}"}}"#, "x".repeat(1000));
    let answer = seam.post_json("/echo", &large).await;
    assert_eq!(answer.status, 413);
    assert!(answer.text().contains("1000 bytes"), "{}", answer.text());
    assert_eq!(seam.post_json("/echo", "{}").await.status, 200);
}

#[tokio::test]
async fn no_answer_in_time_is_504_and_a_body_that_stalls_is_408() {
    let settings = FrontendSettings { relay_timeout: Duration::from_millis(50), ..Default::default() };
    let seam = Seam::new(settings, |_| Box::pin(std::future::pending())).await;
    assert_eq!(seam.get("/echo/x").await.status, 504);
    let stalled = "POST /echo HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 10\r\nconnection: close\r\n\r\n{";
    let answer = by_hand(&seam, stalled).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
}

#[tokio::test]
async fn streams_are_lines_of_json_or_events() {
    let seam = Seam::scripted(|call| {
        let payloads = ["a", "b"].map(|text| output(&call, &format!(r#"{{"text":"{text}"}}"#)));
        let end = match &call.requests {
            Requests::One(payload) if payload.ends_with(b"fail") => Some(CallError::Failure("broke\noff".to_owned())),
            _ => None,
        };
        replies(payloads.to_vec(), end)
    })
    .await;
    let rest = r#""small":0,"big":"0","real":0.0,"flag":false,"raw":"","color":"RED","list":[],"map":{},"inners":[]"#;
    let answer = seam.get("/watch/x").await;
    assert_eq!(answer.text(), format!("{{\"text\":\"a\",{rest}}}\n{{\"text\":\"b\",{rest}}}\n"));
    assert_eq!(answer.headers["content-type"], "application/json");
    let events = || seam.request("GET", "/watch/fail").header("accept", "text/event-stream");
    let answer = seam.http(events(), "").await;
    assert_eq!(
        answer.text(),
        format!(
            "data: {{\"text\":\"a\",{rest}}}\n\ndata: {{\"text\":\"b\",{rest}}}\n\nevent: error\ndata: broke off\n\n"
        )
    );
    assert_eq!(answer.headers["content-type"], "text/event-stream");
    // Lines cannot say that something went wrong, so the body breaks off.
    let answer = seam.http_parts(seam.request("GET", "/watch/fail"), "").await;
    assert_eq!(answer.status(), 200);
    soon(answer.into_body().collect()).await.expect_err("broken off");
}

#[tokio::test]
async fn a_stream_that_fails_at_once_has_the_status_of_its_failure() {
    let seam = Seam::scripted(|_| replies(vec![], Some(CallError::Failure("at once".to_owned())))).await;
    assert_eq!(seam.get("/watch/x").await.is(), (500, "at once"));
}

#[tokio::test]
async fn an_event_arrives_before_the_stream_ends_and_leaving_cancels_it() {
    let (dropped, cancelled) = tokio::sync::oneshot::channel::<()>();
    let dropped = std::sync::Mutex::new(Some(dropped));
    let seam = Seam::scripted(move |call| {
        let guard = dropped.lock().expect("no panic").take();
        let first = Ok(Reply { payload: output(&call, r#"{"text":"a"}"#), type_url: "x".into(), metadata: None });
        let held = futures_util::stream::once(async move {
            let _guard = guard;
            std::future::pending().await
        });
        Box::pin(async move { Ok(futures_util::stream::iter([first]).chain(held).boxed()) })
    })
    .await;
    let request = seam.request("GET", "/watch/x").header("accept", "text/event-stream");
    let mut body = seam.http_parts(request, "").await.into_body();
    let frame = soon(body.frame()).await.expect("a frame").expect("data");
    assert!(frame.into_data().expect("data").starts_with(b"data: {\"text\":\"a\""));
    drop(body);
    soon(cancelled).await.expect_err("the guard was dropped, nothing was sent");
}

#[tokio::test]
async fn metadata_goes_in_from_headers_and_out_as_headers() {
    let seam = Seam::scripted(|call| {
        let entry = |key: &str, value: &str| MetadataEntry {
            key: key.to_owned(),
            value: Some(MetadataValue::StringValue(value.to_owned())),
        };
        let metadata = Metadata { entries: vec![entry("x-out", "1"), entry("Content-Length", "999")] };
        let reply = Reply { payload: output(&call, "{}"), type_url: "x".into(), metadata: Some(metadata) };
        Box::pin(async move { Ok(futures_util::stream::iter([Ok(reply)]).boxed()) })
    })
    .await;
    let answer = seam.http(seam.request("GET", "/echo/x").header("x-in", "2"), "").await;
    assert_eq!((answer.status, &answer.headers["x-out"]), (200, &http::HeaderValue::from_static("1")));
    let seen = seam.seen().pop().expect("seen").metadata.entries;
    assert!(seen.iter().any(|entry| entry.key == "x-in"), "{seen:?}");
    assert!(seen.iter().all(|entry| entry.key != "content-length" && entry.key != "connection"), "{seen:?}");
}

#[tokio::test]
async fn a_unary_call_without_a_reply_is_an_empty_object() {
    let seam = Seam::scripted(|_| replies(vec![], None)).await;
    assert_eq!(seam.get("/echo/x").await.is(), (200, "{}"));
}

#[tokio::test]
async fn client_streams_take_one_message_over_http() {
    let seam = Seam::echo().await;
    let answer = seam.post_json("/shop.Kinds/Upload", r#"{"text":"one"}"#).await;
    assert!(answer.status == 200 && answer.text().starts_with(r#"{"text":"one""#), "{}", answer.text());
}

#[tokio::test]
async fn head_is_get_without_the_body_and_options_lists_the_methods() {
    let seam = Seam::echo().await;
    let answer = seam.http(seam.request("HEAD", "/echo/x"), "").await;
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    let answer = seam.http(seam.request("OPTIONS", "/echo/x"), "").await;
    assert_eq!((answer.status, &answer.headers["allow"]), (204, &http::HeaderValue::from_static("GET, HEAD, OPTIONS")));
    assert_eq!(seam.http(seam.request("OPTIONS", "/nope"), "").await.status, 404);
}

#[tokio::test]
async fn probes_are_answered_where_nothing_else_matches() {
    let seam = Seam::echo().await;
    let probe = |value: &str| seam.request("GET", "/").header("K-Network-Probe", value);
    assert_eq!(seam.http(probe("queue"), "").await.is(), (200, "queue"));
    assert_eq!(seam.http(probe("x"), "").await.is(), (400, "unexpected probe header value: x"));
    assert_eq!(seam.get("/").await.is(), (404, ""));
}

#[tokio::test]
async fn nothing_served_is_503_with_the_reason() {
    let seam = Seam::idle(FrontendSettings::default()).await;
    let answer = seam.get("/echo/x").await;
    assert_eq!(answer.is(), (503, "the user function has not been discovered yet"));
    assert_eq!(answer.headers["retry-after"], "1");
    seam.frontend.stop_serving("gone");
    assert_eq!(seam.get("/echo/x").await.is(), (503, "gone"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever text is in a path, escaped, arrives as that text: as one segment and as the rest.
    #[test]
    fn any_text_survives_a_path(text in "[^\u{0}]{1,20}") {
        prop_assume!(text != "." && text != "..");
        let escaped = percent_encoding::utf8_percent_encode(&text, percent_encoding::NON_ALPHANUMERIC).to_string();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let seam = Seam::echo().await;
            let answer = seam.get(&format!("/echo/{escaped}")).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            let json: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
            assert_eq!(json["text"], text);
        });
    }

    /// What goes in as JSON comes out as the same JSON.
    #[test]
    fn json_survives_the_round_trip(
        text in any::<String>(), small in any::<i32>(), big in any::<u64>(), real in -1e9f64..1e9, flag in any::<bool>(),
        list in prop::collection::vec(any::<i32>(), 0..4), key in any::<String>(), name in any::<String>(),
    ) {
        let json = serde_json::json!({
            "text": text, "small": small, "big": big.to_string(), "real": real, "flag": flag, "raw": "/+8=", "color": "BLUE",
            "list": list, "innerMessage": { "name": name, "color": "RED", "big": "-1" }, "map": { key: small },
            "inners": [],
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let seam = Seam::echo().await;
            let answer = seam.post_json("/echo", &json.to_string()).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert_eq!(serde_json::from_slice::<serde_json::Value>(&answer.body).expect("JSON"), json);
        });
    }

    /// Any query string is carried out or refused by name.
    #[test]
    fn any_query_is_answered(query in "((text|small|list|inner_message|map|any|at|x)[.a-z]{0,6}=?[ -~]{0,8}&?){0,4}") {
        let query = query.replace([' ', '#', '"', '<', '>', '`', '{', '}', '|', '\\', '^'], "%7C");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let seam = Seam::echo().await;
            let answer = seam.get(&format!("/echo/x?{query}")).await;
            let named = answer.text().starts_with("Bad Request: ");
            assert!(answer.status == 200 || answer.status == 400 && named, "{query}: {}", answer.text());
        });
    }

    #[test]
    fn no_request_makes_it_panic(path in "/(echo|small|color|named|files)/[ -~]{0,20}", body in any::<Vec<u8>>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let seam = Seam::echo().await;
            let mut request = format!("POST {} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", path.replace(' ', "%20"), body.len());
            request.push_str(&String::from_utf8_lossy(&body));
            let answer = by_hand(&seam, &request).await;
            assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
            assert!(!answer.starts_with("HTTP/1.1 500"), "{answer}");
        });
    }
}
