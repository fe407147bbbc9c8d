//! [`Associations`]: all nodes this one talks to, and the lives it never talks to again.
//!
//! A pure state machine: what happened goes in, what is to be done comes out. Whoever carries it out tells how it ended.
//!
//! # Lives
//! At an address there is one life at a time. It is met by a handshake, in either direction, or as a member. One with
//! another uid that nothing is known against takes the address: the old one is over, and what still comes from it is
//! dropped. If it was the other one that dialled, it must have said something in answer to what it was told after the
//! old one had begun: what a life sends may arrive when it is over, and its successor was met. Where the
//! table has another one there, or somebody has a reference to another, nobody knows which is the latest: the address
//! is dialled, and whoever answers takes it. A life that was given up is quarantined: for good, in both directions, and
//! it is told so in the handshake.

use super::{
    association::{Association, Effect, Ended, Life},
    dropped::{DropReason, Dropped},
    handshake::{HandshakeError, Kind},
    lane_queue::Outgoing,
    lives::{Lives, Standing, Standings},
    message::{Body, Head, Message, Unwritten},
    rival::{Rival, Rivals},
    system_messages::PLAIN,
    transport::Lane,
};
use crate::member::{Address, UniqueAddress};
use actors::Tick;
use bytes::Bytes;
use std::collections::BTreeMap;

/// Nodes one talks to.
pub(crate) const PEERS_MAX: usize = 4096;

/// What happened.
#[derive(Clone, Debug)]
pub(crate) enum Input {
    #[cfg(test)]
    /// A message to be sent once, to this life or, if there is none, to whoever is at the address.
    Send { to: Address, life: Option<u64>, lane: Lane, message: Message },
    /// A message to be sent until it is acknowledged.
    SendSystem { to: UniqueAddress, message: Message },
    /// A connection this node made stands: both let each other in.
    Connected { node: UniqueAddress, lane: Lane },
    /// An attempt to connect, or to make a handshake, failed: with the reason if it was the handshake.
    NotConnected { to: Address, life: Option<u64>, lane: Lane, error: Option<HandshakeError> },
    /// A connection this node made broke.
    Disconnected { node: UniqueAddress, lane: Lane },
    /// Another node made a connection, and both let each other in; and perhaps it has answered what it was told then, so that
    /// it was there after that.
    Accepted { node: UniqueAddress, answered: Option<Tick> },
    #[cfg(test)]
    /// A frame came over a connection that life made.
    Arrived { from: UniqueAddress, lane: Lane, frame: Bytes },
    /// It is a member; or is no more, without having been removed here.
    Member { node: UniqueAddress, is: bool },
    /// Never talk to it again.
    Quarantine(UniqueAddress),
    /// Time passed.
    Time,
}

/// All nodes this one talks to.
#[derive(Debug)]
pub(crate) struct Associations {
    me: UniqueAddress,
    peers_max: usize,
    peers: BTreeMap<Address, Association>,
    lives: Lives,
    /// Of those that are gone, and of those that never were.
    dropped: Dropped,
}

impl Associations {
    #[cfg(test)]
    pub(crate) fn new(me: UniqueAddress) -> Self {
        Self::with_room(me, PEERS_MAX)
    }

    /// For so many peers.
    pub(crate) fn with_room(me: UniqueAddress, peers_max: usize) -> Self {
        Self { me, peers_max, peers: BTreeMap::new(), lives: Lives::default(), dropped: Dropped::default() }
    }

    /// Those that are over: for handshakes.
    pub(crate) fn lives(&self) -> &Lives {
        &self.lives
    }

    pub(crate) fn get(&self, peer: &Address) -> Option<&Association> {
        self.peers.get(peer)
    }

    /// What was dropped of what is for that address, or came from there, for as long as there was something to know of it.
    pub(crate) fn dropped_with(&self, peer: &Address) -> Dropped {
        self.peers.get(peer).map_or_else(Dropped::default, |peer| peer.dropped().clone())
    }

    /// All that was dropped so far.
    #[cfg(test)]
    pub(crate) fn dropped(&self) -> Dropped {
        let mut dropped = self.dropped.clone();
        self.peers.values().for_each(|peer| dropped.add_all(peer.dropped()));
        dropped
    }

