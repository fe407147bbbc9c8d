//! What the entities of one service share, and how one is made.

use std::sync::Arc;
use std::time::Duration;

use actors::Tick;
use persistence::{Fence, PersistenceId};
use tokio::sync::Semaphore;

use super::protocol::{Identity, Protocol};
use super::state::{Limits, State};
use super::{Activation, DurableEntity, Internal};
use crate::entity::places::StreamPlaces;
use crate::entity::region::{EntityFactory, Passivate};
use crate::router::Router;
use crate::spec::ServiceSpec;
use crate::telemetry::EntityMetrics;
use crate::user_function::UserFunction;

/// Time limits and bounds of entities with a store.
#[derive(Debug, Clone)]
pub struct DurableSettings {
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
    /// Replies of one entity that may wait for the store while the function works on its next command.
    pub unsettled_max: usize,
    /// Largest event, state or snapshot that is stored, in bytes: SDK servers refuse what is larger than
    /// they accept in one message, so an entity with a larger one could never be loaded again.
    pub stored_size_max: usize,
}

/// Makes the entities of one service.
pub struct DurableFactory<P> {
    /// The kind of entity and its store.
    pub protocol: P,
    /// The service, as discovered.
    pub service: Arc<ServiceSpec>,
    /// The claim on each shard, by shard number.
    pub fences: Arc<[Fence]>,
    /// The user function.
    pub function: UserFunction,
    /// Runs side effects and forwards.
    pub router: Arc<Router>,
    /// Time limits and bounds.
    pub settings: DurableSettings,
    /// How many entities may replay at the same time.
    pub recoveries: Arc<Semaphore>,
    /// Places for open streams.
    pub places: StreamPlaces,
    /// Series of this service.
    pub metrics: EntityMetrics,
    /// Any time before the first entity is made.
    pub created_at: Tick,
}

impl<P: Protocol> EntityFactory for DurableFactory<P> {
    type Internal = Internal<P>;
    type Entity = DurableEntity<P>;

    fn create(&self, id: &Arc<str>, passivate: Passivate) -> DurableEntity<P> {
        let persistence_id = PersistenceId::of(&self.service.persistence_id, id);
        let fence = self.fences[usize::from(persistence_id.slice())].clone();
        let mut settings = self.settings.clone();
        if let Some(timeout) = self.service.passivation_timeout {
            settings.passivation_timeout = timeout;
        }
        // At the highest level: a log of errors alone has to name the entity too.
        let span = tracing::error_span!("entity", id = %persistence_id);
        let limits = Limits {
            waiting_max: settings.waiting_max,
            unsettled_max: settings.unsettled_max,
            stored_size_max: settings.stored_size_max,
        };
        DurableEntity {
            span,
            state: State::new(id.clone(), limits),
            activation: Activation {
                protocol: self.protocol.clone(),
                identity: Identity { service: self.service.name.clone(), entity_id: id.clone(), id: persistence_id },
                function: self.function.clone(),
                clock: self.function.clock().clone(),
                connect_within: settings.connect_timeout,
                outbound_max: settings.outbound_max,
                stall_timeout: settings.command_timeout,
                recoveries: self.recoveries.clone(),
                places: self.places.clone(),
                passivate,
                metrics: self.metrics.clone(),
            },
            fence,
            router: self.router.clone(),
            settings,
            metrics: self.metrics.clone(),
            snapshots: Arc::default(),
            generation: 0,
            stream: None,
            activating: None,
            active_at: self.created_at,
            sent_at: None,
            closing_at: None,
            activating_since: self.created_at,
            open_since: None,
            armed_until: self.created_at,
        }
    }
}
