//! [`CoordinatedShutdown`]: what is done, in which order and for how long, before a system ends.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{Instrument, info, info_span, warn};

use crate::actor::BoxError;
use crate::system::{ActorSystem, WeakSystem};

/// The steps of a shutdown, in the order they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Before anything is closed: announce that this node goes.
    BeforeServiceUnbind,
    /// Take no new connections.
    ServiceUnbind,
    /// Wait for requests under way.
    ServiceRequestsDone,
    /// Close connections.
    ServiceStop,
    /// Before the cluster is told.
    BeforeClusterShutdown,
    /// Hand shards over, while the coordinator can still be reached. Ten seconds by default.
    ClusterShardingShutdownRegion,
    /// Tell the cluster that this node leaves.
    ClusterLeave,
    /// Hand singletons over. Ten seconds by default.
    ClusterExiting,
    /// Nothing of the cluster's runs here any more.
    ClusterExitingDone,
    /// Stop being a member.
    ClusterShutdown,
    /// Last things that need actors: flush stores, for instance.
    BeforeActorSystemTerminate,
    /// All actors stop. Ten seconds by default.
    ActorSystemTerminate,
}

impl Phase {
    /// All phases in the order they run.
    pub const ALL: [Self; 12] = [
        Self::BeforeServiceUnbind,
        Self::ServiceUnbind,
        Self::ServiceRequestsDone,
        Self::ServiceStop,
        Self::BeforeClusterShutdown,
        Self::ClusterShardingShutdownRegion,
        Self::ClusterLeave,
        Self::ClusterExiting,
        Self::ClusterExitingDone,
        Self::ClusterShutdown,
        Self::BeforeActorSystemTerminate,
        Self::ActorSystemTerminate,
    ];

    /// The name as in logs: `service-unbind` and so on.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BeforeServiceUnbind => "before-service-unbind",
            Self::ServiceUnbind => "service-unbind",
            Self::ServiceRequestsDone => "service-requests-done",
            Self::ServiceStop => "service-stop",
            Self::BeforeClusterShutdown => "before-cluster-shutdown",
            Self::ClusterShardingShutdownRegion => "cluster-sharding-shutdown-region",
            Self::ClusterLeave => "cluster-leave",
            Self::ClusterExiting => "cluster-exiting",
            Self::ClusterExitingDone => "cluster-exiting-done",
            Self::ClusterShutdown => "cluster-shutdown",
            Self::BeforeActorSystemTerminate => "before-actor-system-terminate",
            Self::ActorSystemTerminate => "actor-system-terminate",
        }
    }

    fn default_timeout(self) -> Duration {
        match self {
            Self::ClusterShardingShutdownRegion | Self::ClusterExiting | Self::ActorSystemTerminate => {
                Duration::from_secs(10)
            }
            _ => Duration::from_secs(5),
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Too late: the phase has begun, so the change would have had no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("shutdown phase {phase} has already begun; add its tasks and set its timeout before the shutdown starts")]
pub struct PhaseBegun {
    /// Which phase.
    pub phase: Phase,
}

/// How a shutdown went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Tasks that failed, panicked, were cut off by their phase's timeout or never ran, in the order of phases.
    pub failures: Vec<TaskFailure>,
}

/// A task of the shutdown that did not end well. The phases after it ran all the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskFailure {
    /// The phase it was in.
    pub phase: Phase,
    /// Its name.
    pub task: String,
    /// What happened.
    pub cause: String,
}

type Work = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;

struct Task {
    name: String,
    start: Box<dyn FnOnce() -> Work + Send>,
}

/// What is done, in which order, before a system ends.
///
/// Tasks of one phase run side by side; the next phase begins when all have ended or the phase's time is over, which
/// drops those that have not. It runs once, whoever starts it and however often.
#[derive(Clone)]
pub struct CoordinatedShutdown(Arc<Inner>);

struct Inner {
    system: WeakSystem,
    state: Mutex<State>,
    report: watch::Sender<Option<Arc<ShutdownReport>>>,
}

#[derive(Default)]
struct State {
    begun: Option<Phase>,
    started: bool,
    tasks: BTreeMap<Phase, Vec<Task>>,
    timeouts: BTreeMap<Phase, Duration>,
}

impl State {
    fn timeout(&self, phase: Phase) -> Duration {
        self.timeouts.get(&phase).copied().unwrap_or_else(|| phase.default_timeout())
    }

    fn check(&self, phase: Phase) -> Result<(), PhaseBegun> {
        if self.begun.is_some_and(|begun| phase <= begun) { Err(PhaseBegun { phase }) } else { Ok(()) }
    }
}

impl CoordinatedShutdown {
    pub(crate) fn new(system: WeakSystem) -> Self {
        Self(Arc::new(Inner { system, state: Mutex::default(), report: watch::Sender::new(None) }))
    }

