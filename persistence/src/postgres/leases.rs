//! [`PostgresLeases`]: who is the only one for what, as rows that are changed by compare-and-swap.

use super::{
    PostgresOpenError, PostgresStore,
    columns::clamped,
    fault::Fault,
    session::{PlainClient, Sql, in_schema},
    storable,
};
use parking_lot::Mutex;
use std::{fmt, sync::Arc};
use tokio_postgres::{Error, Row, Transaction, types::Type};

/// Bytes of a name, and of an owner.
const TEXT_BYTES_MAX: usize = 1024;

/// Leases in the schema of a [`PostgresStore`], for as many processes as there are: one row per name, and a swap that fails
/// if the row changed. Made by [`PostgresStore::leases`]; a handle, cheap to clone.
///
/// What a lease is, who may take it and when, is not decided here: that is the business of whoever counts on it. With the
/// feature `cluster` this is a `cluster::LeaseStore`, over which `cluster::StoredLease` decides.
///
/// It has a connection of its own, so that a renewal never waits behind events, made when it is first needed and again when
/// it was lost. A swap that was answered is on the server's disk, whatever the store's durability. Leases are in no
/// `export`: a store that is filled by an `import` has none, and their tokens begin anew.
///
/// # Cancel safety
/// A call that is dropped may take effect all the same.
#[derive(Clone)]
pub struct PostgresLeases {
    store: PostgresStore,
    idle: Arc<Mutex<Option<PlainClient>>>,
}

/// A lease as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseRow {
    /// Who has it, if anybody.
    pub owner: Option<String>,
    /// Of the last grant. Never falls.
    pub token: u64,
    /// One more with each write, from 1 on.
    pub version: u64,
}

/// What came of a swap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseSwap {
    /// It is stored, as this version.
    Done(u64),
    /// Nothing was changed: this is stored, if anything is.
    Changed(Option<LeaseRow>),
}

/// Why leases did not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LeaseRowError {
    /// Nothing was changed; the same again may succeed.
    #[error("leases cannot be reached: {0}")]
    Unavailable(String),
    /// It was changed or not.
    #[error("it is not known whether the lease was written: {0}")]
    Unknown(String),
    /// Nothing was changed, and never will be by this request.
    #[error("a lease was refused: {0}")]
    Rejected(String),
}

static READ: Sql =
    Sql { text: "SELECT owner, token, version FROM {schema}.lease WHERE name = $1", types: &[Type::TEXT] };

static FIRST: Sql = Sql {
    text:
        "INSERT INTO {schema}.lease(name, owner, token, version, written_at) VALUES ($1, $2, $3, 1, clock_timestamp())
ON CONFLICT (name) DO NOTHING RETURNING version",
    types: &[Type::TEXT, Type::TEXT, Type::INT8],
};

/// A token that falls changes nothing.
static SWAP: Sql = Sql {
    text: "UPDATE {schema}.lease SET owner = $2, token = $3, version = version + 1, written_at = clock_timestamp()
WHERE name = $1 AND version = $4 AND token <= $3 RETURNING version",
    types: &[Type::TEXT, Type::TEXT, Type::INT8, Type::INT8],
};

/// The rest of a transaction must not be acknowledged before it is on the disk, as far as the server is asked.
const DURABLE: &str =
    "SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'";

impl PostgresStore {
    /// The leases beside this store's events.
    ///
    /// With the feature `cluster` they decide who of a cluster goes on when members cannot reach each other, even if more than
    /// half of them are lost: a side that reaches this store. All nodes open the same database and schema.
    ///
    /// ```no_run
    /// use actors::ActorSystem;
    /// use cluster::{Cluster, ClusterConfig, Downing};
    /// use persistence::{PostgresOptions, PostgresStore};
    /// use std::sync::Arc;
    ///
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let system = ActorSystem::new("shop");
    /// let options = PostgresOptions::new("postgres://shop@db.example/shop");
    /// let store = PostgresStore::open(options, system.clock().clone()).await?;
    ///
    /// let mut config = ClusterConfig::local(2551);
    /// config.downing = Downing::StoreMajority { role: None };
    /// config.lease_store = Some(Arc::new(store.leases()));
    /// let cluster = Cluster::join(&system, config).await?;
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn leases(&self) -> PostgresLeases {
        PostgresLeases { store: self.clone(), idle: Arc::default() }
    }
}

