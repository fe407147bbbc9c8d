//! Configuration of the sidecar: nested settings, read once and checked once.
//!
//! A file lies under the environment, the environment under the flags; unknown keys are errors. Keys and variables keep the reference
//! proxy's names where it has one ([`SETTINGS`] is the catalogue). Libraries take [`ProxyConfig`] and its parts; only the binary reads the environment.

mod error;
mod file;
mod read;
mod render;
mod settings;
mod sources;
mod value;

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

pub use error::{ConfigError, Problem};
pub use settings::{SETTINGS, Setting};
use sources::masked;
pub use sources::{CONFIG_FILE_ENV, Flag, Origin, Resolved, Sources, Value};

/// Everything the sidecar can be told.
#[derive(Debug, Clone, PartialEq)]
pub struct ProxyConfig {
    /// The public port.
    pub http: HttpConfig,
    /// Limits of the public port.
    pub ingress: IngressConfig,
    /// What holds for every request.
    pub requests: RequestConfig,
    /// Where the user function is and how it is called.
    pub user_function: UserFunctionConfig,
    /// Event-sourced entities, and what holds for all entities.
    pub event_sourced: EventSourcedConfig,
    /// `value-entity.passivation-timeout`: idle time after which a value entity is closed, unless the user function sets its own. Default 30 s; 1 ms to 24 h.
    pub value_passivation_timeout: Duration,
    /// `crdt-entity.passivation-timeout`: idle time after which a CRDT entity is closed, unless the user function sets its own. Default 30 s; 1 ms to 24 h.
    pub crdt_passivation_timeout: Duration,
    /// Consumers of events.
    pub eventing: EventingConfig,
    /// Where state is kept.
    pub store: StoreConfig,
    /// The management and the metrics port.
    pub admin: AdminConfig,
    /// The log.
    pub log: LogConfig,
    /// The user function as a child process.
    pub child: ChildConfig,
    /// What SIGTERM does.
    pub shutdown: ShutdownConfig,
}

/// The public port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpConfig {
    /// `http-interface`: address to listen on. Default 0.0.0.0.
    pub interface: IpAddr,
    /// `http-port`: port to listen on. Default 9000; 0 takes a free one, which the log names.
    pub port: u16,
}

/// Limits of the public port: what one caller, or all together, can make this process hold.
///
/// Worst case memory of requests is about `requests_max` × `request_size_max`; the defaults assume that few requests are large.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngressConfig {
    /// `ingress.request-size-max`: bytes of one request message. Default 4 MiB; 1 KiB to `max-inbound-message-size`, or the user function could never be sent it.
    pub request_size_max: usize,
    /// `ingress.response-size-max`: bytes of one response message. Default 4 MiB; 1 KiB to 2 GiB.
    pub response_size_max: usize,
    /// `ingress.header-list-size-max`: bytes of all header names and values of a request. Default 16 KiB; 1 KiB to 1 MiB.
    pub header_list_size_max: u32,
    /// `ingress.requests-max`: requests in flight; more are refused with RESOURCE_EXHAUSTED. Default 10,000; 1 to 1,000,000.
    pub requests_max: NonZeroUsize,
    /// `ingress.connections-max`: open connections. Default 10,000; 1 to 1,000,000.
    pub connections_max: NonZeroUsize,
    /// `ingress.connections-per-address-max`: open connections from one address. Default 1024; 1 to `connections-max`.
    pub connections_per_address_max: NonZeroUsize,
    /// `ingress.streams-per-connection-max`: requests in flight on one HTTP/2 connection. Default 100; 1 to 1,000,000.
    pub streams_per_connection_max: NonZeroU32,
    /// `ingress.header-timeout`: time for a request's header to arrive. Default 10 s; 100 ms to 10 min.
    pub header_timeout: Duration,
    /// `ingress.idle-timeout`: time after which a connection without requests is closed. Default 5 min; 1 s to 24 h.
    pub idle_timeout: Duration,
    /// `ingress.connection-age-max`: age at which a connection is told to go away; requests on it finish. Default 30 min; `None` (0) means never.
    pub connection_age_max: Option<Duration>,
    /// `ingress.keepalive-interval`: time between HTTP/2 pings to a client. Default 20 s; `None` (0) means none.
    pub keepalive_interval: Option<Duration>,
    /// `ingress.keepalive-timeout`: time for the answer to such a ping. Default 10 s; 100 ms to 10 min.
    pub keepalive_timeout: Duration,
    /// `ingress.cors-origins`: origins from which browsers may call. Default all.
    pub cors_origins: CorsOrigins,
}

