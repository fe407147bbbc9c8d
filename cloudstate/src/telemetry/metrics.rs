//! Handles to count and measure with; [`series`](super::series) says what each series means.
//!
//! Handles are made once per method, entity type or connection and then cost an atomic operation a record; labels are never built on the request
//! path. Without an installed recorder ([`install`](super::series::install)) they do nothing.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};
use tonic::Code;

use crate::spec::EntityType;

/// Counts and times the requests to one method. Cheap to clone.
#[derive(Clone)]
pub struct RequestMetrics {
    method: Arc<MethodSeries>,
}

struct MethodSeries {
    service: Arc<str>,
    name: Arc<str>,
    in_flight: Gauge,
    duration: Histogram,
    by_code: [OnceLock<Counter>; 17], // one for each gRPC status, made when it is first met
}

/// A request being served. Dropped without [`finish`](Self::finish), it counts as cancelled.
pub struct RequestInFlight {
    method: Arc<MethodSeries>,
    finished: bool,
}

impl RequestMetrics {
    /// The series of `method` of `service`.
    #[must_use]
    pub fn for_method(service: &str, method: &str) -> Self {
        let (service, name): (Arc<str>, Arc<str>) = (service.into(), method.into());
        let in_flight = gauge!("cloudstate_requests_in_flight", "service" => service.clone(), "method" => name.clone());
        let duration =
            histogram!("cloudstate_request_duration_seconds", "service" => service.clone(), "method" => name.clone());
        let series = MethodSeries { service, name, in_flight, duration, by_code: Default::default() };
        Self { method: Arc::new(series) }
    }

    /// A request begins.
    #[must_use]
    pub fn begin(&self) -> RequestInFlight {
        self.method.in_flight.increment(1.0);
        RequestInFlight { method: self.method.clone(), finished: false }
    }
}

impl RequestInFlight {
    /// The request was answered with `code` after `elapsed`.
    pub fn finish(mut self, code: Code, elapsed: Duration) {
        self.method.duration.record(elapsed.as_secs_f64());
        self.method.answered(code);
        self.finished = true;
    }
}

impl Drop for RequestInFlight {
    fn drop(&mut self) {
        self.method.in_flight.decrement(1.0);
        if !self.finished {
            self.method.answered(Code::Cancelled);
        }
    }
}

impl MethodSeries {
    fn answered(&self, code: Code) {
        let series = self.by_code[code as usize].get_or_init(|| {
            counter!("cloudstate_requests_total", "service" => self.service.clone(), "method" => self.name.clone(), "code" => code_name(code))
        });
        series.increment(1);
    }
}

/// Counts a request that was refused before any work; `reason` is one of a few fixed words such as `draining` or `overloaded`.
pub fn request_refused(reason: &'static str) {
    counter!("cloudstate_requests_refused_total", "reason" => reason).increment(1);
}

/// Counts and times what happens to the entities of one service. Cheap to clone.
#[derive(Clone)]
pub struct EntityMetrics {
    series: Arc<EntitySeries>,
}

struct EntitySeries {
    activated: Counter,
    passivated: Counter,
    active_time: Histogram,
    failed: Counter,
    recovery_time: Histogram,
    received: Counter,
    stashed: Counter,
    unstashed: Counter,
    rejected: Counter,
    repeated: Counter,
    stash_time: Histogram,
    processing_time: Histogram,
    failed_commands: Counter,
    completed: Counter,
    total_time: Histogram,
    persist_time: Histogram,
    persisted_events: Counter,
    persisted_event_bytes: Counter,
    loaded_events: Counter,
    loaded_event_bytes: Counter,
    persisted_snapshots: Counter,
    persisted_snapshot_bytes: Counter,
    loaded_snapshots: Counter,
    loaded_snapshot_bytes: Counter,
    failed_snapshots: Counter,
    unread_snapshots: Counter,
    failed_snapshot_deletions: Counter,
}

impl EntityMetrics {
    /// The series of the entities of this kind with this persistence id (the label `entity_name`). For value entities
    /// and CRDTs events are changes, and snapshots the values that are loaded.
    #[must_use]
    pub fn for_entity(kind: EntityType, persistence_id: &str) -> Self {
        let name: Arc<str> = persistence_id.into();
        let kind = match kind {
            EntityType::EventSourced => "eventsourced",
            EntityType::ValueEntity => "value",
            EntityType::Crdt => "crdt",
            EntityType::Action => "action",
        };
        let count = |series: &str| counter!(format!("cloudstate_{kind}_{series}"), "entity_name" => name.clone());
        let time = |series: &str| histogram!(format!("cloudstate_{kind}_{series}"), "entity_name" => name.clone());
        let series = EntitySeries {
            activated: count("activated_entities_total"),
            passivated: count("passivated_entities_total"),
            active_time: time("entity_active_time_seconds"),
            failed: count("failed_entities_total"),
            recovery_time: time("recovery_time_seconds"),
            received: count("received_commands_total"),
            stashed: count("stashed_commands_total"),
            unstashed: count("unstashed_commands_total"),
            rejected: count("rejected_commands_total"),
            repeated: count("repeated_commands_total"),
            stash_time: time("command_stash_time_seconds"),
            processing_time: time("command_processing_time_seconds"),
            failed_commands: count("failed_commands_total"),
            completed: count("completed_commands_total"),
            total_time: time("command_total_time_seconds"),
            persist_time: time("persist_time_seconds"),
            persisted_events: count("persisted_events_total"),
            persisted_event_bytes: count("persisted_event_bytes_total"),
            loaded_events: count("loaded_events_total"),
            loaded_event_bytes: count("loaded_event_bytes_total"),
            persisted_snapshots: count("persisted_snapshots_total"),
            persisted_snapshot_bytes: count("persisted_snapshot_bytes_total"),
            loaded_snapshots: count("loaded_snapshots_total"),
            loaded_snapshot_bytes: count("loaded_snapshot_bytes_total"),
            failed_snapshots: count("failed_snapshots_total"),
            unread_snapshots: count("unread_snapshots_total"),
            failed_snapshot_deletions: count("failed_snapshot_deletions_total"),
        };
        Self { series: Arc::new(series) }
    }

