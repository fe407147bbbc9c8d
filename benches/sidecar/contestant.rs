//! Who is measured, and how each is started.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use tonic::transport::Endpoint;

use crate::args::CARTS_MAIN;
use crate::build::Binaries;
use crate::caller::Door;
use crate::cart::{self, ShoppingCartClient};
use crate::http_get::{http_get, syncs};
use crate::kinds::Kind;
use crate::proc_stat::resident_bytes;
use crate::process::{Process, free_address};
use crate::record::Cell;

/// Carts opened before memory is read a second time.
const OPENED: usize = 100;
/// After a start, until what it left to do is done.
const SETTLE: Duration = Duration::from_millis(300);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Contestant {
    /// A unary server with the carts in memory and nothing behind it.
    PlainTonic,
    /// The user function with its entity streams driven by the load itself.
    FunctionDirect,
    RelayMemory,
    RelaySynced,
    SidecarMemory,
    SidecarDurable,
    /// The relay with its log, before a cart on the published Node SDK.
    RelayNode,
    /// The sidecar with its store, before the same.
    SidecarNode,
}

impl Contestant {
    const ALL: [Self; 8] = [
        Self::PlainTonic,
        Self::FunctionDirect,
        Self::RelayMemory,
        Self::RelaySynced,
        Self::SidecarMemory,
        Self::SidecarDurable,
        Self::RelayNode,
        Self::SidecarNode,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Self::PlainTonic => "plain-tonic",
            Self::FunctionDirect => "function-direct",
            Self::RelayMemory => "relay-memory",
            Self::RelaySynced => "relay-synced",
            Self::SidecarMemory => "sidecar-memory",
            Self::SidecarDurable => "sidecar-durable",
            Self::RelayNode => "relay-node",
            Self::SidecarNode => "sidecar-node",
        }
    }

    /// Those whose name contains one of `wanted`; all when nothing is.
    pub fn matching(wanted: &[String]) -> Vec<Self> {
        let is_wanted = |contestant: &Self| wanted.iter().any(|part| contestant.name().contains(part));
        Self::ALL.into_iter().filter(|contestant| wanted.is_empty() || is_wanted(contestant)).collect()
    }

    pub fn is_sidecar(self) -> bool {
        matches!(self, Self::SidecarMemory | Self::SidecarDurable | Self::SidecarNode)
    }

    /// Whether the user function is the one on the published Node SDK.
    pub fn is_node(self) -> bool {
        matches!(self, Self::RelayNode | Self::SidecarNode)
    }

    /// Whether it takes part in this cell: it has such services, and is fast enough for it to be worth its time.
    pub fn serves(self, cell: Cell) -> bool {
        if self.is_node() {
            return cell.kind.is_none() && cell.carts <= CARTS_MAIN && cell.clients <= 64;
        }
        cell.kind.is_none() || self.is_sidecar() || self == Self::FunctionDirect
    }

    /// What it is compared with: for carts the floor that promises what this one does about the store.
    pub fn floor(self, kind: Option<Kind>) -> Option<Self> {
        match self {
            _ if kind.is_some() => self.is_sidecar().then_some(Self::FunctionDirect),
            Self::SidecarMemory => Some(Self::RelayMemory),
            Self::SidecarDurable => Some(Self::RelaySynced),
            Self::SidecarNode => Some(Self::RelayNode),
            _ => None,
        }
    }
}

/// A contestant that answers.
pub struct Running {
    pub contestant: Contestant,
    pub target: SocketAddr,
    pub door: Door,
    pub started: Started,
    pub server: Option<Process>,
    function: Option<Process>,
    pub metrics: Option<SocketAddr>,
    management: Option<SocketAddr>,
    function_at: Option<SocketAddr>,
    /// Its data and what it said; removed with it.
    pub folder: TempDir,
}

/// What starting showed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Started {
    /// From the start of the process to the first `/ready` that says yes; for those without one, to the first answered call.
    pub ready_ms: f64,
    /// From the start of the process to the first answered call.
    pub first_answer_ms: f64,
    pub idle_mb: f64,
    /// With 100 carts open.
    pub opened_mb: f64,
}

