//! The actor that runs an [`EventSourced`] entity: one command, one write, then its effects.
//!
//! Invariant: nobody sees a state that is not durable. A command's handler, its write and its effects are one turn, so
//! no other command runs in between.

use crate::{
    Append, AppendError, CommandId, CommandWindow, Effect, EventSourced, Fence, PersistFailed, PersistenceSignal,
    Record, WithCommands,
    chained::{Chain, Performed},
    common::{Waiting, batch_id},
    dedupe::{Repeated, repeated},
    effect::Primary,
    event_sourced_behavior::Setup,
    recovering::{Ready, recover},
    recovery_limit::RecoveryMode,
    settling::{AfterFailure, Overwritten, WriteFailure, write_settled},
    snapshot::{
        SnapshotSchedule,
        taking::{Report, Snapshot, UnderWay, take},
    },
};
use actors::{Actor, ActorContext, Behavior, Clock, Handled, Signal};
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::Arc;

/// What [`EventSourcedBehavior`](crate::EventSourcedBehavior) turns into when it is spawned.
pub struct EventSourcedActor<E: EventSourced> {
    setup: Arc<Setup<E>>,
    life: Option<Life<E>>, // `None` until recovered, and after a failed write: then the state is not to be believed
    waiting: Waiting<E::Command>,
}

struct Life<E: EventSourced> {
    state: E::State,
    highest_seq: u64,
    commands: CommandWindow,
    fence: Fence,
    schedule: SnapshotSchedule,
    under_way: Option<UnderWay>,
    snapshots: Vec<u64>, // known to be stored, see `Retention::remember`
    older: bool,         // whether there may be more of them
}

type Context<E> = ActorContext<<E as EventSourced>::Command>;

impl<E: EventSourced> EventSourcedActor<E> {
    pub(crate) fn new(setup: Arc<Setup<E>>) -> Self {
        Self { setup, life: None, waiting: Waiting::new() }
    }

    /// Stores `events` and applies them, or says why not; the state is untouched then.
    async fn persist(
        &mut self,
        ctx: &mut Context<E>,
        events: Vec<E::Event>,
        command: Option<(CommandId, Option<Bytes>)>,
        time_ms: u64,
    ) -> Result<(), WriteFailure> {
        let setup = &self.setup;
        let life = self.life.as_mut().ok_or_else(|| PersistFailed::not_recovered().0)?;
        let (before, after) = (life.highest_seq, life.highest_seq + events.len() as u64);
        let mut snapshot = false;
        // Before the write: a panic of the event handler then leaves nothing stored.
        let applied_before = setup.apply_before.map(|copy| {
            let mut state = copy(&life.state);
            snapshot = apply(&setup.entity, &mut state, &events, before);
            state
        });
        let tags = events.iter().map(|event| setup.entity.tags(&life.state, event)).collect();
        let mut answered = command.map(|(id, reply)| life.commands.answered(id, reply, time_ms));
        // Behind a lock only because an event need not be `Sync`; nobody else has it.
        let append = Mutex::new(Append {
            id: setup.entity.persistence_id(),
            expected_seq: before + 1,
            fence: life.fence.clone(),
            batch_id: batch_id(ctx.system(), &life.fence),
            events: events.into_iter().map(|event| Record::new(event, answered.take())).collect(),
            tags,
            time_ms,
        });
        let (write, clock) = (|| setup.journal.append(append.lock().clone()), ctx.clock().clone());
        write_settled(&clock, setup.common.write_timeout, Overwritten::Never, write).await?;
        let append = append.into_inner();
        life.highest_seq = after;
        match applied_before {
            Some(state) => life.state = state,
            None => {
                let events = append.events.iter().flat_map(Record::events);
                snapshot = apply(&setup.entity, &mut life.state, events, before);
            }
        }
        if snapshot {
            life.schedule.asked();
        }
        life.schedule.stored(before, after, &setup.replay_cost);
        life.commands.extend(append.events.first().and_then(|first| first.answered.clone()));
        if let Some(publish) = setup.publish {
            for (seq_nr, event) in (before + 1..).zip(append.events.iter().flat_map(Record::events)) {
                publish(ctx, append.id.clone(), seq_nr, time_ms, event);
            }
        }
        Ok(())
    }

