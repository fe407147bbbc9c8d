//! [`Guard`]: an actor on each node that wants a lease, and writes to what the lease guards as long as it holds it. The lease
//! is in a store at the place of the last node, and whoever is cut off from there does not reach it.

use super::{ledger::Ledger, services::Services};
use crate::{
    cluster::Cluster,
    lease::{
        AcquireError, FencingToken, InMemoryLeaseStore, Lease as _, LeaseFuture, LeaseRecord, LeaseSettings,
        LeaseStore, LeaseStoreError, Stored, StoredLease, Swapped, Version,
    },
    testkit::{SimCluster, SimNode, net::SimNet},
};
use actors::{Actor, ActorContext, Behavior, Handled};
use std::{future::pending, sync::Arc, time::Duration};

/// How often each asks for the lease, or writes.
const TRIES_EVERY: Duration = Duration::from_secs(2);

/// Short, so that a lease is lost now and then.
const SETTINGS: LeaseSettings = LeaseSettings {
    expires_after: Duration::from_secs(9),
    renew_every: Duration::from_secs(2),
    operation_timeout: Duration::from_secs(1),
};

/// Where leases are kept. Clones share them.
#[derive(Clone)]
pub(super) struct Store {
    leases: InMemoryLeaseStore,
    net: SimNet,
    place: usize,
}

impl Store {
    pub(super) fn of(cluster: &SimCluster) -> Self {
        // The first is mostly the first to hold a lease.
        let place = cluster.nodes() - 1;
        Self { leases: InMemoryLeaseStore::new(cluster.clock().clone()), net: cluster.net().clone(), place }
    }
}

/// A store as one node reaches it.
struct Reached {
    store: Store,
    node: usize,
}

impl Reached {
    /// Nobody answers who is cut off.
    async fn passes(&self, from: usize, to: usize) {
        if self.store.net.is_cut(from, to) {
            pending().await
        }
    }
}

impl LeaseStore for Reached {
    fn read<'a>(&'a self, name: &'a str) -> LeaseFuture<'a, Result<Option<Stored>, LeaseStoreError>> {
        Box::pin(async move {
            self.passes(self.node, self.store.place).await;
            let stored = self.store.leases.read(name).await;
            self.passes(self.store.place, self.node).await;
            stored
        })
    }

    fn swap<'a>(
        &'a self,
        name: &'a str,
        expected: Option<&'a Version>,
        record: LeaseRecord,
    ) -> LeaseFuture<'a, Result<Swapped, LeaseStoreError>> {
        Box::pin(async move {
            self.passes(self.node, self.store.place).await;
            let swapped = self.store.leases.swap(name, expected, record).await;
            self.passes(self.store.place, self.node).await;
            swapped
        })
    }
}

enum Message {
    Tick,
    Answered(Result<FencingToken, AcquireError>),
}

struct Guard {
    ledger: Ledger,
    me: u64,
    lease: Arc<StoredLease>,
    is_asking: bool,
}

/// Spawns that of a node that has joined.
pub(super) fn start(ledger: &Ledger, node: &SimNode, cluster: &Cluster, store: &Store) {
    let (system, store) = (cluster.system(), Reached { store: store.clone(), node: node.number() });
    match StoredLease::start(system, "guard", Arc::new(store), SETTINGS) {
        Ok(lease) => {
            let (ledger, me) = (ledger.clone(), cluster.me().uid);
            system.spawn("guard", Guard { ledger, me, lease: Arc::new(lease), is_asking: false }).tell(Message::Tick);
        }
        Err(error) => ledger.fail("L1", error.to_string()),
    }
}

impl Guard {
    fn see(&self, what: impl FnOnce(&mut Services, u64) -> Option<String>) {
        let broken = self.ledger.services(|services| what(services, self.me));
        broken.into_iter().for_each(|what| self.ledger.fail("L1", what));
    }

    fn ask(&mut self, ctx: &mut ActorContext<Message>) {
        if !std::mem::replace(&mut self.is_asking, true) {
            let lease = self.lease.clone();
            ctx.pipe_to_self(async move { lease.acquire(Box::new(drop)).await }, Message::Answered);
        }
    }
}

impl Actor for Guard {
    type Message = Message;

    async fn receive(&mut self, ctx: &mut ActorContext<Message>, message: Message) -> Handled {
        match message {
            Message::Tick => {
                match self.lease.check() {
                    Some(token) => self.see(|services, me| services.writes(me, token)),
                    None => self.ask(ctx),
                }
                ctx.timers().start_single("try", TRIES_EVERY, Message::Tick);
            }
            Message::Answered(answer) => {
                self.is_asking = false;
                if let Ok(token) = answer {
                    self.see(|services, me| services.granted(me, token));
                }
            }
        }
        Ok(Behavior::Same)
    }
}
