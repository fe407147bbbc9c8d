//! The public port: HTTP/1.1 and HTTP/2 without TLS on one socket, and its orderly end.
//!
//! The port is taken when the sidecar starts, so that a clash is found at once, but connections are
//! accepted only when there is something to serve.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actors::Clock;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Limits of the public port.
#[derive(Debug, Clone)]
pub struct IngressSettings {
    /// Connections that may be open at once; further ones wait in the operating system's queue.
    pub connections_max: usize,
    /// Streams that one HTTP/2 connection may have open.
    pub streams_max: u32,
    /// How long a client may take to send the headers of an HTTP/1.1 request.
    pub header_timeout: Duration,
    /// Largest header list, in bytes.
    pub header_list_max: u32,
}

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

/// Serves `router` on `listener` until `closing`, then finishes the requests under way, waiting for
/// them at most `grace`. Answers whether all of them were finished.
pub async fn serve(
    listener: TcpListener,
    router: axum::Router,
    settings: IngressSettings,
    clock: Clock,
    closing: CancellationToken,
    grace: Duration,
) -> bool {
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(settings.connections_max));
    let server = builder(&settings);
    let abandoned = CancellationToken::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = closing.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
        };
        let (stream, place) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: existing connections go on, and so do we.
                tracing::warn!(%error, "connection could not be accepted");
                clock.sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(router.clone());
        let connection = server.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned();
        let connection = graceful.watch(connection);
        let abandoned = abandoned.clone();
        tokio::spawn(async move {
            tokio::select! {
                biased;
                () = abandoned.cancelled() => {}
                ended = connection => if let Err(error) = ended {
                    tracing::debug!(error = %error, "connection ended with an error");
                }
            }
            drop(place);
        });
    }
    drop(listener);
    let finished = tokio::select! {
        biased;
        () = graceful.shutdown() => true,
        () = clock.sleep(grace) => false,
    };
    abandoned.cancel();
    finished
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> std::io::Result<(tokio::net::TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, place))
}

fn builder(settings: &IngressSettings) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(settings.header_timeout).half_close(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(settings.streams_max)
        .max_header_list_size(settings.header_list_max)
        .initial_stream_window_size(256 * 1024)
        .initial_connection_window_size(1024 * 1024)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10));
    builder
}
