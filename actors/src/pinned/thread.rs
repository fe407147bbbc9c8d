//! [`Pin`]: the thread of one actor.

use std::io;
use std::thread::Builder;

use tokio::runtime::{self, Runtime};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::{LocalSet, yield_now};

use crate::scheduler::{self, Hint};

enum Job {
    Run(Hint),
    End,
}

/// Where an actor is run that has a thread of its own. Not bounded by itself: an actor has one hint out at most.
pub(crate) struct Pin(UnboundedSender<Job>);

/// Held by the actor's engine: when that is gone, so is the thread.
pub(crate) struct ThreadEnd(UnboundedSender<Job>);

impl Pin {
    /// Starts a thread.
    ///
    /// # Errors
    /// Those of the operating system, which may have no more of them.
    pub(crate) fn start(name: &str) -> io::Result<(Self, ThreadEnd)> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let (sender, jobs) = unbounded_channel();
        let name = name.replace('\0', ""); // which a thread's name must not have
        Builder::new().name(name).spawn(move || serve(runtime, jobs))?;
        Ok((Self(sender.clone()), ThreadEnd(sender)))
    }

    pub(crate) fn schedule(&self, hint: Hint) {
        let _ = self.0.send(Job::Run(hint)); // the actor has ended and does not run again
    }
}

impl Drop for ThreadEnd {
    fn drop(&mut self) {
        let _ = self.0.send(Job::End); // the runtime could not start
    }
}

fn serve(runtime: Runtime, mut jobs: UnboundedReceiver<Job>) {
    LocalSet::new().block_on(&runtime, async {
        while let Some(Job::Run(hint)) = jobs.recv().await {
            let mut next = Some(hint);
            while let Some(hint) = next {
                next = scheduler::run_here(hint);
                yield_now().await;
            }
        }
    });
    // Tasks that block for good must not keep this thread.
    runtime.shutdown_background();
}
