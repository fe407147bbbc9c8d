//! [`RetentionGuard`]: who still needs events that a snapshot has made superfluous for their entity.

use crate::{BoxFuture, JournalError, PersistenceId};
use std::sync::Arc;

/// Says how far the events of an entity may be deleted.
pub trait RetentionGuard: Send + Sync + 'static {
    /// The highest sequence number not above `up_to` whose event, and all before it, nobody has to read any more; 0 when
    /// somebody needs the first.
    ///
    /// # Errors
    /// When it cannot be found out: then nothing is deleted.
    fn read_to(&self, id: PersistenceId, up_to: u64) -> BoxFuture<'static, Result<u64, JournalError>>;
}

impl<T: RetentionGuard + ?Sized> RetentionGuard for Arc<T> {
    fn read_to(&self, id: PersistenceId, up_to: u64) -> BoxFuture<'static, Result<u64, JournalError>> {
        (**self).read_to(id, up_to)
    }
}