    /// When [`Input::Time`] has something to do next.
    pub(crate) fn due(&self) -> Option<Tick> {
        self.peers.values().filter_map(Association::due).chain(self.lives.due()).min()
    }

    /// The next frames for a connection that stands. After [`Effect::Ready`], until there are none.
    #[cfg(test)]
    pub(crate) fn take(&mut self, to: &Address, lane: Lane, now: Tick) -> Option<Unwritten> {
        self.peers.get_mut(to)?.take(lane, now, &mut Vec::new())
    }

    /// The next frames for a connection that stands, one after another, until there are none or `more` is `false`. After
    /// [`Effect::Ready`]. `spare` is a buffer the connection has no need of.
    pub(crate) fn take_while(
        &mut self,
        to: &Address,
        lane: Lane,
        now: Tick,
        spare: &mut Vec<u8>,
        mut more: impl FnMut(Unwritten) -> bool,
    ) {
        let Some(peer) = self.peers.get_mut(to) else { return };
        while peer.take(lane, now, spare).is_some_and(&mut more) {}
    }

    /// What to do about `input`.
    #[cfg(test)]
    pub(crate) fn step(&mut self, input: Input, now: Tick) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.step_into(input, now, &mut effects);
        effects
    }

    /// As [`step`](Self::step), with what to do appended to `out`.
    pub(crate) fn step_into(&mut self, input: Input, now: Tick, out: &mut Vec<Effect>) {
        match input {
            #[cfg(test)]
            Input::Send { to, life, lane, message } => {
                self.send(&to, life, lane, (message.channel, Body::of(&message.body)), || now, out);
            }
            Input::SendSystem { to, message } => self.send_system(to, message, now, out),
            Input::Connected { node, lane } => match self.met(&node, Some(lane), now, out) {
                Some(peer) => {
                    peer.shook_hands(now);
                    let decides = lane == Lane::Control;
                    let outdated = if decides { peer.rivals().take_asked() } else { Rivals::default() };
                    peer.connected(lane, now, out);
                    self.outdated(&node, outdated, now, out);
                }
                None => {
                    out.push(Effect::Hang { to: node.address.clone(), lane });
                    self.not_connected(&node.address, None, lane, None, now, out);
                }
            },
            Input::NotConnected { to, life, lane, error } => self.not_connected(&to, life, lane, error, now, out),
            Input::Disconnected { node, lane } => {
                let of_old = |peer: &&mut Association| peer.life() == Life::Met(node.uid);
                if let Some(peer) = self.peers.get_mut(&node.address).filter(of_old) {
                    peer.disconnected(lane, now, out);
                }
            }
            Input::Accepted { node, answered } => {
                let there = self.peers.get(&node.address);
                if there.is_some_and(|there| there.is_doubtful(node.uid, answered))
                    && self.is_over(&node, now).is_none()
                {
                    return;
                }
                match self.met(&node, None, now, out) {
                    Some(peer) => peer.shook_hands(answered.unwrap_or(now)),
                    None => out.push(Effect::HangUpOn(node)),
                }
            }
            #[cfg(test)]
            Input::Arrived { from, lane, frame } => self.arrived(&from, lane, [frame], now, out),
            Input::Member { node, is } => self.member(&node, is, now, out),
            Input::Quarantine(node) => self.quarantine(node, Ended::Removed, now, out),
            Input::Time => self.tick(now, out),
        }
    }

    /// A message to be sent once, to this life or, if there is none, to whoever is at the address. `now` is called when it
    /// must be known.
    pub(crate) fn send(
        &mut self,
        to: &Address,
        life: Option<u64>,
        lane: Lane,
        (channel, body): (u8, Body<'_>),
        now: impl Fn() -> Tick,
        out: &mut Vec<Effect>,
    ) {
        let head = match lane {
            Lane::Control => Head::default().with(&[PLAIN, channel]),
            Lane::Ordinary | Lane::Large => Head::default().with(&[channel]),
        };
        let outgoing = Outgoing { to: life, head, body };
        // Who was met is not over.
        let met = self.peers.get_mut(to).filter(|peer| life.is_none_or(|uid| peer.life() == Life::Met(uid)));
        let sent = match (met, life) {
            (Some(peer), _) => peer.send(lane, outgoing, &now, out),
            (None, life) => {
                let node = life.map(|uid| UniqueAddress { address: to.clone(), uid });
                if let Some(reason) = node.and_then(|node| self.is_over(&node, now())) {
                    return self.drop(to, reason, 1, out);
                }
                let Some(peer) = self.peer(to, now()) else { return self.drop(to, DropReason::TooManyPeers, 1, out) };
                peer.send(lane, outgoing, &now, out)
            }
        };
        if sent.is_err() {
            self.settle(to, sent, now(), out);
        }
    }

    fn send_system(&mut self, to: UniqueAddress, message: Message, now: Tick, out: &mut Vec<Effect>) {
        let at = to.address.clone();
        if let Some(reason) = self.is_over(&to, now) {
            self.drop(&at, reason, 1, out);
            // Whoever watches it must learn that it is gone, even if it was long ago.
            return out.push(Effect::Ended { node: to, why: Ended::NotThere });
        }
        let Some(peer) = self.peer(&at, now) else {
            self.drop(&at, DropReason::TooManyPeers, 1, out);
            return out.push(Effect::Ended { node: to, why: Ended::NotThere });
        };
        if message.len() > Lane::Control.message_max() {
            return peer.drop(DropReason::TooLarge, 1, out);
        }
        let crowded_out = match peer.life() {
            Life::Unknown => {
                peer.expect(to.uid, out);
                None
            }
            life if life.uid() == Some(to.uid) => None,
            // A member that was not yet told of, or a life long gone: asked, the address tells.
            _ => peer.doubt(to.uid, false, now, out),
        };
        let sent = peer.send_system(to.uid, message, now, out);
        if let Err(why) = sent {
            self.quarantine(to.clone(), why, now, out);
        }
        self.outdated(&to, crowded_out, now, out);
    }

    /// Frames that came over a connection that life made, in order: as [`Input::Arrived`] for each of them.
    pub(crate) fn arrived(
        &mut self,
        from: &UniqueAddress,
        lane: Lane,
        frames: impl IntoIterator<Item = Bytes>,
        now: Tick,
        out: &mut Vec<Effect>,
    ) {
        let mut frames = frames.into_iter();
        let is_met = |peer: &&mut Association| peer.life() == Life::Met(from.uid);
        let reason = match self.is_over(from, now) {
            Some(DropReason::Quarantined) => DropReason::Quarantined,
            Some(_) => DropReason::Stale,
            None => match self.peers.get_mut(&from.address).filter(is_met) {
                None => DropReason::Stale,
                Some(peer) => {
                    let me = self.me.uid;
                    let given_up = frames.find_map(|frame| peer.arrived(me, lane, frame, now, out).err());
                    let Some(why) = given_up else { return };
                    self.settle(&from.address, Err(why), now, out);
                    DropReason::Quarantined
                }
            },
        };
        let count = frames.count();
        if count > 0 {
            self.drop(&from.address, reason, count, out);
            out.push(Effect::HangUpOn(from.clone()));
        }
    }

    /// Frames came over a connection of a lane other than control. `true`: they are to be delivered as they are; else they
    /// are dropped, by [`arrived`](Self::arrived).
    pub(crate) fn admits(&mut self, from: &UniqueAddress, now: Tick) -> bool {
        self.is_over(from, now).is_none()
            && self.peers.get_mut(&from.address).is_some_and(|peer| peer.admits(from.uid, now))
    }

    /// So many messages to or from there were dropped outside.
    pub(crate) fn drop(&mut self, peer: &Address, reason: DropReason, count: usize, out: &mut Vec<Effect>) {
        match self.peers.get_mut(peer) {
            Some(known) => known.drop(reason, count, out),
            None if count == 0 => {}
            None => {
                self.dropped.add(reason, count);
                out.push(Effect::Dropped { peer: peer.clone(), reason, count });
            }
        }
    }

    /// Whether nothing waits to be sent, or for its acknowledgement.
    pub(crate) fn is_quiet(&self) -> bool {
        self.peers.values().all(|peer| peer.waiting() == ([0; 3], 0))
    }

    fn not_connected(
        &mut self,
        to: &Address,
        life: Option<u64>,
        lane: Lane,
        error: Option<HandshakeError>,
        now: Tick,
        out: &mut Vec<Effect>,
    ) {
        let Some(peer) = self.peers.get_mut(to) else { return };
        peer.disconnected(lane, now, out);
        let is_gone = error.is_some_and(|error| error.is_for(Kind::Life));
        if is_gone && life.is_some() && peer.life().uid() == life {
            // Somebody answered at the address, and it was not that life: it is over.
            let ended = peer.node();
            peer.end_life(true, None, DropReason::OldLife, out);
            peer.set_member(false);
            if let Some(node) = ended {
                self.lives.end(node.clone(), Standing::Old, now);
                out.extend([Effect::HangUpOn(node.clone()), Effect::Ended { node, why: Ended::NotThere }]);
            }
            let rivals = self.peers.get_mut(to).map(|peer| std::mem::take(peer.rivals()));
            self.inherit(to, rivals.unwrap_or_default(), now, out);
        }
    }

    fn member(&mut self, node: &UniqueAddress, is: bool, now: Tick, out: &mut Vec<Effect>) {
        let is_over = self.is_over(node, now).is_some();
        let there = self.peers.get_mut(&node.address).filter(|peer| peer.life() != Life::Unknown);
        match there {
            // Of those that were never met the last one has the address, until somebody answers.
            Some(peer) if peer.life().uid() != Some(node.uid) && (!is || peer.is_proven()) => {
                // The table lags behind, or whoever was there is over: asked, the address tells.
                let outdated = match is {
                    true if is_over => None,
                    true => peer.doubt(node.uid, true, now, out),
                    false => peer.rivals().remove(node.uid),
                };
                self.outdated(node, outdated, now, out);
            }
            Some(peer) if !is => peer.set_member(false),
            _ if is => {
                if let Some(peer) = self.met(node, None, now, out) {
                    peer.set_member(true);
                    peer.wake_all(now, out);
                }
            }
            _ => {}
        }
    }

    /// Behind the address of `there` these are not.
    fn outdated(
        &mut self,
        there: &UniqueAddress,
        rivals: impl IntoIterator<Item = Rival>,
        now: Tick,
        out: &mut Vec<Effect>,
    ) {
        for rival in rivals {
            let node = UniqueAddress { address: there.address.clone(), uid: rival.uid() };
            self.drop(&there.address, DropReason::OldLife, rival.waiting(), out);
            let why = if node == *there { Ended::NotThere } else { Ended::Replaced(there.clone()) };
            out.push(Effect::Ended { node: node.clone(), why });
            self.lives.end(node, Standing::Old, now);
        }
    }

    /// Who was at the address is over: if there are rivals, one of them is the one that is there.
    fn inherit(&mut self, at: &Address, mut rivals: Rivals, now: Tick, out: &mut Vec<Effect>) {
        let heir = rivals.take_heir();
        let peer = match heir {
            None => self.peers.get_mut(at),
            Some(_) => self.peer(at, now),
        };
        let Some(peer) = peer else { return };
        *peer.rivals() = rivals;
        if let Some(heir) = heir {
            let (uid, is_member) = (heir.uid(), heir.is_member());
            peer.yield_to(heir);
            match is_member {
                true => return self.member(&UniqueAddress { address: at.clone(), uid }, true, now, out),
                false => peer.expect(uid, out),
            }
        }
        peer.wake_all(now, out);
    }

    /// The association of a life that is behind its address, from now on if not before; none if it is over or there is no
    /// room. This node's connection `over` which it was met stays, whoever it was made for.
    fn met(
        &mut self,
        node: &UniqueAddress,
        over: Option<Lane>,
        now: Tick,
        out: &mut Vec<Effect>,
    ) -> Option<&mut Association> {
        if node.uid == 0 || *node == self.me || self.is_over(node, now).is_some() {
            return None;
        }
        let peer = self.peer(&node.address, now)?;
        let rival = peer.rivals().remove(node.uid);
        if let Some(old) = peer.node().filter(|old| old.uid != node.uid) {
            let stands_aside = over.is_none() && peer.may_stand_aside();
            let crowded_out = if stands_aside { peer.stand_aside() } else { None };
            peer.end_life(true, over, DropReason::OldLife, out);
            peer.set_member(false);
            if !stands_aside {
                out.push(Effect::HangUpOn(old.clone()));
                out.push(Effect::Ended { node: old.clone(), why: Ended::Replaced(node.clone()) });
                self.lives.end(old, Standing::Old, now);
            }
            self.outdated(node, crowded_out, now, out);
        }
        let peer = self.peers.get_mut(&node.address)?;
        if let Some(rival) = rival {
            peer.yield_to(rival);
        }
        if peer.life() != Life::Met(node.uid) {
            peer.meet(node.uid, out);
            // Whoever answers what was begun before may be an earlier life.
            peer.dial_again(over, out);
            peer.wake_all(now, out);
        }
        Some(peer)
    }

    fn quarantine(&mut self, node: UniqueAddress, why: Ended, now: Tick, out: &mut Vec<Effect>) {
        let is_news = self.lives.standing(&node) != Standing::Quarantined;
        self.lives.end(node.clone(), Standing::Quarantined, now);
        let mut rivals = None;
        if let Some(mut peer) = self.peers.remove(&node.address) {
            if peer.life().uid() == Some(node.uid) {
                rivals = Some(std::mem::take(peer.rivals()));
                peer.end_life(false, None, DropReason::Quarantined, out);
                self.dropped.add_all(peer.dropped());
            } else {
                let waiting = peer.rivals().remove(node.uid).map_or(0, |rival| rival.waiting());
                peer.drop(DropReason::Quarantined, waiting, out);
                self.peers.insert(node.address.clone(), peer);
            }
        }
        let at = node.address.clone();
        if is_news {
            out.extend([Effect::HangUpOn(node.clone()), Effect::Ended { node, why }]);
        }
        if let Some(rivals) = rivals {
            self.inherit(&at, rivals, now, out);
        }
    }

    fn tick(&mut self, now: Tick, out: &mut Vec<Effect>) {
        self.lives.tick(now);
        let (mut over, mut given_up) = (Vec::new(), Vec::new());
        for (address, peer) in &mut self.peers {
            if let Some((uid, why)) = peer.rivals().given_up(now) {
                given_up.push((UniqueAddress { address: address.clone(), uid }, why));
            }
            match peer.tick(now, out) {
                Ok(false) => {}
                outcome => over.push((address.clone(), outcome)),
            }
        }
        for (address, outcome) in over {
            match outcome {
                Ok(_) => {
                    let gone = self.peers.remove(&address);
                    gone.iter().for_each(|peer| self.dropped.add_all(peer.dropped()));
                }
                Err(why) => self.settle(&address, Err(why), now, out),
            }
        }
        given_up.into_iter().for_each(|(rival, why)| self.quarantine(rival, why.into(), now, out));
    }

    /// Gives up the life behind `at` if that is how it ended.
    fn settle(&mut self, at: &Address, outcome: Result<(), Ended>, now: Tick, out: &mut Vec<Effect>) {
        if let Err(why) = outcome
            && let Some(node) = self.peers.get(at).and_then(Association::node)
        {
            self.quarantine(node, why, now, out);
        }
    }

    fn is_over(&mut self, node: &UniqueAddress, now: Tick) -> Option<DropReason> {
        self.lives.heard(node, now);
        match self.lives.standing(node) {
            Standing::Good => None,
            Standing::Old => Some(DropReason::OldLife),
            Standing::Quarantined => Some(DropReason::Quarantined),
        }
    }

    fn peer(&mut self, at: &Address, now: Tick) -> Option<&mut Association> {
        if !self.peers.contains_key(at) {
            if self.peers.len() >= self.peers_max {
                return None;
            }
            self.peers.insert(at.clone(), Association::new(at.clone(), now));
        }
        self.peers.get_mut(at)
    }
}
