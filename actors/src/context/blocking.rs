//! Work that blocks: on threads of its own, tied to a life like [`pipe_to_self`](ActorContext::pipe_to_self).

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::ActorContext;
use crate::envelope::Internal;
use crate::testkit::Effect;

/// Pieces of work of one actor that run at once.
const RUNNING_MAX: usize = 16;
/// Pieces of work of one actor that run or wait.
const ACCEPTED_MAX: usize = 1_024;

/// What one actor may have blocking, over all its lives: work goes on when the life that began it is over.
pub(crate) struct Blocking {
    running: Arc<Semaphore>,
    accepted: Arc<Semaphore>,
}

impl Default for Blocking {
    fn default() -> Self {
        Self { running: Arc::new(Semaphore::new(RUNNING_MAX)), accepted: Arc::new(Semaphore::new(ACCEPTED_MAX)) }
    }
}

/// An actor has as many pieces of blocking work running and waiting as it may. Nothing was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{limit} pieces of blocking work run or wait already; take new ones only as fast as these end")]
pub struct BlockingFull {
    /// How many it may have.
    pub limit: usize,
}

/// Work that has been handed to the runtime. Let go of before it has begun, it does not begin.
struct Handed<T>(JoinHandle<T>);

impl<T> Drop for Handed<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<M: Send + 'static> ActorContext<M> {
    /// Runs `work`, which may block, on a thread of the runtime's blocking pool and delivers what `map` makes of its
    /// output, in this actor's turn. The actor serves messages meanwhile.
    ///
    /// Of one actor 16 pieces of work run at once; more wait, in order. Work that has begun cannot be interrupted: when
    /// the actor restarts or stops its output is dropped when it comes. Work that waits then does not begin. A panic in it
    /// fails this actor.
    ///
    /// In a [`TestKit`](crate::testkit::TestKit) it runs on the test's own thread, so that every run is the same.
    ///
    /// ```
    /// # use actors::{Actor, ActorContext, ActorSystem, Behavior, Handled, ReplyTo};
    /// # use std::time::Duration;
    /// struct Reader;
    ///
    /// enum ReaderMessage {
    ///     Read(&'static str, ReplyTo<usize>),
    ///     Done(usize, ReplyTo<usize>),
    /// }
    ///
    /// impl Actor for Reader {
    ///     type Message = ReaderMessage;
    ///
    ///     async fn receive(&mut self, ctx: &mut ActorContext<ReaderMessage>, message: ReaderMessage) -> Handled {
    ///         match message {
    ///             ReaderMessage::Read(path, reply_to) => ctx.spawn_blocking(
    ///                 move || std::fs::read(path).map_or(0, |bytes| bytes.len()),
    ///                 move |length| ReaderMessage::Done(length, reply_to),
    ///             )?,
    ///             ReaderMessage::Done(length, reply_to) => reply_to.tell(length),
    ///         }
    ///         Ok(Behavior::Same)
    ///     }
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let reader = ActorSystem::new("files").spawn("reader", Reader);
    /// let length = reader.ask(|reply_to| ReaderMessage::Read("Cargo.toml", reply_to), Duration::from_secs(10)).await?;
    /// assert!(length > 0);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`BlockingFull`] when 1,024 pieces of work of this actor run or wait already. Neither function was called.
    pub fn spawn_blocking<T: Send + 'static>(
        &mut self,
        work: impl FnOnce() -> T + Send + 'static,
        map: impl FnOnce(T) -> M + Send + 'static,
    ) -> Result<(), BlockingFull> {
        let blocking = self.extras().blocking.get_or_insert_default();
        let running = blocking.running.clone();
        let Ok(place) = blocking.accepted.clone().try_acquire_owned() else {
            return Err(BlockingFull { limit: ACCEPTED_MAX });
        };
        self.record(|| Effect::PipedToSelf { output_type: std::any::type_name::<T>() });
        let (cell, life) = (self.cell().clone(), self.life);
        let here = self.system().is_simulated();
        let runtime = self.system().runtime().clone();
        self.spawn_caught(async move {
            let turn = running.acquire_owned().await.ok(); // never closed
            let output = if here {
                let _held = (place, turn);
                Ok(work())
            } else {
                // What it holds it holds until the work is done, however long nobody waits for it any more.
                let held = (place, turn);
                let work = move || {
                    let _held = held;
                    catch_unwind(AssertUnwindSafe(work))
                };
                let mut handed = Handed(runtime.spawn_blocking(work));
                match (&mut handed.0).await {
                    Ok(output) => output,
                    Err(_) => return, // the runtime shuts down
                }
            };
            match output {
                Ok(output) => cell.push_internal(Internal::Piped { life, make: Box::new(move || map(output)) }),
                Err(panic) => resume_unwind(panic),
            }
        });
        Ok(())
    }
}
