//! A gRPC relay that breaks what passes through it: in front of the function it makes a broken function, behind the
//! sidecar a broken sidecar.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::pin::Pin;

use cloudstate::tck::engine::{Address, connect};
use futures_util::{Stream, StreamExt, stream};
use http::uri::PathAndQuery;
use prost::bytes::{Buf, BufMut, Bytes};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::server::{Grpc, StreamingService};
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status, Streaming};

/// What becomes of a message of the call with this path.
pub(super) type Break = fn(&str, Bytes) -> Fate;

/// The messages that take a message's place, and how the stream goes on.
#[derive(Debug)]
pub(super) struct Fate {
    pub(super) messages: Vec<Bytes>,
    pub(super) then: Then,
}

/// How a stream goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Then {
    GoOn,
    Complete,
    Fail,
}

/// Nothing is broken.
pub(super) fn intact(_: &str, message: Bytes) -> Fate {
    Fate { messages: vec![message], then: Then::GoOn }
}

/// A running relay; dropping it stops it.
#[derive(Debug)]
pub(super) struct Relay {
    pub(super) port: u16,
    server: JoinHandle<()>,
}

impl Relay {
    /// Passes calls on to `target`.
    pub(super) async fn start(target: Address, requests: Break, responses: Break) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let target = connect(&target).expect("an address");
        let service = tower::service_fn(move |request: axum::extract::Request| {
            let path = request.uri().path().to_owned();
            let call = Call { target: target.clone(), path, requests, responses };
            async move { Ok::<_, Infallible>(Grpc::new(Raw).streaming(call, request).await) }
        });
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let routes = Routes::from(axum::Router::new().fallback_service(service));
        let serving = Server::builder().add_routes(routes).serve_with_incoming(incoming);
        let server = tokio::spawn(async move { serving.await.expect("serves until it is aborted") });
        Self { port, server }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.server.abort();
    }
}

struct Call {
    target: Channel,
    path: String,
    requests: Break,
    responses: Break,
}

type Messages = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

impl StreamingService<Bytes> for Call {
    type Response = Bytes;
    type ResponseStream = Messages;
    type Future = Ready<Result<Response<Messages>, Status>>;

    /// Answers at once: nobody waits for the headers of a function that sends them with its first reply.
    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        let (path, mut client) = (self.path.clone(), tonic::client::Grpc::new(self.target.clone()));
        let requests = broken(&path, Box::pin(request.into_inner()), self.requests);
        // A reset of the client drops all of this and so resets the call to the target.
        let requests = requests.filter_map(|message| ready(message.ok()));
        let address: PathAndQuery = path.parse().expect("it was one");
        let answered = async move {
            client.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
            client.streaming(Request::new(requests), address, Raw).await
        };
        let responses = stream::once(answered).flat_map(|answered| -> Messages {
            match answered {
                Ok(response) => Box::pin(response.into_inner()),
                Err(status) => Box::pin(stream::iter([Err(status)])),
            }
        });
        ready(Ok(Response::new(broken(&path, Box::pin(responses), self.responses))))
    }
}

fn broken(path: &str, messages: Messages, broken: Break) -> Messages {
    let path = path.to_owned();
    let fates = messages.map(move |message| match message {
        Ok(message) => broken(&path, message),
        Err(_) => Fate { messages: Vec::new(), then: Then::Fail },
    });
    let items = fates.flat_map(|fate| {
        let end = match fate.then {
            Then::GoOn => None,
            Then::Complete => Some(None),
            Then::Fail => Some(Some(Err(Status::unknown("broken")))),
        };
        stream::iter(fate.messages.into_iter().map(|message| Some(Ok(message))).chain(end))
    });
    Box::pin(items.take_while(|item| ready(item.is_some())).filter_map(ready))
}

/// Messages as bytes.
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
