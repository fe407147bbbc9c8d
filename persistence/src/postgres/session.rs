//! One connection: making it, and sending it statements.

use super::{PostgresOpenError, PostgresOptions, error::open_error, options::Target, tls};
use crate::Durability;
use actors::Clock;
use std::collections::HashMap;
use tokio::task::JoinHandle;
use tokio_postgres::{
    Client, Config, Error, NoTls, Row, Statement,
    config::TargetSessionAttrs,
    types::{ToSql, Type},
};
use tokio_postgres_rustls::MakeRustlsConnect;

/// A statement of ours: its text, with `{schema}` for the schema, and the types of its parameters.
#[derive(Debug)]
pub(crate) struct Sql {
    pub(crate) text: &'static str,
    pub(crate) types: &'static [Type],
}

pub(crate) type Parameter<'a> = &'a (dyn ToSql + Sync);

/// What is needed to make a connection.
pub(crate) struct Connector {
    target: Target,
    tls: Option<MakeRustlsConnect>,
    options: PostgresOptions,
    clock: Clock,
}

/// An open connection.
pub(crate) struct Session {
    client: Client,
    link: JoinHandle<()>,
    schema: String,
    prepared: HashMap<&'static str, Statement>, // by the text of the statement
    begin_read: Option<String>,                 // where settings last for a transaction only
}

/// A connection for statements that are not ours.
pub(crate) struct PlainClient {
    client: Client,
    link: JoinHandle<()>,
    schema: String,
}

impl PlainClient {
    pub(crate) fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    pub(crate) fn schema(&self) -> &str {
        &self.schema
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.client.is_closed() || self.link.is_finished()
    }
}

impl Sql {
    pub(crate) fn text(&self, schema: &str) -> String {
        self.text.replace("{schema}", schema)
    }
}

impl Connector {
    pub(crate) fn new(options: &PostgresOptions, clock: &Clock) -> Result<Self, PostgresOpenError> {
        options.validate()?;
        let target = options.target()?;
        let tls = tls::connector(&target)?;
        Ok(Self { target, tls, options: options.clone(), clock: clock.clone() })
    }

