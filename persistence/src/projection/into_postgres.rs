//! Items into the tables of a PostgreSQL database, with the offset in the same transaction.

use super::{
    Envelope, ProjectionFence, ProjectionId, ProjectionStore,
    postgres::{DROP, LOCK, SAVE_OFFSET, offset_columns},
    sink::{Sink, Work, caught_later},
    state::Applied,
};
use crate::{
    AppendError, BoxFuture, Offset, PostgresStore,
    postgres::{PlainClient, chain, clamped},
};
use actors::{BoxError, Clock};
use futures_util::FutureExt;
use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};
use tokio_postgres::{Error, Transaction, error::SqlState};

/// What a user does with an item in a transaction.
pub(super) type PostgresHandler<I> =
    dyn for<'t> Fn(&'t Transaction<'t>, &'t I) -> BoxFuture<'t, Result<(), BoxError>> + Send + Sync;

/// What a user does with a group of items in a transaction.
pub(super) type PostgresGroupHandler<I> =
    dyn for<'t> Fn(&'t Transaction<'t>, &'t [Arc<I>]) -> BoxFuture<'t, Result<(), BoxError>> + Send + Sync;

/// What a user does in a transaction.
pub(super) enum PostgresHandling<I> {
    OneByOne(Box<PostgresHandler<I>>),
    ByGroup(Box<PostgresGroupHandler<I>>),
}

/// With connections of its own, made when they are needed: one for each instance that is at work.
pub(super) struct IntoPostgres<I> {
    pub(super) store: PostgresStore,
    pub(super) handler: Arc<PostgresHandling<I>>,
    pub(super) idle: Arc<Mutex<Vec<PlainClient>>>,
}

/// How an attempt at some items ended.
enum Attempt {
    Committed,
    /// Nothing was done: what was to be tried again is not parked any more.
    Gone,
    /// All was rolled back: the item with this place failed.
    Failed(usize, String),
}

/// How long anything may take that a server is asked for.
struct Patience {
    clock: Clock,
    within: Duration,
}

impl<I: Envelope> Sink<I> for IntoPostgres<I> {
    fn store(&self) -> Arc<dyn ProjectionStore> {
        Arc::new(self.store.clone())
    }

    fn work(&self, work: Work<I>, _: &Clock) -> BoxFuture<'static, Result<Applied, AppendError>> {
        let (store, handler, idle) = (self.store.clone(), Arc::clone(&self.handler), Arc::clone(&self.idle));
        async move {
            let patience = Patience { clock: store.clock().clone(), within: store.answer_within() };
            // A connection whose work ended badly, or not at all, is not used again.
            let idle_one = std::iter::from_fn(|| idle.lock().pop()).find(|client| !client.is_closed());
            let mut client = match idle_one {
                Some(client) => client,
                None => store.plain_client().await.map_err(|error| unavailable(&error))?,
            };
            let mut count = work.items.len();
            let mut applied = Applied { done: count, failure: None };
            // Those before a bad one are handled again without it: nothing of it stays.
            loop {
                match attempt(&mut client, &patience, &work, count, &*handler).await? {
                    Attempt::Committed => break,
                    Attempt::Gone => {
                        applied.done = 0;
                        break;
                    }
                    Attempt::Failed(place, reason) => {
                        applied = Applied { done: place, failure: Some(reason) };
                        count = place;
                    }
                }
                if count == 0 {
                    break;
                }
            }
            idle.lock().push(client);
            Ok(applied)
        }
        .boxed()
    }
}

impl Patience {
    async fn wait<T>(&self, asked: impl Future<Output = T>) -> Result<T, AppendError> {
        self.clock.timeout(self.within, asked).await.map_err(|elapsed| unavailable(&elapsed))
    }

    async fn answer<T>(&self, asked: impl Future<Output = Result<T, Error>>) -> Result<T, AppendError> {
        self.wait(asked).await?.map_err(|error| unavailable(&error))
    }
}

async fn attempt<I: Envelope>(
    client: &mut PlainClient,
    patience: &Patience,
    work: &Work<I>,
    count: usize,
    handler: &PostgresHandling<I>,
) -> Result<Attempt, AppendError> {
    let schema = client.schema().to_owned();
    let transaction = patience.answer(client.transaction()).await?;
    let current = patience.answer(epoch(&transaction, &schema, &work.fence.projection)).await?;
    if current != work.fence.epoch {
        return Err(AppendError::Stale { held: work.fence.epoch, current });
    }
    let items = &work.items[..count];
    if work.replay {
        // In the same transaction, and first: whoever else forgets or handles it waits, and finds it gone.
        for item in items {
            let parked = forget(&transaction, &schema, &work.fence.projection, item.offset());
            if patience.answer(parked).await? == 0 {
                patience.answer(transaction.rollback()).await?;
                return Ok(Attempt::Gone);
            }
        }
    }
    let failed = match handler {
        PostgresHandling::ByGroup(handle) => {
            let handled = patience.wait(caught_later(async { handle(&transaction, items).await })).await?;
            handled.err().map(|error| (0, error))
        }
        PostgresHandling::OneByOne(handle) => {
            let mut failed = None;
            for (place, item) in items.iter().enumerate() {
                let handled = patience.wait(caught_later(async { handle(&transaction, item).await })).await?;
                if let Err(error) = handled {
                    failed = Some((place, error));
                    break;
                }
            }
            failed
        }
    };
    if let Some((place, error)) = failed {
        if is_the_stores(&*error) {
            let reason = format!("the read model's database: {}", chain(&*error));
            return Err(AppendError::Unavailable { reason });
        }
        patience.answer(transaction.rollback()).await?;
        return Ok(Attempt::Failed(place, chain(&*error)));
    }
    if let (Some(last), false) = (work.items[..count].last(), work.replay) {
        patience.answer(save(&transaction, &schema, &work.fence, last.offset())).await?;
    }
    match patience.clock.timeout(patience.within, transaction.commit()).await {
        Ok(Ok(())) => Ok(Attempt::Committed),
        // Others were in the way, as a server finds out at the end where transactions are serializable.
        Ok(Err(error)) if is_of(&error, &["40"]) => Err(unavailable(&error)),
        Ok(Err(error)) => Err(AppendError::Unknown { reason: chain(&error) }),
        Err(elapsed) => Err(AppendError::Unknown { reason: elapsed.to_string() }),
    }
}

