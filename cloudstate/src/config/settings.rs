//! The catalogue of settings: key, environment variable, default and one line of help each.
//!
//! Keys and variables keep the reference proxy's names where it has one. [`ProxyConfig`](super::ProxyConfig) documents ranges and relations.

/// One setting.
#[derive(Debug, PartialEq, Eq)]
pub struct Setting {
    /// The key in the configuration file and for `--set`.
    pub key: &'static str,
    /// The environment variable.
    pub env: &'static str,
    /// The default, in the form it would be written.
    pub default: &'static str,
    /// What it does, in one line.
    pub help: &'static str,
}

/// Every setting, sorted as `cloudstate config` prints them.
pub const SETTINGS: &[Setting] = &[
    s("http-interface", "CLOUDSTATE_HTTP_INTERFACE", "0.0.0.0", "address the public port listens on"),
    s("http-port", "HTTP_PORT", "9000", "public port: gRPC, gRPC-Web and HTTP/JSON; 0 takes a free one"),
    s("user-function-host", "USER_FUNCTION_HOST", "127.0.0.1", "where the user function listens"),
    s("user-function-port", "USER_FUNCTION_PORT", "8080", "its port; with a COMMAND and nothing set, a free one"),
    s(
        "protocol-compatibility-check",
        "CLOUDSTATE_PROTOCOL_COMPATIBILITY_CHECK",
        "true",
        "true: 0.2 or none reported; strict: 0.2; false: any",
    ),
    s("relay-timeout", "CLOUDSTATE_RELAY_TIMEOUT", "1m", "how long a request may take if the caller says nothing"),
    s(
        "relay-timeouts",
        "CLOUDSTATE_RELAY_TIMEOUTS",
        "",
        "relay-timeout of single services, such as com.example.Cart=5s,com.example.Report=2m",
    ),
    s("relay-timeout-max", "CLOUDSTATE_RELAY_TIMEOUT_MAX", "5m", "the longest time a caller may ask for"),
    s(
        "max-inbound-message-size",
        "CLOUDSTATE_MAX_INBOUND_MESSAGE_SIZE",
        "12M",
        "largest message to and from the user function",
    ),
    s(
        "relay-buffer-size",
        "CLOUDSTATE_RELAY_BUFFER_SIZE",
        "100",
        "messages buffered towards the user function per entity",
    ),
    s(
        "entity-streams-max",
        "CLOUDSTATE_ENTITY_STREAMS_MAX",
        "0",
        "entity streams the user function serves at once; 0 means any number",
    ),
    s(
        "graceful-termination-timeout",
        "CLOUDSTATE_GRACEFUL_TERMINATION_TIMEOUT",
        "10s",
        "how long running requests may take to finish on SIGTERM",
    ),
    s(
        "readiness-grace",
        "CLOUDSTATE_READINESS_GRACE",
        "2s",
        "on SIGTERM, how long to go on serving while /ready says no",
    ),
    s(
        "dev-mode-enabled",
        "CLOUDSTATE_DEV_MODE_ENABLED",
        "false",
        "no management and no metrics port, unless they are set",
    ),
    s("backoff.min", "CLOUDSTATE_BACKOFF_MIN", "1s", "first delay before the user function is called again"),
    s("backoff.max", "CLOUDSTATE_BACKOFF_MAX", "10s", "longest delay before the user function is called again"),
    s(
        "backoff.random-factor",
        "CLOUDSTATE_BACKOFF_RANDOM_FACTOR",
        "0.2",
        "how much is added to a delay at random, as a share of it",
    ),
    s(
        "eventsourced-entity.passivation-timeout",
        "CLOUDSTATE_EVENTSOURCED_ENTITY_PASSIVATION_TIMEOUT",
        "30s",
        "idle time after which an entity is closed",
    ),
    s(
        "eventsourced-entity.waiting-room",
        "CLOUDSTATE_EVENTSOURCED_ENTITY_WAITING_ROOM",
        "64",
        "commands that may wait for one entity",
    ),
    s(
        "eventsourced-entity.recoveries-max",
        "CLOUDSTATE_EVENTSOURCED_ENTITY_RECOVERIES_MAX",
        "64",
        "entities that may replay at the same time",
    ),
    s(
        "eventsourced-entity.snapshots-kept",
        "CLOUDSTATE_EVENTSOURCED_ENTITY_SNAPSHOTS_KEPT",
        "2",
        "newest snapshots kept of an entity; older ones are deleted once a newer one is stored",
    ),
    s(
        "eventsourced-entity.close-timeout",
        "CLOUDSTATE_EVENTSOURCED_ENTITY_CLOSE_TIMEOUT",
        "5s",
        "how long the user function may take to end a closed stream",
    ),
    s(
        "value-entity.passivation-timeout",
        "CLOUDSTATE_VALUE_ENTITY_PASSIVATION_TIMEOUT",
        "30s",
        "idle time after which a value entity is closed",
    ),
    s(
        "crdt-entity.passivation-timeout",
        "CLOUDSTATE_CRDT_ENTITY_PASSIVATION_TIMEOUT",
        "30s",
        "idle time after which a CRDT entity is closed",
    ),
    s(
        "eventing.parallelism",
        "CLOUDSTATE_EVENTING_PARALLELISM",
        "16",
        "events of different entities that a consumer handles at once",
    ),
    s(
        "eventing.attempts-max",
        "CLOUDSTATE_EVENTING_ATTEMPTS_MAX",
        "8",
        "how often an event is tried before it is parked; see `cloudstate events`",
    ),
    s("eventing.backoff-min", "CLOUDSTATE_EVENTING_BACKOFF_MIN", "3s", "first delay before an event is tried again"),
    s("eventing.backoff-max", "CLOUDSTATE_EVENTING_BACKOFF_MAX", "30s", "longest such delay"),
    s(
        "eventing.parked-max",
        "CLOUDSTATE_EVENTING_PARKED_MAX",
        "10000",
        "events parked per consumer; when there are so many it waits instead",
    ),
    s(
        "store",
        "CLOUDSTATE_STORE",
        "sqlite:./cloudstate-data",
        "sqlite:FOLDER, postgres://USER@HOST/DATABASE or memory",
    ),
    s(
        "sqlite.wal-autocheckpoint",
        "CLOUDSTATE_SQLITE_WAL_AUTOCHECKPOINT",
        "4000",
        "pages in the write-ahead log before it is folded back",
    ),
    s("sqlite.cache-size", "CLOUDSTATE_SQLITE_CACHE_SIZE", "64M", "page cache of the writing connection, at most"),
    s("sqlite.readers", "CLOUDSTATE_SQLITE_READERS", "2", "reading connections, each with a thread"),
    s("postgres.password", "CLOUDSTATE_POSTGRES_PASSWORD", "", "password of the role, if the address holds none"),
    s("postgres.schema", "CLOUDSTATE_POSTGRES_SCHEMA", "cloudstate", "schema of all tables, made if it is missing"),
    s("postgres.writers", "CLOUDSTATE_POSTGRES_WRITERS", "2", "connections that write"),
    s("postgres.readers", "CLOUDSTATE_POSTGRES_READERS", "2", "connections that replay"),
    s(
        "postgres.statement-timeout",
        "CLOUDSTATE_POSTGRES_STATEMENT_TIMEOUT",
        "30s",
        "how long the server may work on one statement",
    ),
    s(
        "postgres.pooler",
        "CLOUDSTATE_POSTGRES_POOLER",
        "false",
        "whether a pooler in transaction mode, such as PgBouncer, stands between",
    ),
    s("ingress.request-size-max", "CLOUDSTATE_INGRESS_REQUEST_SIZE_MAX", "4M", "largest request message"),
    s("ingress.response-size-max", "CLOUDSTATE_INGRESS_RESPONSE_SIZE_MAX", "4M", "largest response message"),
    s(
        "ingress.header-list-size-max",
        "CLOUDSTATE_INGRESS_HEADER_LIST_SIZE_MAX",
        "16K",
        "largest header list of a request",
    ),
    s("ingress.requests-max", "CLOUDSTATE_INGRESS_REQUESTS_MAX", "10000", "requests in flight in this process"),
    s("ingress.connections-max", "CLOUDSTATE_INGRESS_CONNECTIONS_MAX", "10000", "open connections"),
    s(
        "ingress.connections-per-address-max",
        "CLOUDSTATE_INGRESS_CONNECTIONS_PER_ADDRESS_MAX",
        "1024",
        "open connections from one address",
    ),
    s(
        "ingress.streams-per-connection-max",
        "CLOUDSTATE_INGRESS_STREAMS_PER_CONNECTION_MAX",
        "100",
        "requests in flight on one HTTP/2 connection",
    ),
    s(
        "ingress.header-timeout",
        "CLOUDSTATE_INGRESS_HEADER_TIMEOUT",
        "10s",
        "how long a request's header may take to arrive",
    ),
    s(
        "ingress.idle-timeout",
        "CLOUDSTATE_INGRESS_IDLE_TIMEOUT",
        "5m",
        "how long a connection without requests stays open",
    ),
    s(
        "ingress.connection-age-max",
        "CLOUDSTATE_INGRESS_CONNECTION_AGE_MAX",
        "30m",
        "age at which a connection is told to go away; 0 means never",
    ),
    s(
        "ingress.keepalive-interval",
        "CLOUDSTATE_INGRESS_KEEPALIVE_INTERVAL",
        "20s",
        "time between HTTP/2 pings to a client; 0 means none",
    ),
    s(
        "ingress.keepalive-timeout",
        "CLOUDSTATE_INGRESS_KEEPALIVE_TIMEOUT",
        "10s",
        "how long the answer to such a ping may take",
    ),
    s(
        "ingress.cors-origins",
        "CLOUDSTATE_INGRESS_CORS_ORIGINS",
        "*",
        "origins browsers may call from, by commas; * for all, empty for none",
    ),
    s("management.host", "MANAGEMENT_HOST", "0.0.0.0", "address the management port listens on"),
    s("management.port", "MANAGEMENT_PORT", "8558", "/ready, /alive and /events; off for none, 0 takes a free one"),
    s("telemetry.disabled", "CLOUDSTATE_TELEMETRY_DISABLED", "false", "no metrics port"),
    s("telemetry.prometheus.host", "METRICS_HOST", "0.0.0.0", "address the metrics port listens on"),
    s("telemetry.prometheus.port", "METRICS_PORT", "9090", "/metrics; off for none, 0 takes a free one"),
    s("log.format", "CLOUDSTATE_LOG_FORMAT", "text", "text or json"),
    s(
        "log.level",
        "CLOUDSTATE_LOG_LEVEL",
        "info",
        "error, warn, info, debug or trace, or a filter such as info,cloudstate=debug",
    ),
    s(
        "child.backoff-min",
        "CLOUDSTATE_CHILD_BACKOFF_MIN",
        "200ms",
        "first delay before a COMMAND that died is started again",
    ),
    s("child.backoff-max", "CLOUDSTATE_CHILD_BACKOFF_MAX", "10s", "longest such delay"),
    s(
        "child.stable-after",
        "CLOUDSTATE_CHILD_STABLE_AFTER",
        "10s",
        "time up after which the delay starts from the first one again",
    ),
    s("child.stop-timeout", "CLOUDSTATE_CHILD_STOP_TIMEOUT", "5s", "time between SIGTERM and SIGKILL for the COMMAND"),
];