/// Origins from which browsers may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CorsOrigins {
    /// Every origin; without credentials, as browsers demand.
    Any,
    /// These origins; none when empty.
    List(Vec<String>),
}

/// What holds for every request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestConfig {
    /// `relay-timeout`: time for a request whose caller sets no deadline. Default 1 min; 1 ms to `relay-timeout-max`.
    pub timeout: Duration,
    /// `relay-timeouts`: `relay-timeout` of single services, by full service name. Default none; each 1 ms to `relay-timeout-max`.
    pub timeouts: BTreeMap<String, Duration>,
    /// `relay-timeout-max`: the longest deadline a caller gets; later ones are cut to it. Default 5 min; up to 24 h.
    pub timeout_max: Duration,
}

/// Where the user function is and how it is called.
#[derive(Debug, Clone, PartialEq)]
pub struct UserFunctionConfig {
    /// `user-function-host`: name or address. Default 127.0.0.1.
    pub host: String,
    /// `user-function-port`: port. Default 8080; 1 to 65535.
    pub port: u16,
    /// `max-inbound-message-size`: bytes of one message from or to the user function. Default 12 MiB; 1 KiB to 2 GiB − 1.
    pub message_size_max: usize,
    /// `relay-buffer-size`: messages buffered towards the user function per entity stream; a full buffer holds the sender back.
    /// Default 100; 1 to 100,000.
    pub relay_buffer: NonZeroUsize,
    /// `entity-streams-max`: entity streams open at once. Some SDK servers serve only as many as they have threads; when all are taken, the entity that
    /// has been idle for longest makes room. Default `None` (0), any number; up to 1,000,000.
    pub entity_streams_max: Option<NonZeroUsize>,
    /// `protocol-compatibility-check`: which protocol versions are accepted. Default 0.2 and "none reported".
    pub version_check: VersionCheck,
    /// `backoff.*`: delays between attempts to reach it.
    pub reconnect: BackoffConfig,
}

/// Which protocol versions of the user function are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionCheck {
    /// `strict`: 0.2 alone.
    Strict,
    /// `true`: 0.2, or no version at all with one warning; many SDKs report none.
    Lenient,
    /// `false`: any version, with one warning.
    Off,
}

/// Delays that double from `min` to `max`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BackoffConfig {
    /// The first delay; at most `max`.
    pub min: Duration,
    /// The longest delay before the random share is added.
    pub max: Duration,
    /// Up to this share of the delay is added at random; 0 to 1.
    pub random_factor: f64,
}

/// Event-sourced entities; waiting room, recoveries and close timeout hold for value and CRDT entities as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventSourcedConfig {
    /// `eventsourced-entity.passivation-timeout`: idle time after which an entity is closed, unless the user function sets its own. Default 30 s; 1 ms to 24 h.
    pub passivation_timeout: Duration,
    /// `eventsourced-entity.waiting-room`: commands waiting for one entity; more are refused with RESOURCE_EXHAUSTED. Default 64; 1 to 100,000.
    pub waiting_room: NonZeroUsize,
    /// `eventsourced-entity.recoveries-max`: entities that replay at the same time; the others wait. Default 64; 1 to 10,000.
    pub recoveries_max: NonZeroUsize,
    /// `eventsourced-entity.snapshots-kept`: the newest snapshots of an entity that are kept; older ones are deleted once a newer one is stored.
    /// Default 2; 1 to 64. With one, a snapshot that is damaged costs a replay of all events.
    pub snapshots_kept: NonZeroUsize,
    /// `eventsourced-entity.close-timeout`: time for the user function to end a stream we closed, then it is reset. Default 5 s; 10 ms to 10 min.
    pub close_timeout: Duration,
}

/// Where state is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// `store`: the kind of store and its place. Default `sqlite:./cloudstate-data`.
    pub location: StoreLocation,
    /// `sqlite.*`: used by `sqlite:` stores only.
    pub sqlite: SqliteConfig,
    /// `postgres.*`: used by `postgres://` stores only.
    pub postgres: PostgresConfig,
}

/// The kind of store and its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreLocation {
    /// `memory`: state ends with this process.
    Memory,
    /// `sqlite:FOLDER`: durable before the reply; one process a folder.
    Sqlite(PathBuf),
    /// `postgres://USER@HOST:PORT/DATABASE`: durable before the reply; the last sidecar to claim an entity is the one that writes to it.
    Postgres(Secret),
}

/// Text that may hold a password: shown to nobody but who asks for it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps `text`.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The text itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&masked(&self.0))
    }
}

