//! Runs the phases of a shutdown.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::task::{Id, JoinSet};
use tracing::{error, info, warn};

use super::CoordinatedShutdown;
use super::phase::Phase;
use super::plan::{Step, Task, Work};
use super::report::{ShutdownReport, TaskFailure};
use crate::system::ActorSystem;

impl CoordinatedShutdown {
    pub(super) async fn run_phases(self, system: ActorSystem, phases: Vec<Phase>, mut report: ShutdownReport) {
        for (at, &phase) in phases.iter().enumerate() {
            let mut step = self.0.plan.lock().step(phase);
            if phase == Phase::ActorSystemTerminate {
                step.tasks.push(stop_actors(&system, step.timeout));
            }
            if step.tasks.is_empty() {
                continue;
            }
            info!(%phase, tasks = step.tasks.len(), timeout = ?step.timeout, "shutdown phase begins");
            let failed_before = report.failures.len();
            let aborts = step.aborts;
            let cut_short = self.run_phase(&system, phase, step, &mut report.failures).await;
            let failed = report.failures.len() > failed_before;
            if cut_short || (aborts && failed) {
                let cause = if cut_short {
                    format!("not run: the shutdown was cut short in phase {phase}")
                } else {
                    format!("not run: phase {phase} failed and does not recover")
                };
                error!(%phase, cut_short, "shutdown is aborted; the phases after this one do not run");
                report.failures.extend(self.0.plan.lock().take_all(&phases[at + 1..], &cause));
                report.aborted_in = Some(phase);
                if phase == Phase::ActorSystemTerminate {
                    let_go(&system);
                }
                self.0.report.send_replace(Some(Arc::new(report)));
                return;
            }
        }
        let_go(&system);
        self.0.report.send_replace(Some(Arc::new(report)));
    }

    /// Whether the shutdown was cut short meanwhile.
    async fn run_phase(&self, system: &ActorSystem, phase: Phase, step: Step, failures: &mut Vec<TaskFailure>) -> bool {
        let timeout = step.timeout;
        let mut running = Running::start(system, step.tasks);
        let mut cut = self.0.cut_short.subscribe();
        let cut_short = {
            let all = std::pin::pin!(system.clock().timeout(timeout, running.ended(phase, failures)));
            let cut = std::pin::pin!(cut.wait_for(|cut| *cut));
            match select(all, cut).await {
                Either::Left((Ok(()), _)) => return false,
                Either::Left((Err(_), _)) => false,
                Either::Right(_) => true,
            }
        };
        for task in running.names.into_values() {
            let mut cause = match cut_short {
                true => "the shutdown was cut short".to_owned(),
                false => format!("not done within {timeout:?}"),
            };
            if phase == Phase::ActorSystemTerminate {
                let alive: Vec<String> = system.alive_at_top().iter().map(ToString::to_string).collect();
                cause.push_str(&format!("; still stopping: {}", alive.join(", ")));
            }
            warn!(%phase, task, cause, "shutdown task was cut off");
            failures.push(TaskFailure { phase, task, cause });
        }
        cut_short
    }
}

/// The tasks of one phase. Dropping it drops those that have not ended.
struct Running {
    tasks: JoinSet<Result<(), crate::actor::BoxError>>,
    names: BTreeMap<String, String>, // by the text of the task's id: ids have no order
}

impl Running {
    fn start(system: &ActorSystem, tasks: Vec<Task>) -> Self {
        let mut running = Self { tasks: JoinSet::new(), names: BTreeMap::new() };
        for task in tasks {
            // Inside the task, so that a panic of `start` is a failure of this task alone.
            let start = task.start;
            let handle = running.tasks.spawn_on(system.gate().guard(async move { start().await }), system.runtime());
            running.names.insert(handle.id().to_string(), task.name);
        }
        running
    }

    /// Waits until all have ended.
    async fn ended(&mut self, phase: Phase, failures: &mut Vec<TaskFailure>) {
        while let Some(ended) = self.tasks.join_next_with_id().await {
            let (id, cause): (Id, _) = match ended {
                Ok((id, outcome)) => (id, outcome.err().map(|error| error.to_string())),
                Err(error) => (error.id(), Some(error.to_string())),
            };
            let task = self.names.remove(&id.to_string()).unwrap_or_default();
            if let Some(cause) = cause {
                warn!(%phase, task, cause, "shutdown task failed");
                failures.push(TaskFailure { phase, task, cause });
            }
        }
    }
}

/// Drops what outlives the actors and may keep their system.
fn let_go(system: &ActorSystem) {
    system.event_stream().end();
    system.parking_lot().end();
}

fn stop_actors(system: &ActorSystem, within: Duration) -> Task {
    let system = system.clone();
    let start: Box<dyn FnOnce() -> Work + Send> = Box::new(move || {
        Box::pin(async move {
            system.stop_actors(within).await;
            Ok(())
        })
    });
    Task::new("stop all actors".to_owned(), start)
}
