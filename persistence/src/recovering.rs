//! How an entity gets its state back: fence, snapshot, events, each checked by [`Recovery`]; or fence and last state.

use crate::{
    CommandWindow, DurableState, EventSourced, Fence, FenceScope, JournalError, PersistenceId, Recovery, RecoveryError,
    RecoveryMode, ReplayLimit, SnapshotSearch, StoredSnapshot, WindowLimits, WithCommands, adapted::answered_before,
    durable_state_behavior::StateSetup, event_sourced_behavior::Setup,
};
use actors::{ActorSystem, Clock};
use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

/// A state read back, and the right to go on from it.
pub(crate) struct Ready<S> {
    pub(crate) state: S,
    pub(crate) highest_seq: u64,      // of a durable state: its revision
    pub(crate) snapshot: Option<u64>, // the last event in the snapshot it started from
    pub(crate) commands: CommandWindow,
    pub(crate) fence: Fence,
}

impl<S: Default> Ready<S> {
    fn new(window: WindowLimits, fence: Fence) -> Self {
        Self { state: S::default(), highest_seq: 0, snapshot: None, commands: CommandWindow::new(window), fence }
    }
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
    system: &ActorSystem,
) -> Result<Ready<E::State>, RecoveryFailure> {
    let store =
        Asker { clock: system.clock(), within: setup.common.recovery_timeout, id: setup.entity.persistence_id() };
    let _place = setup.common.recovery_limit(system).place().await;
    // Fence, then read: after the claim no older writer can change what is read here.
    let fence = match &setup.common.fence {
        Some(fence) => fence.clone(),
        None => store.ask(setup.journal.claim(FenceScope::Entity(store.id.clone()))).await?,
    };
    match setup.recovery_mode {
        RecoveryMode::All => {}
        RecoveryMode::Nothing => {
            let highest_seq = store.ask(setup.journal.highest_seq(store.id.clone())).await?;
            return Ok(Ready { highest_seq, ..Ready::new(setup.common.window, fence) });
        }
        RecoveryMode::LastEvent => return last_event(setup, &store, Ready::new(setup.common.window, fence)).await,
    }
    let (snapshot, unread) = newest_readable_snapshot(setup, &store).await?;
    let mut ready = Ready::new(setup.common.window, fence);
    match replay(setup, &store, &mut ready, snapshot).await {
        Ok(()) => Ok(ready),
        // Without the snapshot that could not be asked for, the log need not begin at its beginning.
        Err(failure @ RecoveryFailure::Log(_)) => Err(unread.unwrap_or(failure)),
        Err(failure) => Err(failure),
    }
}

/// Applies what follows `snapshot`.
async fn replay<E: EventSourced>(
    setup: &Setup<E>,
    store: &Asker<'_>,
    ready: &mut Ready<E::State>,
    snapshot: Option<StoredSnapshot<WithCommands<E::State>>>,
) -> Result<(), RecoveryFailure> {
    let mut recovery = Recovery::new(store.id.clone());
    recovery.snapshot(snapshot.as_ref().map(|snapshot| (snapshot.seq_nr, snapshot.epoch)));
    if let Some(StoredSnapshot { seq_nr, snapshot, .. }) = snapshot {
        ready.snapshot = Some(seq_nr);
        ready.state = snapshot.state;
        ready.commands.extend(snapshot.answered);
    }
    let begun = store.clock.now();
    loop {
        let page = setup.journal.replay(store.id.clone(), recovery.next_seq(), u64::MAX, ReplayLimit::default());
        let page = store.ask(page).await?;
        if page.is_empty() {
            break;
        }
        for stored in page {
            recovery.event(stored.seq_nr, stored.epoch)?;
            apply::<E>(store, &mut ready.state, stored.seq_nr, stored.event.events())?;
            ready.commands.extend(stored.event.answered);
        }
    }
    let took = store.clock.now() - begun;
    let highest = store.ask(setup.journal.highest_seq(store.id.clone())).await?;
    let recovered = recovery.finish(highest)?;
    setup.replay_cost.observe(recovered.events, took);
    ready.highest_seq = recovered.highest_seq;
    Ok(())
}