    /// An entity was activated.
    pub fn activated(&self) {
        self.series.activated.increment(1);
    }

    /// An entity stopped, for whatever reason, after it was active for so long.
    pub fn passivated(&self, active: Duration) {
        self.series.passivated.increment(1);
        self.series.active_time.record(active.as_secs_f64());
    }

    /// An entity crashed, or its stream ended unasked; [`passivated`](Self::passivated) is recorded too.
    pub fn failed(&self) {
        self.series.failed.increment(1);
    }

    /// Replay has ended.
    pub fn recovered(&self, took: Duration) {
        self.series.recovery_time.record(took.as_secs_f64());
    }

    /// A command arrived.
    pub fn command_received(&self) {
        self.series.received.increment(1);
    }

    /// A command has to wait.
    pub fn command_stashed(&self) {
        self.series.stashed.increment(1);
    }

    /// A command's turn has come.
    pub fn command_unstashed(&self, waited: Duration) {
        self.series.unstashed.increment(1);
        self.series.stash_time.record(waited.as_secs_f64());
    }

    /// A command with an idempotency key was answered again.
    pub fn command_repeated(&self) {
        self.series.repeated.increment(1);
    }

    /// A command was refused: the waiting room is full.
    pub fn command_rejected(&self) {
        self.series.rejected.increment(1);
    }

    /// The function has replied.
    pub fn command_processed(&self, took: Duration) {
        self.series.processing_time.record(took.as_secs_f64());
    }

    /// A command failed in the function or with its stream.
    pub fn command_failed(&self) {
        self.series.failed_commands.increment(1);
    }

    /// A command is done, waiting and writing included.
    pub fn command_completed(&self, took: Duration) {
        self.series.completed.increment(1);
        self.series.total_time.record(took.as_secs_f64());
    }

    /// The events of one command were written.
    pub fn events_persisted(&self, events: u64, bytes: u64, took: Duration) {
        self.series.persisted_events.increment(events);
        self.series.persisted_event_bytes.increment(bytes);
        self.series.persist_time.record(took.as_secs_f64());
    }

    /// Events were replayed.
    pub fn events_loaded(&self, events: u64, bytes: u64) {
        self.series.loaded_events.increment(events);
        self.series.loaded_event_bytes.increment(bytes);
    }

    /// Saving a snapshot has begun.
    pub fn snapshot_persisted(&self, bytes: u64) {
        self.series.persisted_snapshots.increment(1);
        self.series.persisted_snapshot_bytes.increment(bytes);
    }

    /// A snapshot was loaded.
    pub fn snapshot_loaded(&self, bytes: u64) {
        self.series.loaded_snapshots.increment(1);
        self.series.loaded_snapshot_bytes.increment(bytes);
    }

    /// A snapshot could not be saved.
    pub fn snapshot_failed(&self) {
        self.series.failed_snapshots.increment(1);
    }

    /// Snapshots could not be asked for: all events are replayed.
    pub fn snapshots_unread(&self) {
        self.series.unread_snapshots.increment(1);
    }

    /// Older snapshots could not be deleted.
    pub fn snapshots_not_deleted(&self) {
        self.series.failed_snapshot_deletions.increment(1);
    }
}

/// What a consumer of events does. Cheap to clone.
#[derive(Clone)]
pub struct ConsumerMetrics {
    delivered: Counter,
    failed: Counter,
    behind: Gauge,
    lag: Gauge,
    parked: Gauge,
}

impl ConsumerMetrics {
    /// The series of one consumer.
    #[must_use]
    pub fn for_consumer(group: &Arc<str>, source: &Arc<str>) -> Self {
        let labels = || [("group", group.to_string()), ("source", source.to_string())];
        Self {
            delivered: counter!("cloudstate_eventing_handled_events_total", &labels()),
            failed: counter!("cloudstate_eventing_failed_attempts_total", &labels()),
            behind: gauge!("cloudstate_eventing_behind_events", &labels()),
            lag: gauge!("cloudstate_eventing_lag_seconds", &labels()),
            parked: gauge!("cloudstate_eventing_parked_events", &labels()),
        }
    }

