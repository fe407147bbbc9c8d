//! Remoting played by a list of inboxes: whatever is sent is there at once, unless the link is cut.

use crate::{
    member::{Address, UniqueAddress},
    remote::{
        door::{Channel, Receiver, Remote},
        transport::Lane,
        wire::Agreement,
    },
};
use bytes::Bytes;
use parking_lot::Mutex;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

#[derive(Clone, Default)]
pub(super) struct Exchange(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    nodes: BTreeMap<Address, (u64, Arc<dyn Receiver>)>,
    cuts: BTreeSet<(Address, Address)>,
    quarantined: BTreeSet<(UniqueAddress, UniqueAddress)>,
    members: BTreeMap<(UniqueAddress, UniqueAddress), bool>,
}

impl Exchange {
    pub(super) fn node(&self, me: UniqueAddress, receiver: Arc<dyn Receiver>) -> Arc<dyn Remote> {
        self.0.lock().nodes.insert(me.address.clone(), (me.uid, receiver));
        Arc::new(Door { me, exchange: self.clone() })
    }

    pub(super) fn gone(&self, node: &Address) {
        self.0.lock().nodes.remove(node);
    }

    pub(super) fn cut(&self, from: &Address, to: &Address) {
        self.0.lock().cuts.insert((from.clone(), to.clone()));
    }

    pub(super) fn heal(&self) {
        self.0.lock().cuts.clear();
    }

    /// Whom it was told are members.
    pub(super) fn members_of(&self, node: &UniqueAddress) -> Vec<UniqueAddress> {
        let state = self.0.lock();
        state.members.iter().filter(|((of, _), is)| of == node && **is).map(|((_, member), _)| member.clone()).collect()
    }

    pub(super) fn has_quarantined(&self, one: &UniqueAddress, two: &UniqueAddress) -> bool {
        self.0.lock().quarantined.contains(&(one.clone(), two.clone()))
    }
}

struct Door {
    me: UniqueAddress,
    exchange: Exchange,
}

impl Remote for Door {
    fn me(&self) -> &UniqueAddress {
        &self.me
    }

    fn send(&self, to: &Address, life: Option<u64>, channel: Channel, lane: Lane, body: Bytes) {
        assert_eq!(channel, Channel::Membership);
        let state = self.exchange.0.lock();
        let Some((uid, receiver)) = state.nodes.get(to) else { return };
        let there = UniqueAddress { address: to.clone(), uid: *uid };
        let is_cut = state.cuts.contains(&(self.me.address.clone(), to.clone()));
        let is_over =
            |one: &UniqueAddress, two: &UniqueAddress| state.quarantined.contains(&(one.clone(), two.clone()));
        let passes = !is_cut && life.is_none_or(|life| life == *uid);
        if passes && !is_over(&self.me, &there) && !is_over(&there, &self.me) {
            receiver.deliver(&self.me, lane, false, body);
        }
    }

    fn send_system(&self, _: &UniqueAddress, _: Channel, _: Bytes) {
        panic!("members say nothing twice");
    }

    fn agreement(&self, _: &UniqueAddress) -> Option<Agreement> {
        None
    }

    fn member(&self, node: &UniqueAddress, is: bool) {
        self.exchange.0.lock().members.insert((self.me.clone(), node.clone()), is);
    }

    fn quarantine(&self, node: &UniqueAddress) {
        self.exchange.0.lock().quarantined.insert((self.me.clone(), node.clone()));
    }
}
