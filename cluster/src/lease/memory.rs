//! [`InMemoryLeaseStore`]: leases of one process, for tests and for clusters within it.

use super::{LeaseFuture, LeaseRecord, LeaseStore, LeaseStoreError, Stored, Swapped, Version};
use actors::{Clock, Tick};
use parking_lot::Mutex;
use std::{collections::BTreeMap, sync::Arc};

/// Keeps leases in memory. Clones share them.
#[derive(Clone, Debug)]
pub struct InMemoryLeaseStore {
    clock: Clock,
    leases: Arc<Mutex<BTreeMap<String, Kept>>>,
}

#[derive(Clone, Debug)]
struct Kept {
    record: LeaseRecord,
    version: u64,
    written_at: Tick,
}

impl InMemoryLeaseStore {
    /// An empty one. `clock` tells how old its records are.
    pub fn new(clock: Clock) -> Self {
        Self { clock, leases: Arc::default() }
    }

    fn stored(&self, kept: &Kept) -> Stored {
        let age = Some(self.clock.now() - kept.written_at);
        Stored { record: kept.record.clone(), version: kept.version.into(), age }
    }
}

impl LeaseStore for InMemoryLeaseStore {
    fn read<'a>(&'a self, name: &'a str) -> LeaseFuture<'a, Result<Option<Stored>, LeaseStoreError>> {
        Box::pin(async move { Ok(self.leases.lock().get(name).map(|kept| self.stored(kept))) })
    }

    fn swap<'a>(
        &'a self,
        name: &'a str,
        expected: Option<&'a Version>,
        record: LeaseRecord,
    ) -> LeaseFuture<'a, Result<Swapped, LeaseStoreError>> {
        Box::pin(async move {
            let mut leases = self.leases.lock();
            let kept = leases.get(name);
            if kept.map(|kept| Version::from(kept.version)).as_ref() != expected {
                return Ok(Swapped::Changed(kept.map(|kept| self.stored(kept))));
            }
            let version = kept.map_or(0, |kept| kept.version) + 1;
            leases.insert(name.to_owned(), Kept { record, version, written_at: self.clock.now() });
            Ok(Swapped::Done(version.into()))
        })
    }
}
