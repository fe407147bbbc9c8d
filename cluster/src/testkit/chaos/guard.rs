//! [`Guard`]: an actor on each node that wants a lease, and writes to what the lease guards as long as it holds it.

use super::{ledger::Ledger, services::Services};
use crate::{
    cluster::Cluster,
    lease::{AcquireError, FencingToken, InMemoryLeaseStore, Lease as _, LeaseSettings, StoredLease},
};
use actors::{Actor, ActorContext, Behavior, Handled};
use std::{sync::Arc, time::Duration};

/// How often each asks for the lease, or writes.
const TRIES_EVERY: Duration = Duration::from_secs(2);

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
pub(super) fn start(ledger: &Ledger, cluster: &Cluster, store: &InMemoryLeaseStore) {
    let system = cluster.system();
    match StoredLease::start(system, "guard", Arc::new(store.clone()), LeaseSettings::default()) {
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