impl fmt::Debug for PostgresLeases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresLeases").finish_non_exhaustive()
    }
}

impl PostgresLeases {
    /// What is stored for `name`.
    ///
    /// # Errors
    /// Never [`LeaseRowError::Unknown`].
    pub async fn read(&self, name: &str) -> Result<Option<LeaseRow>, LeaseRowError> {
        check("name", name)?;
        self.with_client(async |client| {
            let schema = client.schema().to_owned();
            let transaction = client.transaction().await.map_err(unchanged)?;
            let found = read(&transaction, &schema, name).await.map_err(unchanged)?;
            transaction.commit().await.map_err(unchanged)?;
            Ok(found)
        })
        .await
        .map_err(|error| match error {
            LeaseRowError::Unknown(reason) => LeaseRowError::Unavailable(reason),
            other => other,
        })
    }

    /// Stores `owner` and `token` for `name` if what is stored still has version `expected`; `None`: if nothing is stored.
    ///
    /// # Errors
    /// [`LeaseRowError::Rejected`] for a token below that of the version expected.
    pub async fn swap(
        &self,
        name: &str,
        expected: Option<u64>,
        owner: Option<&str>,
        token: u64,
    ) -> Result<LeaseSwap, LeaseRowError> {
        check("name", name)?;
        owner.map_or(Ok(()), |owner| check("owner", owner))?;
        let number = i64::try_from(token).map_err(|_| {
            LeaseRowError::Rejected(format!("token {token} is above {}, the largest that can be stored", i64::MAX))
        })?;
        let swapped = self
            .with_client(async |client| {
                let schema = client.schema().to_owned();
                let transaction = client.transaction().await.map_err(unchanged)?;
                transaction.batch_execute(DURABLE).await.map_err(unchanged)?;
                let rows = match expected {
                    None => {
                        let first = FIRST.typed(&[&name, &owner, &number]);
                        transaction.query_typed(&FIRST.text(&schema), &first).await
                    }
                    Some(expected) => {
                        let version = clamped(expected);
                        let swap = SWAP.typed(&[&name, &owner, &number, &version]);
                        transaction.query_typed(&SWAP.text(&schema), &swap).await
                    }
                };
                let swapped = match rows.map_err(unchanged)?.first() {
                    Some(row) => LeaseSwap::Done(row.get::<_, i64>(0) as u64),
                    None => LeaseSwap::Changed(read(&transaction, &schema, name).await.map_err(unchanged)?),
                };
                transaction.commit().await.map_err(|error| match Fault::in_commit(&error) {
                    Fault::Refused(reason)
                    | Fault::Contended(reason)
                    | Fault::Unavailable(reason)
                    | Fault::Leaving(reason)
                    | Fault::Lost(reason) => LeaseRowError::Unknown(reason),
                })?;
                Ok(swapped)
            })
            .await?;
        match &swapped {
            LeaseSwap::Changed(Some(row)) if Some(row.version) == expected => Err(LeaseRowError::Rejected(format!(
                "token {token} of lease {name:?} is below {}, which was granted before",
                row.token
            ))),
            _ => Ok(swapped),
        }
    }

