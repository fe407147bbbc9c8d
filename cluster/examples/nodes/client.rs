//! What a client does: it sends orders to the peers that it finds, and to the singleton.

use crate::{
    line::{Line, say},
    node::{Confirmed, OneMessage, PeerMessage, peers},
};
use actors::{Actor, ActorContext, ActorRef, ActorSystem, Behavior, Handled};
use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

/// How many send at a time.
const SENDERS: u64 = 4;
/// Between two orders of one.
const PACE: Duration = Duration::from_millis(20);

/// Takes confirmations.
struct Clerk;

impl Actor for Clerk {
    type Message = Confirmed;

    async fn receive(&mut self, _: &mut ActorContext<Confirmed>, Confirmed(order): Confirmed) -> Handled {
        say(&Line::Confirmed { order });
        Ok(Behavior::Same)
    }
}

/// Sends orders for as long as the system runs.
pub(crate) fn start(system: &ActorSystem, one: &ActorRef<OneMessage>) {
    let clerk = system.spawn("clerk", Clerk);
    let numbers = Arc::new(AtomicU64::new(1));
    for _ in 0..SENDERS {
        tokio::spawn(place(system.clone(), one.clone(), clerk.clone(), Arc::clone(&numbers)));
    }
}

async fn place(system: ActorSystem, one: ActorRef<OneMessage>, clerk: ActorRef<Confirmed>, numbers: Arc<AtomicU64>) {
    loop {
        system.clock().sleep(PACE).await;
        let order = numbers.fetch_add(1, Ordering::Relaxed);
        if order.is_multiple_of(4) {
            say(&Line::Placed { order, to: 0 });
            let sent = one.send(OneMessage::Order(order, clerk.clone())).await;
            say(&if sent.is_ok() { Line::Sent { order } } else { Line::NotSent { order } });
            continue;
        }
        let Ok(listing) = system.receptionist().find(&peers(), Duration::from_secs(1)).await else { continue };
        let others = listing.instances().iter().filter(|peer| peer.path().system_uid() != system.uid());
        let others: Vec<_> = others.collect();
        let Some(peer) = usize::try_from(order).ok().and_then(|order| others.get(order % others.len().max(1))) else {
            continue;
        };
        say(&Line::Placed { order, to: peer.path().system_uid() });
        let sent = peer.send(PeerMessage::Order(order, clerk.clone())).await;
        say(&if sent.is_ok() { Line::Sent { order } } else { Line::NotSent { order } });
    }
}
