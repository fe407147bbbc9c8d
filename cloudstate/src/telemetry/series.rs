//! The table of series: every name, unit and meaning, and the recorder they go to.

use metrics::{Unit, counter, gauge};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

/// One series: name, what is recorded, unit and meaning.
#[derive(Debug)]
pub struct Metric {
    /// The name as scraped.
    pub name: &'static str,
    /// Counter, gauge or histogram.
    pub kind: MetricKind,
    /// Unit of the value.
    pub unit: Unit,
    /// What it means, and its labels.
    pub help: &'static str,
}

/// What a series records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Distribution over the buckets of [`BUCKETS`], or for numbers of requests over powers of two.
    Histogram,
}

/// Upper bounds of all histograms of times, in seconds.
pub const BUCKETS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];

/// Upper bounds of the histogram that counts requests.
const REQUEST_BUCKETS: &[f64] = &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0];

const BATCH_REQUESTS: &str = "persistence_batch_requests";

/// Counters of the store that have no labels: from the start at 0, so that a first increase is one.
const FROM_THE_START: &[&str] = &[
    "persistence_batches_total",
    "persistence_events_total",
    "persistence_syncs_total",
    "persistence_writes_repeated_total",
    "persistence_commands_repeated_total",
    "persistence_parked_total",
    "persistence_reconnects_total",
    "persistence_reopened_total",
];

/// Every series of the sidecar but those of entities, those of the store's crate included.
pub const METRICS: &[Metric] = &[
    c("cloudstate_requests_total", "requests answered; labels service, method, code (gRPC status)"),
    g("cloudstate_requests_in_flight", Unit::Count, "requests being served; labels service, method"),
    h(
        "cloudstate_request_duration_seconds",
        "from the request's header to the end of its answer; labels service, method",
    ),
    c("cloudstate_requests_refused_total", "requests refused before any work; label reason"),
    c("cloudstate_side_effects_failed_total", "asynchronous side effects that could not be carried out"),
    c("cloudstate_side_effects_dropped_total", "asynchronous side effects not started because too many were under way"),
    g(
        "cloudstate_user_function_connected",
        Unit::Count,
        "1 while the user function's specification is being served, else 0",
    ),
    c("cloudstate_user_function_discoveries_total", "discover calls; label outcome (accepted, refused, failed)"),
    c("cloudstate_user_function_errors_reported_total", "errors reported to the user function"),
    c("cloudstate_user_function_starts_total", "starts of the user function as a child process"),
    c("cloudstate_eventing_handled_events_total", "events that were handled; labels group, source"),
    c(
        "cloudstate_eventing_failed_attempts_total",
        "attempts to have an event handled that failed; labels group, source",
    ),
    g(
        "cloudstate_eventing_behind_events",
        Unit::Count,
        "lag by position: events of any type stored after the last one done; labels group, source",
    ),
    g(
        "cloudstate_eventing_lag_seconds",
        Unit::Seconds,
        "lag by time: age of the oldest event read and not done; labels group, source",
    ),
    g("cloudstate_eventing_parked_events", Unit::Count, "events given up on for now; labels group, source"),
    g("cloudstate_eventing_refused_consumers", Unit::Count, "consumers that cannot be started, see the log"),
    g(
        "persistence_breaker_open",
        Unit::Count,
        "1 while the store is left in peace because it fails; label store (journal, snapshots, states, feed, projections)",
    ),
    c("persistence_breaker_opened_total", "times the store began to be left in peace; label store"),
    c("persistence_breaker_refused_total", "requests refused meanwhile; label store"),
    c("persistence_batches_total", "transactions that wrote to the store"),
    Metric {
        name: BATCH_REQUESTS,
        kind: MetricKind::Histogram,
        unit: Unit::Count,
        help: "writes that shared a transaction, and with it a sync",
    },
    c("persistence_events_total", "events written to the store"),
    c("persistence_failed_writes_total", "writes that PostgreSQL did not take; label outcome"),
    c("persistence_writes_repeated_total", "writes made again because nobody knew whether they were stored"),
    c("persistence_commands_repeated_total", "commands with an id that entities of this process answered again"),
    c("persistence_parked_total", "entities of this process given up on because their recovery kept failing"),
    c("persistence_reconnects_total", "connections to PostgreSQL that were lost; each is made again when it is needed"),
    c(
        "persistence_reopened_total",
        "connections to SQLite that were given up after the disk had failed; each is opened again",
    ),
    c(
        "persistence_projection_handled_total",
        "items that a projection of this process handled; labels projection, source",
    ),
    c("persistence_projection_failures_total", "attempts of a projection that failed; labels projection, source"),
    g(
        "persistence_projection_lag_offsets",
        Unit::Count,
        "lag of a projection by position: offsets after the last one done; labels projection, source",
    ),
    g(
        "persistence_projection_lag_seconds",
        Unit::Seconds,
        "lag of a projection by time: age of the oldest item read and not done; labels projection, source",
    ),
    g("persistence_projection_parked", Unit::Count, "items a projection gave up on for now; labels projection, source"),
    g(
        "persistence_feed_held_back_seconds",
        Unit::Seconds,
        "how long the oldest transaction on PostgreSQL has kept what is stored from being followed",
    ),
    c("persistence_syncs_total", "times the store waited for the disk"),
    g("cloudstate_build_info", Unit::Count, "always 1; label version"),
    g("process_resident_memory_bytes", Unit::Bytes, "resident memory of this process"),
    g("process_open_fds", Unit::Count, "open file descriptors of this process"),
    g("process_start_time_seconds", Unit::Seconds, "when this process started, since 1970"),
    c("process_cpu_seconds_total", "processor time of this process, user and system"),
];

