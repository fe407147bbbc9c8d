//! The gRPC server between proxy and user function: passes every call on and records it.

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
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Server};

use super::passing::Passing;
use super::record::Recorded;
use super::{EXPECTATION, MESSAGE_MAX, QUIET, within};

/// New calls that a test may leave in the queue.
const CALLS_MAX: usize = 1024;

/// Sets the message limits of a generated server.
macro_rules! limits {
    ($server:expr) => {
        $server.max_decoding_message_size(MESSAGE_MAX).max_encoding_message_size(MESSAGE_MAX)
    };
}

/// A new call of the proxy, in order of arrival among calls of all kinds.
#[derive(Debug)]
pub enum Call {
    /// `discover`.
    Discover(Recorded<ProxyInfo, EntitySpec>),
    /// `reportError`.
    ReportError(Recorded<UserFunctionError, ()>),
    /// One of the action protocol's calls.
    Action(ActionMethod, Recorded<ActionCommand, ActionResponse>),
    /// A value entity's stream.
    ValueEntity(Recorded<ValueEntityStreamIn, ValueEntityStreamOut>),
    /// An event sourced entity's stream.
    EventSourced(Recorded<EventSourcedStreamIn, EventSourcedStreamOut>),
    /// A CRDT entity's stream.
    Crdt(Recorded<CrdtStreamIn, CrdtStreamOut>),
}

/// Which of the action protocol's four calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActionMethod {
    /// `handleUnary`
    Unary,
    /// `handleStreamedIn`
    StreamedIn,
    /// `handleStreamedOut`
    StreamedOut,
    /// `handleStreamed`
    Streamed,
}

impl Call {
    /// For a failure: what it is and what was seen of it so far.
    pub fn describe(self) -> String {
        match self {
            Self::Discover(call) => format!("discover: {}", call.describe()),
            Self::ReportError(call) => format!("reportError: {}", call.describe()),
            Self::Action(method, call) => format!("{method:?} call of an action: {}", call.describe()),
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
    /// Serves on `listener` and passes everything on to `function`.
    ///
    /// # Errors
    /// What the operating system says of the listener.
    pub fn start(listener: TcpListener, function: Channel) -> Result<Self> {
        let address = listener.local_addr()?;
        let (sender, calls) = mpsc::channel(CALLS_MAX);
        let passing = Passing::new(function, sender);
        let router = Server::builder()
            .add_service(limits!(EntityDiscoveryServer::new(passing.clone())))
            .add_service(limits!(ActionProtocolServer::new(passing.clone())))
            .add_service(limits!(ValueEntityServer::new(passing.clone())))
            .add_service(limits!(EventSourcedServer::new(passing.clone())))
            .add_service(limits!(CrdtServer::new(passing)));
        // Messages are small, and each is waited for.
        let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
        let server = tokio::spawn(async move {
            // Ends with the task only; what a broken connection means is seen in the records.
            let _ = router.serve_with_incoming(incoming).await;
        });
        Ok(Self { address, calls, server })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The head of the queue, waiting for it as long as for any expectation.
    ///
    /// # Errors
    /// When there is no new call.
    pub async fn call(&mut self) -> Result<Call> {
        match within(EXPECTATION, self.calls.recv()).await {
            Some(Some(call)) => Ok(call),
            Some(None) => bail!("the interceptor has stopped"),
            None => bail!("no new call within {EXPECTATION:?}"),
        }
    }

    /// The head of the queue, which must be there already.
    ///
    /// # Errors
    /// When it is empty.
    pub fn call_now(&mut self) -> Result<Call> {
        self.calls.try_recv().context("no new call so far")
    }

    /// Nothing unexpected waits in the queue, nor arrives within the suite's 10 ms.
    ///
    /// # Errors
    /// What has arrived.
    pub async fn quiet(&mut self) -> Result<()> {
        match within(QUIET, self.calls.recv()).await {
            Some(Some(call)) => bail!("unexpected call: {}", call.describe()),
            Some(None) => bail!("the interceptor has stopped"),
            None => Ok(()),
        }
    }

    /// Empties the queue: what a failed test has left in it.
    pub(super) async fn unread(&mut self) -> Vec<String> {
        let mut unread = Vec::new();
        while let Some(Some(call)) = within(QUIET, self.calls.recv()).await {
            unread.push(call.describe());
        }
        unread
    }
}

impl Drop for Interceptor {
    fn drop(&mut self) {
        self.server.abort();
    }
}
