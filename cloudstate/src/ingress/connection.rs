//! One client connection: served until it is idle for too long, too old, or the port closes.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use actors::Clock;
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Frame, SizeHint};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::config::IngressConfig;
use crate::frontend::{BodyError, FrontBody, Frontend};

/// Receive window of one HTTP/2 stream and of a connection, in bytes.
const WINDOWS: (u32, u32) = (256 * 1024, 1024 * 1024);

/// A server for connections with these limits.
pub(super) fn builder(config: &IngressConfig) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(config.header_timeout).half_close(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(config.streams_per_connection_max.get())
        .max_header_list_size(config.header_list_size_max)
        .initial_stream_window_size(WINDOWS.0)
        .initial_connection_window_size(WINDOWS.1)
        .keep_alive_interval(config.keepalive_interval)
        .keep_alive_timeout(config.keepalive_timeout);
    builder
}

/// When a connection ends.
pub(super) struct Connection {
    pub(super) clock: Clock,
    pub(super) idle_timeout: Duration,
    pub(super) age_max: Option<Duration>,
    pub(super) closing: CancellationToken,
}

impl Connection {
    /// Serves the connection to its end. However it is ended, requests under way are finished.
    pub(super) async fn serve(self, server: &auto::Builder<TokioExecutor>, stream: TcpStream, frontend: Frontend) {
        let requests = Arc::new(AtomicUsize::new(0));
        let service = Counted { frontend, requests: requests.clone() };
        let mut connection = pin!(server.serve_connection_with_upgrades(TokioIo::new(stream), service));
        let told = tokio::select! {
            biased;
            ended = connection.as_mut() => Some(ended),
            () = self.to_end(&requests) => None,
        };
        let ended = match told {
            Some(ended) => ended,
            None => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "connection ended with an error");
        }
    }

    /// Completes when the client is to be told to go away.
    async fn to_end(&self, requests: &AtomicUsize) {
        let aged = async {
            match self.age_max {
                Some(age) => self.clock.sleep(age).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.closing.cancelled() => {}
            () = aged => {}
            () = self.idle(requests) => {}
        }
    }

    /// Completes when two looks, one idle time apart, saw no request. A request in between that
    /// both missed costs the client a reconnect and nothing more.
    async fn idle(&self, requests: &AtomicUsize) {
        let mut was_idle = false;
        loop {
            self.clock.sleep(self.idle_timeout).await;
            let is_idle = requests.load(Ordering::Relaxed) == 0;
            if was_idle && is_idle {
                return;
            }
            was_idle = is_idle;
        }
    }
}

/// The front end, counting the requests whose responses have not been sent whole.
#[derive(Clone)]
struct Counted {
    frontend: Frontend,
    requests: Arc<AtomicUsize>,
}

struct UnderWay(Arc<AtomicUsize>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl hyper::service::Service<Request<Incoming>> for Counted {
    type Response = Response<CountedBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let under_way = UnderWay(self.requests.clone());
        let frontend = self.frontend.clone();
        Box::pin(async move {
            let response = frontend.handle(request).await;
            Ok(response.map(|body| CountedBody { body, _under_way: under_way }))
        })
    }
}

/// A response body that counts as a request until it has been sent whole.
struct CountedBody {
    body: FrontBody,
    _under_way: UnderWay,
}

impl http_body::Body for CountedBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