/// Keys of the reference proxy that have no meaning here, and what to do instead.
const FOREIGN: &[(&str, &str)] = &[
    ("eventsourced-entity.journal-enabled", "the journal is always on: choose it with `store`"),
    ("eventsourced-entity.read-journal", "the journal can always be read: choose it with `store`"),
    ("value-entity.persistence.store", "one store serves all entity types: choose it with `store`"),
    ("telemetry.prometheus.use-default-registry", "there is one registry: remove the key"),
    ("number-of-shards", "the number of shards is fixed: remove the key"),
    ("proxy-parallelism", "streamed calls go at the pace of their entities: remove the key"),
    ("ready-timeout", "/ready answers at once: remove the key"),
];

impl Setting {
    /// The setting of this key, with or without the reference's prefix `cloudstate.proxy.`.
    #[must_use]
    pub fn find(key: &str) -> Option<&'static Self> {
        let key = key.strip_prefix(PREFIX).unwrap_or(key);
        SETTINGS.iter().find(|setting| setting.key == key)
    }

    /// The setting an environment variable sets.
    #[must_use]
    pub fn find_env(name: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|setting| setting.env == name)
    }
}

/// Prefix of all keys of the reference proxy.
pub(crate) const PREFIX: &str = "cloudstate.proxy.";

