//! [`StaticDiscovery`]: the nodes are those that the configuration names.

use super::{Contacts, Discovery};
use crate::member::Address;

/// A list that stays as it is: the same on all nodes, with each of them in it, in any order.
///
/// Other than [`seeds`](crate::ClusterConfig::seeds) it begins a cluster only once
/// [`contacts_min`](crate::DiscoveryConfig::contacts_min) nodes are there, and whichever comes first in the order of addresses
/// begins it, not in that of the list.
#[derive(Clone, Debug)]
pub struct StaticDiscovery {
    contacts: Vec<Address>,
}

impl StaticDiscovery {
    /// The nodes at `contacts`.
    pub fn new(contacts: impl IntoIterator<Item = Address>) -> Self {
        Self { contacts: contacts.into_iter().collect() }
    }
}

impl Discovery for StaticDiscovery {
    fn contacts(&self) -> Contacts<'_> {
        Box::pin(async { Ok(self.contacts.clone()) })
    }
}
