//! Events become commands: consumers of the event logs of event-sourced entities (CloudState protocol: eventing).
//!
//! [`Plan`] says which consumers a specification asks for, `State` decides what one of them does next,
//! [`ConsumerActor`] carries that out. Everything past the event log works on an [`Event`] and would serve any other
//! source: a broker's topics need a reader beside the one here and nothing behind it.
//!
//! Delivery is at least once, in order per entity and in parallel across entities. An event that fails again and again
//! is parked: it stays in the journal, its place and the reason in the store, until somebody replays or drops it.

pub mod command;
mod consumer;
mod control;
mod delivery;
mod event;
mod plan;
mod state;

#[cfg(test)]
mod state_tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use actors::{ActorRef, ActorSystem, Props, SupervisorStrategy};
use arc_swap::ArcSwap;
use futures_util::future::join_all;
use parking_lot::Mutex;
use persistence::{Journal, ProjectionId, RawEvent};
use tokio_util::sync::CancellationToken;

pub use self::consumer::{ConsumerActor, ConsumerMessage, ConsumerStatus};
pub use self::control::{Changed, Control, Filter, Overview, Parked, Unattached, routes};
pub use self::delivery::Delivery;
pub use self::event::{ANY, ContentError, Event};
pub use self::plan::{Consumer, Plan, Support};
pub use self::state::{ConsumerSettings, Failure};
use crate::router::Router;
use crate::spec::ServedSpec;
use crate::store::{EventStore, Store};
use crate::telemetry;
use crate::user_function::UserFunction;

/// What all consumers have in common.
#[derive(Clone, Debug)]
pub struct EventingSettings {
    /// Of each consumer.
    pub consumer: ConsumerSettings,
    /// A delay is lengthened at random by up to this factor.
    pub random_factor: f64,
    /// How long an event may take, when its service says nothing else.
    pub timeout: Duration,
}

/// All consumers of this sidecar.
pub struct Eventing {
    system: ActorSystem,
    router: Arc<Router>,
    function: UserFunction,
    journal: Arc<dyn Journal<RawEvent>>,
    events: Option<EventStore>,
    settings: EventingSettings,
    consumers: Mutex<Consumers>,
}

#[derive(Default)]
struct Consumers {
    running: HashMap<ProjectionId, Running>,
    /// Why others do not run.
    problems: Vec<String>,
    draining: bool,
}

struct Running {
    /// What it consumes with: another one once the user function came back with other methods.
    consumer: Arc<ArcSwap<Consumer>>,
    actor: ActorRef<ConsumerMessage>,
}

/// How long a consumer may take to say how it is doing.
const STATUS_WAIT: Duration = Duration::from_secs(3);

impl Eventing {
    /// No consumers yet.
    pub fn new(
        system: ActorSystem,
        router: Arc<Router>,
        function: UserFunction,
        store: &Store,
        settings: EventingSettings,
    ) -> Self {
        let (journal, events) = (store.journal.clone(), store.events.clone());
        Self { system, router, function, journal, events, settings, consumers: Mutex::default() }
    }

    /// Starts the consumers that `spec` asks for, tells those that run of it, stops those that it does not ask for any
    /// more. What is wrong with some is logged and reported to the user function, and keeps no other from running.
    pub fn serve(&self, spec: &ServedSpec) {
        let Plan { consumers, problems, warnings } = Plan::of(spec, Support { event_logs: self.events.is_some() });
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        let mut current = self.consumers.lock();
        if current.draining {
            return;
        }
        for problem in &problems {
            tracing::error!("{problem}");
            self.function.report_error(problem.clone());
        }
        telemetry::metrics::consumers_refused(problems.len());
        current.problems = problems;
        let mut former = std::mem::take(&mut current.running);
        for consumer in consumers {
            let projection = consumer.projection.clone();
            let running = former.remove(&projection).filter(|running| !running.actor.is_stopped());
            let running = match running {
                Some(running) => {
                    running.consumer.store(consumer);
                    Some(running)
                }
                None => self.start(consumer),
            };
            current.running.extend(running.map(|running| (projection, running)));
        }
        for (projection, Running { actor, .. }) in former {
            tracing::info!(group = %projection.group, source = %projection.source, "consumer is not asked for any more");
            self.system.runtime().spawn(drain(actor, STATUS_WAIT));
        }
    }

    fn start(&self, consumer: Arc<Consumer>) -> Option<Running> {
        let events = self.events.clone()?;
        let delivery = Delivery {
            router: self.router.clone(),
            function: self.function.clone(),
            clock: self.system.clock().clone(),
            timeout: self.settings.timeout,
            stopping: CancellationToken::new(),
        };
        let consumer = Arc::new(ArcSwap::new(consumer));
        let (consuming, journal) = (consumer.clone(), self.journal.clone());
        let (settings, random_factor) = (self.settings.consumer.clone(), self.settings.random_factor);
        let (min, max) = (settings.backoff_min, settings.backoff_max);
        let make = move || {
            ConsumerActor::new(
                consuming.clone(),
                delivery.clone(),
                events.clone(),
                journal.clone(),
                settings.clone(),
                random_factor,
            )
        };
        // It starts anew from the saved offset.
        let supervised = Props::new(make).supervise(SupervisorStrategy::restart_with_backoff(min, max));
        Some(Running { consumer, actor: self.system.spawn_anonymous(supervised) })
    }

    /// Ends all consumers: what is being delivered is finished, offsets are saved.
    pub async fn drain(&self, within: Duration) {
        let running: Vec<_> = {
            let mut consumers = self.consumers.lock();
            consumers.draining = true;
            consumers.running.drain().map(|(_, running)| running.actor).collect()
        };
        join_all(running.into_iter().map(|actor| drain(actor, within))).await;
    }

    /// Tells the consumers that parked events have been dropped or are to be replayed.
    pub fn parked_changed(&self) {
        for running in self.consumers.lock().running.values() {
            running.actor.tell(ConsumerMessage::ParkedChanged);
        }
    }

    /// How the consumers are doing, and why others do not run.
    pub async fn status(&self) -> (Vec<ConsumerStatus>, Vec<String>) {
        let (running, problems) = {
            let consumers = self.consumers.lock();
            let actors = consumers.running.values().map(|running| running.actor.clone());
            (actors.collect::<Vec<_>>(), consumers.problems.clone())
        };
        let asked = running.iter().map(|actor| actor.ask(ConsumerMessage::Status, STATUS_WAIT));
        let mut status: Vec<_> = join_all(asked).await.into_iter().flatten().collect();
        status.sort_by(|a, b| (&a.group, &a.source).cmp(&(&b.group, &b.source)));
        (status, problems)
    }

    /// Offsets and parked events, where the store has them.
    pub fn events(&self) -> Option<&EventStore> {
        self.events.as_ref()
    }
}

async fn drain(actor: ActorRef<ConsumerMessage>, within: Duration) {
    if let Err(error) = actor.ask(ConsumerMessage::Drain, within).await {
        tracing::warn!(%error, "a consumer was still busy when the time to finish was over");
    }
}
