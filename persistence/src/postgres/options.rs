//! [`PostgresOptions`]: where the server is and what a store may ask of it.

use super::PostgresOpenError;
use crate::Durability;
use std::{fmt, path::PathBuf, str::FromStr, time::Duration};
use tokio_postgres::{
    Config,
    config::{Host, SslMode},
};

/// Settings of a [`PostgresStore`](super::PostgresStore). The defaults fit a server shared by a few nodes.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresOptions {
    /// `postgres://USER:PASSWORD@HOST:PORT/DATABASE?KEY=VALUE`, as `psql` takes it. Several hosts may be named, as
    /// `HOST1:PORT1,HOST2:PORT2`: the one that takes writes is used. Keys of our own: `sslmode` (`disable`, `prefer`,
    /// which is the default, `require` or `verify-full`) and `sslrootcert` (a file of PEM certificates, which
    /// `verify-full` needs). No part of it is ever printed with the password.
    pub url: String,
    /// The password, if it is not part of `url`. Default none.
    pub password: Option<String>,
    /// Schema of all tables; made if it is missing. Default `cloudstate`; lower-case letters, digits and `_`, in any order.
    pub schema: String,
    /// When a write counts as durable. Default [`Durability::Fsync`]: when the server has flushed its log, whatever its
    /// `synchronous_commit` says; with [`Durability::Os`] a crash of the server may lose the last acknowledged writes.
    pub durability: Durability,
    /// Connections that write, each one batch at a time. Default 2, 1 to 16.
    pub writers: usize,
    /// Connections that read. Default 2, 1 to 64.
    pub readers: usize,
    /// Requests that may wait for each writer, and reads that may wait for all readers; more are refused as overloaded.
    /// Default 16,384, at least 1.
    pub queue_requests: usize,
    /// Bytes of payload that may wait for the writers. Default 64 MiB; a single larger request still passes when nothing
    /// else waits.
    pub queue_bytes: usize,
    /// Requests committed together at most. Default 256, at least 1.
    pub batch_requests: usize,
    /// Payload bytes after which no further request joins a batch. Default 1 MiB.
    pub batch_bytes: usize,
    /// Largest payload plus meta of one event, snapshot or state in bytes; larger ones are rejected. Default 64 MiB, at most
    /// 512 MiB, which is also the limit of one batch of events.
    pub payload_bytes_max: usize,
    /// How long each of the hosts may take to take a connection, and what is sent to make it useful. Default 10 s.
    pub connect_timeout: Duration,
    /// How long the server may work on one statement, and one of the store's transactions may do nothing. Default 30 s. A
    /// server that does not answer within this time and five seconds is taken for lost.
    pub statement_timeout: Duration,
    /// Whether a pooler in transaction mode (such as PgBouncer) stands between: statements are sent unnamed then, and
    /// settings with every transaction. Default no.
    pub pooler: bool,
    /// Name under which the connections are listed in `pg_stat_activity`. Default `cloudstate`.
    pub application_name: String,
}

/// What an address demands of encryption.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum TlsMode {
    Disable,
    #[default]
    Prefer,
    Require,
    VerifyFull,
}

/// A connection string taken apart.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) config: Config,
    pub(crate) tls: TlsMode,
    pub(crate) root_certificate: Option<PathBuf>,
    /// For error texts: `USER@HOST:PORT/DATABASE`.
    pub(crate) place: String,
}

impl PostgresOptions {
    /// The defaults, for a server at `url`.
    #[must_use]
    pub fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            password: None,
            schema: "cloudstate".into(),
            durability: Durability::Fsync,
            writers: 2,
            readers: 2,
            queue_requests: 16_384,
            queue_bytes: 64 << 20,
            batch_requests: 256,
            batch_bytes: 1 << 20,
            payload_bytes_max: 64 << 20,
            connect_timeout: Duration::from_secs(10),
            statement_timeout: Duration::from_secs(30),
            pooler: false,
            application_name: "cloudstate".into(),
        }
    }

    /// Whether `url` can be understood, without connecting.
    ///
    /// # Errors
    /// [`PostgresOpenError::Url`] or [`PostgresOpenError::Settings`].
    pub fn validate(&self) -> Result<(), PostgresOpenError> {
        self.target()?;
        let within = |field, value: usize, low: usize, high: usize, range| {
            if (low..=high).contains(&value) {
                Ok(())
            } else {
                Err(PostgresOpenError::Settings { field, value: value.to_string(), range })
            }
        };
        within("writers", self.writers, 1, 16, "1 to 16")?;
        within("readers", self.readers, 1, 64, "1 to 64")?;
        within("queue_requests", self.queue_requests, 1, 1 << 24, "1 to 16777216")?;
        within("batch_requests", self.batch_requests, 1, 1 << 14, "1 to 16384")?;
        within("payload_bytes_max", self.payload_bytes_max, 1, 512 << 20, "1 byte to 512 MiB")?;
        within("statement_timeout", self.statement_timeout.as_millis() as usize, 10, 86_400_000, "10 ms to 24 h")?;
        within("connect_timeout", self.connect_timeout.as_millis() as usize, 10, 3_600_000, "10 ms to 1 h")?;
        let named = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
        let schema = &self.schema;
        if schema.is_empty() || schema.len() > 63 || !schema.chars().all(named) || schema.starts_with("pg_") {
            let range = "1 to 63 lower-case letters, digits and `_`, not beginning with `pg_`";
            return Err(PostgresOpenError::Settings { field: "schema", value: schema.clone(), range });
        }
        Ok(())
    }

    pub(crate) fn target(&self) -> Result<Target, PostgresOpenError> {
        let wrong = |reason: &str| PostgresOpenError::Url { reason: reason.to_owned() };
        if !self.url.starts_with("postgres://") && !self.url.starts_with("postgresql://") {
            return Err(wrong("it does not begin with postgres://"));
        }
        let (address, query) = self.url.split_once('?').unwrap_or((&self.url, ""));
        let (mut tls, mut root_certificate, mut kept) = (TlsMode::default(), None, Vec::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("sslmode", mode)) => tls = TlsMode::parse(mode)?,
                Some(("sslrootcert", path)) => root_certificate = Some(PathBuf::from(unescaped(path))),
                _ => kept.push(pair),
            }
        }
        if tls == TlsMode::VerifyFull && root_certificate.is_none() {
            return Err(wrong("sslmode=verify-full needs sslrootcert=FILE, the certificates to trust"));
        }
        let url = if kept.is_empty() { address.to_owned() } else { format!("{address}?{}", kept.join("&")) };
        // The reasons of the parser name keys, never values.
        let mut config = Config::from_str(&url).map_err(|error| wrong(&chain(&error)))?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(wrong("it names no host"));
        }
        config.ssl_mode(match tls {
            TlsMode::Disable => SslMode::Disable,
            TlsMode::Prefer => SslMode::Prefer,
            TlsMode::Require | TlsMode::VerifyFull => SslMode::Require,
        });
        if let Some(password) = &self.password {
            config.password(password);
        }
        config.application_name(&self.application_name).connect_timeout(self.connect_timeout);
        config.tcp_user_timeout(self.statement_timeout).keepalives_idle(Duration::from_secs(30));
        let place = place(&config);
        Ok(Target { config, tls, root_certificate, place })
    }
}

