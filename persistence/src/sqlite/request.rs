//! What the writer and reader threads are asked to do.

use super::stats::Backlog;
use crate::{
    Append, AppendError, Claimed, FeedPage, FeedQuery, Fence, FenceScope, JournalError, Offset, ParkedEvent,
    PersistenceId, Position, RawEvent, RawSnapshot, RawState, ReplayLimit, Selection, StatePage, Stored,
    StoredSnapshot, StoredState,
    projection::{ParkedPage, ProjectionWork},
    state::StateWrite,
};
use std::sync::Arc;
use tokio::sync::oneshot;

/// One write, and who waits for its outcome.
pub(crate) struct WriteRequest {
    pub(crate) work: Work,
    pub(crate) reply: oneshot::Sender<Result<Written, AppendError>>,
    /// Its share of the queue's bytes, held until it is answered.
    pub(crate) _backlog: Backlog,
}

pub(crate) enum Work {
    Claim(Vec<FenceScope>),
    Append(Append<RawEvent>),
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
    WriteState(StateWrite<RawState>),
    /// Ends the writer once everything before it is done.
    Close,
}

/// What a successful write answers.
#[derive(Debug)]
pub(crate) enum Written {
    Fences(Vec<Fence>),
    Highest(u64),
    Claimed(Claimed),
    Count(u64),
    Revision(u64),
    Done,
}

/// One read, and who waits for its result.
pub(crate) enum ReadRequest {
    Replay {
        id: PersistenceId,
        from: u64,
        to: u64,
        limit: ReplayLimit,
        reply: Reply<Vec<Stored<RawEvent>>>,
    },
    HighestSeq {
        id: PersistenceId,
        reply: Reply<u64>,
    },
    LoadSnapshot {
        id: PersistenceId,
        max_seq: u64,
        reply: Reply<Option<StoredSnapshot<RawSnapshot>>>,
    },
    Feed {
        query: FeedQuery,
        after: u64,
        limit: ReplayLimit,
        reply: Reply<FeedPage<RawEvent>>,
    },
    OffsetOf {
        id: PersistenceId,
        seq_nr: u64,
        reply: Reply<Option<Offset>>,
    },
    StateFeed {
        query: FeedQuery,
        after: u64,
        limit: ReplayLimit,
        reply: Reply<StatePage<RawState>>,
    },
    StateOffset {
        id: PersistenceId,
        reply: Reply<Option<Offset>>,
    },
    Ids {
        entity_type: Option<Arc<str>>,
        after: Option<PersistenceId>,
        limit: usize,
        reply: Reply<Vec<PersistenceId>>,
    },
    Positions {
        selection: Selection,
        reply: Reply<Vec<Position>>,
    },
    Parked {
        page: ParkedPage,
        reply: Reply<Vec<ParkedEvent>>,
    },
    ParkedCount {
        selection: Selection,
        reply: Reply<u64>,
    },
    LoadState {
        id: PersistenceId,
        reply: Reply<Option<StoredState<RawState>>>,
    },
    /// Ends one reader.
    Close,
}

pub(crate) type Reply<T> = oneshot::Sender<Result<T, JournalError>>;

impl Work {
    /// Bytes this work holds while it waits.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Append(append) => append.events.iter().map(RawEvent::weight).sum(),
            Self::SaveSnapshot { snapshot, .. } => {
                snapshot.payload.len() + snapshot.meta.as_ref().map_or(0, bytes::Bytes::len)
            }
            Self::WriteState(write) => write.state.as_ref().map_or(0, RawState::weight),
            Self::Claim(_)
            | Self::Projection(_)
            | Self::DeleteSnapshots { .. }
            | Self::DeleteEvents { .. }
            | Self::Close => 0,
        }
    }
}
