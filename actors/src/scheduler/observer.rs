//! [`Observer`]: sees the carriers of a scheduler and keeps none.

use std::sync::Weak;

use super::WorkerState;
use super::pool::Pool;

/// Reads what carriers write down about themselves anyway.
pub(crate) struct Observer(pub(super) Weak<Pool>);

impl Observer {
    /// The carriers; `None` once the scheduler has stopped.
    pub(crate) fn workers(&self) -> Option<Vec<WorkerState>> {
        self.0.upgrade().filter(|pool| !pool.is_stopped()).map(|pool| pool.workers())
    }
}
