//! Keeps in touch with the user function: connects, asks once what it serves, notices when it goes
//! and comes back (CloudState protocol: discovery).
//!
//! `discover` is called once per connection and never to poll. An invalid specification is
//! reported once per distinct error and asked for again on a new connection, with backoff.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use actors::Clock;
use futures_util::future::BoxFuture;
use proto::cloudstate::{EntitySpec, ProxyInfo};
use tonic::Status;

use crate::spec::{EntityType, ServedSpec, SpecSettings};
use crate::telemetry::metrics::{DiscoveryOutcome, discovery};
use crate::user_function::{Link, LinkError, UserFunction};

/// First pause after a refused connection: a function that is just starting is found quickly.
const CONNECT_PAUSE_MIN: Duration = Duration::from_millis(10);

/// Time of service after which a function that goes away is taken for one that was restarted, and looked for as
/// eagerly as at the start. One that goes sooner is looked for less and less often.
const STABLE_AFTER: Duration = Duration::from_secs(10);

/// Distinct refusals that are remembered so as to be reported once; the oldest is forgotten for one more.
const REPORTED_MAX: usize = 32;

/// How long to pause between attempts.
#[derive(Debug, Clone)]
pub struct Backoff {
    /// First pause after a failed `discover` call or a refused specification.
    pub min: Duration,
    /// Longest pause.
    pub max: Duration,
    /// A pause is lengthened at random by up to this factor.
    pub random_factor: f64,
}

impl Backoff {
    fn pause(&self, min: Duration, failures: u32, random: f64) -> Duration {
        let doubled = min.saturating_mul(1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX));
        doubled.min(self.max).mul_f64(1.0 + random * self.random_factor)
    }
}

/// What is done with what discovery finds.
pub trait Discovered: Send + Sync + 'static {
    /// Serve this specification through this link.
    fn serve(&self, spec: Arc<ServedSpec>, link: Arc<Link>) -> BoxFuture<'_, Result<(), String>>;
    /// The function is gone; what is served may stay, since it is likely to come back as it was.
    fn lost(&self, why: &str);
    /// Stop serving: what the function offers now cannot be served.
    fn refuse(&self, why: &str);
}

/// What to do after one answer of the function, without I/O.
#[derive(Debug, Default)]
pub struct Memory {
    served: Option<Arc<ServedSpec>>,
    reported: VecDeque<String>,
}

/// What [`Memory::judge`] found.
#[derive(Debug)]
pub enum Verdict {
    /// Serve it.
    Serve(Arc<ServedSpec>),
    /// Refuse it, for this reason.
    Refuse {
        /// The text for log, readiness and function.
        why: String,
        /// Whether the function has not been told this before.
        report: bool,
    },
}

impl Memory {
    /// Checks a specification, also against the one that was served before.
    pub fn judge(&mut self, spec: &EntitySpec, settings: &SpecSettings) -> Verdict {
        let checked = match ServedSpec::check(spec, settings) {
            Ok(checked) => checked,
            Err(error) => return self.refuse(error.to_string()),
        };
        if let Some(served) = &self.served
            && let Err(difference) = served.compatible_with(&checked)
        {
            return self.refuse(format!(
                "The specification is not compatible with the one served before, restart the sidecar to serve it: {difference}"
            ));
        }
        let served = Arc::new(checked);
        self.served = Some(served.clone());
        Verdict::Serve(served)
    }

    fn refuse(&mut self, why: String) -> Verdict {
        let report = !self.reported.contains(&why);
        if report {
            if self.reported.len() == REPORTED_MAX {
                self.reported.pop_front();
            }
            self.reported.push_back(why.clone());
        }
        Verdict::Refuse { why, report }
    }
}

/// Runs for as long as the sidecar does.
pub struct Discovery<D> {
    /// The function to discover.
    pub function: UserFunction,
    /// The source of time.
    pub clock: Clock,
    /// What is accepted.
    pub settings: SpecSettings,
    /// Pauses between attempts.
    pub backoff: Backoff,
    /// Who serves what is found.
    pub discovered: Arc<D>,
}