    /// Adds a task to a phase; `start` is called when the phase begins.
    ///
    /// # Errors
    /// [`PhaseBegun`] when that is over: nothing was added.
    pub fn add_task<F>(
        &self,
        phase: Phase,
        name: impl Into<String>,
        start: impl FnOnce() -> F + Send + 'static,
    ) -> Result<(), PhaseBegun>
    where
        F: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        let mut state = self.0.state.lock();
        state.check(phase)?;
        let start: Box<dyn FnOnce() -> Work + Send> = Box::new(move || Box::pin(start()));
        state.tasks.entry(phase).or_default().push(Task { name: name.into(), start });
        Ok(())
    }

    /// How long a phase may take. Default: five seconds, ten where [`Phase`] says so.
    ///
    /// # Errors
    /// [`PhaseBegun`] when it is too late to matter.
    pub fn set_timeout(&self, phase: Phase, timeout: Duration) -> Result<(), PhaseBegun> {
        let mut state = self.0.state.lock();
        state.check(phase)?;
        state.timeouts.insert(phase, timeout);
        Ok(())
    }

    /// How long a shutdown takes if every phase with something to do uses all its time. Compare it with what the
    /// machine's supervisor allows before it kills (Kubernetes: 30 s unless told otherwise).
    pub fn worst_case(&self) -> Duration {
        let state = self.0.state.lock();
        let busy = |phase: &Phase| *phase == Phase::ActorSystemTerminate || state.tasks.contains_key(phase);
        Phase::ALL.into_iter().filter(busy).map(|phase| state.timeout(phase)).sum()
    }

    /// Starts the shutdown unless it has started already, and waits for its end. Cancel safe: it goes on.
    pub async fn run(&self) -> Arc<ShutdownReport> {
        self.start();
        self.ended().await
    }

    /// Starts the shutdown, unless it has started already, without waiting for it.
    pub fn start(&self) {
        let first = !std::mem::replace(&mut self.0.state.lock().started, true);
        if !first {
            return;
        }
        let Some(system) = self.0.system.upgrade() else {
            // Nobody holds the system, so it has no actors either: there is nothing left to end, nor a clock to go by.
            let tasks = std::mem::take(&mut self.0.state.lock().tasks);
            let failures = tasks.into_iter().flat_map(|(phase, tasks)| {
                let cause = || "not run: the actor system was dropped before its shutdown began".to_owned();
                tasks.into_iter().map(move |task| TaskFailure { phase, task: task.name, cause: cause() })
            });
            self.0.report.send_replace(Some(Arc::new(ShutdownReport { failures: failures.collect() })));
            return;
        };
        let span = info_span!("coordinated_shutdown", system = system.name());
        let runtime = system.runtime().clone();
        runtime.spawn(self.clone().run_phases(system).instrument(span));
    }

    /// Waits for the end of the shutdown, whoever starts it.
    pub async fn ended(&self) -> Arc<ShutdownReport> {
        let mut report = self.0.report.subscribe();
        match report.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(report)) => report.clone(),
            // The sender lives in `self`, and what was waited for is there.
            Ok(None) | Err(_) => Arc::default(),
        }
    }

    /// Whether the shutdown has started.
    pub fn is_started(&self) -> bool {
        self.0.state.lock().started
    }

    async fn run_phases(self, system: ActorSystem) {
        let mut report = ShutdownReport::default();
        for phase in Phase::ALL {
            let (mut tasks, timeout) = {
                let mut state = self.0.state.lock();
                state.begun = Some(phase);
                (state.tasks.remove(&phase).unwrap_or_default(), state.timeout(phase))
            };
            if phase == Phase::ActorSystemTerminate {
                tasks.push(stop_actors(&system, timeout));
            }
            if !tasks.is_empty() {
                info!(%phase, tasks = tasks.len(), ?timeout, "shutdown phase begins");
                run_phase(&system, phase, tasks, timeout, &mut report).await;
            }
        }
        system.event_stream().end();
        self.0.report.send_replace(Some(Arc::new(report)));
    }
}

fn stop_actors(system: &ActorSystem, within: Duration) -> Task {
    let system = system.clone();
    let start: Box<dyn FnOnce() -> Work + Send> = Box::new(move || {
        Box::pin(async move {
            system.stop_actors(within).await;
            Ok(())
        })
    });
    Task { name: "stop all actors".to_owned(), start }
}

async fn run_phase(
    system: &ActorSystem,
    phase: Phase,
    tasks: Vec<Task>,
    timeout: Duration,
    report: &mut ShutdownReport,
) {
    let mut running = JoinSet::new();
    let mut names = BTreeMap::new();
    for task in tasks {
        // Inside the task, so that a panic of `start` is a failure of this task alone.
        let start = task.start;
        let handle = running.spawn_on(async move { start().await }, system.runtime());
        names.insert(handle.id().to_string(), task.name);
    }
    let mut failed = |id: tokio::task::Id, names: &mut BTreeMap<String, String>, cause: Option<String>| {
        let task = names.remove(&id.to_string()).unwrap_or_default();
        if let Some(cause) = cause {
            warn!(%phase, task, cause, "shutdown task failed");
            report.failures.push(TaskFailure { phase, task, cause });
        }
    };
    let all = async {
        while let Some(ended) = running.join_next_with_id().await {
            match ended {
                Ok((id, outcome)) => failed(id, &mut names, outcome.err().map(|error| error.to_string())),
                Err(error) => failed(error.id(), &mut names, Some(error.to_string())),
            }
        }
    };
    if system.clock().timeout(timeout, all).await.is_ok() {
        return;
    }
    for task in names.into_values() {
        let mut cause = format!("not done within {timeout:?}");
        if phase == Phase::ActorSystemTerminate {
            let alive: Vec<String> = system.alive_at_top().iter().map(ToString::to_string).collect();
            cause.push_str(&format!("; still stopping: {}", alive.join(", ")));
        }
        warn!(%phase, task, cause, "shutdown task was cut off");
        report.failures.push(TaskFailure { phase, task, cause });
    }
}

impl fmt::Debug for CoordinatedShutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.0.state.lock();
        let tasks = state.tasks.iter().flat_map(|(phase, tasks)| tasks.iter().map(move |task| (phase, &task.name)));
        f.debug_struct("CoordinatedShutdown")
            .field("begun", &state.begun)
            .field("tasks", &tasks.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}
