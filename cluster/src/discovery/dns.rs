//! [`DnsDiscovery`]: a name says where the nodes are.

use super::{Contacts, Discovery};
use crate::member::Address;
use std::{fmt, future::Future, io, net::IpAddr, pin::Pin, sync::Arc};

/// All addresses that a name stands for. Nodes must advertise those numbers, and one port.
///
/// It asks for addresses, A and AAAA: the port is said here, for the machine's resolver reads no SRV records. Where ports
/// differ, a [`Discovery`] of one's own knows better.
#[derive(Clone)]
pub struct DnsDiscovery {
    name: String,
    port: u16,
    resolver: Arc<dyn Resolver>,
}

/// Looks names up.
pub trait Resolver: Send + Sync + 'static {
    /// All numbers that `name` stands for now, in any order. Dropped when it takes longer than ten seconds.
    ///
    /// # Errors
    /// Whatever went wrong: it is logged, and asked again a second later; ten, once it was known through whom to join.
    fn resolve<'a>(&'a self, name: &'a str) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>>;
}

impl DnsDiscovery {
    /// The nodes at `port` of all addresses of `name`, by the machine's resolver.
    pub fn new(name: impl Into<String>, port: u16) -> Self {
        Self { name: name.into(), port, resolver: Arc::new(OfMachine) }
    }

    /// Asks `resolver` instead.
    #[must_use]
    pub fn with_resolver(self, resolver: impl Resolver) -> Self {
        Self { resolver: Arc::new(resolver), ..self }
    }
}

impl Discovery for DnsDiscovery {
    fn contacts(&self) -> Contacts<'_> {
        Box::pin(async move {
            let found = self.resolver.resolve(&self.name).await?;
            Ok(found.iter().map(|found| Address::new(found.to_string(), self.port)).collect::<Result<_, _>>()?)
        })
    }
}

impl fmt::Debug for DnsDiscovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DnsDiscovery").field("name", &self.name).field("port", &self.port).finish_non_exhaustive()
    }
}

/// The machine's resolver.
struct OfMachine;

impl Resolver for OfMachine {
    fn resolve<'a>(&'a self, name: &'a str) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>> {
        Box::pin(async move { Ok(tokio::net::lookup_host((name, 0)).await?.map(|found| found.ip()).collect()) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Knows one name.
    struct Zone(&'static str, Vec<IpAddr>);

    impl Resolver for Zone {
        fn resolve<'a>(&'a self, name: &'a str) -> Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>> {
            let known = if name == self.0 { Ok(self.1.clone()) } else { Err(io::ErrorKind::NotFound.into()) };
            Box::pin(async { known })
        }
    }

    #[tokio::test]
    async fn each_number_of_a_name_is_a_node() {
        let zone = || Zone("shop.internal", vec!["10.0.0.2".parse().unwrap(), "fd00::1".parse().unwrap()]);
        let discovery = DnsDiscovery::new("shop.internal", 2551).with_resolver(zone());
        let found = discovery.contacts().await.unwrap();
        assert_eq!(found, ["10.0.0.2:2551".parse().unwrap(), "[fd00::1]:2551".parse().unwrap()]);
        let other = DnsDiscovery::new("other.internal", 2551).with_resolver(zone());
        assert!(other.contacts().await.is_err());
    }

    #[tokio::test]
    async fn a_name_is_looked_up() {
        let found = DnsDiscovery::new("localhost", 7).contacts().await.unwrap();
        assert!(found.iter().any(|found| found.to_string() == "127.0.0.1:7" || found.to_string() == "[::1]:7"));
    }
}
