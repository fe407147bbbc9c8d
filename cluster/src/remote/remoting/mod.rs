//! [`Remoting`]: what [`Associations`](super::associations::Associations) decide, carried out over a transport.
//!
//! Each lane to each node has a connection of its own, made when there is something to send; what the other node sends comes
//! over connections that it makes. A connection is one task: [`outgoing`] takes what waits in batches and writes it with few
//! calls, [`incoming`] reads, and hands whole frames to their receivers. [`hub`] is what they share.
//!
//! # Bounds
//! Nodes: `PEERS_MAX`; per node six connections, three of which it made. Queues: those of each lane. Strangers at the
//! door: [`admission`], each for `HANDSHAKE_WITHIN` at most, and as long again where another life than the one that was
//! met must answer. A reader holds no more than its decoder and one read's frames.

mod admission;
mod attempts;
mod control_thread;
mod hub;
mod incoming;
mod line;
mod news;
mod outgoing;
mod security;
mod session;
mod shard;

#[cfg(test)]
mod tests;

pub(crate) use control_thread::ControlThread;
pub(crate) use hub::Receivers;

use super::{
    associations::Input,
    door::{Channel, Receiver, Remote},
    dropped::DropReason,
    handshake::Introduction,
    lives::{Standing, Standings as _},
    message::{Body, Message},
    tls::Tls,
    transport::Lane,
    wire::{Agreement, Registry},
};
use crate::{
    member::{Address, UniqueAddress},
    membership::swim::seal::KeyRing,
    seams::Seams,
};
use bytes::Bytes;
use hub::{Hub, Phase};
use security::Security;
use std::{
    collections::BTreeMap, fmt, ops::RangeInclusive, pin::pin, sync::Arc, sync::atomic::Ordering, time::Duration,
};

/// Versions of the protocol between nodes that this one speaks.
/// - 2: questions say by which nodes they came.
const PROTOCOL: RangeInclusive<u32> = 1..=2;

/// How long the sum of what is due is trusted: no decision makes anything due sooner than this after it.
const TIME_PASSES_AFTER: Duration = Duration::from_secs(1);

/// How often time passes at most.
const TIME_PASSES_EVERY: Duration = Duration::from_millis(10);

/// How long a node waits for itself to answer.
const SELF_WITHIN: Duration = Duration::from_secs(2);

/// How long connections may take to end once they are told to.
const END_WITHIN: Duration = Duration::from_secs(2);

/// What must be the same on all nodes of a cluster.
#[derive(Clone, Debug, Default)]
pub(crate) struct RemotingSettings {
    /// The name of the cluster.
    pub(crate) cluster: Arc<str>,
    /// Parts of the configuration that must be the same on all nodes, by name; each as a digest.
    pub(crate) config: BTreeMap<Arc<str>, u64>,
    /// Who connects, and is connected to, proves that it has one of these keys. Nothing is encrypted by that.
    pub(crate) keys: Option<KeyRing>,
    /// Encrypts, and lets in whose certificate one of the authorities signed.
    pub(crate) tls: Option<Arc<Tls>>,
}

/// One node's messages to and from others.
pub(crate) struct Remoting(Arc<Hub>);

impl Remoting {
    /// Takes connections, and makes them when there is something to send. What comes is handed to `receivers`, of which
    /// each is told who is there and who is not; what comes for a channel without one is dropped and counted.
    pub(crate) fn start(
        me: UniqueAddress,
        settings: RemotingSettings,
        registry: Registry,
        seams: Seams,
        receivers: Receivers,
    ) -> Arc<Self> {
        let RemotingSettings { cluster, config, keys, tls } = settings;
        let security = Security::new(keys, tls, seams.rng.fork("handshakes"));
        let introduction = Introduction { cluster, protocol: PROTOCOL, node: me, config, types: registry.offers() };
        let listener = seams.transport.listen();
        let hub = Arc::new(Hub::new(introduction, registry, seams, receivers, security));
        hub.spawn(Lane::Control, incoming::listen(Arc::clone(&hub), listener));
        hub.spawn(Lane::Control, pass_time(Arc::clone(&hub)));
        hub.spawn(Lane::Control, tell_news(Arc::clone(&hub)));
        Arc::new(Self(hub))
    }

    /// Sends what waits, for `within` at most, then closes all connections. What is to be sent from now on is dropped.
    /// The receivers are not called any more once it returns, and are let go of. Not cancel safe: call it again.
    pub(crate) async fn stop(&self, within: Duration) {
        let Hub { seams, phase, sent, is_open, .. } = &*self.0;
        is_open.store(false, Ordering::Relaxed);
        let drained = async {
            loop {
                let more = sent.notified();
                if self.0.is_quiet() {
                    return;
                }
                // An acknowledgement that came is no frame that was sent.
                let _ = seams.clock.timeout(Duration::from_millis(20), more).await;
            }
        };
        let _ = seams.clock.timeout(within, drained).await;
        phase.send_replace(Phase::Closed);
        self.0.hang_up();
        let _ = seams.clock.timeout(END_WITHIN, self.0.tasks_ended()).await;
        self.0.forget_receivers();
    }

