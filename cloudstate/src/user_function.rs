//! The user function as the sidecar sees it: its connections, its calls, and whether it is there.
//!
//! A [`Link`] is one life of the function's process: it begins with a connection and ends when that
//! connection breaks. Entity streams are opened on the link's connections; since a peer serves only
//! so many streams on one connection (HTTP/2 `SETTINGS_MAX_CONCURRENT_STREAMS`), a link opens more
//! connections as they fill up. No keep-alive pings are sent: published SDK servers answer them
//! with GOAWAY.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use actors::Clock;
use futures_util::FutureExt;
use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use parking_lot::Mutex;
use proto::cloudstate::entity_discovery_client::EntityDiscoveryClient;
use proto::cloudstate::{EntitySpec, ProxyInfo, UserFunctionError};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::body::Body;

/// Streams that one connection carries at most, whatever the peer announces.
const STREAMS_PER_CONNECTION_MAX: usize = 1_000;

/// Receive window of one stream towards us, in bytes.
const STREAM_WINDOW: u32 = 256 * 1024;

/// Receive window of one connection towards us, in bytes.
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;

/// How long a `reportError` or `discover` call may take: some SDK servers hang while their threads
/// are all taken by entity streams.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// Error reports under way at once: a function that makes mistakes faster than it takes reports is told of some.
const REPORTS_MAX: usize = 16;

/// Where the user function listens and how much it may send at once.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Host name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Largest message accepted from the function, in bytes.
    pub message_size_max: usize,
}

impl Endpoint {
    fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    fn origin(&self) -> Uri {
        Uri::builder()
            .scheme("http")
            .authority(self.authority())
            .path_and_query("/")
            .build()
            .unwrap_or_else(|_| Uri::from_static("http://user-function/"))
    }
}

/// Why there is no link to the user function.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LinkError {
    /// No connection could be made.
    #[error("user function at {address} is not reachable: {reason}")]
    Unreachable {
        /// Where it was looked for.
        address: String,
        /// What the operating system said.
        reason: String,
    },
}

/// A handle on the user function; clones share its link.
#[derive(Clone)]
pub struct UserFunction {
    inner: Arc<Inner>,
}

struct Inner {
    endpoint: Endpoint,
    clock: Clock,
    link: watch::Sender<Option<Arc<Link>>>,
    reports: Arc<Semaphore>,
}

impl UserFunction {
    /// A function that is not connected yet.
    pub fn new(endpoint: Endpoint, clock: Clock) -> Self {
        Self {
            inner: Arc::new(Inner {
                endpoint,
                clock,
                link: watch::Sender::new(None),
                reports: Arc::new(Semaphore::new(REPORTS_MAX)),
            }),
        }
    }

    /// Where the function is expected.
    pub fn endpoint(&self) -> &Endpoint {
        &self.inner.endpoint
    }

    /// The source of time.
    pub fn clock(&self) -> &Clock {
        &self.inner.clock
    }

    /// Connects anew. The link is not offered to entities before [`UserFunction::offer`].
    ///
    /// # Errors
    /// [`LinkError::Unreachable`] when no connection could be made; nothing is retried here.
    pub async fn connect(&self) -> Result<Arc<Link>, LinkError> {
        let lost = CancellationToken::new();
        let first = Connection::open(&self.inner.endpoint, lost.clone()).await?;
        Ok(Arc::new(Link {
            endpoint: self.inner.endpoint.clone(),
            clock: self.inner.clock.clone(),
            connections: tokio::sync::Mutex::new(vec![first.clone()]),
            first,
            lost,
        }))
    }

    /// Makes `link` the one that entities use, or says that there is none.
    pub fn offer(&self, link: Option<Arc<Link>>) {
        self.inner.link.send_replace(link);
    }

    /// The link in use, waiting for one at most `within`.
    pub async fn link(&self, within: Duration) -> Result<Arc<Link>, LinkError> {
        let mut watched = self.inner.link.subscribe();
        let waited = async {
            loop {
                let current = watched.borrow_and_update().clone();
                if let Some(link) = current.filter(|link| !link.lost.is_cancelled()) {
                    return Some(link);
                }
                if watched.changed().await.is_err() {
                    return None;
                }
            }
        };
        let clock = &self.inner.clock;
        tokio::select! {
            biased;
            Some(link) = waited => Ok(link),
            () = clock.sleep(within) => Err(LinkError::Unreachable {
                address: self.inner.endpoint.authority(),
                reason: "it has not been connected, or its specification is refused".to_owned(),
            }),
        }
    }

    /// Tells the function about a mistake of its own. Fire and forget: the outcome is only logged, and
    /// what comes while sixteen reports are under way is dropped.
    pub fn report_error(&self, message: String) {
        let current = self.inner.link.borrow().clone();
        let (Some(link), Ok(place)) = (current, self.inner.reports.clone().try_acquire_owned()) else {
            tracing::debug!(%message, "mistake of the user function not reported to it");
            return;
        };
        tokio::spawn(async move {
            link.report_error(message).await;
            drop(place);
        });
    }
}

/// One life of the function's process.
pub struct Link {
    endpoint: Endpoint,
    clock: Clock,
    first: Arc<Connection>,
    connections: tokio::sync::Mutex<Vec<Arc<Connection>>>,
    lost: CancellationToken,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link")
            .field("endpoint", &self.endpoint)
            .field("lost", &self.lost.is_cancelled())
            .finish_non_exhaustive()
    }
}