    /// A connection whose work ended badly, or not at all, is not used again.
    async fn with_client<T>(
        &self,
        work: impl AsyncFnOnce(&mut PlainClient) -> Result<T, LeaseRowError>,
    ) -> Result<T, LeaseRowError> {
        let idle = self.idle.lock().take().filter(|client| !client.is_closed());
        let mut client = match idle {
            Some(client) => client,
            None => self.store.plain_client().await.map_err(unreachable)?,
        };
        let within = self.store.answer_within();
        let answer = self.store.clock().timeout(within, work(&mut client)).await;
        let answer = answer.map_err(|elapsed| LeaseRowError::Unknown(format!("no answer: {elapsed}")))?;
        if answer.is_ok() {
            *self.idle.lock() = Some(client);
        }
        answer
    }
}

async fn read(transaction: &Transaction<'_>, schema: &str, name: &str) -> Result<Option<LeaseRow>, Error> {
    let rows = transaction.query_typed(&in_schema(READ.text, schema), &READ.typed(&[&name])).await?;
    Ok(rows.first().map(|row: &Row| LeaseRow {
        owner: row.get(0),
        token: row.get::<_, i64>(1) as u64,
        version: row.get::<_, i64>(2) as u64,
    }))
}

/// Of an error before the commit was sent.
fn unchanged(error: Error) -> LeaseRowError {
    match Fault::before_commit(&error) {
        Fault::Refused(reason) => LeaseRowError::Rejected(reason),
        Fault::Contended(reason) | Fault::Unavailable(reason) | Fault::Leaving(reason) | Fault::Lost(reason) => {
            LeaseRowError::Unavailable(reason)
        }
    }
}

fn unreachable(error: PostgresOpenError) -> LeaseRowError {
    LeaseRowError::Unavailable(error.to_string())
}

fn check(what: &str, text: &str) -> Result<(), LeaseRowError> {
    if text.is_empty() || text.len() > TEXT_BYTES_MAX {
        return Err(LeaseRowError::Rejected(format!(
            "{what} of a lease has {} bytes, 1 to {TEXT_BYTES_MAX} are possible",
            text.len()
        )));
    }
    storable(what, text).map_err(LeaseRowError::Rejected)
}

/// Who wants the lease of an owner that is gone waits until it has watched it expire: a server's clock may be set, and another
/// server that takes its place may have another one.
#[cfg(feature = "cluster")]
impl cluster::LeaseStore for PostgresLeases {
    fn read<'a>(
        &'a self,
        name: &'a str,
    ) -> cluster::LeaseFuture<'a, Result<Option<cluster::Stored>, cluster::LeaseStoreError>> {
        Box::pin(async move {
            let found = Self::read(self, name).await.map_err(for_cluster)?;
            Ok(found.map(stored))
        })
    }

    fn swap<'a>(
        &'a self,
        name: &'a str,
        expected: Option<&'a cluster::Version>,
        record: cluster::LeaseRecord,
    ) -> cluster::LeaseFuture<'a, Result<cluster::Swapped, cluster::LeaseStoreError>> {
        Box::pin(async move {
            // A version that is no number was never one of these rows'.
            let expected = expected.map(|version| version.0.parse().unwrap_or(0));
            let owner = record.owner.as_ref().map(cluster::LeaseOwner::as_str);
            let swapped = Self::swap(self, name, expected, owner, record.token).await.map_err(for_cluster)?;
            Ok(match swapped {
                LeaseSwap::Done(version) => cluster::Swapped::Done(version.into()),
                LeaseSwap::Changed(row) => cluster::Swapped::Changed(row.map(stored)),
            })
        })
    }
}

#[cfg(feature = "cluster")]
fn stored(row: LeaseRow) -> cluster::Stored {
    let owner = row.owner.map(cluster::LeaseOwner::from_stored);
    let record = cluster::LeaseRecord { owner, token: row.token };
    cluster::Stored { record, version: row.version.into(), age: None }
}

#[cfg(feature = "cluster")]
fn for_cluster(error: LeaseRowError) -> cluster::LeaseStoreError {
    cluster::LeaseStoreError(error.into())
}