    fn persist_failed(
        &mut self,
        ctx: &mut Context<E>,
        chained: Chain<E::Command, E::State>,
        failure: WriteFailure,
    ) -> Handled {
        self.signal(ctx, &failure.signal());
        if failure.after != AfterFailure::GoOn {
            self.life = None;
        }
        let id = self.setup.entity.persistence_id();
        self.setup.common.write_failed(ctx, id, chained, failure, &mut self.waiting)
    }

    /// The snapshot to take now, if one is due.
    fn snapshot_due(&mut self, now_ms: u64) -> Option<Snapshot<E::State>> {
        let (Some(snapshots), Some(life)) = (&self.setup.snapshots, &mut self.life) else { return None };
        if self.setup.recovery_mode != RecoveryMode::All || !life.schedule.take(life.highest_seq) {
            return None;
        }
        Some(Snapshot {
            id: self.setup.entity.persistence_id(),
            seq_nr: life.highest_seq,
            fence: life.fence.clone(),
            state: WithCommands {
                state: (snapshots.copy)(&life.state),
                answered: life.commands.contents(None, now_ms),
            },
            known: life.snapshots.clone(),
            older: life.older,
        })
    }

    /// Takes a snapshot if one is due: beside the turns that follow, or in this one if it is the last.
    async fn snapshot_if_due(&mut self, ctx: &mut Context<E>, behavior: Behavior) {
        if behavior == Behavior::Stopped
            && let Some(life) = &mut self.life
            && life.schedule.is_wanted()
            && let Some(under_way) = life.under_way.take()
        {
            // One at a time: it is waited for, so that the last one can be taken.
            let report = under_way.end(life.snapshots.clone(), life.older).await;
            self.snapshot_ended(ctx, report);
        }
        let Some(snapshot) = self.snapshot_due(ctx.clock().wall_ms()) else { return };
        if behavior == Behavior::Stopped {
            let report = take(Arc::clone(&self.setup), ctx.clock().clone(), snapshot).await;
            self.snapshot_ended(ctx, report);
        } else if let Some(life) = &mut self.life {
            life.under_way = Some(UnderWay::start(ctx, &self.setup, snapshot));
        }
    }

    fn snapshot_ended(&mut self, ctx: &mut Context<E>, report: Report) {
        let Some(life) = &mut self.life else { return };
        let Report { seq_nr, known, older, failure, kept } = report;
        life.schedule.ended(seq_nr);
        (life.snapshots, life.older) = (known, older);
        if let Some((from, to)) = kept {
            self.signal(ctx, &PersistenceSignal::EventsKept { from, to });
        }
        let signal = match failure {
            None => PersistenceSignal::SnapshotSaved { seq_nr },
            Some(reason) => {
                let id = self.setup.entity.persistence_id();
                tracing::warn!(%id, seq_nr, reason, "snapshot failed, entity goes on");
                PersistenceSignal::SnapshotFailed { seq_nr, reason }
            }
        };
        self.signal(ctx, &signal);
    }

    fn signal(&self, ctx: &mut Context<E>, signal: &PersistenceSignal) {
        if let Some(life) = &self.life {
            self.setup.entity.on_signal(&life.state, ctx, signal);
        }
    }
}

impl<E: EventSourced> Actor for EventSourcedActor<E> {
    type Message = E::Command;

    async fn started(&mut self, ctx: &mut ActorContext<Self::Message>) -> Handled {
        let system = ctx.system().clone();
        match recover(&self.setup, &system).await {
            Ok(Ready { state, highest_seq, snapshot, commands, fence }) => {
                self.setup.common.failures.lock().clear();
                self.life = Some(Life {
                    state,
                    highest_seq,
                    commands,
                    fence,
                    schedule: SnapshotSchedule::new(self.setup.entity.retention(), snapshot.unwrap_or(0)),
                    under_way: None,
                    older: snapshot.is_some(),
                    snapshots: snapshot.into_iter().collect(),
                });
                self.signal(ctx, &PersistenceSignal::RecoveryCompleted { highest_seq });
                Ok(Behavior::Same)
            }
            Err(failure) => self.setup.common.recovery_failed(&self.setup.entity.persistence_id(), failure),
        }
    }

