//! What the entities of one service share, and how one is made.

use std::sync::Arc;
use std::time::Duration;

use actors::Tick;
use persistence::{Fence, Journal, PersistenceId, RawEvent, RawSnapshot, SnapshotStore};
use tokio::sync::Semaphore;

use super::activation::Activation;
use super::state::State;
use super::{EventSourcedEntity, Internal, Written};
use crate::entity::region::{EntityFactory, Passivate};
use crate::router::Router;
use crate::spec::ServiceSpec;
use crate::telemetry::EntityMetrics;
use crate::user_function::UserFunction;

/// Time limits and bounds of event-sourced entities.
#[derive(Debug, Clone)]
pub struct EventSourcedSettings {
    /// Idle time after which an entity is passivated, unless its service says otherwise.
    pub passivation_timeout: Duration,
    /// How long the user function may take to answer a command before its stream is given up.
    pub command_timeout: Duration,
    /// How long the user function may take to end a stream that we have half-closed.
    pub close_timeout: Duration,
    /// How long an activation waits for a user function that is not connected.
    pub connect_timeout: Duration,
    /// Messages towards the user function that may wait in one stream; a full buffer holds replay back.
    pub outbound_max: usize,
    /// Commands that may wait behind the one in progress.
    pub waiting_max: usize,
    /// Largest event or snapshot that is stored, in bytes: SDK servers refuse what is larger than
    /// they accept in one message, so an entity with a larger one could never be loaded again.
    pub stored_size_max: usize,
}

/// Makes the entities of one service.
pub struct EventSourcedFactory {
    /// The service, as discovered.
    pub service: Arc<ServiceSpec>,
    /// Where events are kept.
    pub journal: Arc<dyn Journal<RawEvent>>,
    /// Where snapshots are kept.
    pub snapshots: Arc<dyn SnapshotStore<RawSnapshot>>,
    /// The claim on each shard, by shard number.
    pub fences: Arc<[Fence]>,
    /// The user function.
    pub function: UserFunction,
    /// Runs side effects and forwards.
    pub router: Arc<Router>,
    /// Time limits and bounds.
    pub settings: EventSourcedSettings,
    /// How many entities may replay at the same time.
    pub recoveries: Arc<Semaphore>,
    /// Series of this service.
    pub metrics: EntityMetrics,
    /// Any time before the first entity is made.
    pub created_at: Tick,
}

impl EntityFactory for EventSourcedFactory {
    type Internal = Internal;
    type Entity = EventSourcedEntity;

    fn create(&self, id: &Arc<str>, passivate: Passivate) -> EventSourcedEntity {
        let persistence_id = PersistenceId::of(&self.service.persistence_id, id);
        let fence = self.fences[usize::from(persistence_id.slice())].clone();
        let mut settings = self.settings.clone();
        if let Some(timeout) = self.service.passivation_timeout {
            settings.passivation_timeout = timeout;
        }
        // At the highest level: a log of errors alone has to name the entity too.
        let span = tracing::error_span!("entity", id = %persistence_id);
        EventSourcedEntity {
            span,
            state: State::new(settings.waiting_max),
            activation: Activation {
                service: self.service.name.clone(),
                entity_id: id.clone(),
                id: persistence_id,
                journal: self.journal.clone(),
                snapshots: self.snapshots.clone(),
                function: self.function.clone(),
                connect_within: settings.connect_timeout,
                outbound_max: settings.outbound_max,
                stall_timeout: settings.command_timeout,
                recoveries: self.recoveries.clone(),
                metrics: self.metrics.clone(),
            },
            fence,
            router: self.router.clone(),
            settings,
            metrics: self.metrics.clone(),
            passivate,
            generation: 0,
            stream: None,
            activating: None,
            active_at: self.created_at,
            sent_at: None,
            written: Written::default(),
            closing_at: None,
            activating_since: self.created_at,
            open_since: None,
            armed_until: self.created_at,
        }
    }
}
