//! [`CoordinatedShutdown`]: what is done, in which order and for how long, before a system ends.

mod guard;
mod phase;
mod plan;
mod report;
mod run;
#[cfg(unix)]
mod signals;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tracing::{Instrument, info, info_span, warn};

pub use self::phase::{Phase, PhaseBegun};
pub use self::plan::ShutdownOverBudget;
pub use self::report::{ShutdownReason, ShutdownReport, TaskFailure};

use self::plan::{Plan, Task};
use crate::actor::BoxError;
use crate::discard;
use crate::system::WeakSystem;

/// What is done, in which order, before a system ends.
///
/// Tasks of one phase run side by side; the next phase begins when all have ended or the phase's time is over, which
/// drops those that have not. It runs once, whoever starts it and however often; the first [`ShutdownReason`] counts.
///
/// ```
/// use actors::{ActorSystem, BoxError, Phase};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), BoxError> {
/// let system = ActorSystem::builder("shop").shutdown_budget(Duration::from_secs(30)).start();
/// let shutdown = system.coordinated_shutdown();
/// shutdown.add_task(Phase::ServiceUnbind, "close the door", || async { Ok(()) })?;
/// let lights = shutdown.add_cancellable_task(Phase::ServiceStop, "lights out", || async { Ok(()) })?;
/// shutdown.set_recover(Phase::BeforeActorSystemTerminate, false)?; // stock not written: leave all as it is
/// assert_eq!(shutdown.worst_case(), Duration::from_secs(5 + 5 + 10));
/// assert!(lights.cancel());
///
/// let report = shutdown.run().await;
/// assert_eq!(report.failures, []);
/// assert_eq!(report.exit_code(), 0);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct CoordinatedShutdown(Arc<Inner>);

struct Inner {
    system: WeakSystem,
    plan: Mutex<Plan>,
    report: watch::Sender<Option<Arc<ShutdownReport>>>,
    cut_short: watch::Sender<bool>,
}

impl CoordinatedShutdown {
    pub(crate) fn new(system: WeakSystem, budget: Option<Duration>) -> Self {
        let mut plan = Plan::default();
        if let Some(budget) = budget {
            plan.set_budget(budget);
        }
        let (report, cut_short) = (watch::Sender::new(None), watch::Sender::new(false));
        Self(Arc::new(Inner { system, plan: Mutex::new(plan), report, cut_short }))
    }

    /// It will never run: lets go of its tasks, which may hold the system.
    pub(crate) fn abandon(&self) {
        let tasks = self.0.plan.lock().clear();
        discard::caught(|| drop(tasks)); // outside the lock: what they captured may have destructors
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
        self.add_cancellable_task(phase, name, start).map(drop)
    }

