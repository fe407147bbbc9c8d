//! The public port: every service of the user function as gRPC, gRPC-Web and HTTP/JSON, with
//! server reflection.
//!
//! Knows transports and descriptors, nothing of entities: calls go to a [`Dispatch`].

mod admission;
mod body;
mod cors;
mod deadline;
mod grpc;
mod http;
mod metadata;
mod reflection;
mod service;
mod serving;
mod settings;
mod web;

use std::sync::Arc;

use actors::Clock;
use arc_swap::ArcSwap;
use bytes::Bytes;
use http_body::Body;
use tonic::Status;

use crate::call::Dispatch;
use crate::spec::ServedSpec;
use crate::telemetry::request_refused;

pub use body::{BodyError, FrontBody};
pub use service::FrontendService;
pub use settings::{CorsSettings, FrontendSettings};

use admission::{Admission, Admitted};
use serving::Serving;

/// The front end. Cheap to clone; all clones serve the same.
#[derive(Clone)]
pub struct Frontend {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    settings: FrontendSettings,
    clock: Clock,
    state: ArcSwap<State>,
    admission: Admission,
}

enum State {
    Serving(Arc<Serving>),
    /// Nothing, and why.
    Idle(String),
}

impl Frontend {
    /// A front end that serves nothing yet.
    pub fn new(settings: FrontendSettings, clock: Clock) -> Self {
        let admission = Admission::new(settings.calls_max);
        let state = State::Idle("the user function has not been discovered yet".to_owned());
        let state = ArcSwap::from_pointee(state);
        Self { inner: Arc::new(Inner { settings, clock, state, admission }) }
    }

    /// Serves `spec` from now on, in place of what was served before. Calls that are under way go
    /// on as they began.
    pub fn serve(&self, spec: Arc<ServedSpec>, dispatch: Arc<dyn Dispatch>) {
        let serving = Arc::new(Serving::new(spec, dispatch));
        self.inner.state.store(Arc::new(State::Serving(serving)));
    }

    /// Answers every new call with `UNAVAILABLE` or 503 and `reason`.
    pub fn stop_serving(&self, reason: impl Into<String>) {
        self.inner.state.store(Arc::new(State::Idle(reason.into())));
    }

    /// How many calls are being served.
    pub fn running(&self) -> usize {
        self.inner.admission.running()
    }

    /// The front end as an axum router.
    pub fn router(&self) -> axum::Router {
        axum::Router::new().fallback_service(self.service())
    }

    /// The front end as a tower service, for a server that needs no router around it.
    pub fn service(&self) -> FrontendService {
        FrontendService::new(self.clone())
    }

    /// Serves one request.
    ///
    /// # Cancel safety
    /// Dropping the future, or the body of the response, cancels the call.
    pub async fn handle<B>(&self, request: ::http::Request<B>) -> ::http::Response<FrontBody>
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<BodyError>,
    {
        service::handle(&self.inner, request).await
    }
}

impl Inner {
    fn serving(&self) -> Result<Arc<Serving>, String> {
        match &**self.state.load() {
            State::Serving(serving) => Ok(serving.clone()),
            State::Idle(reason) => {
                request_refused("not serving");
                Err(reason.clone())
            }
        }
    }

    fn admit(&self) -> Result<Admitted, Status> {
        self.admission.admit()
    }
}

impl std::fmt::Debug for Frontend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Frontend").field("settings", &self.inner.settings).finish_non_exhaustive()
    }
}