    /// An event was handled.
    pub fn delivered(&self) {
        self.delivered.increment(1);
    }

    /// An attempt to have an event handled failed.
    pub fn attempt_failed(&self) {
        self.failed.increment(1);
    }

    /// How far it is behind, and what it has parked.
    pub fn measured(&self, behind: u64, lag: Duration, parked: usize) {
        self.behind.set(behind as f64);
        self.lag.set(lag.as_secs_f64());
        self.parked.set(parked as f64);
    }
}

/// How many consumers of the user function cannot be started.
pub fn consumers_refused(count: usize) {
    gauge!("cloudstate_eventing_refused_consumers").set(count as f64);
}

/// How a discover call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DiscoveryOutcome {
    /// The specification is served.
    Accepted,
    /// The specification was refused and the reason reported.
    Refused,
    /// The call itself failed.
    Failed,
}

/// Whether the user function's specification is being served.
pub fn user_function_connected(connected: bool) {
    gauge!("cloudstate_user_function_connected").set(if connected { 1.0 } else { 0.0 });
}

/// Counts a discover call.
pub fn discovery(outcome: DiscoveryOutcome) {
    let outcome = match outcome {
        DiscoveryOutcome::Accepted => "accepted",
        DiscoveryOutcome::Refused => "refused",
        DiscoveryOutcome::Failed => "failed",
    };
    counter!("cloudstate_user_function_discoveries_total", "outcome" => outcome).increment(1);
}

/// Counts an asynchronous side effect that could not be carried out.
pub fn side_effect_failed() {
    counter!("cloudstate_side_effects_failed_total").increment(1);
}

/// Counts an asynchronous side effect that was not started because too many were under way.
pub fn side_effect_dropped() {
    counter!("cloudstate_side_effects_dropped_total").increment(1);
}

/// Counts an error reported to the user function.
pub fn error_reported() {
    counter!("cloudstate_user_function_errors_reported_total").increment(1);
}

/// Counts a start of the user function as a child process.
pub fn child_started() {
    counter!("cloudstate_user_function_starts_total").increment(1);
}

fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};

    use super::*;
    use crate::telemetry::series::{BUCKETS, ENTITY_KINDS, ENTITY_METRICS, METRICS, describe};

    fn recorder() -> PrometheusRecorder {
        PrometheusBuilder::new().set_buckets(BUCKETS).expect("buckets").build_recorder()
    }

    /// Every series a handle records to is in the table: one that is not would be scraped without help or type by surprise.
    #[test]
    fn all_recorded_series_are_described() {
        let recorder = recorder();
        metrics::with_local_recorder(&recorder, || {
            describe();
            RequestMetrics::for_method("s", "m").begin().finish(Code::Ok, Duration::ZERO);
            request_refused("draining");
            for kind in EntityType::ALL.into_iter().filter(|kind| *kind != EntityType::Action) {
                EntityMetrics::for_entity(kind, "cart").activated();
            }
            user_function_connected(true);
            discovery(DiscoveryOutcome::Accepted);
            error_reported();
            child_started();
            let consumer = ConsumerMetrics::for_consumer(&"g".into(), &"s".into());
            consumer.delivered();
            consumer.attempt_failed();
            consumer.measured(1, Duration::ZERO, 1);
            consumers_refused(1);
        });
        let scrape = recorder.handle().render();
        for line in scrape.lines().filter(|line| line.starts_with("# TYPE ")) {
            let name = line.split(' ').nth(2).expect("a name");
            let of_entities = ENTITY_KINDS.iter().find_map(|kind| name.strip_prefix(&format!("cloudstate_{kind}_")));
            let (name, table) = of_entities.map_or((name, METRICS), |name| (name, ENTITY_METRICS));
            assert!(table.iter().any(|metric| metric.name == name), "{name} is not described");
        }
        assert!(scrape.contains("# HELP cloudstate_requests_total"), "{scrape}");
    }

    #[test]
    fn a_dropped_request_counts_as_cancelled_and_leaves_the_gauge() {
        let recorder = recorder();
        metrics::with_local_recorder(&recorder, || {
            let method = RequestMetrics::for_method("shop.Cart", "Add");
            method.begin().finish(Code::Ok, Duration::from_millis(3));
            drop(method.begin());
            let still_open = method.begin();
            let scrape = recorder.handle().render();
            for line in [
                "cloudstate_requests_total{service=\"shop.Cart\",method=\"Add\",code=\"OK\"} 1",
                "cloudstate_requests_total{service=\"shop.Cart\",method=\"Add\",code=\"CANCELLED\"} 1",
                "cloudstate_requests_in_flight{service=\"shop.Cart\",method=\"Add\"} 1",
                "cloudstate_request_duration_seconds_bucket{service=\"shop.Cart\",method=\"Add\",le=\"0.005\"} 1",
            ] {
                assert!(scrape.contains(line), "{line} is missing in\n{scrape}");
            }
            drop(still_open);
        });
    }
}
