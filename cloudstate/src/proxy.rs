//! The sidecar as a whole: start, serve, drain.
//!
//! ```text
//! client ─▶ ingress ─▶ frontend ─▶ router ─▶ region ─▶ entity ⇄ user function
//!                                                        │
//!                                                        ▼
//!                                                      journal
//! ```

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use actors::{ActorRef, ActorSystem};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use persistence::{Fence, JournalError, SLICES};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::admin::Health;
use crate::config::ProxyConfig;
use crate::discovery::{Discovered, Discovery};
use crate::entity::event_sourced::{EventSourcedFactory, EventSourcedSettings};
use crate::entity::region::{Region, RegionMessage};
use crate::frontend::Frontend;
use crate::ingress::{self, BoundPort};
use crate::router::{Router, Table};
use crate::spec::{EntityType, ServedSpec, ServiceSpec};
use crate::store::Store;
use crate::telemetry::EntityMetrics;
use crate::user_function::{Link, UserFunction};

/// Why the sidecar could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The public port could not be taken.
    #[error("public port {address} cannot be opened: {reason}; choose another with --http-port or HTTP_PORT")]
    Port {
        /// The address asked for.
        address: SocketAddr,
        /// What the operating system says.
        reason: std::io::Error,
    },
}

/// A running sidecar. Dropping it stops it at once; [`Proxy::drain`] is the orderly way.
pub struct Proxy {
    system: ActorSystem,
    serving: Arc<Serving>,
    address: SocketAddr,
    closing: CancellationToken,
    server: JoinHandle<bool>,
    _discovery: AbortOnDropHandle<()>,
    config: ProxyConfig,
}

impl Proxy {
    /// Takes the public port and begins to look for the user function. Returns at once; `health`
    /// tells when requests are served.
    ///
    /// # Errors
    /// [`StartError`] when the port cannot be taken.
    pub fn start(config: ProxyConfig, store: Store, health: Health) -> Result<Self, StartError> {
        let asked = config.http_address();
        let port_error = |reason| StartError::Port { address: asked, reason };
        let port = BoundPort::bind(asked).map_err(port_error)?;
        let address = port.address();
        let system = ActorSystem::new("cloudstate");
        let clock = system.clock().clone();
        let function = UserFunction::new(config.endpoint(), clock.clone());
        let router = Router::new(function.clone(), clock.clone(), config.router_settings());
        let frontend = Frontend::new(config.frontend_settings(), clock.clone());
        let closing = CancellationToken::new();
        let (open, opened) = oneshot::channel();
        let serving = Arc::new(Serving {
            system: system.clone(),
            store,
            function: function.clone(),
            router,
            frontend: frontend.clone(),
            health,
            settings: config.event_sourced_settings(),
            open: Mutex::new(Some(open)),
        });
        let discovery = Discovery {
            function,
            clock: clock.clone(),
            settings: config.spec_settings(),
            backoff: config.backoff(),
            discovered: serving.clone(),
        };
        let server = tokio::spawn({
            let (settings, closing, grace) = (config.ingress_settings(), closing.clone(), config.drain_timeout());
            async move {
                // Nothing to finish when the sidecar is stopped before it has served anything.
                let Ok(()) = opened.await else { return true };
                match port.listen() {
                    Ok(listener) => ingress::serve(listener, frontend.router(), settings, clock, closing, grace).await,
                    Err(error) => {
                        tracing::error!(%error, %address, "public port cannot be listened on");
                        false
                    }
                }
            }
        });
        let discovery = AbortOnDropHandle::new(tokio::spawn(discovery.run()));
        Ok(Self { system, serving, address, closing, server, _discovery: discovery, config })
    }

