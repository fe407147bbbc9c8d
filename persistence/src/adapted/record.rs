//! [`Record`]: a row of a log as an entity sees it; [`WithCommands`]: a state with the commands that led to it.

use crate::{
    Answered, Append, AppendError, BoxFuture, DeleteState, Fence, FenceScope, Journal, JournalError, PersistenceId,
    PutState, ReplayLimit, SnapshotStore, StateStore, Stored, StoredSnapshot, StoredState, decode_window,
    encode_window,
};
use futures_util::FutureExt;
use std::{future::ready, ops::Range, sync::Arc};

/// One row of a log: what happened, and which command it answers.
///
/// A row is written for one event. When it is read, an [`EventAdapter`](crate::EventAdapter) may make of it none, or
/// several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<E> {
    meaning: Meaning<E>,
    /// The command with an id that led to this event and those after it in the same write, on the first of them.
    pub answered: Option<Answered>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Meaning<E> {
    One(E),
    Many(Vec<E>),
}

/// A state, and the commands with an id that were answered before it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WithCommands<S> {
    /// The state.
    pub state: S,
    /// Oldest first.
    pub answered: Vec<Answered>,
}

impl<E> Record<E> {
    /// A row for `event`.
    #[must_use]
    pub fn new(event: E, answered: Option<Answered>) -> Self {
        Self { meaning: Meaning::One(event), answered }
    }

    /// A row that was read, and what it means today.
    #[must_use]
    pub fn read(events: Vec<E>, answered: Option<Answered>) -> Self {
        Self { meaning: Meaning::Many(events), answered }
    }

    /// What it means.
    #[must_use]
    pub fn events(&self) -> &[E] {
        match &self.meaning {
            Meaning::One(event) => std::slice::from_ref(event),
            Meaning::Many(events) => events,
        }
    }
}

/// A journal of values seen as one of records. It has no room for what was answered.
pub(crate) struct Plain<J>(pub(crate) J);

impl<E: Send + 'static, J: Journal<E>> Journal<Record<E>> for Plain<J> {
    fn claim(&self, scope: FenceScope) -> BoxFuture<'static, Result<Fence, JournalError>> {
        self.0.claim(scope)
    }

    fn claim_all(
        &self,
        entity_type: Arc<str>,
        shards: Range<u16>,
    ) -> BoxFuture<'static, Result<Vec<Fence>, JournalError>> {
        self.0.claim_all(entity_type, shards)
    }

    fn append(&self, append: Append<Record<E>>) -> BoxFuture<'static, Result<u64, AppendError>> {
        let Append { id, expected_seq, fence, batch_id, events: records, tags, time_ms } = append;
        let mut events = Vec::with_capacity(records.len());
        for Record { meaning, answered } in records {
            if answered.is_some() {
                return ready(Err(no_room("journal", "EventSourcedBehavior::adapted"))).boxed();
            }
            match meaning {
                Meaning::One(event) => events.push(event),
                Meaning::Many(many) => events.extend(many),
            }
        }
        self.0.append(Append { id, expected_seq, fence, batch_id, events, tags, time_ms })
    }

    fn replay(
        &self,
        id: PersistenceId,
        from: u64,
        to: u64,
        limit: ReplayLimit,
    ) -> BoxFuture<'static, Result<Vec<Stored<Record<E>>>, JournalError>> {
        let page = self.0.replay(id, from, to, limit);
        async move { Ok(page.await?.into_iter().map(|stored| stored.map(|event| Record::new(event, None))).collect()) }
            .boxed()
    }

    fn highest_seq(&self, id: PersistenceId) -> BoxFuture<'static, Result<u64, JournalError>> {
        self.0.highest_seq(id)
    }

    fn delete_to(&self, id: PersistenceId, seq: u64, fence: Fence) -> BoxFuture<'static, Result<(), AppendError>> {
        self.0.delete_to(id, seq, fence)
    }
}

