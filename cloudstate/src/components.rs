//! Starts what serves each service, one component a service, whatever its kind.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use actors::ActorSystem;
use persistence::{Fence, JournalError, SLICES};
use tokio::sync::Semaphore;

use crate::entity::Component;
use crate::entity::action::{ActionComponent, ActionSettings};
use crate::entity::crdt::{CrdtComponent, CrdtFactory, CrdtSettings};
use crate::entity::durable::{DurableFactory, DurableSettings, Protocol};
use crate::entity::event_sourced::EventSourced;
use crate::entity::places::StreamPlaces;
use crate::entity::region::{Region, RegionComponent};
use crate::entity::value::ValueEntity;
use crate::replicator::Replicator;
use crate::router::Router;
use crate::spec::{EntityType, ServedSpec, ServiceSpec};
use crate::store::Store;
use crate::telemetry::EntityMetrics;
use crate::user_function::UserFunction;

/// By service name.
pub(crate) type ByService = HashMap<Arc<str>, Arc<dyn Component>>;

/// What components are made of.
pub(crate) struct Components {
    pub(crate) system: ActorSystem,
    pub(crate) store: Store,
    pub(crate) function: UserFunction,
    pub(crate) router: Arc<Router>,
    /// Of entities with a store; the passivation timeout is that of event-sourced ones.
    pub(crate) durable: DurableSettings,
    pub(crate) value_passivation_timeout: Duration,
    pub(crate) crdt: CrdtSettings,
    /// The values of CRDT entities.
    pub(crate) replicator: Replicator,
    /// How many entities may replay at the same time.
    pub(crate) recoveries: Arc<Semaphore>,
    /// The newest snapshots of an entity that are kept.
    pub(crate) snapshots_kept: NonZeroUsize,
    /// Places for open entity streams.
    pub(crate) places: StreamPlaces,
    pub(crate) drain_timeout: Duration,
}

impl Components {
    /// The components for `spec`: those that run are kept, missing ones are started once all their shards are claimed,
    /// so that a store that fails in between leaves nothing running that nobody knows of.
    ///
    /// All shards of a service are claimed before anything is read: an older sidecar on the same store can change
    /// nothing from here on.
    pub(crate) async fn serve(&self, spec: &ServedSpec, running: &ByService) -> Result<ByService, JournalError> {
        let mut components = running.clone();
        let missing: Vec<_> = spec.services.iter().filter(|service| !components.contains_key(&service.name)).collect();
        let stored = missing.iter().filter(|service| is_stored(service.entity_type));
        let claims = stored.map(|service| async move {
            let fences = self.store.journal.claim_all(service.persistence_id.clone(), 0..SLICES).await?;
            Ok::<_, JournalError>((service.name.clone(), fences))
        });
        let mut fences: HashMap<_, _> = futures_util::future::try_join_all(claims).await?.into_iter().collect();
        for service in missing {
            let fences = fences.remove(&service.name).unwrap_or_default();
            components.insert(service.name.clone(), self.start(service, fences));
        }
        Ok(components)
    }

    fn start(&self, service: &Arc<ServiceSpec>, fences: Vec<Fence>) -> Arc<dyn Component> {
        let store = &self.store;
        match service.entity_type {
            EntityType::EventSourced => {
                let protocol = EventSourced {
                    journal: store.journal.clone(),
                    snapshots: store.snapshots.clone(),
                    snapshots_kept: self.snapshots_kept,
                };
                self.region(service, fences, protocol, self.durable.passivation_timeout)
            }
            EntityType::ValueEntity => {
                let protocol = ValueEntity { states: store.states.clone() };
                self.region(service, fences, protocol, self.value_passivation_timeout)
            }
            EntityType::Action => {
                let settings = ActionSettings {
                    connect_timeout: self.durable.connect_timeout,
                    relay_timeout: service.relay_timeout.unwrap_or(self.durable.command_timeout),
                };
                let metrics = EntityMetrics::for_entity(service.entity_type, &service.name);
                Arc::new(ActionComponent::new(self.function.clone(), self.router.clone(), settings, metrics))
            }
            EntityType::Crdt => self.crdt_region(service),
        }
    }

    fn crdt_region(&self, service: &Arc<ServiceSpec>) -> Arc<dyn Component> {
        let relay_timeout = service.relay_timeout.unwrap_or(self.crdt.command_timeout);
        let clock = self.system.clock();
        let waiting_max = self.crdt.waiting_max;
        let factory = CrdtFactory {
            service: service.clone(),
            replicator: self.replicator.clone(),
            function: self.function.clone(),
            router: self.router.clone(),
            settings: CrdtSettings { command_timeout: relay_timeout, ..self.crdt.clone() },
            places: self.places.clone(),
            metrics: EntityMetrics::for_entity(service.entity_type, &service.persistence_id),
            created_at: clock.now(),
        };
        let region = RegionComponent {
            region: self.system.spawn(format!("region-{}", service.name), Region::new(factory, waiting_max)),
            clock: clock.clone(),
            relay_timeout,
            drain_timeout: self.drain_timeout,
        };
        Arc::new(CrdtComponent::new(region, self.router.clone()))
    }

    fn region<P: Protocol>(
        &self,
        service: &Arc<ServiceSpec>,
        fences: Vec<Fence>,
        protocol: P,
        passivation_timeout: Duration,
    ) -> Arc<dyn Component> {
        let relay_timeout = service.relay_timeout.unwrap_or(self.durable.command_timeout);
        let settings = DurableSettings { passivation_timeout, command_timeout: relay_timeout, ..self.durable.clone() };
        let clock = self.system.clock();
        let waiting_max = settings.waiting_max;
        let factory = DurableFactory {
            protocol,
            service: service.clone(),
            fences: fences.into(),
            function: self.function.clone(),
            router: self.router.clone(),
            settings,
            recoveries: self.recoveries.clone(),
            places: self.places.clone(),
            metrics: EntityMetrics::for_entity(service.entity_type, &service.persistence_id),
            created_at: clock.now(),
        };
        Arc::new(RegionComponent {
            region: self.system.spawn(format!("region-{}", service.name), Region::new(factory, waiting_max)),
            clock: clock.clone(),
            relay_timeout,
            drain_timeout: self.drain_timeout,
        })
    }
}

/// Whether entities of this type are claimed in the store.
const fn is_stored(kind: EntityType) -> bool {
    matches!(kind, EntityType::EventSourced | EntityType::ValueEntity)
}
