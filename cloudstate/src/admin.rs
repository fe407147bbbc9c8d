//! The management port (`/ready`, `/alive`) and the metrics port (`/metrics`), for probes and scrapers.

#![allow(clippy::disallowed_methods, reason = "probes and scrapers live in real time, whatever the actors do")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tracing::{debug, warn};

use crate::telemetry::process;

const DRAINING: &str = "draining: this process is stopping";

/// Whether the sidecar serves, and if not, why. A cheap handle to one shared state.
#[derive(Debug, Clone)]
pub struct Health {
    state: watch::Sender<Result<(), String>>,
}

impl Health {
    /// Not serving yet.
    #[must_use]
    pub fn new() -> Self {
        Self { state: watch::Sender::new(Err("starting".to_owned())) }
    }

    /// The public port is bound and a specification is served.
    pub fn serving(&self) {
        self.set(Ok(()));
    }

    /// Requests cannot be served; `reason` is what `/ready` says, and names what to do where that is known.
    pub fn not_ready(&self, reason: impl Into<String>) {
        self.set(Err(reason.into()));
    }

    /// Requests are still served, but routers should send no more. Final: a user function that comes back while this
    /// process stops changes nothing.
    pub fn draining(&self) {
        self.set(Err(DRAINING.to_owned()));
    }

    /// `Err` with the reason when requests cannot be served.
    ///
    /// # Errors
    /// The reason given to [`not_ready`](Self::not_ready).
    pub fn ready(&self) -> Result<(), String> {
        self.state.borrow().clone()
    }

    fn set(&self, state: Result<(), String>) {
        self.state.send_if_modified(|before| {
            let stopping = matches!(before, Err(reason) if reason == DRAINING);
            if !stopping {
                *before = state;
            }
            !stopping
        });
    }

    /// Waits until requests can be served; at once if they can.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn until_serving(&self) {
        // The sender is part of `self`, so waiting cannot fail.
        let _ = self.state.subscribe().wait_for(Result::is_ok).await;
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

/// `/ready` and `/alive`.
pub fn management_router(health: Health) -> Router {
    Router::new().route("/ready", get(ready)).route("/alive", get(|| async { "OK\n" })).with_state(health)
}

/// Who is at the other end of a connection; every request has it as an extension.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub SocketAddr);

/// `/metrics`, and the same at `/`.
pub fn metrics_router(handle: PrometheusHandle) -> Router {
    Router::new().route("/metrics", get(metrics)).route("/", get(metrics)).with_state(handle)
}

/// Serves `router` over HTTP/1.1 until dropped; then open connections are closed.
///
/// # Cancel safety
/// Cancel safe: dropping the future ends every connection.
pub async fn serve(listener: TcpListener, router: Router) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    loop {
        let Ok(permit) = room.clone().acquire_owned().await else {
            return;
        };
        match listener.accept().await {
            Ok((stream, peer)) => {
                let connection = serve_connection(stream, router.clone().layer(Extension(Peer(peer))));
                connections.spawn(async move {
                    connection.await;
                    drop(permit);
                });
            }
            Err(error) => {
                // Out of descriptors, most likely: it passes, and accepting at full speed would not help.
                warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
}

/// Keeps the recorder's memory small between scrapes; runs until dropped.
pub async fn metrics_upkeep(handle: PrometheusHandle) {
    let mut ticks = tokio::time::interval(UPKEEP_INTERVAL);
    loop {
        ticks.tick().await;
        handle.run_upkeep();
    }
}

/// Probes and scrapers are few; this only keeps a stranger from taking all descriptors.
const CONNECTIONS_MAX: usize = 64;
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Histograms keep single samples until they are summed up: at most this long.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

async fn serve_connection(stream: TcpStream, router: Router) {
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .await;
    if let Err(error) = served {
        debug!(%error, "management connection ended early");
    }
}

async fn ready(State(health): State<Health>) -> Response {
    match health.ready() {
        Ok(()) => "OK\n".into_response(),
        Err(reason) => (StatusCode::INTERNAL_SERVER_ERROR, format!("Not Healthy: {reason}\n")).into_response(),
    }
}

async fn metrics(State(handle): State<PrometheusHandle>) -> Response {
    process::sample();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], handle.render()).into_response()
}
