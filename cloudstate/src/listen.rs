//! Listening sockets whose errors say which setting to change.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpListener;

use crate::config::Listen;

/// Which setting chooses a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortSetting {
    /// What the port is for, in one word.
    pub purpose: &'static str,
    /// The flag that chooses it.
    pub flag: &'static str,
    /// The environment variable that chooses it.
    pub env: &'static str,
}

/// The public port.
pub const HTTP_PORT: PortSetting = PortSetting { purpose: "public", flag: "--http-port", env: "HTTP_PORT" };
/// The port of `/ready` and `/alive`.
pub const MANAGEMENT_PORT: PortSetting =
    PortSetting { purpose: "management", flag: "--management-port", env: "MANAGEMENT_PORT" };
/// The port of `/metrics`.
pub const METRICS_PORT: PortSetting = PortSetting { purpose: "metrics", flag: "--metrics-port", env: "METRICS_PORT" };

/// Why a port cannot be listened on. Nothing is bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on the {} port {address}: {}; {} with {} or {}", setting.purpose, reason(error), advice(error), setting.flag, setting.env)]
pub struct ListenError {
    address: SocketAddr,
    setting: PortSetting,
    error: io::Error,
}

impl ListenError {
    pub(crate) fn new(address: SocketAddr, setting: PortSetting, error: io::Error) -> Self {
        Self { address, setting, error }
    }
}

/// Where [`free_port`] looks: below the ports that Linux hands out by itself (32768 and up), or any connection that is
/// opened meanwhile could take the port away again.
const FREE_PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A port of the loopback address that nobody listens on, for a process that opens it itself and so cannot be held one.
///
/// # Errors
/// What the operating system says when no port could be had at all.
pub fn free_port() -> io::Result<u16> {
    let free = |port: u16| std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, port));
    for _ in 0..64 {
        let port = rand::random_range(FREE_PORTS);
        if free(port).is_ok() {
            return Ok(port);
        }
    }
    Ok(free(0)?.local_addr()?.port())
}

/// Listens on `listen`.
///
/// # Errors
/// Names port, cause and the settings that choose another port.
pub async fn bind(listen: Listen, setting: PortSetting) -> Result<TcpListener, ListenError> {
    let address = SocketAddr::new(listen.interface, listen.port);
    TcpListener::bind(address).await.map_err(|error| ListenError { address, setting, error })
}

fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another process has it".to_owned(),
        io::ErrorKind::PermissionDenied => "this user may not use it".to_owned(),
        io::ErrorKind::AddrNotAvailable => "this machine does not have that address".to_owned(),
        _ => error.to_string(),
    }
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "stop that process or choose another port",
        io::ErrorKind::PermissionDenied => "choose a port above 1023",
        _ => "choose another one",
    }
}