/// The epoch of the last one that claimed it, which stays so until the transaction ends.
async fn epoch(transaction: &Transaction<'_>, schema: &str, by: &ProjectionId) -> Result<u64, Error> {
    let (group, source) = (&*by.group, &*by.source);
    let rows = transaction.query_typed(&LOCK.text(schema), &LOCK.typed(&[&group, &source])).await?;
    Ok(rows.first().map_or(Ok(0), |row| row.try_get::<_, i64>(0))? as u64)
}

async fn save(
    transaction: &Transaction<'_>,
    schema: &str,
    fence: &ProjectionFence,
    offset: Offset,
) -> Result<(), Error> {
    let (group, source) = (&*fence.projection.group, &*fence.projection.source);
    let (generation, tx, ordering) = offset_columns(offset);
    let epoch = clamped(fence.epoch);
    let parameters = SAVE_OFFSET.typed(&[&group, &source, &epoch, &generation, &tx, &ordering]);
    transaction.query_typed(&SAVE_OFFSET.text(schema), &parameters).await.map(drop)
}

/// Forgets a parked item; how many there were.
async fn forget(transaction: &Transaction<'_>, schema: &str, by: &ProjectionId, offset: Offset) -> Result<i64, Error> {
    let (group, source) = (&*by.group, &*by.source);
    let (generation, tx, ordering) = offset_columns(offset);
    let parameters = DROP.typed(&[&group, &source, &generation, &tx, &ordering]);
    let rows = transaction.query_typed(&DROP.text(schema), &parameters).await?;
    rows.first().map_or(Ok(0), |row| row.try_get(0))
}

fn unavailable(error: &dyn std::error::Error) -> AppendError {
    AppendError::Unavailable { reason: chain(error) }
}

/// Whether it is the database that fails, and not this item: then no other item would fare better. The driver's error may
/// be wrapped in one of the handler's own. A statement that took too long is the item's: another one may be quicker.
fn is_the_stores(error: &(dyn std::error::Error + 'static)) -> bool {
    let mut causes = std::iter::successors(Some(error), |error| error.source());
    let Some(error) = causes.find_map(|error| error.downcast_ref::<Error>()) else { return false };
    error.is_closed()
        // Connection, conflicts, resources, operator, system.
        || is_of(error, &["08", "40", "53", "57", "58"]) && error.code() != Some(&SqlState::QUERY_CANCELED)
}

fn is_of(error: &Error, classes: &[&str]) -> bool {
    error.code().is_some_and(|code| classes.iter().any(|class| code.code().starts_with(class)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{FeedEvent, PersistenceId, Stored, postgres::real_server::store};

    /// What is told of an item that failed says what the server said, and those before it stay done.
    #[tokio::test]
    async fn what_a_failed_item_is_told_with_names_the_cause() {
        let (store, _) = store().await;
        let projection = ProjectionId { group: "model".into(), source: "all".into() };
        let fence = store.take_over(projection).await.unwrap().fence;
        let items = [1, 0, 1].into_iter().zip(1..).map(|(event, number)| {
            let stored = Stored { seq_nr: number, epoch: 1, time_ms: 0, event };
            Arc::new(FeedEvent { offset: Offset::of_ordering(number), id: PersistenceId::of("t", "1"), stored })
        });
        let handler: Box<PostgresHandler<FeedEvent<u64>>> = Box::new(|db, event| {
            Box::pin(async move {
                let divided = format!("SELECT 1 / {}", event.stored.event);
                db.batch_execute(&divided).await?;
                Ok(())
            })
        });
        let work = Work { fence, items: items.collect(), replay: false, within: Duration::from_secs(60) };
        let handler = Arc::new(PostgresHandling::OneByOne(handler));
        let sink = IntoPostgres { store: store.clone(), handler, idle: Arc::default() };
        let applied = sink.work(work, store.clock()).await.unwrap();
        let reason = applied.failure.expect("the second divides by zero");
        assert!(applied.done == 1 && reason.contains("division by zero"), "{} done, {reason}", applied.done);
    }

    #[derive(Debug, thiserror::Error)]
    #[error("of the handler")]
    struct Wrapped(#[source] Error);

    /// What is the database's is tried again; what is the item's is up to the projection's rule for failures.
    #[tokio::test]
    async fn the_databases_failures_are_told_from_the_items() {
        let (store, _) = store().await;
        let client = store.plain_client().await.unwrap();
        for (code, is_the_stores_own) in [
            ("40001", true),
            ("40P01", true),
            ("53100", true),
            ("57P01", true),
            ("57014", false),
            ("22012", false),
            ("23505", false),
        ] {
            let raise = format!("DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{code}'; END $$");
            let error = client.session().execute(&raise).await.unwrap_err();
            assert_eq!(is_the_stores(&error), is_the_stores_own, "{code}");
            assert_eq!(is_the_stores(&Wrapped(error)), is_the_stores_own, "{code}, wrapped");
        }
        assert!(!is_the_stores(&*BoxError::from("of the item")));
    }
}
