//! From texts to [`ProxyConfig`]: every value is read, checked for its range, then for its neighbours. All problems are reported, not only the first.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::IpAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::error::{ConfigError, Problem};
use super::sources::{Resolved, Value};
use super::value::{parse_bool, parse_duration, parse_size, show_duration, show_size};
use super::{
    AdminConfig, BackoffConfig, ChildConfig, CorsOrigins, EventSourcedConfig, EventingConfig, HttpConfig,
    IngressConfig, Listen, LogConfig, LogFormat, PostgresConfig, ProxyConfig, RequestConfig, Secret, ShutdownConfig,
    SqliteConfig, StoreConfig, StoreLocation, UserFunctionConfig, VersionCheck,
};

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

impl ProxyConfig {
    /// Reads all settings.
    pub(super) fn read(resolved: &Resolved) -> Result<Self, ConfigError> {
        let mut read = Reader { resolved, problems: Vec::new() };
        let config = Self {
            http: HttpConfig { interface: read.address("http-interface"), port: read.number("http-port", 0..=65_535) },
            ingress: read.ingress(),
            requests: read.requests(),
            user_function: read.user_function(),
            event_sourced: read.event_sourced(),
            value_passivation_timeout: read.duration("value-entity.passivation-timeout", MS..=DAY),
            crdt_passivation_timeout: read.duration("crdt-entity.passivation-timeout", MS..=DAY),
            eventing: read.eventing(),
            store: read.store(),
            admin: read.admin(),
            log: read.log(),
            child: read.child(),
            shutdown: ShutdownConfig {
                readiness_grace: read.duration("readiness-grace", Duration::ZERO..=5 * MINUTE),
                drain_timeout: read.duration("graceful-termination-timeout", Duration::ZERO..=HOUR),
            },
        };
        ConfigError::check(read.problems)?;
        config.validate(resolved)?;
        Ok(config)
    }

    /// Checks how settings relate to one another.
    fn validate(&self, resolved: &Resolved) -> Result<(), ConfigError> {
        let mut problems = Vec::new();
        let mut at_most = |holds: bool, key: &str, other: &str| {
            if !holds {
                problems.push(contradiction(resolved.value(key), resolved.value(other)));
            }
        };
        let backoff = &self.eventing.backoff;
        at_most(backoff.min <= backoff.max, "eventing.backoff-min", "eventing.backoff-max");
        let (ingress, function, child) = (&self.ingress, &self.user_function, &self.child);
        at_most(
            ingress.request_size_max <= function.message_size_max,
            "ingress.request-size-max",
            "max-inbound-message-size",
        );
        at_most(
            ingress.connections_per_address_max <= ingress.connections_max,
            "ingress.connections-per-address-max",
            "ingress.connections-max",
        );
        at_most(self.requests.timeout <= self.requests.timeout_max, "relay-timeout", "relay-timeout-max");
        let longest = self.requests.timeouts.values().max();
        at_most(
            longest.is_none_or(|longest| *longest <= self.requests.timeout_max),
            "relay-timeouts",
            "relay-timeout-max",
        );
        at_most(function.reconnect.min <= function.reconnect.max, "backoff.min", "backoff.max");
        at_most(child.restart.min <= child.restart.max, "child.backoff-min", "child.backoff-max");
        ConfigError::check(problems)
    }
}

/// Reads one value after the other and keeps what is wrong; a wrong value reads as some valid one, which nobody sees.
struct Reader<'a> {
    resolved: &'a Resolved,
    problems: Vec<Problem>,
}

