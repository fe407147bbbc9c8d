//! User function and sidecar as processes of their own on free loopback ports.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use proto::cloudstate::entity_discovery_client::EntityDiscoveryClient;
use proto::cloudstate::{EntitySpec, ProxyInfo};
use tempfile::NamedTempFile;
use tokio::process::{Child, Command};

use super::ATTEMPT_PAUSE;
use super::client::{HttpClient, connect};

/// How long a user function may take to answer its first discovery.
const FUNCTION_START: Duration = Duration::from_secs(60);

/// How long a sidecar may take to answer its first request.
const SIDECAR_START: Duration = Duration::from_secs(10);

/// Log lines shown with a failure.
const LOG_LINES: usize = 60;

/// A running process; killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: &'static str,
    address: SocketAddr,
    child: Child,
    log: NamedTempFile,
}

impl Process {
    fn start(name: &'static str, address: SocketAddr, mut command: Command) -> Result<Self> {
        let log = NamedTempFile::new().context("a file for the log")?;
        let output = log.reopen()?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start the {name}"))?;
        Ok(Self { name, address, child, log })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The end of what it has written.
    pub fn log(&self) -> String {
        let text = std::fs::read(self.log.path()).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let end = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n");
        format!("--- {} ---\n{end}\n", self.name)
    }

    fn still_running(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!("the {} ended with {status}\n{}", self.name, self.log()),
        }
    }
}

/// The model function of the Go SDK.
pub fn function_binary() -> Result<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/sdk/go/tck_eventsourced");
    ensure!(path.exists(), "target/sdk/go/tck_eventsourced is missing: run `scripts/sdk-functions` first");
    Ok(path)
}

/// Starts a user function and discovers it until that succeeds.
pub async fn start_function(binary: &Path) -> Result<(Process, EntitySpec)> {
    let port = cloudstate::listen::free_port()?;
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut command = Command::new(binary);
    command.env("HOST", "127.0.0.1").env("PORT", port.to_string());
    let mut process = Process::start("user function", address, command)?;
    let discovered = async {
        loop {
            process.still_running()?;
            let mut client = EntityDiscoveryClient::new(connect(address)?);
            match client.discover(proxy_info()).await {
                Ok(spec) => return anyhow::Ok(spec.into_inner()),
                Err(_) => tokio::time::sleep(ATTEMPT_PAUSE).await,
            }
        }
    };
    let spec =
        tokio::time::timeout(FUNCTION_START, discovered).await.context("the user function does not answer")??;
    Ok((process, spec))
}

/// Starts a sidecar in front of `function` and sends `GET /` until it answers, whatever it answers.
pub async fn start_sidecar(binary: &Path, function: SocketAddr) -> Result<Process> {
    let port = cloudstate::listen::free_port()?;
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut command = Command::new(binary);
    command
        .args(["run", "--store", "memory"])
        .env("USER_FUNCTION_HOST", function.ip().to_string())
        .env("USER_FUNCTION_PORT", function.port().to_string())
        .env("HTTP_PORT", port.to_string())
        .env("MANAGEMENT_PORT", "off")
        .env("METRICS_PORT", "off");
    let mut process = Process::start("sidecar", address, command)?;
    let client = HttpClient::new(address);
    let answered = async {
        while client.get("/").await.is_err() {
            process.still_running()?;
            tokio::time::sleep(ATTEMPT_PAUSE).await;
        }
        anyhow::Ok(())
    };
    let ready = tokio::time::timeout(SIDECAR_START, answered).await;
    ready.with_context(|| format!("the sidecar does not answer\n{}", process.log()))??;
    Ok(process)
}

/// What the suite says of itself when it discovers a function.
fn proxy_info() -> ProxyInfo {
    ProxyInfo {
        protocol_major_version: 0,
        protocol_minor_version: 2,
        proxy_name: "conformance suite".to_owned(),
        proxy_version: env!("CARGO_PKG_VERSION").to_owned(),
        supported_entity_types: [
            "cloudstate.action.ActionProtocol",
            "cloudstate.crdt.Crdt",
            "cloudstate.eventsourced.EventSourced",
            "cloudstate.valueentity.ValueEntity",
        ]
        .map(str::to_owned)
        .to_vec(),
    }
}