    /// Whether another process answers at this node's own address: what it says, which names both. Nothing, if nobody
    /// answers, or not in time: not every network leads a node to itself. Cancel safe.
    pub(crate) async fn other_at_own_address(&self) -> Option<String> {
        let asked = outgoing::other_at_own_address(&self.0);
        self.0.seams.clock.timeout(SELF_WITHIN, asked).await.ok().flatten()
    }

    /// Goes on with other keys, if there were some: handshakes from now on are made with them, connections that stand stay.
    /// To change a key without a gap, go through all nodes three times: add the new one at the end, then put it first, then
    /// drop the old one.
    pub(crate) fn rotate(&self, keys: KeyRing) {
        self.0.security.rotate(keys);
    }

    /// Why the last attempt to connect there failed, if it did.
    pub(crate) fn last_failure(&self, to: &Address) -> Option<String> {
        self.0.attempts.failure(to)
    }

    /// What was dropped of what is for that address, or came from there, for as long as there was something to know of it.
    pub(crate) fn dropped_with(&self, peer: &Address) -> super::dropped::Dropped {
        self.0.dropped_with(peer)
    }

    /// All that was dropped so far, by reason.
    #[cfg(test)]
    pub(crate) fn dropped(&self) -> super::dropped::Dropped {
        self.0.dropped()
    }

    #[cfg(test)]
    /// Connections whose handshake is in progress, and how many were closed because there were too many.
    pub(crate) fn at_the_door(&self) -> (usize, u64) {
        self.0.admission.counts()
    }

    /// Whether nothing waits to be sent, or for its acknowledgement.
    pub(crate) fn is_quiet(&self) -> bool {
        self.0.is_quiet()
    }

    /// What that life is to this node.
    pub(crate) fn standing(&self, life: &UniqueAddress) -> Standing {
        self.0.standing(life)
    }

    fn is_open(&self, to: &Address) -> bool {
        let is_open = self.0.is_open.load(Ordering::Relaxed);
        if !is_open {
            self.0.dropped_outside(to, DropReason::Stopped, 1);
        }
        is_open
    }
}

impl Remote for Remoting {
    fn me(&self) -> &UniqueAddress {
        &self.0.introduction.node
    }

    fn send(&self, to: &Address, life: Option<u64>, channel: Channel, lane: Lane, body: Bytes) {
        if self.is_open(to) {
            let _ = self.0.send(to, life, lane, (channel as u8, Body::of(&body)));
        }
    }

    fn try_send(
        &self,
        to: &Address,
        life: Option<u64>,
        channel: Channel,
        lane: Lane,
        body: &[u8],
    ) -> Result<(), DropReason> {
        if !self.is_open(to) {
            return Err(DropReason::Stopped);
        }
        self.0.send(to, life, lane, (channel as u8, Body::copied(body)))
    }

    fn send_system(&self, to: &UniqueAddress, channel: Channel, body: Bytes) {
        if self.is_open(&to.address) {
            let message = Message { channel: channel as u8, body };
            self.0.step(&to.address, Input::SendSystem { to: to.clone(), message });
        }
    }

    fn agreement(&self, with: &UniqueAddress) -> Option<Agreement> {
        self.0.session(with)?.agreement()
    }

    fn member(&self, node: &UniqueAddress, is: bool) {
        self.0.step(&node.address, Input::Member { node: node.clone(), is });
    }

    fn quarantine(&self, node: &UniqueAddress) {
        self.0.step(&node.address, Input::Quarantine(node.clone()));
    }
}

impl fmt::Debug for Remoting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Remoting").field(self.me()).finish()
    }
}

async fn pass_time(hub: Arc<Hub>) {
    let mut closed = pin!(hub.reached(Phase::Closed));
    loop {
        let due = hub.pass_time();
        let now = hub.seams.clock.now();
        let latest = now + TIME_PASSES_AFTER;
        let next = due.map_or(latest, |due| due.clamp(now + TIME_PASSES_EVERY, latest));
        tokio::select! {
            biased;
            () = &mut closed => return,
            () = hub.seams.clock.sleep_until(next) => {}
        }
    }
}

async fn tell_news(hub: Arc<Hub>) {
    let receivers = hub.receivers();
    let receivers: Vec<&dyn Receiver> = receivers.values().map(|receiver| &**receiver).collect();
    let mut closed = pin!(hub.reached(Phase::Closed));
    loop {
        hub.news.tell(&receivers).await;
        tokio::select! {
            biased;
            () = hub.news.pushed() => {}
            () = &mut closed => return,
        }
    }
}
