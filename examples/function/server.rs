//! What is served, and the server.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use proto::cloudstate::action::action_protocol_server::ActionProtocolServer;
use proto::cloudstate::crdt::crdt_server::CrdtServer;
use proto::cloudstate::entity_discovery_server::{EntityDiscovery, EntityDiscoveryServer};
use proto::cloudstate::entity_passivation_strategy::Strategy;
use proto::cloudstate::eventsourced::event_sourced_server::EventSourcedServer;
use proto::cloudstate::valueentity::value_entity_server::ValueEntityServer;
use proto::cloudstate::{
    Entity, EntityPassivationStrategy, EntitySpec, ProxyInfo, ServiceInfo, TimeoutPassivationStrategy,
    UserFunctionError,
};
use tokio::net::TcpListener;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use super::Refused;
use super::action::{self, Action};
use super::crdt::{self, Crdt};
use super::event_sourced::{self, EventSourced};
use super::value_entity::{self, ValueEntity};

/// A service and how its entities are kept.
#[derive(Debug, Clone, Copy)]
pub struct Served {
    service: &'static str,
    persistence_id: &'static str,
    passivation: Option<Duration>,
}

impl Served {
    /// The entities of `service`, stored under `persistence_id`, which no other service may have.
    pub const fn new(service: &'static str, persistence_id: &'static str) -> Self {
        Self { service, persistence_id, passivation: None }
    }

    /// The service's full name.
    pub const fn service(&self) -> &'static str {
        self.service
    }

    /// How long an entity without commands stays in memory; the sidecar has a default of its own.
    #[must_use]
    pub const fn passivated_after(mut self, idle: Duration) -> Self {
        self.passivation = Some(idle);
        self
    }
}

/// A user function: its services and what describes them.
pub struct Function {
    spec: EntitySpec,
    pub(super) event_sourced: event_sourced::Services,
    value_entities: value_entity::Services,
    pub(super) crdts: crdt::Services,
    actions: action::Services,
}

impl Function {
    /// A function without services yet. `descriptors` is the compiled `.proto` files with all they import.
    pub fn new(name: &str, descriptors: &'static [u8]) -> Self {
        let service_info = ServiceInfo {
            service_name: name.to_owned(),
            service_version: env!("CARGO_PKG_VERSION").to_owned(),
            service_runtime: "rust".to_owned(),
            support_library_name: env!("CARGO_PKG_NAME").to_owned(),
            support_library_version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol_major_version: 0,
            protocol_minor_version: 2,
        };
        Self {
            spec: EntitySpec { proto: descriptors.into(), entities: Vec::new(), service_info: Some(service_info) },
            event_sourced: Factories::default(),
            value_entities: Factories::default(),
            crdts: Factories::default(),
            actions: action::Services::default(),
        }
    }

    /// Serves event sourced entities; `make` is given an entity's id when it becomes active.
    #[must_use]
    pub fn event_sourced<E: EventSourced>(
        mut self,
        served: Served,
        make: impl Fn(&str) -> E + Send + Sync + 'static,
    ) -> Self {
        self.declare("cloudstate.eventsourced.EventSourced", served);
        self.event_sourced.add(served.service, Arc::new(move |id| Box::new(make(id))));
        self
    }

    /// Serves value entities.
    #[must_use]
    pub fn value_entity<E: ValueEntity>(
        mut self,
        served: Served,
        make: impl Fn(&str) -> E + Send + Sync + 'static,
    ) -> Self {
        self.declare("cloudstate.valueentity.ValueEntity", served);
        self.value_entities.add(served.service, Arc::new(move |id| Box::new(make(id))));
        self
    }

    /// Serves entities whose state is replicated.
    #[must_use]
    pub fn crdt<E: Crdt>(mut self, served: Served, make: impl Fn(&str) -> E + Send + Sync + 'static) -> Self {
        self.declare("cloudstate.crdt.Crdt", served);
        self.crdts.add(served.service, Arc::new(move |id| Box::new(make(id))));
        self
    }

