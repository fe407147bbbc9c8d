//! [`Listing`]: who is registered under a key.

use std::fmt;
use std::sync::Arc;

use super::key::ServiceKey;
use crate::actor_ref::ActorRef;

/// Who was registered under a key at one moment. Cheap to clone.
pub struct Listing<M> {
    key: ServiceKey<M>,
    reachable: Arc<[ActorRef<M>]>,
    all: Arc<[ActorRef<M>]>,
}

impl<M: Send + 'static> Listing<M> {
    pub(super) fn new(key: ServiceKey<M>, reachable: Vec<ActorRef<M>>, all: Vec<ActorRef<M>>) -> Self {
        let all: Arc<[_]> = all.into();
        let reachable = if reachable.len() == all.len() { all.clone() } else { reachable.into() };
        Self { key, reachable, all }
    }

    /// Under which key.
    pub fn key(&self) -> &ServiceKey<M> {
        &self.key
    }

    /// Those on nodes that can be reached, each once, ordered by system and then by age.
    pub fn instances(&self) -> &[ActorRef<M>] {
        &self.reachable
    }

    /// All of them, those on nodes out of reach too.
    pub fn all_instances(&self) -> &[ActorRef<M>] {
        &self.all
    }
}

impl<M> Clone for Listing<M> {
    fn clone(&self) -> Self {
        Self { key: self.key.clone(), reachable: self.reachable.clone(), all: self.all.clone() }
    }
}

impl<M: Send + 'static> PartialEq for Listing<M> {
    fn eq(&self, other: &Self) -> bool {
        (&self.key, &self.reachable, &self.all) == (&other.key, &other.reachable, &other.all)
    }
}

impl<M: Send + 'static> Eq for Listing<M> {}

impl<M: Send + 'static> fmt::Debug for Listing<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listing")
            .field("key", &self.key)
            .field("reachable", &self.reachable)
            .field("all", &self.all)
            .finish()
    }
}
