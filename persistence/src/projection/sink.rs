//! Where a projection's items go: [`Sink`], and the handlers of a user as sinks.

use super::{Envelope, ProjectionFence, ProjectionStore, Selection, state::Applied};
use crate::{AppendError, BoxFuture, Offset};
use actors::{BoxError, Clock};
use futures_util::FutureExt;
use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Duration,
};

/// Some items to be handled in order.
pub(crate) struct Work<I> {
    pub(crate) fence: ProjectionFence,
    pub(crate) items: Vec<Arc<I>>,
    /// They are parked: each is handled only if it still is, and forgotten there; the offset stays where it is.
    pub(crate) replay: bool,
    /// After so long it is somebody else's turn, for instance the offset's. Of no account to what shares a transaction.
    pub(crate) within: Duration,
}

/// A handler with the store of its offsets.
pub(crate) trait Sink<I>: Send + Sync + 'static {
    fn store(&self) -> Arc<dyn ProjectionStore>;

    /// Handles as many as it can, in order. A handler that panics has failed on its item.
    ///
    /// # Errors
    /// Not the handler's: the store's. What it was is to be found out by reading the offset again.
    fn work(&self, work: Work<I>, clock: &Clock) -> BoxFuture<'static, Result<Applied, AppendError>>;

    /// Sets the offset, and what else is to begin anew.
    fn reset(&self, fence: ProjectionFence, offset: Offset) -> BoxFuture<'static, Result<(), AppendError>> {
        self.store().set_offset(fence, offset)
    }
}

type Handler<T> = dyn Fn(T) -> BoxFuture<'static, Result<(), BoxError>> + Send + Sync;

/// Items one by one, handled anywhere.
pub(crate) struct OneByOne<I> {
    pub(crate) store: Arc<dyn ProjectionStore>,
    pub(crate) handler: Arc<Handler<Arc<I>>>,
    /// One that was parked is forgotten before it is handled, not after.
    pub(crate) at_most_once: bool,
}

/// Groups of items, handled anywhere.
pub(crate) struct ByGroup<I> {
    pub(crate) store: Arc<dyn ProjectionStore>,
    pub(crate) handler: Arc<Handler<Vec<Arc<I>>>>,
}

impl<I: Envelope> Sink<I> for OneByOne<I> {
    fn store(&self) -> Arc<dyn ProjectionStore> {
        Arc::clone(&self.store)
    }

    fn work(&self, work: Work<I>, clock: &Clock) -> BoxFuture<'static, Result<Applied, AppendError>> {
        let Work { fence, items, replay, within } = work;
        let (handler, clock, until) = (Arc::clone(&self.handler), clock.clone(), clock.now() + within);
        let (store, first_forget) = (Arc::clone(&self.store), replay && self.at_most_once);
        async move {
            let mut applied = Applied { done: 0, failure: None };
            for item in items {
                let offset = item.offset();
                if replay && !is_parked(&*store, &fence, offset).await? {
                    break;
                }
                if first_forget {
                    store.unpark(fence.clone(), offset).await?;
                }
                if let Err(error) = caught_later(async { handler(item).await }).await {
                    applied.failure = Some(error.to_string());
                    break;
                }
                if replay && !first_forget {
                    store.unpark(fence.clone(), offset).await?;
                }
                applied.done += 1;
                if clock.now() >= until {
                    break;
                }
            }
            Ok(applied)
        }
        .boxed()
    }
}

impl<I: Envelope> Sink<I> for ByGroup<I> {
    fn store(&self) -> Arc<dyn ProjectionStore> {
        Arc::clone(&self.store)
    }

    fn work(&self, work: Work<I>, _: &Clock) -> BoxFuture<'static, Result<Applied, AppendError>> {
        let Work { fence, mut items, replay, .. } = work;
        let (handler, store) = (Arc::clone(&self.handler), Arc::clone(&self.store));
        async move {
            if replay {
                let mut still = Vec::with_capacity(items.len());
                for item in items {
                    if is_parked(&*store, &fence, item.offset()).await? {
                        still.push(item);
                    }
                }
                items = still;
                if items.is_empty() {
                    return Ok(Applied { done: 0, failure: None });
                }
            }
            let offsets: Vec<_> = items.iter().map(|item| item.offset()).collect();
            if let Err(error) = caught_later(async { handler(items).await }).await {
                return Ok(Applied { done: 0, failure: Some(error.to_string()) });
            }
            for offset in offsets.iter().filter(|_| replay) {
                store.unpark(fence.clone(), *offset).await?;
            }
            Ok(Applied { done: offsets.len(), failure: None })
        }
        .boxed()
    }
}

/// Whether nobody has handled or dropped it meanwhile.
async fn is_parked(store: &dyn ProjectionStore, fence: &ProjectionFence, offset: Offset) -> Result<bool, AppendError> {
    let count = store.parked_count(Selection::one(&fence.projection, offset)).await;
    count.map(|count| count > 0).map_err(|error| AppendError::Unavailable { reason: error.to_string() })
}

/// A panic of the handler is a failure of the item.
pub(crate) fn caught(handle: impl FnOnce() -> Result<(), BoxError>) -> Result<(), BoxError> {
    catch_unwind(AssertUnwindSafe(handle)).unwrap_or_else(|panic| Err(panicked(&*panic)))
}

/// As [`caught`], of a handler that takes its time.
pub(crate) async fn caught_later(handle: impl Future<Output = Result<(), BoxError>>) -> Result<(), BoxError> {
    AssertUnwindSafe(handle).catch_unwind().await.unwrap_or_else(|panic| Err(panicked(&*panic)))
}

fn panicked(panic: &(dyn Any + Send)) -> BoxError {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or_default();
    format!("the handler panicked: {text}").into()
}
