//! Connections to the user function, and places for streams on them.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use actors::{Clock, Tick};
use futures_util::FutureExt;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;

use super::{Endpoint, LinkError};

/// How long making a connection may take; a function on this machine takes or refuses it at once.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections of one kind to one function. With the hundred streams that is the least a server should serve
/// on one (RFC 9113) they are enough for all the requests that the sidecar takes.
const CONNECTIONS_MAX: usize = 128;

/// What the connections of a pool are like.
pub(super) struct Kind {
    /// Streams that one connection carries at most, whatever the peer announces.
    streams_max: usize,
    /// Receive window of one stream towards us, in bytes.
    stream_window: u32,
    /// Receive window of one connection towards us, in bytes.
    connection_window: u32,
}

/// For streams that are always read: they share the window of their connection.
pub(super) const ENTITIES: Kind =
    Kind { streams_max: 1_000, stream_window: 256 * 1024, connection_window: 4 * 1024 * 1024 };

/// For streams that go at the pace of clients: the window of a connection is as large as those of all its
/// streams together, so that those which nobody reads leave room for the others.
pub(super) const STREAMS: Kind =
    Kind { streams_max: 100, stream_window: 64 * 1024, connection_window: 100 * 64 * 1024 };

/// Makes connections of one link.
#[derive(Clone)]
pub(super) struct Connector {
    pub(super) endpoint: Endpoint,
    pub(super) clock: Clock,
    pub(super) lost: CancellationToken,
    /// Streams that the function serves on one connection, once it has said so on any of them: what a new
    /// connection is told is noticed only after its first stream.
    pub(super) announced: Arc<AtomicUsize>,
}

/// What is assumed until the peer has announced its limit.
pub(super) const UNANNOUNCED: usize = 100;

/// Connections of one kind.
pub(super) struct Pool {
    connector: Connector,
    kind: &'static Kind,
    connections: Mutex<Vec<Arc<Connection>>>,
    /// Held by whoever makes a connection; never while [`Pool::connections`] is.
    opening: tokio::sync::Mutex<Option<(Tick, LinkError)>>,
    freed: Arc<Notify>,
}

impl Pool {
    pub(super) fn new(connector: Connector, kind: &'static Kind, first: Option<Arc<Connection>>) -> Self {
        Self {
            connector,
            kind,
            connections: Mutex::new(first.into_iter().collect()),
            opening: tokio::sync::Mutex::new(None),
            freed: Arc::new(Notify::new()),
        }
    }

    /// A place on one of the connections; while another one is being made, what becomes free is taken as well.
    pub(super) async fn channel(&self) -> Result<Channel, LinkError> {
        let since = self.connector.clock.now();
        loop {
            let freed = self.freed.notified();
            if let Some(channel) = self.reserve() {
                return Ok(channel);
            }
            tokio::select! {
                biased;
                mut opening = self.opening.lock() => {
                    if let Some(channel) = self.reserve() {
                        return Ok(channel);
                    }
                    // Those who waited for an attempt share its failure instead of making their own in turn.
                    if let Some((at, error)) = opening.as_ref()
                        && *at > since
                    {
                        return Err(error.clone());
                    }
                    match self.open().await {
                        Ok(channel) => return Ok(channel),
                        Err(error) => {
                            *opening = Some((self.connector.clock.now(), error.clone()));
                            return Err(error);
                        }
                    }
                }
                () = freed => {}
            }
        }
    }

    fn reserve(&self) -> Option<Channel> {
        let mut connections = self.connections.lock();
        connections.retain(|connection| !connection.is_closed());
        connections.iter().find_map(|connection| Channel::reserve(connection, &self.freed))
    }

    async fn open(&self) -> Result<Channel, LinkError> {
        let full = |connections: usize, streams: usize| LinkError::Full {
            address: self.connector.endpoint.authority(),
            connections,
            streams,
        };
        {
            let connections = self.connections.lock();
            if connections.len() >= CONNECTIONS_MAX {
                let streams = connections.last().map_or(0, |last| last.limit.load(Ordering::Relaxed));
                return Err(full(connections.len(), streams));
            }
        }
        let Connector { endpoint, clock, lost, announced } = &self.connector;
        let opened = Connection::open(endpoint, clock, self.kind, lost.child_token(), announced).await?;
        let channel = Channel::reserve(&opened, &self.freed);
        // One that accepts no streams is not kept.
        let channel = channel.ok_or_else(|| full(1, opened.limit.load(Ordering::Relaxed)))?;
        self.connections.lock().push(opened);
        self.freed.notify_waiters();
        Ok(channel)
    }
}

