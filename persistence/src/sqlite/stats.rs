//! Counters of a store, and the room left in its queue.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
};
use tokio::sync::watch;

/// What a store has done since it was opened.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    pub(crate) syncs: AtomicU64,
    pub(crate) batches: AtomicU64,
    pub(crate) events: AtomicU64,
    /// Raised with every commit that stored events: wakes those who follow them.
    pub(crate) events_stored: watch::Sender<u64>,
    /// Raised with every commit that stored states.
    pub(crate) states_stored: watch::Sender<u64>,
    pub(crate) queued_bytes: AtomicUsize,
    /// Set while the writer cannot vouch for what the file says: after a failed sync, until it was reopened. What
    /// readers see in the meantime may vanish with the power, so they must not answer.
    pub(crate) suspect: AtomicBool,
}

impl Stats {
    pub(crate) fn committed(&self, requests: usize, events: u64, states: u64, syncs: u64) {
        metrics::histogram!("persistence_batch_requests").record(requests as f64);
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.events.fetch_add(events, Ordering::Relaxed);
        metrics::counter!("persistence_batches_total").increment(1);
        metrics::counter!("persistence_events_total").increment(events);
        self.synced(syncs);
        if events > 0 {
            self.events_stored.send_modify(|commits| *commits += 1);
        }
        if states > 0 {
            self.states_stored.send_modify(|commits| *commits += 1);
        }
    }

    pub(crate) fn synced(&self, syncs: u64) {
        self.syncs.fetch_add(syncs, Ordering::Relaxed);
        metrics::counter!("persistence_syncs_total").increment(syncs);
    }
}

/// A share of the queue's bytes, given back on drop.
pub(crate) struct Backlog {
    stats: Arc<Stats>,
    bytes: usize,
}

impl Backlog {
    /// `None` when `bytes` more would exceed `limit`, unless nothing else waits. What weighs nothing always fits.
    pub(crate) fn reserve(stats: &Arc<Stats>, bytes: usize, limit: usize) -> Option<Self> {
        let before = stats.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        let backlog = Self { stats: Arc::clone(stats), bytes };
        (bytes == 0 || before == 0 || before.saturating_add(bytes) <= limit).then_some(backlog)
    }
}

impl Drop for Backlog {
    fn drop(&mut self) {
        self.stats.queued_bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
