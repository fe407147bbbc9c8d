//! `cloudstate events`: parked events of a sidecar that runs, through its management port, or of a store that can be
//! opened here: nobody has it open, or it is on a server.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use actors::Clock;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;

use super::control::{Changed, Filter, PAGE, Parked, list};
use crate::config::{Listen, ProxyConfig, StoreLocation};
use crate::store::{EventStore, Store, StoreError};

/// What to do with parked events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// List them.
    List,
    /// Have them tried again.
    Replay,
    /// Give them up for good.
    Drop,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// These are parked.
    Listed(Vec<Parked>),
    /// So many are tried again: by the sidecar that runs, else by the next one to start.
    Replayed(u64, WhoHasTheStore),
    /// So many are gone.
    Dropped(u64),
}

/// Who was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhoHasTheStore {
    /// A sidecar that runs.
    Sidecar,
    /// Nobody: the store was opened here.
    Nobody,
    /// Whoever has it open as well: it is on a server.
    Others,
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// There is no store yet.
    #[error("there is no store in {folder}; name the sidecar's with --store")]
    NoStore {
        /// The folder.
        folder: String,
    },
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The sidecar that has the store cannot be asked.
    #[error(
        "{why} and the management port is off, so its parked events cannot be reached; stop the sidecar, or run it with \
         a management port"
    )]
    NoManagement {
        /// Who has the store.
        why: String,
    },
    /// The sidecar did not answer.
    #[error("{why}, and the sidecar's management port {address} cannot be asked: {reason}")]
    Unreachable {
        /// Who has the store.
        why: String,
        /// Where it was looked for.
        address: SocketAddr,
        /// What went wrong.
        reason: String,
    },
    /// The store could not do it.
    #[error("{0}")]
    Failed(String),
}

/// Does `action` to the parked events that `filter` selects.
///
/// # Errors
/// [`CommandError`] says what to do about it.
pub async fn run(config: &ProxyConfig, action: Action, filter: Filter) -> Result<Outcome, CommandError> {
    let why = match &config.store.location {
        StoreLocation::Memory => "the store is in the memory of the sidecar".to_owned(),
        StoreLocation::Sqlite(folder) if !folder.join("store.db").exists() => {
            return Err(CommandError::NoStore { folder: folder.display().to_string() });
        }
        StoreLocation::Sqlite(_) | StoreLocation::Postgres(_) => match Store::open(&config.store).await {
            Ok(store) => {
                let who = match config.store.location {
                    StoreLocation::Postgres(_) => WhoHasTheStore::Others,
                    StoreLocation::Memory | StoreLocation::Sqlite(_) => WhoHasTheStore::Nobody,
                };
                let done = match &store.events {
                    Some(events) => on_store(events, action, filter, who).await,
                    None => Ok(Outcome::Listed(Vec::new())),
                };
                store.close().await;
                return done;
            }
            Err(error) if error.is_in_use() => error.in_use_by(),
            Err(error) => return Err(error.into()),
        },
    };
    let Some(listen) = config.admin.management else { return Err(CommandError::NoManagement { why }) };
    let address = reachable(listen);
    let asked = on_sidecar(address, action, filter).await;
    asked.map_err(|reason| CommandError::Unreachable { why, address, reason })
}

async fn on_store(
    events: &EventStore,
    action: Action,
    filter: Filter,
    who: WhoHasTheStore,
) -> Result<Outcome, CommandError> {
    let store = &*events.projections;
    let failed = |error: &dyn std::fmt::Display| CommandError::Failed(error.to_string());
    match action {
        Action::List => {
            let mut all = Vec::new();
            loop {
                let page = list(store, following(&filter, &all)).await.map_err(|error| failed(&error))?;
                let last = page.len() < PAGE;
                all.extend(page);
                if last {
                    return Ok(Outcome::Listed(all));
                }
            }
        }
        Action::Replay => {
            let count = store.replay_parked(filter.selection()).await.map_err(|error| failed(&error))?;
            Ok(Outcome::Replayed(count, who))
        }
        Action::Drop => {
            let count = store.drop_parked(filter.selection()).await.map_err(|error| failed(&error))?;
            Ok(Outcome::Dropped(count))
        }
    }
}