impl Link {
    /// Asks what the function serves.
    ///
    /// # Errors
    /// The function's status, or `DEADLINE_EXCEEDED` after ten seconds.
    pub async fn discover(&self, info: ProxyInfo) -> Result<EntitySpec, Status> {
        let channel = Channel::new(self.first.clone());
        let mut client = EntityDiscoveryClient::with_origin(channel, self.endpoint.origin())
            .max_decoding_message_size(self.endpoint.message_size_max);
        self.within(client.discover(info), "discover").await
    }

    /// Tells the function about a mistake of its own; the outcome is only logged.
    pub async fn report_error(&self, message: String) {
        crate::telemetry::metrics::error_reported();
        let channel = Channel::new(self.first.clone());
        let mut client = EntityDiscoveryClient::with_origin(channel, self.endpoint.origin());
        if let Err(status) = self.within(client.report_error(UserFunctionError { message }), "reportError").await {
            tracing::debug!(code = ?status.code(), message = status.message(), "user function did not take the error report");
        }
    }

    async fn within<T>(
        &self,
        call: impl Future<Output = Result<tonic::Response<T>, Status>>,
        name: &str,
    ) -> Result<T, Status> {
        tokio::select! {
            biased;
            answer = call => answer.map(tonic::Response::into_inner),
            () = self.clock.sleep(CALL_TIMEOUT) => {
                Err(Status::deadline_exceeded(format!("{name} was not answered within {} s", CALL_TIMEOUT.as_secs())))
            }
        }
    }

    /// Completes when the function's connection is gone.
    pub async fn lost(&self) {
        self.lost.cancelled().await;
    }

    /// Gives the link up: open streams end, and [`Link::lost`] completes.
    pub fn close(&self) {
        self.lost.cancel();
    }

    /// A channel with room for one more stream. The room is held until the channel and all its
    /// clones are dropped.
    ///
    /// # Errors
    /// [`LinkError`] when a further connection was needed and could not be made.
    pub async fn channel(&self) -> Result<Channel, LinkError> {
        if let Some(channel) = Channel::reserve(&self.first) {
            return Ok(channel);
        }
        let mut connections = self.connections.lock().await;
        connections.retain(|connection| !connection.sender.lock().is_closed());
        if let Some(channel) = connections.iter().find_map(Channel::reserve) {
            return Ok(channel);
        }
        let opened = Connection::open(&self.endpoint, self.lost.child_token()).await?;
        connections.push(opened.clone());
        Channel::reserve(&opened).ok_or_else(|| LinkError::Unreachable {
            address: self.endpoint.authority(),
            reason: "it accepts no streams".to_owned(),
        })
    }

    /// The origin that requests on this link's channels carry.
    pub fn origin(&self) -> Uri {
        self.endpoint.origin()
    }

    /// Largest message accepted from the function, in bytes.
    pub fn message_size_max(&self) -> usize {
        self.endpoint.message_size_max
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.lost.cancel();
    }
}

/// One HTTP/2 connection and how many of its streams are taken.
struct Connection {
    sender: Mutex<http2::SendRequest<Body>>,
    taken: AtomicUsize,
    limit: Arc<AtomicUsize>,
}

impl Connection {
    async fn open(endpoint: &Endpoint, lost: CancellationToken) -> Result<Arc<Self>, LinkError> {
        let unreachable = |reason: String| LinkError::Unreachable { address: endpoint.authority(), reason };
        let socket = TcpStream::connect((endpoint.host.trim_matches(['[', ']']), endpoint.port))
            .await
            .map_err(|error| unreachable(error.to_string()))?;
        socket.set_nodelay(true).map_err(|error| unreachable(error.to_string()))?;
        let (sender, mut connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .handshake::<_, Body>(TokioIo::new(socket))
            .await
            .map_err(|error| unreachable(error.to_string()))?;
        let limit = Arc::new(AtomicUsize::new(100));
        let announced = limit.clone();
        tokio::spawn(async move {
            let driven = std::future::poll_fn(|cx| {
                let done = connection.poll_unpin(cx);
                announced
                    .store(connection.current_max_send_streams().min(STREAMS_PER_CONNECTION_MAX), Ordering::Relaxed);
                done
            });
            tokio::select! {
                biased;
                () = lost.cancelled() => {}
                ended = driven => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "connection to the user function ended");
                    }
                    lost.cancel();
                }
            }
        });
        Ok(Arc::new(Self { sender: Mutex::new(sender), taken: AtomicUsize::new(0), limit }))
    }
}

/// A gRPC transport on one connection of a [`Link`].
#[derive(Clone)]
pub struct Channel {
    sender: http2::SendRequest<Body>,
    _place: Option<Arc<Place>>,
}

struct Place(Arc<Connection>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Channel {
    fn new(connection: Arc<Connection>) -> Self {
        let sender = connection.sender.lock().clone();
        Self { sender, _place: None }
    }

    fn reserve(connection: &Arc<Connection>) -> Option<Self> {
        // One place stays free on every connection, for `reportError`.
        let limit = connection.limit.load(Ordering::Relaxed).saturating_sub(1);
        let taken = connection.taken.fetch_add(1, Ordering::Relaxed);
        let place = Arc::new(Place(connection.clone()));
        let sender = connection.sender.lock().clone();
        (taken < limit && !sender.is_closed()).then(|| Self { sender, _place: Some(place) })
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
