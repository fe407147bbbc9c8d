//! [`PostgresAdmin`]: a store on PostgreSQL, looked at from outside.

mod check;
mod copying;
mod export;
mod import;
mod offsets;
mod query;
mod read;
mod rows;

pub use import::PostgresImport;

use super::{
    AdminError, EntityHead, EntityQuery, EntitySummary, EventRecord, Finding, Progress, Record, Row, SnapshotRecord,
    StateRecord, StoreAdmin, StoreInfo, Totals,
};
use crate::{
    BoxFuture, Offset, PersistenceId, PostgresOptions, ReplayLimit,
    postgres::{Connector, Session, installed_version},
};
use actors::Clock;
use futures_util::{FutureExt, TryStreamExt, future::Either};
use std::{future::Future, pin::pin, sync::Arc, time::Duration};
use tokio::sync::mpsc;
use tokio_postgres::{Client, Error, Row as PgRow, RowStream, types::Type};

/// Between two looks at whether a task is still wanted.
const LOOK: Duration = Duration::from_millis(100);

/// A store on PostgreSQL, read by transactions that cannot write, whoever writes meanwhile.
///
/// A handle, cheap to clone. Each request makes a connection of its own. While one runs that takes long, the server cannot
/// remove rows that are deleted meanwhile, nowhere in the database.
#[derive(Clone)]
pub struct PostgresAdmin {
    connector: Arc<Connector>,
}

/// One read-only transaction: what it sees is one moment.
struct Moment {
    session: Session,
    place: String,
}

impl PostgresAdmin {
    /// Connects, and looks whether there is a store. One that was restored on another server can be looked at before it is
    /// adopted.
    ///
    /// # Errors
    /// [`AdminError::NoTables`], [`AdminError::OlderSchema`], or why the server cannot be asked.
    pub async fn open(options: PostgresOptions, clock: Clock) -> Result<Self, AdminError> {
        let connector = Connector::new(&options, &clock)?;
        let session = connector.connect(&[]).await?;
        let (found, supported) = installed_version(&connector, &session).await?;
        let place = || connector.place().to_owned();
        match found {
            0 => Err(AdminError::NoTables { place: place(), schema: options.schema }),
            found if found < supported => Err(AdminError::OlderSchema { place: place(), found, supported }),
            _ => Ok(Self { connector: Arc::new(connector) }),
        }
    }

    /// Does `work` in one moment, unless `progress` is cancelled first.
    fn run<T, F, W>(&self, progress: Progress, work: F) -> BoxFuture<'static, Result<T, AdminError>>
    where
        T: Send + 'static,
        F: FnOnce(Arc<Moment>) -> W + Send + 'static,
        W: Future<Output = Result<T, Stop>> + Send + 'static,
    {
        let connector = Arc::clone(&self.connector);
        async move {
            let moment = Arc::new(Moment::begin(&connector).await?);
            let place = connector.place().to_owned();
            wanted(connector.clock(), &progress, work(moment)).await.map_err(|stop| stop.at(&place))
        }
        .boxed()
    }

    /// Sends everything there is, as [`export`](StoreAdmin::export) does, for a copy to keep. If `findings` is given, the same
    /// moment is checked first, and nothing is sent when it is not sound.
    ///
    /// # Errors
    /// [`AdminError::Unsound`] when there are findings, which were sent; else as [`export`](StoreAdmin::export).
    pub fn backup(
        &self,
        progress: Progress,
        findings: Option<mpsc::Sender<Finding>>,
        records: mpsc::Sender<Vec<Record>>,
    ) -> BoxFuture<'static, Result<Totals, AdminError>> {
        let watched = progress.clone();
        self.run(progress, |moment| async move {
            if let Some(findings) = findings {
                check::sound(moment.client(), &watched, findings).await?;
            }
            export::export(moment.client(), &watched, records).await
        })
    }

    /// Runs one statement that reads, and sends its answer: first the names of its columns, as a row of texts, then the
    /// rows, until `rows` is closed. A statement that answers nothing sends nothing. Tables need no
    /// schema before their names.
    ///
    /// # Errors
    /// [`AdminError::Statement`] when the statement is wrong, is more than one, or would do anything but read.
    pub fn query(
        &self,
        sql: String,
        progress: Progress,
        rows: mpsc::Sender<Row>,
    ) -> BoxFuture<'static, Result<(), AdminError>> {
        self.run(progress, move |moment| async move { query::query(&moment, &sql, &rows).await })
    }
}

