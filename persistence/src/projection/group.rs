//! [`Projections`]: the instances of one projection, as one.

use super::{Envelope, Place, Projection, ProjectionId, ProjectionMessage, ProjectionStatus, source::reads};
use crate::{AppendError, Offset, PersistenceId};
use actors::{ActorRef, ActorSystem, AskError};
use futures_util::future::{join_all, try_join_all};
use std::time::Duration;

/// The instances of one projection that run here, as one. A cheap handle.
#[derive(Clone)]
pub struct Projections(Vec<(ProjectionId, ActorRef<ProjectionMessage>)>);

/// Why not all instances were reset.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResetError {
    /// One did not answer in time: it may be reset or not.
    #[error(transparent)]
    NoAnswer(#[from] AskError),
    /// Its store refused. It goes on where it was.
    #[error(transparent)]
    Refused(#[from] AppendError),
}

/// Why it is not known whether an event has been handled.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WaitError {
    /// None of these instances reads what this id writes: another type, or slices of others.
    #[error("{id} is read by none of the instances here: ask where the one that reads slice {} runs", id.slice())]
    NotRead {
        /// Whose event it is.
        id: PersistenceId,
    },
    /// The time was over, or the instance has ended.
    #[error(transparent)]
    NoAnswer(#[from] AskError),
}

impl Projections {
    /// Starts `projection` in `parts` instances, each for its share of the slices; a single one keeps its own.
    ///
    /// # Panics
    /// When `parts` is 0 or more than there are slices, or when the name of one is taken: see [`ActorSystem::spawn`].
    pub fn spawn<I: Envelope>(system: &ActorSystem, projection: Projection<I>, parts: u16) -> Self {
        let instances = if parts == 1 { vec![projection] } else { projection.divided(parts) };
        let spawn = |instance: Projection<I>| {
            let id = instance.id().clone();
            (id, system.spawn_anonymous(instance))
        };
        Self(instances.into_iter().map(spawn).collect())
    }

    /// Waits until the event of `id` with this number is handled: whoever then reads what the projection writes sees it.
    ///
    /// # Errors
    /// The time is over, the projection has ended, or none of these reads it.
    pub async fn wait_until(&self, id: &PersistenceId, number: u64, within: Duration) -> Result<(), WaitError> {
        let readers = self.0.iter().filter(|(projection, _)| reads(projection, id));
        let asks: Vec<_> = readers
            .map(|(_, actor)| {
                actor.ask(|reply_to| ProjectionMessage::WaitUntil(Place::Number(id.clone(), number), reply_to), within)
            })
            .collect();
        if asks.is_empty() {
            return Err(WaitError::NotRead { id: id.clone() });
        }
        Ok(try_join_all(asks).await.map(drop)?)
    }

    /// Waits until all instances have handled everything up to `offset`.
    ///
    /// # Errors
    /// The time is over, or one has ended.
    pub async fn wait_until_offset(&self, offset: Offset, within: Duration) -> Result<(), AskError> {
        let asks = self.0.iter().map(|(_, actor)| {
            actor.ask(|reply_to| ProjectionMessage::WaitUntil(Place::Offset(offset), reply_to), within)
        });
        try_join_all(asks).await.map(drop)
    }

    /// How those are doing that answer in time.
    pub async fn status(&self, within: Duration) -> Vec<ProjectionStatus> {
        join_all(self.0.iter().map(|(_, actor)| actor.ask(ProjectionMessage::Status, within)))
            .await
            .into_iter()
            .flatten()
            .collect()
    }

    /// Has all instances go on from `offset`, [`Offset::START`] for everything again. None handles anything before all are
    /// reset, so that a reset that also empties tables, which runs once for each, takes nothing away. They run afterwards.
    ///
    /// # Errors
    /// The time for one is over, or a store refused: some are paused then, or reset. Reset again.
    pub async fn reset(&self, offset: Offset, within: Duration) -> Result<(), ResetError> {
        for (_, actor) in &self.0 {
            actor.ask(ProjectionMessage::Pause, within).await??;
        }
        for (_, actor) in &self.0 {
            actor.ask(|reply_to| ProjectionMessage::Reset(offset, reply_to), within).await??;
        }
        for (_, actor) in &self.0 {
            actor.ask(ProjectionMessage::Resume, within).await??;
        }
        Ok(())
    }

    /// Finishes what is under way, saves the offsets and ends.
    ///
    /// # Errors
    /// The time is over; they end all the same, by and by.
    pub async fn stop(&self, within: Duration) -> Result<(), AskError> {
        let asks = self.0.iter().map(|(_, actor)| actor.ask(ProjectionMessage::Stop, within));
        try_join_all(asks).await.map(drop)
    }

    /// The instances, for what else they can be asked.
    pub fn instances(&self) -> impl Iterator<Item = &ActorRef<ProjectionMessage>> {
        self.0.iter().map(|(_, actor)| actor)
    }
}
