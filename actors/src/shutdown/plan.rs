//! What a shutdown is going to do. Pure bookkeeping: who runs it is [`super::run`].

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use super::phase::{Phase, PhaseBegun};
use super::report::{ShutdownReason, TaskFailure};
use crate::actor::BoxError;

pub(super) type Work = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;

pub(super) struct Task {
    id: u64,
    pub(super) name: String,
    pub(super) start: Box<dyn FnOnce() -> Work + Send>,
}

impl Task {
    pub(super) fn new(name: String, start: Box<dyn FnOnce() -> Work + Send>) -> Self {
        Self { id: 0, name, start }
    }
}

/// A shutdown may take longer than whoever supervises the process allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "a shutdown may take {worst_case:?} and is given {budget:?}; shorten phases with `set_timeout`, or raise what the \
     process's supervisor allows (Kubernetes: `terminationGracePeriodSeconds`) and the budget with it"
)]
pub struct ShutdownOverBudget {
    /// The sum over all phases with something to do.
    pub worst_case: Duration,
    /// What was given.
    pub budget: Duration,
}

#[derive(Default)]
pub(super) struct Plan {
    pub(super) reason: Option<ShutdownReason>,
    tasks: BTreeMap<Phase, Vec<Task>>,
    tasks_added: u64,
    timeouts: BTreeMap<Phase, Duration>,
    aborts: BTreeSet<Phase>,
    /// Have begun, or will not run.
    begun: BTreeSet<Phase>,
    budget: Option<Duration>,
    known_over_budget: bool,
}

/// One phase as it runs.
pub(super) struct Step {
    pub(super) tasks: Vec<Task>,
    pub(super) timeout: Duration,
    /// A failure ends the shutdown.
    pub(super) aborts: bool,
}

impl Plan {
    pub(super) fn check(&self, phase: Phase) -> Result<(), PhaseBegun> {
        if self.begun.contains(&phase) { Err(PhaseBegun { phase }) } else { Ok(()) }
    }

    pub(super) fn add(&mut self, phase: Phase, mut task: Task) -> Result<u64, PhaseBegun> {
        self.check(phase)?;
        self.tasks_added += 1;
        task.id = self.tasks_added;
        self.tasks.entry(phase).or_default().push(task);
        Ok(self.tasks_added)
    }

    pub(super) fn remove(&mut self, phase: Phase, id: u64) -> Option<Task> {
        let tasks = self.tasks.get_mut(&phase)?;
        let at = tasks.iter().position(|task| task.id == id)?;
        let task = tasks.remove(at);
        if tasks.is_empty() {
            self.tasks.remove(&phase);
        }
        Some(task)
    }

    pub(super) fn set_timeout(&mut self, phase: Phase, timeout: Duration) -> Result<(), PhaseBegun> {
        self.check(phase)?;
        self.timeouts.insert(phase, timeout);
        Ok(())
    }

    pub(super) fn set_recover(&mut self, phase: Phase, recover: bool) -> Result<(), PhaseBegun> {
        self.check(phase)?;
        if recover {
            self.aborts.remove(&phase);
        } else {
            self.aborts.insert(phase);
        }
        Ok(())
    }

    pub(super) fn set_budget(&mut self, budget: Duration) {
        self.budget = Some(budget);
        self.known_over_budget = false;
    }

    fn timeout(&self, phase: Phase) -> Duration {
        self.timeouts.get(&phase).copied().unwrap_or_else(|| phase.default_timeout())
    }

    pub(super) fn worst_case(&self) -> Duration {
        let busy = |phase: &Phase| *phase == Phase::ActorSystemTerminate || self.tasks.contains_key(phase);
        Phase::ALL.into_iter().filter(busy).map(|phase| self.timeout(phase)).sum()
    }

    pub(super) fn over_budget(&self) -> Option<ShutdownOverBudget> {
        let (worst_case, budget) = (self.worst_case(), self.budget?);
        (worst_case > budget).then_some(ShutdownOverBudget { worst_case, budget })
    }

    /// [`over_budget`](Self::over_budget), if it was not when last looked.
    pub(super) fn newly_over_budget(&mut self) -> Option<ShutdownOverBudget> {
        let over = self.over_budget();
        let known = std::mem::replace(&mut self.known_over_budget, over.is_some());
        over.filter(|_| !known)
    }

    /// The phases to run, in order; tasks of the others are taken out and named. `None` if it has begun already.
    pub(super) fn begin(&mut self, reason: ShutdownReason) -> Option<(Vec<Phase>, Vec<TaskFailure>)> {
        if self.reason.is_some() {
            return None;
        }
        let phases = reason.phases();
        let skipped: Vec<Phase> = Phase::ALL.into_iter().filter(|phase| !phases.contains(phase)).collect();
        let cause = format!("not run: skipped because this system was {reason}");
        let failures = self.take_all(&skipped, &cause);
        self.reason = Some(reason);
        Some((phases, failures))
    }

    pub(super) fn step(&mut self, phase: Phase) -> Step {
        self.begun.insert(phase);
        let tasks = self.tasks.remove(&phase).unwrap_or_default();
        Step { tasks, timeout: self.timeout(phase), aborts: self.aborts.contains(&phase) }
    }

    /// Takes out all that has not begun.
    pub(super) fn clear(&mut self) -> BTreeMap<Phase, Vec<Task>> {
        std::mem::take(&mut self.tasks)
    }

    /// Takes out the tasks of phases that do not run.
    pub(super) fn take_all(&mut self, phases: &[Phase], cause: &str) -> Vec<TaskFailure> {
        let mut failures = Vec::new();
        for &phase in phases {
            self.begun.insert(phase);
            let tasks = self.tasks.remove(&phase).unwrap_or_default().into_iter();
            failures.extend(tasks.map(|task| TaskFailure { phase, task: task.name, cause: cause.to_owned() }));
        }
        failures
    }

    pub(super) fn tasks(&self) -> impl Iterator<Item = (Phase, &str)> {
        self.tasks.iter().flat_map(|(phase, tasks)| tasks.iter().map(move |task| (*phase, task.name.as_str())))
    }
}