    async fn receive(&mut self, ctx: &mut ActorContext<Self::Message>, mut command: Self::Message) -> Handled {
        let Some(life) = &self.life else {
            return self.setup.common.without_state(self.waiting.lost.as_ref(), command);
        };
        let clock = ctx.clock().clone();
        let now_ms = clock.wall_ms();
        let entity = &self.setup.entity;
        let id = match repeated(|| entity.persistence_id(), &life.commands, entity.once(&mut command), now_ms) {
            Repeated::No(id) => id,
            Repeated::Answered => return Ok(Behavior::Same),
            Repeated::Reused(command) => {
                self.signal(ctx, &PersistenceSignal::CommandIdReused { command });
                return Ok(Behavior::Same);
            }
        };
        let effect = self.setup.entity.handle_command(&life.state, command);
        let Some(Effect { primary, chained, answer }) = decided(&self.setup, &clock, effect).await else {
            return Ok(Behavior::Same);
        };
        let answer = match answer.transpose() {
            Ok(answer) => answer,
            Err(error) => {
                let reason = format!("the answer cannot be encoded: {error}");
                return self.persist_failed(ctx, chained, AppendError::Rejected { reason }.into());
            }
        };
        let mut unhandled = false;
        match primary {
            Primary::Persist(events) => {
                let command = id.map(|id| (id, answer));
                if let Err(failure) = self.persist(ctx, events, command, now_ms).await {
                    return self.persist_failed(ctx, chained, failure);
                }
            }
            Primary::Stash(command) => self.waiting.stash(&self.setup.entity.persistence_id(), command),
            Primary::Unhandled => unhandled = true,
            Primary::None | Primary::Later(_) => {
                if let (Some(id), Some(answer), Some(life)) = (id, answer, &mut self.life) {
                    let answered = life.commands.answered(id, Some(answer), now_ms);
                    life.commands.remember(answered);
                }
            }
        }
        let Some(life) = &mut self.life else { return Ok(Behavior::Same) };
        let Performed { behavior, snapshot } =
            chained.perform(&life.state, life.highest_seq, ctx, &mut self.waiting.stash);
        if snapshot {
            life.schedule.asked();
        }
        self.snapshot_if_due(ctx, behavior).await;
        Ok(if unhandled && behavior == Behavior::Same { Behavior::Unhandled } else { behavior })
    }

    async fn on_signal(&mut self, ctx: &mut ActorContext<Self::Message>, signal: Signal) -> Handled {
        let (Signal::Terminated(child) | Signal::ChildFailed { child, .. }) = &signal else {
            return Ok(Behavior::Unhandled);
        };
        if let Some(lost) = &self.waiting.lost {
            return Ok(lost.ended(child));
        }
        let Some(life) = &mut self.life else { return Ok(Behavior::Unhandled) };
        let Some(under_way) = life.under_way.take_if(|under_way| under_way.is(child)) else {
            return Ok(Behavior::Unhandled);
        };
        let report = under_way.end(life.snapshots.clone(), life.older).await;
        self.snapshot_ended(ctx, report);
        self.snapshot_if_due(ctx, Behavior::Same).await;
        Ok(Behavior::Same)
    }
}

/// Applies events that follow number `before`, and answers whether one of them calls for a snapshot.
fn apply<'e, E: EventSourced>(
    entity: &E,
    state: &mut E::State,
    events: impl IntoIterator<Item = &'e E::Event>,
    before: u64,
) -> bool {
    let mut snapshot = false;
    for (seq_nr, event) in (before + 1..).zip(events) {
        E::handle_event(state, event);
        snapshot |= entity.snapshot_when(state, event, seq_nr);
    }
    snapshot
}

/// Awaits an effect that is decided later; nothing, if it takes too long.
async fn decided<E: EventSourced>(setup: &Setup<E>, clock: &Clock, mut effect: Effect<E>) -> Option<Effect<E>> {
    while let Primary::Later(decision) = effect.primary {
        let Ok(decided) = clock.timeout(setup.common.asynchronous_timeout, decision).await else {
            let (id, limit) = (setup.entity.persistence_id(), setup.common.asynchronous_timeout);
            tracing::warn!(%id, ?limit, "asynchronous effect dropped: it took too long");
            return None;
        };
        effect = Effect {
            primary: decided.primary,
            chained: decided.chained.then(effect.chained),
            answer: decided.answer.or(effect.answer),
        };
    }
    Some(effect)
}
