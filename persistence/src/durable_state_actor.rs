//! The actor that runs a [`DurableState`] entity: one command, one write, then its effects.
//!
//! Invariant: nobody sees a state that is not durable. A command's handler, its write and its effects are one turn, so
//! no other command runs in between.

use crate::{
    Answered, AppendError, CommandId, CommandWindow, DeleteState, DurableState, Fence, Found, NotOwner, PersistFailed,
    PersistenceSignal, PutState, StateEffect, WithCommands,
    adapted::marker,
    chained::{Chain, Performed},
    durable_state_behavior::StateSetup,
    lost::Lost,
    recovering::{Ready, recover_state},
    settling::{AfterFailure, Overwritten, WriteFailure, write_settled},
    state_effect::StatePrimary,
};
use actors::{Actor, ActorContext, Behavior, Clock, Handled, Signal, StashBuffer};
use parking_lot::Mutex;
use std::sync::Arc;

/// Commands an entity may [`stash`](StateEffect::stash).
const STASH: usize = 4_096;

/// What [`DurableStateBehavior`](crate::DurableStateBehavior) turns into when it is spawned.
pub struct DurableStateActor<D: DurableState> {
    setup: Arc<StateSetup<D>>,
    life: Option<Life<D>>, // `None` until recovered, and after a failed write: then the state is not to be believed
    stash: StashBuffer<D::Command>,
    lost: Option<Lost>,
}

struct Life<D: DurableState> {
    state: D::State,
    revision: u64,
    commands: CommandWindow,
    fence: Fence,
}

type Context<D> = ActorContext<<D as DurableState>::Command>;

impl<D: DurableState> DurableStateActor<D> {
    pub(crate) fn new(setup: Arc<StateSetup<D>>) -> Self {
        Self { setup, life: None, stash: StashBuffer::with_capacity(STASH), lost: None }
    }

    /// Answers a command that was carried out before. Otherwise its id, if it has one.
    fn repeated(
        &self,
        ctx: &mut Context<D>,
        life: &Life<D>,
        command: &mut D::Command,
        now_ms: u64,
    ) -> Result<Option<CommandId>, ()> {
        let Some(once) = self.setup.entity.once(command) else { return Ok(None) };
        let id = once.command_id().clone();
        match life.commands.find(&id, now_ms) {
            Found::New => Ok(Some(id)),
            Found::Answered(reply) => {
                metrics::counter!("persistence_commands_repeated_total").increment(1);
                if let Err(error) = once.answer_again(reply) {
                    tracing::warn!(entity = %self.setup.entity.persistence_id(), command = id.as_str(), %error, "repeated command cannot be answered");
                }
                Err(())
            }
            Found::Reused => {
                tracing::warn!(entity = %self.setup.entity.persistence_id(), command = id.as_str(), "command dropped: its id is that of another one");
                self.setup.entity.on_signal(&life.state, ctx, &PersistenceSignal::CommandIdReused { command: id });
                Err(())
            }
        }
    }

    /// Stores `state`, or takes the stored one away; says why not, and then the state is untouched.
    async fn write(
        &mut self,
        clock: &Clock,
        state: Option<D::State>,
        answered: Option<Answered>,
        time_ms: u64,
    ) -> Result<(), WriteFailure> {
        let setup = &self.setup;
        let life = self.life.as_mut().ok_or_else(|| PersistFailed::not_recovered().0)?;
        let (id, fence, expected_revision) = (setup.entity.persistence_id(), life.fence.clone(), life.revision);
        let batch_id = rand::random();
        let window = life.commands.contents(answered.as_ref(), time_ms);
        // Behind a lock only because a state need not be `Sync`; nobody else has it.
        let state = Mutex::new(state);
        let write = || {
            let (id, fence) = (id.clone(), fence.clone());
            match state.lock().clone() {
                Some(state) => {
                    let tag = setup.entity.tag(&state);
                    let state = WithCommands { state, answered: window.clone() };
                    setup.store.upsert(PutState { id, expected_revision, fence, batch_id, time_ms, state, tag })
                }
                None => {
                    let marker = marker(&window);
                    setup.store.delete(DeleteState { id, expected_revision, fence, batch_id, time_ms, marker })
                }
            }
        };
        life.revision = write_settled(clock, setup.write_timeout, Overwritten::Perhaps, write).await?;
        life.state = state.into_inner().unwrap_or_default();
        life.commands.extend(answered);
        Ok(())
    }

