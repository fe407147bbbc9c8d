//! Takes one snapshot beside the entity's turns: encodes, saves, deletes what it makes superfluous.
//!
//! A child of the entity does it, whose end is the signal that the report is there. The entity serves commands meanwhile.

use super::retention::DeleteEvents;
use crate::{
    AppendError, EventSourced, Fence, JournalError, PersistenceId, WithCommands, event_sourced_behavior::Setup,
};
use actors::{Actor, ActorContext, ActorPath, ActorRef, Behavior, Clock, Handled, Props, SupervisorStrategy};
use parking_lot::Mutex;
use std::{sync::Arc, time::Duration};
use tokio::sync::oneshot;

/// How long saving a snapshot, and each request after it, may take.
const WITHIN: Duration = Duration::from_secs(20);

/// What is to be saved.
pub(crate) struct Snapshot<S> {
    pub(crate) id: PersistenceId,
    pub(crate) seq_nr: u64,
    pub(crate) fence: Fence,
    pub(crate) state: WithCommands<S>,
    /// Numbers of snapshots that are there, in order, as far as the entity knows.
    pub(crate) known: Vec<u64>,
    /// Whether there may be older ones that it does not know.
    pub(crate) older: bool,
}

/// How it went.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) seq_nr: u64,
    /// Numbers of snapshots that are there now.
    pub(crate) known: Vec<u64>,
    pub(crate) older: bool,
    /// What failed, if anything did.
    pub(crate) failure: Option<String>,
    /// Events that were not deleted: from this number on they are needed, although they might go up to that one.
    pub(crate) kept: Option<(u64, u64)>,
}

/// A snapshot under way.
pub(crate) struct UnderWay {
    child: ActorPath,
    seq_nr: u64,
    report: oneshot::Receiver<Report>,
}

/// Saves `snapshot` and deletes what the retention says.
pub(crate) async fn take<E: EventSourced>(setup: Arc<Setup<E>>, clock: Clock, snapshot: Snapshot<E::State>) -> Report {
    let Snapshot { id, seq_nr, fence, state, known, older } = snapshot;
    let mut report = Report { seq_nr, known, older, failure: None, kept: None };
    let Some(snapshots) = &setup.snapshots else { return report };
    let asker = Asker(&clock);
    // Encodes here, off the entity's turn.
    let saved = snapshots.store.save(id.clone(), seq_nr, fence.clone(), clock.wall_ms(), state);
    if let Err(failure) = asker.write(saved).await {
        report.failure = Some(failure);
        return report;
    }
    let retention = setup.entity.retention();
    if report.older {
        look_back(&setup, &asker, &id, &mut report, retention.keeps().unwrap_or(1)).await;
    }
    retention.remember(&mut report.known, seq_nr);
    let step = retention.after_snapshot(&report.known);
    if let Some(to) = step.delete_snapshots_to
        && let Err(failure) = asker.write(snapshots.store.delete(id.clone(), to, fence.clone())).await
    {
        report.failure = Some(failure);
        return report;
    }
    if let Some(to) = step.delete_events_to {
        report.failure =
            delete_events(&setup, &asker, &id, fence, to, retention.deletes(), &mut report.kept).await.err();
    }
    report
}

/// Finds the snapshots before the oldest known one, until as many are known as are kept. Once in a life, and not at all
/// when two are kept: the one it started from and the one just saved are two.
async fn look_back<E: EventSourced>(
    setup: &Setup<E>,
    asker: &Asker<'_>,
    id: &PersistenceId,
    report: &mut Report,
    keep: usize,
) {
    let Some(snapshots) = &setup.snapshots else { return };
    while report.known.len() + 1 < keep {
        let Some(below) = report.known.first().and_then(|oldest| oldest.checked_sub(1)) else { break };
        match asker.read(snapshots.store.load(id.clone(), below)).await {
            Ok(Some(older)) => report.known.insert(0, older.seq_nr),
            Ok(None) => break,
            // Not to be counted on, and not in anybody's way.
            Err(Some(seq_nr)) if seq_nr <= below => report.known.insert(0, seq_nr),
            Err(_) => return, // asked again with the next snapshot
        }
    }
    report.older = false;
}