impl Reader<'_> {
    fn ingress(&mut self) -> IngressConfig {
        IngressConfig {
            request_size_max: self.size("ingress.request-size-max", KIB..=2 * GIB - 1),
            response_size_max: self.size("ingress.response-size-max", KIB..=2 * GIB - 1),
            header_list_size_max: u32::try_from(self.size("ingress.header-list-size-max", KIB..=MIB))
                .unwrap_or(u32::MAX),
            requests_max: self.count("ingress.requests-max", 1_000_000),
            connections_max: self.count("ingress.connections-max", 1_000_000),
            connections_per_address_max: self.count("ingress.connections-per-address-max", 1_000_000),
            streams_per_connection_max: NonZeroU32::new(
                self.number("ingress.streams-per-connection-max", 1..=1_000_000),
            )
            .unwrap_or(NonZeroU32::MIN),
            header_timeout: self.duration("ingress.header-timeout", 100 * MS..=10 * MINUTE),
            idle_timeout: self.duration("ingress.idle-timeout", SECOND..=DAY),
            connection_age_max: self.duration_or_never("ingress.connection-age-max"),
            keepalive_interval: self.duration_or_never("ingress.keepalive-interval"),
            keepalive_timeout: self.duration("ingress.keepalive-timeout", 100 * MS..=10 * MINUTE),
            cors_origins: self.cors_origins(),
        }
    }

    fn requests(&mut self) -> RequestConfig {
        RequestConfig {
            timeout: self.duration("relay-timeout", MS..=DAY),
            timeouts: self.relay_timeouts(),
            timeout_max: self.duration("relay-timeout-max", MS..=DAY),
        }
    }

    fn user_function(&mut self) -> UserFunctionConfig {
        UserFunctionConfig {
            host: self.text("user-function-host", "a host name or an address", |host| {
                !host.is_empty() && !host.contains(['/', ' '])
            }),
            port: self.number("user-function-port", 1..=65_535),
            message_size_max: self.size("max-inbound-message-size", KIB..=2 * GIB - 1),
            relay_buffer: self.count("relay-buffer-size", 100_000),
            entity_streams_max: NonZeroUsize::new(self.number("entity-streams-max", 0..=1_000_000)),
            version_check: self.version_check(),
            reconnect: BackoffConfig {
                min: self.duration("backoff.min", MS..=HOUR),
                max: self.duration("backoff.max", MS..=HOUR),
                random_factor: self.number("backoff.random-factor", 0.0..=1.0),
            },
        }
    }

    fn event_sourced(&mut self) -> EventSourcedConfig {
        EventSourcedConfig {
            passivation_timeout: self.duration("eventsourced-entity.passivation-timeout", MS..=DAY),
            waiting_room: self.count("eventsourced-entity.waiting-room", 100_000),
            recoveries_max: self.count("eventsourced-entity.recoveries-max", 10_000),
            snapshots_kept: self.count("eventsourced-entity.snapshots-kept", 64),
            close_timeout: self.duration("eventsourced-entity.close-timeout", 10 * MS..=10 * MINUTE),
        }
    }

    fn eventing(&mut self) -> EventingConfig {
        EventingConfig {
            parallelism: self.count("eventing.parallelism", 1_024),
            attempts_max: self.count("eventing.attempts-max", 1_000),
            backoff: BackoffConfig {
                min: self.duration("eventing.backoff-min", MS..=HOUR),
                max: self.duration("eventing.backoff-max", MS..=HOUR),
                random_factor: 0.2,
            },
            parked_max: self.count("eventing.parked-max", 1_000_000),
        }
    }

    fn store(&mut self) -> StoreConfig {
        let location = match self.resolved.value("store").text.trim() {
            "memory" | "in-memory" => StoreLocation::Memory,
            text if text.starts_with("postgres://") || text.starts_with("postgresql://") => {
                StoreLocation::Postgres(Secret::new(text))
            }
            text => match text.strip_prefix("sqlite:") {
                Some(folder) if !folder.is_empty() => StoreLocation::Sqlite(PathBuf::from(folder)),
                _ => {
                    let expected = "`memory`, `sqlite:` and a folder, or `postgres://USER@HOST/DATABASE`";
                    self.wrong("store", expected, StoreLocation::Memory)
                }
            },
        };
        let sqlite = SqliteConfig {
            wal_autocheckpoint: self.number("sqlite.wal-autocheckpoint", 100..=1_000_000),
            cache_size: self.size("sqlite.cache-size", MIB..=16 * GIB) as u64,
            readers: self.count("sqlite.readers", 16),
        };
        let password = self.resolved.value("postgres.password").text.as_str();
        let named = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
        let postgres = PostgresConfig {
            password: (!password.is_empty()).then(|| Secret::new(password)),
            schema: self.text("postgres.schema", "1 to 63 lower-case letters, digits and `_`", |schema| {
                (1..=63).contains(&schema.len()) && schema.chars().all(named) && !schema.starts_with("pg_")
            }),
            writers: self.count("postgres.writers", 16),
            readers: self.count("postgres.readers", 64),
            statement_timeout: self.duration("postgres.statement-timeout", 100 * MS..=HOUR),
            pooler: self.flag("postgres.pooler"),
        };
        StoreConfig { location, sqlite, postgres }
    }

    fn admin(&mut self) -> AdminConfig {
        let development = self.flag("dev-mode-enabled");
        let disabled = self.flag("telemetry.disabled");
        let metrics = self.listen("telemetry.prometheus.host", "telemetry.prometheus.port", development);
        AdminConfig {
            management: self.listen("management.host", "management.port", development),
            metrics: if disabled { None } else { metrics },
        }
    }

    fn log(&mut self) -> LogConfig {
        let format = match self.resolved.value("log.format").text.trim() {
            "text" => LogFormat::Text,
            "json" => LogFormat::Json,
            _ => self.wrong("log.format", "text or json", LogFormat::Text),
        };
        const SHAPE: &str = "a level (error, warn, info, debug, trace, off) or a filter such as info,cloudstate=debug";
        let level = self.text("log.level", SHAPE, |level| {
            !level.is_empty() && level.parse::<tracing_subscriber::EnvFilter>().is_ok()
        });
        LogConfig { format, level }
    }

    fn child(&mut self) -> ChildConfig {
        ChildConfig {
            restart: BackoffConfig {
                min: self.duration("child.backoff-min", MS..=HOUR),
                max: self.duration("child.backoff-max", MS..=HOUR),
                random_factor: 0.0, // one child: there is no herd to spread
            },
            stable_after: self.duration("child.stable-after", 10 * MS..=HOUR),
            stop_timeout: self.duration("child.stop-timeout", Duration::ZERO..=10 * MINUTE),
        }
    }

    fn version_check(&mut self) -> VersionCheck {
        const KEY: &str = "protocol-compatibility-check";
        match self.resolved.value(KEY).text.trim() {
            "strict" => VersionCheck::Strict,
            text => match parse_bool(text) {
                Ok(true) => VersionCheck::Lenient,
                Ok(false) => VersionCheck::Off,
                Err(_) => self.wrong(KEY, "true, strict or false", VersionCheck::Strict),
            },
        }
    }

    fn relay_timeouts(&mut self) -> BTreeMap<String, Duration> {
        const KEY: &str = "relay-timeouts";
        let text = self.resolved.value(KEY).text.trim();
        let timeouts = text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).map(|entry| {
            let (service, timeout) = entry.split_once('=')?;
            let timeout = parse_duration(timeout).ok().filter(|timeout| (MS..=DAY).contains(timeout))?;
            let service = service.trim();
            (!service.is_empty()).then(|| (service.to_owned(), timeout))
        });
        match timeouts.collect::<Option<_>>() {
            Some(timeouts) => timeouts,
            None => {
                self.wrong(KEY, "full service names with a duration each, such as com.example.Cart=5s", BTreeMap::new())
            }
        }
    }

    fn cors_origins(&mut self) -> CorsOrigins {
        const KEY: &str = "ingress.cors-origins";
        let text = self.resolved.value(KEY).text.trim();
        if text == "*" {
            return CorsOrigins::Any;
        }
        let origins: Vec<String> =
            text.split(',').map(str::trim).filter(|origin| !origin.is_empty()).map(str::to_owned).collect();
        let is_origin =
            |origin: &String| origin.split_once("://").is_some_and(|(_, host)| !host.is_empty() && !host.contains('/'));
        if origins.iter().all(is_origin) {
            CorsOrigins::List(origins)
        } else {
            self.wrong(KEY, "`*`, or origins such as https://shop.example.com with commas between", CorsOrigins::Any)
        }
    }

    /// `None` when the port says `off`, or says nothing in development mode.
    fn listen(&mut self, host: &str, port: &str, development: bool) -> Option<Listen> {
        let interface = self.address(host);
        if self.resolved.value(port).text.trim() == "off" || (development && self.resolved.is_default(port)) {
            return None;
        }
        Some(Listen { interface, port: self.parsed(port, 0..=65_535, "a port from 0 to 65535, or off") })
    }

    fn flag(&mut self, key: &str) -> bool {
        match parse_bool(&self.resolved.value(key).text) {
            Ok(flag) => flag,
            Err(expected) => self.wrong(key, expected, false),
        }
    }

    fn address(&mut self, key: &str) -> IpAddr {
        let text = self.resolved.value(key).text.trim();
        match text.parse() {
            Ok(address) => address,
            Err(_) if text == "localhost" => IpAddr::from([127, 0, 0, 1]),
            Err(_) => self.wrong(key, "an IP address, such as 0.0.0.0, 127.0.0.1 or ::", IpAddr::from([127, 0, 0, 1])),
        }
    }

    fn text(&mut self, key: &str, expected: &str, valid: impl Fn(&str) -> bool) -> String {
        let text = self.resolved.value(key).text.trim();
        if valid(text) { text.to_owned() } else { self.wrong(key, expected, String::new()) }
    }

    fn count(&mut self, key: &str, max: usize) -> NonZeroUsize {
        NonZeroUsize::new(self.number(key, 1..=max)).unwrap_or(NonZeroUsize::MIN)
    }

    fn number<T>(&mut self, key: &str, range: RangeInclusive<T>) -> T
    where
        T: std::str::FromStr + PartialOrd + Copy + Display,
    {
        let expected = format!("a number from {} to {}", range.start(), range.end());
        self.parsed(key, range, &expected)
    }

    fn parsed<T>(&mut self, key: &str, range: RangeInclusive<T>, expected: &str) -> T
    where
        T: std::str::FromStr + PartialOrd + Copy,
    {
        match self.resolved.value(key).text.trim().parse() {
            Ok(number) if range.contains(&number) => number,
            _ => self.wrong(key, expected, *range.start()),
        }
    }

    fn size(&mut self, key: &str, range: RangeInclusive<u64>) -> usize {
        let (least, most) = (show_size(*range.start()), show_size(*range.end()));
        match parse_size(&self.resolved.value(key).text) {
            Ok(size) if range.contains(&size) => usize::try_from(size).unwrap_or(usize::MAX),
            Ok(_) => self.wrong(key, format!("from {least} to {most}"), 1),
            Err(expected) => self.wrong(key, format!("{expected}, from {least} to {most}"), 1),
        }
    }

    fn duration(&mut self, key: &str, range: RangeInclusive<Duration>) -> Duration {
        let (least, most) = (show_duration(*range.start()), show_duration(*range.end()));
        match parse_duration(&self.resolved.value(key).text) {
            Ok(duration) if range.contains(&duration) => duration,
            Ok(_) => self.wrong(key, format!("from {least} to {most}"), *range.start()),
            Err(expected) => self.wrong(key, format!("{expected}, from {least} to {most}"), *range.start()),
        }
    }

    fn duration_or_never(&mut self, key: &str) -> Option<Duration> {
        let duration = self.duration(key, Duration::ZERO..=30 * DAY);
        (!duration.is_zero()).then_some(duration)
    }

    fn wrong<T>(&mut self, key: &str, expected: impl Into<String>, instead: T) -> T {
        let value = self.resolved.value(key);
        self.problems.push(Problem::WrongValue {
            key: key.to_owned(),
            value: value.shown().into_owned(),
            origin: value.origin.clone(),
            expected: expected.into(),
        });
        instead
    }
}

fn contradiction(value: &Value, other: &Value) -> Problem {
    Problem::Contradiction {
        key: value.setting.key.to_owned(),
        value: value.text.clone(),
        origin: value.origin.clone(),
        relation: "at most",
        other: other.setting.key.to_owned(),
        other_value: other.text.clone(),
        other_origin: other.origin.clone(),
    }
}