async fn on_sidecar(address: SocketAddr, action: Action, filter: Filter) -> Result<Outcome, String> {
    match action {
        Action::List => {
            let mut all: Vec<Parked> = Vec::new();
            loop {
                let page: Vec<Parked> = post(address, "/events/parked", &following(&filter, &all)).await?;
                let last = page.len() < PAGE;
                all.extend(page);
                if last {
                    return Ok(Outcome::Listed(all));
                }
            }
        }
        Action::Replay => {
            let changed: Changed = post(address, "/events/replay", &filter).await?;
            Ok(Outcome::Replayed(changed.events, WhoHasTheStore::Sidecar))
        }
        Action::Drop => {
            let changed: Changed = post(address, "/events/drop", &filter).await?;
            Ok(Outcome::Dropped(changed.events))
        }
    }
}

/// The filter for the page behind what was listed.
fn following(filter: &Filter, listed: &[Parked]) -> Filter {
    let after = listed.last().map(|last| (last.group.clone(), last.source.clone(), last.offset));
    Filter { after, ..filter.clone() }
}

/// A sidecar that listens everywhere also listens on this machine's own address.
fn reachable(listen: Listen) -> SocketAddr {
    let ip = match listen.interface {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port)
}

const ANSWER_WAIT: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 64 << 20;

async fn post<T: DeserializeOwned>(address: SocketAddr, path: &str, body: &impl Serialize) -> Result<T, String> {
    let body = serde_json::to_vec(body).map_err(|error| error.to_string())?;
    let request = http::Request::post(path)
        .header(http::header::HOST, address.to_string())
        .header(http::header::CONTENT_TYPE, "application/json")
        .body(Full::new(bytes::Bytes::from(body)))
        .map_err(|error| error.to_string())?;
    let answered = async {
        let stream = TcpStream::connect(address).await.map_err(|error| error.to_string())?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        let asked = async {
            let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
            let body = body.map_err(|error| error.to_string())?.to_bytes();
            Ok::<_, String>((status, body))
        };
        tokio::select! {
            answer = asked => answer,
            ended = connection => Err(ended.err().map_or_else(|| "connection closed".to_owned(), |e| e.to_string())),
        }
    };
    let answered = Clock::tokio().timeout(ANSWER_WAIT, answered).await;
    let (status, body) = answered.map_err(|_| format!("no answer within {ANSWER_WAIT:?}"))??;
    if !status.is_success() {
        let text = String::from_utf8_lossy(&body);
        return Err(format!("it answered {status}: {}", text.trim()));
    }
    serde_json::from_slice(&body).map_err(|error| format!("its answer is not understood: {error}"))
}

impl Outcome {
    /// As one line of JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        let json = match self {
            Self::Listed(parked) => serde_json::to_string(parked),
            Self::Replayed(events, _) | Self::Dropped(events) => serde_json::to_string(&Changed { events: *events }),
        };
        // Plain values with string keys always have a JSON form.
        json.unwrap_or_default() + "\n"
    }

    /// For people.
    #[must_use]
    pub fn to_text(&self) -> String {
        let events = |count: u64| if count == 1 { "1 event".to_owned() } else { format!("{count} events") };
        match self {
            Self::Listed(parked) if parked.is_empty() => "no event is parked\n".to_owned(),
            Self::Listed(parked) => parked.iter().map(Parked::to_text).collect(),
            Self::Replayed(count, WhoHasTheStore::Sidecar) => format!("{} tried again\n", events(*count)),
            Self::Replayed(count, WhoHasTheStore::Nobody) => {
                format!("{} to be tried again when the sidecar starts\n", events(*count))
            }
            Self::Replayed(count, WhoHasTheStore::Others) => {
                format!(
                    "{} to be tried again: by a sidecar that runs within seconds, else when one starts\n",
                    events(*count)
                )
            }
            Self::Dropped(count) => format!("{} dropped\n", events(*count)),
        }
    }
}

impl Parked {
    /// What to give to `--group` and so on, then what happened.
    fn to_text(&self) -> String {
        let again = if self.replay { ", to be tried again" } else { "" };
        format!(
            "group {} source {} offset {}: entity {:?} event {}, {} attempts{again}: {}\n",
            self.group, self.source, self.offset, self.entity, self.sequence, self.attempts, self.reason
        )
    }
}
