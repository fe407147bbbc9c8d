//! The actor that runs a [`DurableState`] entity: one command, one write, then its effects.
//!
//! Invariant: nobody sees a state that is not durable. A command's handler, its write and its effects are one turn, so
//! no other command runs in between.

use crate::{
    Answered, AppendError, CommandWindow, DeleteState, DurableState, Fence, PersistFailed, PersistenceSignal, PutState,
    StateEffect, WithCommands,
    adapted::marker,
    chained::{Chain, Performed},
    common::{Waiting, batch_id},
    dedupe::{Repeated, repeated},
    durable_state_behavior::StateSetup,
    recovering::{Ready, recover_state},
    settling::{AfterFailure, Overwritten, WriteFailure, write_settled},
    state_effect::StatePrimary,
};
use actors::{Actor, ActorContext, ActorSystem, Behavior, Clock, Handled, Signal};
use parking_lot::Mutex;
use std::sync::Arc;

/// What [`DurableStateBehavior`](crate::DurableStateBehavior) turns into when it is spawned.
pub struct DurableStateActor<D: DurableState> {
    setup: Arc<StateSetup<D>>,
    life: Option<Life<D>>, // `None` until recovered, and after a failed write: then the state is not to be believed
    waiting: Waiting<D::Command>,
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
        Self { setup, life: None, waiting: Waiting::new() }
    }

    /// Stores `state`, or takes the stored one away; says why not, and then the state is untouched.
    async fn write(
        &mut self,
        system: &ActorSystem,
        state: Option<D::State>,
        answered: Option<Answered>,
        time_ms: u64,
    ) -> Result<(), WriteFailure> {
        let setup = &self.setup;
        let life = self.life.as_mut().ok_or_else(|| PersistFailed::not_recovered().0)?;
        let (id, fence, expected_revision) = (setup.entity.persistence_id(), life.fence.clone(), life.revision);
        let batch_id = batch_id(system, &fence);
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
        life.revision = write_settled(system.clock(), setup.common.write_timeout, Overwritten::Perhaps, write).await?;
        life.state = state.into_inner().unwrap_or_default();
        life.commands.extend(answered);
        Ok(())
    }

    fn write_failed(
        &mut self,
        ctx: &mut Context<D>,
        chained: Chain<D::Command, D::State>,
        failure: WriteFailure,
    ) -> Handled {
        self.signal(ctx, &failure.signal());
        if failure.after != AfterFailure::GoOn {
            self.life = None;
        }
        let id = self.setup.entity.persistence_id();
        self.setup.common.write_failed(ctx, id, chained, failure, &mut self.waiting)
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
        let system = ctx.system().clone();
        match recover_state(&self.setup, &system).await {
            Ok(Ready { state, highest_seq, commands, fence, .. }) => {
                self.setup.common.failures.lock().clear();
                self.life = Some(Life { state, revision: highest_seq, commands, fence });
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
                self.waiting.stash(&self.setup.entity.persistence_id(), command);
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
            if let Err(failure) = self.write(ctx.system(), state, answered, now_ms).await {
                return self.write_failed(ctx, chained, failure);
            }
        }
        let Some(life) = &self.life else { return Err(PersistFailed::not_recovered().into()) };
        let Performed { behavior, .. } = chained.perform(&life.state, life.revision, ctx, &mut self.waiting.stash);
        Ok(if unhandled && behavior == Behavior::Same { Behavior::Unhandled } else { behavior })
    }

    async fn on_signal(&mut self, _ctx: &mut ActorContext<Self::Message>, signal: Signal) -> Handled {
        let (Signal::Terminated(child) | Signal::ChildFailed { child, .. }) = &signal else {
            return Ok(Behavior::Unhandled);
        };
        Ok(self.waiting.lost.as_ref().map_or(Behavior::Unhandled, |lost| lost.ended(child)))
    }
}

/// Awaits an effect that is decided later; nothing, if it takes too long.
async fn decided<D: DurableState>(
    setup: &StateSetup<D>,
    clock: &Clock,
    mut effect: StateEffect<D>,
) -> Option<StateEffect<D>> {
    while let StatePrimary::Later(decision) = effect.primary {
        let Ok(decided) = clock.timeout(setup.common.asynchronous_timeout, decision).await else {
            let (id, limit) = (setup.entity.persistence_id(), setup.common.asynchronous_timeout);
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