/// What to say about an unknown key.
#[must_use]
pub(crate) fn hint_for_key(key: &str) -> String {
    let key = key.strip_prefix(PREFIX).unwrap_or(key);
    if let Some((_, instead)) = FOREIGN.iter().find(|(foreign, _)| *foreign == key) {
        return (*instead).to_owned();
    }
    match nearest(key, SETTINGS.iter().map(|setting| setting.key)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "`cloudstate config` lists the valid keys".to_owned(),
    }
}

/// What to say about an unknown environment variable.
#[must_use]
pub(crate) fn hint_for_env(name: &str) -> String {
    match nearest(name, SETTINGS.iter().map(|setting| setting.env)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "`cloudstate config` lists the valid ones; unset it if it is not for this program".to_owned(),
    }
}

/// The candidate with the smallest edit distance, if it is near enough to be a slip of the keyboard.
fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // A forgotten or wrong section is a common slip and far away in letters, so the last part alone counts too.
    let last = |text: &str| text.rsplit('.').next().map(str::to_owned).unwrap_or_default();
    let allowed = (word.len() / 3).max(2);
    candidates
        .map(|candidate| {
            let whole = edit_distance(word, candidate);
            let tail = edit_distance(&last(word), &last(candidate)) + 1;
            (whole.min(tail), candidate)
        })
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, _)| *distance <= allowed)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance by characters.
fn edit_distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