impl Running {
    /// Starts `contestant` with its data in a folder of its own under `root`.
    pub async fn start(contestant: Contestant, binaries: &Binaries, root: &Path) -> anyhow::Result<Self> {
        let folder = TempDir::with_prefix_in(contestant.name(), root)?;
        let path = folder.path().to_owned();
        let log = |name: &str| path.join(name);
        let roles = &binaries.roles;
        let (target, metrics) = (free_address()?, free_address()?);
        let mut running = Self {
            contestant,
            target,
            door: Door::Service,
            started: Started::default(),
            server: None,
            function: None,
            metrics: None,
            management: None,
            function_at: None,
            folder,
        };
        if contestant == Contestant::PlainTonic {
            running.server = Some(Process::role(roles, "plain", &[target.to_string()], &log("plain.log"))?);
            return running.measured(None).await;
        }

        let function = if contestant == Contestant::FunctionDirect { target } else { free_address()? };
        let mut process = if contestant.is_node() {
            let index = node_cart().context("contestants before Node want `scripts/sdk-functions node`")?;
            let env = [("HOST", function.ip().to_string()), ("PORT", function.port().to_string())];
            // It finds its descriptors in the folder that it is started in.
            let start = format!("cd '{}' && exec node index.js", index.parent().context("a folder")?.display());
            Process::program(roles, Path::new("sh"), &["-c", &start], &env, &log("function.log"))?
        } else {
            Process::role(roles, "function", &[function.to_string()], &log("function.log"))?
        };
        let listening = process.until_listening(function).await?;
        running.function = Some(process);
        if contestant == Contestant::FunctionDirect {
            running.door = Door::EntityStreams;
            running.started.ready_ms = listening.as_secs_f64() * 1e3;
            return running.measured_idle().await;
        }

        running.metrics = Some(metrics);
        match &binaries.sidecar {
            Some(_) if contestant.is_sidecar() => {
                running.function_at = Some(function);
                let management = Some(free_address()?);
                running.management = management;
                running.server = Some(running.sidecar_process(binaries)?);
                running.measured(management).await
            }
            _ => running.start_relay(roles, function).await,
        }
    }

    /// Starts the sidecar, on the store that is there.
    pub fn sidecar_process(&self, binaries: &Binaries) -> anyhow::Result<Process> {
        let addresses = (self.function_at, self.management, self.metrics);
        let (Some(function), Some(management), Some(metrics)) = addresses else { bail!("not a sidecar") };
        let env = sidecar_env(self.target, function, management, metrics);
        let store = match self.contestant {
            Contestant::SidecarMemory => "memory".to_owned(),
            _ => format!("sqlite:{}", self.folder.path().join("store").display()),
        };
        let binary = binaries.sidecar.as_deref().context("built for sidecars")?;
        Process::program(
            &binaries.roles,
            binary,
            &["run", "--store", &store],
            &env,
            &self.folder.path().join("sidecar.log"),
        )
    }

    /// The process that stands between clients and user function.
    pub fn server_pid(&self) -> u32 {
        self.server.as_ref().map_or(0, Process::pid)
    }

    async fn start_relay(mut self, roles: &Path, function: SocketAddr) -> anyhow::Result<Self> {
        let metrics = self.metrics.context("set by start")?;
        let mut args = vec![
            format!("--address={}", self.target),
            format!("--function={function}"),
            format!("--metrics={metrics}"),
        ];
        if matches!(self.contestant, Contestant::RelaySynced | Contestant::RelayNode) {
            args.push(format!("--log={}", self.folder.path().join("relay-events").display()));
        }
        self.server = Some(Process::role(roles, "relay", &args, &self.folder.path().join("relay.log"))?);
        self.measured(None).await
    }

    /// The processes whose processor time counts: the server first, then the user function.
    pub fn pids(&self) -> Vec<u32> {
        self.server.iter().chain(&self.function).map(Process::pid).collect()
    }

