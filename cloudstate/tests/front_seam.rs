//! The front end on a real socket, before a [`Dispatch`] that answers as a test says and remembers
//! what it was asked.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use actors::Clock;
use bytes::{Buf, BufMut, Bytes};
use cloudstate::call::{Call, CallError, Dispatch, Replies, Reply, Requests};
use cloudstate::frontend::{Frontend, FrontendSettings};
use cloudstate::spec::ServedSpec;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use proto::cloudstate::Metadata;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::transport::Channel;

use crate::proto_text::{ACTION, EVENT_SOURCED, served};

/// The services of these tests: a cart with state, and an action with every shape and kind of field.
pub(crate) const SERVICES: &str = r#"
    message AddLineItem { string user_id = 1 [(.cloudstate.entity_key) = true]; string product_id = 2;
        string name = 3; int32 quantity = 4; }
    message RemoveLineItem { string user_id = 1 [(.cloudstate.entity_key) = true]; string product_id = 2; }
    message GetShoppingCart { string user_id = 1 [(.cloudstate.entity_key) = true]; }
    message LineItem { string product_id = 1; string name = 2; int32 quantity = 3; }
    message CartState { repeated LineItem items = 1; int64 total = 2; bytes mark = 3; LineItem top = 4; }
    service Cart {
        rpc AddItem(AddLineItem) returns (AddLineItem) {
            option (google.api.http) = { post: "/cart/{user_id}/items/add" body: "*" }; }
        rpc RemoveItem(RemoveLineItem) returns (RemoveLineItem) {
            option (google.api.http) = { post: "/cart/{user_id}/items/{product_id}/remove" }; }
        rpc GetCart(GetShoppingCart) returns (CartState) {
            option (google.api.http) = { get: "/carts/{user_id}"
                additional_bindings { get: "/carts/{user_id}/items" response_body: "items" }
                additional_bindings { get: "/carts/{user_id}/total" response_body: "total" }
                additional_bindings { get: "/carts/{user_id}/mark" response_body: "mark" }
                additional_bindings { get: "/carts/{user_id}/top" response_body: "top" } }; }
        rpc Touch(GetShoppingCart) returns (GetShoppingCart);
    }
    enum Color { RED = 0; BLUE = 5; }
    message Inner { string name = 1; Color color = 2; int64 big = 3; }
    message All { string text = 1; int32 small = 2; uint64 big = 3; double real = 4; bool flag = 5; bytes raw = 6;
        Color color = 7; repeated int32 list = 8; Inner inner_message = 9; map<string, int32> map = 10;
        google.protobuf.Timestamp at = 11; google.protobuf.Any any = 12; repeated Inner inners = 13; }
    service Kinds {
        rpc Echo(All) returns (All) {
            option (google.api.http) = { post: "/echo" body: "*"
                additional_bindings { get: "/echo/{text}" }
                additional_bindings { get: "/small/{small}/flag/{flag}" }
                additional_bindings { get: "/color/{color}" }
                additional_bindings { get: "/files/{text=**}" }
                additional_bindings { get: "/named/{inner_message.name=shelves/*/books/*}" }
                additional_bindings { post: "/echo/{text}:archive" }
                additional_bindings { put: "/inner/{text}" body: "inner_message" }
                additional_bindings { put: "/text" body: "text" }
                additional_bindings { custom { kind: "*" path: "/any" } }
                additional_bindings { get: "/twice/{text}" } }; }
        rpc Later(All) returns (All) { option (google.api.http) = { get: "/twice/{text}" }; }
        rpc Watch(All) returns (stream All) { option (google.api.http) = { get: "/watch/{text}" }; }
        rpc Upload(stream All) returns (All);
        rpc Chat(stream All) returns (stream All);
        rpc Page(All) returns (google.api.HttpBody) { option (google.api.http) = { get: "/pages/{text=**}" }; }
        rpc Download(All) returns (stream google.api.HttpBody) { option (google.api.http) = { get: "/download" }; }
        rpc Store(google.api.HttpBody) returns (google.api.HttpBody) {
            option (google.api.http) = { post: "/store" body: "*" }; }
    }