    /// Where clients are served, with the real port when port 0 was configured.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops in order: no new connections, requests under way are finished, entities write what they
    /// have and close their streams, the store is flushed. Takes at most twice the drain timeout.
    pub async fn drain(self) {
        let Self { system, serving, closing, server, config, .. } = self;
        let grace = config.drain_timeout();
        serving.health.draining();
        closing.cancel();
        serving.open.lock().take();
        if !server.await.unwrap_or(false) {
            tracing::warn!(?grace, "requests were still under way when the time to finish them was over");
        }
        let regions: Vec<_> = serving.router.table().regions.values().cloned().collect();
        let drained = regions.iter().map(|region| region.ask(|reply_to| RegionMessage::Drain { reply_to }, grace));
        for result in futures_util::future::join_all(drained).await {
            if let Err(error) = result {
                tracing::warn!(%error, "entities were still busy when the time to finish was over");
            }
        }
        tokio::select! {
            biased;
            () = serving.router.idle() => {}
            () = system.clock().sleep(grace) => tracing::warn!("side effects were still under way when the time to finish was over"),
        }
        serving.function.offer(None);
        system.terminate().await;
        serving.store.close().await;
    }
}

/// Carries out what discovery decides.
struct Serving {
    system: ActorSystem,
    store: Store,
    function: UserFunction,
    router: Arc<Router>,
    frontend: Frontend,
    health: Health,
    settings: EventSourcedSettings,
    open: Mutex<Option<oneshot::Sender<()>>>,
}

impl Serving {
    /// The regions for `spec`: those that run are kept, missing ones are started.
    async fn regions(&self, spec: &ServedSpec) -> Result<HashMap<Arc<str>, ActorRef<RegionMessage>>, JournalError> {
        let running = self.router.table();
        let starting = spec.services.iter().filter(|service| service.entity_type == EntityType::EventSourced).map(|service| {
            let running = running.regions.get(&service.name).cloned();
            async move {
                let region = match running {
                    Some(region) => region,
                    None => self.start_region(service).await?,
                };
                Ok::<_, JournalError>((service.name.clone(), region))
            }
        });
        futures_util::future::try_join_all(starting).await.map(HashMap::from_iter)
    }

    /// Claims all shards of the service before anything is read: an older sidecar on the same store
    /// can change nothing from here on.
    async fn start_region(&self, service: &Arc<ServiceSpec>) -> Result<ActorRef<RegionMessage>, JournalError> {
        let fences: Vec<Fence> = self.store.journal.claim_all(service.persistence_id.clone(), 0..SLICES).await?;
        let metrics = EntityMetrics::for_service(&service.name);
        let factory = EventSourcedFactory {
            service: service.clone(),
            journal: self.store.journal.clone(),
            snapshots: self.store.snapshots.clone(),
            fences: fences.into(),
            function: self.function.clone(),
            router: self.router.clone(),
            settings: self.settings.clone(),
            metrics: metrics.clone(),
        };
        let region = Region::new(factory, self.settings.waiting_max, metrics);
        Ok(self.system.spawn(&format!("region-{}", service.name), region))
    }

    async fn serve_spec(&self, spec: Arc<ServedSpec>, link: Arc<Link>) -> Result<(), String> {
        let regions = self.regions(&spec).await.map_err(|error| format!("the store cannot be claimed: {error}"))?;
        for service in spec.services.iter().filter(|service| service.entity_type != EntityType::EventSourced) {
            tracing::warn!(service = %service.name, kind = service.entity_type.as_str(), "this version answers UNIMPLEMENTED for this kind of service");
        }
        self.router.serve(Table { spec: Some(spec.clone()), regions });
        self.function.offer(Some(link));
        self.frontend.serve(spec, Arc::new(self.router.clone()));
        if let Some(open) = self.open.lock().take() {
            // The server waits for this for as long as the sidecar runs.
            let _ = open.send(());
        }
        self.health.serving();
        Ok(())
    }
}

impl Discovered for Serving {
    fn serve(&self, spec: Arc<ServedSpec>, link: Arc<Link>) -> BoxFuture<'_, Result<(), String>> {
        self.serve_spec(spec, link).boxed()
    }

    fn lost(&self, why: &str) {
        self.health.not_ready(why);
    }

    fn refuse(&self, why: &str) {
        self.function.offer(None);
        self.frontend.stop_serving(why);
        self.health.not_ready(why);
    }
}
