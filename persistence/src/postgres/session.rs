//! One connection: making it, and sending it statements.

use super::{PostgresOpenError, PostgresOptions, error::open_error, options::Target, tls};
use crate::Durability;
use actors::Clock;
use futures_util::TryStreamExt;
use std::{collections::HashMap, pin::pin, time::Duration};
use tokio::task::JoinHandle;
use tokio_postgres::{
    Client, Error, NoTls, Row, Statement, Transaction,
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
    session: Session,
    settings: Option<String>, // where they last for a transaction only
}

/// Beyond the server's own limit of a statement: after that it is taken for lost.
const ANSWER_GRACE: Duration = Duration::from_secs(5);

impl PlainClient {
    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    pub(crate) async fn transaction(&mut self) -> Result<Transaction<'_>, Error> {
        let transaction = self.session.client.transaction().await?;
        if let Some(settings) = &self.settings {
            transaction.batch_execute(settings).await?;
        }
        Ok(transaction)
    }

    pub(crate) fn schema(&self) -> &str {
        &self.session.schema
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.session.is_closed() || self.session.link.is_finished()
    }
}

impl Sql {
    pub(crate) fn text(&self, schema: &str) -> String {
        in_schema(self.text, schema)
    }

    /// Parameters with their types, for a statement that is sent without a name.
    pub(crate) fn typed<'a>(&self, parameters: &[Parameter<'a>]) -> Vec<(Parameter<'a>, Type)> {
        parameters.iter().copied().zip(self.types.iter().cloned()).collect()
    }
}

/// A statement's text for a schema, whose name is quoted: it may begin with a digit, or be a word of the language.
pub(crate) fn in_schema(text: &str, schema: &str) -> String {
    text.replace("{schema}", &format!("\"{schema}\""))
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

    /// How long to wait for an answer.
    pub(crate) fn answer_within(&self) -> Duration {
        self.options.statement_timeout + ANSWER_GRACE
    }

    /// What the server answers, unless it takes too long.
    pub(crate) async fn answer<T>(
        &self,
        asked: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, PostgresOpenError> {
        self.within(self.answer_within(), asked).await
    }

    /// Connects, and prepares `statements` unless a pooler stands between.
    pub(crate) async fn connect(&self, statements: &[&'static Sql]) -> Result<Session, PostgresOpenError> {
        let connected = Box::pin(async {
            let mut session = self.session().await?;
            if !self.options.pooler {
                session.execute(&self.settings("SET")).await?;
                for sql in statements {
                    let prepared = session.client.prepare_typed(&sql.text(&session.schema), sql.types).await?;
                    session.prepared.insert(sql.text, prepared);
                }
            }
            Ok(session)
        });
        self.within(self.connect_within(), connected).await
    }

    /// A connection for statements that are not ours, with nothing but the time limits set.
    pub(crate) async fn connect_plain(&self) -> Result<PlainClient, PostgresOpenError> {
        let connected = Box::pin(async {
            let session = self.session().await?;
            if self.options.pooler {
                return Ok(PlainClient { session, settings: Some(self.limits("SET LOCAL")) });
            }
            session.execute(&self.limits("SET")).await?;
            Ok(PlainClient { session, settings: None })
        });
        self.within(self.connect_within(), connected).await
    }

    /// The driver tries the hosts one after the other, and what follows takes a time of its own.
    pub(crate) fn connect_within(&self) -> Duration {
        let config = &self.target.config;
        let hosts = config.get_hosts().len().max(config.get_hostaddrs().len());
        self.options.connect_timeout * u32::try_from(hosts + 1).unwrap_or(u32::MAX)
    }

    async fn within<T>(
        &self,
        within: Duration,
        asked: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, PostgresOpenError> {
        match self.clock.timeout(within, asked).await {
            Ok(answer) => answer.map_err(|error| self.error(&error)),
            Err(elapsed) => {
                let reason = format!("no answer: {elapsed}");
                Err(PostgresOpenError::Unreachable { place: self.place().to_owned(), reason })
            }
        }
    }

    async fn session(&self) -> Result<Session, Error> {
        let (client, link) = self.link().await?;
        let schema = self.options.schema.clone();
        let begin_read = self.options.pooler.then(|| format!("{} SET TRANSACTION READ ONLY;", self.begin()));
        Ok(Session { client, link, schema, prepared: HashMap::new(), begin_read })
    }

    async fn link(&self) -> Result<(Client, JoinHandle<()>), Error> {
        let mut config = self.target.config.clone();
        if config.get_hosts().len().max(config.get_hostaddrs().len()) > 1 {
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
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
        let limits = self.limits(set);
        format!(
            "{synchronous}{limits}{{set}} enable_seqscan = off;{{set}} enable_bitmapscan = off;\
             {{set}} max_parallel_workers_per_gather = 0;{{set}} jit = off;\
             {{set}} plan_cache_mode = force_generic_plan;"
        )
        .replace("{set}", set)
        .replace("{local}", local)
    }

    /// For whatever runs in a transaction: one that does nothing holds locks, and the feeds of all.
    fn limits(&self, set: &str) -> String {
        let timeout = self.options.statement_timeout.as_millis();
        format!("{set} statement_timeout = {timeout};{set} idle_in_transaction_session_timeout = {timeout};")
    }
}

impl Session {
    /// Sends at once, when first polled, in one flight: futures polled in order are served in order.
    pub(crate) async fn query(&self, sql: &'static Sql, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, Error> {
        if let Some(statement) = self.prepared.get(sql.text) {
            return self.client.query(statement, parameters).await;
        }
        self.client.query_typed(&sql.text(&self.schema), &sql.typed(parameters)).await
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

    /// As [`read`](Self::read), row by row as they come.
    pub(crate) async fn read_each(
        &self,
        sql: &'static Sql,
        parameters: &[Parameter<'_>],
        mut take: impl FnMut(&Row) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let (None, Some(statement)) = (&self.begin_read, self.prepared.get(sql.text)) else {
            return self.read(sql, parameters).await?.iter().try_for_each(take);
        };
        let mut rows = pin!(self.client.query_raw(statement, parameters.iter().copied()).await?);
        while let Some(row) = rows.try_next().await? {
            take(&row)?;
        }
        Ok(())
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
