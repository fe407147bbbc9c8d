//! Starting and signalling a process group.
//!
//! Invariant: every process is started from one thread that lives as long as the [`Spawner`]. The kernel's parent-death signal is tied to the
//! *thread* that started the child; from a pool's thread, an idle pool would kill it.
#![allow(unsafe_code)] // one block: what runs between fork and exec

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use actors::Clock;
use rustix::process::{Pid, Signal, getppid, kill_process_group, set_parent_process_death_signal};
use tokio::process::{Child, ChildStderr, ChildStdout, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tracing::{debug, warn};

use super::ChildCommand;

/// Why the command could not be started. Nothing runs.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// No such program.
    #[error("cannot start `{program}`: no such command; check the words after `--` and PATH")]
    NotFound {
        /// The program.
        program: String,
    },
    /// It is there, but may not be run.
    #[error("cannot start `{program}`: it is not executable; try `chmod +x {program}`")]
    NotExecutable {
        /// The program.
        program: String,
    },
    /// Anything else the system refuses.
    #[error("cannot start `{program}`: {error}")]
    Refused {
        /// The program.
        program: String,
        /// What the system says.
        error: io::Error,
    },
}

/// Starts the processes of one command.
pub(super) struct Spawner {
    program: String,
    requests: mpsc::Sender<oneshot::Sender<io::Result<Child>>>, // at most one is waiting: `spawn` awaits its answer
}

impl Spawner {
    pub(super) fn new(command: ChildCommand) -> Result<Self, StartError> {
        let program = command.program.clone();
        let (requests, inbox) = mpsc::channel::<oneshot::Sender<io::Result<Child>>>();
        let runtime = Handle::current();
        let serve = move || {
            let _guard = runtime.enter();
            while let Ok(reply_to) = inbox.recv() {
                // Whoever asked has gone when this fails; dropping the process then kills it.
                let _ = reply_to.send(spawn(&command));
            }
        };
        let spawned =
            thread::Builder::new().name("user-function-spawner".to_owned()).stack_size(256 << 10).spawn(serve);
        match spawned {
            Ok(_) => Ok(Self { program, requests }),
            Err(error) => Err(StartError::Refused { program, error }),
        }
    }

    pub(super) async fn spawn(&self) -> Result<Group, StartError> {
        let (reply_to, reply) = oneshot::channel();
        let gone = || io::Error::other("the starting thread has ended");
        let started = match self.requests.send(reply_to) {
            Ok(()) => reply.await.unwrap_or_else(|_| Err(gone())),
            Err(_) => Err(gone()),
        };
        let child = started.map_err(|error| self.refused(error))?;
        Ok(Group::new(child))
    }

    fn refused(&self, error: io::Error) -> StartError {
        let program = self.program.clone();
        match error.kind() {
            io::ErrorKind::NotFound => StartError::NotFound { program },
            io::ErrorKind::PermissionDenied => StartError::NotExecutable { program },
            _ => StartError::Refused { program, error },
        }
    }
}

/// A process and its descendants. Dropping it kills them.
pub(super) struct Group {
    child: Child,
    leader: Option<Pid>, // also the id of the group
}

impl Group {
    fn new(child: Child) -> Self {
        let leader = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        Self { child, leader }
    }

    pub(super) fn leader(&self) -> Option<Pid> {
        self.leader
    }

    pub(super) fn pid(&self) -> u32 {
        self.leader.map_or(0, |leader| leader.as_raw_nonzero().get().cast_unsigned())
    }

    pub(super) fn take_pipes(&mut self) -> (Option<ChildStdout>, Option<ChildStderr>) {
        (self.child.stdout.take(), self.child.stderr.take())
    }

    /// Waits for the leader to end and says how. Cancel safe.
    pub(super) async fn exited(&mut self) -> String {
        match self.child.wait().await {
            Ok(status) => describe(status),
            Err(error) => error.to_string(),
        }
    }

    /// Asks the group to end, waits, then insists.
    pub(super) async fn stop(&mut self, patience: Duration, clock: &Clock) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            self.kill();
            return;
        }
        self.signal(Signal::TERM);
        let ended = tokio::select! {
            status = self.exited() => Some(status),
            () = clock.sleep(patience) => None,
        };
        // Descendants that ignored the first signal go with their leader.
        self.kill();
        match ended {
            Some(status) => debug!(%status, "user function ended"),
            None => {
                warn!(?patience, "user function did not end on SIGTERM and was killed");
                self.exited().await;
            }
        }
    }

    pub(super) fn kill(&self) {
        self.signal(Signal::KILL);
    }

    fn signal(&self, signal: Signal) {
        if let Some(leader) = self.leader {
            // The group may be gone already, which is what we want.
            let _ = kill_process_group(leader, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(command: &ChildCommand) -> io::Result<Child> {
    let sidecar = rustix::process::getpid();
    let mut process = Command::new(&command.program);
    process
        .args(&command.args)
        .envs(command.env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    // SAFETY: between fork and exec only async-signal-safe calls are allowed; these are two plain system calls that allocate nothing.
    unsafe {
        process.pre_exec(move || {
            set_parent_process_death_signal(Some(Signal::KILL))?;
            // The sidecar may have died before the line above took effect.
            if getppid() == Some(sidecar) { Ok(()) } else { Err(io::ErrorKind::BrokenPipe.into()) }
        });
    }
    process.spawn()
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}
