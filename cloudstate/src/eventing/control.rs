//! Consumers seen from outside: `/events/...` on the management port, for callers on the same machine only.

use std::sync::{Arc, OnceLock};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Json, Router, middleware};
use persistence::{Offset, ParkedEvent, ProjectionId, ProjectionStore, Selection};
use serde::{Deserialize, Serialize};

use super::{ConsumerStatus, Eventing};
use crate::admin::Peer;

/// Parked events in one answer.
pub(super) const PAGE: usize = 500;

/// Which parked events are meant; an empty one means all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Filter {
    /// Only of this consumer group.
    pub group: Option<String>,
    /// Only of this source.
    pub source: Option<String>,
    /// Only this event.
    pub offset: Option<Offset>,
    /// When listing: only those behind this one, as its group, source and offset.
    pub after: Option<(String, String, Offset)>,
}

/// A parked event, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parked {
    /// The consumer group.
    pub group: String,
    /// The source.
    pub source: String,
    /// The event's offset.
    pub offset: Offset,
    /// Whose event it is.
    pub entity: String,
    /// Its sequence number.
    pub sequence: u64,
    /// How often it was tried.
    pub attempts: u32,
    /// Why it could not be handled.
    pub reason: String,
    /// When it was parked, ms since 1970.
    pub parked_at_ms: u64,
    /// Whether it is to be tried again.
    pub replay: bool,
}

/// How many parked events were changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changed {
    /// The number.
    pub events: u64,
}

/// All consumers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Overview {
    /// Those that were started.
    pub consumers: Vec<ConsumerStatus>,
    /// Why others were not.
    pub problems: Vec<String>,
}

/// The way from the management port to the consumers, which start later. A cheap handle.
#[derive(Clone, Default)]
pub struct Control(Arc<OnceLock<Arc<Eventing>>>);

/// The sidecar is still starting, or its store keeps no event logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this sidecar has no event logs, or is still starting")]
pub struct Unattached;

impl Control {
    /// Leads to `eventing` from now on; only the first call counts.
    pub fn attach(&self, eventing: Arc<Eventing>) {
        let _ = self.0.set(eventing);
    }

    fn eventing(&self) -> Result<&Arc<Eventing>, Unattached> {
        self.0.get().ok_or(Unattached)
    }

    fn projections(&self) -> Result<&Arc<dyn ProjectionStore>, Unattached> {
        Ok(&self.eventing()?.events().ok_or(Unattached)?.projections)
    }
}

/// `/events/consumers`, `/events/parked`, `/events/replay`, `/events/drop`.
pub fn routes(control: Control) -> Router {
    Router::new()
        .route("/events/consumers", get(consumers))
        .route("/events/parked", post(parked))
        .route("/events/replay", post(replay))
        .route("/events/drop", post(drop_parked))
        .layer(middleware::from_fn(same_machine))
        .with_state(control)
}

/// The other paths only read what anybody may know. These change things, and show what events say.
async fn same_machine(
    peer: Option<Extension<Peer>>,
    request: axum::extract::Request,
    next: middleware::Next,
) -> Response {
    match peer {
        Some(Extension(Peer(address))) if address.ip().to_canonical().is_loopback() => next.run(request).await,
        _ => (StatusCode::FORBIDDEN, "only from this machine: call 127.0.0.1\n").into_response(),
    }
}

async fn consumers(State(control): State<Control>) -> Result<Json<Overview>, Refusal> {
    let (consumers, problems) = control.eventing()?.status().await;
    Ok(Json(Overview { consumers, problems }))
}

async fn parked(State(control): State<Control>, Json(filter): Json<Filter>) -> Result<Json<Vec<Parked>>, Refusal> {
    Ok(Json(list(&**control.projections()?, filter).await?))
}

async fn replay(State(control): State<Control>, Json(filter): Json<Filter>) -> Result<Json<Changed>, Refusal> {
    let events = control.projections()?.replay_parked(filter.selection()).await.map_err(Refusal::of)?;
    control.eventing()?.parked_changed();
    Ok(Json(Changed { events }))
}

async fn drop_parked(State(control): State<Control>, Json(filter): Json<Filter>) -> Result<Json<Changed>, Refusal> {
    let events = control.projections()?.drop_parked(filter.selection()).await.map_err(Refusal::of)?;
    control.eventing()?.parked_changed();
    Ok(Json(Changed { events }))
}

/// One page of parked events.
pub(super) async fn list(
    store: &dyn ProjectionStore,
    filter: Filter,
) -> Result<Vec<Parked>, persistence::JournalError> {
    let selection = filter.selection();
    let after = filter
        .after
        .map(|(group, source, offset)| (ProjectionId { group: group.into(), source: source.into() }, offset));
    let parked = store.parked(selection, after, PAGE).await?;
    Ok(parked.into_iter().map(Parked::from).collect())
}

impl Filter {
    /// What it selects in a store.
    #[must_use]
    pub fn selection(&self) -> Selection {
        Selection {
            group: self.group.as_deref().map(Into::into),
            source: self.source.as_deref().map(Into::into),
            offset: self.offset,
        }
    }
}

impl From<ParkedEvent> for Parked {
    fn from(event: ParkedEvent) -> Self {
        Self {
            group: event.projection.group.to_string(),
            source: event.projection.source.to_string(),
            offset: event.offset,
            entity: event.id.entity_id().to_owned(),
            sequence: event.seq_nr,
            attempts: event.attempts,
            reason: event.reason,
            parked_at_ms: event.time_ms,
            replay: event.replay,
        }
    }
}

/// An answer that says why not.
struct Refusal(String);

impl Refusal {
    fn of(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

impl From<Unattached> for Refusal {
    fn from(error: Unattached) -> Self {
        Self::of(error)
    }
}

impl From<persistence::JournalError> for Refusal {
    fn from(error: persistence::JournalError) -> Self {
        Self::of(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", self.0)).into_response()
    }
}
