//! Asks that go in a circle by way of other nodes: who awaits one up the chain that awaits its own ask waits for ever.
//!
//! A question made in the handling of another takes along by which [`Hop`]s it came. Where it comes to an actor that made an ask
//! of that chain itself, the node of the asker is told ([`Kind::Circle`]) and says when the asker awaits it
//! ([`Kind::Awaits`]). If the actor asked then awaits its own, the ask fails ([`Kind::Cycle`]); if it comes to that later, then.
//! So nothing is said where no circle is, and none is seen where somebody can go on.
//!
//! # Bounds
//! A chain is followed over the [`HOPS_MAX`] nodes it came over last, and only over those that speak [`SINCE`].

use super::{
    frame::{self, Asks, Hop, Kind},
    peer::Peer,
    shared::Shared,
};
use crate::remote::transport::Lane;
use actors::{
    Tick,
    remote::{AnyActorRef, AskLink},
};
use std::sync::Arc;

/// Nodes of one chain.
pub(super) const HOPS_MAX: usize = 16;

/// Nodes that speak this version of the protocol, or a later one, know of hops.
pub(super) const SINCE: u32 = 2;

/// What is known of an ask that came from another node: the latest hop first.
struct Came(Vec<Hop>);

/// A question from another node, with the asks behind it.
pub(super) struct Linked {
    pub(super) link: AskLink,
    asks: Asks,
    /// The latest ask of this node in the chain.
    mine: Option<Hop>,
}

/// Which question comes back to which actor: what [`Kind::Circle`] says, and [`Kind::Awaits`] again.
#[derive(Clone, Copy)]
struct Circle {
    asks: Asks,
    /// Of the actor asked, among those of its node.
    asked: u64,
    /// The ask of its node behind the question.
    behind: (u64, Asks),
}

impl Circle {
    fn frame(self, kind: Kind) -> Vec<u8> {
        let (node, behind) = self.behind;
        frame::numbers(kind, [self.asks.packed(), self.asked, node, behind.packed()])
    }

    fn read(rest: &[u8]) -> Option<Self> {
        let [asks, asked, node, behind] = frame::read_numbers(rest)?;
        Some(Self { asks: Asks::unpacked(asks), asked, behind: (node, Asks::unpacked(behind)) })
    }
}

impl Shared {
    /// By which nodes the ask came, the latest first, but for this one: its own are found here.
    pub(super) fn hops(&self, link: &AskLink) -> Vec<Hop> {
        let mut hops: Vec<Hop> = Vec::new();
        for came in link.elsewhere().filter_map(|known| known.downcast::<Came>().ok()) {
            for hop in &came.0 {
                if hop.from != self.me.uid && hops.iter().all(|later| later.from != hop.from) {
                    hops.push(*hop);
                }
            }
        }
        hops.truncate(HOPS_MAX);
        hops
    }

    /// The link for a question that came by `hops`.
    pub(super) fn linked(&self, from: &Peer, asks: Asks, mut hops: Vec<Hop>, deadline: Tick) -> Linked {
        let at = hops.iter().position(|hop| hop.from == self.me.uid);
        let mine = at.map(|at| hops[at]);
        let cause = mine.and_then(|mine| self.asked(mine.to, mine.asks));
        // What was before that is behind it here, if anybody waits for it still.
        hops.truncate(at.unwrap_or(hops.len()));
        hops.insert(0, Hop { from: from.node.uid, to: self.me.uid, asks });
        let mine = mine.filter(|_| cause.is_some());
        Linked { link: AskLink::from_elsewhere(Arc::new(Came(hops)), deadline, cause), asks, mine }
    }

    /// The question is with `actor`, or one of its routees. If that made an ask behind it, the asker's node is told.
    pub(super) fn has_come(&self, from: &Peer, linked: &Linked, actor: &AnyActorRef) {
        let Linked { link, asks, mine: Some(mine) } = linked else { return };
        let asked = link.routed_to().unwrap_or_else(|| actor.key());
        if link.is_behind(asked)
            && let Some(remote) = self.remote()
        {
            let circle = Circle { asks: *asks, asked: asked as u64, behind: (mine.to, mine.asks) };
            from.send(&*remote, Lane::Ordinary, circle.frame(Kind::Circle));
        }
    }

    /// [`Kind::Circle`]: an ask of this node may go in one.
    pub(super) fn may_circle(&self, peer: &Arc<Peer>, rest: &[u8]) -> Option<()> {
        let circle = Circle::read(rest)?;
        let link = peer.slots.lock().link(circle.asks);
        if let Some(link) = link {
            let peer = Arc::clone(peer);
            link.may_circle(move || peer.say(circle.frame(Kind::Awaits)));
        }
        Some(())
    }

    /// [`Kind::Awaits`]: whoever asked an actor of this node waits.
    pub(super) fn awaited(&self, peer: &Arc<Peer>, rest: &[u8]) -> Option<()> {
        let Circle { asks, asked, behind: (node, behind) } = Circle::read(rest)?;
        let Some(link) = self.asked(node, behind) else { return Some(()) };
        let actor = u128::from(self.system.uid()) << 64 | u128::from(asked);
        let cycle = {
            let peer = Arc::clone(peer);
            move || peer.say(frame::numbers(Kind::Cycle, [asks.packed()]))
        };
        if link.is_awaited_by(actor, cycle.clone()) {
            cycle();
        }
        Some(())
    }

    /// [`Kind::Cycle`]: an ask of this node goes in one.
    pub(super) fn circles(&self, peer: &Peer, rest: &[u8]) -> Option<()> {
        let [asks] = frame::read_numbers(rest)?;
        let link = peer.slots.lock().link(Asks::unpacked(asks));
        if let Some(link) = link {
            link.fail_with_cycle();
        }
        Some(())
    }

    /// The ask with that question to that node.
    fn asked(&self, node: u64, asks: Asks) -> Option<AskLink> {
        self.peers.with_uid(node)?.slots.lock().link(asks)
    }
}

impl Peer {
    fn say(&self, frame: Vec<u8>) {
        if let Some(remote) = self.shared.upgrade().and_then(|shared| shared.remote()) {
            self.send(&*remote, Lane::Ordinary, frame);
        }
    }
}