/// Kinds of entities, as their series are named: `cloudstate_<kind>_<name>`.
pub const ENTITY_KINDS: &[&str] = &["eventsourced", "value", "crdt", "action"];

/// The series of each kind of entity, without the prefix. For value entities and CRDTs an event is a change, and a
/// snapshot a value.
pub const ENTITY_METRICS: &[Metric] = &[
    c("activated_entities_total", "entities activated"),
    c("passivated_entities_total", "entities stopped, for whatever reason"),
    h("entity_active_time_seconds", "how long entities were active"),
    c("failed_entities_total", "entities that crashed or whose stream ended unasked"),
    h("recovery_time_seconds", "from activation to the end of replay"),
    c("received_commands_total", "commands received"),
    c("stashed_commands_total", "commands that had to wait for another one"),
    c("unstashed_commands_total", "commands whose wait ended"),
    c("repeated_commands_total", "commands with an idempotency key that were answered again"),
    c("rejected_commands_total", "commands refused because the waiting room was full"),
    h("command_stash_time_seconds", "how long commands waited"),
    h("command_processing_time_seconds", "from the command's sending to the function's reply"),
    c("failed_commands_total", "commands that failed in the function or with its stream"),
    c("completed_commands_total", "commands that were completed"),
    h("command_total_time_seconds", "from receipt to completion, waiting and writing included"),
    h("persist_time_seconds", "writing the events of one command"),
    c("persisted_events_total", "events written"),
    b("persisted_event_bytes_total", "bytes of the events written"),
    c("loaded_events_total", "events replayed"),
    b("loaded_event_bytes_total", "bytes of the events replayed"),
    c("persisted_snapshots_total", "snapshots whose saving was started"),
    b("persisted_snapshot_bytes_total", "bytes of these snapshots"),
    c("loaded_snapshots_total", "snapshots loaded"),
    b("loaded_snapshot_bytes_total", "bytes of the snapshots loaded"),
    c("failed_snapshots_total", "snapshots that could not be saved; recovery replays more events"),
    c("unread_snapshots_total", "recoveries that replayed all events because snapshots could not be asked for"),
    c(
        "failed_snapshot_deletions_total",
        "times that older snapshots could not be deleted; they are kept until the next",
    ),
];

/// Installs the recorder of this process and describes all series.
///
/// # Errors
/// When the process has a recorder already.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let builder = PrometheusBuilder::new().set_buckets(BUCKETS)?;
    let of_requests = Matcher::Full(BATCH_REQUESTS.to_owned());
    let handle = builder.set_buckets_for_metric(of_requests, REQUEST_BUCKETS)?.install_recorder()?;
    describe();
    FROM_THE_START.iter().for_each(|name| counter!(*name).increment(0));
    gauge!("cloudstate_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    Ok(handle)
}

/// Tells the current recorder unit and meaning of all series.
pub fn describe() {
    for metric in METRICS {
        metric.describe(metric.name.to_owned());
    }
    for kind in ENTITY_KINDS {
        for metric in ENTITY_METRICS {
            metric.describe(format!("cloudstate_{kind}_{}", metric.name));
        }
    }
}

impl Metric {
    fn describe(&self, name: String) {
        match self.kind {
            MetricKind::Counter => metrics::describe_counter!(name, self.unit, self.help),
            MetricKind::Gauge => metrics::describe_gauge!(name, self.unit, self.help),
            MetricKind::Histogram => metrics::describe_histogram!(name, self.unit, self.help),
        }
    }
}

const fn c(name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: MetricKind::Counter, unit: Unit::Count, help }
}

const fn b(name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: MetricKind::Counter, unit: Unit::Bytes, help }
}

const fn g(name: &'static str, unit: Unit, help: &'static str) -> Metric {
    Metric { name, kind: MetricKind::Gauge, unit, help }
}

const fn h(name: &'static str, help: &'static str) -> Metric {
    Metric { name, kind: MetricKind::Histogram, unit: Unit::Seconds, help }
}
