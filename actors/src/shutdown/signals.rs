//! Signals of the operating system that start a shutdown.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing::{Instrument, info, info_span, warn};

use super::CoordinatedShutdown;
use super::report::ShutdownReason;

/// The signals that mean "end, but in good order".
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

impl CoordinatedShutdown {
    /// Starts the shutdown when the process gets `SIGTERM`, or `SIGINT` as by ctrl-c; a second one while it runs
    /// [cuts it short](Self::cut_short). From this call on neither ends the process by itself, not even after the shutdown:
    /// that is for `main` to do, once [`ended`](Self::ended) is.
    ///
    /// ```no_run
    /// use actors::{ActorSystem, BoxError};
    /// use std::process::ExitCode;
    ///
    /// #[tokio::main]
    /// async fn main() -> Result<ExitCode, BoxError> {
    ///     let system = ActorSystem::new("app");
    ///     system.coordinated_shutdown().run_on_signals()?;
    ///     // Spawn actors, bind sockets, add shutdown tasks; then:
    ///     let report = system.coordinated_shutdown().ended().await;
    ///     Ok(ExitCode::from(report.exit_code()))
    /// }
    /// ```
    ///
    /// # Errors
    /// When the operating system does not let this process listen.
    ///
    /// # Panics
    /// When the system's runtime was built without its I/O driver.
    pub fn run_on_signals(&self) -> io::Result<()> {
        let Some(system) = self.0.system.upgrade() else { return Ok(()) };
        let _entered = system.runtime().enter();
        let mut signals = Signals::listen()?;
        let span = info_span!("signals", system = system.name());
        let shutdown = self.clone();
        let listening = async move {
            let name = signals.next().await;
            info!(signal = name, "the process is to end");
            shutdown.start_for(ShutdownReason::Signal(name));
            let name = signals.next().await;
            warn!(signal = name, "the process is to end at once");
            shutdown.cut_short();
        };
        let shutdown = self.clone();
        let task = async move {
            tokio::select! {
                () = listening => {}
                _ = shutdown.ended() => {}
            }
        };
        system.runtime().spawn(task.instrument(span));
        Ok(())
    }
}
