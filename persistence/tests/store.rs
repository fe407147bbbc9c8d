//! What several tests do with a store: write as one entity, and recover as an entity would.

use bytes::Bytes;
use persistence::{
    Append, AppendError, Fence, FenceScope, Journal, JournalError, PersistenceId, RawEvent, RawSnapshot, Recovery,
    RecoveryError, ReplayLimit, SnapshotStore, testkit::FaultyVfs,
};
use std::time::Duration;

/// An entity that owns its log.
pub(crate) struct Entity {
    pub(crate) id: PersistenceId,
    pub(crate) fence: Fence,
    pub(crate) highest: u64,
}

impl Entity {
    pub(crate) async fn claim(store: &impl Journal<RawEvent>, name: &str) -> Self {
        Self::claim_in(store, "test", name).await
    }

    pub(crate) async fn claim_in(store: &impl Journal<RawEvent>, entity_type: &str, name: &str) -> Self {
        let id = PersistenceId::of(entity_type, name);
        let fence = store.claim(FenceScope::Entity(id.clone())).await.unwrap();
        Self { highest: store.highest_seq(id.clone()).await.unwrap(), id, fence }
    }

    pub(crate) fn batch(&self, texts: &[impl AsRef<str>]) -> Append<RawEvent> {
        let event = |text: &str| RawEvent {
            manifest: "text/1".into(),
            payload: Bytes::copy_from_slice(text.as_bytes()),
            meta: None,
        };
        Append {
            id: self.id.clone(),
            expected_seq: self.highest + 1,
            fence: self.fence.clone(),
            batch_id: rand::random(),
            events: texts.iter().map(|text| event(text.as_ref())).collect(),
            tags: Vec::new(),
            time_ms: 1_700_000_000_000,
        }
    }

    pub(crate) async fn append(
        &mut self,
        store: &impl Journal<RawEvent>,
        texts: &[impl AsRef<str>],
    ) -> Result<(), AppendError> {
        self.highest = store.append(self.batch(texts)).await?;
        Ok(())
    }

    pub(crate) async fn save(
        &self,
        store: &impl SnapshotStore<RawSnapshot>,
        seq_nr: u64,
        text: &str,
    ) -> Result<(), AppendError> {
        let payload = Bytes::copy_from_slice(text.as_bytes());
        let snapshot = RawSnapshot { manifest: "text-state/1".into(), payload, meta: None };
        store.save(self.id.clone(), seq_nr, self.fence.clone(), 1_700_000_000_000, snapshot).await
    }

    pub(crate) async fn delete_to(&self, store: &impl Journal<RawEvent>, seq: u64) -> Result<(), AppendError> {
        store.delete_to(self.id.clone(), seq, self.fence.clone()).await
    }
}

/// What an entity would have in hand after recovery.
#[derive(Debug, PartialEq)]
pub(crate) struct Recovered {
    pub(crate) snapshot: Option<(u64, String)>,
    pub(crate) events: Vec<(u64, String)>,
    pub(crate) highest: u64,
}

#[derive(Debug)]
#[expect(dead_code, reason = "what a failing test prints")]
pub(crate) enum RecoverError {
    Journal(JournalError),
    Log(RecoveryError),
}

/// Recovers `id` with all checks, in pages as small as they get.
pub(crate) async fn recover(
    store: &(impl Journal<RawEvent> + SnapshotStore<RawSnapshot>),
    id: &PersistenceId,
) -> Result<Recovered, RecoverError> {
    let text = |bytes: &Bytes| String::from_utf8(bytes.to_vec()).unwrap();
    let mut recovery = Recovery::new(id.clone());
    let found = store.load(id.clone(), u64::MAX).await.map_err(RecoverError::Journal)?;
    recovery.snapshot(found.as_ref().map(|found| (found.seq_nr, found.epoch)));
    let snapshot = found.map(|found| (found.seq_nr, text(&found.snapshot.payload)));
    let mut events = Vec::new();
    let limit = ReplayLimit { events: 7, bytes: 100 };
    loop {
        let page =
            store.replay(id.clone(), recovery.next_seq(), u64::MAX, limit).await.map_err(RecoverError::Journal)?;
        if page.is_empty() {
            break;
        }
        for stored in page {
            recovery.event(stored.seq_nr, stored.epoch).map_err(RecoverError::Log)?;
            events.push((stored.seq_nr, text(&stored.event.payload)));
        }
    }
    let highest = store.highest_seq(id.clone()).await.map_err(RecoverError::Journal)?;
    recovery.finish(highest).map_err(RecoverError::Log)?;
    Ok(Recovered { snapshot, events, highest })
}

/// Longest wait for what must happen: only a test that fails waits that long.
const SOON: Duration = Duration::from_secs(60);

/// Fails the test when `wait` takes too long.
pub(crate) async fn soon<T>(what: &str, wait: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, wait).await.unwrap_or_else(|_| panic!("{what} did not happen"))
}

/// Waits until the writer stands in a sync of `disk` that was not there when it had made `before` of them.
pub(crate) async fn until_it_syncs(disk: FaultyVfs, before: u64) {
    let wait = async {
        while disk.syncs() == before {
            tokio::task::yield_now().await;
        }
    };
    soon("a sync", wait).await;
}

/// Asks until the store, which opens its file anew in its own time, is there.
pub(crate) async fn when_reopened<T>(ask: impl AsyncFn() -> Result<T, AppendError>) -> Result<T, AppendError> {
    let wait = async {
        loop {
            match ask().await {
                Err(AppendError::Unavailable { .. }) => tokio::time::sleep(Duration::from_millis(1)).await,
                settled => return settled,
            }
        }
    };
    soon("the opening of the file", wait).await
}