enum Attempt {
    Unreachable(LinkError),
    Failed(Status),
    Refused,
    /// Served for so long, until the connection was lost.
    Served(Duration),
}

impl<D: Discovered> Discovery<D> {
    /// Never completes; dropping the future stops it.
    pub async fn run(self) {
        let mut memory = Memory::default();
        let mut unreachable: u32 = 0;
        let mut failed: u32 = 0;
        let mut brief: u32 = 0;
        loop {
            let (min, failures) = match self.attempt(&mut memory).await {
                Attempt::Served(time) => {
                    (unreachable, failed) = (0, 0);
                    brief = if time < STABLE_AFTER { brief.saturating_add(1) } else { 1 };
                    (CONNECT_PAUSE_MIN, brief)
                }
                Attempt::Unreachable(error) => {
                    unreachable = unreachable.saturating_add(1);
                    // The first refusals are those of a function that is starting.
                    if unreachable >= 6 {
                        tracing::warn!(%error, attempts = unreachable, "user function is not reachable, trying on");
                    }
                    self.discovered.lost(&error.to_string());
                    (CONNECT_PAUSE_MIN, unreachable)
                }
                Attempt::Failed(status) => {
                    failed = failed.saturating_add(1);
                    let why = format!("discover failed: {:?}: {}", status.code(), status.message());
                    tracing::warn!(%why, "user function could not be discovered, trying on");
                    self.discovered.lost(&why);
                    (self.backoff.min, failed)
                }
                Attempt::Refused => {
                    failed = failed.saturating_add(1);
                    (self.backoff.min, failed)
                }
            };
            self.clock.sleep(self.backoff.pause(min, failures, rand::random())).await;
        }
    }

    async fn attempt(&self, memory: &mut Memory) -> Attempt {
        let link = match self.function.connect().await {
            Ok(link) => link,
            Err(error) => return Attempt::Unreachable(error),
        };
        let spec = match link.discover(proxy_info(&self.settings.supported)).await {
            Ok(spec) => spec,
            Err(status) => {
                discovery(DiscoveryOutcome::Failed);
                return Attempt::Failed(status);
            }
        };
        match memory.judge(&spec, &self.settings) {
            Verdict::Serve(spec) => {
                discovery(DiscoveryOutcome::Accepted);
                announce(&spec);
                if let Err(why) = self.discovered.serve(spec, link.clone()).await {
                    tracing::error!(%why, "what the user function offers cannot be served");
                    self.discovered.refuse(&why);
                    return Attempt::Refused;
                }
            }
            Verdict::Refuse { why, report } => {
                discovery(DiscoveryOutcome::Refused);
                if report {
                    tracing::error!(%why, "specification of the user function is refused");
                    link.report_error(why.clone()).await;
                }
                self.discovered.refuse(&why);
                return Attempt::Refused;
            }
        }
        let since = self.clock.now();
        link.lost().await;
        self.function.offer(None);
        tracing::warn!("connection to the user function lost");
        self.discovered.lost("the connection to the user function was lost");
        Attempt::Served(self.clock.now() - since)
    }
}

fn announce(spec: &ServedSpec) {
    let info = &spec.info;
    tracing::info!(
        service = %info.service_name,
        version = %info.service_version,
        runtime = %info.service_runtime,
        library = %info.support_library_name,
        library_version = %info.support_library_version,
        protocol = %format_args!("{}.{}", info.protocol_major_version, info.protocol_minor_version),
        "user function discovered"
    );
    for service in &spec.services {
        tracing::info!(service = %service.name, kind = service.entity_type.as_str(), persistence_id = %service.persistence_id, "service found");
    }
    for warning in &spec.warnings {
        tracing::warn!("{warning}");
    }
}

fn proxy_info(supported: &[EntityType]) -> ProxyInfo {
    ProxyInfo {
        protocol_major_version: 0,
        protocol_minor_version: 2,
        proxy_name: "cloudstate".to_owned(),
        proxy_version: env!("CARGO_PKG_VERSION").to_owned(),
        supported_entity_types: supported.iter().map(|kind| kind.as_str().to_owned()).collect(),
    }
}
