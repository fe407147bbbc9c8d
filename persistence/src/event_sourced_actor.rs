//! The actor that runs an [`EventSourced`] entity: one command, one write, then its effects.
//!
//! Invariant: nobody sees a state that is not durable. A command's handler, its write and its effects are one turn, so
//! no other command runs in between.

use crate::{
    Append, AppendError, Effect, EventSourced, Fence, PersistFailed, PersistenceSignal,
    chained::{AfterFailure, Chain},
    effect::Primary,
    event_sourced::Setup,
    recovering::{Ready, recover},
};
use actors::{Actor, ActorContext, Behavior, Clock, Handled, StashBuffer};
use std::{sync::Arc, time::Duration};

/// Commands an entity may [`stash`](Effect::stash).
const STASH: usize = 4_096;

/// How long saving a snapshot, and each deletion after it, may take.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(20);

/// What [`EventSourcedBehavior`](crate::EventSourcedBehavior) turns into when it is spawned.
pub struct EventSourcedActor<E: EventSourced> {
    setup: Arc<Setup<E>>,
    life: Option<Life<E>>, // `None` until recovered, and after a failed write: then the state is not to be believed
    stash: StashBuffer<E::Command>,
}

struct Life<E: EventSourced> {
    state: E::State,
    highest_seq: u64,
    snapshots: Vec<u64>, // known to be stored, see `Retention::remember`
    fence: Fence,
}

impl<E: EventSourced> EventSourcedActor<E> {
    pub(crate) fn new(setup: Arc<Setup<E>>) -> Self {
        Self { setup, life: None, stash: StashBuffer::with_capacity(STASH) }
    }

    /// Stores `events` and applies them, or says why not; the state is untouched then.
    async fn persist(&mut self, clock: &Clock, events: Vec<E::Event>) -> Result<(), AppendError> {
        let setup = &self.setup;
        let life = self.life.as_mut().ok_or_else(|| PersistFailed::not_recovered().0)?;
        let count = events.len() as u64;
        // Before the write: a panic of the event handler then leaves nothing stored.
        let applied_before = setup.apply_before.map(|copy| {
            let mut state = copy(&life.state);
            events.iter().for_each(|event| E::handle_event(&mut state, event));
            state
        });
        let to_apply = if applied_before.is_none() { events.clone() } else { Vec::new() };
        let append = setup.journal.append(Append {
            id: setup.entity.persistence_id(),
            expected_seq: life.highest_seq + 1,
            fence: life.fence.clone(),
            batch_id: rand::random(),
            events,
            tags: Vec::new(),
            time_ms: clock.wall_ms(),
        });
        match clock.timeout(setup.write_timeout, append).await {
            Ok(outcome) => outcome?,
            Err(elapsed) => return Err(AppendError::Unknown { reason: elapsed.to_string() }),
        };
        life.highest_seq += count;
        match applied_before {
            Some(state) => life.state = state,
            None => to_apply.iter().for_each(|event| E::handle_event(&mut life.state, event)),
        }
        Ok(())
    }

    /// What the failure table says: certainly not stored, go on; else stop, and only an unknown outcome may restart.
    fn persist_failed(
        &mut self,
        ctx: &mut ActorContext<E::Command>,
        chained: Chain<E::Command, E::State>,
        error: AppendError,
    ) -> Handled {
        let id = self.setup.entity.persistence_id();
        let after = AfterFailure::of(&error);
        if after == AfterFailure::GoOn {
            tracing::warn!(%id, %error, "events not stored, entity goes on");
            self.signal(ctx, &PersistenceSignal::PersistRejected(error.clone()));
        } else {
            tracing::error!(%id, %error, "persisting failed, entity stops");
            self.signal(ctx, &PersistenceSignal::PersistFailed(error.clone()));
            self.life = None;
        }
        chained.write_failed(&error);
        match after {
            AfterFailure::GoOn => Ok(Behavior::Same),
            AfterFailure::StopForGood => Ok(Behavior::Stopped),
            AfterFailure::StartOver => Err(PersistFailed(error).into()),
        }
    }

    fn run_chained(&mut self, ctx: &mut ActorContext<E::Command>, chained: Chain<E::Command, E::State>) -> Behavior {
        match &self.life {
            Some(life) => chained.perform(&life.state, ctx, &mut self.stash),
            None => Behavior::Same,
        }
    }

