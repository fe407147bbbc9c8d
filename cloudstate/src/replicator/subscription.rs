//! Following a key.

use std::sync::Arc;

use tokio::sync::watch;

use super::store::{Content, Store};
use crate::crdt::Crdt;

/// What happened to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// This is its value now.
    Changed(Arc<Crdt>),
    /// It was deleted. This is the last notice.
    Deleted,
}

/// Follows a key until it is dropped.
pub struct Subscription {
    store: Arc<Store>,
    key: Arc<str>,
    /// Gone only while dropping.
    receiver: Option<watch::Receiver<Content>>,
}

impl Subscription {
    pub(super) fn new(store: Arc<Store>, key: &str) -> Self {
        let receiver = Some(store.follow(key));
        Self { store, key: Arc::from(key), receiver }
    }

    /// Waits for the next notice: the value as it is by then, whatever was in between. Own changes are noticed like others'.
    /// After [`Notice::Deleted`] it waits for ever. Cancel safe.
    pub async fn next(&mut self) -> Notice {
        if let Some(receiver) = &mut self.receiver {
            // An error means that the store is gone, which this holds.
            while receiver.changed().await.is_ok() {
                match &*receiver.borrow_and_update() {
                    Content::Value(value) => return Notice::Changed(Arc::clone(value)),
                    Content::Deleted => return Notice::Deleted,
                    Content::Absent | Content::Retired => {}
                }
            }
        }
        std::future::pending().await
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        let receiver = self.receiver.take();
        let empty = receiver.is_some_and(|receiver| matches!(*receiver.borrow(), Content::Absent));
        if empty {
            self.store.release(&self.key);
        }
    }
}

impl std::fmt::Debug for Subscription {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subscription").field("key", &self.key).finish_non_exhaustive()
    }
}