/// One HTTP/2 connection and how many of its streams are taken.
pub(super) struct Connection {
    sender: Mutex<http2::SendRequest<Body>>,
    taken: AtomicUsize,
    limit: Arc<AtomicUsize>,
    /// Dropping it ends the connection, streams and all.
    _open: tokio_util::sync::DropGuard,
}

impl Connection {
    pub(super) async fn open(
        endpoint: &Endpoint,
        clock: &Clock,
        kind: &'static Kind,
        lost: CancellationToken,
        announced: &Arc<AtomicUsize>,
    ) -> Result<Arc<Self>, LinkError> {
        let unreachable = |reason: String| LinkError::Unreachable { address: endpoint.authority(), reason };
        let connected = async {
            let socket = TcpStream::connect((endpoint.host.trim_matches(['[', ']']), endpoint.port)).await;
            let socket = socket.map_err(|error| unreachable(error.to_string()))?;
            socket.set_nodelay(true).map_err(|error| unreachable(error.to_string()))?;
            http2::Builder::new(TokioExecutor::new())
                .initial_stream_window_size(kind.stream_window)
                .initial_connection_window_size(kind.connection_window)
                .handshake::<_, Body>(TokioIo::new(socket))
                .await
                .map_err(|error| unreachable(error.to_string()))
        };
        let (sender, mut connection) = clock
            .timeout(CONNECT_TIMEOUT, connected)
            .await
            .map_err(|_| unreachable(format!("no connection within {} s", CONNECT_TIMEOUT.as_secs())))??;
        let limit = Arc::new(AtomicUsize::new(announced.load(Ordering::Relaxed).min(kind.streams_max)));
        let (own, shared) = (limit.clone(), announced.clone());
        let closing = lost.clone();
        tokio::spawn(async move {
            let driven = std::future::poll_fn(|cx| {
                let done = connection.poll_unpin(cx);
                let streams = connection.current_max_send_streams();
                if streams != UNANNOUNCED {
                    own.store(streams.min(kind.streams_max), Ordering::Relaxed);
                    shared.store(streams, Ordering::Relaxed);
                }
                done
            });
            tokio::select! {
                biased;
                () = closing.cancelled() => {}
                ended = driven => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "connection to the user function ended");
                    }
                    closing.cancel();
                }
            }
        });
        let _open = lost.drop_guard();
        Ok(Arc::new(Self { sender: Mutex::new(sender), taken: AtomicUsize::new(0), limit, _open }))
    }

    fn is_closed(&self) -> bool {
        self.sender.lock().is_closed()
    }
}

/// A gRPC transport on one connection of a [`Link`](super::Link).
#[derive(Clone)]
pub struct Channel {
    sender: http2::SendRequest<Body>,
    _place: Option<Arc<Place>>,
}

struct Place {
    connection: Arc<Connection>,
    freed: Arc<Notify>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.connection.taken.fetch_sub(1, Ordering::Relaxed);
        self.freed.notify_waiters();
    }
}

impl Channel {
    /// Without a place of its own: for the rare calls of discovery.
    pub(super) fn new(connection: &Connection) -> Self {
        let sender = connection.sender.lock().clone();
        Self { sender, _place: None }
    }

    fn reserve(connection: &Arc<Connection>, freed: &Arc<Notify>) -> Option<Self> {
        // One place stays free on every connection, for `reportError`, if there are several.
        let limit = connection.limit.load(Ordering::Relaxed);
        let limit = if limit > 1 { limit - 1 } else { limit };
        let sender = connection.sender.lock().clone();
        let free = |taken: usize| (taken < limit && !sender.is_closed()).then_some(taken + 1);
        connection.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, free).ok()?;
        let place = Place { connection: connection.clone(), freed: freed.clone() };
        Some(Self { sender, _place: Some(Arc::new(place)) })
    }
}

impl tower_service::Service<Request<Body>> for Channel {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.sender.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.sender.send_request(request))
    }
}