async fn last_event<E: EventSourced>(
    setup: &Setup<E>,
    store: &Asker<'_>,
    mut ready: Ready<E::State>,
) -> Result<Ready<E::State>, RecoveryFailure> {
    let last = store.ask(setup.journal.highest_seq(store.id.clone())).await?;
    ready.highest_seq = last;
    if last == 0 {
        return Ok(ready);
    }
    let page = store.ask(setup.journal.replay(store.id.clone(), last, last, ReplayLimit::default())).await?;
    let Some(stored) = page.into_iter().find(|stored| stored.seq_nr == last) else {
        // It was deleted, which an entity that lives from its last event must not do.
        return Err(RecoveryError::Incomplete { id: store.id.clone(), replayed_to: 0, highest: last }.into());
    };
    apply::<E>(store, &mut ready.state, last, stored.event.events())?;
    Ok(ready)
}

fn apply<E: EventSourced>(
    store: &Asker<'_>,
    state: &mut E::State,
    seq_nr: u64,
    events: &[E::Event],
) -> Result<(), RecoveryFailure> {
    catch_unwind(AssertUnwindSafe(|| events.iter().for_each(|event| E::handle_event(state, event))))
        .map_err(|_| RecoveryFailure::HandlerPanicked { id: store.id.clone(), seq_nr })
}

/// Reads the row of a durable state: fence first, then read.
pub(crate) async fn recover_state<D: DurableState>(
    setup: &StateSetup<D>,
    system: &ActorSystem,
) -> Result<Ready<D::State>, RecoveryFailure> {
    let store =
        Asker { clock: system.clock(), within: setup.common.recovery_timeout, id: setup.entity.persistence_id() };
    let _place = setup.common.recovery_limit(system).place().await;
    let fence = match &setup.common.fence {
        Some(fence) => fence.clone(),
        None => store.ask(setup.store.claim(FenceScope::Entity(store.id.clone()))).await?,
    };
    let mut ready = Ready::new(setup.common.window, fence);
    if let Some(stored) = store.ask(setup.store.load(store.id.clone())).await? {
        let answered = answered_before(&store.id, &stored)
            .map_err(|error| RecoveryFailure::Store { id: store.id.clone(), error })?;
        ready.commands.extend(answered);
        ready.highest_seq = stored.revision;
        ready.state = stored.state.map(|with_commands| with_commands.state).unwrap_or_default();
    }
    Ok(ready)
}

/// A snapshot, if one could be read, and why the newest could not be asked for, if that is so.
type Newest<S> = (Option<StoredSnapshot<WithCommands<S>>>, Option<RecoveryFailure>);

/// The newest snapshot, or the newest before those that are damaged. With none left, or while the store cannot be asked,
/// all events are replayed, and if they were deleted, [`Recovery`] notices.
async fn newest_readable_snapshot<E: EventSourced>(
    setup: &Setup<E>,
    store: &Asker<'_>,
) -> Result<Newest<E::State>, RecoveryFailure> {
    let Some(snapshots) = &setup.snapshots else { return Ok((None, None)) };
    let mut search = SnapshotSearch::default();
    while let Some(max_seq) = search.max_seq() {
        match store.ask(snapshots.store.load(store.id.clone(), max_seq)).await {
            Err(RecoveryFailure::Store { error, .. }) if error.is_permanent() => {
                tracing::warn!(id = %store.id, %error, "snapshot is unreadable, falling back to an older one");
                search.unreadable(&error);
            }
            Err(failure) => {
                tracing::warn!(id = %store.id, %failure, "snapshots cannot be read, replaying all events");
                return Ok((None, Some(failure)));
            }
            Ok(loaded) => return Ok((loaded, None)),
        }
    }
    Ok((None, None))
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
