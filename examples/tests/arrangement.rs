//! A user function and a sidecar in this process.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use cloudstate::admin::Health;
use cloudstate::config::ProxyConfig;
use cloudstate::proxy::Proxy;
use cloudstate::store::Store;
use examples::function::Function;
use tokio::net::TcpListener;

/// Serves `function` on a port of its own until the test ends.
pub(crate) async fn serve(function: Function) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let port = listener.local_addr().expect("its address").port();
    tokio::spawn(function.serve(listener, std::future::pending()));
    port
}

/// A sidecar in front of the user function at `port`, which need not be there yet.
pub(crate) struct Sidecar {
    _proxy: Proxy,
    health: Health,
    pub(crate) address: SocketAddr,
}

impl Sidecar {
    pub(crate) fn before(port: u16) -> Self {
        let mut config = ProxyConfig::default();
        config.http.interface = Ipv4Addr::LOCALHOST.into();
        config.http.port = 0;
        config.user_function.port = port;
        config.user_function.reconnect.min = Duration::from_millis(20);
        config.user_function.reconnect.max = Duration::from_millis(200);
        let health = Health::new();
        let proxy = Proxy::start(config, Store::in_memory(), health.clone()).expect("a free port");
        let address = proxy.address();
        Self { _proxy: proxy, health, address }
    }

    /// Waits until it serves.
    pub(crate) async fn ready(self) -> Self {
        self.health.until_serving().await;
        self
    }
}