const fn s(key: &'static str, env: &'static str, default: &'static str, help: &'static str) -> Setting {
    Setting { key, env, default, help }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_variables_are_unique() {
        for (index, setting) in SETTINGS.iter().enumerate() {
            for other in &SETTINGS[index + 1..] {
                assert_ne!(setting.key, other.key);
                assert_ne!(setting.env, other.env);
            }
        }
    }

    #[test]
    fn variables_of_our_own_follow_the_key() {
        for setting in SETTINGS.iter().filter(|setting| setting.env.starts_with("CLOUDSTATE_")) {
            let expected = format!("CLOUDSTATE_{}", setting.key.to_ascii_uppercase().replace(['-', '.'], "_"));
            assert_eq!(setting.env, expected);
        }
    }

    #[test]
    fn slips_find_the_key_that_was_meant() {
        for (slip, meant) in [
            ("htp-port", "http-port"),
            ("http_port", "http-port"),
            ("passivation-timeout", "eventsourced-entity.passivation-timeout"),
            ("cloudstate.proxy.relay-timout", "relay-timeout"),
            ("wal-autocheckpoint", "sqlite.wal-autocheckpoint"),
        ] {
            assert_eq!(hint_for_key(slip), format!("did you mean `{meant}`?"));
        }
        assert_eq!(hint_for_key("colour"), "`cloudstate config` lists the valid keys");
    }
}