    /// Saves a snapshot if storing the events after `before` made one due, then deletes what it makes superfluous.
    async fn snapshot_if_due(&mut self, ctx: &mut ActorContext<E::Command>, before: u64) {
        let (Some(snapshots), Some(life)) = (&self.setup.snapshots, &mut self.life) else { return };
        let (retention, seq_nr) = (self.setup.entity.retention(), life.highest_seq);
        if !retention.is_due(before, seq_nr) {
            return;
        }
        let (id, fence, clock) = (self.setup.entity.persistence_id(), life.fence.clone(), ctx.clock().clone());
        let state = (snapshots.copy)(&life.state);
        let work = async {
            let saved = snapshots.store.save(id.clone(), seq_nr, fence.clone(), clock.wall_ms(), state);
            in_time(&clock, saved).await?;
            retention.remember(&mut life.snapshots, seq_nr);
            let step = retention.after_snapshot(&life.snapshots);
            if let Some(to) = step.delete_snapshots_to {
                in_time(&clock, snapshots.store.delete(id.clone(), to, fence.clone())).await?;
            }
            if let Some(to) = step.delete_events_to {
                in_time(&clock, self.setup.journal.delete_to(id.clone(), to, fence)).await?;
            }
            Ok::<(), String>(())
        };
        let signal = match work.await {
            Ok(()) => PersistenceSignal::SnapshotSaved { seq_nr },
            Err(reason) => {
                tracing::warn!(%id, seq_nr, reason, "snapshot failed, entity goes on");
                PersistenceSignal::SnapshotFailed { seq_nr, reason }
            }
        };
        self.signal(ctx, &signal);
    }

    fn signal(&self, ctx: &mut ActorContext<E::Command>, signal: &PersistenceSignal) {
        if let Some(life) = &self.life {
            self.setup.entity.on_signal(&life.state, ctx, signal);
        }
    }
}

impl<E: EventSourced> Actor for EventSourcedActor<E> {
    type Message = E::Command;

    async fn started(&mut self, ctx: &mut ActorContext<Self::Message>) -> Handled {
        let clock = ctx.clock().clone();
        match recover(&self.setup, &clock).await {
            Ok(Ready { state, highest_seq, snapshot, fence }) => {
                self.setup.failures.lock().clear();
                let snapshots = snapshot.into_iter().collect();
                self.life = Some(Life { state, highest_seq, snapshots, fence });
                self.signal(ctx, &PersistenceSignal::RecoveryCompleted { highest_seq });
                Ok(Behavior::Same)
            }
            Err(failure) => {
                let id = self.setup.entity.persistence_id();
                if self.setup.failures.lock().note(&failure) {
                    metrics::counter!("persistence_parked_total").increment(1);
                    tracing::error!(%id, %failure, "entity parked: recovery keeps failing in the same way");
                    return Ok(Behavior::Stopped);
                }
                tracing::warn!(%id, %failure, "recovery failed");
                Err(failure.into())
            }
        }
    }

    async fn receive(&mut self, ctx: &mut ActorContext<Self::Message>, command: Self::Message) -> Handled {
        // Only a supervisor told to resume comes here without a state; it does not get its way.
        let Some(life) = &self.life else { return Err(PersistFailed::not_recovered().into()) };
        let before = life.highest_seq;
        let Effect { primary, chained } = self.setup.entity.handle_command(&life.state, command);
        match primary {
            Primary::None => {}
            Primary::Persist(events) => {
                let clock = ctx.clock().clone();
                if let Err(error) = self.persist(&clock, events).await {
                    return self.persist_failed(ctx, chained, error);
                }
            }
            Primary::Unhandled => {
                return Ok(match self.run_chained(ctx, chained) {
                    Behavior::Same => Behavior::Unhandled,
                    other => other,
                });
            }
            Primary::Stash(command) => {
                if let Err(full) = self.stash.stash(command) {
                    tracing::warn!(id = %self.setup.entity.persistence_id(), %full, "command dropped");
                }
            }
        }
        let behavior = self.run_chained(ctx, chained);
        self.snapshot_if_due(ctx, before).await;
        Ok(behavior)
    }
}

async fn in_time(clock: &Clock, work: impl Future<Output = Result<(), AppendError>>) -> Result<(), String> {
    match clock.timeout(SNAPSHOT_TIMEOUT, work).await {
        Ok(outcome) => outcome.map_err(|error| error.to_string()),
        Err(elapsed) => Err(elapsed.to_string()),
    }
}