    pub(crate) fn options(&self) -> &PostgresOptions {
        &self.options
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(crate) fn place(&self) -> &str {
        &self.target.place
    }

    /// Connections of a whole store: writers, readers, and two that remove and watch.
    pub(crate) fn needed(&self) -> usize {
        self.options.writers + self.options.readers + 2
    }

    pub(crate) fn error(&self, error: &Error) -> PostgresOpenError {
        open_error(error, self.place(), &self.options.schema, self.needed())
    }

    /// Connects, and prepares `statements` unless a pooler stands between.
    pub(crate) async fn connect(&self, statements: &[&'static Sql]) -> Result<Session, PostgresOpenError> {
        let within = self.options.connect_timeout * 2;
        let connected = self.clock.timeout(within, self.connect_now(statements)).await;
        connected.unwrap_or_else(|elapsed| {
            Err(PostgresOpenError::Unreachable { place: self.place().to_owned(), reason: elapsed.to_string() })
        })
    }

    async fn connect_now(&self, statements: &[&'static Sql]) -> Result<Session, PostgresOpenError> {
        let mut config = self.target.config.clone();
        if config.get_hosts().len().max(config.get_hostaddrs().len()) > 1 {
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        let (client, link) = self.link(&config).await.map_err(|error| self.error(&error))?;
        let schema = self.options.schema.clone();
        let begin_read = self.options.pooler.then(|| format!("{} SET TRANSACTION READ ONLY;", self.begin()));
        let mut session = Session { client, link, schema, prepared: HashMap::new(), begin_read };
        if !self.options.pooler {
            session.client.batch_execute(&self.settings("SET")).await.map_err(|error| self.error(&error))?;
            for sql in statements {
                let text = sql.text(&session.schema);
                let prepared = session.client.prepare_typed(&text, sql.types).await;
                session.prepared.insert(sql.text, prepared.map_err(|error| self.error(&error))?);
            }
        }
        Ok(session)
    }

    /// A connection for statements that are not ours, with nothing but the time limit set.
    pub(crate) async fn connect_plain(&self) -> Result<PlainClient, PostgresOpenError> {
        let within = self.options.connect_timeout * 2;
        let connected = async {
            let (client, link) = self.link(&self.target.config).await?;
            let timeout = self.options.statement_timeout.as_millis();
            if !self.options.pooler {
                client.batch_execute(&format!("SET statement_timeout = {timeout}")).await?;
            }
            Ok::<_, Error>(PlainClient { client, link, schema: self.options.schema.clone() })
        };
        match self.clock.timeout(within, connected).await {
            Ok(connected) => connected.map_err(|error| self.error(&error)),
            Err(elapsed) => {
                Err(PostgresOpenError::Unreachable { place: self.place().to_owned(), reason: elapsed.to_string() })
            }
        }
    }

    async fn link(&self, config: &Config) -> Result<(Client, JoinHandle<()>), Error> {
        let ended = |result: Result<(), Error>| {
            if let Err(error) = result {
                tracing::debug!(error = %super::options::chain(&error), "connection to PostgreSQL ended");
            }
        };
        match &self.tls {
            None => {
                let (client, connection) = config.connect(NoTls).await?;
                Ok((client, tokio::spawn(async move { ended(connection.await) })))
            }
            Some(tls) => {
                let (client, connection) = config.connect(tls.clone()).await?;
                Ok((client, tokio::spawn(async move { ended(connection.await) })))
            }
        }
    }

    /// What every transaction that writes begins with.
    pub(crate) fn begin(&self) -> String {
        let settings = if self.options.pooler { self.settings("SET LOCAL") } else { String::new() };
        format!("BEGIN ISOLATION LEVEL READ COMMITTED;{settings}")
    }

    /// Plans are made once and go by index whatever the tables held then; nothing may wait for ever.
    fn settings(&self, set: &str) -> String {
        let synchronous = match self.options.durability {
            // `local`, `remote_write` and `remote_apply` are the server's business: each flushes to its own disk at least.
            Durability::Fsync => {
                "SELECT set_config('synchronous_commit', 'on', {local}) WHERE current_setting('synchronous_commit') = 'off';"
            }
            Durability::Os => "{set} synchronous_commit = off;",
        };
        let local = if set == "SET LOCAL" { "true" } else { "false" };
        let timeout = self.options.statement_timeout.as_millis();
        format!(
            "{synchronous}{{set}} statement_timeout = {timeout};{{set}} enable_seqscan = off;\
             {{set}} enable_bitmapscan = off;{{set}} max_parallel_workers_per_gather = 0;{{set}} jit = off;\
             {{set}} plan_cache_mode = force_generic_plan;{{set}} idle_in_transaction_session_timeout = {timeout};"
        )
        .replace("{set}", set)
        .replace("{local}", local)
    }
}

impl Session {
    /// Sends at once, when first polled, in one flight: futures polled in order are served in order.
    pub(crate) async fn query(&self, sql: &'static Sql, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, Error> {
        if let Some(statement) = self.prepared.get(sql.text) {
            return self.client.query(statement, parameters).await;
        }
        let typed: Vec<_> = parameters.iter().copied().zip(sql.types.iter().cloned()).collect();
        self.client.query_typed(&sql.text(&self.schema), &typed).await
    }

    /// As [`query`](Self::query), for a statement that is a transaction by itself and only reads.
    pub(crate) async fn read(&self, sql: &'static Sql, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, Error> {
        let Some(begin) = &self.begin_read else {
            return self.query(sql, parameters).await;
        };
        // `join!` polls them in this order, and each sends when it is first polled.
        let (begun, rows, ended) =
            futures_util::join!(self.execute(begin), self.query(sql, parameters), self.execute("COMMIT"));
        begun?;
        let rows = rows?;
        ended?;
        Ok(rows)
    }

    /// Sends text of one or more statements at once, when first polled.
    pub(crate) async fn execute(&self, text: &str) -> Result<(), Error> {
        self.client.batch_execute(text).await
    }

    /// For statements of others than the store.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // Whatever it was waiting for, nobody reads the answer any more.
        self.link.abort();
    }
}
