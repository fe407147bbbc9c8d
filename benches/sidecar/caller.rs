//! How the load reaches a cart: by unary gRPC calls, or by driving the user function's entity streams itself.

use std::cell::Cell;
use std::net::SocketAddr;

use anyhow::{Context, bail, ensure};
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use proto::cloudstate::eventsourced::event_sourced_client::EventSourcedClient;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tonic::transport::{Channel, Endpoint};

use crate::cart::{self, AddLineItem, Cart};
use crate::entity_stream::{EntityStream, answer};
use crate::kinds::{Driven, Kind, METHOD, function_at};
use crate::load::Plan;

/// HTTP/2 connections the clients share, at most: few, as a front proxy has them.
const CONNECTIONS_MAX: usize = 4;

/// Which interface of the target is called.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub enum Door {
    /// The shopping cart's gRPC service.
    Service,
    /// The user function's event-sourced protocol, one stream per cart.
    EntityStreams,
}

/// Carts by number, each call prepared as far as that can be done beforehand.
pub enum Caller {
    Service(ServiceCaller),
    EntityStreams(StreamCaller),
    Kind(KindCaller),
}

impl Caller {
    pub async fn connect(plan: &Plan) -> anyhow::Result<Self> {
        let ids: Vec<String> = (0..plan.carts).map(|cart| format!("{}{cart}", plan.prefix)).collect();
        if let Some(kind) = plan.kind {
            return Ok(Self::Kind(KindCaller::connect(kind, plan, ids).await?));
        }
        Ok(match plan.door {
            Door::Service => Self::Service(ServiceCaller::connect(plan.target, plan.clients, ids).await?),
            Door::EntityStreams => Self::EntityStreams(StreamCaller::connect(plan.target, ids).await?),
        })
    }

    pub fn carts(&self) -> usize {
        match self {
            Self::Service(caller) => caller.adds.len(),
            Self::EntityStreams(caller) => caller.carts.len(),
            Self::Kind(caller) => caller.ids.len(),
        }
    }

    /// Adds one piece to the cart.
    pub async fn add(&self, client: usize, cart: usize) -> anyhow::Result<()> {
        match self {
            Self::Service(caller) => caller.call(client, &caller.add_item, caller.adds[cart].clone()).await.map(|_| ()),
            Self::EntityStreams(caller) => caller.add(cart).await,
            Self::Kind(caller) => caller.call(client, cart).await.map(|_| ()),
        }
    }

    /// Pieces in the cart.
    pub async fn pieces(&self, cart: usize) -> anyhow::Result<u64> {
        let cart = match self {
            Self::Service(caller) => caller.call(0, &caller.get_cart, framed(&cart::read(&caller.ids[cart]))).await?,
            Self::EntityStreams(caller) => caller.read(cart).await?,
            Self::Kind(caller) => return caller.calls_before(cart).await,
        };
        Ok(cart::pieces(&Cart::decode(cart)?))
    }
}

pub struct ServiceCaller {
    connections: Vec<SendRequest<Full<Bytes>>>,
    add_item: Uri,
    get_cart: Uri,
    ids: Vec<String>,
    /// The framed message of each cart.
    adds: Vec<Bytes>,
}

impl ServiceCaller {
    async fn connect(target: SocketAddr, clients: usize, ids: Vec<String>) -> anyhow::Result<Self> {
        let uri = |method: &str| format!("http://{target}/{}/{method}", cart::SERVICE).parse::<Uri>();
        let mut connections = Vec::new();
        for _ in 0..clients.min(CONNECTIONS_MAX) {
            connections.push(connection(target).await?);
        }
        Ok(Self {
            connections,
            add_item: uri(cart::ADD_ITEM)?,
            get_cart: uri(cart::GET_CART)?,
            adds: ids.iter().map(|id| framed(&cart::add_one(id))).collect(),
            ids,
        })
    }

    async fn call(&self, client: usize, method: &Uri, message: Bytes) -> anyhow::Result<Bytes> {
        let mut connection = self.connections[client % self.connections.len()].clone();
        let request = Request::post(method.clone())
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::new(message))?;
        connection.ready().await?;
        let (head, body) = connection.send_request(request).await?.into_parts();
        let body = body.collect().await?;
        let status = body.trailers().and_then(grpc_status).or(grpc_status(&head.headers));
        if !head.status.is_success() || status != Some("0") {
            let explained = body.trailers().unwrap_or(&head.headers).get("grpc-message").cloned();
            bail!("HTTP {}, gRPC status {status:?}: {explained:?}", head.status);
        }
        let message = body.to_bytes();
        ensure!(message.len() >= 5, "an answer of {} bytes holds no message", message.len());
        Ok(message.slice(5..))
    }
}

