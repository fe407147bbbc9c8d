//! How an entity gets its state back: fence, snapshot, events, each checked by [`Recovery`]; or fence and last state.

use crate::{
    DurableState, EventSourced, Fence, FenceScope, JournalError, PersistenceId, Recovery, RecoveryError, RecoveryLimit,
    ReplayLimit, StoredSnapshot, durable_state::StateSetup, event_sourced::Setup,
};
use actors::Clock;
use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};
use tokio::sync::SemaphorePermit;

/// Snapshots that may be unreadable before recovery falls back to all events.
const SNAPSHOTS_TRIED: usize = 8;

/// A state read back, and the right to go on from it.
pub(crate) struct Ready<S> {
    pub(crate) state: S,
    pub(crate) highest_seq: u64,      // of a durable state: its revision
    pub(crate) snapshot: Option<u64>, // the last event in the snapshot it started from
    pub(crate) fence: Fence,
}

/// Why an entity could not recover. It stops; whether it tries again is supervision's choice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecoveryFailure {
    /// The store did not answer in time.
    #[error("recovery of {id}: no answer from the store for {waited_ms} ms")]
    Timeout {
        /// Whose log.
        id: PersistenceId,
        /// How long was waited for one answer.
        waited_ms: u64,
    },
    /// The store could not be read.
    #[error("recovery of {id}: {error}")]
    Store {
        /// Whose log.
        id: PersistenceId,
        /// What it said.
        error: JournalError,
    },
    /// The log is not believed.
    #[error(transparent)]
    Log(#[from] RecoveryError),
    /// The event handler panicked.
    #[error("recovery of {id}: event handler panicked at sequence number {seq_nr}")]
    HandlerPanicked {
        /// Whose log.
        id: PersistenceId,
        /// Of the event.
        seq_nr: u64,
    },
}

impl RecoveryFailure {
    /// Whether trying again can only give the same answer.
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        match self {
            Self::Timeout { .. } => false,
            Self::Store { error, .. } => error.is_permanent(),
            Self::Log(_) | Self::HandlerPanicked { .. } => true,
        }
    }
}

pub(crate) async fn recover<E: EventSourced>(
    setup: &Setup<E>,
    clock: &Clock,
) -> Result<Ready<E::State>, RecoveryFailure> {
    let store = Asker { clock, within: setup.recovery_timeout, id: setup.entity.persistence_id() };
    let _permit = permit(setup.recovery_limit.as_ref()).await;
    // Fence, then read: after the claim no older writer can change what is read here.
    let fence = match &setup.fence {
        Some(fence) => fence.clone(),
        None => store.ask(setup.journal.claim(FenceScope::Entity(store.id.clone()))).await?,
    };
    let mut recovery = Recovery::new(store.id.clone());
    let snapshot = newest_readable_snapshot(setup, &store).await?;
    recovery.snapshot(snapshot.as_ref().map(|snapshot| (snapshot.seq_nr, snapshot.epoch)));
    let started_from = snapshot.as_ref().map(|snapshot| snapshot.seq_nr);
    let mut state = snapshot.map(|snapshot| snapshot.snapshot).unwrap_or_default();
    loop {
        let page = setup.journal.replay(store.id.clone(), recovery.next_seq(), u64::MAX, ReplayLimit::default());
        let page = store.ask(page).await?;
        if page.is_empty() {
            break;
        }
        for stored in page {
            recovery.event(stored.seq_nr, stored.epoch)?;
            catch_unwind(AssertUnwindSafe(|| E::handle_event(&mut state, &stored.event)))
                .map_err(|_| RecoveryFailure::HandlerPanicked { id: store.id.clone(), seq_nr: stored.seq_nr })?;
        }
    }
    let highest = store.ask(setup.journal.highest_seq(store.id.clone())).await?;
    let highest_seq = recovery.finish(highest)?.highest_seq;
    Ok(Ready { state, highest_seq, snapshot: started_from, fence })
}

/// Reads the row of a durable state: fence first, then read.
pub(crate) async fn recover_state<D: DurableState>(
    setup: &StateSetup<D>,
    clock: &Clock,
) -> Result<Ready<D::State>, RecoveryFailure> {
    let store = Asker { clock, within: setup.recovery_timeout, id: setup.entity.persistence_id() };
    let _permit = permit(setup.recovery_limit.as_ref()).await;
    let fence = match &setup.fence {
        Some(fence) => fence.clone(),
        None => store.ask(setup.store.claim(FenceScope::Entity(store.id.clone()))).await?,
    };
    let stored = store.ask(setup.store.load(store.id.clone())).await?;
    let highest_seq = stored.as_ref().map_or(0, |stored| stored.revision);
    let state = stored.and_then(|stored| stored.state).unwrap_or_default();
    Ok(Ready { state, highest_seq, snapshot: None, fence })
}

/// The newest snapshot, or the newest before those that are damaged. With none left all events are replayed, and if
/// they were deleted, [`Recovery`] notices.
async fn newest_readable_snapshot<E: EventSourced>(
    setup: &Setup<E>,
    store: &Asker<'_>,
) -> Result<Option<StoredSnapshot<E::State>>, RecoveryFailure> {
    let Some(snapshots) = &setup.snapshots else { return Ok(None) };
    let mut max_seq = u64::MAX;
    for _ in 0..SNAPSHOTS_TRIED {
        match store.ask(snapshots.store.load(store.id.clone(), max_seq)).await {
            Err(RecoveryFailure::Store { error, .. }) if error.is_permanent() => {
                tracing::warn!(id = %store.id, %error, "snapshot is unreadable, falling back to an older one");
                let (JournalError::Damaged { seq_nr, .. } | JournalError::Undecodable { seq_nr, .. }) = error else {
                    return Ok(None);
                };
                let Some(below) = seq_nr.checked_sub(1).filter(|&below| below < max_seq) else { return Ok(None) };
                max_seq = below;
            }
            loaded => return loaded,
        }
    }
    Ok(None)
}

/// Waits for a place among those that recover; `None` when there is no limit.
async fn permit(limit: Option<&RecoveryLimit>) -> Option<SemaphorePermit<'_>> {
    limit?.0.acquire().await.ok()
}

/// Asks a store, for no longer than `within`.
struct Asker<'a> {
    clock: &'a Clock,
    within: Duration,
    id: PersistenceId,
}

impl Asker<'_> {
    async fn ask<T>(&self, answer: impl Future<Output = Result<T, JournalError>>) -> Result<T, RecoveryFailure> {
        match self.clock.timeout(self.within, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(RecoveryFailure::Store { id: self.id.clone(), error }),
            Err(_) => {
                let waited_ms = u64::try_from(self.within.as_millis()).unwrap_or(u64::MAX);
                Err(RecoveryFailure::Timeout { id: self.id.clone(), waited_ms })
            }
        }
    }
}