"#;

pub(crate) type Answer = BoxFuture<'static, Result<Replies, CallError>>;
type Script = Box<dyn Fn(Call) -> Answer + Send + Sync>;

/// What [`Scripted`] was asked.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    /// The message of a call with exactly one.
    pub(crate) payload: Option<Bytes>,
    pub(crate) metadata: Metadata,
    pub(crate) has_deadline: bool,
}

struct Scripted {
    script: Script,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Dispatch for Scripted {
    fn dispatch(&self, call: Call) -> Answer {
        let payload = match &call.requests {
            Requests::One(payload) => Some(payload.clone()),
            Requests::Many(_) => None,
        };
        self.seen.lock().expect("no panic").push(Seen {
            method: format!("{}.{}", call.method.service, call.method.name),
            payload,
            metadata: call.metadata.clone(),
            has_deadline: call.deadline.is_some(),
        });
        (self.script)(call)
    }
}

/// A front end on a loopback port; gone with this value.
pub(crate) struct Seam {
    pub(crate) address: SocketAddr,
    pub(crate) frontend: Frontend,
    pub(crate) spec: Arc<ServedSpec>,
    seen: Arc<Mutex<Vec<Seen>>>,
    server: JoinHandle<()>,
}

impl Seam {
    /// Serves [`SERVICES`] with replies that repeat the requests.
    pub(crate) async fn echo() -> Self {
        Self::new(FrontendSettings::default(), echo).await
    }

    pub(crate) async fn scripted(script: impl Fn(Call) -> Answer + Send + Sync + 'static) -> Self {
        Self::new(FrontendSettings::default(), script).await
    }

    pub(crate) async fn new(
        settings: FrontendSettings,
        script: impl Fn(Call) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let seam = Self::idle(settings).await;
        let dispatch = Scripted { script: Box::new(script), seen: seam.seen.clone() };
        seam.frontend.serve(seam.spec.clone(), Arc::new(dispatch));
        seam
    }

    /// A front end that serves nothing.
    pub(crate) async fn idle(settings: FrontendSettings) -> Self {
        static SPEC: LazyLock<Arc<ServedSpec>> =
            LazyLock::new(|| served(SERVICES, &[(EVENT_SOURCED, "shop.Cart", "cart"), (ACTION, "shop.Kinds", "")]));
        let spec = SPEC.clone();
        let frontend = Frontend::new(settings, Clock::tokio());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let router = frontend.router();
        let server = tokio::spawn(async move { axum::serve(listener, router).await.expect("serves") });
        Self { address, frontend, spec, seen: Arc::default(), server }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().expect("no panic").clone()
    }

    pub(crate) fn last_payload(&self) -> Bytes {
        self.seen().last().expect("a call").payload.clone().expect("one message")
    }

    pub(crate) async fn grpc(&self) -> tonic::client::Grpc<EveryCall> {
        let channel = Channel::from_shared(format!("http://{}", self.address)).expect("an address");
        tonic::client::Grpc::new(EveryCall(channel.connect().await.expect("listens")))
    }

    /// A gRPC call by hand, for what a client library would not do: status, headers, data and trailers.
    pub(crate) async fn grpc_by_hand(&self, path: &str, headers: &[(&str, &str)], payload: &[u8]) -> ByHand {
        let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http::<Full<Bytes>>();
        let mut request = self.request("POST", path).header("content-type", "application/grpc");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut framed = vec![0];
        framed.extend_from_slice(&(payload.len() as u32).to_be_bytes());
        framed.extend_from_slice(payload);
        let request = request.body(Full::new(framed.into())).expect("a request");
        let (parts, body) = client.request(request).await.expect("an answer").into_parts();
        let collected = body.collect().await.expect("a whole body");
        let trailers = collected.trailers().cloned().unwrap_or_default();
        ByHand { status: parts.status.as_u16(), headers: parts.headers, data: collected.to_bytes(), trailers }
    }

