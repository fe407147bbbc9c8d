//! The sidecar as a whole: start, serve, drain.
//!
//! ```text
//! client ─▶ ingress ─▶ frontend ─▶ router ─▶ region ─▶ entity ⇄ user function
//!                                                        │
//!                                                        ▼
//!                                                      journal
//! ```

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use actors::ActorSystem;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::admin::Health;
use crate::components::Components;
use crate::config::ProxyConfig;
use crate::crdt::ReplicaId;
use crate::discovery::{Discovered, Discovery};
use crate::entity::places::StreamPlaces;
use crate::eventing::Eventing;
use crate::frontend::Frontend;
use crate::ingress::{BoundPort, Ingress};
use crate::listen::{HTTP_PORT, ListenError};
use crate::replicator::Replicator;
use crate::router::{Router, Table};
use crate::spec::ServedSpec;
use crate::store::Store;
use crate::telemetry;
use crate::user_function::{Link, UserFunction};

/// Why the sidecar could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The public port could not be taken.
    #[error(transparent)]
    Port(#[from] ListenError),
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
        let asked = SocketAddr::new(config.http.interface, config.http.port);
        let port = BoundPort::bind(asked).map_err(|error| ListenError::new(asked, HTTP_PORT, error))?;
        let address = port.address();
        let system = ActorSystem::new("cloudstate");
        let clock = system.clock().clone();
        let store = store.guarded(&clock);
        let function = UserFunction::new(settings::endpoint(&config), clock.clone());
        let router = Router::new(function.clone(), clock.clone(), settings::router(&config));
        let frontend = Frontend::new(settings::frontend(&config), clock.clone());
        let broken = health.clone();
        let closing = CancellationToken::new();
        let (open, opened) = oneshot::channel();
        let eventing = Arc::new(Eventing::new(
            system.clone(),
            router.clone(),
            function.clone(),
            &store,
            settings::eventing(&config),
        ));
        let serving = Arc::new(Serving {
            components: Components {
                system: system.clone(),
                store: store.clone(),
                function: function.clone(),
                router: router.clone(),
                durable: settings::durable(&config),
                value_passivation_timeout: config.value_passivation_timeout,
                crdt: settings::crdt(&config),
                replicator: Replicator::alone(ReplicaId(rand::random()), clock.clone(), settings::CRDT_KEYS_MAX),
                recoveries: Arc::new(Semaphore::new(config.event_sourced.recoveries_max.get())),
                snapshots_kept: config.event_sourced.snapshots_kept,
                places: StreamPlaces::new(config.user_function.entity_streams_max.map(NonZeroUsize::get)),
                drain_timeout: config.shutdown.drain_timeout,
            },
            eventing,
            store,
            function: function.clone(),
            router,
            frontend: frontend.clone(),
            health,
            port: Mutex::new(PublicPort::Closed(port, open)),
        });
        let discovery = Discovery {
            function,
            clock: clock.clone(),
            settings: settings::spec(&config),
            backoff: settings::backoff(&config),
            discovered: serving.clone(),
        };
        let ingress = Ingress {
            frontend: frontend.clone(),
            config: config.ingress.clone(),
            clock,
            closing: closing.clone(),
            grace: config.shutdown.drain_timeout,
        };
        let server = tokio::spawn(async move {
            // Nothing to finish when the sidecar is stopped before it has served anything.
            let Ok(listener) = opened.await else { return true };
            ingress.serve(listener).await
        });
        // Without it nothing is noticed any more: that must show, and not only in the log.
        let watched = async move {
            if AssertUnwindSafe(discovery.run()).catch_unwind().await.is_err() {
                tracing::error!("looking for the user function has failed; restart this process");
                broken.not_ready("looking for the user function has failed; restart this process");
            }
        };
        let discovery = AbortOnDropHandle::new(tokio::spawn(watched));
        Ok(Self { system, serving, address, closing, server, _discovery: discovery, config })
    }

    /// Where clients are served, with the real port when port 0 was configured.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its consumers of events.
    pub fn eventing(&self) -> Arc<Eventing> {
        self.serving.eventing.clone()
    }

    /// Stops in order: no new connections, requests under way are finished, then what they have set off, entities
    /// write what they have and close their streams, the store is flushed. Takes at most the drain timeout and
    /// three seconds; what is not done by then is given up, which loses nothing that was acknowledged.
    pub async fn drain(self) {
        let Self { system, serving, closing, server, config, .. } = self;
        let clock = system.clock().clone();
        let end = clock.now() + config.shutdown.drain_timeout;
        let left = || (end - clock.now()).max(LAST_STEP);
        serving.health.draining();
        closing.cancel();
        *serving.port.lock() = PublicPort::Lost("the sidecar is stopping".to_owned());
        serving.router.table().components.values().for_each(|component| component.end_streams());
        if !server.await.unwrap_or(false) {
            tracing::warn!("requests were still under way when the time to finish them was over");
        }
        // Before side effects are waited for: consumers set some off.
        serving.eventing.drain(left()).await;
        // Before the regions take no more commands: a side effect is one.
        if clock.timeout(left(), serving.router.idle()).await.is_err() {
            tracing::warn!("side effects were still under way when the time to finish them was over");
        }
        let table = serving.router.table();
        let drained = futures_util::future::join_all(table.components.values().map(|component| component.drain()));
        if clock.timeout(left(), drained).await.is_err() {
            tracing::warn!("entities were still busy when the time to finish was over");
        }
        // What the last commands of entities have set off.
        if clock.timeout(left(), serving.router.idle()).await.is_err() {
            tracing::warn!("side effects of the last commands were still under way when the time to finish was over");
        }
        serving.function.offer(None);
        if clock.timeout(left(), system.terminate()).await.is_err() {
            tracing::warn!("actors were still running when the time to finish was over");
        }
        serving.store.close().await;
    }
}

