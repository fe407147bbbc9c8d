//! Where a projection's items go: [`Sink`], and the handlers of a user as sinks.

use super::{Envelope, ProjectionFence, ProjectionId, ProjectionStore, Selection, state::Applied};
use crate::{AppendError, BoxFuture, Offset};
use actors::{BoxError, Clock};
use futures_util::FutureExt;
use std::{sync::Arc, time::Duration};

/// Some items to be handled in order.
pub(crate) struct Work<I> {
    pub(crate) fence: ProjectionFence,
    pub(crate) items: Vec<Arc<I>>,
    /// They were parked by this consumer: they are forgotten there, and the offset stays where it is.
    pub(crate) replay_of: Option<ProjectionId>,
}

/// A handler with the store of its offsets.
pub(crate) trait Sink<I>: Send + Sync + 'static {
    fn store(&self) -> Arc<dyn ProjectionStore>;

    /// Handles as many as it can, in order.
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
    /// After so long it is somebody else's turn, for instance the offset's.
    pub(crate) within: Duration,
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
        let (handler, clock, until) = (Arc::clone(&self.handler), clock.clone(), clock.now() + self.within);
        let store = Arc::clone(&self.store);
        async move {
            let mut applied = Applied { done: 0, failure: None };
            for item in work.items {
                let offset = item.offset();
                if let Err(error) = handler(item).await {
                    applied.failure = Some(error.to_string());
                    break;
                }
                applied.done += 1;
                if let Some(parked) = &work.replay_of {
                    store.drop_parked(Selection::one(parked, offset)).await?;
                }
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
        let (handler, store) = (Arc::clone(&self.handler), Arc::clone(&self.store));
        async move {
            let offsets: Vec<_> = work.items.iter().map(|item| item.offset()).collect();
            if let Err(error) = handler(work.items).await {
                return Ok(Applied { done: 0, failure: Some(error.to_string()) });
            }
            if let Some(parked) = &work.replay_of {
                for offset in &offsets {
                    store.drop_parked(Selection::one(parked, *offset)).await?;
                }
            }
            Ok(Applied { done: offsets.len(), failure: None })
        }
        .boxed()
    }
}
