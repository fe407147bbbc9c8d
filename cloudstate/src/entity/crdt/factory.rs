//! What the CRDT entities of one service share, and how one is made.

use std::sync::Arc;
use std::time::Duration;

use actors::Tick;

use super::activation::Activation;
use super::state::{Limits, State};
use super::value::Voters;
use super::{CrdtEntity, Internal};
use crate::entity::places::StreamPlaces;
use crate::entity::region::{EntityFactory, Passivate};
use crate::replicator::Replicator;
use crate::router::Router;
use crate::spec::ServiceSpec;
use crate::telemetry::EntityMetrics;
use crate::user_function::UserFunction;

/// Time limits and bounds of CRDT entities.
#[derive(Debug, Clone)]
pub struct CrdtSettings {
    /// Idle time after which an entity is passivated, unless its service says otherwise.
    pub passivation_timeout: Duration,
    /// How long the user function may take to answer a command. A caller who waits that long is told so; when the function
    /// has said nothing at all in that time its stream is given up.
    pub command_timeout: Duration,
    /// How long changes from elsewhere are held back for an answer to a cancellation, which is optional.
    pub cancel_timeout: Duration,
    /// How long the user function may take to end a stream that we have half-closed.
    pub close_timeout: Duration,
    /// How long an activation waits for a user function that is not connected.
    pub connect_timeout: Duration,
    /// How long an activation waits for other nodes' values; then this node's has to do.
    pub read_timeout: Duration,
    /// How long a write may take to reach as many nodes as it asks for.
    pub write_timeout: Duration,
    /// Commands of one entity that may be with the function at once, streamed ones until their first reply.
    pub outstanding_max: usize,
    /// Commands of one entity that may wait for its stream.
    pub waiting_max: usize,
}

/// Makes the CRDT entities of one service.
pub struct CrdtFactory {
    /// The service, as discovered.
    pub service: Arc<ServiceSpec>,
    /// Where the values are.
    pub replicator: Replicator,
    /// The user function.
    pub function: UserFunction,
    /// Runs side effects and forwards.
    pub router: Arc<Router>,
    /// Time limits and bounds.
    pub settings: CrdtSettings,
    /// Places for open streams.
    pub places: StreamPlaces,
    /// Series of this service.
    pub metrics: EntityMetrics,
    /// Any time before the first entity is made.
    pub created_at: Tick,
}

impl EntityFactory for CrdtFactory {
    type Internal = Internal;
    type Entity = CrdtEntity;

    fn create(&self, id: &Arc<str>, passivate: Passivate) -> CrdtEntity {
        let key: Arc<str> = format!("{}-{id}", self.service.persistence_id).into();
        let mut settings = self.settings.clone();
        if let Some(timeout) = self.service.passivation_timeout {
            settings.passivation_timeout = timeout;
        }
        let limits = Limits {
            outstanding_max: settings.outstanding_max,
            waiting_max: settings.waiting_max,
            command_timeout: settings.command_timeout,
            cancel_timeout: settings.cancel_timeout,
            close_timeout: settings.close_timeout,
        };
        let voters = Voters { own: self.replicator.replica(), members: self.replicator.members().borrow().clone() };
        CrdtEntity {
            // At the highest level: a log of errors alone has to name the entity too.
            span: tracing::error_span!("entity", id = %key),
            state: State::new(self.service.name.clone(), id.clone(), limits, voters, self.created_at),
            activation: Activation {
                key,
                replicator: self.replicator.clone(),
                function: self.function.clone(),
                clock: self.function.clock().clone(),
                connect_within: settings.connect_timeout,
                read_within: settings.read_timeout,
                place_within: settings.command_timeout,
                places: self.places.clone(),
                passivate,
            },
            router: self.router.clone(),
            settings,
            metrics: self.metrics.clone(),
            generation: 0,
            stream: None,
            activating: None,
            active_at: self.created_at,
            activating_since: self.created_at,
            open_since: None,
            armed_until: None,
        }
    }
}