impl<S: Send + 'static, T: SnapshotStore<S>> SnapshotStore<WithCommands<S>> for Plain<T> {
    fn save(
        &self,
        id: PersistenceId,
        seq_nr: u64,
        fence: Fence,
        time_ms: u64,
        snapshot: WithCommands<S>,
    ) -> BoxFuture<'static, Result<(), AppendError>> {
        if !snapshot.answered.is_empty() {
            return ready(Err(no_room("snapshot store", "EventSourcedBehavior::adapted_snapshots"))).boxed();
        }
        self.0.save(id, seq_nr, fence, time_ms, snapshot.state)
    }

    fn load(
        &self,
        id: PersistenceId,
        max_seq: u64,
    ) -> BoxFuture<'static, Result<Option<StoredSnapshot<WithCommands<S>>>, JournalError>> {
        let loaded = self.0.load(id, max_seq);
        let plain = |StoredSnapshot { seq_nr, epoch, time_ms, snapshot: state }: StoredSnapshot<S>| {
            let snapshot = WithCommands { state, answered: Vec::new() };
            StoredSnapshot { seq_nr, epoch, time_ms, snapshot }
        };
        async move { Ok(loaded.await?.map(plain)) }.boxed()
    }

    fn delete(&self, id: PersistenceId, up_to_seq: u64, fence: Fence) -> BoxFuture<'static, Result<(), AppendError>> {
        self.0.delete(id, up_to_seq, fence)
    }
}

impl<S: Send + 'static, T: StateStore<S>> StateStore<WithCommands<S>> for Plain<T> {
    fn claim(&self, scope: FenceScope) -> BoxFuture<'static, Result<Fence, JournalError>> {
        self.0.claim(scope)
    }

    fn claim_all(
        &self,
        entity_type: Arc<str>,
        shards: Range<u16>,
    ) -> BoxFuture<'static, Result<Vec<Fence>, JournalError>> {
        self.0.claim_all(entity_type, shards)
    }

    fn load(
        &self,
        id: PersistenceId,
    ) -> BoxFuture<'static, Result<Option<StoredState<WithCommands<S>>>, JournalError>> {
        let loaded = self.0.load(id);
        let plain = |StoredState { revision, epoch, time_ms, state, marker }: StoredState<S>| {
            let state = state.map(|state| WithCommands { state, answered: Vec::new() });
            StoredState { revision, epoch, time_ms, state, marker }
        };
        async move { Ok(loaded.await?.map(plain)) }.boxed()
    }

    fn upsert(&self, put: PutState<WithCommands<S>>) -> BoxFuture<'static, Result<u64, AppendError>> {
        if !put.state.answered.is_empty() {
            return ready(Err(no_room("state store", "DurableStateBehavior::adapted"))).boxed();
        }
        self.0.upsert(put.map(|with_commands| with_commands.state))
    }

    fn delete(&self, delete: DeleteState) -> BoxFuture<'static, Result<u64, AppendError>> {
        self.0.delete(delete)
    }
}

/// What a deleted state leaves behind for the commands that were answered.
pub(crate) fn marker(answered: &[Answered]) -> Option<bytes::Bytes> {
    encode_window(answered)
}

/// The commands that were answered before what is stored now.
pub(crate) fn answered_before<S>(
    id: &PersistenceId,
    stored: &StoredState<WithCommands<S>>,
) -> Result<Vec<Answered>, JournalError> {
    match &stored.state {
        Some(state) => Ok(state.answered.clone()),
        None => decode_window(stored.marker.as_ref()).map_err(|error| JournalError::Undecodable {
            id: id.clone(),
            seq_nr: stored.revision,
            manifest: "answered commands".to_owned(),
            reason: error.0,
        }),
    }
}

fn no_room(store: &str, instead: &str) -> AppendError {
    AppendError::Rejected {
        reason: format!(
            "a {store} of values has no room for the answers to commands with an id; give the entity a store of bytes with {instead}"
        ),
    }
}
