//! [`OpenStores`]: the three stores of one backend.

use crate::{Journal, RawEvent, RawSnapshot, RawState, SnapshotStore, StateStore};
use std::sync::Arc;

/// Journal, snapshots and states of one backend, open in this process. They share their epochs: a claim through one
/// holds for all.
#[derive(Clone)]
pub struct OpenStores {
    /// Events.
    pub journal: Arc<dyn Journal<RawEvent>>,
    /// Snapshots.
    pub snapshots: Arc<dyn SnapshotStore<RawSnapshot>>,
    /// Last states.
    pub states: Arc<dyn StateStore<RawState>>,
}

impl OpenStores {
    /// Of a store that is all three.
    #[must_use]
    pub fn of<S>(store: S) -> Self
    where
        S: Journal<RawEvent> + SnapshotStore<RawSnapshot> + StateStore<RawState> + Clone,
    {
        Self { journal: Arc::new(store.clone()), snapshots: Arc::new(store.clone()), states: Arc::new(store) }
    }
}
