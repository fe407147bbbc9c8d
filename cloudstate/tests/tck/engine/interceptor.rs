//! The gRPC server between sidecar and user function: passes every call on and records it.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use proto::cloudstate::action::action_protocol_server::ActionProtocolServer;
use proto::cloudstate::action::{ActionCommand, ActionResponse};
use proto::cloudstate::crdt::crdt_server::CrdtServer;
use proto::cloudstate::crdt::{CrdtStreamIn, CrdtStreamOut};
use proto::cloudstate::entity_discovery_server::EntityDiscoveryServer;
use proto::cloudstate::eventsourced::event_sourced_server::EventSourcedServer;
use proto::cloudstate::eventsourced::{EventSourcedStreamIn, EventSourcedStreamOut};
use proto::cloudstate::valueentity::value_entity_server::ValueEntityServer;
use proto::cloudstate::valueentity::{ValueEntityStreamIn, ValueEntityStreamOut};
use proto::cloudstate::{EntitySpec, ProxyInfo, UserFunctionError};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Server};

use super::passing::Passing;
use super::record::Recorded;
use super::{EXPECTATION, MESSAGE_MAX, QUIET};

/// New calls that a test may leave in the queue.
const CALLS_MAX: usize = 1024;

/// Sets the message limits of a generated server.
macro_rules! limits {
    ($server:expr) => {
        $server.max_decoding_message_size(MESSAGE_MAX).max_encoding_message_size(MESSAGE_MAX)
    };
}

/// A new call of the sidecar, in order of arrival among calls of all kinds.
#[derive(Debug)]
pub enum Call {
    Discover(Recorded<ProxyInfo, EntitySpec>),
    ReportError(Recorded<UserFunctionError, ()>),
    Action { method: &'static str, call: Recorded<ActionCommand, ActionResponse> },
    ValueEntity(Recorded<ValueEntityStreamIn, ValueEntityStreamOut>),
    EventSourced(Recorded<EventSourcedStreamIn, EventSourcedStreamOut>),
    Crdt(Recorded<CrdtStreamIn, CrdtStreamOut>),
}

impl Call {
    fn event_sourced(self) -> Result<Recorded<EventSourcedStreamIn, EventSourcedStreamOut>> {
        match self {
            Self::EventSourced(stream) => Ok(stream),
            other => bail!("expected a new event sourced stream, got {}", other.describe()),
        }
    }

    /// For a failure: what it is and what was seen of it so far.
    fn describe(self) -> String {
        match self {
            Self::Discover(call) => format!("discover: {}", call.describe()),
            Self::ReportError(call) => format!("reportError: {}", call.describe()),
            Self::Action { method, call } => format!("{method}: {}", call.describe()),
            Self::ValueEntity(call) => format!("a value entity's stream: {}", call.describe()),
            Self::EventSourced(call) => format!("an event sourced entity's stream: {}", call.describe()),
            Self::Crdt(call) => format!("a CRDT entity's stream: {}", call.describe()),
        }
    }
}

/// The running interceptor; dropping it stops it.
#[derive(Debug)]
pub struct Interceptor {
    address: SocketAddr,
    calls: mpsc::Receiver<Call>,
    server: JoinHandle<()>,
}

impl Interceptor {
    /// Listens on a free port of the loopback interface and passes everything on to `function`.
    pub async fn start(function: Channel) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("a port for the interceptor")?;
        let address = listener.local_addr()?;
        let (sender, calls) = mpsc::channel(CALLS_MAX);
        let passing = Passing::new(function, sender);
        let router = Server::builder()
            .add_service(limits!(EntityDiscoveryServer::new(passing.clone())))
            .add_service(limits!(ActionProtocolServer::new(passing.clone())))
            .add_service(limits!(ValueEntityServer::new(passing.clone())))
            .add_service(limits!(EventSourcedServer::new(passing.clone())))
            .add_service(limits!(CrdtServer::new(passing)));
        let server = tokio::spawn(async move {
            // Ends with the task only; what a broken connection means is seen in the records.
            let _ = router.serve_with_incoming(TcpListenerStream::new(listener)).await;
        });
        Ok(Self { address, calls, server })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The head of the queue is an event sourced stream.
    pub async fn event_sourced(&mut self) -> Result<Recorded<EventSourcedStreamIn, EventSourcedStreamOut>> {
        self.call().await?.event_sourced()
    }

    /// As [`event_sourced`](Self::event_sourced), for a stream that must be there already.
    pub fn event_sourced_now(&mut self) -> Result<Recorded<EventSourcedStreamIn, EventSourcedStreamOut>> {
        self.calls.try_recv().context("no new call so far")?.event_sourced()
    }

    /// The head of the queue is a discovery.
    pub async fn discover(&mut self) -> Result<Recorded<ProxyInfo, EntitySpec>> {
        match self.call().await? {
            Call::Discover(call) => Ok(call),
            other => bail!("expected a discovery, got {}", other.describe()),
        }
    }

    /// Nothing unexpected waits in the queue, nor arrives within the suite's 10 ms.
    pub async fn quiet(&mut self) -> Result<()> {
        match tokio::time::timeout(QUIET, self.calls.recv()).await {
            Ok(Some(call)) => bail!("unexpected call: {}", call.describe()),
            Ok(None) => bail!("the interceptor has stopped"),
            Err(_) => Ok(()),
        }
    }

    /// Throws away what a failed test has left, so that the next one does not trip over it.
    pub async fn discard(&mut self) {
        while let Ok(Some(_)) = tokio::time::timeout(QUIET, self.calls.recv()).await {}
    }

    async fn call(&mut self) -> Result<Call> {
        match tokio::time::timeout(EXPECTATION, self.calls.recv()).await {
            Ok(Some(call)) => Ok(call),
            Ok(None) => bail!("the interceptor has stopped"),
            Err(_) => bail!("no new call within {EXPECTATION:?}"),
        }
    }
}

impl Drop for Interceptor {
    fn drop(&mut self) {
        self.server.abort();
    }
}
