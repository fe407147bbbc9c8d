//! What the writers are asked to do.

use crate::{
    Append, AppendError, Claimed, Fence, FenceScope, PersistenceId, RawEvent, RawSnapshot, RawState,
    projection::postgres::ProjectionWork, state::StateWrite,
};
use bytes::Bytes;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};
use tokio::sync::oneshot;

/// One write, and who waits for its outcome.
pub(crate) struct WriteRequest {
    pub(crate) work: Work,
    pub(crate) reply: oneshot::Sender<Result<Written, AppendError>>,
    /// How often it was sent to the server without an answer that settles it.
    pub(crate) attempts: u32,
    /// Its share of the queue's bytes, held until it is answered.
    pub(crate) _backlog: Backlog,
}

pub(crate) enum Work {
    Claim(Vec<FenceScope>),
    Append(Append<RawEvent>),
    WriteState(StateWrite<RawState>),
    SaveSnapshot {
        id: PersistenceId,
        seq_nr: u64,
        fence: Fence,
        time_ms: u64,
        snapshot: RawSnapshot,
    },
    DeleteSnapshots {
        id: PersistenceId,
        up_to_seq: u64,
        fence: Fence,
    },
    DeleteEvents {
        id: PersistenceId,
        up_to_seq: u64,
        fence: Fence,
    },
    Projection(ProjectionWork),
    /// Ends the writer once everything before it is done.
    Close,
}

/// What a successful write answers.
#[derive(Debug)]
pub(crate) enum Written {
    Fences(Vec<Fence>),
    Highest(u64),
    Revision(u64),
    Claimed(Claimed),
    Count(u64),
    Done,
}

impl Work {
    /// Bytes this work holds while it waits.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Append(append) => append.events.iter().map(RawEvent::weight).sum(),
            Self::WriteState(write) => {
                let marker = write.marker.as_ref().map_or(0, Bytes::len);
                write.state.as_ref().map_or(marker, RawState::weight)
            }
            Self::SaveSnapshot { snapshot, .. } => {
                snapshot.payload.len() + snapshot.meta.as_ref().map_or(0, Bytes::len)
            }
            Self::Claim(_)
            | Self::DeleteSnapshots { .. }
            | Self::DeleteEvents { .. }
            | Self::Projection(_)
            | Self::Close => 0,
        }
    }

    /// Whose data it changes, and with which right; `None` for what is not about one entity.
    pub(crate) fn subject(&self) -> Option<(&PersistenceId, &Fence)> {
        match self {
            Self::Append(Append { id, fence, .. })
            | Self::WriteState(StateWrite { id, fence, .. })
            | Self::SaveSnapshot { id, fence, .. }
            | Self::DeleteSnapshots { id, fence, .. }
            | Self::DeleteEvents { id, fence, .. } => Some((id, fence)),
            Self::Claim(_) | Self::Projection(_) | Self::Close => None,
        }
    }
}

/// A share of the queues' bytes, given back on drop.
pub(crate) struct Backlog {
    queued: Arc<AtomicUsize>,
    bytes: usize,
}

impl Backlog {
    /// `None` when `bytes` more would exceed `limit`, unless nothing else waits. What weighs nothing always fits.
    pub(crate) fn reserve(queued: &Arc<AtomicUsize>, bytes: usize, limit: usize) -> Option<Self> {
        let before = queued.fetch_add(bytes, Ordering::Relaxed);
        let backlog = Self { queued: Arc::clone(queued), bytes };
        (bytes == 0 || before == 0 || before.saturating_add(bytes) <= limit).then_some(backlog)
    }
}

impl Drop for Backlog {
    fn drop(&mut self) {
        self.queued.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