    /// As [`add_task`](Self::add_task), for a task that may become superfluous: a connection that is closed, say.
    ///
    /// # Errors
    /// [`PhaseBegun`] when that is over: nothing was added.
    pub fn add_cancellable_task<F>(
        &self,
        phase: Phase,
        name: impl Into<String>,
        start: impl FnOnce() -> F + Send + 'static,
    ) -> Result<ShutdownTask, PhaseBegun>
    where
        F: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        let task = Task::new(name.into(), Box::new(move || Box::pin(start())));
        let id = self.change(|plan| plan.add(phase, task))?;
        Ok(ShutdownTask { shutdown: self.clone(), phase, id })
    }

    /// How long a phase may take. Default: five seconds, ten where [`Phase`] says so.
    ///
    /// # Errors
    /// [`PhaseBegun`] when it is too late to matter.
    pub fn set_timeout(&self, phase: Phase, timeout: Duration) -> Result<(), PhaseBegun> {
        self.change(|plan| plan.set_timeout(phase, timeout))
    }

    /// Whether the shutdown goes on when a task of this phase fails, panics or is cut off by the timeout. Default: it does.
    ///
    /// If not, no later phase runs, so that what must not happen without this phase does not; the actors of the system
    /// live on unless their phase has begun. [`ShutdownReport::aborted_in`] says so.
    ///
    /// # Errors
    /// [`PhaseBegun`] when it is too late to matter.
    pub fn set_recover(&self, phase: Phase, recover: bool) -> Result<(), PhaseBegun> {
        self.change(|plan| plan.set_recover(phase, recover))
    }

    /// How long a shutdown may take before whoever supervises this process kills it; Kubernetes waits 30 s unless told
    /// otherwise. Whenever the [worst case](Self::worst_case) comes to exceed it, now or by a task or a timeout set later,
    /// a warning is logged and [`ShutdownOverBudget`] published. Default: no budget.
    pub fn set_budget(&self, budget: Duration) {
        self.change(|plan| plan.set_budget(budget));
    }

    /// How long a shutdown takes if every phase with something to do uses all its time.
    pub fn worst_case(&self) -> Duration {
        self.0.plan.lock().worst_case()
    }

    /// By how much the worst case exceeds what the [budget](Self::set_budget) allows, if it does.
    pub fn over_budget(&self) -> Option<ShutdownOverBudget> {
        self.0.plan.lock().over_budget()
    }

    /// Starts the shutdown unless it has started already, and waits for its end. Cancel safe: it goes on.
    pub async fn run(&self) -> Arc<ShutdownReport> {
        self.run_for(ShutdownReason::Terminate).await
    }

    /// As [`run`](Self::run), for a reason. One that is [`ClusterDowned`](ShutdownReason::ClusterDowned) runs
    /// [`Phase::ClusterShutdown`] first and skips the phases that hand anything over.
    pub async fn run_for(&self, reason: ShutdownReason) -> Arc<ShutdownReport> {
        self.start_for(reason);
        self.ended().await
    }

    /// Starts the shutdown, unless it has started already, without waiting for it.
    pub fn start(&self) {
        self.start_for(ShutdownReason::Terminate);
    }

    /// As [`start`](Self::start), for a reason.
    pub fn start_for(&self, reason: ShutdownReason) {
        let (phases, failures) = {
            let mut plan = self.0.plan.lock();
            let Some(begun) = plan.begin(reason.clone()) else { return };
            begun
        };
        let mut report = ShutdownReport { reason, failures, aborted_in: None };
        let Some(system) = self.0.system.upgrade() else {
            // Nobody holds the system, so it has no actors either: there is nothing left to end, nor a clock to go by.
            let cause = "not run: the actor system was dropped before its shutdown began";
            report.failures.extend(self.0.plan.lock().take_all(&phases, cause));
            self.0.report.send_replace(Some(Arc::new(report)));
            return;
        };
        let span = info_span!("coordinated_shutdown", system = system.name());
        span.in_scope(|| info!(reason = %report.reason, "shutdown begins"));
        let (runtime, gate) = (system.runtime().clone(), system.gate().clone());
        runtime.spawn(gate.guard(self.clone().run_phases(system, phases, report).instrument(span)));
    }

    /// Ends a shutdown that is under way at once: tasks that run are dropped, those that have not begun do not run, and
    /// the report says so. Nothing happens before the shutdown has started.
    pub fn cut_short(&self) {
        if self.is_started() {
            self.0.cut_short.send_replace(true);
        }
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
        self.0.plan.lock().reason.is_some()
    }

    /// Why it was started, once it is.
    pub fn reason(&self) -> Option<ShutdownReason> {
        self.0.plan.lock().reason.clone()
    }

    /// Changes the plan, and says so if that takes more time than is given.
    fn change<T>(&self, change: impl FnOnce(&mut Plan) -> T) -> T {
        let (changed, over) = {
            let mut plan = self.0.plan.lock();
            (change(&mut plan), plan.newly_over_budget())
        };
        if let Some(over) = over
            && let Some(system) = self.0.system.upgrade()
        {
            warn!(system = system.name(), worst_case = ?over.worst_case, budget = ?over.budget, "{over}");
            system.event_stream().publish(over);
        }
        changed
    }
}

impl fmt::Debug for CoordinatedShutdown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = self.0.plan.lock();
        f.debug_struct("CoordinatedShutdown")
            .field("reason", &plan.reason)
            .field("tasks", &plan.tasks().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// A task of the shutdown that can be taken back. Dropping this changes nothing: the task stays.
pub struct ShutdownTask {
    shutdown: CoordinatedShutdown,
    phase: Phase,
    id: u64,
}

impl ShutdownTask {
    /// Takes the task back. `false` when its phase has begun: it runs or has run.
    pub fn cancel(self) -> bool {
        let task = self.shutdown.change(|plan| plan.remove(self.phase, self.id));
        let cancelled = task.is_some();
        discard::caught(|| drop(task)); // outside the lock: what it captured may have destructors
        cancelled
    }
}

impl fmt::Debug for ShutdownTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShutdownTask").field("phase", &self.phase).finish_non_exhaustive()
    }
}
