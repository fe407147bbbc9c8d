//! [`Discovery`]: finds through whom to join. [`Bootstrap`] decides when enough is known.

mod bootstrap;
mod dns;
mod file;
mod fixed;

pub(crate) use bootstrap::Bootstrap;
pub use dns::{DnsDiscovery, Resolver};
pub use file::FileDiscovery;
pub use fixed::StaticDiscovery;

use crate::member::Address;
use actors::BoxError;
use std::{future::Future, pin::Pin};

/// Finds the nodes of a cluster.
pub trait Discovery: Send + Sync + 'static {
    /// The addresses at which nodes are, or may be, as they are known now; in any order. At most 64 are used. Dropped when it
    /// takes longer than ten seconds.
    ///
    /// # Errors
    /// Whatever went wrong: it is logged, and asked again a second later; ten, once it was known through whom to join.
    fn contacts(&self) -> Contacts<'_>;
}

/// What [`Discovery::contacts`] finds.
pub type Contacts<'a> = Pin<Box<dyn Future<Output = Result<Vec<Address>, BoxError>> + Send + 'a>>;