    /// Serves calls without state.
    #[must_use]
    pub fn action(mut self, service: &'static str, logic: impl Action) -> Self {
        self.declare("cloudstate.action.ActionProtocol", Served::new(service, ""));
        self.actions.add(service, logic);
        self
    }

    /// Serves until `stopped` is ready. What is under way then may finish, but not for ever: the
    /// sidecar keeps the streams of its entities open until it is stopped itself.
    ///
    /// # Errors
    ///
    /// When the connections cannot be accepted.
    pub async fn serve(
        self,
        listener: TcpListener,
        stopped: impl Future<Output = ()>,
    ) -> Result<(), tonic::transport::Error> {
        let (stopping, stop) = tokio::sync::oneshot::channel();
        let serving = tonic::transport::Server::builder()
            .add_service(EntityDiscoveryServer::new(Discovery(self.spec)))
            .add_service(EventSourcedServer::new(self.event_sourced).max_decoding_message_size(MESSAGE_MAX))
            .add_service(ValueEntityServer::new(self.value_entities).max_decoding_message_size(MESSAGE_MAX))
            .add_service(CrdtServer::new(self.crdts).max_decoding_message_size(MESSAGE_MAX))
            .add_service(ActionProtocolServer::new(self.actions).max_decoding_message_size(MESSAGE_MAX))
            .serve_with_incoming_shutdown(TcpIncoming::from(listener).with_nodelay(Some(true)), async move {
                // An error means that nobody can stop the server any more, so it may stop.
                let _ = stop.await;
            });
        let grace_over = async {
            stopped.await;
            // Whoever is not there any more needs no stopping.
            let _ = stopping.send(());
            actors::Clock::tokio().sleep(STOP_WITHIN).await;
        };
        tokio::select! {
            served = serving => served,
            () = grace_over => Ok(()),
        }
    }

    fn declare(&mut self, entity_type: &str, served: Served) {
        let timeout = served
            .passivation
            .map(|idle| TimeoutPassivationStrategy { timeout: i64::try_from(idle.as_millis()).unwrap_or(i64::MAX) });
        self.spec.entities.push(Entity {
            entity_type: entity_type.to_owned(),
            service_name: served.service.to_owned(),
            persistence_id: served.persistence_id.to_owned(),
            passivation_strategy: timeout
                .map(|timeout| EntityPassivationStrategy { strategy: Some(Strategy::Timeout(timeout)) }),
        });
    }
}

/// The largest message taken from the sidecar, which takes as much from us.
const MESSAGE_MAX: usize = 12 * 1024 * 1024;

/// How long what is under way may take after the function was told to stop.
const STOP_WITHIN: Duration = Duration::from_secs(5);

struct Discovery(EntitySpec);

#[tonic::async_trait]
impl EntityDiscovery for Discovery {
    async fn discover(&self, _: Request<ProxyInfo>) -> Result<Response<EntitySpec>, Status> {
        Ok(Response::new(self.0.clone()))
    }

    async fn report_error(&self, request: Request<UserFunctionError>) -> Result<Response<()>, Status> {
        eprintln!("the sidecar reports: {}", request.into_inner().message);
        Ok(Response::new(()))
    }
}

/// How the entities of each service are made.
pub(super) struct Factories<E: ?Sized>(HashMap<String, Make<E>>);

type Make<E> = Arc<dyn Fn(&str) -> Box<E> + Send + Sync>;

impl<E: ?Sized> Factories<E> {
    fn add(&mut self, service: &str, make: Make<E>) {
        self.0.insert(service.to_owned(), make);
    }

    /// The entity `id` of `service`.
    pub(super) fn make(&self, service: &str, id: &str) -> Result<Box<E>, Refused> {
        self.0.get(service).map(|make| make(id)).ok_or_else(|| Refused(format!("there is no service [{service}]")))
    }
}

impl<E: ?Sized> Default for Factories<E> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<E: ?Sized> Clone for Factories<E> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// What is said to a message before the init.
pub(super) fn missing_init() -> Refused {
    Refused("expected init as the first message".to_owned())
}
