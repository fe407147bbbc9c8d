//! gRPC-Web and CORS, as a browser uses them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use cloudstate::call::CallError;
use cloudstate::frontend::{CorsSettings, FrontendSettings};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use proptest::prelude::*;

use crate::front_seam::{Answered, Seam, echo, replies, soon};

const ECHO: &str = "/shop.Kinds/Echo";
const HELLO: &[u8] = b"\x0a\x05hello";

fn framed(flag: u8, data: &[u8]) -> Vec<u8> {
    let mut frame = vec![flag];
    frame.extend_from_slice(&(data.len() as u32).to_be_bytes());
    frame.extend_from_slice(data);
    frame
}

fn message_and_status(message: &[u8]) -> Vec<u8> {
    [framed(0, message), framed(0x80, b"grpc-status: 0\r\n")].concat()
}

async fn call(seam: &Seam, content_type: &str, accept: &str, body: impl Into<Bytes>) -> Answered {
    let request = seam.request("POST", ECHO).header("content-type", content_type).header("accept", accept);
    seam.http(request, body).await
}

#[tokio::test]
async fn binary_over_http1_has_its_trailers_in_the_body() {
    let seam = Seam::echo().await;
    for content_type in ["application/grpc-web", "application/grpc-web+proto"] {
        let answer = call(&seam, content_type, "*/*", framed(0, HELLO)).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.headers["content-type"], content_type);
        assert_eq!(answer.body, message_and_status(HELLO));
    }
    assert_eq!(seam.last_payload(), HELLO);
}

#[tokio::test]
async fn the_same_over_http2() {
    let seam = Seam::echo().await;
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http::<Full<Bytes>>();
    let request = seam.request("POST", ECHO).header("content-type", "application/grpc-web+proto");
    let request = request.body(Full::new(framed(0, HELLO).into())).expect("a request");
    let answer = soon(client.request(request)).await.expect("an answer");
    let body = soon(answer.into_body().collect()).await.expect("a body");
    assert_eq!(body.to_bytes(), message_and_status(HELLO));
}

/// Every chunk is base64 of its own, so padding may be in the middle.
fn decoded(text: &[u8]) -> Vec<u8> {
    let groups: Vec<_> = text.chunks(4).collect();
    let runs = groups.split_inclusive(|group| group.ends_with(b"="));
    runs.flat_map(|run| STANDARD.decode(run.concat()).expect("base64")).collect()
}

#[tokio::test]
async fn text_is_base64_both_ways_in_any_pieces() {
    let seam = Seam::echo().await;
    let whole = STANDARD.encode(framed(0, HELLO));
    let (head, tail) = (framed(0, HELLO)[..4].to_vec(), framed(0, HELLO)[4..].to_vec());
    for body in [whole, format!("{}{}", STANDARD.encode(head), STANDARD.encode(tail))] {
        let answer = call(&seam, "application/grpc-web-text+proto", "application/grpc-web-text", body).await;
        assert_eq!(answer.headers["content-type"], "application/grpc-web-text+proto");
        assert_eq!(decoded(&answer.body), message_and_status(HELLO));
    }
    // Binary in, text out, as the client asks.
    let answer = call(&seam, "application/grpc-web", "application/grpc-web-text", framed(0, HELLO)).await;
    assert_eq!(decoded(&answer.body), message_and_status(HELLO));
    let answer = call(&seam, "application/grpc-web-text", "*/*", "!!!!").await;
    assert!(String::from_utf8_lossy(&decoded(&answer.body)).contains("grpc-status: 13"));
}

#[tokio::test]
async fn streams_and_failures_arrive_in_the_body() {
    let seam = Seam::scripted(|_| {
        replies(vec![Bytes::from_static(b"1"), Bytes::from_static(b"2")], Some(CallError::Failure("größe".to_owned())))
    })
    .await;
    let request = seam.request("POST", "/shop.Kinds/Watch").header("content-type", "application/grpc-web");
    let answer = seam.http(request, framed(0, HELLO)).await;
    let trailers = framed(0x80, b"grpc-status: 2\r\ngrpc-message: gr%C3%B6%C3%9Fe\r\n");
    assert_eq!(answer.body, [framed(0, b"1"), framed(0, b"2"), trailers].concat());
    // A call that is nothing but a failure as well.
    let request = seam.request("POST", "/shop.Kinds/Nope").header("content-type", "application/grpc-web");
    let answer = seam.http(request, framed(0, HELLO)).await;
    assert_eq!(answer.status, 200);
    assert!(answer.body.starts_with(&[0x80]) && answer.text_after(5).starts_with("grpc-status: 12\r\n"));
}

impl Answered {
    fn text_after(&self, start: usize) -> &str {
        std::str::from_utf8(&self.body[start..]).expect("text")
    }
}

async fn preflight(seam: &Seam, origin: &str) -> Answered {
    let request = seam
        .request("OPTIONS", ECHO)
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "content-type,x-grpc-web,x-tenant");
    seam.http(request, "").await
}

#[tokio::test]
async fn any_page_may_call_by_default() {
    let seam = Seam::echo().await;
    let answer = preflight(&seam, "https://shop.example").await;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.headers["access-control-allow-origin"], "*");
    assert_eq!(answer.headers["access-control-allow-headers"], "content-type,x-grpc-web,x-tenant");
    assert!(answer.headers["access-control-allow-methods"].to_str().expect("text").contains("POST"));
    assert!(answer.headers.contains_key("access-control-max-age"));
    let request =
        seam.request("POST", ECHO).header("content-type", "application/grpc-web").header("origin", "https://x");
    let answer = seam.http(request, framed(0, HELLO)).await;
    assert_eq!(answer.headers["access-control-allow-origin"], "*");
    let exposed = answer.headers["access-control-expose-headers"].to_str().expect("text");
    assert!(exposed.contains("grpc-status") && exposed.contains("grpc-message"), "{exposed}");
    // JSON as well; without an origin nothing is said.
    let answer = seam.http(seam.request("GET", "/echo/x").header("origin", "https://x"), "").await;
    assert_eq!(answer.headers["access-control-allow-origin"], "*");
    assert!(!seam.get("/echo/x").await.headers.contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn listed_origins_only_where_there_is_a_list() {
    let cors = CorsSettings::Origins(vec!["https://shop.example".to_owned()]);
    let seam = Seam::new(FrontendSettings { cors, ..Default::default() }, echo).await;
    let answer = preflight(&seam, "https://shop.example").await;
    assert_eq!(answer.headers["access-control-allow-origin"], "https://shop.example");
    assert_eq!(answer.headers["vary"], "origin");
    let answer = preflight(&seam, "https://evil.example").await;
    assert_eq!(answer.status, 204);
    assert!(answer.headers.keys().all(|name| !name.as_str().starts_with("access-control-")), "{:?}", answer.headers);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever arrives as text is answered with a status in a trailers frame.
    #[test]
    fn any_text_is_answered_with_a_status(body in "[A-Za-z0-9+/=\\r\\n!]{0,60}") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let seam = Seam::echo().await;
            let answer = call(&seam, "application/grpc-web-text", "*/*", body).await;
            let answer = decoded(&answer.body);
            assert!(String::from_utf8_lossy(&answer).contains("grpc-status: "), "{answer:?}");
        });
    }
}
