//! The log and the metrics of the sidecar.

pub mod log;
pub mod metrics;
pub(crate) mod process;
pub mod series;

pub use metrics::{EntityMetrics, RequestInFlight, RequestMetrics, request_refused};
