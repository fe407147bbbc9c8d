//! What receptionists of different nodes say to each other.

use crate::{
    WireMessage,
    member::{Address, UniqueAddress},
    refs::Exported,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// From one receptionist to another. May be lost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Told {
    /// Part of all that the sender's actors have registered.
    Part(Part),
    /// All of that version is here.
    Have {
        from: Life,
        /// For which life it is meant; another one ignores it.
        to: u64,
        version: u64,
    },
}

/// Part of all that one node's actors have registered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) from: Life,
    /// For which life it is meant; another one ignores it.
    pub(crate) to: u64,
    /// The [uid](actors::ActorSystem::uid) of the sender's system.
    pub(crate) owner: u64,
    pub(crate) version: u64,
    /// Which part it is, and how many there are.
    pub(crate) number: u32,
    pub(crate) parts: u32,
    pub(crate) entries: Arc<[Entry]>,
}

/// One actor under one key.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) actor: Exported,
}

impl Entry {
    /// About as many bytes.
    fn size(&self) -> usize {
        self.key.len() + self.actor.message.len() + self.actor.path.len() + 100
    }
}

/// A life of a node, as it is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Life {
    host: String,
    port: u16,
    uid: u64,
}

impl From<&UniqueAddress> for Life {
    fn from(node: &UniqueAddress) -> Self {
        Self { host: node.address.host().to_owned(), port: node.address.port(), uid: node.uid }
    }
}

impl Life {
    /// `None`: it is none.
    pub(crate) fn node(&self) -> Option<UniqueAddress> {
        Some(UniqueAddress { address: Address::new(&*self.host, self.port).ok()?, uid: self.uid })
    }
}

impl WireMessage for Told {
    const NAME: &'static str = "cluster.Receptionist";
}

/// Bytes of a part, about.
const PART: usize = 64 * 1024;

/// `entries` in pieces that go into a frame each; at least one.
pub(crate) fn pieces(entries: Vec<Entry>) -> Vec<Arc<[Entry]>> {
    let (mut pieces, mut piece, mut size) = (Vec::new(), Vec::new(), 0);
    for entry in entries {
        size += entry.size();
        piece.push(entry);
        if size >= PART {
            pieces.push(std::mem::take(&mut piece).into());
            size = 0;
        }
    }
    if !piece.is_empty() || pieces.is_empty() {
        pieces.push(piece.into());
    }
    pieces
}