/// Calls of the counting services.
pub struct KindCaller {
    kind: Kind,
    ids: Vec<CountedId>,
    way: Way,
}

struct CountedId {
    id: String,
    framed: Bytes,
    /// Calls that only asked for the count.
    asked: Cell<u64>,
    /// Opened by the first call, where the function is driven directly.
    driven: Mutex<Option<Driven>>,
}

enum Way {
    Service(ServiceCaller),
    Function(Channel),
}

impl KindCaller {
    async fn connect(kind: Kind, plan: &Plan, ids: Vec<String>) -> anyhow::Result<Self> {
        let way = match plan.door {
            Door::Service => {
                let mut service = ServiceCaller::connect(plan.target, plan.clients, Vec::new()).await?;
                service.add_item = format!("http://{}/{}/{METHOD}", plan.target, kind.service()).parse()?;
                Way::Service(service)
            }
            Door::EntityStreams => Way::Function(function_at(plan.target).await?),
        };
        let counted = |id: String| {
            let framed = framed(&kind.request(&id));
            CountedId { id, framed, asked: Cell::default(), driven: Mutex::default() }
        };
        Ok(Self { kind, ids: ids.into_iter().map(counted).collect(), way })
    }

    async fn call(&self, client: usize, number: usize) -> anyhow::Result<Bytes> {
        let id = &self.ids[number];
        match &self.way {
            Way::Service(service) => service.call(client, &service.add_item, id.framed.clone()).await,
            Way::Function(function) => {
                let mut driven = id.driven.lock().await;
                if driven.is_none() {
                    *driven = Some(Driven::open(self.kind, function.clone(), id.id.clone()).await?);
                }
                driven.as_mut().expect("opened above").call().await
            }
        }
    }

    /// Calls so far, those left out that only asked for the count.
    async fn calls_before(&self, number: usize) -> anyhow::Result<u64> {
        let count = self.kind.count(&self.call(0, number).await?)?;
        let asked = &self.ids[number].asked;
        asked.set(asked.get() + 1);
        Ok(count.saturating_sub(asked.get()))
    }
}

async fn connection(target: SocketAddr) -> anyhow::Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(target).await.with_context(|| format!("connect to {target}"))?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(connection); // ends with its last sender; what goes wrong on it the calls report
    Ok(sender)
}

fn grpc_status(headers: &HeaderMap) -> Option<&str> {
    headers.get("grpc-status")?.to_str().ok()
}

/// The message behind the five bytes of a gRPC frame.
fn framed(message: &impl Message) -> Bytes {
    let mut frame = BytesMut::with_capacity(message.encoded_len() + 5);
    frame.put_u8(0);
    frame.put_u32(message.encoded_len() as u32);
    message.encode(&mut frame).expect("there is room");
    frame.freeze()
}

pub struct StreamCaller {
    function: EventSourcedClient<Channel>,
    carts: Vec<StreamedCart>,
}

struct StreamedCart {
    id: String,
    add: AddLineItem,
    /// Opened by the first call; held for the length of a command, since an entity serves one at a time.
    stream: Mutex<Option<EntityStream>>,
}

impl StreamCaller {
    async fn connect(target: SocketAddr, ids: Vec<String>) -> anyhow::Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{target}"))?.tcp_nodelay(true);
        let cart = |id: String| StreamedCart { add: cart::add_one(&id), id, stream: Mutex::default() };
        Ok(Self {
            function: EventSourcedClient::new(endpoint.connect().await?),
            carts: ids.into_iter().map(cart).collect(),
        })
    }

    async fn add(&self, cart: usize) -> anyhow::Result<()> {
        self.command(cart, cart::add_command(&self.carts[cart].add)).await.map(|_| ())
    }

    async fn read(&self, cart: usize) -> anyhow::Result<Bytes> {
        self.command(cart, cart::read_command(&cart::read(&self.carts[cart].id))).await
    }

    async fn command(&self, cart: usize, (name, payload): (&str, proto::Any)) -> anyhow::Result<Bytes> {
        let cart = &self.carts[cart];
        let mut stream = cart.stream.lock().await;
        if stream.is_none() {
            *stream = Some(EntityStream::open(self.function.clone(), cart.id.clone()).await?);
        }
        let stream = stream.as_mut().expect("opened above");
        let reply = stream.command(name, payload).await?;
        Ok(answer(reply).context("the reply carries no payload")?.value)
    }
}