/// Settings of the embedded store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqliteConfig {
    /// `sqlite.wal-autocheckpoint`: pages of 4 KiB in the write-ahead log before it is folded back. Default 4000; 100 to 1,000,000. More is faster and takes
    /// more disk; a start after a crash reads all of it.
    pub wal_autocheckpoint: u32,
    /// `sqlite.cache-size`: bytes of page cache of the writing connection, at most. Default 64 MiB; 1 MiB to 16 GiB.
    pub cache_size: u64,
    /// `sqlite.readers`: connections that replay, each with a thread. Default 2; 1 to 16.
    pub readers: NonZeroUsize,
}

/// Settings of a store on PostgreSQL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PostgresConfig {
    /// `postgres.password`: password of the role, if the address holds none. Never printed. Default none.
    pub password: Option<Secret>,
    /// `postgres.schema`: schema of all tables, made if it is missing. Default `cloudstate`.
    pub schema: String,
    /// `postgres.writers`: connections that write. Default 2; 1 to 16.
    pub writers: NonZeroUsize,
    /// `postgres.readers`: connections that replay. Default 2; 1 to 64.
    pub readers: NonZeroUsize,
    /// `postgres.statement-timeout`: how long the server may work on one statement. Default 30 s; 100 ms to 1 h.
    pub statement_timeout: Duration,
    /// `postgres.pooler`: whether a pooler in transaction mode stands between. Default no.
    pub pooler: bool,
}

/// Consumers of events: methods with the option `cloudstate.eventing`.
#[derive(Debug, Clone, PartialEq)]
pub struct EventingConfig {
    /// `eventing.parallelism`: events that a consumer handles at once, of as many entities. Default 16; 1 to 1024.
    pub parallelism: NonZeroUsize,
    /// `eventing.attempts-max`: how often an event is tried before it is parked. Default 8; 1 to 1000.
    pub attempts_max: NonZeroUsize,
    /// `eventing.backoff-min`, `eventing.backoff-max`: delays between attempts. Default 3 s to 30 s; 1 ms to 1 h.
    pub backoff: BackoffConfig,
    /// `eventing.parked-max`: events parked per consumer; a consumer that has so many goes no further. Default 10,000; 1 to 1,000,000.
    pub parked_max: NonZeroUsize,
}

/// The management and the metrics port. Both only read, but for `/events`, which is for callers on the same machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminConfig {
    /// `management.host`, `management.port`: `/ready`, `/alive` and `/events`. Default 0.0.0.0:8558; `None` (`off`, or development mode) opens nothing.
    pub management: Option<Listen>,
    /// `telemetry.prometheus.host`, `telemetry.prometheus.port`: `/metrics`. Default 0.0.0.0:9090; `None` (`off`, disabled, or development mode) opens nothing.
    pub metrics: Option<Listen>,
}

/// An address to listen on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen {
    /// The address.
    pub interface: IpAddr,
    /// The port; 0 takes a free one.
    pub port: u16,
}

/// The log, on standard error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogConfig {
    /// `log.format`: for people or for machines. Default text.
    pub format: LogFormat,
    /// `log.level`: a level, or a filter such as `info,cloudstate=debug`. Default info.
    pub level: String,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One line of text an event.
    Text,
    /// One JSON object an event.
    Json,
}

/// The user function as a child process.
#[derive(Debug, Clone, PartialEq)]
pub struct ChildConfig {
    /// `child.backoff-min`, `child.backoff-max`: delays before it is started again. Default 200 ms to 10 s.
    pub restart: BackoffConfig,
    /// `child.stable-after`: time up after which the delay starts from the first one again. Default 10 s; 10 ms to 1 h.
    pub stable_after: Duration,
    /// `child.stop-timeout`: time between SIGTERM and SIGKILL. Default 5 s; up to 10 min.
    pub stop_timeout: Duration,
}

/// What SIGTERM does. The whole takes at most `readiness_grace` + `drain_timeout` + 3 s + `child.stop-timeout` and the time to close the store:
/// give the process at least that before it is killed (Kubernetes gives 30 s).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShutdownConfig {
    /// `readiness-grace`: time to go on serving while `/ready` says no, so that routers notice. Default 2 s; up to 5 min. SIGINT skips it.
    pub readiness_grace: Duration,
    /// `graceful-termination-timeout`: time for running requests to finish. Default 10 s; up to 1 h.
    pub drain_timeout: Duration,
}

impl Default for ProxyConfig {
    /// All settings at their defaults.
    fn default() -> Self {
        Resolved::defaults().config().expect("the defaults are valid")
    }
}