impl fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.target().map_or_else(|error| error.to_string(), |target| target.place);
        f.debug_struct("PostgresOptions")
            .field("url", &place)
            .field("schema", &self.schema)
            .field("durability", &self.durability)
            .field("writers", &self.writers)
            .field("readers", &self.readers)
            .field("queue_requests", &self.queue_requests)
            .field("queue_bytes", &self.queue_bytes)
            .field("batch_requests", &self.batch_requests)
            .field("batch_bytes", &self.batch_bytes)
            .field("payload_bytes_max", &self.payload_bytes_max)
            .field("connect_timeout", &self.connect_timeout)
            .field("statement_timeout", &self.statement_timeout)
            .field("pooler", &self.pooler)
            .finish_non_exhaustive()
    }
}

impl TlsMode {
    fn parse(text: &str) -> Result<Self, PostgresOpenError> {
        match text {
            "disable" => Ok(Self::Disable),
            "prefer" => Ok(Self::Prefer),
            "require" => Ok(Self::Require),
            "verify-full" => Ok(Self::VerifyFull),
            other => {
                let reason = format!("sslmode is {other:?}, but must be disable, prefer, require or verify-full");
                Err(PostgresOpenError::Url { reason })
            }
        }
    }
}

/// Where a connection goes, for people; never with the password.
fn place(config: &Config) -> String {
    let hosts = config.get_hosts().iter().map(|host| match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(path) => path.display().to_string(),
    });
    let addresses = config.get_hostaddrs().iter().map(ToString::to_string);
    let names: Vec<String> = if config.get_hosts().is_empty() { addresses.collect() } else { hosts.collect() };
    let ports = config.get_ports();
    let named = names.iter().enumerate().map(|(n, name)| {
        let port = ports.get(n).or(ports.first()).copied().unwrap_or(5432);
        format!("{name}:{port}")
    });
    let user = config.get_user().map(|user| format!("{user}@")).unwrap_or_default();
    let database = config.get_dbname().map(|name| format!("/{name}")).unwrap_or_default();
    format!("{user}{}{database}", named.collect::<Vec<_>>().join(","))
}

/// An error with what caused it.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let said = next.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = next.source();
    }
    text
}

/// Percent-decoding, for paths in a URL.
fn unescaped(text: &str) -> String {
    let hex = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let (mut bytes, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((&first, tail)) = rest.split_first() {
        match tail.get(..2).filter(|_| first == b'%').and_then(hex) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_printed() {
        let mut options = PostgresOptions::new("postgres://me:hunter2@db.example:5433/shop?sslmode=require");
        options.password = Some("hunter3".into());
        let printed = format!("{options:?} {}", options.target().unwrap().place);
        assert!(printed.contains("me@db.example:5433/shop") && !printed.contains("hunter"), "{printed}");
    }

    #[test]
    fn an_address_that_cannot_be_meant_says_what_is_wrong() {
        for (url, reason) in [
            ("mysql://h/d", "postgres://"),
            ("postgres:///d", "host"),
            ("postgres://h/d?sslmode=on", "sslmode"),
            ("postgres://h/d?sslmode=verify-full", "sslrootcert"),
            ("postgres://h/d?colour=blue", "colour"),
            ("postgres://h:port/d", "port"),
        ] {
            let error = PostgresOptions::new(url).validate().unwrap_err().to_string();
            assert!(error.contains(reason), "{url}: {error}");
        }
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let options = PostgresOptions { schema: "Robert'); DROP".into(), ..PostgresOptions::new("postgres://h/d") };
        assert!(options.validate().unwrap_err().to_string().contains("schema"));
        let options = PostgresOptions { writers: 0, ..PostgresOptions::new("postgres://h/d") };
        assert!(options.validate().unwrap_err().to_string().contains("writers"));
    }
}
