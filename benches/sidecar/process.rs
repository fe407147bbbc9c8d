//! Starting parts as processes, and waiting until they answer.

use std::ffi::OsStr;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::role::ROLE;

/// How often a starting part is asked whether it is there.
const ASK_EVERY: Duration = Duration::from_millis(1);
/// How long a part may take to start.
const START_WITHIN: Duration = Duration::from_secs(20);

/// A running part; dropping it kills it and waits for its end.
pub struct Process {
    child: Child,
    name: &'static str,
    pub started: Instant,
}

impl Process {
    /// Starts a role. What it says goes to `log`.
    pub fn role<S: AsRef<OsStr>>(roles: &Path, name: &'static str, args: &[S], log: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(roles);
        command.arg(ROLE).arg(name).args(args);
        Self::spawn(name, command, log)
    }

    /// Starts another program that ends with the bench.
    pub fn program<S: AsRef<OsStr>>(
        roles: &Path,
        program: &Path,
        args: &[S],
        env: &[(&str, String)],
        log: &Path,
    ) -> anyhow::Result<Self> {
        let mut command = Command::new(roles);
        command.arg(ROLE).arg("become").arg(program).args(args);
        command.envs(env.iter().map(|(name, value)| (name, value)));
        Self::spawn("sidecar", command, log)
    }

    fn spawn(name: &'static str, mut command: Command, log: &Path) -> anyhow::Result<Self> {
        let said = File::create(log)?;
        command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said);
        let started = Instant::now();
        let child = command.spawn().with_context(|| format!("start {name}"))?;
        Ok(Self { child, name, started })
    }

    /// SIGTERM, and waits for the end, which the sidecar bounds itself.
    pub async fn terminate(&mut self) -> anyhow::Result<()> {
        let pid = rustix::process::Pid::from_raw(self.child.id() as i32).context("a pid")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        while self.child.try_wait()?.is_none() {
            sleep(ASK_EVERY).await;
        }
        Ok(())
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `ready` says so; returns the time since the start.
    pub async fn until(&mut self, mut ready: impl AsyncFnMut() -> bool) -> anyhow::Result<Duration> {
        loop {
            if ready().await {
                return Ok(self.started.elapsed());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended while starting: {status}", self.name);
            }
            if self.started.elapsed() > START_WITHIN {
                bail!("{} does not answer after {START_WITHIN:?}", self.name);
            }
            sleep(ASK_EVERY).await;
        }
    }

    /// Waits until something listens at `address`.
    pub async fn until_listening(&mut self, address: SocketAddr) -> anyhow::Result<Duration> {
        self.until(async || TcpStream::connect(address).await.is_ok()).await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail only for a process that is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A loopback address nobody listens at.
pub fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}