/// What every step of draining gets, even when earlier ones have used up the time.
const LAST_STEP: Duration = Duration::from_secs(1);

/// Carries out what discovery decides.
struct Serving {
    components: Components,
    store: Store,
    function: UserFunction,
    router: Arc<Router>,
    frontend: Frontend,
    health: Health,
    eventing: Arc<Eventing>,
    port: Mutex<PublicPort>,
}

/// The public port listens once there is something to serve, and before anybody is told so.
enum PublicPort {
    /// Taken, but not listened on yet.
    Closed(BoundPort, oneshot::Sender<TcpListener>),
    /// Handed to the server.
    Open,
    /// Never to be listened on, and why.
    Lost(String),
}

impl PublicPort {
    fn open(&mut self) -> Result<(), String> {
        match std::mem::replace(self, Self::Open) {
            Self::Open => Ok(()),
            Self::Closed(port, open) => {
                let address = port.address();
                match port.listen() {
                    Ok(listener) => {
                        // The server waits for this for as long as the sidecar runs.
                        let _ = open.send(listener);
                        Ok(())
                    }
                    Err(error) => self.lose(format!("public port {address} cannot be listened on: {error}")),
                }
            }
            Self::Lost(why) => self.lose(why),
        }
    }

    fn lose(&mut self, why: String) -> Result<(), String> {
        *self = Self::Lost(why.clone());
        Err(why)
    }
}

impl Serving {
    async fn serve_spec(&self, spec: Arc<ServedSpec>, link: Arc<Link>) -> Result<(), String> {
        let served = self.components.serve(&spec, &self.router.table().components).await;
        let components = served.map_err(|error| format!("the store cannot be claimed: {error}"))?;
        self.router.serve(Table { spec: Some(spec.clone()), components });
        self.function.offer(Some(link));
        self.eventing.serve(&spec);
        self.frontend.serve(spec, Arc::new(self.router.clone()));
        self.port.lock().open()?;
        telemetry::metrics::user_function_connected(true);
        self.health.serving();
        Ok(())
    }
}

impl Discovered for Serving {
    fn serve(&self, spec: Arc<ServedSpec>, link: Arc<Link>) -> BoxFuture<'_, Result<(), String>> {
        self.serve_spec(spec, link).boxed()
    }

    fn lost(&self, why: &str) {
        telemetry::metrics::user_function_connected(false);
        self.health.not_ready(why);
    }

    fn refuse(&self, why: &str) {
        telemetry::metrics::user_function_connected(false);
        self.function.offer(None);
        self.frontend.stop_serving(why);
        self.health.not_ready(why);
    }
}

/// What each part takes from the configuration.
mod settings {
    use std::time::Duration;

    use crate::config::{BackoffConfig, CorsOrigins, ProxyConfig, VersionCheck};
    use crate::discovery::Backoff;
    use crate::entity::crdt::CrdtSettings;
    use crate::entity::durable::DurableSettings;
    use crate::eventing::{ConsumerSettings, EventingSettings};
    use crate::frontend::{CorsSettings, FrontendSettings};
    use crate::router::RouterSettings;
    use crate::spec::{EntityType, SpecSettings};
    use crate::user_function::Endpoint;

    /// How long a command waits for a user function that is restarting.
    const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

    /// Longest chain of forwards and side effects: deeper ones are loops.
    const HOPS_MAX: usize = 32;

    /// Asynchronous side effects under way in one process.
    const ASYNCHRONOUS_MAX: usize = 1_000;

    /// Commands with side effects or forwards that may be under way for every request that may be: most are
    /// requests themselves, the others are what requests have left behind.
    const UNDER_WAY_PER_REQUEST: usize = 2;

    /// Replies of one entity that wait for the store while its function works on.
    const UNSETTLED_MAX: usize = 64;

    /// Events that a consumer holds in memory at most.
    const EVENTS_READ_AHEAD: usize = 512;

