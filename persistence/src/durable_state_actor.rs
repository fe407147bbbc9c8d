//! The actor that runs a [`DurableState`] entity: one command, one write, then its effects.
//!
//! Invariant: nobody sees a state that is not durable. A command's handler, its write and its effects are one turn, so
//! no other command runs in between.

use crate::{
    AppendError, DeleteState, DurableState, Fence, PersistFailed, PersistenceSignal, PutState, StateEffect,
    chained::{AfterFailure, Chain},
    durable_state::StateSetup,
    recovering::{Ready, recover_state},
    state_effect::StatePrimary,
};
use actors::{Actor, ActorContext, Behavior, Clock, Handled, StashBuffer};
use std::sync::Arc;

/// Commands an entity may [`stash`](StateEffect::stash).
const STASH: usize = 4_096;

/// What [`DurableStateBehavior`](crate::DurableStateBehavior) turns into when it is spawned.
pub struct DurableStateActor<D: DurableState> {
    setup: Arc<StateSetup<D>>,
    life: Option<Life<D>>, // `None` until recovered, and after a failed write: then the state is not to be believed
    stash: StashBuffer<D::Command>,
}

struct Life<D: DurableState> {
    state: D::State,
    revision: u64,
    fence: Fence,
}

impl<D: DurableState> DurableStateActor<D> {
    pub(crate) fn new(setup: Arc<StateSetup<D>>) -> Self {
        Self { setup, life: None, stash: StashBuffer::with_capacity(STASH) }
    }

    /// Stores `state`, or takes the stored one away; says why not, and then the state is untouched.
    async fn write(&mut self, clock: &Clock, state: Option<D::State>) -> Result<(), AppendError> {
        let setup = &self.setup;
        let life = self.life.as_mut().ok_or_else(|| PersistFailed::not_recovered().0)?;
        let (id, fence, expected_revision) = (setup.entity.persistence_id(), life.fence.clone(), life.revision);
        let (batch_id, time_ms) = (rand::random(), clock.wall_ms());
        let written = match state.clone() {
            Some(state) => setup.store.upsert(PutState { id, expected_revision, fence, batch_id, time_ms, state }),
            None => setup.store.delete(DeleteState { id, expected_revision, fence, batch_id, time_ms, marker: None }),
        };
        life.revision = match clock.timeout(setup.write_timeout, written).await {
            Ok(outcome) => outcome?,
            Err(elapsed) => return Err(AppendError::Unknown { reason: elapsed.to_string() }),
        };
        life.state = state.unwrap_or_default();
        Ok(())
    }

    /// What the failure table says: certainly not stored, go on; else stop, and only an unknown outcome may restart.
    fn write_failed(
        &mut self,
        ctx: &mut ActorContext<D::Command>,
        chained: Chain<D::Command, D::State>,
        error: AppendError,
    ) -> Handled {
        let id = self.setup.entity.persistence_id();
        let after = AfterFailure::of(&error);
        if after == AfterFailure::GoOn {
            tracing::warn!(%id, %error, "state not stored, entity goes on");
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

    fn signal(&self, ctx: &mut ActorContext<D::Command>, signal: &PersistenceSignal) {
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
            Ok(Ready { state, highest_seq, fence, .. }) => {
                self.setup.failures.lock().clear();
                self.life = Some(Life { state, revision: highest_seq, fence });
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
        let StateEffect { primary, chained } = self.setup.entity.handle_command(&life.state, command);
        let mut unhandled = false;
        let write = match primary {
            StatePrimary::None => None,
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
        };
        if let Some(state) = write {
            let clock = ctx.clock().clone();
            if let Err(error) = self.write(&clock, state).await {
                return self.write_failed(ctx, chained, error);
            }
        }
        let Some(life) = &self.life else { return Err(PersistFailed::not_recovered().into()) };
        Ok(match chained.perform(&life.state, ctx, &mut self.stash) {
            Behavior::Same if unhandled => Behavior::Unhandled,
            behavior => behavior,
        })
    }
}