    /// What the failure table says: certainly not stored, go on; else stop, and only an unknown outcome may restart.
    fn write_failed(
        &mut self,
        ctx: &mut Context<D>,
        chained: Chain<D::Command, D::State>,
        failure: WriteFailure,
    ) -> Handled {
        let id = self.setup.entity.persistence_id();
        let WriteFailure { error, after } = failure;
        if after == AfterFailure::GoOn {
            tracing::warn!(%id, %error, "state not stored, entity goes on");
            self.signal(ctx, &PersistenceSignal::PersistRejected(error.clone()));
        } else {
            tracing::error!(%id, %error, "persisting failed, entity stops");
            self.signal(ctx, &PersistenceSignal::PersistFailed(error.clone()));
            self.life = None;
        }
        chained.write_failed(&error);
        match (after, &self.setup.not_owner) {
            (AfterFailure::GoOn, _) => Ok(Behavior::Same),
            (AfterFailure::StopForGood, None) => Ok(Behavior::Stopped),
            (AfterFailure::StopForGood, Some(told)) => {
                told(NotOwner::Lost { id, error });
                // What is held back comes first, then what waits in the mailbox.
                ctx.unstash_all(&mut self.stash);
                self.lost = Some(Lost::begin(ctx));
                Ok(Behavior::Same)
            }
            (AfterFailure::StartOver, _) => Err(PersistFailed(error).into()),
        }
    }

    fn signal(&self, ctx: &mut Context<D>, signal: &PersistenceSignal) {
        if let Some(life) = &self.life {
            self.setup.entity.on_signal(&life.state, ctx, signal);
        }
    }
}

impl<D: DurableState> Actor for DurableStateActor<D> {
    type Message = D::Command;

    async fn started(&mut self, ctx: &mut ActorContext<Self::Message>) -> Handled {
        let clock = ctx.clock().clone();
        match recover_state(&self.setup, &clock).await {
            Ok(Ready { state, highest_seq, commands, fence, .. }) => {
                self.setup.failures.lock().clear();
                self.life = Some(Life { state, revision: highest_seq, commands, fence });
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

    async fn receive(&mut self, ctx: &mut ActorContext<Self::Message>, mut command: Self::Message) -> Handled {
        let Some(life) = &self.life else {
            if let (Some(_), Some(told)) = (&self.lost, &self.setup.not_owner) {
                told(NotOwner::Command(command));
                return Ok(Behavior::Same);
            }
            // Only a supervisor told to resume comes here without a state; it does not get its way.
            return Err(PersistFailed::not_recovered().into());
        };
        let clock = ctx.clock().clone();
        let now_ms = clock.wall_ms();
        let Ok(id) = self.repeated(ctx, life, &mut command, now_ms) else { return Ok(Behavior::Same) };
        let effect = self.setup.entity.handle_command(&life.state, command);
        let Some(StateEffect { primary, chained, answer }) = decided(&self.setup, &clock, effect).await else {
            return Ok(Behavior::Same);
        };
        let Some(life) = &mut self.life else { return Err(PersistFailed::not_recovered().into()) };
        let answer = match answer.transpose() {
            Ok(answer) => answer,
            Err(error) => {
                let reason = format!("the answer cannot be encoded: {error}");
                return self.write_failed(ctx, chained, AppendError::Rejected { reason }.into());
            }
        };
        let mut unhandled = false;
        let write = match primary {
            StatePrimary::Persist(state) => Some(Some(state)),
            StatePrimary::Delete => Some(None),
            StatePrimary::Unhandled => {
                unhandled = true;
                None
            }
            StatePrimary::Stash(command) => {
                if let Err(full) = self.stash.stash(command) {
                    tracing::warn!(id = %self.setup.entity.persistence_id(), %full, "command dropped");
                }
                None
            }
            StatePrimary::None | StatePrimary::Later(_) => {
                if let (Some(id), Some(answer)) = (&id, &answer) {
                    let answered = life.commands.answered(id.clone(), Some(answer.clone()), now_ms);
                    life.commands.remember(answered);
                }
                None
            }
        };
        if let Some(state) = write {
            let answered = id.map(|id| life.commands.answered(id, answer, now_ms));
            if let Err(failure) = self.write(&clock, state, answered, now_ms).await {
                return self.write_failed(ctx, chained, failure);
            }
        }
        let Some(life) = &self.life else { return Err(PersistFailed::not_recovered().into()) };
        let Performed { behavior, .. } = chained.perform(&life.state, life.revision, ctx, &mut self.stash);
        Ok(if unhandled && behavior == Behavior::Same { Behavior::Unhandled } else { behavior })
    }

    async fn on_signal(&mut self, _ctx: &mut ActorContext<Self::Message>, signal: Signal) -> Handled {
        let (Signal::Terminated(child) | Signal::ChildFailed { child, .. }) = &signal else {
            return Ok(Behavior::Unhandled);
        };
        Ok(self.lost.as_ref().map_or(Behavior::Unhandled, |lost| lost.ended(child)))
    }
}

/// Awaits an effect that is decided later; nothing, if it takes too long.
async fn decided<D: DurableState>(
    setup: &StateSetup<D>,
    clock: &Clock,
    mut effect: StateEffect<D>,
) -> Option<StateEffect<D>> {
    while let StatePrimary::Later(decision) = effect.primary {
        let Ok(decided) = clock.timeout(setup.asynchronous_timeout, decision).await else {
            let (id, limit) = (setup.entity.persistence_id(), setup.asynchronous_timeout);
            tracing::warn!(%id, ?limit, "asynchronous effect dropped: it took too long");
            return None;
        };
        effect = StateEffect {
            primary: decided.primary,
            chained: decided.chained.then(effect.chained),
            answer: decided.answer.or(effect.answer),
        };
    }
    Some(effect)
}