    /// Events after which a consumer saves its offset; it does after a second in any case.
    const EVENTS_PER_SAVE: u64 = 20;

    /// What published SDK servers accept in one message, less what surrounds an event in it.
    const STORED_SIZE_MAX: usize = 4 * 1024 * 1024 - 4 * 1024;

    /// CRDT entities of which one node holds the value, deleted ones included.
    pub(super) const CRDT_KEYS_MAX: usize = 1_000_000;

    /// How long a CRDT entity waits for an answer to a cancellation before it goes on telling its function of changes.
    const CANCEL_TIMEOUT: Duration = Duration::from_millis(500);

    /// How long a CRDT entity waits for what other nodes know of its value.
    const CRDT_READ_TIMEOUT: Duration = Duration::from_secs(3);

    /// How long other nodes have to confirm a change of a CRDT.
    const CRDT_WRITE_TIMEOUT: Duration = Duration::from_secs(5);

    /// Commands of one CRDT entity that may be with its function at once.
    const CRDT_OUTSTANDING_MAX: usize = 1_000;

    pub(super) fn endpoint(config: &ProxyConfig) -> Endpoint {
        let function = &config.user_function;
        Endpoint { host: function.host.clone(), port: function.port, message_size_max: function.message_size_max }
    }

    pub(super) fn router(config: &ProxyConfig) -> RouterSettings {
        RouterSettings {
            hops_max: HOPS_MAX,
            asynchronous_max: ASYNCHRONOUS_MAX,
            under_way_max: config.ingress.requests_max.get().saturating_mul(UNDER_WAY_PER_REQUEST),
            effects_timeout: config.requests.timeout,
        }
    }

    pub(super) fn frontend(config: &ProxyConfig) -> FrontendSettings {
        let ingress = &config.ingress;
        FrontendSettings {
            message_in_max: ingress.request_size_max,
            message_out_max: ingress.response_size_max,
            relay_timeout: config.requests.timeout,
            deadline_max: config.requests.timeout_max,
            calls_max: ingress.requests_max.get(),
            cors: match &ingress.cors_origins {
                CorsOrigins::Any => CorsSettings::AnyOrigin,
                CorsOrigins::List(origins) => CorsSettings::Origins(origins.clone()),
            },
            ..FrontendSettings::default()
        }
    }

    pub(super) fn durable(config: &ProxyConfig) -> DurableSettings {
        let entity = &config.event_sourced;
        DurableSettings {
            passivation_timeout: entity.passivation_timeout,
            command_timeout: config.requests.timeout,
            close_timeout: entity.close_timeout,
            connect_timeout: CONNECT_TIMEOUT.min(config.requests.timeout),
            outbound_max: config.user_function.relay_buffer.get(),
            waiting_max: entity.waiting_room.get(),
            unsettled_max: UNSETTLED_MAX,
            stored_size_max: STORED_SIZE_MAX.min(config.user_function.message_size_max),
        }
    }

    pub(super) fn eventing(config: &ProxyConfig) -> EventingSettings {
        let eventing = &config.eventing;
        let parallelism = eventing.parallelism.get();
        EventingSettings {
            consumer: ConsumerSettings {
                parallelism,
                attempts_max: u32::try_from(eventing.attempts_max.get()).unwrap_or(u32::MAX),
                backoff_min: eventing.backoff.min,
                backoff_max: eventing.backoff.max,
                parked_max: eventing.parked_max.get(),
                read_ahead: EVENTS_READ_AHEAD.max(4 * parallelism),
                save_every: EVENTS_PER_SAVE,
            },
            random_factor: eventing.backoff.random_factor,
            timeout: config.requests.timeout,
        }
    }

    pub(super) fn crdt(config: &ProxyConfig) -> CrdtSettings {
        let entity = &config.event_sourced;
        CrdtSettings {
            passivation_timeout: config.crdt_passivation_timeout,
            command_timeout: config.requests.timeout,
            cancel_timeout: CANCEL_TIMEOUT,
            close_timeout: entity.close_timeout,
            connect_timeout: CONNECT_TIMEOUT.min(config.requests.timeout),
            read_timeout: CRDT_READ_TIMEOUT,
            write_timeout: CRDT_WRITE_TIMEOUT,
            outstanding_max: CRDT_OUTSTANDING_MAX,
            waiting_max: entity.waiting_room.get(),
        }
    }

    pub(super) fn spec(config: &ProxyConfig) -> SpecSettings {
        SpecSettings {
            strict_version: config.user_function.version_check == VersionCheck::Strict,
            any_version: config.user_function.version_check == VersionCheck::Off,
            supported: EntityType::ALL.to_vec(),
            topics: false,
            relay_timeouts: config.requests.timeouts.clone(),
        }
    }

    pub(super) fn backoff(config: &ProxyConfig) -> Backoff {
        let BackoffConfig { min, max, random_factor } = config.user_function.reconnect;
        Backoff { min, max, random_factor }
    }
}
