//! The user function as a child process: started, prefixed, restarted when it dies, and stopped with the sidecar.
//!
//! The child and all its descendants share a process group, which is signalled as a whole. When the sidecar itself is killed without a chance to
//! clean up, a guard ends the group; descendants that made a group of their own are their own.

mod guard;
mod output;
mod process;
mod restarts;

use std::time::Duration;

use actors::Clock;
use rustix::process::Pid;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

pub use output::{Line, Output, Stream};
pub use process::StartError;
pub use restarts::Restarts;

use crate::config::ChildConfig;
use crate::telemetry::metrics;
use guard::Guard;
use process::{Group, Spawner};

/// What to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildCommand {
    /// The program: a path, or a name looked up in `PATH`.
    pub program: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Variables set beside the inherited ones.
    pub env: Vec<(String, String)>,
}

/// A user function that runs as our child.
pub struct UserFunctionChild {
    spawner: Spawner,
    config: ChildConfig,
    clock: Clock,
    output: Output,
    readers: JoinSet<()>, // one for each pipe of each process started
    running: Group,
    guard: Option<Guard>, // without one, the kernel still kills the child, but not its descendants
}

impl UserFunctionChild {
    /// Starts the process for the first time. Call [`supervise`](Self::supervise) to keep it running.
    ///
    /// # Errors
    /// When the command cannot be started at all; nothing runs then.
    pub async fn start(
        command: ChildCommand,
        config: ChildConfig,
        clock: Clock,
        output: Output,
    ) -> Result<Self, StartError> {
        let guard =
            Guard::start().inspect_err(|error| warn!(%error, "no guard for the user function's descendants")).ok();
        let spawner = Spawner::new(command)?;
        let running = spawner.spawn().await?;
        let mut child = Self { spawner, config, clock, output, readers: JoinSet::new(), running, guard };
        child.adopt();
        Ok(child)
    }

    /// Restarts the process whenever it dies, until `stop` is cancelled; then stops it: SIGTERM, `child.stop-timeout`, SIGKILL.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropping the future kills the process with SIGKILL.
    pub async fn supervise(mut self, stop: CancellationToken) {
        let mut restarts = Restarts::new(&self.config);
        loop {
            let started = self.clock.now();
            tokio::select! {
                () = stop.cancelled() => break,
                status = self.running.exited() => {
                    let delay = restarts.died_after(self.clock.now() - started);
                    warn!(status = %status, ?delay, "user function died, starting it again");
                    // Whatever it left behind may still hold its port.
                    self.running.kill();
                    self.watch_over(None);
                    if self.restart(delay, &mut restarts, &stop).await.is_none() {
                        break;
                    }
                }
            }
        }
        self.running.stop(self.config.stop_timeout, &self.clock).await;
        self.watch_over(None);
        self.finish_reading().await;
        info!("user function stopped");
    }

    /// Starts the process again after `delay`; failing that, after the next one. `None` when `stop` came first.
    async fn restart(&mut self, mut delay: Duration, restarts: &mut Restarts, stop: &CancellationToken) -> Option<()> {
        loop {
            tokio::select! {
                () = stop.cancelled() => return None,
                () = self.clock.sleep(delay) => {}
            }
            match self.spawner.spawn().await {
                Ok(group) => {
                    self.running = group;
                    self.adopt();
                    return Some(());
                }
                Err(error) => {
                    delay = restarts.died_after(Duration::ZERO);
                    error!(%error, ?delay, "cannot start the user function again");
                }
            }
        }
    }

    fn adopt(&mut self) {
        metrics::child_started();
        self.watch_over(self.running.leader());
        info!(pid = self.running.pid(), "user function started");
        let (out, err) = self.running.take_pipes();
        while self.readers.try_join_next().is_some() {}
        if let Some(pipe) = out {
            self.readers.spawn(self.output.clone().pump(pipe, Stream::Out));
        }
        if let Some(pipe) = err {
            self.readers.spawn(self.output.clone().pump(pipe, Stream::Err));
        }
    }

    fn watch_over(&mut self, group: Option<Pid>) {
        if let Some(guard) = &mut self.guard {
            guard.watch_over(group);
        }
    }

    /// The last words of a process that has ended are still in its pipes.
    async fn finish_reading(&mut self) {
        let rest = async { while self.readers.join_next().await.is_some() {} };
        tokio::select! {
            () = rest => {}
            () = self.clock.sleep(LAST_WORDS) => {}
        }
    }
}

/// How long to read on after the process has ended: a descendant that left the group may hold the pipe open for ever.
const LAST_WORDS: Duration = Duration::from_millis(500);
