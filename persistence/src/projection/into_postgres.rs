//! Items into the tables of a PostgreSQL database, with the offset in the same transaction.

use super::{
    Envelope, ProjectionFence, ProjectionId, ProjectionStore,
    postgres::{DROP, LOCK, SAVE_OFFSET, offset_columns},
    sink::{Sink, Work},
    state::Applied,
};
use crate::{
    AppendError, BoxFuture, Offset, PostgresStore,
    postgres::{PlainClient, clamped},
};
use actors::{BoxError, Clock};
use futures_util::FutureExt;
use std::sync::Arc;
use tokio::sync::Mutex;
use tokio_postgres::{Error, Transaction, error::SqlState};

/// What a user does with an item in a transaction.
pub(super) type PostgresHandler<I> =
    dyn for<'t> Fn(&'t Transaction<'t>, &'t I) -> BoxFuture<'t, Result<(), BoxError>> + Send + Sync;

/// A projection's own connection, made when it is needed.
pub(super) struct IntoPostgres<I> {
    pub(super) store: PostgresStore,
    pub(super) handler: Arc<PostgresHandler<I>>,
    pub(super) client: Arc<Mutex<Option<PlainClient>>>,
}

/// How an attempt at some items ended.
enum Attempt {
    Committed,
    /// All was rolled back: the item with this place failed.
    Failed(usize, String),
}

impl<I: Envelope> Sink<I> for IntoPostgres<I> {
    fn store(&self) -> Arc<dyn ProjectionStore> {
        Arc::new(self.store.clone())
    }

    fn work(&self, work: Work<I>, _: &Clock) -> BoxFuture<'static, Result<Applied, AppendError>> {
        let (store, handler, client) = (self.store.clone(), Arc::clone(&self.handler), Arc::clone(&self.client));
        async move {
            let mut slot = client.lock().await;
            // A connection whose work ended badly, or not at all, is not used again.
            let mut client = match slot.take() {
                Some(client) if !client.is_closed() => client,
                _ => store.plain_client().await.map_err(|error| unavailable(&error))?,
            };
            let mut count = work.items.len();
            let mut applied = Applied { done: count, failure: None };
            // Those before a bad one are handled again without it: nothing of it stays.
            loop {
                match attempt(&mut client, &work, count, &*handler).await? {
                    Attempt::Committed => break,
                    Attempt::Failed(place, reason) => {
                        applied = Applied { done: place, failure: Some(reason) };
                        count = place;
                    }
                }
                if count == 0 {
                    break;
                }
            }
            *slot = Some(client);
            Ok(applied)
        }
        .boxed()
    }
}

async fn attempt<I: Envelope>(
    client: &mut PlainClient,
    work: &Work<I>,
    count: usize,
    handler: &PostgresHandler<I>,
) -> Result<Attempt, AppendError> {
    let schema = client.schema().to_owned();
    let transaction = client.client().transaction().await.map_err(|error| unavailable(&error))?;
    check(&transaction, &schema, &work.fence).await?;
    for (place, item) in work.items[..count].iter().enumerate() {
        if let Err(error) = handler(&transaction, item).await {
            if is_the_stores(&error) {
                return Err(AppendError::Unavailable { reason: format!("the read model's database: {error}") });
            }
            transaction.rollback().await.map_err(|error| unavailable(&error))?;
            return Ok(Attempt::Failed(place, error.to_string()));
        }
    }
    match &work.replay_of {
        Some(parked) => {
            for item in &work.items[..count] {
                forget(&transaction, &schema, parked, item.offset()).await.map_err(|error| unavailable(&error))?;
            }
        }
        None => {
            if let Some(last) = work.items[..count].last() {
                save(&transaction, &schema, &work.fence, last.offset()).await.map_err(|error| unavailable(&error))?;
            }
        }
    }
    transaction.commit().await.map_err(|error| AppendError::Unknown { reason: error.to_string() })?;
    Ok(Attempt::Committed)
}

/// Whether the fence is the last one claimed, and stays so until the transaction ends.
async fn check(transaction: &Transaction<'_>, schema: &str, fence: &ProjectionFence) -> Result<(), AppendError> {
    let locked = async {
        let statement = transaction.prepare_typed(&LOCK.text(schema), LOCK.types).await?;
        let (group, source) = (&*fence.projection.group, &*fence.projection.source);
        transaction.query_opt(&statement, &[&group, &source]).await?.map(|row| row.try_get::<_, i64>(0)).transpose()
    };
    let current = locked.await.map_err(|error: Error| unavailable(&error))?.unwrap_or(0) as u64;
    if current == fence.epoch { Ok(()) } else { Err(AppendError::Stale { held: fence.epoch, current }) }
}

async fn save(
    transaction: &Transaction<'_>,
    schema: &str,
    fence: &ProjectionFence,
    offset: Offset,
) -> Result<(), Error> {
    let statement = transaction.prepare_typed(&SAVE_OFFSET.text(schema), SAVE_OFFSET.types).await?;
    let (group, source) = (&*fence.projection.group, &*fence.projection.source);
    let (generation, tx, ordering) = offset_columns(offset);
    let epoch = clamped(fence.epoch);
    transaction.execute(&statement, &[&group, &source, &epoch, &generation, &tx, &ordering]).await.map(drop)
}

/// A parked item that was handled after all, whoever had parked it.
async fn forget(transaction: &Transaction<'_>, schema: &str, by: &ProjectionId, offset: Offset) -> Result<(), Error> {
    let statement = transaction.prepare_typed(&DROP.text(schema), DROP.types).await?;
    let (group, source) = (&*by.group, &*by.source);
    let (generation, tx, ordering) = offset_columns(offset);
    transaction.query(&statement, &[&group, &source, &generation, &tx, &ordering]).await.map(drop)
}

fn unavailable(error: &impl std::fmt::Display) -> AppendError {
    AppendError::Unavailable { reason: error.to_string() }
}

/// Whether it is the database that fails, and not this item: then no other item would fare better.
fn is_the_stores(error: &BoxError) -> bool {
    let Some(error) = error.downcast_ref::<Error>() else { return false };
    let classes = ["08", "40", "53", "57", "58"]; // connection, conflicts, resources, operator, system
    error.is_closed()
        || error.code().map(SqlState::code).is_some_and(|code| classes.iter().any(|of| code.starts_with(of)))
}
