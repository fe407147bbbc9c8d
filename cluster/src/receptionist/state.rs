//! [`State`]: what is told to which node, and what of another node is whole.
//!
//! Each node is the only writer of what its own actors have registered: all of it, with a version that grows. Others are sent
//! the newest until they say that they have it, and nothing in between. A part that is lost is sent again with all the others.

use super::message::{Entry, Life, Part, Told};
use crate::{
    member::UniqueAddress,
    testkit::planted::{Bug, is_planted},
};
use std::{collections::BTreeMap, sync::Arc};

/// Parts of one version: beyond it nothing is believed.
const PARTS_MAX: u32 = 4096;

/// What is to be done.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Effect {
    Send {
        to: UniqueAddress,
        message: Told,
    },
    /// Lists what another node has registered, in place of what it had before.
    Install {
        from: UniqueAddress,
        owner: u64,
        version: u64,
        entries: Vec<Entry>,
    },
    /// Forgets it, for good.
    Remove {
        owner: u64,
    },
    Reachable {
        owner: u64,
        is: bool,
    },
}

/// What this node's actors have registered.
struct Own {
    owner: u64,
    version: u64,
    pieces: Vec<Arc<[Entry]>>,
}

/// Another member.
struct Peer {
    /// The number of its system.
    owner: u64,
    /// Which version of what is registered here it has.
    has: Option<u64>,
    /// Which it was told last.
    told: Option<u64>,
    /// Which version of what is registered there is listed here.
    listed: Option<u64>,
    incoming: Option<Incoming>,
    reachable: bool,
}

/// A version that is not whole yet.
struct Incoming {
    version: u64,
    parts: Vec<Option<Arc<[Entry]>>>,
}

/// See the module's documentation.
pub(super) struct State {
    me: UniqueAddress,
    own: Option<Own>,
    peers: BTreeMap<UniqueAddress, Peer>,
}

impl State {
    pub(super) fn new(me: UniqueAddress) -> Self {
        Self { me, own: None, peers: BTreeMap::new() }
    }

    /// This node's actors have registered that; a version that grows.
    pub(super) fn own(&mut self, owner: u64, version: u64, pieces: Vec<Arc<[Entry]>>) {
        self.own = Some(Own { owner, version, pieces });
    }

    /// It is a member; whether it can be reached.
    pub(super) fn member(&mut self, node: &UniqueAddress, reachable: bool, out: &mut Vec<Effect>) {
        if *node == self.me {
            return;
        }
        let new = || Peer { owner: node.uid, has: None, told: None, listed: None, incoming: None, reachable: true };
        let peer = self.peers.entry(node.clone()).or_insert_with(new);
        if peer.reachable != reachable {
            peer.reachable = reachable;
            out.push(Effect::Reachable { owner: peer.owner, is: reachable });
        }
    }

    /// It is a member no more.
    pub(super) fn removed(&mut self, node: &UniqueAddress, out: &mut Vec<Effect>) {
        if is_planted(Bug::ListedForEver) {
            return;
        }
        out.extend(self.peers.remove(node).map(|peer| Effect::Remove { owner: peer.owner }));
    }

    /// Those that are members now, all others are not.
    pub(super) fn members(&mut self, members: &BTreeMap<UniqueAddress, bool>, out: &mut Vec<Effect>) {
        let gone: Vec<_> = self.peers.keys().filter(|node| !members.contains_key(node)).cloned().collect();
        gone.iter().for_each(|node| self.removed(node, out));
        members.iter().for_each(|(node, reachable)| self.member(node, *reachable, out));
    }

    /// Whether it is a member.
    pub(super) fn knows(&self, node: &UniqueAddress) -> bool {
        self.peers.contains_key(node)
    }

    /// Whether somebody lacks what is newest.
    pub(super) fn lacks(&self) -> bool {
        let newest = self.own.as_ref().map(|own| own.version);
        newest.is_some() && self.peers.values().any(|peer| peer.has < newest)
    }

    /// Whether somebody was not told what is newest.
    pub(super) fn lacks_news(&self) -> bool {
        let newest = self.own.as_ref().map(|own| own.version);
        newest.is_some() && self.peers.values().any(|peer| peer.told < newest)
    }

    /// Sends the newest to those that lack it.
    pub(super) fn spread(&mut self, out: &mut Vec<Effect>) {
        let Some(Own { owner, version, pieces }) = &self.own else { return };
        let parts = u32::try_from(pieces.len()).unwrap_or(u32::MAX);
        for (to, peer) in self.peers.iter_mut().filter(|(_, peer)| peer.has < Some(*version)) {
            peer.told = Some(*version);
            for (number, entries) in (0..).zip(pieces) {
                let (from, entries) = (Life::from(&self.me), Arc::clone(entries));
                let part = Part { from, to: to.uid, owner: *owner, version: *version, number, parts, entries };
                out.push(Effect::Send { to: to.clone(), message: Told::Part(part) });
            }
        }
    }

    /// Another receptionist said that. Who is no member is not heard: it says so again until it is.
    pub(super) fn told(&mut self, told: Told, out: &mut Vec<Effect>) {
        match told {
            Told::Part(part) if part.to == self.me.uid => {
                let from = part.from.node();
                let known = from.and_then(|from| Some((self.peers.get_mut(&from)?, from)));
                if let Some((peer, from)) = known {
                    out.extend(peer.part(from, &self.me, part));
                }
            }
            Told::Have { from, to, version } if to == self.me.uid => {
                let newest = self.own.as_ref().map(|own| own.version);
                if let Some(peer) = from.node().and_then(|from| self.peers.get_mut(&from)) {
                    peer.has = peer.has.max(Some(version).min(newest));
                }
            }
            Told::Part(_) | Told::Have { .. } => {}
        }
    }
}

impl Peer {
    fn part(&mut self, from: UniqueAddress, me: &UniqueAddress, part: Part) -> Vec<Effect> {
        let Part { to: _, owner, version, number, parts, entries, .. } = part;
        if number >= parts || parts > PARTS_MAX {
            return Vec::new();
        }
        let have =
            Effect::Send { to: from.clone(), message: Told::Have { from: Life::from(me), to: from.uid, version } };
        if self.listed >= Some(version) {
            return vec![have];
        }
        let is_other = |incoming: &Incoming| incoming.version != version || incoming.parts.len() != parts as usize;
        if self.incoming.as_ref().is_none_or(is_other) {
            if self.incoming.as_ref().is_some_and(|incoming| incoming.version > version) {
                return Vec::new();
            }
            self.incoming = Some(Incoming { version, parts: vec![None; parts as usize] });
        }
        let Some(incoming) = &mut self.incoming else { return Vec::new() };
        incoming.parts[number as usize] = Some(entries);
        if incoming.parts.iter().any(Option::is_none) {
            return Vec::new();
        }
        let parts = self.incoming.take().into_iter().flat_map(|incoming| incoming.parts).flatten();
        let entries = parts.flat_map(|part| part.to_vec()).collect();
        self.listed = Some(version);
        let mut effects = vec![Effect::Install { from, owner, version, entries }];
        if self.owner != owner {
            self.owner = owner;
            effects.extend((!self.reachable).then_some(Effect::Reachable { owner, is: false }));
        }
        effects.push(have);
        effects
    }
}
