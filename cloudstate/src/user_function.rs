//! The user function as the sidecar sees it: its connections, its calls, and whether it is there.
//!
//! A [`Link`] is one life of the function's process: it begins with a connection and ends when that
//! connection breaks. Since a peer serves only so many streams on one connection (HTTP/2
//! `SETTINGS_MAX_CONCURRENT_STREAMS`), a link opens more connections as they fill up. Entity streams and
//! streamed calls have connections of their own, see [`Link::streaming_channel`]. No keep-alive pings are
//! sent: published SDK servers answer them with GOAWAY.

mod pool;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use actors::Clock;
use http::Uri;
use proto::cloudstate::entity_discovery_client::EntityDiscoveryClient;
use proto::cloudstate::{EntitySpec, ProxyInfo, UserFunctionError};
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;
use tonic::Status;

pub use pool::Channel;
use pool::{Connection, Connector, ENTITIES, Pool, STREAMS, UNANNOUNCED};

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
    /// It takes no more streams.
    #[error(
        "all {connections} connections to the user function at {address} are full; it serves {streams} streams on one: \
         raise its limit of concurrent streams"
    )]
    Full {
        /// Where it is.
        address: String,
        /// How many connections there are.
        connections: usize,
        /// How many streams it serves on one of them.
        streams: usize,
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
        let Inner { endpoint, clock, .. } = &*self.inner;
        let announced = Arc::new(AtomicUsize::new(UNANNOUNCED));
        let first = Connection::open(endpoint, clock, &ENTITIES, lost.clone(), &announced).await?;
        let connector = Connector { endpoint: endpoint.clone(), clock: clock.clone(), lost: lost.clone(), announced };
        Ok(Arc::new(Link {
            endpoint: endpoint.clone(),
            clock: clock.clone(),
            entities: Pool::new(connector.clone(), &ENTITIES, Some(first.clone())),
            streams: Pool::new(connector, &STREAMS, None),
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
    entities: Pool,
    streams: Pool,
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
        let channel = Channel::new(&self.first);
        let mut client = EntityDiscoveryClient::with_origin(channel, self.endpoint.origin())
            .max_decoding_message_size(self.endpoint.message_size_max);
        self.within(client.discover(info), "discover").await
    }

    /// Tells the function about a mistake of its own; the outcome is only logged.
    pub async fn report_error(&self, message: String) {
        crate::telemetry::metrics::error_reported();
        let channel = Channel::new(&self.first);
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

    /// A channel with room for one more stream, for streams that are always read: those of entities, and calls
    /// with one answer. The room is held until the channel and all its clones are dropped.
    ///
    /// # Errors
    /// [`LinkError`] when a further connection was needed and could not be made.
    pub async fn channel(&self) -> Result<Channel, LinkError> {
        self.entities.channel().await
    }

    /// As [`Link::channel`], for a streamed call that goes at the pace of its client.
    ///
    /// Such streams have connections of their own: what nobody reads stays in the receive window of its
    /// connection, and entities must not stand still because clients do. Towards us a connection has room
    /// for all its streams; towards the function it is the function's window, and its handler that does not
    /// read holds up other streamed calls at most.
    ///
    /// # Errors
    /// [`LinkError`] when a further connection was needed and could not be made.
    pub async fn streaming_channel(&self) -> Result<Channel, LinkError> {
        self.streams.channel().await
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