async fn delete_events<E: EventSourced>(
    setup: &Setup<E>,
    asker: &Asker<'_>,
    id: &PersistenceId,
    fence: Fence,
    to: u64,
    which: DeleteEvents,
    kept: &mut Option<(u64, u64)>,
) -> Result<(), String> {
    let read_to = match (which, &setup.needed_by) {
        (DeleteEvents::No, _) => return Ok(()),
        (DeleteEvents::All, _) => to,
        (DeleteEvents::Read, None) => 0,
        (DeleteEvents::Read, Some(guard)) => {
            let asked = asker.0.timeout(WITHIN, guard.read_to(id.clone(), to)).await;
            asked.map_err(|elapsed| elapsed.to_string())?.map_err(|error| error.to_string())?.min(to)
        }
    };
    if read_to < to {
        *kept = Some((read_to + 1, to));
    }
    if read_to == 0 {
        return Ok(());
    }
    asker.write(setup.journal.delete_to(id.clone(), read_to, fence)).await
}

struct Asker<'a>(&'a Clock);

impl Asker<'_> {
    async fn write(&self, work: impl Future<Output = Result<(), AppendError>>) -> Result<(), String> {
        match self.0.timeout(WITHIN, work).await {
            Ok(outcome) => outcome.map_err(|error| error.to_string()),
            Err(elapsed) => Err(elapsed.to_string()),
        }
    }

    /// The error is the number of what cannot be read, if that is what went wrong.
    async fn read<T>(&self, read: impl Future<Output = Result<T, JournalError>>) -> Result<T, Option<u64>> {
        match self.0.timeout(WITHIN, read).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(JournalError::Damaged { seq_nr, .. } | JournalError::Undecodable { seq_nr, .. })) => {
                Err(Some(seq_nr))
            }
            Ok(Err(_)) | Err(_) => Err(None),
        }
    }
}

impl UnderWay {
    /// Starts a child of the entity that takes the snapshot; the entity watches it.
    pub(crate) fn start<E: EventSourced>(
        ctx: &mut ActorContext<E::Command>,
        setup: &Arc<Setup<E>>,
        snapshot: Snapshot<E::State>,
    ) -> Self {
        let (seq_nr, (tell, report)) = (snapshot.seq_nr, oneshot::channel());
        let work = Mutex::new(Some((snapshot, Arc::clone(setup), tell)));
        let props = Props::new(move || Taking { work: work.lock().take() }).supervise(SupervisorStrategy::stop());
        let child: ActorRef<Never> = ctx.spawn_anonymous(props);
        ctx.watch(&child);
        Self { child: child.path().clone(), seq_nr, report }
    }

    /// Whether the end of `child` is the end of this.
    pub(crate) fn is(&self, child: &ActorPath) -> bool {
        self.child == *child
    }

    /// How it went, once it has ended. Without a report it panicked: the state's encoder, most likely.
    pub(crate) async fn end(self, known: Vec<u64>, older: bool) -> Report {
        let panicked = "saving the snapshot panicked".to_owned();
        let none = |_| Report { seq_nr: self.seq_nr, known, older, failure: Some(panicked), kept: None };
        self.report.await.unwrap_or_else(none)
    }
}

enum Never {}

type Work<E> = (Snapshot<<E as EventSourced>::State>, Arc<Setup<E>>, oneshot::Sender<Report>);

struct Taking<E: EventSourced> {
    work: Option<Work<E>>,
}

impl<E: EventSourced> Actor for Taking<E> {
    type Message = Never;

    async fn started(&mut self, ctx: &mut ActorContext<Never>) -> Handled {
        if let Some((snapshot, setup, tell)) = self.work.take() {
            let taken = take(setup, ctx.clock().clone(), snapshot).await;
            drop(tell.send(taken)); // nobody is there any more, or it is read after the end of this
        }
        Ok(Behavior::Stopped)
    }

    async fn receive(&mut self, _ctx: &mut ActorContext<Never>, never: Never) -> Handled {
        match never {}
    }
}
