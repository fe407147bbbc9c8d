//! Tied tasks: work beside the actor that ends with its life.

use std::future::Future;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use tokio::task::JoinSet;

use super::ActorContext;
use crate::envelope::Internal;
use crate::panic_text::panic_text;
use crate::testkit::Effect;
use crate::trace::Carried;

/// The tasks of one life. Dropping it aborts them.
#[derive(Default)]
pub(crate) struct TiedTasks(Option<JoinSet<()>>);

impl TiedTasks {
    fn spawn(&mut self, runtime: &tokio::runtime::Handle, task: impl Future<Output = ()> + Send + 'static) {
        let tasks = self.0.get_or_insert_default();
        while tasks.try_join_next().is_some() {} // those that have ended take no room
        tasks.spawn_on(task, runtime);
    }

    pub(crate) fn abort_all(&mut self) {
        self.0 = None;
    }
}

impl<M: Send + 'static> ActorContext<M> {
    /// Runs `future` beside this actor and delivers what `map` makes of its output, in this actor's turn.
    ///
    /// The future ends with this life: when the actor restarts or stops it is dropped at its next await point, and what
    /// it returned before but was not delivered yet is dropped too. A panic in it fails this actor.
    pub fn pipe_to_self<T: Send + 'static>(
        &mut self,
        future: impl Future<Output = T> + Send + 'static,
        map: impl FnOnce(T) -> M + Send + 'static,
    ) {
        self.record(|| Effect::PipedToSelf { output_type: std::any::type_name::<T>() });
        let (cell, life) = (self.cell().clone(), self.life);
        let carried = Carried::from(self.head());
        self.spawn_caught(async move {
            let output = future.await;
            let make = Box::new(move || {
                carried.arrive();
                map(output)
            });
            cell.push_internal(Internal::Piped { life, make });
        });
    }

    /// Runs `future` beside this actor. It ends with this life as in [`pipe_to_self`](ActorContext::pipe_to_self); a
    /// panic in it fails this actor.
    pub fn spawn_task(&mut self, future: impl Future<Output = ()> + Send + 'static) {
        self.record(|| Effect::TaskSpawned);
        self.spawn_caught(future);
    }

    pub(super) fn spawn_caught(&mut self, future: impl Future<Output = ()> + Send + 'static) {
        let (cell, life) = (self.cell().clone(), self.life);
        let (runtime, gate) = (self.system().runtime().clone(), self.system().gate().clone());
        let task = gate.guard(async move {
            if let Err(panic) = AssertUnwindSafe(future).catch_unwind().await {
                cell.push_internal(Internal::TaskPanicked { life, message: panic_text(&*panic) });
            }
        });
        self.extras().tasks.spawn(&runtime, task);
    }
}
