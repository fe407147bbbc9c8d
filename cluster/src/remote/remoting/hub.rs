//! [`Hub`]: what all tasks of one node's remoting share, and the one place where decisions are carried out.
//!
//! # Locks
//! Nodes are spread over [`SHARDS`] by their address, each with a lock of its own: who sends to one node does not wait for who
//! sends to another. What was decided about connections is carried out before the lock is released, so that it happens in
//! the order in which it was decided: it is starting tasks and telling them to end, and nothing of it waits. Receivers are
//! called with no lock held: with messages by the task of their connection, with all else by the task of [`NewsQueue`].

use super::{
    admission::Admission,
    attempts::{Attempts, NotConnected},
    line::Line,
    news::{News, NewsQueue},
    outgoing,
    security::Security,
    session::Session,
    shard::{Entry, Shard},
};
use crate::{
    member::{Address, UniqueAddress},
    remote::{
        association::{Association, Effect, Life},
        associations::{Associations, Input, PEERS_MAX},
        door::{Channel, Receiver},
        dropped::DropReason,
        frames::Frames,
        handshake::{HandshakeError, Introduction, Kind, Peer},
        lives::{Standing, Standings},
        message::{Body, Unwritten},
        transport::Lane,
        wire::Registry,
    },
    seams::{Seams, Spawner},
};
use actors::Tick;
use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, btree_map},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};
use tokio::sync::{Notify, watch};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Parts of the map of nodes.
const SHARDS: usize = 16;

/// Frames that are taken at a time; those of one buffer are one.
const TAKEN_MAX: usize = 256;

/// Bytes that are taken at a time, the last frame or buffer excepted.
const TAKEN_BYTES_MAX: usize = 64 * 1024;

/// Who takes what comes over each channel.
pub(crate) type Receivers = BTreeMap<Channel, Arc<dyn Receiver>>;

/// How far the node's remoting is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Open,
    Closed,
}

pub(super) struct Hub {
    pub(super) introduction: Arc<Introduction>,
    pub(super) registry: Registry,
    pub(super) seams: Seams,
    /// Let go of when the node closes: they may hold what holds this.
    receivers: Mutex<Arc<Receivers>>,
    pub(super) security: Security,
    pub(super) admission: Admission,
    pub(super) attempts: Attempts,
    pub(super) news: NewsQueue,
    /// Whether messages are still taken to be sent.
    pub(super) is_open: AtomicBool,
    pub(super) phase: watch::Sender<Phase>,
    /// Something that waited was sent: it may have been the last.
    pub(super) sent: Notify,
    shards: [Mutex<Shard>; SHARDS],
    tasks: AtomicUsize,
    task_ended: Notify,
}

/// A message that came, in order.
pub(super) struct Delivery {
    system: bool,
    message: Bytes,
}

/// What there is for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Some,
    Nothing,
    /// The connection is to be closed.
    Over,
}

impl Hub {
    pub(super) fn new(
        introduction: Introduction,
        registry: Registry,
        seams: Seams,
        receivers: Receivers,
        security: Security,
    ) -> Self {
        let shard = |_| Mutex::new(Shard::new(Associations::with_room(introduction.node.clone(), PEERS_MAX / SHARDS)));
        Self {
            shards: std::array::from_fn(shard),
            introduction: Arc::new(introduction),
            registry,
            seams,
            receivers: Mutex::new(Arc::new(receivers)),
            security,
            admission: Admission::default(),
            attempts: Attempts::default(),
            news: NewsQueue::default(),
            is_open: AtomicBool::new(true),
            phase: watch::Sender::new(Phase::Open),
            sent: Notify::new(),
            tasks: AtomicUsize::new(0),
            task_ended: Notify::new(),
        }
    }

    /// Runs a task that ends with the node.
    pub(super) fn spawn(self: &Arc<Self>, lane: Lane, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.fetch_add(1, Ordering::AcqRel);
        let running = Running(Arc::clone(self));
        self.spawner(lane).spawn(Box::pin(async move {
            let _running = running;
            task.await;
        }));
    }