impl StoreAdmin for PostgresAdmin {
    fn kind(&self) -> &'static str {
        "postgres"
    }

    fn info(&self) -> BoxFuture<'static, Result<StoreInfo, AdminError>> {
        self.run(Progress::default(), |moment| async move { read::info(&moment).await })
    }

    fn entities(&self, query: EntityQuery) -> BoxFuture<'static, Result<Vec<EntitySummary>, AdminError>> {
        self.run(Progress::default(), |moment| async move { read::entities(&moment, &query).await })
    }

    fn head(&self, id: PersistenceId) -> BoxFuture<'static, Result<Option<EntityHead>, AdminError>> {
        self.run(Progress::default(), |moment| async move { read::head(&moment, &id).await })
    }

    fn events(
        &self,
        id: PersistenceId,
        from: u64,
        to: u64,
        limit: ReplayLimit,
    ) -> BoxFuture<'static, Result<Vec<EventRecord>, AdminError>> {
        self.run(Progress::default(), move |moment| async move { rows::events(&moment, &id, from, to, limit).await })
    }

    fn snapshot(&self, id: PersistenceId) -> BoxFuture<'static, Result<Option<SnapshotRecord>, AdminError>> {
        self.run(Progress::default(), |moment| async move { rows::newest_snapshot(&moment, &id).await })
    }

    fn state(&self, id: PersistenceId) -> BoxFuture<'static, Result<Option<StateRecord>, AdminError>> {
        self.run(Progress::default(), |moment| async move { rows::state(&moment, &id).await })
    }

    fn check(
        &self,
        progress: Progress,
        findings: mpsc::Sender<Finding>,
    ) -> BoxFuture<'static, Result<Totals, AdminError>> {
        let watched = progress.clone();
        self.run(progress, |moment| async move { check::check(moment.client(), &watched, &findings).await })
    }

    fn export(
        &self,
        progress: Progress,
        records: mpsc::Sender<Vec<Record>>,
    ) -> BoxFuture<'static, Result<Totals, AdminError>> {
        let watched = progress.clone();
        self.run(progress, |moment| async move { export::export(moment.client(), &watched, records).await })
    }
}

/// What a task of ours may do to the server: as long as it takes, by whatever plan is best. The server ends it when its
/// connection is gone, if it knows how to look.
pub(super) fn settings(schema: &str) -> String {
    format!(
        "SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0; \
         SET LOCAL enable_seqscan = on; SET LOCAL plan_cache_mode = auto; SET LOCAL search_path = \"{schema}\"; \
         SELECT set_config('client_connection_check_interval', '1000', true) \
         WHERE current_setting('client_connection_check_interval', true) IS NOT NULL"
    )
}

impl Moment {
    async fn begin(connector: &Connector) -> Result<Self, AdminError> {
        let session = connector.connect(&[]).await?;
        let begin = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; {}; SELECT count(*) FROM meta",
            settings(&connector.options().schema)
        );
        session.execute(&begin).await.map_err(|error| connector.error(&error))?;
        Ok(Self { session, place: connector.place().to_owned() })
    }

    fn client(&self) -> &Client {
        self.session.client()
    }
}

/// Ends `work` once `progress` is cancelled: its connection is then dropped.
async fn wanted<T>(clock: &Clock, progress: &Progress, work: impl Future<Output = Result<T, Stop>>) -> Result<T, Stop> {
    let cancelled = async {
        while !progress.is_cancelled() {
            clock.sleep(LOOK).await;
        }
    };
    match futures_util::future::select(pin!(work), pin!(cancelled)).await {
        Either::Left((done, _)) => done,
        Either::Right(((), _)) => Err(AdminError::Cancelled.into()),
    }
}

/// Why work on the database ended early.
enum Stop {
    Postgres(Error),
    Because(AdminError),
}

impl Stop {
    fn at(self, place: &str) -> AdminError {
        match self {
            Self::Because(error) => error,
            Self::Postgres(error) => {
                let reason = error.as_db_error().map_or_else(|| error.to_string(), |said| said.message().to_owned());
                AdminError::Failed { place: place.to_owned(), reason }
            }
        }
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Postgres(error)
    }
}

impl From<AdminError> for Stop {
    fn from(error: AdminError) -> Self {
        Self::Because(error)
    }
}

impl From<Finding> for Stop {
    fn from(finding: Finding) -> Self {
        Self::Because(AdminError::Damaged(finding))
    }
}

/// All rows of a statement that is no larger than its answer.
async fn all(
    client: &Client,
    sql: &str,
    parameters: &[(&(dyn tokio_postgres::types::ToSql + Sync), Type)],
) -> Result<Vec<PgRow>, Stop> {
    Ok(client.query_typed(sql, parameters).await?)
}

/// The rows of a statement, as they come; the server sends no more than are taken.
async fn stream(client: &Client, sql: &str) -> Result<RowStream, Stop> {
    let none: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 0] = [];
    Ok(client.query_typed_raw(sql, none).await?)
}

/// One number.
async fn count(client: &Client, sql: &str) -> Result<u64, Stop> {
    let rows = all(client, sql, &[]).await?;
    Ok(rows.first().map_or(0, |row| number(row.get(0))))
}

/// The next row of a stream.
async fn next(rows: &mut std::pin::Pin<&mut RowStream>) -> Result<Option<PgRow>, Stop> {
    Ok(rows.try_next().await?)
}

fn number(stored: i64) -> u64 {
    u64::try_from(stored).unwrap_or(0)
}

/// The offset in three columns from `column` on.
fn offset(row: &PgRow, column: usize) -> Offset {
    let (generation, tx, ordering): (i32, i64, i64) = (row.get(column), row.get(column + 1), row.get(column + 2));
    Offset::new(u32::try_from(generation).unwrap_or(0), number(tx), number(ordering))
}

fn id_of(text: &str) -> PersistenceId {
    // One without a separator is damage, which `check` names; here it is shown as it is.
    PersistenceId::parse(text).unwrap_or_else(|| PersistenceId::of("", text))
}
