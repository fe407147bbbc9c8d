//! What the parts above remoting see of it: [`Remote`] to send through, [`Receiver`] to be called by.

use super::{association::Ended, dropped::DropReason, frames::Bodies, transport::Lane, wire::Agreement};
use crate::member::{Address, UniqueAddress};
use bytes::Bytes;

/// Who a frame is for: the first byte of each, so that the parts above remoting share connections and nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Channel {
    /// The members' table and what keeps it.
    Membership = 1,
    /// Messages to actors, answers, watching and room.
    Actors = 2,
    /// What simulations send to see what becomes of it. Nobody else takes it.
    Probe = 3,
}

impl Channel {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Membership, Self::Actors, Self::Probe];

    /// The channel of a frame by its first byte.
    pub(crate) fn of(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|channel| *channel as u8 == byte)
    }
}

/// Sends to other nodes. No call blocks; what cannot be sent is counted and dropped with a reason.
pub(crate) trait Remote: Send + Sync + 'static {
    /// Which life of this node sends.
    fn me(&self) -> &UniqueAddress;

    /// Once at most and in order per lane: to this life or, if there is none, to whoever is at the address.
    fn send(&self, to: &Address, life: Option<u64>, channel: Channel, lane: Lane, body: Bytes);

    /// As [`send`](Self::send), and says at once that it was dropped, which is counted all the same. `body` is copied.
    fn try_send(
        &self,
        to: &Address,
        life: Option<u64>,
        channel: Channel,
        lane: Lane,
        body: &[u8],
    ) -> Result<(), DropReason> {
        self.send(to, life, channel, lane, Bytes::copy_from_slice(body));
        Ok(())
    }

    /// Exactly once per life, in order, over the control lane: sent again until the life has it or is given up.
    fn send_system(&self, to: &UniqueAddress, channel: Channel, body: Bytes);

    /// What can pass to and from that life: known from the handshake on, and kept until the life is over.
    fn agreement(&self, with: &UniqueAddress) -> Option<Agreement>;

    /// It is a member: it is not forgotten when idle. Or is one no more.
    fn member(&self, node: &UniqueAddress, is: bool);

    /// Never again a word to or from that life.
    fn quarantine(&self, node: &UniqueAddress);
}

/// Takes what one channel gets from other nodes. Called from the tasks of connections: it must not block. Calls for one
/// life and lane come one after another, in order.
pub(crate) trait Receiver: Send + Sync + 'static {
    /// A message. `system`: it came by [`Remote::send_system`], once and in order.
    fn deliver(&self, from: &UniqueAddress, lane: Lane, system: bool, body: Bytes);

    /// Messages that came together over a lane other than control: as [`deliver`](Self::deliver) for each, without a copy.
    fn deliver_all(&self, from: &UniqueAddress, lane: Lane, bodies: Bodies<'_>) {
        bodies.for_each(|body| self.deliver(from, lane, false, Bytes::copy_from_slice(body)));
    }

    /// This life is behind its address now; messages may pass.
    fn began(&self, node: &UniqueAddress) {
        let _ = node;
    }

    /// There was a handshake with that life: [`Remote::agreement`] knows what can pass. After [`began`](Self::began).
    fn agreed(&self, node: &UniqueAddress) {
        let _ = node;
    }

    /// This node's connection to that life for control failed; or works again.
    fn link(&self, peer: &UniqueAddress, works: bool) {
        let _ = (peer, works);
    }

    /// That life lets this node in no more, for good: it said so when this node connected.
    fn quarantined(&self, by: &UniqueAddress) {
        let _ = by;
    }

    /// Nothing passes to or from that life any more, for good.
    fn ended(&self, node: &UniqueAddress, why: &Ended) {
        let _ = (node, why);
    }

    /// So many messages to or from there were dropped.
    fn dropped(&self, peer: &Address, reason: DropReason, count: usize) {
        let _ = (peer, reason, count);
    }
}
