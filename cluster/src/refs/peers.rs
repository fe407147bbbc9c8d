//! [`Peers`]: the lives of other nodes that actors here know, and which of those are over.

use super::{peer::Peer, shared::Shared};
use crate::{
    member::UniqueAddress,
    remote::{
        associations::PEERS_MAX,
        lives::{Lives, Standing, Standings},
    },
};
use actors::Tick;
use parking_lot::Mutex;
use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};

/// At most [`PEERS_MAX`], and as many ends as [`Lives`] remembers.
#[derive(Default)]
pub(super) struct Peers(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    known: BTreeMap<UniqueAddress, Arc<Peer>>,
    /// What still is on its way from there comes too late, and whoever is named there has ended.
    ended: Lives,
}

impl Peers {
    /// What is known of that life; none if there is no room for another. One that is over is so from the start.
    pub(super) fn get_or_add(&self, node: &UniqueAddress, shared: &Weak<Shared>) -> Option<Arc<Peer>> {
        let mut unused = BTreeMap::new();
        let mut inner = self.0.lock();
        if let Some(peer) = inner.known.get(node) {
            return Some(Arc::clone(peer));
        }
        if inner.known.len() >= PEERS_MAX {
            let is_unused = |peer: &Arc<Peer>| Arc::strong_count(peer) == 1 && (!peer.is_flowing() || peer.is_over());
            unused = inner.known.extract_if(.., |_, peer| is_unused(peer)).collect();
        }
        let peer = (inner.known.len() < PEERS_MAX).then(|| Arc::new(Peer::new(node.clone(), shared.clone())));
        if let Some(peer) = &peer {
            if inner.ended.standing(node) != Standing::Good {
                peer.set_over();
            }
            inner.known.insert(node.clone(), Arc::clone(peer));
        }
        drop(inner);
        drop(unused); // outside the lock
        peer
    }

    pub(super) fn get(&self, node: &UniqueAddress) -> Option<Arc<Peer>> {
        self.0.lock().known.get(node).cloned()
    }

    /// The one of that number.
    pub(super) fn with_uid(&self, uid: u64) -> Option<Arc<Peer>> {
        self.0.lock().known.values().find(|peer| peer.node.uid == uid).cloned()
    }

    /// That life is over, as of `now`. What was known of it is forgotten.
    pub(super) fn end(&self, node: &UniqueAddress, now: Tick) -> Option<Arc<Peer>> {
        let inner = &mut *self.0.lock();
        inner.ended.tick(now);
        inner.ended.end(node.clone(), Standing::Old, now);
        inner.known.remove(node)
    }

    /// Whether that life is over, as far as it is remembered.
    pub(super) fn has_ended(&self, node: &UniqueAddress) -> bool {
        self.0.lock().ended.standing(node) != Standing::Good
    }

    /// In order.
    pub(super) fn all(&self) -> Vec<Arc<Peer>> {
        self.0.lock().known.values().cloned().collect()
    }
}