    /// One HTTP/1.1 request; the body as text.
    pub(crate) async fn http(&self, request: http::request::Builder, body: impl Into<Bytes>) -> Answered {
        let (parts, body) = self.http_parts(request, body).await.into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        Answered { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    pub(crate) async fn http_parts(
        &self,
        request: http::request::Builder,
        body: impl Into<Bytes>,
    ) -> Response<hyper::body::Incoming> {
        let request = request.body(Full::new(body.into())).expect("a request");
        http_client().request(request).await.expect("an answer")
    }

    pub(crate) async fn get(&self, path: &str) -> Answered {
        self.http(self.request("GET", path), "").await
    }

    pub(crate) async fn post_json(&self, path: &str, json: &str) -> Answered {
        self.http(self.request("POST", path).header("content-type", "application/json"), json.to_owned()).await
    }

    pub(crate) fn request(&self, method: &str, path: &str) -> http::request::Builder {
        Request::builder().method(method).uri(format!("http://{}{path}", self.address))
    }
}

impl Drop for Seam {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// What [`Seam::grpc_by_hand`] was answered.
#[derive(Debug)]
pub(crate) struct ByHand {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) data: Bytes,
    pub(crate) trailers: http::HeaderMap,
}

/// A channel that is waited for at every call.
#[derive(Clone)]
pub(crate) struct EveryCall(Channel);

impl tower::Service<Request<tonic::body::Body>> for EveryCall {
    type Response = Response<tonic::body::Body>;
    type Error = tonic::transport::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<tonic::body::Body>) -> Self::Future {
        Box::pin(tower::ServiceExt::oneshot(self.0.clone(), request))
    }
}

/// What an HTTP request was answered.
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) body: Bytes,
}

impl Answered {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("text")
    }

    /// Status and body, for comparison in one go.
    pub(crate) fn is(&self) -> (u16, &str) {
        (self.status, self.text())
    }
}

/// Every request becomes a reply. Keys are checked as entities would.
pub(crate) fn echo(call: Call) -> Answer {
    Box::pin(async move {
        if let Requests::One(payload) = &call.requests
            && !call.method.key.is_empty()
        {
            call.method.key.extract(payload)?;
        }
        let type_url = call.method.output_type_url.clone();
        let replies = call.requests.into_stream();
        let replies =
            replies.map(move |payload| Ok(Reply { payload: payload?, type_url: type_url.clone(), metadata: None }));
        Ok(replies.boxed())
    })
}

/// These payloads as replies, then `end` if it is an error.
pub(crate) fn replies(payloads: Vec<Bytes>, end: Option<CallError>) -> Answer {
    let type_url: Arc<str> = "type.googleapis.com/shop.All".into();
    let payloads =
        payloads.into_iter().map(move |payload| Ok(Reply { payload, type_url: type_url.clone(), metadata: None }));
    let all: Vec<_> = payloads.chain(end.map(Err)).collect();
    Box::pin(async move { Ok(futures_util::stream::iter(all).boxed()) })
}

pub(crate) fn http_client() -> Client<HttpConnector, Full<Bytes>> {
    Client::builder(TokioExecutor::new()).build_http()
}

/// Fails a test that hangs, instead of hanging with it.
pub(crate) async fn soon<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), work).await.expect("an answer in time")
}

/// Messages as the bytes that they are.
#[derive(Clone, Copy, Default)]
pub(crate) struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Raw;
    type Decoder = Raw;

    fn encoder(&mut self) -> Raw {
        Raw
    }

    fn decoder(&mut self) -> Raw {
        Raw
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(from.copy_to_bytes(from.remaining())))
    }
}
