//! The public port: HTTP/1.1 and HTTP/2 without TLS on one socket, and its orderly end.
//!
//! The port is taken when the sidecar starts, so that a clash is found at once, but connections are
//! accepted only when there is something to serve.

mod connection;
mod places;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actors::Clock;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::connection::{Connection, builder};
use self::places::Places;
use crate::config::IngressConfig;
use crate::frontend::Frontend;

/// Pause after a failed accept: out of file descriptors, most likely, and existing connections go on.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The port, taken but not yet accepting.
#[derive(Debug)]
pub struct BoundPort {
    socket: Socket,
    address: SocketAddr,
}

impl BoundPort {
    /// Takes the port.
    ///
    /// # Errors
    /// What the operating system says; `AddrInUse` when another process listens there.
    pub fn bind(address: SocketAddr) -> std::io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        let address = socket.local_addr()?.as_socket().unwrap_or(address);
        Ok(Self { socket, address })
    }

    /// The address, with the real port when port 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Begins to accept connections.
    ///
    /// # Errors
    /// As [`BoundPort::bind`]: a port may be bound twice while nobody listens on it.
    pub fn listen(self) -> std::io::Result<TcpListener> {
        self.socket.listen(1024)?;
        TcpListener::from_std(self.socket.into())
    }
}

/// Serves the front end on the public port.
pub struct Ingress {
    /// What answers requests.
    pub frontend: Frontend,
    /// Limits.
    pub config: IngressConfig,
    /// The source of time.
    pub clock: Clock,
    /// Cancelled when no more connections are to be accepted.
    pub closing: CancellationToken,
    /// How long requests under way may take to finish then.
    pub grace: Duration,
}

impl Ingress {
    /// Serves `listener` until `closing`, then finishes the requests under way. Answers whether all
    /// of them were finished in time.
    pub async fn serve(self, listener: TcpListener) -> bool {
        let places = Places::new(self.config.connections_per_address_max.get());
        let total = Arc::new(Semaphore::new(self.config.connections_max.get()));
        let server = Arc::new(builder(&self.config));
        let abandoned = CancellationToken::new();
        let connections = TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.closing.cancelled() => break,
                accepted = accept(&listener, &total) => accepted,
            };
            let (stream, peer, permit) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "connection could not be accepted");
                    self.clock.sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let Some(place) = places.take(peer.ip()) else {
                tracing::debug!(%peer, "too many connections from this address, closed");
                continue;
            };
            let connection = Connection {
                clock: self.clock.clone(),
                idle_timeout: self.config.idle_timeout,
                age_max: self.config.connection_age_max,
                closing: self.closing.clone(),
            };
            let (server, frontend, abandoned) = (server.clone(), self.frontend.clone(), abandoned.clone());
            connections.spawn(async move {
                tokio::select! {
                    biased;
                    () = abandoned.cancelled() => {}
                    () = connection.serve(&server, stream, frontend) => {}
                }
                drop((place, permit));
            });
        }
        drop(listener);
        connections.close();
        let finished = tokio::select! {
            biased;
            () = connections.wait() => true,
            () = self.clock.sleep(self.grace) => false,
        };
        abandoned.cancel();
        finished
    }
}

async fn accept(
    listener: &TcpListener,
    total: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = total.clone().acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, peer, permit))
}