    fn spawner(&self, lane: Lane) -> &dyn Spawner {
        match lane {
            Lane::Control => &*self.seams.control,
            Lane::Ordinary | Lane::Large => &*self.seams.ordinary,
        }
    }

    /// Waits until all tasks have ended.
    pub(super) async fn tasks_ended(&self) {
        loop {
            let ended = self.task_ended.notified();
            if self.tasks.load(Ordering::Acquire) == 0 {
                return;
            }
            ended.await;
        }
    }

    /// Waits until the node's remoting is at `phase` or past it. Cancel safe.
    pub(super) async fn reached(&self, phase: Phase) {
        // It cannot fail: the sender is here.
        let _ = self.phase.subscribe().wait_for(|now| *now >= phase).await;
    }

    /// Decides about `input`, and carries it out.
    pub(super) fn step(self: &Arc<Self>, at: &Address, input: Input) {
        self.with(at, |shard, now| shard.associations.step_into(input, now, &mut shard.effects));
    }

    /// Takes a message to be sent once.
    pub(super) fn send(
        self: &Arc<Self>,
        to: &Address,
        life: Option<u64>,
        lane: Lane,
        message: (u8, Body<'_>),
    ) -> Result<(), DropReason> {
        let mut shard = self.shard(to).lock();
        let Shard { associations, effects, .. } = &mut *shard;
        associations.send(to, life, lane, message, || self.seams.clock.now(), effects);
        if effects.is_empty() {
            return Ok(());
        }
        let dropped = |effect: &Effect| match effect {
            Effect::Dropped { reason, .. } => Some(*reason),
            _ => None,
        };
        let dropped = effects.iter().find_map(dropped);
        self.carry_out(&mut shard, |_| {});
        dropped.map_or(Ok(()), Err)
    }

    /// For handshakes and others who must know.
    pub(super) fn session(&self, node: &UniqueAddress) -> Option<Arc<Session>> {
        self.shard(&node.address).lock().sessions.get(node).map(|entry| Arc::clone(&entry.session))
    }

    /// A connection this node made stands, if it still is to be. `false`: it is to be closed.
    pub(super) fn connected(self: &Arc<Self>, peer: &Peer, line: &Arc<Line>) -> bool {
        let agreement = self.registry.negotiate(&peer.types, peer.protocol);
        let (node, lane) = (&peer.node, peer.lane);
        self.attempts.succeeded(&node.address);
        self.with_line(&node.address, lane, line, |shard, now| {
            let input = Input::Connected { node: node.clone(), lane };
            shard.associations.step_into(input, now, &mut shard.effects);
        });
        self.with_line(&node.address, lane, line, |shard, _| {
            if let Some(entry) = shard.sessions.get_mut(node) {
                if entry.session.agree(agreement) {
                    self.news.push(News::Agreed(node.clone()));
                }
                if lane == Lane::Control {
                    entry.set_link(true, &self.news);
                }
            }
        })
        .is_some()
    }

    /// An attempt to connect failed.
    pub(super) fn not_connected(
        self: &Arc<Self>,
        to: &Address,
        life: Option<u64>,
        lane: Lane,
        error: NotConnected,
        line: &Arc<Line>,
    ) {
        self.attempts.failed(to, &error);
        let error = error.handshake();
        self.with_line(to, lane, line, |shard, now| {
            shard.remove_line(to, lane);
            if let Some(Life::Met(uid)) = shard.associations.get(to).map(Association::life) {
                let node = UniqueAddress { address: to.clone(), uid };
                shard.link_failed(&node, lane, &self.news);
                let is_of_cluster = |error: &HandshakeError| match error {
                    HandshakeError::RefusedByPeer(_) => self.security.vouches_for_refusals(),
                    HandshakeError::RefusedByMember(_) => true,
                    _ => false,
                };
                // If it was another life that answered, it said nothing of this one.
                let is_its_own = |error: &HandshakeError| !error.is_for(Kind::Life);
                let cut_off = |error: &HandshakeError| {
                    error.is_for(Kind::Quarantined) && is_its_own(error) && is_of_cluster(error)
                };
                if error.as_ref().is_some_and(cut_off) {
                    self.news.push(News::QuarantinedBy(node));
                }
            }
            let input = Input::NotConnected { to: to.clone(), life, lane, error };
            shard.associations.step_into(input, now, &mut shard.effects);
        });
    }

    /// A connection this node made broke, and so many frames with it.
    pub(super) fn disconnected(self: &Arc<Self>, node: &UniqueAddress, lane: Lane, line: &Arc<Line>, lost: usize) {
        self.with(&node.address, |shard, now| {
            shard.associations.drop(&node.address, DropReason::Broken, lost, &mut shard.effects);
            if shard.holds(&node.address, lane, line) {
                shard.remove_line(&node.address, lane);
                shard.link_failed(node, lane, &self.news);
                let input = Input::Disconnected { node: node.clone(), lane };
                shard.associations.step_into(input, now, &mut shard.effects);
            }
        });
    }

    /// A connection that another node made stands, and perhaps it has `answered` what it was told then; the one before on that
    /// lane ends. None: it is to be closed, or must answer first.
    pub(super) fn accepted(
        self: &Arc<Self>,
        peer: &Peer,
        answered: Option<Tick>,
        line: &Arc<Line>,
    ) -> Option<Arc<Session>> {
        let agreement = self.registry.negotiate(&peer.types, peer.protocol);
        let node = &peer.node;
        self.step(&node.address, Input::Accepted { node: node.clone(), answered });
        let mut shard = self.shard(&node.address).lock();
        let there = shard.associations.get(&node.address).map(Association::life);
        // Who closes sets the phase, then ends all connections there are.
        let may_stand = there == Some(Life::Met(node.uid)) && *self.phase.borrow() != Phase::Closed;
        let entry = shard.sessions.get_mut(node).filter(|_| may_stand)?;
        if entry.session.agree(agreement) {
            self.news.push(News::Agreed(node.clone()));
        }
        let before = entry.accepted[peer.lane as usize].replace(Arc::clone(line));
        before.iter().for_each(|before| before.stop());
        Some(Arc::clone(&entry.session))
    }

    /// A connection that another node made ended.
    pub(super) fn unaccepted(&self, node: &UniqueAddress, lane: Lane, line: &Arc<Line>) {
        let mut shard = self.shard(&node.address).lock();
        if let Some(entry) = shard.sessions.get_mut(node) {
            entry.accepted[lane as usize].take_if(|known| Arc::ptr_eq(known, line));
        }
    }

    /// What waits for a connection, as much as goes at once. `spare` is a buffer it has no need of.
    pub(super) fn take(
        &self,
        to: &Address,
        lane: Lane,
        line: &Arc<Line>,
        batch: &mut Vec<Unwritten>,
        spare: &mut Vec<u8>,
    ) -> Taken {
        let now = self.seams.clock.now();
        let mut shard = self.shard(to).lock();
        if !shard.holds(to, lane, line) {
            return Taken::Over;
        }
        let mut bytes = 0;
        shard.associations.take_while(to, lane, now, spare, |frames| {
            bytes += frames.len();
            batch.push(frames);
            batch.len() < TAKEN_MAX && bytes < TAKEN_BYTES_MAX
        });
        // Where there was one and no more, the connection takes once more, and then waits.
        if batch.is_empty() { Taken::Nothing } else { Taken::Some }
    }

    /// Frames came from a life over a lane other than control: they are handed to whoever takes them, or dropped.
    pub(super) fn pass_on(
        self: &Arc<Self>,
        receivers: &Receivers,
        from: &UniqueAddress,
        lane: Lane,
        frames: Frames<'_>,
    ) {
        let now = self.seams.clock.now();
        let mut shard = self.shard(&from.address).lock();
        let Shard { associations, effects, .. } = &mut *shard;
        if !associations.admits(from, now) {
            // They are counted, and not looked at.
            let dropped = frames.map(|_| Bytes::new());
            associations.arrived(from, lane, dropped, now, effects);
            return self.carry_out(&mut shard, |_| {});
        }
        drop(shard);
        let (mut malformed, mut nobody) = (0, 0);
        for (channel, bodies) in frames.by_channel() {
            match Channel::of(channel).map(|channel| receivers.get(&channel)) {
                Some(Some(receiver)) => receiver.deliver_all(from, lane, bodies),
                Some(None) => nobody += bodies.count(),
                None => malformed += bodies.count(),
            }
        }
        self.undelivered(from, malformed, nobody);
    }

    /// Frames came from a life over the control lane: what is to be delivered is appended to `deliveries`.
    pub(super) fn arrived(
        self: &Arc<Self>,
        from: &UniqueAddress,
        lane: Lane,
        frames: &mut Vec<Bytes>,
        deliveries: &mut Vec<Delivery>,
    ) {
        let now = self.seams.clock.now();
        let mut shard = self.shard(&from.address).lock();
        let Shard { associations, effects, .. } = &mut *shard;
        associations.arrived(from, lane, frames.drain(..), now, effects);
        self.carry_out(&mut shard, |delivery| deliveries.push(delivery));
    }

    /// Who takes what comes.
    pub(super) fn receivers(&self) -> Arc<Receivers> {
        Arc::clone(&self.receivers.lock())
    }

    /// Nobody takes anything any more, once those are done that do.
    pub(super) fn forget_receivers(&self) {
        let forgotten = std::mem::take(&mut *self.receivers.lock());
        drop(forgotten);
    }

    /// Hands messages to whoever takes them.
    pub(super) fn deliver(
        self: &Arc<Self>,
        receivers: &Receivers,
        from: &UniqueAddress,
        lane: Lane,
        deliveries: &mut Vec<Delivery>,
    ) {
        let (mut malformed, mut nobody) = (0, 0);
        for Delivery { system, mut message } in deliveries.drain(..) {
            let channel = message.first().copied().and_then(Channel::of);
            match channel.map(|channel| receivers.get(&channel)) {
                Some(Some(receiver)) => {
                    message.advance(1);
                    receiver.deliver(from, lane, system, message);
                }
                Some(None) => nobody += 1,
                None => malformed += 1,
            }
        }
        self.undelivered(from, malformed, nobody);
    }

    fn undelivered(self: &Arc<Self>, from: &UniqueAddress, malformed: usize, nobody: usize) {
        if malformed + nobody > 0 {
            self.dropped_outside(&from.address, DropReason::Malformed, malformed);
            self.dropped_outside(&from.address, DropReason::NoReceiver, nobody);
        }
    }

    /// So many messages to or from there were dropped by somebody else.
    pub(super) fn dropped_outside(self: &Arc<Self>, peer: &Address, reason: DropReason, count: usize) {
        self.with(peer, |shard, _| shard.associations.drop(peer, reason, count, &mut shard.effects));
    }

    /// Time passed. When to say so again, if nothing else happens.
    pub(super) fn pass_time(self: &Arc<Self>) -> Option<Tick> {
        let due = self.shards.iter().filter_map(|shard| {
            let now = self.seams.clock.now();
            let mut shard = shard.lock();
            let Shard { associations, effects, .. } = &mut *shard;
            associations.step_into(Input::Time, now, effects);
            self.carry_out(&mut shard, |_| {});
            shard.associations.due()
        });
        due.min()
    }

    /// Whether nothing waits to be sent, or for its acknowledgement.
    pub(super) fn is_quiet(&self) -> bool {
        self.shards.iter().all(|shard| shard.lock().associations.is_quiet())
    }

    /// Ends all connections and attempts.
    pub(super) fn hang_up(&self) {
        for shard in &self.shards {
            let mut shard = shard.lock();
            std::mem::take(&mut shard.lines).values().flatten().flatten().for_each(|line| line.stop());
            shard.sessions.values().flat_map(|entry| &entry.accepted).flatten().for_each(|line| line.stop());
        }
    }

    /// As [`Associations::dropped_with`](crate::remote::associations::Associations::dropped_with).
    pub(super) fn dropped_with(&self, peer: &Address) -> crate::remote::dropped::Dropped {
        self.shard(peer).lock().associations.dropped_with(peer)
    }

    /// All that was dropped so far.
    #[cfg(test)]
    pub(super) fn dropped(&self) -> crate::remote::dropped::Dropped {
        let mut dropped = crate::remote::dropped::Dropped::default();
        self.shards.iter().for_each(|shard| dropped.add_all(&shard.lock().associations.dropped()));
        dropped
    }

    fn shard(&self, at: &Address) -> &Mutex<Shard> {
        let hash = xxh3_64_with_seed(at.host().as_bytes(), at.port().into());
        &self.shards[(hash % SHARDS as u64) as usize]
    }

    fn with<R>(self: &Arc<Self>, at: &Address, decide: impl FnOnce(&mut Shard, Tick) -> R) -> R {
        let now = self.seams.clock.now();
        let mut shard = self.shard(at).lock();
        let decided = decide(&mut shard, now);
        self.carry_out(&mut shard, |_| {});
        decided
    }

    /// As [`with`](Self::with), if `line` is still the one of that lane.
    fn with_line<R>(
        self: &Arc<Self>,
        at: &Address,
        lane: Lane,
        line: &Arc<Line>,
        decide: impl FnOnce(&mut Shard, Tick) -> R,
    ) -> Option<R> {
        self.with(at, |shard, now| shard.holds(at, lane, line).then(|| decide(shard, now)))
    }

    fn carry_out(self: &Arc<Self>, shard: &mut Shard, mut deliver: impl FnMut(Delivery)) {
        if shard.effects.is_empty() {
            return;
        }
        let mut effects = std::mem::take(&mut shard.effects);
        for effect in effects.drain(..) {
            match effect {
                Effect::Deliver { system, message, .. } => deliver(Delivery { system, message }),
                Effect::Ready { to, lane } => shard.line(&to, lane).into_iter().for_each(|line| line.wake()),
                Effect::Dial { to, life, lane } => self.dial(shard, to, life, lane),
                Effect::Hang { to, lane } => shard.remove_line(&to, lane),
                Effect::HangUpOn(node) => {
                    if let Some(entry) = shard.sessions.get_mut(&node) {
                        entry.hang_up();
                    }
                }
                Effect::Began(node) => {
                    // One that stood aside for another life is there again.
                    if let btree_map::Entry::Vacant(place) = shard.sessions.entry(node) {
                        let session = Arc::new(Session::new(place.key().clone()));
                        place.insert(Entry::new(Arc::clone(&session)));
                        self.news.push(News::Began(session));
                    }
                }
                Effect::Ended { node, why } => match shard.sessions.remove(&node) {
                    Some(mut entry) => {
                        entry.hang_up();
                        entry.session.end();
                        self.news.push(News::Ended { session: entry.session, why });
                    }
                    None => self.news.push(News::NeverBegan { node, why }),
                },
                Effect::Dropped { peer, reason, count } => self.news.dropped(peer, reason, count),
            }
        }
        shard.effects = effects;
    }

    fn dial(self: &Arc<Self>, shard: &mut Shard, to: Address, life: Option<u64>, lane: Lane) {
        shard.remove_line(&to, lane);
        if *self.phase.borrow() == Phase::Closed {
            return;
        }
        let line = Arc::new(Line::default());
        shard.lines.entry(to.clone()).or_default()[lane as usize] = Some(Arc::clone(&line));
        self.spawn(lane, outgoing::run(Arc::clone(self), to, life, lane, line));
    }
}

impl Standings for Hub {
    fn standing(&self, life: &UniqueAddress) -> Standing {
        self.shard(&life.address).lock().associations.lives().standing(life)
    }
}

/// Counts a task until it is dropped, whether it ended or not.
struct Running(Arc<Hub>);

impl Drop for Running {
    fn drop(&mut self) {
        if self.0.tasks.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.task_ended.notify_waiters();
        }
    }
}