    /// Syncs so far; `None` for those that store nothing.
    pub async fn syncs(&self) -> anyhow::Result<Option<u64>> {
        let Some(metrics) = self.metrics else {
            return Ok(None);
        };
        Ok(Some(syncs(&http_get(metrics, "/metrics").await?.1)))
    }

    /// What the server, or else the user function, holds in memory now.
    pub fn resident_mb(&self) -> f64 {
        let process = self.server.as_ref().or(self.function.as_ref());
        process.map_or(0.0, |process| resident_bytes(process.pid()) as f64 / 1e6)
    }

    /// Waits for readiness and for an answer, then looks at memory.
    async fn measured(mut self, management: Option<SocketAddr>) -> anyhow::Result<Self> {
        let server = self.server.as_mut().expect("started above");
        if let Some(management) = management {
            let ready = async || matches!(http_get(management, "/ready").await, Ok((200, _)));
            self.started.ready_ms = server.until(ready).await?.as_secs_f64() * 1e3;
        }
        let target = self.target;
        let answers = async || read_first(target).await.is_ok();
        self.started.first_answer_ms = server.until(answers).await?.as_secs_f64() * 1e3;
        if management.is_none() {
            self.started.ready_ms = self.started.first_answer_ms;
        }
        self.measured_idle().await
    }

    async fn measured_idle(mut self) -> anyhow::Result<Self> {
        tokio::time::sleep(SETTLE).await;
        self.started.idle_mb = self.resident_mb();
        if let Door::Service = self.door {
            let mut carts = client(self.target).await?;
            for number in 0..OPENED {
                carts.add_item(cart::add_one(&format!("opened-{number}"))).await?;
            }
            self.started.opened_mb = self.resident_mb();
        }
        Ok(self)
    }
}

/// The cart on the Node SDK, if it was built.
pub fn node_cart() -> Option<PathBuf> {
    let index = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/sdk/node/index.js");
    index.exists().then_some(index)
}

pub async fn client(target: SocketAddr) -> anyhow::Result<ShoppingCartClient<tonic::transport::Channel>> {
    let channel = Endpoint::from_shared(format!("http://{target}"))?.tcp_nodelay(true).connect().await?;
    Ok(ShoppingCartClient::new(channel))
}

async fn read_first(target: SocketAddr) -> anyhow::Result<()> {
    client(target).await?.get_cart(cart::read("first")).await?;
    Ok(())
}

/// Defaults as shipped, but for addresses, and for limits that the load is made to reach.
fn sidecar_env(
    target: SocketAddr,
    function: SocketAddr,
    management: SocketAddr,
    metrics: SocketAddr,
) -> Vec<(&'static str, String)> {
    let loopback = || "127.0.0.1".to_owned();
    vec![
        ("CLOUDSTATE_HTTP_INTERFACE", loopback()),
        ("HTTP_PORT", target.port().to_string()),
        ("USER_FUNCTION_HOST", loopback()),
        ("USER_FUNCTION_PORT", function.port().to_string()),
        ("MANAGEMENT_HOST", loopback()),
        ("MANAGEMENT_PORT", management.port().to_string()),
        ("METRICS_HOST", loopback()),
        ("METRICS_PORT", metrics.port().to_string()),
        // 256 clients on one cart: the load measures waiting, not being turned away.
        ("CLOUDSTATE_EVENTSOURCED_ENTITY_WAITING_ROOM", "1024".to_owned()),
        // A contestant waits its turn for longer than the default of 30 s; the relay never closes a stream either.
        ("CLOUDSTATE_EVENTSOURCED_ENTITY_PASSIVATION_TIMEOUT", "10m".to_owned()),
        ("CLOUDSTATE_VALUE_ENTITY_PASSIVATION_TIMEOUT", "10m".to_owned()),
        ("CLOUDSTATE_CRDT_ENTITY_PASSIVATION_TIMEOUT", "10m".to_owned()),
    ]
}
